"""Report to HTML: one function a section, one file out."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import OutputError
from . import chart as charts
from . import forest, matrix
from .markup import EMPTY, Markup, join, tag, text
from .pictures import inline
from .sections import (
    Cell,
    Chart,
    Column,
    Facts,
    Figure,
    Forest,
    Gallery,
    Headline,
    Matrix,
    Note,
    Pair,
    Picture,
    Report,
    Section,
    Table,
    Text,
)

DASH = "\N{EN DASH}"
_MANY = 10
"""Tables of more columns get the whole width of the window."""


def write_report(path: str | Path, report: Report) -> Path:
    """Write a report as one HTML file, whole or not at all, and return its path.

    Raises OutputError when the folder cannot be written.
    """
    path = Path(path)
    data = render(report).encode("utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, data)
    except OSError as error:
        raise OutputError(
            f"The report cannot be written to {path} ({error.strerror or error}). Choose another folder."
        ) from error
    return path


def render(report: Report) -> str:
    """Return the HTML of a report; equal reports give equal text."""
    style, script = _asset("style.css"), _asset("script.js")
    head = [
        tag("meta", {"charset": "utf-8"}),
        tag("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", {"name": "color-scheme", "content": "light dark"}),
        tag("meta", {"http-equiv": "Content-Security-Policy", "content": _policy(style, script)}),
        tag("title", {}, text(report.title)),
        Markup(f"<style>{style}</style>"),
    ]
    body = [
        tag("header", {}, tag("h1", {}, text(report.title)), _paragraphs(report.intro, "intro"), _theme_button()),
        tag("main", {}, join([_section(section) for section in report.sections], "\n")),
        tag("footer", {}, _paragraphs(report.footer or "Made by HPS.")),
        Markup(f"<script>{script}</script>"),
    ]
    page = tag("html", {"lang": "en"}, tag("head", {}, join(head, "\n")), tag("body", {}, join(body, "\n")))
    return f"<!doctype html>\n{page}\n"


def _section(section: Section) -> Markup:
    return _RENDERERS[type(section)](section)


def _headline(section: Headline) -> Markup:
    return tag("section", {"class": "headline"}, join([_figure(figure) for figure in section.figures]))


def _figure(figure: Figure) -> Markup:
    return tag(
        "div",
        {"class": "figure"},
        tag("strong", {}, text(figure.value)),
        tag("span", {}, text(figure.label)),
        tag("small", {}, text(figure.detail)) if figure.detail else EMPTY,
    )


def _text(section: Text) -> Markup:
    return tag("section", {"class": "prose"}, _title(section.title), _paragraphs(section.body))


def _note(section: Note) -> Markup:
    return tag("aside", {"class": "note"}, _paragraphs(section.body))


def _facts(section: Facts) -> Markup:
    items = [tag("div", {}, tag("dt", {}, text(name)), tag("dd", {}, text(value))) for name, value in section.items]
    return tag("section", {}, _title(section.title), tag("dl", {"class": "facts"}, join(items)))


def _gallery(section: Gallery) -> Markup:
    cards = join([_picture(picture) for picture in section.pictures])
    return tag("section", {}, _title(section.title), tag("div", {"class": "gallery"}, cards), _remark(section.note))


def _pair(section: Pair) -> Markup:
    shown = join([_picture(section.before), _picture(section.after)])
    return tag("section", {}, _title(section.title), tag("div", {"class": "pair"}, shown), _remark(section.note))


def _picture(picture: Picture) -> Markup:
    lines = [
        tag("b", {"class": "score"}, text(number(picture.score, 2))) if picture.score is not None else EMPTY,
        tag("span", {"class": "caption"}, text(picture.caption)) if picture.caption else EMPTY,
        tag("code", {}, text(f"seed {picture.seed}")) if picture.seed is not None else EMPTY,
    ]
    badges = [
        tag("span", {"class": "rank"}, text(f"#{picture.rank}")) if picture.rank is not None else EMPTY,
        tag("span", {"class": "best"}, text("Best")) if picture.winner else EMPTY,
    ]
    shown = tag("div", {"class": "frame"}, _image(picture), join(badges))
    name = "card winner" if picture.winner else "card"
    return tag("figure", {"class": name}, shown, tag("figcaption", {}, join(lines)))


def _image(picture: Picture) -> Markup:
    made = inline(picture.image)
    if made is None:
        return tag("div", {"class": "absent"}, text("This picture could not be read."))
    known = [
        f"rank {picture.rank}" if picture.rank is not None else "",
        f"score {number(picture.score, 2)}" if picture.score is not None else "",
        f"seed {picture.seed}" if picture.seed is not None else "",
    ]
    words = ", ".join(part for part in [picture.caption, *known] if part) or "picture"
    name = "small" if made.small else None
    size = {"width": made.width, "height": made.height}
    return tag("img", {"class": name, "src": made.address, "alt": words, "loading": "lazy", **size})


def _chart(section: Chart) -> Markup:
    drawn = _scroll(section.title or "Chart", charts.draw(section))
    return tag(
        "section", {"class": "chart"}, _title(section.title), charts.legend(section), drawn, _remark(section.note)
    )


def _forest(section: Forest) -> Markup:
    drawn = _scroll(section.title or "Differences", forest.draw(section))
    return tag("section", {"class": "spans"}, _title(section.title), drawn, _remark(section.note))


def _matrix(section: Matrix) -> Markup:
    drawn = _scroll(section.title or "Pictures", matrix.draw(section), "scroll tall")
    name = "wide" if len(section.columns) > 4 else None
    return tag("section", {"class": name}, _title(section.title), matrix.legend(section), drawn, _remark(section.note))


def _table(section: Table) -> Markup:
    columns = [column if isinstance(column, Column) else Column(column) for column in section.columns]
    numeric = [_is_numeric(section, i) for i in range(len(columns))]
    heads = [
        tag(
            "th",
            {"scope": "col", "class": "number" if is_number else None},
            tag("button", {"type": "button"}, text(c.name)),
        )
        for c, is_number in zip(columns, numeric, strict=True)
    ]
    rows = [
        tag(
            "tr",
            {"class": "marked" if i in section.marked else None},
            join([_cell(value, c, is_number) for value, c, is_number in zip(row, columns, numeric, strict=True)]),
        )
        for i, row in enumerate(section.rows)
    ]
    whole = tag("table", {}, tag("thead", {}, tag("tr", {}, join(heads))), tag("tbody", {}, join(rows, "\n")))
    shown = join([_scroll(section.title or "Table", whole), _remark(section.note)])
    name = "wide" if len(columns) > _MANY else None
    if section.folded:
        summary = tag("summary", {}, text(f"{section.title or 'Table'} ({len(section.rows):,} rows)"))
        return tag("section", {"class": name}, tag("details", {}, summary, shown))
    return tag("section", {"class": name}, _title(section.title), shown)


def _scroll(words: str, inside: Markup, name: str = "scroll") -> Markup:
    """Return what may be wider than the window, in a field that the keyboard reaches and scrolls."""
    return tag("div", {"class": name, "role": "region", "aria-label": words, "tabindex": "0"}, inside)


def _is_numeric(section: Table, column: int) -> bool:
    values = [row[column] for row in section.rows if row[column] is not None]
    return bool(values) and all(isinstance(value, int | float) for value in values)


def _cell(value: Cell, column: Column, is_number: bool) -> Markup:
    classes = " ".join(name for name, on in (("number", is_number), ("mono", column.mono)) if on)
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    sort = "" if missing else repr(value) if isinstance(value, int | float) else str(value)
    shown = value if isinstance(value, str) else number(value, column.digits)
    return tag("td", {"class": classes or None, "data-sort": sort}, text(shown))


def number(value: float | None, digits: int | None = None) -> str:
    """Return a number as people read it; a dash for None and NaN. Without `digits`, whole numbers stay whole."""
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value) or (digits is None and isinstance(value, int)):
        return str(value)
    if digits is None:
        digits = 0 if value == int(value) else 3
    return f"{value:.{digits}f}"


def _title(words: str) -> Markup:
    return tag("h2", {}, text(words)) if words else EMPTY


def _remark(words: str) -> Markup:
    return _paragraphs(words, "remark")


def _paragraphs(words: str, name: str | None = None) -> Markup:
    parts = [part.strip() for part in words.split("\n\n") if part.strip()]
    return join([tag("p", {"class": name}, text(part)) for part in parts])


def _theme_button() -> Markup:
    return tag("button", {"type": "button", "class": "theme", "hidden": True}, text("Dark"))


def _policy(style: str, script: str) -> str:
    # Even if something slipped through the escaping, a browser would neither run it nor fetch anything for it.
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")


@lru_cache(maxsize=4)
def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _write_whole(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
        # mkstemp makes files that only the owner may read; a report is made to be passed on.
        os.chmod(name, 0o644)  # noqa: PTH101 - the path is a plain name here
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


_RENDERERS: Mapping[type, Callable[[Any], Markup]] = {
    Headline: _headline,
    Text: _text,
    Note: _note,
    Facts: _facts,
    Gallery: _gallery,
    Pair: _pair,
    Chart: _chart,
    Table: _table,
    Forest: _forest,
    Matrix: _matrix,
}
