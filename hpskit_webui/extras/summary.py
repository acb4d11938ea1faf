"""What stands under the results of several images in the Extras tab: a line for each score, the best first.

The host shows the text of the last image alone. Its function for all images of a press is wrapped, and the lines are
put behind that text, where programs find them as well.
"""

from __future__ import annotations

import functools
import logging
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...hpskit.report.markup import Markup, tag, text
from ..judge import Judged
from . import table as extras_table

log = logging.getLogger("hps")

MOST, MOST_TROUBLES, LONGEST = 20, 5, 120
"""Scores and errors that are listed, and characters of a name."""
_now = threading.local()


@dataclass
class Line:
    """One result."""

    source: str
    """Name of what went in; some hosts do not tell it."""
    judged: Judged | None = None
    trouble: str = ""
    file: str = ""
    """Name of what came out, once it is saved."""

    def name(self, number: int) -> str:
        """Return what the image is called; `number` counts from 1."""
        found = Path(self.source.replace("\\", "/")).name or self.file or f"image {number}"
        return found if len(found) <= LONGEST else f"{found[: LONGEST - 3]}..."


def add(source: Any, judged: Judged | None = None, trouble: str = "") -> Line:
    """Take a result in, scored or not."""
    line = Line(source if isinstance(source, str) else "", judged, trouble)
    lines = getattr(_now, "lines", None)
    if lines is not None:
        lines.append(line)
    return line


def watch() -> None:
    """Wrap the host's function; does nothing twice, and nothing in a host that has none."""
    try:
        from modules import postprocessing
    except ImportError:
        return
    original = getattr(postprocessing, "run_postprocessing", None)
    if original is None or getattr(original, "_hps_watched", False):
        return

    @functools.wraps(original)
    def run_postprocessing(*args: Any, **kwargs: Any) -> Any:
        _now.lines = []
        try:
            result = original(*args, **kwargs)
        finally:
            lines, _now.lines = _now.lines, None
            _guarded(extras_table.finish)
        return _guarded(_with_lines, result, lines) or result

    run_postprocessing._hps_watched = True  # type: ignore[attr-defined]
    postprocessing.run_postprocessing = run_postprocessing


def _guarded(work: Any, *args: Any) -> Any:
    try:
        return work(*args)
    except Exception:
        log.warning("The scores of a batch are not all shown.", exc_info=True)
        return None


def _with_lines(result: Any, lines: list[Line]) -> Any:
    several = isinstance(result, tuple) and len(result) > 1 and isinstance(result[1], str) and len(lines) > 1
    return (result[0], result[1] + str(shown(lines)), *result[2:]) if several else result


def shown(lines: list[Line]) -> Markup:
    """Return the lines as a paragraph; whatever stands in a name stays text."""
    known = [(line.judged, line.name(k)) for k, line in enumerate(lines, 1) if line.judged is not None]
    failed = [(line.name(k), line.trouble) for k, line in enumerate(lines, 1) if line.judged is None]
    ordered = sorted(known, key=lambda one: -one[0].main if one[0].known else math.inf)
    words = [f"{one.words() if one.known else 'no score'} {name}" for one, name in ordered[:MOST]]
    if len(ordered) > MOST:
        table = extras_table.newest()
        words.append(f"and {len(ordered) - MOST:,} more{f', all of them in {table}' if table else ''}")
    words += [f"not scored: {name}: {trouble.splitlines()[0][:300]}" for name, trouble in failed[:MOST_TROUBLES]]
    if len(failed) > MOST_TROUBLES:
        words.append(f"and {len(failed) - MOST_TROUBLES:,} more without a score")
    head = "HPS: no image has a score."
    if ordered:
        head = f"HPS scores of {len(ordered):,} images by {next(iter(ordered[0][0].scores))}, the best first:"
    return tag("div", {"class": "hps-extras"}, *(tag("div", {}, text(word)) for word in (head, *words)))
