"""Where everything stands on the picture of a grid, in pixels; the pictures shrink until the whole is small enough."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..report import Head
from .lettering import Lettering
from .records import Cell
from .sheet import Sheet

LEAST: Final = 24
"""Pictures are not made smaller than this."""
READABLE: Final = 96
"""Below this, settings and blocks are left out instead."""
MOST_PIXELS: Final = 36_000_000
_NARROWEST, _WIDEST = 0.4, 2.5


@dataclass(frozen=True)
class Shape:
    """Box of every picture as shares of `side`; its longest side is 1."""

    width: float
    height: float


@dataclass(frozen=True)
class Fonts:
    """Faces of one grid; those of the title, the words below it and the footer grow with the whole picture."""

    title: Lettering
    intro: Lettering
    remark: Lettering
    head: Lettering
    body: Lettering
    small: Lettering


@dataclass(frozen=True)
class Layout:
    """Sizes and places in pixels."""

    side: int
    box: tuple[int, int]
    """Width and height of a picture."""
    frame: int
    gap: int
    margin: int
    strip: int
    """Height of the line with the score."""
    head_width: int
    heads: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    """Lines of the title and of the detail of every column."""
    row_heads: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    title: tuple[str, ...]
    intro: tuple[str, ...]
    remarks: tuple[str, ...]
    feet_title: tuple[str, ...]
    foot_details: tuple[tuple[str, ...], ...]
    head_top: int
    grid_top: int
    grid_left: int
    foot_top: int
    remark_top: int
    width: int
    height: int
    fonts: Fonts

    @property
    def pitch(self) -> tuple[int, int]:
        """Distance from one field to the next, across and down."""
        across = self.box[0] + 2 * self.frame + self.gap
        return across, self.box[1] + 2 * self.frame + self.strip + self.gap

    def field(self, row: int, column: int) -> tuple[int, int]:
        """Return the upper left corner of a field, frame included."""
        return self.grid_left + column * self.pitch[0], self.grid_top + row * self.pitch[1]


@dataclass(frozen=True)
class Words:
    """The texts around the fields."""

    title: str
    intro: tuple[str, ...]
    remarks: tuple[str, ...]


def shape_of(cells: Iterable[Cell]) -> Shape:
    """Return the box that fits all pictures, each with its longest side in full; a square where nothing is known."""
    width = height = 0.0
    for wide, high in filter(None, (_size(cell) for cell in cells)):
        longest = max(wide, high)
        width, height = max(width, wide / longest), max(height, high / longest)
    if not width:
        return Shape(1.0, 1.0)
    return Shape(max(width, _NARROWEST), max(height, _NARROWEST))


def _size(cell: Cell) -> tuple[int, int] | None:
    if cell.width > 0 and cell.height > 0:
        return cell.width, cell.height
    if not cell.thumbnail:
        return None
    from PIL import Image

    try:
        with Image.open(io.BytesIO(cell.thumbnail)) as picture:
            return int(picture.width), int(picture.height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def most_fields(side: int, shape: Shape, longest: int) -> tuple[int, int]:
    """Return how many columns and rows of readable pictures a side of `longest` pixels has room for."""
    least = min(READABLE, side)
    across, down = least * shape.width * 1.1 + 4, least * shape.height * 1.1 + 24
    columns, rows = max(int((longest - 4 * least) / across), 1), max(int((longest - 6 * least) / down), 1)
    area = MOST_PIXELS * 0.85 / (across * down)
    if columns * rows > area:  # as many rows as columns at the least, if there are that many
        columns = min(columns, max(int(area**0.5), int(area / rows), 1))
        rows = min(rows, max(int(area / columns), 1))
    return columns, rows


def fitted(sheet: Sheet, words: Words, shape: Shape, side: int, longest: int) -> Layout:
    """Return the layout with the largest pictures, up to `side`, at which no side is longer than `longest`."""
    size = side
    while True:
        found = layout(sheet, words, shape, size)
        over = max(found.width / longest, found.height / longest, (found.width * found.height / MOST_PIXELS) ** 0.5)
        if over <= 1 or size <= LEAST:
            return found
        size = max(min(int(size / over), size - 1), LEAST)


def layout(sheet: Sheet, words: Words, shape: Shape, side: int) -> Layout:
    """Return the layout for pictures of a given longest side."""
    fonts = _fonts(side, 0)
    box = max(round(side * shape.width), 1), max(round(side * shape.height), 1)
    frame, gap, margin = max(round(side / 64), 2), max(round(side / 20), 5), max(round(side / 9), 14)
    head_width = _head_width(sheet.rows, fonts, side)
    left = margin + head_width + (gap if head_width else 0)
    across = box[0] + 2 * frame + gap
    width = max(left + across * len(sheet.columns) - gap + margin, 30 * fonts.head.size)
    room, fonts = width - 2 * margin, _fonts(side, width)
    title = tuple(fonts.title.wrap(words.title, room, 2))
    intro = tuple(line for part in words.intro for line in fonts.intro.wrap(part, room, 3))
    remarks = tuple(line for part in words.remarks for line in fonts.remark.wrap(part, room, 2))
    heads = tuple(_lines(head, fonts, box[0] + 2 * frame, 4, 1) for head in sheet.columns)
    head_top = margin + len(title) * fonts.title.line + len(intro) * fonts.intro.line + gap
    grid_top = head_top + max((_height(lines, fonts) for lines in heads), default=0) + gap // 2
    strip = round(fonts.body.line * 1.25)
    down = box[1] + 2 * frame + strip + gap
    most = max((down - gap) // fonts.small.line - 1, 1)
    row_heads = tuple(_lines(head, fonts, head_width, max(most - 2, 1), 2, small=True) for head in sheet.rows)
    foot_top = grid_top + down * len(sheet.rows) - gap + round(gap * 0.8)
    feet_title = tuple(fonts.small.wrap(sheet.feet_title, head_width, 4)) if sheet.feet else ()
    details = tuple(tuple(fonts.small.wrap(foot.detail, box[0] + 2 * frame, 2)) for foot in sheet.feet)
    remark_top = foot_top + _feet_height(details, feet_title, fonts) + gap
    height = remark_top + (len(remarks) + 1) * fonts.remark.line + round(fonts.remark.line * 0.6) + margin
    return Layout(
        side=side, box=box, frame=frame, gap=gap, margin=margin, strip=strip, head_width=head_width, heads=heads,
        row_heads=row_heads, title=title, intro=intro, remarks=remarks, feet_title=feet_title, foot_details=details,
        head_top=head_top, grid_top=grid_top, grid_left=left, foot_top=foot_top, remark_top=remark_top,
        width=width, height=height, fonts=fonts,
    )  # fmt: skip


def _fonts(side: int, width: int) -> Fonts:
    def between(share: float, low: float, high: float) -> Lettering:
        return Lettering(min(max(side * share, low), high))

    def wide(face: Lettering, share: float, high: float) -> Lettering:
        return Lettering(max(face.size, min(width * share, high)))

    title, head = between(0.11, 16, 40), between(0.07, 11, 30)
    body, small = between(0.065, 10, 28), between(0.055, 10, 24)
    return Fonts(wide(title, 0.018, 60), wide(body, 0.0105, 36), wide(small, 0.0085, 30), head, body, small)


def _head_width(rows: Iterable[Head], fonts: Fonts, side: int) -> int:
    most = min(max(side * 0.9, 96), 420)
    widest = max(
        (
            max(fonts.head.width(fonts.head.drawable(row.title)), fonts.small.width(fonts.small.drawable(part)))
            for row in rows
            for part in row.detail.split("\n")
        ),
        default=0.0,
    )
    return round(min(max(widest, side * 0.45), most)) + 1


def _lines(
    head: Head, fonts: Fonts, width: int, most: int, details: int, small: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    face = fonts.small if small else fonts.head
    title = face.wrap(head.title, width, most)
    parts = [line for part in head.detail.split("\n") for line in fonts.small.wrap(part, width, details)]
    return tuple(title), tuple(parts)


def _height(lines: tuple[tuple[str, ...], tuple[str, ...]], fonts: Fonts) -> int:
    return len(lines[0]) * fonts.head.line + len(lines[1]) * fonts.small.line


def _feet_height(details: tuple[tuple[str, ...], ...], title: tuple[str, ...], fonts: Fonts) -> int:
    if not details:
        return 0
    lines = fonts.body.line + (max(len(part) for part in details) + 1) * fonts.small.line
    return max(lines, len(title) * fonts.small.line)
