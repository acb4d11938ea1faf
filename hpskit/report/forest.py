"""Differences with their intervals, as a table whose middle column is drawn: labels wrap, the axis is one for all."""

from __future__ import annotations

import math

from .chart import Axis, labels, ticks
from .markup import EMPTY, Markup, join, tag, text
from .sections import Forest, Span

WIDTH, HEIGHT, EDGE = 320, 26, 14
NOTHING = "There is nothing to compare."
_HUGE = 1e300


def draw(forest: Forest) -> Markup:
    """Return the plot; without a finite difference the rows say so in words and nothing is drawn."""
    if not forest.spans:
        return tag("p", {"class": "empty"}, text(NOTHING))
    axis, values = _axis(forest)
    rows = [_row(span, axis) for span in forest.spans]
    heads = [tag("th", {"scope": "col", "class": name}, text(words)) for words, name in _heads(forest)]
    body = tag("tbody", {}, join(rows, "\n"))
    foot = EMPTY
    if axis is not None:
        cells = [tag("td", {}), tag("td", {}, _ticks(axis, values)), tag("td", {}), tag("td", {})]
        foot = tag("tfoot", {}, tag("tr", {}, join(cells)))
    return tag("table", {"class": "still forest"}, tag("thead", {}, tag("tr", {}, join(heads))), body, foot)


def _heads(forest: Forest) -> list[tuple[str, str | None]]:
    return [(forest.name, None), (forest.x_label, "drawn"), ("difference", "number"), ("verdict", "said")]


def _axis(forest: Forest) -> tuple[Axis | None, list[float]]:
    """Return the axis that holds zero and whatever is finite, with its ticks."""
    known = [v for span in forest.spans for v in (span.value, *span.interval, *span.outer) if _drawable(v)]
    if not known:
        return None, []
    values = ticks(min(0.0, *known), max(0.0, *known), 4)
    return Axis(values[0], values[-1], EDGE, WIDTH - EDGE), values


def _drawable(value: float) -> bool:
    return math.isfinite(value) and abs(value) < _HUGE


def _row(span: Span, axis: Axis | None) -> Markup:
    drawn = tag("td", {"class": "drawn"}, EMPTY if axis is None else _span(span, axis))
    outer = "" if not all(map(_drawable, span.outer)) else f"{span.outer[0]:+.2f} to {span.outer[1]:+.2f}"
    value = f"{span.value:+.2f}" if _drawable(span.value) else "\N{EN DASH}"
    cells = [
        tag("th", {"scope": "row", "dir": "auto"}, text(span.label)),
        drawn,
        tag("td", {"class": "number"}, text(value), tag("small", {}, text(outer)) if outer else EMPTY),
        tag("td", {"class": f"said tone {span.tone}"}, text(span.verdict)),
    ]
    return tag("tr", {}, join(cells))


def _span(span: Span, axis: Axis) -> Markup:
    middle = HEIGHT / 2
    parts = [_blur(span, axis), _upright(axis.at(0.0), "zero")]
    for ends, name in ((span.outer, "thin"), (span.interval, "thick")):
        if all(map(_drawable, ends)):
            parts.append(_level(axis.at(ends[0]), axis.at(ends[1]), middle, f"{name} {span.tone}"))
    if _drawable(span.value):
        at = f"{axis.at(span.value):.1f}"
        parts.append(tag("circle", {"class": f"point {span.tone}", "cx": at, "cy": middle, "r": 5}))
    return _svg(parts, HEIGHT)


def _blur(span: Span, axis: Axis) -> Markup:
    if not _drawable(span.blur) or span.blur <= 0:
        return EMPTY
    left, right = max(axis.at(-span.blur), 0.0), min(axis.at(span.blur), float(WIDTH))
    return tag("rect", {"class": "blur", "x": f"{left:.1f}", "y": 0, "width": f"{right - left:.1f}", "height": HEIGHT})


def _upright(x: float, name: str) -> Markup:
    return tag("line", {"class": name, "x1": f"{x:.1f}", "x2": f"{x:.1f}", "y1": 0, "y2": HEIGHT})


def _level(start: float, end: float, y: float, name: str) -> Markup:
    return tag("line", {"class": name, "x1": f"{start:.1f}", "x2": f"{end:.1f}", "y1": y, "y2": y})


def _ticks(axis: Axis, values: list[float]) -> Markup:
    parts = [_level(axis.start, axis.end, 1, "axis")]
    for value, words in zip(values, labels(values), strict=True):
        at = f"{axis.at(value):.1f}"
        parts.append(tag("text", {"class": "tick middle", "x": at, "y": 16}, text(words)))
    return _svg(parts, 20)


def _svg(parts: list[Markup], height: int) -> Markup:
    return tag("svg", {"viewBox": f"0 0 {WIDTH} {height}", "aria-hidden": "true"}, join(parts))
