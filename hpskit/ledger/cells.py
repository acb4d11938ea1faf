"""The ledger's memory: which row was made of what, by the key of a cell of a comparison."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ..errors import LedgerError
from .queries import chunks, storable

_KEY: Final = re.compile("[0-9a-f]{64}")


def texts(keys: Iterable[str]) -> list[str]:
    """Return keys as given, each once, in order; LedgerError for one that is not a sha256 in hex."""
    found = list(dict.fromkeys(keys))
    for key in found:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise LedgerError(f"{key!r} is no key of a cell: a sha256 in 64 small hex digits is one.")
    return found


def packed(cells: Iterable[tuple[str, int]]) -> list[tuple[bytes, int]]:
    """Return pairs of key and row as they are stored, those without a row left out; of one key the last counts."""
    newest = dict(cells)
    texts(newest)
    return [(bytes.fromhex(key), id) for key, id in newest.items() if id and storable(id)]


def write(connection: sqlite3.Connection, cells: Sequence[tuple[bytes, int]], time: float) -> None:
    """Store pairs inside a transaction, but for rows that are not there."""
    known = "SELECT ?, id, ? FROM entries WHERE id = ? AND NOT EXISTS (SELECT 1 FROM cells WHERE key = ? AND entry = ?)"
    connection.executemany(
        f"INSERT OR REPLACE INTO cells (key, entry, time) {known}", [(key, time, id, key, id) for key, id in cells]
    )


def read(connection: sqlite3.Connection, keys: Sequence[str]) -> Mapping[str, int]:
    """Return the ids of rows by key, in the order of the keys."""
    found: dict[str, int] = {}
    for chunk in chunks([bytes.fromhex(key) for key in keys]):
        wanted = f"SELECT key, entry FROM cells WHERE key IN ({','.join('?' * len(chunk))})"
        found |= {bytes(key).hex(): int(id) for key, id in connection.execute(wanted, chunk)}
    return {key: found[key] for key in keys if key in found}
