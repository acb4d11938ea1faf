"""Score tables as text for people and as JSON for the interface."""

from __future__ import annotations

from typing import Any

from ..hpskit.types import Scores
from .host import MINIATURES
from .types import ScoreTable

_WIDTH = 8


def describe(table: ScoreTable) -> str:
    """Return a readable table, best image first, with the scorer, the mode and all warnings."""
    lines = [_title(table.scores), "", _header(table)]
    lines += [_row(table, index) for index in table.ranking.order]
    notes = warnings(table)
    return "\n".join([*lines, *([""] if notes else []), *(f"Warning: {note}" for note in notes)])


def _title(scores: Scores) -> str:
    named = [f"{part.info.name} ({name}, {part.info.preprocess}, {part.info.dtype})" for name, part in members(scores)]
    lines = [f"({place}) {name}" for place, name in enumerate(named, 1)] if scores.parts else named
    return "\n".join([*lines, *([f"Judges: {scores.info.domain}"] if scores.info.domain else [])])


def members(scores: Scores) -> list[tuple[str, Scores]]:
    """Return the scores by scorer id: the members of an ensemble, or the one scorer."""
    return list(scores.parts.items()) or [(scores.info.id, scores)]


def _columns(table: ScoreTable) -> dict[str, list[float]]:
    """Return the columns of numbers: the score, or the members' scores by number and what the rule sorts by."""
    if not table.scores.parts:
        return {"score": table.scores.tolist()}
    members = {f"({place})": part.tolist() for place, part in enumerate(table.scores.parts.values(), 1)}
    return {**members, table.ranking.rule.kind: list(table.ranking.key)}


def _header(table: ScoreTable) -> str:
    names = [f"{name:>{_WIDTH}}" for name in _columns(table)]
    seed = ["seed"] if table.seeds else []
    return "  ".join([f"{'rank':>4}", f"{'image':>5}", *names, *seed])


def _row(table: ScoreTable, index: int) -> str:
    columns = _columns(table).values()
    numbers = [f"{values[index]:>{_WIDTH}.3f}" for values in columns]
    seed = [str(table.seeds[index])] if table.seeds else []
    return "  ".join([f"{table.ranking.rank[index]:>4}", f"{index:>5}", *numbers, *seed])


def warnings(table: ScoreTable) -> list[str]:
    """Return what a person should know before trusting the order."""
    scores = table.scores
    notes = list(table.ranking.warnings)
    if len(set(scores.prompts)) > 1:
        notes.append("the prompts differ; scores of different prompts do not compare, so neither do these ranks.")
    cut = sum(text.truncated for text in scores.texts)
    if cut:
        longest = max(text.tokens for text in scores.texts)
        notes.append(f"{cut} of {len(scores.texts)} prompts are too long ({longest} tokens); the end was not read.")
    for name in sorted({part.info.id for _, part in members(scores)} & set(MINIATURES.values())):
        notes.append(f"{name} is a miniature for trials; on anything but its own shapes its scores mean nothing.")
    return notes


def as_json(table: ScoreTable) -> dict[str, Any]:
    """Return the table for the interface: scorer, values, ranks, members and warnings."""
    info = table.scores.info
    return {
        "scorer": {"id": info.id, "name": info.name, "mode": info.preprocess, "dtype": info.dtype},
        "scores": table.scores.tolist(),
        "ranks": list(table.ranking.rank),
        "parts": {name: part.tolist() for name, part in table.scores.parts.items()},
        "prompts": list(dict.fromkeys(table.scores.prompts)),
        "seeds": [str(seed) for seed in table.seeds],  # text: 64 bits do not fit a number of the interface
        "warnings": warnings(table),
    }
