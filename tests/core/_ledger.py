"""Entries, and ledgers looked at without the library, for the tests of the ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from hpskit.ledger import Entry, Ledger, schema

SCORER = {"scorer": "hps-v2.1", "scorer_version": "1", "preprocess": "pad", "dtype": "float32"}
FIRST = schema.before_first
"""What tells the first number of a new file; in the tests of this folder that is 1."""


def entry(score: float = 27.0, prompt: str = "a red fox", **more: Any) -> Entry:
    return Entry(**{**SCORER, "prompt": prompt, "score": score, **more})


def sql(path: Path, text: str, *values: Any) -> list[tuple[Any, ...]]:
    """Ask the file as anybody with SQLite could."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(text, values).fetchall()
        connection.commit()
    return found


def is_sound(path: Path) -> bool:
    return sql(path, "PRAGMA integrity_check") == [("ok",)]


def aside(folder: Path) -> list[Path]:
    """Return the ledgers that were set aside, without their logs."""
    return sorted(file for file in folder.glob("*.corrupt-*") if not file.name.endswith(("-wal", "-shm")))


def instructions(ledger: Ledger, work: Callable[[], object]) -> int:
    """Return how many hundred instructions of SQLite's virtual machine `work` takes; no clock is needed."""
    ledger.summary()  # opens the file
    connection, counted = ledger._connection, [0]
    assert connection is not None

    def tick() -> int:
        counted[0] += 1
        return 0

    connection.set_progress_handler(tick, 100)
    try:
        work()
    finally:
        connection.set_progress_handler(None, 0)
    assert counted[0], "nothing was counted: the ledger took another connection"
    return counted[0]
