"""Guards against optimising the scorer instead of the picture: a held-out scorer, and how the picture's look drifts.

A reward that is pushed far enough rises by things that people do not want: HPS likes glossy, over-detailed pictures. A
scorer that is never optimised, and plain measures of saturation, contrast and fine detail, show when that begins.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ..errors import SelectionError
from ..types import Scorer
from .objective import Evaluation, score_of, spread


@dataclass(frozen=True)
class Guards:
    """What is watched, and when it ends the run."""

    held_out: Scorer | None = None
    """Scorer that is reported and never optimised."""
    every: int = 5
    """Iterations between two looks at the held-out score."""
    patience: int = 3
    """Looks without a better held-out score before a fall ends the run."""
    tolerance: float = 0.5
    """How far the held-out score may fall below its best, in its typical standard deviations between seeds."""
    max_look: float = 1.5
    """Ratio to the start from which saturation, contrast or fine detail is worth a warning; 0 switches it off."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise SelectionError(
                f"The held-out score is to be looked at every {self.every} iterations; 1 is the least."
            )


@dataclass(frozen=True)
class Look:
    """What a picture looks like, in three numbers."""

    saturation: float
    """Mean chroma: distance of the colours from grey, 0..1."""
    contrast: float
    """Standard deviation of the luma, 0..0.5."""
    detail: float
    """Share of the luma's energy, its mean apart, at more than half of the highest frequency."""


def look(image: Tensor) -> Look:
    """Return the look of one image [1, 3, H, W] in 0..1."""
    x = image.detach().float().cpu()[0]
    luma = 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2]
    power = torch.fft.rfft2(luma - luma.mean()).abs().square()
    high = torch.maximum(
        torch.fft.fftfreq(luma.shape[0]).abs()[:, None], torch.fft.rfftfreq(luma.shape[1]).abs()[None, :]
    )
    total = float(power.sum())
    return Look(
        saturation=float((x.amax(0) - x.amin(0)).mean()),
        contrast=float(luma.std(unbiased=False)),
        detail=float(power[high > 0.25].sum()) / total if total > 0 else 0.0,
    )


WORDS = {"saturation": "saturated", "contrast": "contrasty", "detail": "rich in fine detail"}


def drift(now: Look, before: Look, most: float) -> tuple[str, ...]:
    """Return what grew by more than the factor `most`, in words."""
    grown = []
    for entry in fields(Look):
        old, new = getattr(before, entry.name), getattr(now, entry.name)
        # Below these sizes a ratio says nothing: a grey or empty picture has no saturation to speak of.
        floor = 0.001 if entry.name == "detail" else 0.02
        if new > most * max(old, floor):
            grown.append(f"{new / max(old, floor):.1f} times as {WORDS[entry.name]}")
    return tuple(grown)


@dataclass(frozen=True)
class Check:
    """One look at the best image so far."""

    iteration: int
    evaluation: Evaluation
    held_out: float | None
    """Score by the held-out scorer; None without one."""


class Monitor:
    """Looks at the best image from time to time and decides when to stop and which iterate to trust."""

    def __init__(self, guards: Guards, prompt: str, loss_spread: float) -> None:
        self.guards, self.prompt, self.loss_spread = guards, prompt, loss_spread
        self.checks: list[Check] = []
        self.before: Look | None = None

    def begin(self, pool: Sequence[Evaluation]) -> None:
        """Take the look of the starting images as the measure: the median of the screened ones, or the one start."""
        looks = [look(item.image) for item in pool if item.usable]
        if looks:
            names = [entry.name for entry in fields(Look)]
            self.before = Look(*(statistics.median(getattr(item, name) for item in looks) for name in names))

    def due(self, iteration: int) -> bool:
        """Return whether this iteration is one to look at."""
        return self.guards.held_out is not None and iteration % self.guards.every == 0

    def check(self, best: Evaluation, iteration: int) -> Check:
        """Look at the best image; one that was looked at before is not scored again."""
        known = next((c for c in self.checks if c.evaluation is best), None)
        held_out = known.held_out if known is not None else self._score(best)
        made = Check(iteration, best, held_out)
        self.checks.append(made)
        return made

    def _score(self, best: Evaluation) -> float | None:
        if self.guards.held_out is None or not best.usable:
            return None
        with torch.no_grad():
            value = float(score_of(self.guards.held_out, best.image, self.prompt))
        return value if math.isfinite(value) else None

    @property
    def sd(self) -> float:
        """Typical standard deviation of the held-out score between seeds of one prompt."""
        return 1.0 if self.guards.held_out is None else spread(self.guards.held_out.info)

    def should_stop(self) -> bool:
        """Return whether the held-out score has stopped rising and fallen for good, while the reward rose."""
        values = [c.held_out for c in self.checks if c.held_out is not None]
        if len(values) <= self.guards.patience:
            return False
        top = values.index(max(values))
        stale = len(values) - 1 - top >= self.guards.patience
        return stale and values[-1] < values[top] - self.guards.tolerance * self.sd

    def safest(self) -> Evaluation | None:
        """Return the checked iterate with the best sum of reward and held-out score, each in its spread.

        Only iterates whose held-out score is within the tolerance of the best one count. None without a held-out score.
        """
        seen = [c for c in self.checks if c.held_out is not None and c.evaluation.usable]
        if not seen:
            return None
        top = max(c.held_out or 0.0 for c in seen)
        trusted = [c for c in seen if (c.held_out or 0.0) >= top - self.guards.tolerance * self.sd]
        return max(trusted, key=self._sum).evaluation

    def _sum(self, check: Check) -> float:
        return (check.held_out or 0.0) / self.sd - check.evaluation.loss / self.loss_spread

    def warnings(self, best: Evaluation) -> tuple[str, ...]:
        """Return how the look of the best image has drifted from the start, in words."""
        if self.before is None or self.guards.max_look <= 0:
            return ()
        grown = drift(look(best.image), self.before, self.guards.max_look)
        return (f"The best image is {' and '.join(grown)} as at the start; look at it.",) if grown else ()

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        rows = [{"iteration": c.iteration, "evaluation": c.evaluation, "held_out": c.held_out} for c in self.checks]
        before = None if self.before is None else [getattr(self.before, entry.name) for entry in fields(Look)]
        return {"checks": rows, "before": before}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.checks = [Check(**row) for row in state["checks"]]
        self.before = None if state["before"] is None else Look(*state["before"])
