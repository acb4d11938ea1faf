"""The noise files that were written last: what the panel offers, and the one that a pasted text speaks of."""

from __future__ import annotations

import functools
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
_COMPARED = 400
"""Files whose checksums are compared at most: the images of one noise may be many."""


def names() -> list[str]:
    """Return the newest noise files in the output folders, newest first, as the panel's field takes them.

    Every image has its own file, also one that was made again; of files with one content the newest is named.
    """
    return [_name(path) for path, _ in _different()]


def with_checksum(beginning: str) -> str:
    """Return the one of them whose SHA-256 begins so; empty when there is none."""
    wanted = beginning.strip().lower()
    if len(wanted) < 8:
        return ""
    return next((_name(path) for path, digest in _different() if digest.startswith(wanted)), "")


def _different() -> list[tuple[Path, str]]:
    """Return the newest files that differ, with their checksums; "" for one that is too large to be compared."""
    found: list[tuple[Path, str]] = []
    known: set[str] = set()
    for path in _newest()[:_COMPARED]:
        with suppress(OSError):
            about = path.stat()
            digest = _digest(path, about.st_size, about.st_mtime_ns) if about.st_size <= _LARGEST else ""
            if digest not in known:
                found.append((path, digest))
            known |= {digest} if digest else set()
        if len(found) >= MOST:
            break
    return found


@functools.lru_cache(2 * _COMPARED)
def _digest(path: Path, size: int, time: int) -> str:
    """Return the SHA-256 of a file, which is read once for its size and time."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _newest() -> list[Path]:
    known: dict[Path, float] = {}
    for root in folders():
        for folder, time in _below(root, _DEEP):
            known[folder] = time
            if len(known) >= _FOLDERS:
                break
    looked = sorted(known, key=lambda folder: -known[folder])[:_LOOKED]
    return [path for _, path in sorted((entry for folder in looked for entry in _files(folder)), reverse=True)]


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
