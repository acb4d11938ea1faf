"""The drawn parts of a study's report: intervals against the reference and by axis, and the grid of pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from .. import report as rp
from .grid_draw import Pictures, picture_of
from .records import Analysis, Cell, Comparison, Study
from .sheet import Place, seed_words, sheet, tone
from .shown import excerpt, number, shorten, wanted

MOST_PICTURES: Final = 240
MOST_COLUMNS: Final = 16
MOST_SPANS: Final = 40
_SIDE: Final = 256


def forest(study: Study, analysis: Analysis) -> Iterator[rp.Forest]:
    """Yield the differences of all settings from the reference, highest first."""
    if analysis.comparisons:
        title = f"Against {shorten(study.settings[study.reference].label, 80)}"
        yield _forest(analysis.comparisons, analysis, title)


def axis_forests(analysis: Analysis) -> Iterator[rp.Forest]:
    """Yield the differences of the values of every axis, all others averaged."""
    for axis, found in analysis.by_axis.items():
        if found:
            name = shorten(axis, 60)
            yield _forest(found, analysis, f"{name} alone, against {shorten(found[0].against, 60)}", name)


def _forest(comparisons: Sequence[Comparison], analysis: Analysis, title: str, name: str = "setting") -> rp.Forest:
    ranked = sorted(comparisons, key=lambda one: -one.difference if math.isfinite(one.difference) else math.inf)
    shown = _ends(ranked, MOST_SPANS)
    level = f"{100 * analysis.confidence:g} %"
    note = (
        f"Thick: {level} interval of one comparison alone. Thin, and written out: {level} for all of them together "
        "(Holm), which the verdict rests on. Inside the grey field a difference is too small for this grid to show."
    )
    if name != "setting":
        note = ""  # said at the first plot
    if len(shown) < len(ranked):
        note += f" Shown: the highest and the lowest, {len(shown)} of {len(ranked):,}; the table has all."
    return rp.Forest([_span(one) for one in shown], "points", name, title, note.strip())


def _ends(ranked: Sequence[Comparison], most: int) -> list[Comparison]:
    if len(ranked) <= most:
        return list(ranked)
    return [*ranked[: most - most // 4], *ranked[-(most // 4) :]]


def _span(one: Comparison) -> rp.Span:
    interval, outer = (one.interval.low, one.interval.high), (one.adjusted.low, one.adjusted.high)
    return rp.Span(shorten(one.label, 160), one.difference, interval, outer, one.verdict, tone(one), wanted(one))


# --- the grid of pictures ---------------------------------------------------------------------------------------------


def matrix(study: Study, analysis: Analysis, pictures: Pictures | None) -> Iterator[rp.Matrix]:
    """Yield the grid of pictures, if there are any cells."""
    if not study.cells:
        return
    columns = min(MOST_COLUMNS, len(study.settings))
    found = sheet(study, analysis, most_columns=columns, most_rows=max(MOST_PICTURES // columns, 1))
    prompt = f'Prompt: "{excerpt(found.prompt, 600)}".' if found.prompt else ""
    yield rp.Matrix(
        columns=[rp.Head(shorten(head.title, 160), head.detail) for head in found.columns],
        rows=[rp.Head(excerpt(head.title, 300), head.detail, head.starts) for head in found.rows],
        fields=[[_field(study, place, pictures) for place in row] for row in found.places],
        feet=found.feet,
        feet_title=found.feet_title,
        key=found.key,
        title="Pictures",
        note=" ".join(filter(None, [prompt, found.block, found.compare, found.note])),
    )


def _field(study: Study, place: Place, pictures: Pictures | None) -> rp.Field | None:
    cell = place.cell
    if cell is None:
        return None
    words = [study.settings[cell.setting].label, seed_words(study.seeds[cell.seed]), f"score {number(cell.score)}"]
    caption = ", ".join(shorten(word, 160) for word in words)
    return rp.Field(_image(cell, pictures), number(cell.score), place.z, place.best, caption)


def _image(cell: Cell, pictures: Pictures | None) -> Any:
    """Return a picture no larger than it is shown, so that one at a time is held in full size."""
    if pictures is None:
        return cell.thumbnail
    found = picture_of(cell, pictures)
    if found is not None and max(found.size) > _SIDE:
        found.thumbnail((_SIDE, _SIDE))
    return found
