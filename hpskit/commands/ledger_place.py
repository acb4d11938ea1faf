"""Which ledger a command means: --ledger, $HPS_LEDGER or the one of this machine's user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import LedgerError

if TYPE_CHECKING:
    from ..ledger import Ledger

FILE: Final = "ledger.sqlite3"
SWITCH: Final = "HPS_LEDGER"
"""Environment variable with the ledger's file, or OFF."""
OFF: Final = "off"
_INSIDE: Final = (FILE, f"__hps/{FILE}", f"user/__hps/{FILE}")
"""Where the ledger lies in the folder that holds it, in ComfyUI's user folder, and in ComfyUI's own."""
FOREIGN_BYTES: Final = 2**32
"""Limit of a ledger that was named: the most that ComfyUI's settings allow, so that nothing of theirs is given up."""
_HEADER: Final = 100
_MAGIC: Final = b"SQLite format 3\x00"
_APPLICATION: Final = slice(68, 72)
"""Where SQLite's header holds whose database it is; zero while it is being made."""


def is_off() -> bool:
    """Tell whether the environment switches the ledger off."""
    return os.environ.get(SWITCH, "").strip().lower() == OFF


def place(given: str | None) -> Path:
    """Return the file that is meant: a name of a file or of a folder that holds one, by default the user's own."""
    from ..ledger import default_path

    if given is not None and not given.strip():
        raise LedgerError("--ledger is empty. Give a file, or the folder that holds it.")
    path = default_path() if given is None else Path(given).expanduser()
    meant = given is not None and given.endswith(("/", os.sep))
    if not meant and not os.path.isdir(path):  # noqa: PTH112  pathlib raises on names that are too long
        return path
    known = [path / name for name in _INSIDE]
    return next((file for file in known if file.is_file()), known[0])


_HINT: Final = "Score some pictures first, or name another one with --ledger FILE."


def opened(given: str | None, path: Path) -> Ledger:
    """Return the ledger at the place that was found; the user's own one is kept to its usual size."""
    from ..ledger import Ledger

    return Ledger(path) if given is None else Ledger(path, max_bytes=FOREIGN_BYTES)


def to_read(given: str | None) -> Path:
    """Return an existing ledger; LedgerError when there is none, so that a command that only reads makes no file."""
    if given is None and is_off():
        raise LedgerError(f"The ledger is switched off ({SWITCH}={OFF}). Name one with --ledger FILE.")
    path = place(given)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else f"{_reason(error)}"
        raise LedgerError(f"There is no ledger to read at {path} ({reason}). {_HINT}") from error
    if status.st_size == 0:
        raise LedgerError(f"The ledger {path} is empty. {_HINT}")
    insist_on_ledger(path)
    return path


def insist_on_ledger(path: Path) -> None:
    """Raise LedgerError when an existing file is something else: it must not be set aside as if it were damaged."""
    from ..ledger.schema import APPLICATION

    try:
        if not path.is_file() and path.exists():
            raise LedgerError(f"{path} is no file, so it is no ledger. Name another one with --ledger.")
        with path.open("rb") as stream:
            head = stream.read(_HEADER)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise LedgerError(f"The ledger {path} cannot be read ({_reason(error)}).") from error
    owner = head[_APPLICATION]
    if head and (not head.startswith(_MAGIC) or owner not in (APPLICATION.to_bytes(4, "big"), bytes(4))):
        raise LedgerError(f"{path} is no ledger, or is damaged. It was not changed; name another one with --ledger.")


def _reason(error: Exception) -> object:
    return getattr(error, "strerror", None) or error
