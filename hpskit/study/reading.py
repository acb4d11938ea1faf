"""A study read back from its JSON: everything is checked, for a file may have been edited or cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from ..errors import StudyError
from ..types import ScorerInfo
from .records import Axis, Cell, Setting, Study
from .sources import without_empty

FORMAT: Final = "hps-study/1"
LARGEST: Final = 5_000_000
"""Most cells of a design; what claims more is damaged."""
GAPS: Final = 100
"""Cells of a design for each that was made; beyond this, names without a cell are left out, since they cost work."""
SMALL: Final = 100_000
"""Cells of a design that is no work in any case."""

T = TypeVar("T")


def from_json(data: object) -> Study:
    """Return the study of `to_json`'s values, its cells without thumbnails; scores that were None are NaN.

    Members that this version does not know are ignored. Raises StudyError, which names the place, on anything else.
    """
    whole = _mapping(data, "the file")
    if whole.get("format") != FORMAT:
        raise StudyError(
            f"This is not a saved comparison ({FORMAT} is expected, {str(whole.get('format'))[:40]!r} was found). "
            "Give a JSON file that hps wrote of a comparison."
        )
    study = Study(
        title=_text(whole, "title"),
        axes=_list(whole, "axes", _axis),
        settings=_list(whole, "settings", _setting),
        prompts=_list(whole, "prompts", _string),
        seeds=_list(whole, "seeds", _string),
        cells=_list(whole, "cells", _cell),
        scorer=_scorer(_mapping(whole.get("scorer"), "scorer")),
        reference=_whole(whole, "reference", 0),
        part_names=_texts(whole.get("part_names", {}), "part_names"),
        notes=_list(whole, "notes", _string, ()),
        facts=_list(whole, "facts", _fact, ()),
        seeds_shared=_flag(whole, "seeds_shared", True),
    )
    _check(study)
    return study if _is_dense(study) else _without_gaps(study)


def _check(study: Study) -> None:
    sizes = len(study.settings), len(study.prompts), len(study.seeds)
    if not all(sizes) or study.size > LARGEST:
        raise _wrong("settings, prompts and seeds", f"none is empty and all together give at most {LARGEST:,} cells")
    labels = [setting.label for setting in study.settings]
    if len(set(labels)) < len(labels):
        raise _wrong("settings", "every label occurs once")
    if not 0 <= study.reference < len(study.settings):
        raise _wrong("reference", f"a number from 0 to {len(study.settings) - 1}")
    seen = set()
    for number, cell in enumerate(study.cells):
        place = cell.setting, cell.prompt, cell.seed
        if not all(0 <= at < size for at, size in zip(place, sizes, strict=True)):
            raise _wrong(f"cells[{number}]", "setting, prompt and seed are positions in the lists of those names")
        if place in seen:
            raise _wrong(f"cells[{number}]", "no two cells have the same setting, prompt and seed")
        seen.add(place)


def _is_dense(study: Study) -> bool:
    return study.size <= max(SMALL, GAPS * len(study.cells))


def _without_gaps(study: Study) -> Study:
    """Return the study without prompts, seeds and settings that no cell has; StudyError when that leaves gaps alone."""
    if not study.cells:
        raise _wrong("cells", "at least one")
    prompts = {old: new for new, old in enumerate(sorted({cell.prompt for cell in study.cells}))}
    seeds = {old: new for new, old in enumerate(sorted({cell.seed for cell in study.cells}))}
    gone = len(study.prompts) - len(prompts), len(study.seeds) - len(seeds)
    kept = replace(
        study,
        prompts=tuple(study.prompts[k] for k in prompts),
        seeds=tuple(study.seeds[k] for k in seeds),
        cells=tuple(replace(cell, prompt=prompts[cell.prompt], seed=seeds[cell.seed]) for cell in study.cells),
        notes=(*study.notes, f"Prompts without any image are left out: {gone[0]}; seeds: {gone[1]}."),
    )
    found = without_empty(kept)
    if not _is_dense(found):
        raise _wrong("cells", f"one of {GAPS} places that settings, prompts and seeds make, or more")
    return found


def _axis(value: object, place: str) -> Axis:
    data = _mapping(value, place)
    return Axis(_text(data, "name", place), _list(data, "values", _string, place=place))


def _setting(value: object, place: str) -> Setting:
    data = _mapping(value, place)
    return Setting(_text(data, "label", place), _texts(data.get("values", {}), f"{place}.values"))


def _cell(value: object, place: str) -> Cell:
    data = _mapping(value, place)
    parts = _mapping(data.get("parts", {}), f"{place}.parts")
    return Cell(
        setting=_whole(data, "setting", place=place),
        prompt=_whole(data, "prompt", place=place),
        seed=_whole(data, "seed", place=place),
        score=_number(data.get("score"), f"{place}.score"),
        parts={str(name): _number(part, f"{place}.parts") for name, part in parts.items()},
        width=_whole(data, "width", 0, place),
        height=_whole(data, "height", 0, place),
        contrast=_maybe(data.get("contrast"), f"{place}.contrast"),
        saturation=_maybe(data.get("saturation"), f"{place}.saturation"),
        file=_text(data, "file", place, ""),
        image_hash=_text(data, "image_hash", place, ""),
        entry=None if data.get("entry") is None else _whole(data, "entry", place=place),
    )


def _scorer(data: Mapping[str, Any]) -> ScorerInfo:
    texts = {name: _text(data, name, "scorer") for name in ("id", "name", "family", "version", "preprocess", "dtype")}
    more = {name: _text(data, name, "scorer", "") for name in ("checkpoint", "domain")}
    flags = {name: _flag(data, name, True, "scorer") for name in ("needs_text", "differentiable")}
    scale = _maybe(data.get("logit_scale"), "scorer.logit_scale")
    sd = _maybe(data.get("within_prompt_sd"), "scorer.within_prompt_sd")
    return ScorerInfo(
        **texts,
        **more,
        needs_text=flags["needs_text"],
        differentiable=flags["differentiable"],
        within_prompt_sd=sd,
        logit_scale=scale,
    )


def _fact(value: object, place: str) -> tuple[str, str]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise _wrong(place, "a pair of texts")
    return _string(value[0], place), _string(value[1], place)


# --- plain values -----------------------------------------------------------------------------------------------------


def _wrong(place: str, expected: str) -> StudyError:
    return StudyError(f"The saved comparison is damaged: {place} is wrong (expected: {expected}). Write it again.")


def _mapping(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(place, "named values in braces")
    return value


def _list(
    data: Mapping[str, Any],
    name: str,
    read: Callable[[object, str], T],
    missing: tuple[T, ...] | None = None,
    place: str = "",
) -> tuple[T, ...]:
    value = data.get(name, missing)
    where = f"{place}.{name}" if place else name
    if not isinstance(value, list | tuple):
        raise _wrong(where, "a list")
    return tuple(read(item, f"{where}[{number}]") for number, item in enumerate(value))


def _string(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise _wrong(place, "a text")
    return value


def _text(data: Mapping[str, Any], name: str, place: str = "", missing: str | None = None) -> str:
    return _string(data.get(name, missing), f"{place}.{name}" if place else name)


def _texts(value: object, place: str) -> dict[str, str]:
    return {str(name): _string(item, f"{place}.{name}") for name, item in _mapping(value, place).items()}


def _whole(data: Mapping[str, Any], name: str, missing: int | None = None, place: str = "") -> int:
    value = data.get(name, missing)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(f"{place}.{name}" if place else name, "a whole number")
    return value


def _flag(data: Mapping[str, Any], name: str, missing: bool, place: str = "") -> bool:
    value = data.get(name, missing)
    if not isinstance(value, bool):
        raise _wrong(f"{place}.{name}" if place else name, "true or false")
    return value


def _number(value: object, place: str) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong(place, "a number or null")
    try:
        return float(value)
    except OverflowError:
        raise _wrong(place, "a number that fits a double") from None


def _maybe(value: object, place: str) -> float | None:
    return None if value is None else _number(value, place)
