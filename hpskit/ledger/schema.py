"""The tables of the ledger and the steps from each version of them to the next."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import Final

from ..errors import LedgerError

APPLICATION: Final = 0x4850534C
"""SQLite application_id: "HPSL"."""

_TABLES: Final = (
    """CREATE TABLE prompts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        hash BLOB NOT NULL UNIQUE,
        text TEXT NOT NULL)""",
    """CREATE TABLE scorers (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        fingerprint TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        preprocess TEXT NOT NULL,
        dtype TEXT NOT NULL,
        checkpoint TEXT NOT NULL)""",
    """CREATE TABLE workflows (
        id INTEGER PRIMARY KEY,
        hash BLOB NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        graph BLOB NOT NULL)""",  # zlib-compressed JSON
    """CREATE TABLE thumbnails (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        hash BLOB NOT NULL UNIQUE,
        data BLOB NOT NULL)""",
    # Numbers and short texts come first: what is sorted and filtered by lies before the long texts of a record.
    """CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time REAL NOT NULL,
        digest BLOB NOT NULL UNIQUE,
        prompt INTEGER NOT NULL REFERENCES prompts (id),
        scorer INTEGER NOT NULL REFERENCES scorers (id),
        score REAL NOT NULL,
        negative INTEGER REFERENCES prompts (id),
        steps INTEGER,
        cfg REAL,
        denoise REAL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        seed TEXT,
        model TEXT NOT NULL,
        sampler TEXT NOT NULL,
        scheduler TEXT NOT NULL,
        source TEXT NOT NULL,
        image TEXT NOT NULL,
        subject INTEGER NOT NULL,
        thumbnail BLOB,
        workflow BLOB,
        run TEXT NOT NULL,
        file TEXT NOT NULL,
        loras TEXT,
        parts TEXT,
        extra TEXT)""",
    "CREATE INDEX entries_time ON entries (time)",
    "CREATE INDEX entries_group ON entries (prompt, scorer, subject, score)",
    "CREATE INDEX entries_image ON entries (image)",
    "CREATE INDEX entries_file ON entries (file) WHERE file != ''",
    """CREATE TABLE saved (
        id INTEGER PRIMARY KEY,
        time REAL NOT NULL,
        image TEXT NOT NULL,
        file TEXT NOT NULL)""",
    "CREATE INDEX saved_image ON saved (image)",
    "CREATE INDEX saved_file ON saved (file)",
    """CREATE TABLE picks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time REAL NOT NULL,
        prompt INTEGER NOT NULL REFERENCES prompts (id),
        kind TEXT NOT NULL,
        outcome TEXT NOT NULL,
        seconds REAL)""",
    "CREATE INDEX picks_prompt ON picks (prompt)",
    """CREATE TABLE pick_images (
        pick INTEGER NOT NULL REFERENCES picks (id),
        position INTEGER NOT NULL,
        entry INTEGER NOT NULL,
        image TEXT NOT NULL,
        chosen INTEGER NOT NULL,
        PRIMARY KEY (pick, position)) WITHOUT ROWID""",
    # Every score that the image had under the pick's prompt: a pick outlives the rows it was made of.
    """CREATE TABLE pick_scores (
        pick INTEGER NOT NULL REFERENCES picks (id),
        position INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        scorer TEXT NOT NULL,
        score REAL NOT NULL,
        shown INTEGER NOT NULL,
        PRIMARY KEY (pick, position, fingerprint)) WITHOUT ROWID""",
)

# What a comparison made is found again by a key of all that made it. WITHOUT ROWID: the table is its own index.
_CELLS: Final = (
    """CREATE TABLE cells (
        key BLOB PRIMARY KEY,
        entry INTEGER NOT NULL REFERENCES entries (id),
        time REAL NOT NULL) WITHOUT ROWID""",
)

_FIRST_TABLES: Final = (
    *("prompts", "scorers", "workflows", "thumbnails", "entries", "saved", "picks", "pick_images", "pick_scores"),
)
TABLES: Final = (*_FIRST_TABLES, "cells")


def _fixed(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        f"CREATE TRIGGER {name}_fixed BEFORE UPDATE ON {name} "
        "BEGIN SELECT RAISE (ABORT, 'the ledger is append-only: rows are never updated'); END"
        for name in names
    )


STEPS: tuple[tuple[str, ...], ...] = ((*_TABLES, *_fixed(_FIRST_TABLES)), (*_CELLS, *_fixed(("cells",))))
"""Step i turns version i into version i + 1; an empty file has version 0. Shipped steps are never edited."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring an empty or older ledger to the newest version in one transaction.

    LedgerError, and nothing touched, when it was written by a newer version or is the database of another program.
    """
    if version(connection) == len(STEPS):
        return
    connection.execute("BEGIN IMMEDIATE")  # another process may be at it: look again once it is done
    known = version(connection)
    for step in STEPS[known:]:
        for statement in step:
            connection.execute(statement)
    if known == 0:
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('entries', ?)", (before_first(),))
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {len(STEPS)}")
    connection.execute("COMMIT")


def before_first() -> int:
    """Return the number after which a new file counts its rows: Unix milliseconds.

    Pages and caches remember rows by their numbers; those of a file that was deleted or set aside must not come again.
    """
    return time.time_ns() // 1_000_000


def is_whole(connection: sqlite3.Connection) -> bool:
    """Say whether a ledger of the newest version has the tables, indexes and triggers of one."""
    with closing(sqlite3.connect(":memory:")) as fresh:
        for step in STEPS:
            for statement in step:
                fresh.execute(statement)
        wanted = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        return set(fresh.execute(wanted)) <= set(connection.execute(wanted))


def version(connection: sqlite3.Connection) -> int:
    """Return the version of a ledger; LedgerError when it is a newer one, or the database of another program."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    known = int(connection.execute("PRAGMA user_version").fetchone()[0])
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application != APPLICATION and not empty:
        raise LedgerError("it is the database of another program; give the ledger a path of its own")
    if not 0 <= known <= len(STEPS):
        raise LedgerError(
            f"it was written by a newer version of this software (format {known}, known up to {len(STEPS)}); "
            "update, or give the ledger another path"
        )
    return known
