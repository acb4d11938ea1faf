"""Opening the file of a ledger, and what is done when that fails: errors in words, damaged files set aside."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import LedgerError, LedgerFull
from . import schema

log = logging.getLogger("hps")

BUSY_SECONDS = 5.0
MARK_SECONDS = 10.0
"""Setting a file aside takes milliseconds; a mark this old was left by a process that was killed."""
VFS = ""
"""Name of SQLite's way to the file system; empty for the usual one."""
_DAMAGE = (
    "malformed",
    "not a database",
    "unsupported file format",
    "no such table",
    "no such column",
    "decode",
)
_MAGIC = b"SQLite format 3\0"
_FULL = ("disk is full",)
_READ_ONLY = ("readonly", "unable to open", "access permission denied")


class Damaged(Exception):
    """What was read cannot have been written by a ledger."""


def default_path() -> Path:
    """Return $HPS_LEDGER, else hps/ledger.sqlite3 in the person's data folder (not made here)."""
    chosen = os.environ.get("HPS_LEDGER")
    if chosen:
        return Path(chosen).expanduser()
    data = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "hps" / "ledger.sqlite3"


def connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Open or make the ledger at `path` in the newest version; its folder is made for this person only.

    Another program that writes is waited for as long as `busy_seconds`.

    Raises sqlite3.Error for whatever `explain` puts into words, and LedgerError for what must not be touched.
    """
    _make_place(path)
    _check_beginning(path)
    name = f"{path.absolute().as_uri()}?vfs={VFS}" if VFS else str(path)
    connection = sqlite3.connect(
        name, timeout=busy_seconds, isolation_level=None, check_same_thread=False, uri=bool(VFS)
    )
    try:
        schema.version(connection)  # what is not a ledger of ours is not even configured
        _configure(connection)
        schema.migrate(connection)
    except LedgerError as error:
        connection.close()
        raise LedgerError(f"The ledger {path} cannot be used: {error}.") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _make_place(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except ValueError as error:  # a zero byte
        raise LedgerError(f"{str(path)!r} is no path for a ledger: {error}.") from error
    except OSError as error:
        if error.errno == 28:
            raise LedgerFull(_FULL_TEXT.format(path=path)) from error
        raise LedgerError(_PLACE_TEXT.format(path=path, reason=error.strerror or error)) from error


def _check_beginning(path: Path) -> None:
    """Raise Damaged for a file that is neither empty nor a database: SQLite would write over a short one."""
    try:
        with path.open("rb") as stream:
            beginning = stream.read(512)
    except OSError as error:
        raise LedgerError(_PLACE_TEXT.format(path=path, reason=error.strerror or error)) from error
    if beginning and (len(beginning) < 512 or not beginning.startswith(_MAGIC)):
        raise Damaged("the file is not a database")
    if beginning[68:72] == schema.APPLICATION.to_bytes(4, "big") and not {*beginning[18:20]} <= {1, 2}:
        raise Damaged("the file has no known format")  # SQLite would open it for reading only


def _configure(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded only while the file is empty
    connection.execute("PRAGMA secure_delete = ON")
    if _journal(connection) == "wal":
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {4 * 2**20}")
    else:
        connection.execute("PRAGMA synchronous = FULL")


def _journal(connection: sqlite3.Connection) -> str:
    """Ask for a write-ahead log; network drives and some containers have no shared memory for one."""
    try:
        return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
    except sqlite3.OperationalError as error:
        if not any(text in str(error) for text in ("locking protocol", "disk I/O", "unable to open")):
            raise
        return str(connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0])


def is_damage(error: Exception) -> bool:
    """Say whether an error speaks of a corrupted file, not of the disk, a lock or the query."""
    if isinstance(error, (Damaged, sqlite3.IntegrityError)):
        return True
    return isinstance(error, sqlite3.DatabaseError) and any(text in str(error) for text in _DAMAGE)


_FULL_TEXT = "There is no room left on the disk of the ledger {path}; make room there. What it holds is safe."
_PLACE_TEXT = (
    "The ledger {path} cannot be opened for writing ({reason}); give it a path in a folder that you may write to "
    "(HPS_LEDGER), or change the permissions."
)


def explain(error: sqlite3.Error, path: Path, busy_seconds: float) -> LedgerError:
    """Return what an error of SQLite means, in words, with what to do."""
    text = str(error)
    if any(known in text for known in _FULL) or ("disk I/O" in text and _no_room(path)):
        return LedgerFull(_FULL_TEXT.format(path=path))
    if any(known in text for known in _READ_ONLY):
        return LedgerError(_PLACE_TEXT.format(path=path, reason=text))
    if "locked" in text:
        return LedgerError(
            f"Another program has held the ledger {path} for more than {busy_seconds:g} seconds; close it, or try "
            "again."
        )
    if is_damage(error) and not isinstance(error, sqlite3.IntegrityError) and "no such" not in text:
        return LedgerError(f"The ledger {path} is damaged ({text}) and could not be replaced; move it away.")
    return LedgerError(f"The ledger {path} cannot be used ({text}); check its disk, or give it another path.")


def _no_room(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < 2**18
    except OSError:
        return False


def identity(path: Path) -> tuple[int, int] | None:
    """Return device and number of the file at `path`; None when there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def set_aside(path: Path, opened: tuple[int, int] | None, reason: Exception) -> None:
    """Rename a damaged ledger, with its log, to ledger.corrupt-<time>.sqlite3; nothing of it is deleted.

    `opened` is the file in which the damage was seen: when another process has replaced it since, it is left alone.
    """
    with _alone(path):
        if opened is None or identity(path) != opened:
            return
        target = _free_name(path)
        try:
            for suffix in ("-wal", "-shm", ""):  # the file itself last: without it a new one would swallow its log
                with suppress(FileNotFoundError):
                    Path(f"{path}{suffix}").rename(f"{target}{suffix}")
        except OSError as error:
            raise LedgerError(
                f"The ledger {path} is damaged ({reason}) and cannot be renamed ({error.strerror or error}); close "
                "other programs that use it, or move it away."
            ) from error
    log.warning("The ledger %s was damaged (%s). It is kept as %s; a new one is begun.", path, reason, target.name)


def _free_name(path: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    for number in range(1000):
        more = f"-{number}" if number else ""
        target = path.with_name(f"{path.stem}.corrupt-{stamp}{more}{path.suffix}")
        if not target.exists():
            return target
    raise LedgerError(f"There are too many damaged ledgers beside {path}; move them away.")


def _mark(path: Path) -> Path:
    return path.with_name(f"{path.name}.busy")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from setting aside at the same time; the mark of one that died expires."""
    mark = _mark(path)
    deadline = time.monotonic() + MARK_SECONDS  # for drives whose clock is ahead
    while not _made(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield
    finally:
        with suppress(OSError):
            mark.rmdir()


def _made(mark: Path) -> bool:
    try:
        mark.mkdir()
    except FileExistsError:
        with suppress(OSError):
            return time.time() - mark.stat().st_mtime > MARK_SECONDS
        return False
    except OSError:
        pass  # the renaming fails in the same way, and says so
    return True
