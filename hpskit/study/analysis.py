"""From a study to its verdict: every comparison with its interval and test, the standings, and words for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import StudyError
from ..stats.planning import enough_units
from ..stats.ranks import friedman
from .cautions import warnings_of
from .contrasts import Family, Method, compare, mean_of, p_above
from .records import CLEAR, Analysis, Comparison, Study, Units
from .repeats import repeated_blocks
from .rounding import without_rounding
from .standings import linked, sharing, standings
from .verdict import headline

Array = NDArray[np.float64]
Scores = Mapping[str, Array]

RIVALS = 20
"""Settings at the top that each one is tested against when those are sought that may be the best."""


def analyse(
    study: Study,
    *,
    confidence: float = 0.95,
    draws: int = 4000,
    seed: int = 0,
    units: Literal["auto", "prompts", "seeds"] = "auto",
) -> Analysis:
    """Return what a study shows, the same for the same `seed` (of the resampling).

    `units` is what another study would draw afresh: "prompts" makes statements on prompts like these, "seeds" on these
    prompts only; "auto" takes prompts where there are enough of them for any comparison to come out clear. `draws` is
    the number of bootstrap samples. Missing cells and NaN scores are left out block by block. Raises StudyError when
    nothing is scored, on fewer than two settings, a reference outside them or a confidence outside 0.5..1.
    """
    _check(study, confidence, draws, units)
    again = repeated_blocks(study)
    scores = np.where(again, np.nan, _scores(study, None))
    parts = {name: np.where(again, np.nan, _scores(study, name)) for name in _other_parts(study)}
    settings = _against_reference(study, scores)
    method = Method(_units(settings, study, confidence, units), study.seeds_shared, confidence, draws, seed)
    comparisons = _compared(settings, method, {k: _against_reference(study, v) for k, v in parts.items()})
    by_axis = {}
    for name in _axes(study):
        family = axis_family(study, scores, name)
        others = {k: axis_family(study, v, name) for k, v in parts.items()}
        by_axis[name] = _compared(family, method, others)
    placed = standings(study, scores, parts)
    near = linked(scores, study.seeds_shared, study.reference)
    order = tuple(
        sorted(range(len(placed)), key=lambda k: (np.isnan(placed[k].relative), not near[k], -placed[k].relative, k))
    )
    blocks = mean_of(scores, 2) if method.units == "prompts" or not method.paired else scores.reshape(len(scores), -1)
    found = Analysis(
        units=method.units,
        confidence=confidence,
        comparisons=comparisons,
        by_axis=by_axis,
        standings=placed,
        order=order,
        contenders=contenders(scores, order, method, list(zip(_others(study), comparisons, strict=True))),
        friedman_p=friedman(blocks.T),
        headline="",
        warnings=(),
        missing=study.size - len(study.cells),
    )
    warnings = warnings_of(study, found, _scores(study, None), int(again.sum()))
    return replace(found, headline=headline(study, found), warnings=warnings)


def _check(study: Study, confidence: float, draws: int, units: str) -> None:
    if len(study.settings) < 2:
        raise StudyError("A comparison needs at least two settings.")
    if not 0 <= study.reference < len(study.settings):
        raise StudyError(f"The reference is setting {study.reference}, but there are {len(study.settings)}, from 0 on.")
    if not 0.5 < confidence < 1:
        raise StudyError(f"The confidence is {confidence}; it lies between 0.5 and 1, such as 0.95.")
    if units not in ("auto", "prompts", "seeds") or draws < 100:
        raise StudyError(f'units "{units}", draws {draws}: units are auto, prompts or seeds, draws at least 100.')
    if not any(np.isfinite(cell.score) for cell in study.cells):
        raise StudyError("No image of this study has a score, so there is nothing to compare.")


def _scores(study: Study, part: str | None) -> Array:
    values = study.scores(part)
    return without_rounding(np.where(np.isfinite(values), values, np.nan), study.scorer.dtype)


def _other_parts(study: Study) -> tuple[str, ...]:
    """Return the scorers beside the main one, in the order in which they first occur."""
    seen = dict.fromkeys(name for cell in study.cells for name in cell.parts)
    main = next((next(iter(cell.parts)) for cell in study.cells if cell.parts), None)
    return tuple(name for name in seen if name != main)


def _against_reference(study: Study, scores: Array) -> Family:
    chosen = _others(study)
    reference = study.settings[study.reference].label
    second = np.broadcast_to(scores[study.reference], (len(chosen), *scores.shape[1:]))
    labels = tuple(study.settings[k].label for k in chosen)
    return Family(labels, (reference,) * len(chosen), scores[chosen][:, None], second[:, None])


def _others(study: Study) -> list[int]:
    return [k for k in range(len(study.settings)) if k != study.reference]


def _axes(study: Study) -> tuple[str, ...]:
    wide = [axis for axis in study.axes if len(axis.values) > 1]
    return tuple(axis.name for axis in wide) if len(wide) > 1 else ()


def axis_family(study: Study, scores: Array, name: str) -> Family:
    """Return each value of an axis against the reference's, over the combinations of the other axes that both have."""
    places: dict[tuple[tuple[str, str], ...], dict[str, int]] = {}
    for k, setting in enumerate(study.settings):
        rest = tuple(sorted((axis, value) for axis, value in setting.values.items() if axis != name))
        places.setdefault(rest, {})[setting.values.get(name, "")] = k
    values = next(axis.values for axis in study.axes if axis.name == name)
    base = study.settings[study.reference].values.get(name, values[0])
    chosen = [value for value in values if value != base]
    empty = np.full(scores.shape[1:], np.nan)
    pick = [[group.get(value) for group in places.values()] for value in [base, *chosen]]
    sides = np.array([[empty if k is None else scores[k] for k in row] for row in pick])
    second = np.broadcast_to(sides[0], (len(chosen), *sides.shape[1:]))
    return Family(tuple(chosen), (base,) * len(chosen), sides[1:], second)


