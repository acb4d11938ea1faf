"""A study as plain text, for the console and for text outputs: headline, settings best first, comparisons, remarks."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from .records import Analysis, Comparison, Study
from .shown import (
    between,
    chance,
    columns_of,
    counted,
    design,
    number,
    percent,
    plain,
    shorten,
    signed,
    verdict_words,
    wanted,
)

WIDTH: Final = 110
_LEAST: Final = 16
"""Columns that a label gets at the least, even where a line grows longer by that."""
_MOST_ROWS: Final = 60
ELO_PER_STRENGTH: Final = 400 / math.log(10)
_INDENT: Final = "  "
_ELO: Final = "Elo counts blocks won, not points: 0 is the middle, +100 wins 64 % of blocks; +- is its standard error."


def table_text(study: Study, analysis: Analysis) -> str:
    """Return the whole verdict as text, at most 110 columns wide; words are ASCII, labels are as they were given.

    Lists of more than 60 settings show the best of them and say so. Ends without a line break.
    """
    parts = [*_head(study, analysis), "", *_standings(study, analysis), *_comparisons(study, analysis)]
    return "\n".join([*parts, *_by_axis(analysis), *_remarks(study, analysis)])


def _head(study: Study, analysis: Analysis) -> list[str]:
    missing = f", {counted(analysis.missing, 'cell')} missing" if analysis.missing else ""
    scorer = plain(study.scorer.name or study.scorer.id)
    lines = [f"{shorten(study.title or 'Comparison of settings', WIDTH)}", f"{design(study)}, {scorer}{missing}"]
    return [*lines, "", *_wrapped(analysis.headline)]


def _standings(study: Study, analysis: Analysis) -> list[str]:
    shown = analysis.order[:_MOST_ROWS]
    names = ["#", "setting", "cells", "vs mean", "z", "Elo", "+-", "mean rank"]
    rows = [[str(at), *_standing(study, analysis, place)] for at, place in enumerate(shown, start=1)]
    title = "Settings, highest mean first, in points against the mean of the block (* may be the best)"
    table = [title, *_aligned(names, rows, "><>>>>>>"), *_left_out(len(analysis.order) - len(shown), "settings")]
    return [*table, *_wrapped(_ELO, _INDENT)]


def _standing(study: Study, analysis: Analysis, place: int) -> list[str]:
    found = analysis.standings[place]
    label = plain(study.settings[place].label) + (" *" if place in analysis.contenders else "")
    elo, error = number(found.elo, 0), number(ELO_PER_STRENGTH * found.strength_sd, 0)
    return [label, str(found.cells), signed(found.relative), signed(found.z), elo, error, number(found.mean_rank, 1)]


def _comparisons(study: Study, analysis: Analysis) -> list[str]:
    if not analysis.comparisons:
        return []
    title = f"Against {shorten(study.settings[study.reference].label, WIDTH - 10)}"
    return ["", title, *_compared(analysis.comparisons, analysis)]


def _by_axis(analysis: Analysis) -> Iterator[str]:
    for axis, found in analysis.by_axis.items():
        if found:
            yield ""
            yield f"{shorten(axis, 40)} alone, against {shorten(found[0].against, 40)} (other axes averaged)"
            yield from _compared(found, analysis)


def _compared(comparisons: Sequence[Comparison], analysis: Analysis) -> list[str]:
    ranked = sorted(comparisons, key=lambda found: -found.difference if found.difference == found.difference else 1e300)
    interval = f"{100 * analysis.confidence:g} % (Holm)"
    names = ["setting", "difference", interval, "p", "p adj", "wins", "pairs", "detectable", "verdict"]
    rows = [_comparison(found) for found in ranked[:_MOST_ROWS]]
    return [*_aligned(names, rows, "<>>>>>>><"), *_left_out(len(ranked) - len(rows), "comparisons")]


def _comparison(found: Comparison) -> list[str]:
    numbers = [signed(found.difference), between(found.adjusted), chance(found.p), chance(found.p_adjusted)]
    more = [percent(found.wins), str(found.pairs), number(wanted(found)), verdict_words(found)]
    return [plain(found.label), *numbers, *more]


def _remarks(study: Study, analysis: Analysis) -> Iterator[str]:
    notes = [*analysis.warnings, *(note for note in study.notes if note not in analysis.warnings)]
    if analysis.units == "prompts":  # where seeds are the units a warning says so
        notes.append("The intervals are over prompts: they hold for prompts like these.")
    yield ""
    for note in notes:
        yield from _wrapped(note, "- ")


def _left_out(count: int, what: str) -> list[str]:
    return [f"{_INDENT}and {count:,} more {what}"] if count > 0 else []


def _wrapped(text: str, first: str = "") -> list[str]:
    """Break a text into lines; words that are longer than a line are cut."""
    return textwrap.wrap(plain(text), WIDTH, initial_indent=first, subsequent_indent=" " * len(first))


def _aligned(names: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Set a table in columns, each to the left or right; the first one to the left is cut to what is free."""
    widths = [max(columns_of(row[i]) for row in [names, *rows]) for i in range(len(names))]
    label = sides.index("<")
    others = sum(widths) - widths[label] + len(_INDENT) * len(names)
    widths[label] = min(widths[label], max(WIDTH - others, _LEAST))
    cut = [[*row[:label], shorten(row[label], widths[label]), *row[label + 1 :]] for row in [names, *rows]]
    return [_line(row, widths, sides) for row in cut]


def _line(cells: Sequence[str], widths: Sequence[int], sides: str) -> str:
    spaces = [" " * (width - columns_of(cell)) for cell, width in zip(cells, widths, strict=True)]
    padded = [c + s if side == "<" else s + c for c, s, side in zip(cells, spaces, sides, strict=True)]
    return (_INDENT + _INDENT.join(padded)).rstrip()
