"""Socket types of the pack, each declared once, and the objects that travel over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfy_api.latest import io

if TYPE_CHECKING:
    from ..hpskit.select import Ranking
    from ..hpskit.study import Analysis, Study
    from ..hpskit.study.search_records import SearchTrace
    from ..hpskit.types import Scores
    from .pictures import Picture

HPS_SCORER = io.Custom("HPS_SCORER")
"""A hpskit Scorer whose network is held by the host's memory management; an ensemble is one, too."""

HPS_SCORES = io.Custom("HPS_SCORES")
"""A ScoreTable."""

HPS_STUDY = io.Custom("HPS_STUDY")
"""A StudyResult."""


@dataclass(frozen=True)
class ScoreTable:
    """Scores of one batch or pool with their order, as it travels over an HPS_SCORES socket.

    Numbers only: detached CPU tensors, never images and never the scorer, so that a cached table keeps no model alive.
    """

    scores: Scores
    """One value an image, in the order of the images; members of an ensemble in `parts`."""
    ranking: Ranking
    """Order of the images, best first, with the rule that made it."""
    seeds: tuple[int, ...] = ()
    """Seed of every image, or empty when unknown."""
    pictures: tuple[Picture, ...] = ()
    """Where the interface finds every image, or empty when there are no files; names of files, not pixels."""
    search: SearchTrace | None = None
    """How the search went that made the images, for its report; None for scores without one and for parts of a pool."""

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class StudyResult:
    """A comparison of settings with what it shows, as it travels over an HPS_STUDY socket: numbers and thumbnails."""

    study: Study
    analysis: Analysis | None
    """None where there is nothing to compare: one setting, or not a single score."""
