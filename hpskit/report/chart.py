"""Line charts as inline SVG: no script, no outside resource, colours from the style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .markup import Markup, join, tag, text
from .sections import Chart, Line

WIDTH, HEIGHT = 720, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 16, 52
NOTHING = "There is nothing to draw."
_HUGE = 1e300
"""Beyond this, differences overflow."""
_MOST_DIGITS = 9
COLOURS = 5
"""Line colours in the style sheet."""


@dataclass(frozen=True)
class Axis:
    """Maps values `low`..`high` to pixels `start`..`end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def draw(chart: Chart) -> Markup:
    """Return the chart as an SVG element; a chart without a finite point says so in words."""
    x_ticks, y_ticks = both_ticks(chart, 9, 5)
    if not y_ticks:
        return tag("p", {"class": "empty"}, text(NOTHING))
    x_axis, y_axis = both_axes(chart, x_ticks, y_ticks, (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM))
    parts = [
        *_grid(y_axis, y_ticks),
        *_bottom(x_axis, x_ticks),
        *_labels(chart),
        *(_line(chart.lines[i], i, x_axis, y_axis) for i in reversed(range(len(chart.lines)))),  # the first on top
        *_hints(chart, x_axis),
    ]
    name = f"{chart.title or chart.y_label}: {chart.y_label} against {chart.x_label}"
    return tag("svg", {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": name}, join(parts))


def legend(chart: Chart) -> Markup:
    """Return the names of the lines with a sample of each."""
    entries = [
        tag(
            "li",
            {},
            tag("svg", {"viewBox": "0 0 28 8", "class": "key", "aria-hidden": "true"}, _sample(line, i)),
            text(line.name),
        )
        for i, line in enumerate(chart.lines)
    ]
    return tag("ul", {"class": "legend"}, join(entries))


def both_ticks(chart: Chart, most_x: int, most_y: int) -> tuple[list[float], list[float]]:
    """Return the tick values of a chart's two axes, about as many as given; none when no point is finite."""
    points = [p for line in chart.lines for p in line.points if is_finite(p)]
    if not points:
        return [], []
    xs, ys = [x for x, _ in points], [y for _, y in points]
    whole = all(x == int(x) for x in xs)
    return ticks(min(xs), max(xs), most_x, whole), ticks(min(ys), max(ys), most_y)


def both_axes(
    chart: Chart, x_ticks: Sequence[float], y_ticks: Sequence[float], box: tuple[float, float, float, float]
) -> tuple[Axis, Axis]:
    """Return the axes that put points and ticks into a box (left, top, right, bottom); y grows upwards."""
    points = [p for line in chart.lines for p in line.points if is_finite(p)]
    xs, ys = [*(x for x, _ in points), *x_ticks], [*(y for _, y in points), *y_ticks]
    left, top, right, bottom = box
    return Axis(*_span(min(xs), max(xs)), left, right), Axis(*_span(min(ys), max(ys)), bottom, top)


def ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Return about `most` round values that cover `low`..`high`; `whole` ones lie within and begin at `low`."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-3):
        low, high = _wider(low, high)
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= rough * 0.999)
    if whole:
        first, last, gap = math.ceil(low), math.floor(high), max(1, math.ceil(step))
        round_ones = range((first // gap + 1) * gap, last + 1, gap)
        found = [float(value) for value in round_ones if value - first >= gap / 2]
        return [float(first), *found] if first <= last else [low]
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _span(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else _wider(low, high)


def _wider(low: float, high: float) -> tuple[float, float]:
    half = max(0.5, 1e-6 * abs(low), 1e-6 * abs(high))  # half a unit is lost in the rounding of very large numbers
    return low - half, high + half


def is_finite(point: tuple[float, float]) -> bool:
    """Return whether a point can be drawn."""
    return all(math.isfinite(value) and abs(value) < _HUGE for value in point)


def _grid(axis: Axis, values: Sequence[float]) -> list[Markup]:
    parts = []
    for value, words in zip(values, labels(values), strict=True):
        y = f"{axis.at(value):.1f}"
        parts.append(tag("line", {"class": "grid", "x1": LEFT, "x2": WIDTH - RIGHT, "y1": y, "y2": y}))
        parts.append(tag("text", {"class": "tick end", "x": LEFT - 10, "y": y, "dy": "0.32em"}, text(words)))
    return parts


def _bottom(axis: Axis, values: Sequence[float]) -> list[Markup]:
    base = HEIGHT - BOTTOM
    parts = [tag("line", {"class": "axis", "x1": LEFT, "x2": WIDTH - RIGHT, "y1": base, "y2": base})]
    for value, words in zip(values, labels(values), strict=True):
        x = f"{axis.at(value):.1f}"
        parts.append(tag("text", {"class": "tick middle", "x": x, "y": base + 18}, text(words)))
    return parts


def _labels(chart: Chart) -> list[Markup]:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return [
        tag("text", {"class": "label middle", "x": (LEFT + WIDTH - RIGHT) / 2, "y": HEIGHT - 8}, text(chart.x_label)),
        tag(
            "text",
            {"class": "label middle", "x": 0, "y": 0, "transform": f"translate(14 {middle}) rotate(-90)"},
            text(chart.y_label),
        ),
    ]


def _line(line: Line, index: int, x_axis: Axis, y_axis: Axis) -> Markup:
    pen, path = "M", []
    dots = []
    for point in line.points:
        if not is_finite(point):
            pen = "M"
            continue
        x, y = f"{x_axis.at(point[0]):.1f}", f"{y_axis.at(point[1]):.1f}"
        path.append(f"{pen}{x} {y}")
        pen = "L"
        if not line.dashed and len(line.points) <= 40:
            dots.append(tag("circle", {"class": f"dot c{index % COLOURS}", "cx": x, "cy": y, "r": 3}))
    drawn = tag("path", {"class": _pen(line, index), "d": "".join(path)})
    return join([drawn, *dots])


def _sample(line: Line, index: int) -> Markup:
    return tag("path", {"class": _pen(line, index), "d": "M1 4H27"})


def _pen(line: Line, index: int) -> str:
    return f"line c{index % COLOURS}" + (" dashed" if line.dashed else "")


def _hints(chart: Chart, axis: Axis) -> list[Markup]:
    """One invisible strip for each x, whose tooltip reads out all lines there."""
    at: dict[float, list[str]] = {}
    for line in chart.lines:
        for point in line.points:
            if is_finite(point):
                at.setdefault(point[0], []).append(f"{line.name}: {_short(point[1], 5)}")
    places = sorted(at)
    edges = [LEFT, *((axis.at(a) + axis.at(b)) / 2 for a, b in pairwise(places)), WIDTH - RIGHT]
    return [
        tag(
            "rect",
            {
                "class": "hint",
                "x": f"{edges[i]:.1f}",
                "y": TOP,
                "width": f"{edges[i + 1] - edges[i]:.1f}",
                "height": HEIGHT - TOP - BOTTOM,
            },
            tag("title", {}, text("\n".join([f"{chart.x_label} {_short(x)}", *at[x]]))),
        )
        for i, x in enumerate(places)
    ]


def labels(values: Sequence[float]) -> list[str]:
    """Write ticks with as many decimals as the one that needs most, and enough to be true to their distance."""
    plain = [v for v in values if "e" not in _short(v)]
    step = min((b - a for a, b in pairwise(plain) if b > a), default=math.inf)
    digits = max((len(_short(v).partition(".")[2]) for v in plain), default=0)
    while digits < _MOST_DIGITS and any(abs(round(v, digits) - v) > step / 50 for v in plain):
        digits += 1
    return [_short(v) if "e" in _short(v) else f"{v:,.{digits}f}" for v in values]


def _short(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}g}" if abs(value) < 10**digits - 0.5 else f"{value:,.0f}"
