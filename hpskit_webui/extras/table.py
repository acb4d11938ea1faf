"""The table of a batch of the Extras tab: CSV and HTML beside its images, kept up to date while the batch runs.

The host tells nobody that a batch is over, so the CSV grows with every image, and the page follows at short intervals.
"""

from __future__ import annotations

import csv
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...hpskit.ledger.export import cell
from ..judge import Judged
from ..record import recording

SUBFOLDER = "hps-below"
INTERVAL = 3.0
"""Seconds between two versions of the page."""
MOST_ROWS = 5000
"""Rows of the page; the CSV has all."""


@dataclass(frozen=True)
class Row:
    """One scored image of a batch."""

    batch: str
    """Time at which the batch began, as the host names it."""
    source: str
    judged: Judged


@dataclass
class Table:
    """The tables of one batch."""

    stem: Path
    names: tuple[str, ...]
    rows: list[tuple[Row, Path]] = field(default_factory=list)
    written: float = -math.inf
    shown: int = 0
    """Rows that the page has."""


_tables: dict[str, Table] = {}


def saved(picture: Any, filename: str) -> Path:
    """Take in that a result was saved, and return where it lies; it goes aside when its score is low.

    `picture` is an `extras.Fresh`.
    """
    from ...hpskit.commands.files import place

    path = Path(filename).absolute()
    if picture.aside:
        path = place(path, path.parent / SUBFOLDER, move=True)
        from ..record import pictures

        recording.saved([(pictures.hash_of(picture), str(path))])
    if picture.row is not None:
        _add(picture.row, path, path.parent.parent if picture.aside else path.parent)
    return path


def finish() -> None:
    """Write the page of a batch that is over, where its last images have come since the page was written."""
    for table in _tables.values():
        if table.shown < len(table.rows):
            _write_page(table)


def newest() -> str:
    """Return the name of the table of the batch in work, or of the one that has just ended; "" where it has none."""
    from modules import shared

    table = _tables.get(shared.state.job_timestamp)
    return f"{table.stem.name}.csv" if table is not None else ""


def _add(row: Row, path: Path, folder: Path) -> None:
    table = _tables.get(row.batch)
    if table is None:
        _tables.clear()  # one batch runs at a time
        table = _tables[row.batch] = Table(_free(folder / f"hps-scores-{row.batch}"), tuple(row.judged.scores))
    table.rows.append((row, path))
    _append(table, row, path)
    now = time.monotonic()
    if now - table.written >= INTERVAL or _is_last():
        table.written = now
        _write_page(table)


def _free(stem: Path) -> Path:
    number, free = 2, stem
    while any(os.path.lexists(f"{free}{suffix}") for suffix in (".csv", ".html")):
        free, number = stem.with_name(f"{stem.name}-{number}"), number + 1
    return free


def _append(table: Table, row: Row, path: Path) -> None:
    new = len(table.rows) == 1
    with Path(f"{table.stem}.csv").open("a", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        if new:
            writer.writerow(["file", "source", *table.names, "prompt"])
        scores = [row.judged.scores.get(name, "") for name in table.names]
        writer.writerow([cell(str(path)), cell(row.source), *scores, cell(row.judged.text)])


def _is_last() -> bool:
    from modules import shared

    return bool(shared.state.job_no >= shared.state.job_count)


def _write_page(table: Table) -> None:
    from ...hpskit.report import Column, Note, Report, write_report
    from ...hpskit.report import Table as Rows

    best = sorted(table.rows, key=lambda entry: -entry[0].judged.main if entry[0].judged.known else math.inf)
    shown = [
        [path.name, *(row.judged.scores.get(name) for name in table.names), row.judged.text[:500], row.source]
        for row, path in best[:MOST_ROWS]
    ]
    columns = [Column("file", mono=True), *(Column(name, 4) for name in table.names), Column("prompt"), Column("from")]
    left = f"The best {MOST_ROWS:,} of {len(best):,}." if len(best) > MOST_ROWS else ""
    title = f"Scores of {len(best):,} image{'' if len(best) == 1 else 's'}"
    table.shown = len(table.rows)
    write_report(f"{table.stem}.html", Report(title, sections=(Note(), Rows(columns, shown, note=left))))
