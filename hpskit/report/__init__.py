"""Self-contained HTML report: one file that opens anywhere, with pictures inside and nothing fetched from anywhere.

>>> from hpskit.report import Headline, Figure, Note, Report, write_report
>>> report = Report("Best of 8", sections=[Headline([Figure("+1.4", "gain")]), Note()])
>>> write_report("report.html", report)  # doctest: +SKIP
"""

from __future__ import annotations

from .page import render, write_report
from .sections import (
    ONE_PROMPT,
    Chart,
    Column,
    Facts,
    Field,
    Figure,
    Foot,
    Forest,
    Gallery,
    Head,
    Headline,
    Line,
    Matrix,
    Note,
    Pair,
    Picture,
    Report,
    Section,
    Span,
    Table,
    Text,
    Tone,
)

__all__ = [
    "ONE_PROMPT",
    "Chart",
    "Column",
    "Facts",
    "Field",
    "Figure",
    "Foot",
    "Forest",
    "Gallery",
    "Head",
    "Headline",
    "Line",
    "Matrix",
    "Note",
    "Pair",
    "Picture",
    "Report",
    "Section",
    "Span",
    "Table",
    "Text",
    "Tone",
    "render",
    "write_report",
]
