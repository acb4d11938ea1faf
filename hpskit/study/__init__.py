"""Comparing settings the way a careful experimenter would: same prompts, same noises, and a verdict with its error."""

from __future__ import annotations

from .analysis import analyse
from .records import (
    CLEAR,
    LEANING,
    NO_EVIDENCE,
    Analysis,
    Axis,
    Cell,
    Comparison,
    Interval,
    Setting,
    Standing,
    Study,
    Units,
    Verdict,
    cell_index,
)

__all__ = [
    "CLEAR",
    "LEANING",
    "NO_EVIDENCE",
    "Analysis",
    "Axis",
    "Cell",
    "Comparison",
    "Interval",
    "Setting",
    "Standing",
    "Study",
    "Units",
    "Verdict",
    "analyse",
    "cell_index",
]
