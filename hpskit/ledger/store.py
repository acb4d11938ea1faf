"""The ledger itself: one connection behind a lock, opened when it is first needed, and everything it can be asked."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from ..errors import LedgerError
from . import queries, writing
from .entry import Entry, prepare
from .opening import Damaged, connect, explain, identity, is_damage, set_aside
from .records import Page, Query, Row, Summary

log = logging.getLogger("hps")
T = TypeVar("T")

MIN_BYTES = 2**20


class Ledger:
    """The append-only record of every scored image, in one SQLite file on this machine.

    Any thread may use it, several processes may share the file, and a process may fork. Everything here raises
    LedgerError when the file cannot be used and LedgerFull when the disk has no room; both leave it usable.
    """

    def __init__(
        self, path: str | Path, *, max_bytes: int = 256 * 2**20, clock: Callable[[], float] = time.time
    ) -> None:
        """Name the file; it is opened, and made if need be, when it is first used."""
        if max_bytes < MIN_BYTES:
            raise LedgerError(f"A ledger of at most {max_bytes} bytes is too small; allow {MIN_BYTES} or more.")
        self.path = Path(path)
        self.max_bytes = max_bytes
        self.refused = 0
        """Entries that `add` refused so far."""
        self._clock = clock
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        with _forking:
            _ledgers.add(self)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            connection, self._connection, self._opened = self._connection, None, None
            if connection is not None:
                connection.close()

    # --- writing ------------------------------------------------------------------------------------------------------

    def add(self, entries: Iterable[Entry]) -> list[int]:
        """Write entries, each in a transaction of its own, and return their ids; 0 for one that is refused.

        An entry equal to one that is there in everything but time and run is not written again: it gets the old id.
        """
        return [self._add(entry) for entry in entries]

    def _add(self, entry: Entry) -> int:
        prepared = prepare(entry)
        if prepared is None:
            self.refused += 1
            return 0
        return self._use(lambda connection: writing.insert(connection, prepared, self._clock()), write=True)

    # --- reading ------------------------------------------------------------------------------------------------------

    def rows(self, query: Query = Query()) -> Page:  # noqa: B008 (frozen)
        """Return a page of rows and how many there are in all."""
        return self._use(lambda c: Page(queries.load(c, queries.ids(c, query)), queries.count(c, query)))

    def row(self, id: int) -> Row | None:
        """Return one row; None when there is none of that id."""
        found = self._use(lambda c: queries.load(c, [id])) if queries.storable(id) else ()
        return found[0] if found else None

    def summary(self) -> Summary:
        """Return how much the ledger holds and from when."""
        return self._use(self._summary)

    def _summary(self, connection: sqlite3.Connection) -> Summary:
        one = "SELECT count(*), count(DISTINCT prompt), min(time), max(time) FROM entries"
        rows, prompts, oldest, newest = connection.execute(one).fetchone()
        picks = connection.execute("SELECT count(*) FROM picks").fetchone()[0]
        size = sum(part.stat().st_size for part in (self.path, Path(f"{self.path}-wal")) if part.exists())
        return Summary(rows, prompts, picks, size, self.max_bytes, oldest, newest)

    # --- the connection -----------------------------------------------------------------------------------------------

    def _use(self, work: Callable[[sqlite3.Connection], T], *, write: bool = False) -> T:
        """Run `work` in a transaction; a damaged file is set aside and `work` done once more on a new one."""
        with self._lock:
            try:
                return self._transaction(work, write)
            except (sqlite3.Error, Damaged) as error:
                self._recover(error)
            try:
                return self._transaction(work, write)
            except sqlite3.Error as error:
                raise explain(error, self.path) from error
            except Damaged as error:
                raise LedgerError(f"The ledger {self.path} cannot be read: {error}.") from error

    def _transaction(self, work: Callable[[sqlite3.Connection], T], write: bool) -> T:
        connection = self._connected()
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            done = work(connection)
            connection.execute("COMMIT")
            return done
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _connected(self) -> sqlite3.Connection:
        """Return the connection; a new one when the file was deleted or replaced under it."""
        if self._connection is not None and identity(self.path) != self._opened:
            self.close()
        if self._connection is None:
            self._opened = identity(self.path)
            self._connection = connect(self.path)
            self._opened = identity(self.path)
        return self._connection

    def _recover(self, error: Exception) -> None:
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise explain(error, self.path) from error
        opened = self._opened
        self.close()
        set_aside(self.path, opened, error)


# SQLite's locks do not survive a fork: no connection may be open while one happens.

_forking = threading.RLock()
_ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()
_held: list[Ledger] = []


def _before_fork() -> None:
    _forking.acquire()
    _held.extend(_ledgers)
    for ledger in _held:
        ledger._lock.acquire()
        ledger.close()


def _after_fork() -> None:
    while _held:
        _held.pop()._lock.release()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
