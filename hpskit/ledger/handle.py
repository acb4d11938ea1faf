"""The file of a ledger in use: one connection behind a lock, opened when it is first needed, recovered when damaged."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from ..errors import LedgerError
from . import schema
from .opening import BUSY_SECONDS, Damaged, connect, explain, identity, is_damage, set_aside

T = TypeVar("T")
_SURPRISES = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
Begin = Literal["BEGIN", "BEGIN IMMEDIATE", ""]


class Handle:
    """A file that any thread may use, several processes may share, and that may be open while the process forks."""

    def __init__(self, path: str | Path, busy_seconds: float = BUSY_SECONDS) -> None:
        """Name the file; it is opened, and made if need be, when it is first used."""
        self.path = Path(path)
        self.busy_seconds = busy_seconds
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        with _forking:
            _handles.add(self)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            connection, self._connection, self._opened = self._connection, None, None
            if connection is not None:
                connection.close()

    def _use(self, work: Callable[[sqlite3.Connection], T], *, begin: Begin = "BEGIN") -> T:
        """Run `work` in a transaction; a damaged file is set aside and `work` done once more on a new one."""
        with self._lock:
            try:
                return self._transaction(work, begin)
            except (sqlite3.Error, Damaged) as error:
                self._recover(error)
            except _SURPRISES as error:  # a wrong argument, or nonsense read from a damaged file
                if self._passes("quick_check(1)"):
                    raise
                self._recover(Damaged(error))
            try:
                return self._transaction(work, begin)
            except sqlite3.Error as error:
                raise explain(error, self.path, self.busy_seconds) from error
            except Damaged as error:
                raise LedgerError(f"The ledger {self.path} cannot be read: {error}.") from error

    def _transaction(self, work: Callable[[sqlite3.Connection], T], begin: Begin) -> T:
        connection = self._connected()
        if begin:
            connection.execute(begin)
        try:
            done = work(connection)
            if connection.in_transaction:
                connection.execute("COMMIT")
            return done
        finally:
            if connection.in_transaction:
                self._roll_back(connection)

    def _passes(self, check: str) -> bool:
        """Look for damage in the whole file: seconds for a large one, so only once something is wrong."""
        try:
            return bool(self._connected().execute(f"PRAGMA {check}").fetchone() == ("ok",))
        except (sqlite3.DatabaseError, Damaged, *_SURPRISES):
            return False

    def _is_damaged(self, error: sqlite3.Error | Damaged) -> bool:
        """Say whether the file is to be set aside: an error that speaks of damage is not always proof of it.

        Proof are a header that is none, a page that SQLite cannot follow and a text that cannot be read. A constraint
        that fails, or a table that is missed, may as well be a mistake of this program: then the file itself decides.
        """
        if not is_damage(error):
            return False
        if isinstance(error, sqlite3.IntegrityError) or "no such" in str(error):
            return not (self._passes("integrity_check(1)") and self._has_its_tables())
        return True

    def _has_its_tables(self) -> bool:
        try:
            return schema.is_whole(self._connected())
        except (sqlite3.DatabaseError, Damaged, *_SURPRISES):
            return False

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:  # closing does the same
            self.close()

    def _connected(self) -> sqlite3.Connection:
        """Return the connection; a new one when the file was deleted or replaced under it."""
        if self._connection is not None and identity(self.path) != self._opened:
            self.close()
        if self._connection is None:
            self._opened = identity(self.path)
            self._connection = connect(self.path, self.busy_seconds)
            self._opened = identity(self.path)
        return self._connection

    def _recover(self, error: Exception) -> None:
        if isinstance(error, sqlite3.Error) and not self._is_damaged(error):
            raise explain(error, self.path, self.busy_seconds) from error
        if os.name == "nt":  # where open files keep their names
            opened = self._opened
            self.close()
            set_aside(self.path, opened, error)
            return
        try:
            set_aside(self.path, self._opened, error)
        finally:
            self.close()  # under its new name SQLite leaves the file and its log as they are


# SQLite's locks do not survive a fork: no connection may be open while one happens.

_forking = threading.RLock()
_handles: weakref.WeakSet[Handle] = weakref.WeakSet()
_held: list[Handle] = []


def _before_fork() -> None:
    _forking.acquire()
    _held.extend(_handles)
    for handle in _held:
        handle._lock.acquire()
        handle.close()


def _after_fork() -> None:
    while _held:
        _held.pop()._lock.release()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
