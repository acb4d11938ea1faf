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
from .standings import linked, sharing
from .verdict import counted, points, prompts_judged, some

Array = NDArray[np.float64]

LOOK_RATIO = 1.25
"""Contrast or saturation of two settings that differ by more than this factor are worth a warning."""
LEANING_SHARE = 0.10
PEEKING = (
    " Looking again and again while images are added finds something clear too easily: settle the number beforehand."
)
PADDING = ("reference", "legacy")
"""Preprocessings that pad pictures to a square with black."""


def warnings_of(study: Study, found: Analysis, scores: Array, repeated: int = 0) -> tuple[str, ...]:
    """Return the warnings, the gravest first; `scores` is [settings, prompts, seeds], `repeated` counts blocks."""
    return tuple(
        itertools.chain(
            _sizes(study),
            _repeated(repeated),
            _same_pictures(study, scores),
            _incomplete(study, scores),
            _unjudged(study, found, scores),
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


def _repeated(count: int) -> Iterator[str]:
    if count:
        yield (
            f"{counted(count, 'block repeats', 'blocks repeat')} the very pictures of an earlier one under every "
            f"setting and {'does' if count == 1 else 'do'} not count: prompts that differ in spelling only, or copies."
        )


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
            f"{PEEKING if study.seeds_shared else ''}"
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


def _unjudged(study: Study, found: Analysis, scores: Array) -> Iterator[str]:
    """Name the settings of which no figure says how they stand."""
    if not any(one.pairs for one in found.comparisons):
        return  # the headline says so
    near, share = linked(scores, study.seeds_shared, study.reference), sharing(scores, study.seeds_shared)
    same = "prompt and seed" if study.seeds_shared else "prompt"
    reference, best = study.settings[study.reference].label, study.settings[found.order[0]].label
    alone = {k for k, one in enumerate(found.standings) if math.isnan(one.relative)}
    apart = set(np.flatnonzero(~near).tolist()) - alone
    through = set(np.flatnonzero(~share[study.reference]).tolist()) - alone - apart
    below = set(np.flatnonzero(~share[found.order[0]]).tolist()) - alone - apart - through
    for places, why in (
        (alone, f"cannot be judged: no other setting has a scored image of the same {same}"),
        (apart, f"cannot be judged against {reference}: they share no {same}, not even through other settings"),
        (through, f"cannot be judged against {reference} itself: they share no {same}"),
        (below, f"cannot be judged against {best}, which has the highest mean: they share no {same}"),
    ):
        if places:
            yield f"{some([study.settings[k].label for k in sorted(places)])} {why}."


def _reach(study: Study, found: Analysis) -> Iterator[str]:
    """Say what the verdict holds for, and whether there could have been one."""
    count = len(found.comparisons)
    prompts = max((one.prompts for one in found.comparisons), default=0)
    needed = units_needed(count, found.confidence)
    if found.units == "seeds" and prompts:
        least = f"{needed}" if needed > ENOUGH_FREEDOM else f"{needed}, better {ENOUGH_FREEDOM + 1},"
        which = "one prompt" if len(study.prompts) == 1 else prompts_judged(study, found)
        paired = "" if prompts == len(study.prompts) else " with pairs"
        yield (
            f"All this holds for {which} only, with other seeds. To speak of prompts in general a study of "
            f"{counted(count + 1, 'setting')} needs at least {least} prompts; there {'is' if prompts == 1 else 'are'} "
            f"{prompts}{paired}."
        )
    # Where nothing even leans, or nothing compares, the headline says so.
    leans = any(one.verdict == LEANING for one in found.comparisons)
    if leans and all(math.isinf(one.detectable) or one.pairs == 0 for one in found.comparisons):
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
        ratio, more, less = _stronger_look(found, what)
        if ratio > LOOK_RATIO:
            names = study.settings[more].label, study.settings[less].label
            yield f"{names[0]} scores above {names[1]} and has {ratio:.2f} times its {what}. {who}: {advice}"
            warned = True
    if not warned and any("cfg" in axis.name.lower().split() and len(axis.values) > 1 for axis in study.axes):
        yield f"CFG is compared, and it changes contrast. {who}: {advice}"


def _stronger_look(found: Analysis, what: str) -> tuple[float, int, int]:
    """Return the largest ratio of a look between a setting and one with a lower mean, and which they are."""
    best, weakest = (0.0, 0, 0), (math.inf, 0)
    for place in reversed(found.order):
        value = getattr(found.standings[place], what)
        if value is not None and value > 0:
            best = max(best, (value / weakest[0], place, weakest[1]))
            weakest = min(weakest, (value, place))
    return best


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
