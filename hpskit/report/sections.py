"""What a report is made of: plain frozen data. Every text is shown as it is typed; nothing is read as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union

if TYPE_CHECKING:
    import torch

    Image = Union[str, Path, torch.Tensor, Any]
    """A file, a canonical tensor [3, H, W] in 0..1, a PIL image, or the bytes of a picture file."""

Tone = Literal["better", "worse", "leaning", "none", "reference"]
"""How a finding is coloured; its words say the same."""
Cell = Union[str, int, float, None]
"""None and NaN are shown as a dash and sorted last."""

ONE_PROMPT = (
    "Only images of one prompt compare. A score depends far more on the prompt than on the picture, so numbers of "
    "different prompts, scorers or preprocessings must not be set side by side."
)
"""The text of the note that every report with scores carries."""


@dataclass(frozen=True)
class Figure:
    """One large number with a label below it."""

    value: str
    label: str
    detail: str = ""


@dataclass(frozen=True)
class Headline:
    """The one to four numbers that a reader should take away."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class Text:
    """Paragraphs; an empty line begins a new one."""

    body: str
    title: str = ""


@dataclass(frozen=True)
class Note:
    """A remark set apart from the text."""

    body: str = ONE_PROMPT


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    digits: int | None = None
    """Decimals of its numbers; None shows whole numbers whole and others with three."""
    mono: bool = False
    """Set in a fixed-width face: seeds, hashes, file names."""


@dataclass(frozen=True)
class Table:
    """Rows that the reader can sort by any column."""

    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""
    marked: frozenset[int] = frozenset()
    """Positions of the rows to set off, such as the winner's."""
    folded: bool = False
    """Whether the table opens on a click; for long ones that few readers need."""


@dataclass(frozen=True)
class Picture:
    """An image with what is known of it."""

    image: Image
    caption: str = ""
    rank: int | None = None
    """1 for the best."""
    score: float | None = None
    seed: int | None = None
    winner: bool = False


@dataclass(frozen=True)
class Gallery:
    """Pictures in the given order, as many beside each other as fit."""

    pictures: Sequence[Picture]
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Pair:
    """Two pictures side by side, such as the first seed and the best."""

    before: Picture
    after: Picture
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a chart: points (x, y) with x increasing; points that are not finite leave a gap."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False
    """For what is expected or a baseline, beside what was measured."""


@dataclass(frozen=True)
class Chart:
    """A line chart with labelled axes."""

    lines: Sequence[Line]
    x_label: str
    y_label: str
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Names and values that identify a result: scorer, domain, preprocessing, dtype, versions."""

    items: Sequence[tuple[str, str]]
    title: str = "Key facts"


@dataclass(frozen=True)
class Span:
    """One difference of a forest plot with its intervals, in the unit of the plot; what is not finite is not drawn."""

    label: str
    value: float
    interval: tuple[float, float]
    """Drawn thick."""
    outer: tuple[float, float]
    """Drawn thin and written out: the interval that the verdict rests on."""
    verdict: str = ""
    tone: Tone = "none"
    blur: float = float("nan")
    """Differences smaller than this, either way, are too small for the data: a grey field behind the interval."""


@dataclass(frozen=True)
class Forest:
    """Differences with their intervals below each other, on one axis with a line at zero."""

    spans: Sequence[Span]
    x_label: str
    name: str = "setting"
    """Head of the labels."""
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Head:
    """What stands above a column of a matrix or before a row."""

    title: str
    detail: str = ""
    starts: bool = False
    """Of a row: whether a new group begins."""


@dataclass(frozen=True)
class Field:
    """One picture of a matrix."""

    image: Image | None = None
    """None where there is none, or none that can be read."""
    value: str = ""
    z: float = float("nan")
    """Colours the field: orange below 0, blue above, at full strength from 2; written beside the value."""
    best: bool = False
    caption: str = ""
    """Read out for the picture, and shown with it when it is enlarged."""


@dataclass(frozen=True)
class Foot:
    """What is said below a column of a matrix."""

    main: str
    detail: str = ""
    verdict: str = ""
    tone: Tone = "none"


@dataclass(frozen=True)
class Matrix:
    """Pictures in rows and columns with heads that stay in sight; a field that is None was never made."""

    columns: Sequence[Head]
    rows: Sequence[Head]
    fields: Sequence[Sequence[Field | None]]
    feet: Sequence[Foot] = ()
    feet_title: str = ""
    key: str = "z within the row"
    """What the colours stand for."""
    title: str = ""
    note: str = ""


Section = Union[Headline, Text, Note, Table, Gallery, Pair, Chart, Facts, Forest, Matrix]


@dataclass(frozen=True)
class Report:
    """A whole report."""

    title: str
    intro: str = ""
    sections: Sequence[Section] = field(default_factory=tuple)
    footer: str = ""
