"""Pictures of scored images for the interface: a full-size file and a thumbnail in the host's temp folder.

The host serves the files itself (/view), and empties the folder when it starts. A picture that cannot be written is
left out: nothing here may stop a run.
"""

from __future__ import annotations

import io as bytesio
import logging
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import folder_paths
import torch

from ..hpskit.images import to_pil
from ..hpskit.ledger.picture import pixel_hash, thumbnail_of

log = logging.getLogger("hps")

SUBFOLDER = "hps"
MOST = 256
"""Images of one run that get files; the table has all."""
QUALITY = 92
"""Of the full-size JPEG: people look at it, nothing is computed from it."""
LIMIT = 2 << 30
"""Bytes that the files may take while the server runs; the oldest go first."""
_CHECK_EVERY = 500
"""Files between two looks at the size of the folder."""
REMEMBERED = 10_000
"""Images whose file in the temp folder can be found again by their pixels."""
_names: OrderedDict[str, str] = OrderedDict()
_written: list[str] = []
_lock = threading.Lock()
_THREADS = min(4, os.cpu_count() or 1)
_PREFIX = secrets.token_hex(4)
"""Part of every name: the host lets browsers keep pictures for a day, and numbers start again with every server."""


@dataclass(frozen=True)
class Picture:
    """Where the interface finds one scored image; plain data that may travel with a table of scores."""

    hash: str
    """Of the pixels in 8 bit, as saved files have them."""
    width: int
    height: int
    name: str = ""
    """Of the full-size file in the temp folder; empty when there is none."""
    thumbnail_name: str = ""
    entry: int | None = None
    """Row of the ledger."""

    def files(self) -> dict[str, Any]:
        """Return image and thumbnail as the host's /view takes them; None for what there is not."""
        return {"image": _place(self.name), "thumb": _place(self.thumbnail_name)}


@dataclass(frozen=True)
class Shot:
    """A picture with the bytes of its thumbnail, on its way into the ledger."""

    picture: Picture
    thumbnail: bytes | None


def _place(name: str) -> dict[str, str] | None:
    return {"filename": name, "subfolder": SUBFOLDER, "type": "temp"} if name else None


def take(images: Sequence[torch.Tensor], first: int = 0) -> list[Shot]:
    """Write pictures of images [3, h, w] in 0..1; the first of them is image `first` of its run.

    The work is done by Pillow and zlib, which let threads run side by side.
    """
    if not images:
        return []
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(_take, images, range(first, first + len(images))))


def _take(image: torch.Tensor, index: int) -> Shot:
    picture = to_pil(torch.nan_to_num(image))
    shot = Picture(pixel_hash(picture), *picture.size)
    if index >= MOST:
        return Shot(shot, None)
    try:
        small = thumbnail_of(picture)
        stem = f"{_PREFIX}{secrets.token_hex(8)}"
        full = bytesio.BytesIO()
        picture.save(full, "JPEG", quality=QUALITY, subsampling=0)
        _write(f"{stem}.jpg", full.getvalue())
        _write(f"{stem}.webp", small)
    except Exception:  # a full disk, or sides that a format cannot hold
        log.warning("A picture for the interface could not be written; the scores are not affected.", exc_info=True)
        return Shot(shot, None)
    _remember(shot.hash, f"{stem}.jpg")
    return Shot(replace(shot, name=f"{stem}.jpg", thumbnail_name=f"{stem}.webp"), small)


def _remember(image_hash: str, name: str) -> None:
    with _lock:
        _names[image_hash] = name
        _names.move_to_end(image_hash)
        while len(_names) > REMEMBERED:
            _names.popitem(last=False)


def full_size(image_hash: str) -> Path | None:
    """Return the full-size file of an image that this server has scored, while the temp folder still has it."""
    with _lock:
        name = _names.get(image_hash)
    path = folder() / name if name else None
    return path if path is not None and path.is_file() else None


def keep_small(image_hash: str, small: bytes) -> str:
    """Write the thumbnail of an image of an earlier run, unless it is there, and return its name."""
    name = f"{_PREFIX}{image_hash}.webp"
    if not (folder() / name).is_file():
        _write(name, small)
    return name


def drop(name: str) -> None:
    """Delete a file that nobody will ask for again."""
    with suppress(OSError):
        (folder() / name).unlink()


def clear() -> None:
    """Delete all files: whoever purges the ledger wants its pictures gone, too."""
    with _lock:
        _names.clear()
    for path in folder().iterdir():
        drop(path.name)


def _make_room() -> None:
    """Keep the folder below its limit, by deleting the oldest files until a tenth is free."""
    files = sorted((entry.stat().st_mtime, entry.stat().st_size, entry.name) for entry in os.scandir(folder()))
    total = sum(size for _, size, _ in files)
    if total <= LIMIT:
        return
    for _, size, name in files:
        if total <= LIMIT * 9 // 10:
            break
        drop(name)
        total -= size


def folder() -> Path:
    """Return the folder of the files; the host may have emptied it since it was last made."""
    path = Path(folder_paths.get_temp_directory()) / SUBFOLDER
    path.mkdir(parents=True, exist_ok=True)
    return path


def _write(name: str, data: bytes) -> None:
    (folder() / name).write_bytes(data)
    with _lock:
        _written.append(name)
        full = len(_written) >= _CHECK_EVERY
        if full:
            _written.clear()
    if full:
        _make_room()
