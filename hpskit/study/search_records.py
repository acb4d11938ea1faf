"""What a search for a better image was, as it travels with its scores and goes into its report: numbers and texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..types import ScorerInfo


@dataclass(frozen=True)
class CurvePoint:
    """One look at a noise optimisation on its way."""

    images: int
    """Images made so far."""
    score: float
    """Of the image made last, by the main scorer; NaN where it has none."""
    best: float
    """Best score so far."""
    held_out: float | None = None
    """Score of the best image by the scorer that only watches, where it looked."""


@dataclass(frozen=True)
class SearchTrace:
    """How a search went: what its scores do not say."""

    method: str
    """"best of n", or the method of a noise optimisation."""
    reason: str = ""
    """Why it ended, in a sentence."""
    seconds: float | None = None
    asked: int | None = None
    """How many images were asked for; more than there are when it stopped early."""
    curve: tuple[CurvePoint, ...] = ()
    """Of a noise optimisation, whose table has two images: the start and the result."""
    held_out: ScorerInfo | None = None
    held_out_start: float | None = None
    held_out_result: float | None = None
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def optimised(self) -> bool:
        """Whether the scores are those of a start and of the result of an optimisation, not of a pool."""
        return bool(self.curve)


@dataclass(frozen=True)
class PoolImage:
    """One scored image of a search."""

    score: float
    """By the main scorer; NaN for an image that could not be scored."""
    rank: int
    """Place under the rule, from 1."""
    z: float
    prompt: str = ""
    seed: int | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    """Scores of the members of an ensemble by scorer id."""
    picture: Any = None
    """A file, PIL image or canonical tensor; None where there is none."""
    width: int = 0
    height: int = 0
    image_hash: str = ""
    entry: int | None = None
    """Row of the ledger."""


@dataclass(frozen=True)
class SearchPool:
    """Everything that the report of a search is made of."""

    images: tuple[PoolImage, ...]
    """In the order of their seeds, or of their batch."""
    scorer: ScorerInfo
    """The main one."""
    title: str = ""
    rule: str = "single"
    """Kind of the rule that ranked the images."""
    members: Mapping[str, ScorerInfo] = field(default_factory=dict)
    """Members of an ensemble by scorer id; empty for a single scorer."""
    judging: frozenset[str] = frozenset()
    """Members that took part in the ranking; the others only watched."""
    trace: SearchTrace | None = None
    """None where nothing but the scores is known."""
    facts: tuple[tuple[str, str], ...] = ()
    """Settings of the sampler and the like."""
    warnings: tuple[str, ...] = ()

    @property
    def prompts(self) -> tuple[str, ...]:
        """The different prompts, in order."""
        return tuple(dict.fromkeys(image.prompt for image in self.images))

    @property
    def order(self) -> tuple[int, ...]:
        """Positions of the images, best first."""
        return tuple(sorted(range(len(self.images)), key=lambda k: self.images[k].rank))
