"""Line charts as pictures, for hosts that show images and no HTML: the same chart, ticks and colours as in a report.

Needs Pillow only. Shapes are drawn several times larger and scaled down, text is drawn at its final size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot
from typing import TYPE_CHECKING, Any, Final

from .chart import COLOURS, NOTHING, Axis, both_axes, both_ticks, is_finite, labels
from .sections import Chart, Line

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

Pixel = tuple[float, float]

LEAST: Final = 120
"""Shortest side of a picture in pixels."""
_MOST_PIXELS: Final = 3e7
_DOTTED: Final = 40
"""Lines of more points than this are drawn without dots."""
_DASH, _GAP = 7.0, 5.5


@dataclass(frozen=True)
class Palette:
    """Colours of a chart, those of the report's style sheet."""

    paper: str
    ink: str
    soft: str
    faint: str
    rule: str
    lines: tuple[str, ...]


LIGHT: Final = Palette(
    "#ffffff", "#1c1f24", "#5d6470", "#8b919b", "#e4e4df", ("#0f766e", "#b45309", "#4f46e5", "#be185d", "#57606a")
)
DARK: Final = Palette(
    "#1c1f25", "#e8e9eb", "#a4abb6", "#7a818c", "#2d3138", ("#5eead4", "#fbbf24", "#a5b4fc", "#f9a8d4", "#9aa3af")
)


def draw_chart(chart: Chart, size: tuple[int, int] = (960, 480), dark: bool = False) -> Image.Image:
    """Return a chart as an RGB picture of `size` (width, height) in pixels; the chart's note is not drawn.

    Points that are not finite leave a gap; a chart without a finite point says so in words. Text grows with the size.
    Raises ValueError for a side below 120 pixels.
    """
    if min(size) < LEAST:
        raise ValueError(f"A chart of {size[0]} x {size[1]} pixels is too small; each side must be at least {LEAST}.")
    return _Plot(chart, size, DARK if dark else LIGHT).picture()