def _compared(family: Family, method: Method, others: Mapping[str, Family]) -> tuple[Comparison, ...]:
    differences = {name: mean_of(other.prompts(method.paired), 1) for name, other in others.items()}
    return compare(family, method, differences)


def _units(family: Family, study: Study, confidence: float, units: str) -> Units:
    if units != "auto":
        return "prompts" if units == "prompts" else "seeds"
    prompts = int(np.isfinite(family.prompts(study.seeds_shared)).sum(axis=1).max(initial=0))
    repeated = bool((np.isfinite(family.blocks()).sum(axis=2) > 1).any())
    if not study.seeds_shared:
        repeated = bool((np.isfinite(family.first).sum(axis=3) > 1).any())
    return "seeds" if repeated and not enough_units(prompts, len(family.labels), confidence) else "prompts"


def contenders(
    scores: Array, order: Sequence[int], method: Method, comparisons: Sequence[tuple[int, Comparison]] = ()
) -> tuple[int, ...]:
    """Return the settings, best first, that may be the best: subset selection (Gupta 1965; Hsu 1981).

    A setting leaves when a one-sided test at alpha / (settings - 1) puts it below any of the first 20 that stand before
    it, so that the true best stays with a probability of at least 1 - alpha. Whoever is clearly worse in `comparisons`
    (with their positions) leaves as well, and whoever shares no block with the first one, for that cannot be judged.
    The first one always stays.
    """
    pairs = np.array([(high, low) for at, low in enumerate(order) for high in order[: min(at, RIVALS)]]).T
    names = ("",) * pairs.shape[1]
    p = p_above(Family(names, names, scores[pairs[0]][:, None], scores[pairs[1]][:, None]), method)
    level = (1 - method.confidence) / (len(order) - 1)
    out = set(pairs[1][p <= level + 1e-12].tolist())
    out |= set(np.flatnonzero(~sharing(scores, method.paired)[order[0]]).tolist())
    out |= {place for place, one in comparisons if one.verdict == CLEAR and one.difference < 0}
    return (order[0], *(place for place in order[1:] if place not in out))
