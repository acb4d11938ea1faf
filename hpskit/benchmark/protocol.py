"""The figures of the HPS v2 benchmark, counted as tgxs002/HPSv2 counts them (hpsv2/evaluation.py), and intervals.

For each style: the mean of the means of groups of 80 consecutive images, and the population standard deviation of those
group means. "Average": the mean over all images of all styles. DrawBench: the mean over all images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..study.records import Interval
from .intervals import interval_of_strata
from .styles import PromptSet

GROUP: Final = 80
PARTIAL: Final = "partial, not comparable with published figures"
OWN: Final = "own prompts, not comparable with published figures"
OTHER: Final = "other scorer or preprocessing, not comparable with published figures"
BENCHMARK: Final = "HPS v2 benchmark"
DRAWBENCH_LABEL: Final = "DrawBench"


@dataclass(frozen=True)
class StyleFigure:
    """What one model reached in one style."""

    style: str
    images: int
    expected: int
    mean: float
    """Mean of the group means, in points; NaN without an image."""
    spread: float
    """Population standard deviation of the group means: what the reference prints after the mean."""
    interval: Interval
    """Of the mean over images, 95 %, by bootstrap over the prompts of the style."""


@dataclass(frozen=True)
class ModelFigure:
    """What one model reached."""

    model: str
    label: str
    """What these figures may be called: BENCHMARK, DRAWBENCH_LABEL, PARTIAL, OWN or OTHER."""
    styles: tuple[StyleFigure, ...]
    average: float | None
    """Mean over all images; None when a style was left out on purpose, so that there is no average."""
    interval: Interval
    """Of the average, by bootstrap over the prompts within each style."""

    @property
    def images(self) -> int:
        """How many images were scored."""
        return sum(style.images for style in self.styles)

    @property
    def comparable(self) -> bool:
        """Tell whether the figures may stand beside published ones."""
        return self.label in (BENCHMARK, DRAWBENCH_LABEL)


def group_means(scores: Sequence[float], size: int = GROUP) -> list[float]:
    """Return the means of consecutive groups; the last one may be shorter, and still counts as one."""
    return [float(np.mean(scores[i : i + size])) for i in range(0, len(scores), size)]


def style_figure(style: str, scores: Sequence[float], seed: int = 0) -> StyleFigure:
    """Return the figures of one style from its scores in the order of the prompts, NaN where there is no image.

    As in the reference, prompts without an image drop out and the groups close up.
    """
    present = [float(score) for score in scores if not math.isnan(score)]
    means = group_means(present)
    known = bool(means)
    return StyleFigure(
        style,
        len(present),
        len(scores),
        float(np.mean(means)) if known else math.nan,
        float(np.std(means)) if known else math.nan,
        interval_of_strata([present], seed),
    )


def model_figure(
    model: str, prompts: PromptSet, scores: Mapping[str, Sequence[float]], seed: int = 0, *, as_published: bool = True
) -> ModelFigure:
    """Return the figures of one model from its scores by style, NaN where there is no image.

    `as_published` tells whether scorer and preprocessing are those of the benchmark.
    """
    styles = tuple(style_figure(style, scores[style], seed) for style in prompts.prompts)
    present = [[score for score in scores[style] if not math.isnan(score)] for style in prompts.prompts]
    everything = [score for values in present for score in values]
    average = float(np.mean(everything)) if everything and prompts.whole else None
    filled = [values for values in present if values]
    interval = interval_of_strata(filled if average is not None else [], seed)
    complete = all(style.images == style.expected for style in styles)
    return ModelFigure(model, label(prompts, complete, as_published), styles, average, interval)


def label(prompts: PromptSet, complete: bool, as_published: bool = True) -> str:
    """Return what figures over these prompts may be called."""
    if not complete:
        return PARTIAL
    if not prompts.official:
        return OWN
    if not as_published:
        return OTHER
    return BENCHMARK if prompts.layout == "hpsv2" else DRAWBENCH_LABEL
