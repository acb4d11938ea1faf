"""Comparing settings the way a careful experimenter would: same prompts, same noises, and a verdict with its error."""

from __future__ import annotations

from .analysis import analyse
from .export import from_json, to_json, write_csv, write_json
from .grid import grid_picture
from .page import study_report
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
from .table import table_text

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
    "from_json",
    "grid_picture",
    "study_report",
    "table_text",
    "to_json",
    "write_csv",
    "write_json",
]
