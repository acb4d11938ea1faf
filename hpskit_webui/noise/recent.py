"""The noise files that were written last: what the panel offers, and the one that a pasted text speaks of."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...hpskit.errors import NoiseError
from .files import SUFFIX, folders, locate

MOST = 40
"""Files that are offered."""
_DEEP, _FOLDERS, _LOOKED = 3, 2000, 24
"""Levels below an output folder, folders that are known, and the newest of them that are looked into."""
_LARGEST = 1 << 23
"""Bytes of the largest file that is compared with a checksum."""


def names() -> list[str]:
    """Return the newest noise files in the output folders, newest first, as the panel's field takes them."""
    return [_name(path) for path in _newest()]


def with_checksum(beginning: str) -> str:
    """Return the one of them whose SHA-256 begins so; empty when there is none."""
    wanted = beginning.strip().lower()
    if len(wanted) < 8:
        return ""
    for path in _newest():
        with suppress(OSError):
            if path.stat().st_size <= _LARGEST and hashlib.sha256(path.read_bytes()).hexdigest().startswith(wanted):
                return _name(path)
    return ""


def _newest() -> list[Path]:
    known: dict[Path, float] = {}
    for root in folders():
        for folder, time in _below(root, _DEEP):
            known[folder] = time
            if len(known) >= _FOLDERS:
                break
    looked = sorted(known, key=lambda folder: -known[folder])[:_LOOKED]
    found = [entry for folder in looked for entry in _files(folder)]
    return [path for _, path in sorted(found, reverse=True)[:MOST]]


def _below(folder: Path, levels: int) -> Iterator[tuple[Path, float]]:
    """Yield a folder and those below it with the time of their last new file."""
    with suppress(OSError):
        yield folder, folder.stat().st_mtime
        if levels:
            with os.scandir(folder) as entries:
                inner = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
            for each in inner:
                yield from _below(each, levels - 1)


def _files(folder: Path) -> Iterator[tuple[float, Path]]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX) and entry.is_file():
                yield entry.stat().st_mtime, Path(entry.path)


def _name(path: Path) -> str:
    """Return a name that leads back to the file: from its output folder on where that is enough."""
    for root in folders():
        with suppress(ValueError, NoiseError):
            name = path.relative_to(root).as_posix()
            if locate(name) == path.resolve():
                return name
    return str(path)
