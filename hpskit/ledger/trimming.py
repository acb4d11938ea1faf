"""Deleting: rows up to a time, and what is oldest when the ledger grows too large. Picks are never deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

LARGE_WORKFLOW: Final = 64 * 2**10
"""Bytes, compressed; larger ones go before anything else."""
SHARE: Final = 0.9
"""Part of the size limit that trimming leaves."""

_ORPHANS: Final = (
    "DELETE FROM thumbnails WHERE hash NOT IN (SELECT thumbnail FROM entries WHERE thumbnail IS NOT NULL)",
    "DELETE FROM workflows WHERE hash NOT IN (SELECT workflow FROM entries WHERE workflow IS NOT NULL)",
    "DELETE FROM cells WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE e.id = cells.entry)",
    "DELETE FROM saved WHERE image NOT IN (SELECT image FROM entries)",
    "DELETE FROM scorers WHERE id NOT IN (SELECT scorer FROM entries)",
    # A pick stays meaningful with its prompt.
    "DELETE FROM prompts WHERE id NOT IN (SELECT prompt FROM entries) AND id NOT IN (SELECT prompt FROM picks) "
    "AND id NOT IN (SELECT negative FROM entries WHERE negative IS NOT NULL)",
)


def size(connection: sqlite3.Connection) -> int:
    """Return the bytes in use, empty pages not counted."""
    pages, free, page = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * page


def purge(connection: sqlite3.Connection, before: float | None) -> int:
    """Delete the rows older than `before` (all when None) with everything that only they used; return how many."""
    condition, values = ("", ()) if before is None else ("WHERE time < ?", (before,))
    deleted = connection.execute(f"DELETE FROM entries {condition}", values).rowcount
    _sweep(connection)
    return deleted


def delete(connection: sqlite3.Connection, ids: Sequence[int]) -> int:
    """Delete rows with everything that only they used; return how many there were."""
    deleted = sum(connection.execute("DELETE FROM entries WHERE id = ?", (id,)).rowcount for id in dict.fromkeys(ids))
    _sweep(connection)
    return deleted


def trim(connection: sqlite3.Connection, limit: int) -> None:
    """Delete large workflows, then thumbnails, then rows, the oldest first, until 90 % of `limit` are in use."""
    goal = int(limit * SHARE)
    while (excess := size(connection) - goal) > 0:
        part = excess // 2  # how much a record frees is not known before: close in on the goal from above
        large = _trim_blobs(connection, "workflows", "graph", part, LARGE_WORKFLOW)
        if not (large or _trim_blobs(connection, "thumbnails", "data", part) or _trim_rows(connection, part)):
            break


def _trim_blobs(connection: sqlite3.Connection, table: str, data: str, excess: int, above: int = 0) -> int:
    """Delete the oldest of a table that have more than `above` bytes, until `excess` bytes are freed."""
    freed, last = 0, None
    wanted = f"FROM {table} WHERE length({data}) > ?"
    for id, length in connection.execute(f"SELECT id, length({data}) {wanted} ORDER BY id", (above,)):
        freed, last = freed + length, id
        if freed >= excess:
            break
    return connection.execute(f"DELETE {wanted} AND id <= ?", (above, last)).rowcount


def _trim_rows(connection: sqlite3.Connection, excess: int) -> int:
    """Delete as large a part of the rows as the excess is of the whole, but at least one."""
    rows = int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])
    part = min(rows, 1 + rows * excess // max(size(connection), 1))
    text = "DELETE FROM entries WHERE id IN (SELECT id FROM entries ORDER BY id LIMIT ?)"
    deleted = connection.execute(text, (part,)).rowcount
    _sweep(connection)
    return deleted


def _sweep(connection: sqlite3.Connection) -> None:
    for statement in _ORPHANS:
        connection.execute(statement)


def give_back(connection: sqlite3.Connection, checkpoint: bool) -> None:
    """Return empty pages to the disk, outside of a transaction; with `checkpoint` those of the log too."""
    connection.executescript("PRAGMA incremental_vacuum")  # a page a step; execute() would take one step only
    if checkpoint:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
