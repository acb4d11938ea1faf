"""Images of a plot that somebody else made, put in their places: labels read, counts checked, rows given a meaning.

An image has a column and a row, and a copy where every place was filled several times.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ..errors import StudyError
from .records import Axis, Setting

Order = Literal["row by row", "column by column"]
Batches = Literal["auto", "whole grids", "one place each"]
RowsAre = Literal["seeds", "prompts", "settings"]

ORDERS: Final[tuple[Order, ...]] = ("row by row", "column by column")
BATCHES: Final[tuple[Batches, ...]] = ("auto", "whole grids", "one place each")
ROWS_ARE: Final[tuple[RowsAre, ...]] = ("seeds", "prompts", "settings")
_LONGEST: Final = 200
_SHOWN: Final = 60

Place = tuple[int, int, int]


@dataclass(frozen=True)
class Layout:
    """Where every image stands."""

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    """Labels; numbers from 1 where none were given."""
    copies: int
    """How often every place is filled."""
    places: tuple[Place, ...]
    """Column, row and copy of every image, in the order in which the images came."""
    note: str = ""
    """How the images were read, where that was not plain from the labels."""


@dataclass(frozen=True)
class PlotDesign:
    """The design that a layout stands for."""

    axes: tuple[Axis, ...]
    settings: tuple[Setting, ...]
    prompts: tuple[str, ...]
    seeds: tuple[str, ...]
    places: tuple[Place, ...]
    """Setting, prompt and seed of every image."""


# --- labels -----------------------------------------------------------------------------------------------------------


def parse_labels(values: Iterable[object], *, commas: bool = True) -> tuple[str, ...]:
    """Return labels from a list, or from one text: one a line, or a single line cut at its commas.

    With `commas` off a single line is a single label, as for prompts.
    """
    given = [_text(value) for value in values]
    if len(given) != 1:
        return _labels(given)
    lines = [line for line in given[0].splitlines() if line.strip()]
    return _labels(lines[0].split(",") if commas and len(lines) == 1 else lines)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _labels(parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(" ".join(part.split())[:_LONGEST] for part in parts if part.strip())


def _distinct(labels: Sequence[str], what: str) -> None:
    twice = next((label for label, count in Counter(labels).items() if count > 1), None)
    if twice is not None:
        raise StudyError(f'Two {what} are called "{_short(twice)}". Give each one a name of its own.')


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def axis_of(labels: Sequence[str], name: str) -> Axis:
    """Return the axis of labels; a beginning that all share ("cfg: 4", "cfg: 7") becomes its name."""
    for sign in (":", "="):
        parts = [label.partition(sign) for label in labels]
        heads = {head.strip() for head, _, _ in parts}
        if len(heads) == 1 and all(found and tail.strip() for _, found, tail in parts):
            head = heads.pop()
            if head:
                return Axis(head, tuple(tail.strip() for _, _, tail in parts))
    return Axis(name, tuple(labels))


# --- places -----------------------------------------------------------------------------------------------------------


def arrange(
    columns: Sequence[str],
    rows: Sequence[str],
    sizes: Sequence[int],
    order: Order = "row by row",
    batches: Batches = "auto",
) -> Layout:
    """Return the places of images that came in batches of these sizes; StudyError when counts and labels disagree.

    Batches are whole grids one after the other ("whole grids", however they are cut), or each holds the copies of one
    place ("one place each"). "auto" takes the second where there are as many batches of one size as places, and more
    than one image in each. Without row labels there are as many rows as the images fill.
    """
    total = sum(sizes)
    if not columns:
        raise StudyError("There are no column labels. Write the name of every column into `columns`, one a line.")
    _distinct(columns, "columns")
    _distinct(rows, "rows")
    if not total:
        raise StudyError("There are no images to compare. Connect the images of the plot.")
    if _by_place(len(columns), len(rows), sizes, batches):
        return _places_by_batch(columns, rows, sizes, order)
    if not rows:
        return _rows_as_they_fill(columns, total, order)
    size = len(columns) * len(rows)
    if total % size:
        raise StudyError(_mismatch(len(columns), len(rows), total))
    copies = total // size
    places = tuple((*_place(k % size, len(columns), len(rows), order), k // size) for k in range(total))
    note = f"{total} images were read as {copies} grids of {_grid(columns, rows)}." if copies > 1 else ""
    return Layout(tuple(columns), tuple(rows), copies, places, note)


def _by_place(columns: int, rows: int, sizes: Sequence[int], batches: Batches) -> bool:
    """Tell whether every batch holds the copies of one place."""
    if batches == "one place each":
        return True
    size, even = columns * max(rows, 1), len(set(sizes)) == 1
    fits = even and sizes[0] > 1 and len(sizes) > 1 and (len(sizes) % columns == 0 if not rows else len(sizes) == size)
    if batches == "whole grids" or not fits:
        return False
    if sizes[0] % (size if rows else columns) == 0:
        raise StudyError(
            f"{len(sizes)} batches of {sizes[0]} images can be read in two ways: every batch is a whole grid, or every "
            "batch holds the copies of one place. Choose one of them in `batches`."
        )
    return True


def _places_by_batch(columns: Sequence[str], rows: Sequence[str], sizes: Sequence[int], order: Order) -> Layout:
    count, copies = len(sizes), sizes[0]
    high = len(rows) or count // len(columns)
    if len(set(sizes)) != 1:
        raise StudyError(
            f"The batches hold {min(sizes)} to {max(sizes)} images. Every place needs equally many: make them equal, "
            'or set `batches` to "whole grids".'
        )
    if count != len(columns) * high or not high:
        raise StudyError(
            f"There are {count} batches for {_grid(columns, rows) if rows else f'{len(columns)} columns'}. Connect one "
            'batch for every place, change the labels, or set `batches` to "whole grids".'
        )
    places = tuple(
        (*_place(batch, len(columns), high, order), copy) for batch in range(count) for copy in range(copies)
    )
    named = tuple(rows) or _numbers(high)
    note = f"Every batch of {copies} was read as the copies of one place of {_grid(columns, named)}."
    return Layout(tuple(columns), named, copies, places, note)


def _rows_as_they_fill(columns: Sequence[str], total: int, order: Order) -> Layout:
    high = total // len(columns)
    if total % len(columns):
        raise StudyError(
            f"{_count(total, 'image')} cannot stand in {_count(len(columns), 'column')}: that leaves "
            f"{total % len(columns)} over. Connect {_near(total, len(columns))} images, or change the column labels."
        )
    places = tuple((*_place(k, len(columns), high, order), 0) for k in range(total))
    return Layout(tuple(columns), _numbers(high), 1, places)


def _place(k: int, columns: int, rows: int, order: Order) -> tuple[int, int]:
    if order == "column by column":
        return k // rows, k % rows
    return k % columns, k // columns


def _mismatch(columns: int, rows: int, total: int) -> str:
    size = columns * rows
    hint = f"Connect {_near(total, size)} images"
    if total % columns == 0:
        hint += f", or give {total // columns} row labels (none: rows are numbered)"
    elif total % rows == 0:
        hint += f", or give {total // rows} column labels"
    else:
        hint += ", or change the labels"
    return (
        f"{_count(columns, 'column')} x {_count(rows, 'row')} make {size} places, but there "
        f"{'is' if total == 1 else 'are'} {_count(total, 'image')}. {hint}."
    )


def _near(total: int, size: int) -> str:
    low, high = total // size * size, math.ceil(total / size) * size
    return f"{low} or {high}" if low else str(high)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _grid(columns: Sequence[str], rows: Sequence[str]) -> str:
    return f"{_count(len(columns), 'column')} x {_count(len(rows), 'row')}"


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, count + 1))
