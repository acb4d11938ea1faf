"""Downloads of scorers that a person asks for: one at a time, with progress, and they can be stopped and continued."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ...hpskit.cards import Card, card, load_cards
from ...hpskit.errors import Cancelled, CheckpointMissing, HpsError, SelectionError
from .folders import models_folder

log = logging.getLogger("hps")


@dataclass(frozen=True)
class Status:
    """What the download is doing, or how the last one ended."""

    name: str = ""
    """Card id; empty before the first download."""
    running: bool = False
    done: int = 0
    """Bytes that are there."""
    total: int | None = None
    """Bytes in all; None when unknown."""
    error: str = ""
    """Why it ended early; empty when it did not."""
    stopped: bool = False
    """Whether the person stopped it."""

    def words(self) -> str:
        """Return one line for a person."""
        if not self.name:
            return ""
        title = card(self.name).name
        if self.error:
            return f"{title}: {self.error}"
        if self.running:
            share = f" of {_size(self.total)} ({100 * self.done // self.total} %)" if self.total else ""
            return f"{title}: {_size(self.done)}{share}"
        return f"{title} is here now; it lies in {models_folder()}."


_lock = threading.Lock()
_cancel = threading.Event()
_thread: list[threading.Thread] = []
_status = Status()


def choices() -> list[tuple[str, str]]:
    """Return (label with size and licence, card id) of the known scorers whose files are not on this machine."""
    return [(label(one), one.id) for one in load_cards().values() if not is_here(one.id)]


def label(chosen: Card) -> str:
    """Return what a list of downloads calls a scorer."""
    return f"{chosen.name} ({_size(sum(file.bytes or 0 for file in chosen.files))}, licence {chosen.licence})"


def is_here(name: str) -> bool:
    """Tell whether all files of a scorer are on this machine."""
    from . import host

    try:
        host.locate(name)
    except CheckpointMissing:
        return False
    return True


def status() -> Status:
    """Return what the download is doing now."""
    return _status


def start(name: str) -> Status:
    """Begin to download a scorer's files into models/reward_models, in a thread of its own.

    Raises CardError for an unknown scorer, SelectionError while another download is running.
    """
    global _status
    chosen = card(name)
    with _lock:
        if _status.running:
            raise SelectionError(f"{card(_status.name).name} is being downloaded; wait for it or stop it first.")
        _cancel.clear()
        _status = Status(chosen.id, running=True)
        _thread[:] = [threading.Thread(target=_run, args=(chosen,), name="hps-download", daemon=True)]
        _thread[0].start()
    return _status


def cancel() -> Status:
    """Stop the download; what has arrived is kept, and the next attempt goes on from there."""
    _cancel.set()
    return _status


def wait(seconds: float | None = None) -> Status:
    """Wait until the download has ended, at most so long."""
    for thread in list(_thread):
        thread.join(seconds)
    return _status


def followed(name: str, pause: float = 0.5) -> Iterator[str]:
    """Start a download and yield lines for a person until it has ended; for a button's generator callback."""
    try:
        start(name)
    except HpsError as error:
        yield str(error)
        return
    last = ""
    while _status.running:
        if _status.words() != last:
            last = _status.words()
            yield last
        time.sleep(pause)
    yield _status.words()


def _run(chosen: Card) -> None:
    global _status
    from ...hpskit import weights

    end = Status(chosen.id)
    try:
        weights.download(chosen, models_folder(), progress=_report, cancelled=_cancel.is_set)
    except Cancelled as error:
        end = Status(chosen.id, error=str(error), stopped=True)
    except HpsError as error:
        end = Status(chosen.id, error=str(error))
    except Exception as error:
        log.exception("The download of %s failed", chosen.id)
        end = Status(chosen.id, error=f"it failed ({type(error).__name__}: {error})")
    finally:
        _status = Status(end.name, False, _status.done, _status.total, end.error, end.stopped)


def _report(done: int, total: int | None) -> None:
    global _status
    _status = Status(_status.name, True, done, total)


def _size(count: int | None) -> str:
    if not count:
        return "0 MB"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
