"""Pictures in rows and columns, coloured by how they stand in their row; heads stay in sight while one scrolls."""

from __future__ import annotations

import math

from .markup import EMPTY, Markup, join, tag, text
from .pictures import inline
from .sections import Field, Foot, Head, Matrix

LONGEST = 256
"""Longest side of a picture in pixels."""
STEPS = 4
"""Shades on either side of grey in the style sheet; the strongest begins at a z of 2."""
_UNREADABLE = "no picture"
_NEVER_MADE = "not made"


def draw(matrix: Matrix) -> Markup:
    """Return the matrix as a table."""
    corner = tag("td", {})
    heads = tag("tr", {}, corner, join([_head(head, "col") for head in matrix.columns]))
    rows = [
        tag(
            "tr",
            {"class": "starts" if head.starts and at else None},
            _head(head, "row"),
            join([_field(one) for one in fields]),
        )
        for at, (head, fields) in enumerate(zip(matrix.rows, matrix.fields, strict=True))
    ]
    foot = EMPTY
    if matrix.feet:
        title = tag("th", {"scope": "row"}, tag("small", {}, text(matrix.feet_title)))
        foot = tag("tfoot", {}, tag("tr", {}, title, join([_foot(one) for one in matrix.feet])))
    body = tag("tbody", {}, join(rows, "\n"))
    return tag("table", {"class": "still matrix"}, tag("thead", {}, heads), body, foot)


def legend(matrix: Matrix) -> Markup:
    """Return what the colours mean."""
    shades = [tag("i", {"class": f"z{step:+d}"}) for step in range(-STEPS, STEPS + 1)]
    words = (f"{matrix.key}: -2", "+2", "\N{BLACK STAR} the best")
    low, high, star = (tag("span", {}, text(part)) for part in words)
    return tag("p", {"class": "key-z"}, low, tag("span", {"class": "shades"}, join(shades)), high, star)


def shade(z: float) -> str:
    """Return the class of a z."""
    return f"z{round(max(-1.0, min(1.0, z / 2)) * STEPS):+d}" if math.isfinite(z) else "z+0"


def _head(head: Head, scope: str) -> Markup:
    parts = [tag("span", {"class": "title"}, text(head.title)) if head.title else EMPTY]
    parts += [tag("small", {}, text(line)) for line in head.detail.split("\n") if line]
    return tag("th", {"scope": scope, "dir": "auto"}, join(parts))


def _field(field: Field | None) -> Markup:
    if field is None:
        return tag("td", {"class": "never"}, tag("span", {}, text(_NEVER_MADE)))
    star = tag("span", {"class": "star", "title": "the best"}, text("\N{BLACK STAR}")) if field.best else EMPTY
    z = f"z {round(field.z, 1) + 0.0:+.1f}" if math.isfinite(field.z) else ""
    words = tag("div", {"class": "line"}, tag("b", {}, text(field.value)), tag("small", {}, text(z)))
    shown = tag("div", {"class": "frame"}, _image(field), star)
    name = f"tile {shade(field.z)}" + (" best-tile" if field.best else "")
    return tag("td", {}, tag("div", {"class": name}, shown, words))


def _image(field: Field) -> Markup:
    made = None if field.image is None else inline(field.image, LONGEST)
    if made is None:
        return tag("span", {"class": "absent"}, text(_UNREADABLE))
    name = "small" if made.small else None
    size = {"width": made.width, "height": made.height}
    words = field.caption or field.value or "picture"
    return tag("img", {"class": name, "src": made.address, "alt": words, "decoding": "async", **size})


def _foot(foot: Foot) -> Markup:
    parts = [tag("b", {}, text(foot.main)), tag("small", {}, text(foot.detail)) if foot.detail else EMPTY]
    verdict = tag("small", {"class": f"tone {foot.tone}"}, text(foot.verdict)) if foot.verdict else EMPTY
    return tag("td", {}, join([*parts, verdict]))
