"""How the tab shows things: tables, remarks and framed pages; every text in them stays text."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gradio as gr

from ...hpskit.errors import HpsError
from ...hpskit.report.markup import Markup, join, tag, text
from ..api.guard import Refused, check_headers
from ..record import pictures

log = logging.getLogger("hps")

_SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)

STYLE = """<style>
.hps-table {width: 100%; border-collapse: collapse; font-size: 14px; color: var(--body-text-color)}
.hps-table, .hps-table thead, .hps-table tbody, .hps-table tr {border: 0 !important}
.hps-table th {text-align: left; font-weight: 600; white-space: nowrap}
.hps-table th, .hps-table td {padding: 6px 10px; border: 0 !important;
  border-bottom: 1px solid var(--border-color-primary) !important;
  vertical-align: top; overflow-wrap: anywhere}
.hps-table td.hps-number, .hps-table th.hps-number {text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; overflow-wrap: normal}
.hps-table td.hps-picture {width: 132px}
.hps-table td:not(.hps-number):not(.hps-picture) {min-width: 8em}
.hps-table td.hps-number:first-child, .hps-table th.hps-number:first-child {width: 1%}
.hps-table img {max-width: 128px !important; max-height: 128px; border-radius: 4px; display: block; margin: 0}
.hps-table tr.hps-marked td {background: var(--background-fill-secondary)}
.hps-table small, .hps-dim {color: var(--body-text-color-subdued); font-size: 13px}
.hps-scroll {overflow: auto; max-height: 75vh}
.hps-said {margin: 4px 0; color: var(--body-text-color); overflow-wrap: anywhere}
.hps-trouble {border-left: 3px solid #d97706; padding-left: 10px}
.hps-table tr[data-row] {cursor: pointer}
.hps-table tr[data-row]:hover td, .hps-table tr[data-row]:focus td {background: var(--background-fill-secondary)}
.hps-table tr.hps-chosen td {box-shadow: inset 0 2px var(--color-accent), inset 0 -2px var(--color-accent)}
.hps-unseen {display: none !important}
#hps_files_uploads .wrap, #hps_compare_study .wrap {min-height: 96px}
.hps-frame {width: 100%; height: 75vh; border: 1px solid var(--border-color-primary); border-radius: 6px}
</style>"""

Cell = Any
"""A text, a number, Markup, or None for a dash."""


def said(words: str) -> str:
    """Return a remark; an empty line begins a new paragraph."""
    parts = [part.strip() for part in words.split("\n") if part.strip()]
    return join([tag("p", {"class": "hps-said"}, text(part)) for part in parts])


def trouble(words: str) -> str:
    """Return what went wrong."""
    return tag("p", {"class": "hps-said hps-trouble"}, text(words))


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    numbers: Sequence[int] = (),
    marked: Any = (),
    names: Sequence[str] = (),
) -> Markup:
    """Return a table; `numbers` are the columns that are set to the right, `marked` the rows that are set off.

    Rows with `names` can be chosen with a click or the keyboard, see javascript/hps_tab.js.
    """
    top = join([tag("th", {"class": "hps-number" if k in numbers else None}, text(h)) for k, h in enumerate(heads)])
    body = join(
        [
            tag(
                "tr", {"class": "hps-marked" if at in marked else None, **_named(names, at)}, join(_cells(row, numbers))
            )
            for at, row in enumerate(rows)
        ]
    )
    whole = tag("table", {"class": "hps-table"}, tag("thead", {}, tag("tr", {}, top)), tag("tbody", {}, body))
    return tag("div", {"class": "hps-scroll"}, whole)


def _named(names: Sequence[str], at: int) -> dict[str, str]:
    return {"data-row": names[at], "tabindex": "0"} if at < len(names) else {}


def _cells(row: Sequence[Cell], numbers: Sequence[int]) -> Iterator[Markup]:
    for k, value in enumerate(row):
        name = "hps-number" if k in numbers else "hps-picture" if isinstance(value, Picture) else None
        yield tag("td", {"class": name}, value.markup() if hasattr(value, "markup") else text(_shown(value)))


def _shown(value: Cell) -> str:
    return "\N{EN DASH}" if value is None else str(value)


class Picture:
    """A thumbnail in a table."""

    def __init__(self, data: bytes | None, words: str = "") -> None:
        self.address, self.words = pictures.data_address(data), words

    def markup(self) -> Markup:
        """Return the picture, or a dash."""
        if self.address is None:
            return text("\N{EN DASH}")
        return tag("img", {"src": self.address, "alt": self.words, "loading": "lazy"})


class Lines:
    """Several lines in one cell, those after the first in small print."""

    def __init__(self, *lines: str) -> None:
        self.lines = [line for line in lines if line]

    def markup(self) -> Markup:
        """Return the lines."""
        rest = join([tag("div", {}, tag("small", {}, text(line))) for line in self.lines[1:]])
        return join([tag("div", {}, text(self.lines[0] if self.lines else "")), rest])


def framed(page: str) -> str:
    """Return a whole page in a frame that may run nothing, ask nobody and see nothing of the host's page.

    Its own script is taken out: the browser would not run it, and would complain of it.
    """
    page = _SCRIPT.sub("", page)
    return tag("iframe", {"class": "hps-frame", "sandbox": "", "srcdoc": _Source(page), "title": "Report"})


class _Source:
    """A page as an attribute: `text` would replace control characters, which a report has none of."""

    def __init__(self, page: str) -> None:
        self.page = page

    def __str__(self) -> str:
        return self.page


def insist_own_page(request: Any) -> None:
    """Refuse what a page of another site has sent: gradio's queue takes messages from any page in older versions.

    `request` is gradio's; None where the host calls us itself, as in a test.
    """
    headers = getattr(request, "headers", None)
    if headers is not None:
        known = headers.items() if hasattr(headers, "items") else vars(headers).items()
        check_headers({str(name).lower(): str(value) for name, value in known})


def guarded(
    status: Any, failed: Callable[[], Mapping[Any, Any]] = dict
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Turn errors of a callback that returns {component: update} into a remark in the component `status`.

    `failed` gives further updates of an error, such as those that take an older result away. gradio takes an update
    apart, so they are made anew each time.
    """

    def wrap(work: Callable[..., Any]) -> Callable[..., Any]:
        def safe(request: gr.Request, *args: Any) -> Any:
            try:
                insist_own_page(request)
                return work(*args)
            except (HpsError, Refused) as error:
                return {**failed(), status: gr.update(value=trouble(str(error)))}
            except Exception as error:
                log.exception("A step of the HPS tab failed.")
                return {
                    **failed(),
                    status: gr.update(value=trouble(f"This failed: {type(error).__name__}: {error}")),
                }

        return safe

    return wrap


def guarded_steps(status: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Do the same for a callback that yields several times."""

    def wrap(work: Callable[..., Any]) -> Callable[..., Any]:
        def safe(request: gr.Request, *args: Any) -> Any:
            try:
                insist_own_page(request)
                yield from work(*args)
            except (HpsError, Refused) as error:
                yield {status: gr.update(value=trouble(str(error)))}
            except Exception as error:
                log.exception("A step of the HPS tab failed.")
                yield {status: gr.update(value=trouble(f"This failed: {type(error).__name__}: {error}"))}

        return safe

    return wrap
