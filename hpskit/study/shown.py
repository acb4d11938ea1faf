"""What every output of a study needs: clean text, numbers as people read them, z and the best within a block."""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING, Any, Final

from .records import CLEAR, NO_EVIDENCE, Comparison, Interval, Study

if TYPE_CHECKING:
    import numpy as np

NOT_KNOWN: Final = "-"
SCORES_COMPARE: Final = "Scores compare within a row only: one prompt, one seed."
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
"""Marks that turn the direction of whatever follows them, also beyond their own text."""


def plain(text: object) -> str:
    """Return text on one line: white space and control characters as single spaces, no lone surrogates."""
    whole = str(text).encode("utf-8", "replace").decode("utf-8")
    kept = (" " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in whole if c not in _BIDI)
    return " ".join("".join(kept).split())


def columns_of(text: str) -> int:
    """Return how many columns a text takes in a fixed-width face."""
    return sum(_columns(c) for c in text)


def _columns(c: str) -> int:
    return 0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1


def shorten(text: object, width: int) -> str:
    """Return one line of at most `width` columns; of a longer text the middle is left out, for labels end alike."""
    line = plain(text)
    if columns_of(line) <= width:
        return line
    room = max(width - 3, 0)
    head, tail = _first(line, (room + 1) // 2), _first(line[::-1], room // 2)[::-1]
    return f"{head}{'...'[: max(width, 0)]}{tail}"


def _first(text: str, width: int) -> str:
    taken = 0
    for at, c in enumerate(text):
        taken += _columns(c)
        if taken > width:
            return text[:at]
    return text


def excerpt(text: object, width: int) -> str:
    """Return one line of at most `width` columns: the beginning of a text, as of a prompt."""
    line = plain(text)
    return line if columns_of(line) <= width else f"{_first(line, max(width - 3, 0)).rstrip()}..."


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with fixed decimals; a dash where it is not known."""
    return NOT_KNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """Return a number with its sign; a dash where it is not known, and no sign before zero."""
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    return f"{value:+.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"


def chance(value: float | None) -> str:
    """Return a p value; one that is very small only as such."""
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    return "<.001" if value < 0.001 else f"{value:.3f}"


def percent(value: float | None, digits: int = 0) -> str:
    """Return a share as a percentage."""
    return NOT_KNOWN if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def between(interval: Interval, digits: int = 2) -> str:
    """Return an interval such as "-0.10 to +0.93"; a dash where neither end is known."""
    low, high = signed(interval.low, digits), signed(interval.high, digits)
    return NOT_KNOWN if low == high == NOT_KNOWN else f"{low} to {high}"


def is_better(comparison: Comparison) -> bool:
    """Tell whether the setting scored above what it was compared with."""
    return comparison.difference > 0


def verdict_words(comparison: Comparison) -> str:
    """Return the verdict with its direction: "clear: better", "leaning worse"; "no evidence" has none.

    "no pairs" where there was nothing to judge by.
    """
    if not comparison.pairs:
        return "no pairs"
    if comparison.verdict == NO_EVIDENCE or not comparison.difference:
        return comparison.verdict
    way = "better" if is_better(comparison) else "worse"
    return f"{comparison.verdict}{':' if comparison.verdict == CLEAR else ''} {way}"


def wanted(comparison: Comparison) -> float:
    """Return what the grid would have found; NaN where something was found, for then it only confuses."""
    return math.nan if comparison.verdict == CLEAR else comparison.detectable


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: "1 seed", "4 seeds"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def design(study: Study) -> str:
    """Return the size of a study in words."""
    parts = [
        counted(len(study.settings), "setting"),
        counted(len(study.prompts), "prompt"),
        counted(len(study.seeds), "seed"),
    ]
    return " x ".join(parts)


def relative(study: Study) -> np.ndarray:
    """Return every score minus the mean of its block, [settings, prompts, seeds]; NaN where there is no score."""
    import numpy as np

    scores = _finite(study.scores())
    there = np.isfinite(scores)
    count = there.sum(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(there, scores, 0.0).sum(axis=0) / np.maximum(count, 1)
        return np.asarray(scores - mean)


def block_z(study: Study) -> np.ndarray:
    """Return every score in standard deviations (n - 1) of its block from its mean, [settings, prompts, seeds].

    NaN where there is no score and where a block has a single one; 0 where all scores of a block are equal.
    """
    import numpy as np

    off = relative(study)
    there = np.isfinite(off)
    count = there.sum(axis=0)
    with np.errstate(over="ignore"):  # scores that large are no scores; their z is 0
        spread = np.sqrt((np.where(there, off, 0.0) ** 2).sum(axis=0) / np.maximum(count - 1, 1))
    largest = np.where(there, np.abs(study.scores()), 0.0).max(axis=0)
    level = spread <= 1e-9 * np.maximum(1.0, largest)
    z = np.where(level, np.where(there, 0.0, np.nan), off / np.where(level, 1.0, spread))
    return np.asarray(np.where(count < 2, np.nan, z))


def block_best(study: Study) -> np.ndarray:
    """Return which cells are the best of their block, bool [settings, prompts, seeds]; none where all are equal."""
    import numpy as np

    off = np.where(np.isfinite(relative(study)), relative(study), -np.inf)
    z = block_z(study)
    alike = ~(np.where(np.isfinite(z), np.abs(z), 0.0) > 0).any(axis=0)
    return np.asarray((off == off.max(axis=0)) & np.isfinite(off) & ~alike)


def axis_value(study: Study, setting: int, axis: str) -> str:
    """Return the value of a setting on an axis; "" where it has none."""
    return str(study.settings[setting].values.get(axis, ""))


def _finite(scores: Any) -> Any:
    import numpy as np

    return np.where(np.isfinite(scores), scores, np.nan)
