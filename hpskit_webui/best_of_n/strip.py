"""All candidates of a pool in one picture, each with its seed and score, the kept ones framed."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from ..judge import Judged

SIDE, LINE, GAP, MOST = 192, 18, 6, 8
"""Pixels of a thumbnail's longer side, of the line below it, between cells; cells in a row."""
_PAPER, _INK, _KEPT = (24, 24, 27), (228, 228, 231), (250, 204, 21)


@dataclass(frozen=True)
class Cell:
    """One candidate."""

    picture: Image.Image
    """At most SIDE pixels high and wide."""
    place: int
    seed: int
    score: float
    """NaN without one."""

    @classmethod
    def of(cls, picture: Any, place: int, seed: int, judged: Judged) -> Cell:
        """Take a small copy of a candidate's picture."""
        small = picture.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        return cls(small, place, seed, judged.main)

    @property
    def words(self) -> str:
        """What stands below it."""
        return f"{'no score' if math.isnan(self.score) else f'{self.score:.3f}'}  seed {self.seed}"


def draw(cells: Sequence[Cell], kept: Collection[int]) -> Image.Image:
    """Return the cells in rows; those whose place is in `kept` have a frame."""
    from PIL import Image, ImageDraw

    columns = min(MOST, len(cells))
    width = max(SIDE, *(cell.picture.width for cell in cells))
    height = max(cell.picture.height for cell in cells) + LINE
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for k, cell in enumerate(cells):
        x, y = GAP + k % columns * (width + GAP), GAP + k // columns * (height + GAP)
        sheet.paste(cell.picture, (x + (width - cell.picture.width) // 2, y))
        pen.text((x + 2, y + height - LINE + 3), cell.words, fill=_KEPT if cell.place in kept else _INK)
        if cell.place in kept:
            pen.rectangle((x - 3, y - 3, x + width + 2, y + height + 2), outline=_KEPT, width=2)
    return sheet
