"""What a reader must know before believing the figures of a study, in plain words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..stats.bootstrap import ENOUGH_FREEDOM
from ..stats.planning import units_needed
from .records import CLEAR, LEANING, Analysis, Study
from .verdict import counted, points, some

Array = NDArray[np.float64]

LOOK_RATIO = 1.25
"""Contrast or saturation of two settings that differ by more than this factor are worth a warning."""
LEANING_SHARE = 0.10
PADDING = ("reference", "legacy")
"""Preprocessings that pad pictures to a square with black."""


def warnings_of(study: Study, found: Analysis, scores: Array) -> tuple[str, ...]:
    """Return the warnings, the gravest first; `scores` is [settings, prompts, seeds]."""
    return tuple(
        itertools.chain(
            _sizes(study),
            _same_pictures(study, scores),
            _incomplete(study, scores),
            _reach(study, found),
            _looks(study, found),
            _disagreements(study, found),
            _held_back(found),
            _leanings(found),
            _open_best(study, found),
        )
    )


def _sizes(study: Study) -> Iterator[str]:
    sizes = [
        {(c.width, c.height) for c in study.cells if c.setting == k and c.width} for k in range(len(study.settings))
    ]
    known = [size for size in sizes if size]
    if all(size == known[0] for size in known):
        return
    listed = sorted(set().union(*known))
    names = some([f"{width} x {height}" for width, height in listed])
    if len({round(width / height, 2) for width, height in listed}) > 1:
        does = "pads pictures with black" if study.scorer.preprocess in PADDING else "sees another part of each shape"
        yield f"Pictures differ in shape between the settings ({names}): the scorer {does}, so they do not compare."
    else:
        yield f"Pictures differ in size between the settings ({names}): part of a difference may be the size alone."


def _same_pictures(study: Study, scores: Array) -> Iterator[str]:
    flat = scores.reshape(len(scores), -1)
    told: set[int] = set()
    for first in range(len(flat)):
        alike = [k for k in range(first + 1, len(flat)) if k not in told and _equal(flat[first], flat[k])]
        if alike and first not in told:
            told.update(alike)
            others = some([study.settings[k].label for k in alike])
            yield (
                f"{study.settings[first].label} scores in every block the same as {others}: what tells them apart "
                "probably has no effect on this model."
            )


def _equal(first: Array, second: Array) -> bool:
    both = np.isfinite(first) & np.isfinite(second)
    return bool(both.any() and (first[both] == second[both]).all())


def _incomplete(study: Study, scores: Array) -> Iterator[str]:
    there = np.zeros(scores.shape, dtype=bool)
    for cell in study.cells:
        there[cell.setting, cell.prompt, cell.seed] = True
    missing = (~there).sum(axis=(1, 2))
    if missing.any():
        yield (
            f"{counted(int(missing.sum()), 'image')} of {study.size} {'is' if missing.sum() == 1 else 'are'} missing "
            f"({_most(study, missing)}). Each comparison takes the blocks that both sides have."
        )
    failed = (there & ~np.isfinite(scores)).sum(axis=(1, 2))
    if failed.any():
        many = int(failed.sum())
        yield (
            f"{counted(many, 'image has', 'images have')} no valid score ({_most(study, failed)}) and "
            f"{'is' if many == 1 else 'are'} left out."
        )


def _most(study: Study, counts: NDArray[np.int_]) -> str:
    order = [k for k in np.argsort(-counts, kind="stable") if counts[k]]
    return some([f"{study.settings[k].label}: {counts[k]}" for k in order])


def _reach(study: Study, found: Analysis) -> Iterator[str]:
    """Say what the verdict holds for, and whether there could have been one."""
    count = len(found.comparisons)
    prompts = max((one.prompts for one in found.comparisons), default=0)
    needed = units_needed(count, found.confidence)
    if found.units == "seeds":
        least = f"{needed}" if needed > ENOUGH_FREEDOM else f"{needed}, better {ENOUGH_FREEDOM + 1},"
        which = "one prompt" if len(study.prompts) == 1 else f"these {len(study.prompts)} prompts"
        yield (
            f"All this holds for {which} only, with other seeds. To speak of prompts in general a study of "
            f"{counted(count + 1, 'setting')} needs at least {least} prompts; there {'is' if prompts == 1 else 'are'} "
            f"{prompts}."
        )
    if found.comparisons and all(math.isinf(one.detectable) or one.pairs == 0 for one in found.comparisons):
        unit = "prompts" if found.units == "prompts" else "images of each setting"
        yield f"This study is too small for any clear verdict: it takes at least {needed} {unit}."
    if len(study.seeds) == 1:
        yield "There is one seed: how much chance there is within a prompt stays unknown."
    if found.units == "prompts" and 1 < prompts <= ENOUGH_FREEDOM:
        yield (
            f"With {prompts} prompts an interval cannot follow lopsided effects: where a few prompts carry most of the "
            "difference it is too narrow. Eight prompts or more are safer."
        )
    elif (
        found.units == "seeds"
        and 1 < max((one.pairs - one.prompts for one in found.comparisons), default=0) < ENOUGH_FREEDOM
    ):
        yield "With so few images an interval may be too narrow where single images stand out."
    if not study.seeds_shared:
        yield "The settings do not share their initial noise, so that they need about twice as many images or more."


def _looks(study: Study, found: Analysis) -> Iterator[str]:
    who = "HPS rewards contrast and colour" if study.scorer.family == "hps" else "Such scorers may reward strong looks"
    advice = "look at the pictures and at another scorer before believing a gain."
    warned = False
    for what in ("contrast", "saturation"):
        values = [(getattr(one, what), one.setting) for one in found.standings if getattr(one, what) is not None]
        low, high = min(values, default=(0.0, 0)), max(values, default=(0.0, 0))
        if low[0] > 0 and high[0] > LOOK_RATIO * low[0]:
            names = study.settings[high[1]].label, study.settings[low[1]].label
            yield f"{names[0]} has {high[0] / low[0]:.2f} times the {what} of {names[1]}. {who}: {advice}"
            warned = True
    if not warned and any("cfg" in axis.name.lower().split() and len(axis.values) > 1 for axis in study.axes):
        yield f"CFG is compared, and it changes contrast. {who}: {advice}"


def _disagreements(study: Study, found: Analysis) -> Iterator[str]:
    for one in found.comparisons:
        against = [k for k, v in one.parts.items() if v * one.difference < 0]
        if one.verdict == CLEAR and against:
            told = some([f"{study.part_names.get(k, k)} {points(one.parts[k])}" for k in against])
            yield (
                f"{one.label}: other scorers see it the other way round ({told}), so the difference may please one "
                "scorer only."
            )


def _held_back(found: Analysis) -> Iterator[str]:
    """Name those whose verdict the interval decides, where a reader who sees the adjusted p expects another one."""
    limit = 1 - found.confidence + 1e-12
    names = [one.label for one in found.comparisons if one.verdict != CLEAR and one.p_adjusted <= limit]
    if names:
        few = "prompts" if found.units == "prompts" else "seeds"
        whose, does = ("its interval", "reaches") if len(names) == 1 else ("their intervals", "reach")
        trusts = "trusts" if len(names) == 1 else "trust"
        yield (
            f"The test alone would call {some(names)} clear; {whose}, which {trusts} so few {few} less, {does} zero."
        )


def _leanings(found: Analysis) -> Iterator[str]:
    leaning = sum(one.verdict == LEANING for one in found.comparisons)
    unclear = sum(one.verdict != CLEAR for one in found.comparisons)
    if leaning and unclear > 4:
        yield (
            f"{leaning} of the {unclear} comparisons that are not clear {'leans' if leaning == 1 else 'lean'}; chance "
            f"alone makes about {LEANING_SHARE * unclear:.0f} of so many lean where no setting has any effect."
        )


def _open_best(study: Study, found: Analysis) -> Iterator[str]:
    if any(one.verdict == CLEAR and one.difference > 0 for one in found.comparisons) and len(found.comparisons) > 1:
        yield "The gain of a setting that was picked after looking is too high on average: run it again with new seeds."
    others = [study.settings[k].label for k in found.contenders[1:]]
    if others and len(study.settings) > 2:
        best = study.settings[found.contenders[0]].label
        yield f"{best} has the highest mean; {some(others)} may be the best as well."
