"""What the interface shows of a comparison of settings: its grid cell by cell while it runs, its verdict at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..hpskit.study import Analysis, Axis, Cell, Comparison, Setting, Standing, Study
from ..hpskit.types import ScorerInfo
from .notices import without_nan
from .pictures import Picture
from .shown import VERSION, picture_files
from .types import StudyResult

EVENT = "hps.compare"
GRID, STUDY = "grid", "study"
MOST_PICTURES = 2000
"""Cells of one comparison that come with pictures."""
_PROMPT = 200
"""Characters of a prompt; the whole text is in the report."""

Place = tuple[int, int, int]
"""Setting, prompt and replicate of a cell."""


def header(
    axes: Sequence[Axis],
    settings: Sequence[Setting],
    prompts: Sequence[str],
    seeds: Sequence[str],
    reference: int,
    scorer: ScorerInfo,
) -> dict[str, Any]:
    """Return what the grid of a comparison is drawn from, apart from its cells."""
    return {
        "axes": [{"name": axis.name, "values": list(axis.values)} for axis in axes],
        "settings": [setting.label for setting in settings],
        "prompts": [_short(prompt) for prompt in prompts],
        "seeds": list(seeds),
        "reference": reference,
        "scorer": scorer.name or scorer.id,
    }


def cell_item(place: Place, score: float | None, picture: Picture | None) -> dict[str, Any]:
    """Return one cell of the grid, by its positions; the score is None where it was not finite or is not known."""
    setting, prompt, seed = place
    return {"s": setting, "p": prompt, "k": seed, "score": score, **picture_files(picture)}


def live(node: str | None, run: str, head: Mapping[str, Any], cells: Iterable[Any], **counts: Any) -> dict[str, Any]:
    """Return the data of an event: `cells` are the new ones; counts are done, total, reused and eta in seconds."""
    named = {"v": VERSION, "node": node, "run": run, "kind": GRID}
    found: dict[str, Any] = without_nan({**named, **head, **counts, "cells": list(cells)})
    return found


def at_end(
    result: StudyResult, pictures: Mapping[Place, Picture], *, run: str = "", table: str = "", reused: int = 0
) -> dict[str, Any]:
    """Return the whole grid with the verdict; at most 2000 cells come with pictures."""
    study, analysis = result.study, result.analysis
    head = header(study.axes, study.settings, study.prompts, study.seeds, study.reference, study.scorer)
    counts = {"done": len(study.cells), "total": study.size, "reused": reused, "eta": None}
    named = {"v": VERSION, "kind": STUDY, "run": run, "table": table}
    cells = [_cell(cell, pictures, at < MOST_PICTURES) for at, cell in enumerate(study.cells)]
    said = _nothing(study) if analysis is None else _said(study, analysis)
    found: dict[str, Any] = without_nan({**named, **head, **counts, "cells": cells, **said})
    return found


def _cell(cell: Cell, pictures: Mapping[Place, Picture], with_picture: bool) -> dict[str, Any]:
    place = (cell.setting, cell.prompt, cell.seed)
    return cell_item(place, cell.score, pictures.get(place) if with_picture else None)


def _nothing(study: Study) -> dict[str, Any]:
    empty = {"order": [], "contenders": [], "comparisons": [], "standings": [], "units": None}
    return {"headline": "", "warnings": list(study.notes), **empty}


def _said(study: Study, analysis: Analysis) -> dict[str, Any]:
    return {
        "headline": analysis.headline,
        "order": list(analysis.order),
        "contenders": list(analysis.contenders),
        "comparisons": [_comparison(found) for found in analysis.comparisons],
        "standings": [_standing(found) for found in analysis.standings],
        "units": analysis.units,
        "warnings": list(dict.fromkeys([*analysis.warnings, *study.notes])),
    }


def _comparison(found: Comparison) -> dict[str, Any]:
    return {
        "label": found.label,
        "difference": found.difference,
        "low": found.interval.low,
        "high": found.interval.high,
        "adjusted_low": found.adjusted.low,
        "adjusted_high": found.adjusted.high,
        "p": found.p,
        "p_adjusted": found.p_adjusted,
        "verdict": found.verdict,
        "wins": found.wins,
        "pairs": found.pairs,
        "detectable": found.detectable,
    }


def _standing(found: Standing) -> dict[str, Any]:
    return {"setting": found.setting, "relative": found.relative, "z": found.z, "elo": found.elo}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _PROMPT else f"{line[: _PROMPT - 3]}..."