class _Plot:
    """One chart being drawn: first the layout, then shapes on a large canvas, then text on the small one."""

    def __init__(self, chart: Chart, size: tuple[int, int], palette: Palette) -> None:
        self.chart, self.size, self.palette = chart, size, palette
        self.unit = max(min(size[0] / 960, size[1] / 480), 0.55)
        self.small, self.large = _font(round(15 * self.unit)), _font(round(18 * self.unit))
        self.x_ticks, self.y_ticks = both_ticks(chart, max(2, round(size[0] / (100 * self.unit))), 5)
        self.keys = self._place_keys()

    def picture(self) -> Image.Image:
        from PIL import Image, ImageDraw

        if not self.y_ticks:
            return self._nothing()
        x_axis, y_axis = both_axes(self.chart, self.x_ticks, self.y_ticks, self._box())
        factor = 3 if self.size[0] * self.size[1] * 9 <= _MOST_PIXELS else 1
        canvas = Image.new("RGB", (self.size[0] * factor, self.size[1] * factor), self.palette.paper)
        self._shapes(_Pen(ImageDraw.Draw(canvas), factor), x_axis, y_axis)
        made = canvas.resize(self.size, Image.Resampling.LANCZOS) if factor > 1 else canvas
        self._words(made, x_axis, y_axis)
        return made

    def _nothing(self) -> Image.Image:
        from PIL import Image, ImageDraw

        made = Image.new("RGB", self.size, self.palette.paper)
        words = _cut(NOTHING, self.small, self.size[0])
        x = (self.size[0] - self.small.getlength(words)) / 2
        _say(ImageDraw.Draw(made), (x, self.size[1] / 2), words, self.palette.soft, self.small)
        return made

    # --- layout ---------------------------------------------------------------------------------------------------

    @property
    def _edge(self) -> float:
        return 16 * self.unit

    @property
    def _row(self) -> float:
        return 24 * self.unit

    @property
    def _key_top(self) -> float:
        return self._edge + (30 * self.unit if self.chart.title else 0)

    def _place_keys(self) -> list[tuple[float, float, str]]:
        """Return where the sample of each line begins and its middle, with its name: rows from left to right."""
        room, sample, gap = self.size[0] - 2 * self._edge, 38 * self.unit, 26 * self.unit
        x, y, placed = self._edge, self._key_top + self._row / 2, []
        for line in self.chart.lines:
            name = _cut(line.name, self.small, room - sample)
            width = sample + self.small.getlength(name)
            if x > self._edge and x + width > self.size[0] - self._edge:
                x, y = self._edge, y + self._row
            placed.append((x, y, name))
            x += width + gap
        # The legend never takes more than a third of the picture.
        return [key for key in placed if key[1] + self._row / 2 <= self._key_top + max(self._row, self.size[1] / 3)]

    def _box(self) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of the plot itself; never turned inside out."""
        width, height = self.size
        left = self._edge + 34 * self.unit + max(self.small.getlength(words) for words in labels(self.y_ticks))
        under = self.keys[-1][1] + self._row / 2 if self.keys else self._key_top
        left, top = min(left, width * 0.6), min(under + 14 * self.unit, height * 0.6)
        return left, top, max(width - self._edge - 8 * self.unit, left + 1), max(height - 60 * self.unit, top + 1)

    # --- shapes ---------------------------------------------------------------------------------------------------

    def _shapes(self, pen: _Pen, x_axis: Axis, y_axis: Axis) -> None:
        left, right, hair = x_axis.start, x_axis.end, max(self.unit, 1.0)
        for value in self.y_ticks:
            pen.stroke([(left, y_axis.at(value)), (right, y_axis.at(value))], self.palette.rule, hair)
        pen.stroke([(left, y_axis.start), (right, y_axis.start)], self.palette.faint, hair)
        for x, y, index in ((x, y, k) for k, (x, y, _) in enumerate(self.keys)):
            self._line(pen, [[(x, y), (x + 28 * self.unit, y)]], index, dots=False)
        for index, line in reversed(list(enumerate(self.chart.lines))):  # the first on top
            dots = not line.dashed and len(line.points) <= _DOTTED
            self._line(pen, list(_pieces(line, x_axis, y_axis)), index, dots)

    def _line(self, pen: _Pen, pieces: Sequence[Sequence[Pixel]], index: int, dots: bool) -> None:
        colour, width = self.palette.lines[index % COLOURS], 2.6 * self.unit
        for piece in pieces:
            if self.chart.lines[index].dashed:
                for part in _dashes(piece, _DASH * self.unit, _GAP * self.unit):
                    pen.stroke(part, colour, width * 0.85)
            else:
                pen.stroke(piece, colour, width)
            for point in piece if dots else piece[: len(piece) == 1]:
                pen.dot(point, 5.2 * self.unit, self.palette.paper)
                pen.dot(point, 3.8 * self.unit, colour)

    # --- words ----------------------------------------------------------------------------------------------------

    def _words(self, made: Image.Image, x_axis: Axis, y_axis: Axis) -> None:
        from PIL import ImageDraw

        draw, colours, (width, height) = ImageDraw.Draw(made), self.palette, self.size
        room = width - 2 * self._edge
        if self.chart.title:
            title = _cut(self.chart.title, self.large, room)
            _say(draw, (self._edge, self._edge + 9 * self.unit), title, colours.ink, self.large)
        for x, y, name in self.keys:
            _say(draw, (x + 38 * self.unit, y), name, colours.soft, self.small)
        for value, words in zip(self.y_ticks, labels(self.y_ticks), strict=True):
            at = x_axis.start - 10 * self.unit - self.small.getlength(words), y_axis.at(value)
            _say(draw, at, words, colours.soft, self.small)
        self._under(draw, x_axis, y_axis.start)
        label = _cut(self.chart.x_label, self.small, x_axis.end - x_axis.start)
        at = (x_axis.start + x_axis.end - self.small.getlength(label)) / 2, height - 17 * self.unit
        _say(draw, at, label, colours.ink, self.small)
        self._upright(made, y_axis)

    def _under(self, draw: ImageDraw.ImageDraw, axis: Axis, base: float) -> None:
        """Write the ticks of the x axis; one that would touch its neighbour is left out."""
        free = 0.0
        for value, words in zip(self.x_ticks, labels(self.x_ticks), strict=True):
            wide = self.small.getlength(words)
            left = min(axis.at(value) - wide / 2, self.size[0] - wide - 2)
            if left >= free:
                at = left, base + 16 * self.unit
                _say(draw, at, words, self.palette.soft, self.small)
                free = left + wide + 8 * self.unit

    def _upright(self, made: Image.Image, axis: Axis) -> None:
        """Write the name of the y axis from bottom to top."""
        from PIL import Image, ImageDraw

        words = _cut(self.chart.y_label, self.small, axis.start - axis.end)
        long, high = round(self.small.getlength(words)) + 4, round(self._row)
        mask = Image.new("L", (long, high), 0)
        _say(ImageDraw.Draw(mask), (2, high / 2), words, 255, self.small)
        mask = mask.transpose(Image.Transpose.ROTATE_90)
        top = min(max((axis.start + axis.end - long) / 2, 0), max(self.size[1] - long, 0))
        made.paste(self.palette.ink, (round(self._edge - 6 * self.unit), round(top)), mask)


class _Pen:
    """Draws on a canvas that is `factor` times larger than what it is told."""

    def __init__(self, draw: ImageDraw.ImageDraw, factor: int) -> None:
        self.draw, self.factor = draw, factor

    def stroke(self, points: Sequence[Pixel], colour: str, width: float) -> None:
        if len(points) < 2:
            return
        large = [(x * self.factor, y * self.factor) for x, y in points]
        self.draw.line(large, colour, max(1, round(width * self.factor)), joint="curve")

    def dot(self, centre: Pixel, radius: float, colour: str) -> None:
        (x, y), r = (value * self.factor for value in centre), radius * self.factor
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def _pieces(line: Line, x_axis: Axis, y_axis: Axis) -> Iterator[list[Pixel]]:
    """Yield the stretches between points that are not finite."""
    piece: list[Pixel] = []
    for point in line.points:
        if is_finite(point):
            piece.append((x_axis.at(point[0]), y_axis.at(point[1])))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _dashes(points: Sequence[Pixel], dash: float, gap: float) -> Iterator[list[Pixel]]:
    """Cut a line into dashes that follow its corners."""
    on, left, part = True, dash, list(points[:1])
    for (ax, ay), (bx, by) in pairwise(points):
        length = hypot(bx - ax, by - ay)
        done = 0.0
        while length - done > left:
            done += left
            corner = ax + (bx - ax) * done / length, ay + (by - ay) * done / length
            if on:
                yield [*part, corner]
            on, left, part = not on, gap if on else dash, [corner]
        left -= length - done
        part.append((bx, by))
    if on:
        yield part


# --- fonts ------------------------------------------------------------------------------------------------------------


def _font(size: int) -> Any:
    """Return Pillow's own font; before Pillow 10.1, or without FreeType, its bitmap one, which has a single size."""
    from PIL import ImageFont

    try:
        return ImageFont.load_default(max(size, 8))
    except TypeError:
        return ImageFont.load_default()


def _say(draw: ImageDraw.ImageDraw, at: Pixel, words: str, colour: str | int, font: Any) -> None:
    """Write text from its left end, its middle at the given height."""
    from PIL import ImageFont

    if isinstance(font, ImageFont.FreeTypeFont):
        draw.text(at, words, colour, font, anchor="lm")
    else:  # the bitmap font knows no anchors
        draw.text((at[0], at[1] - font.getbbox(words)[3] / 2), words, colour, font)


def _cut(words: str, font: Any, room: float) -> str:
    """Return one line of text that fits into `room` pixels, its middle replaced by dots where it is too long."""
    text = _drawable(" ".join(words.split()), font)
    if font.getlength(text) <= room:
        return text
    for keep in range(len(text) - 1, 0, -1):
        shown = f"{text[: (keep + 1) // 2]}...{text[len(text) - keep // 2 :]}"
        if font.getlength(shown) <= room:
            return shown
    return ""


def _drawable(text: str, font: Any) -> str:
    """Replace what the bitmap font cannot draw."""
    from PIL import ImageFont

    if isinstance(font, ImageFont.FreeTypeFont):
        return text
    return text.encode("latin-1", "replace").decode("latin-1")
