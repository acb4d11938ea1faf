"""Several models on one benchmark: the same prompts for all of them, so that differences are taken prompt by prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..study.records import Cell, Setting, Study
from ..types import ScorerInfo
from .styles import PromptSet

IMAGE = "the image"
"""Name of the only replicate: a benchmark has one image for each prompt."""


def study(
    prompts: PromptSet, scores: Mapping[str, Mapping[str, Sequence[float]]], scorer: ScorerInfo, reference: int = 0
) -> Study:
    """Return models as settings and prompts as blocks.

    `scores` holds the models' scores by style in the order of the prompts, NaN where there is no image. Prompts are
    told apart by style and number: some texts occur twice.
    """
    names = [f"{style} {k:05d}: {text}" for style, texts in prompts.prompts.items() for k, text in enumerate(texts)]
    cells = []
    for setting, by_style in enumerate(scores.values()):
        values = [score for style in prompts.prompts for score in by_style[style]]
        cells += [Cell(setting, k, 0, value) for k, value in enumerate(values) if not math.isnan(value)]
    return Study(
        title="Models on the same prompts",
        axes=(),
        settings=tuple(Setting(model) for model in scores),
        prompts=tuple(names),
        seeds=(IMAGE,),
        cells=tuple(cells),
        scorer=scorer,
        reference=reference,
        seeds_shared=False,
    )
