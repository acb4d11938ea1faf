"""Where a comparison finds the cells of earlier runs: the ledger, or a private one while recording is off."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import folder_paths

from ..hpskit.errors import HpsError
from ..hpskit.ledger import Ledger, Row
from . import recording
from .pictures import Picture

log = logging.getLogger("hps")

PRIVATE_BYTES = 128 << 20
_lock = threading.Lock()
_private: dict[str, Ledger] = {}
_SECRET = secrets.token_hex(16)
"""Part of the private file's name: the host serves its temp folder to whoever knows a name."""


class Store:
    """The cells of earlier runs; whatever goes wrong with them is logged and means that there are none."""

    def __init__(self) -> None:
        self.ledger, self.private = _chosen()

    def recall(self, keys: Iterable[str]) -> Mapping[str, Row]:
        """Return the rows that are known under these keys."""
        try:
            return self.ledger.recall(keys)
        except HpsError as error:
            log.warning("Cells of earlier runs cannot be looked up: %s", error)
            return {}

    def remember(self, cells: Iterable[tuple[str, Picture]]) -> None:
        """Keep which rows these cells led to."""
        try:
            self.ledger.remember([(key, picture.entry) for key, picture in cells if picture.entry])
        except HpsError as error:
            log.warning("Cells cannot be kept for a later run: %s", error)

    def thumbnail(self, row: Row) -> bytes | None:
        """Return the small picture of a row."""
        try:
            return self.ledger.thumbnail(row.id) if row.has_thumbnail else None
        except HpsError as error:
            log.warning("A thumbnail cannot be read: %s", error)
            return None

    def shown(self, picture: Picture) -> Picture:
        """Return a picture as the interface may know it: rows of the private ledger are nobody else's."""
        return replace(picture, entry=None) if self.private else picture


def _chosen() -> tuple[Ledger, bool]:
    try:
        found = recording.the_ledger()
    except HpsError as error:
        recording.warn_once(str(error))
        found = None
    return (_private_ledger(), True) if found is None else (found, False)


def _private_ledger() -> Ledger:
    """Return the ledger in the host's temp folder, which the host empties when it starts."""
    path = Path(folder_paths.get_temp_directory()) / f"hps_cells_{_SECRET}.sqlite3"
    with _lock:
        known = _private.get(str(path))
        if known is None:
            known = _private[str(path)] = Ledger(path, max_bytes=PRIVATE_BYTES, busy_seconds=recording.BUSY_SECONDS)
        return known


def forget() -> None:
    """Delete the private cells: whoever purges the ledger wants them gone, too."""
    with _lock:
        for ledger in _private.values():
            if ledger.path.exists():
                ledger.purge()
