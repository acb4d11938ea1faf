"""A study as one picture to look at and to post: pictures in rows and columns with score, verdict and legend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import StudyError
from .grid_draw import Pictures, draw
from .grid_layout import LEAST, Words, fitted, most_fields, shape_of
from .records import Analysis, Study
from .sheet import Sheet, sheet
from .shown import design, excerpt, plain

if TYPE_CHECKING:
    from PIL import Image

_LEAST_SIDE: Final = 256
"""Shortest limit for a side of the whole picture."""


def grid_picture(
    study: Study,
    analysis: Analysis | None = None,
    *,
    side: int = 256,
    columns_by: str | None = None,
    pictures: Pictures | None = None,
    max_side: int = 8192,
) -> Image.Image:
    """Return the grid of a study as an RGB picture, no side longer than `max_side` pixels.

    Rows are blocks (a prompt with a seed) and columns settings; two axes and one block cross each other, and
    `columns_by` names an axis whose values become the columns. `side` is the longest side of a picture in pixels: it
    shrinks to fit, and where it would get too small to be seen, settings and blocks are left out, as the footer says.
    `pictures` finds the picture of a cell; None from it, as no `pictures` at all, means the cell's thumbnail.
    Raises StudyError for an axis that the study does not have and for sizes too small.
    """
    if side < LEAST or max_side < _LEAST_SIDE:
        raise StudyError(
            f"Pictures of {side} pixels in a grid of {max_side} are too small; "
            f"give at least {LEAST} for a picture and {_LEAST_SIDE} for the whole."
        )
    shape = shape_of(study.cells)
    columns, rows = most_fields(side, shape, max_side)
    found = sheet(study, analysis, columns_by=columns_by, most_columns=columns, most_rows=rows)
    made = draw(found, fitted(found, _words(study, analysis, found), shape, side, max_side), pictures)
    if max(made.size) > max_side:  # heads alone can be too much for a very small limit
        made.thumbnail((max_side, max_side))
    return made


def _words(study: Study, analysis: Analysis | None, shown: Sheet) -> Words:
    intro = [analysis.headline if analysis is not None else "", design(study)]
    if shown.prompt:
        intro.append(f'"{excerpt(shown.prompt, 400)}"' + (f", {shown.block}" if shown.block else ""))
    scorer = f"{plain(study.scorer.name)}, version {plain(study.scorer.version)}, {plain(study.scorer.preprocess)}"
    remarks = [f"Scored by {scorer}. {shown.compare}", shown.note]
    return Words(study.title or "Comparison of settings", tuple(filter(None, intro)), tuple(filter(None, remarks)))
