"""What a noise optimisation reports: one point an iteration while it runs, and the whole result at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import CheckpointCorrupt
from . import noise as sphere
from .noise import NoiseHealth
from .objective import Cost, Evaluation

Stopped = Literal["iterations", "time", "cost", "target", "held-out", "stagnation", "unusable", "memory", "cancelled"]

REASONS: Mapping[str, str] = {
    "iterations": "All iterations were made.",
    "time": "The time was up.",
    "cost": "The compute budget was used up.",
    "target": "The target score was reached.",
    "held-out": "The held-out score kept falling while the reward rose, so the run was stopped.",
    "stagnation": "Nothing better could be found.",
    "unusable": "Three iterations in a row gave images or gradients that are not finite.",
    "memory": "The memory ran out; the best image so far was kept. Make the image smaller, use a tiny VAE for the "
    "gradient, switch checkpointing on, or search without gradients.",
    "cancelled": "Stopped by hand; the best image so far was kept.",
}


@dataclass(frozen=True)
class Point:
    """One row of the curve."""

    phase: Literal["screen", "optimize"]
    start: int
    """Which of the optimised starting noises, from 0."""
    iteration: int
    """From 1 within its start; number of the candidate in the screening."""
    images: int
    """Images made so far."""
    equivalents: int
    """Denoiser evaluations so far, a backward pass counted as two."""
    seconds: float
    loss: float
    """Of the current iterate: the weighted reward losses; infinite when it was not usable."""
    scores: Mapping[str, float]
    """Of the current iterate."""
    best_loss: float
    best_scores: Mapping[str, float]
    """Of the best image so far."""
    angle: float
    """Radians between the current noise and the noise this start began with."""
    norm: float
    """Norm of the current noise over the root of its size: 1 is on the shell."""
    grad_norm: float | None = None
    held_out: float | None = None
    """Held-out score of the best image so far, in iterations that look at it."""
    skipped: bool = False


def restored_point(row: Mapping[str, Any]) -> Point:
    """Return a point from plain values; raises CheckpointCorrupt when they have other types than those of a point."""
    made = Point(**row)
    tables = made.scores, made.best_scores
    whole = (made.start, made.iteration, made.images, made.equivalents)
    parts = [made.seconds, made.loss, made.best_loss, made.angle, made.norm]
    parts += [value for value in (made.grad_norm, made.held_out) if value is not None]
    if all(isinstance(table, Mapping) for table in tables):
        parts += [value for table in tables for value in table.values()]
        if all(isinstance(v, (int, float)) for v in parts) and all(isinstance(v, int) for v in whole):
            return made
    raise CheckpointCorrupt("The curve of the saved run holds something else than numbers; start anew.")


@dataclass(frozen=True)
class Update:
    """What a user interface can show after an iteration."""

    done: float
    """Share of the iterations that is done, 0..1."""
    point: Point
    best: Evaluation
    """Best so far."""
    current: Evaluation | None


@dataclass(frozen=True)
class NoiseSearch:
    """Result of a noise optimisation."""

    method: str
    start: Evaluation
    """The noise that was given (the first one), unchanged."""
    parent: Evaluation
    """The noise whose optimisation led to `chosen`: the start, or one of the best of the screened ones."""
    best: Evaluation
    """Most reward."""
    chosen: Evaluation
    """What to use: the iterate that both the reward and the held-out scorer like, or `best` without such a scorer."""
    held_out: Mapping[str, float | None]
    """Held-out score of "start", "best" and "chosen"; empty without a held-out scorer."""
    curve: tuple[Point, ...]
    stopped: Stopped
    cost: Cost
    seconds: float
    peak_memory: int | None
    """Most bytes in use, as told by the device or the system; None when unknown."""
    skipped: int
    """Iterations whose gradient or image was not finite."""
    warnings: tuple[str, ...]
    state: Mapping[str, Any] = field(repr=False, default_factory=dict)
    """Everything needed to go on; see `state.save_state`."""

    @property
    def reason(self) -> str:
        """Why it stopped, in a sentence."""
        return REASONS[self.stopped]

    @property
    def angle(self) -> float:
        """Radians between the chosen noise and the one its optimisation began with."""
        return float(sphere.angle(self.chosen.noise, self.parent.noise)[0])

    @property
    def angle_to_start(self) -> float:
        """Radians between the chosen noise and the noise that was given."""
        return float(sphere.angle(self.chosen.noise, self.start.noise)[0])

    @property
    def earlier(self) -> bool:
        """Whether the held-out scorer made an iterate be chosen that is not the one with the most reward."""
        return self.chosen is not self.best and self.chosen.loss > self.best.loss

    @property
    def health(self) -> NoiseHealth:
        """Whether the chosen noise still looks like noise."""
        return sphere.health(self.chosen.noise)

    def gain(self, key: str) -> float:
        """Return by how many points of a score the chosen image exceeds the start; NaN when either has none."""
        return self.chosen.scores.get(key, math.nan) - self.start.scores.get(key, math.nan)
