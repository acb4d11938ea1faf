"""Entries, and ledgers looked at without the library, for the tests of the ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from hpskit.ledger import Entry, schema

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
