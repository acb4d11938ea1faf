"""Pictures for a report: the files of this run while they are there, else thumbnails, also those of the ledger."""

from __future__ import annotations

import io as bytesio
import logging
from pathlib import Path
from typing import Any

import folder_paths
from PIL import Image

from ..hpskit.errors import HpsError
from ..hpskit.study import Cell
from . import pictures, recording
from .pictures import Picture

log = logging.getLogger("hps")


def of_cell(cell: Cell) -> Image.Image | None:
    """Return the picture of a cell in full size; None where only its thumbnail is left."""
    path = pictures.full_size(cell.image_hash) if cell.image_hash else None
    path = path or _saved(cell.file)
    if path is None:
        return None if cell.thumbnail is not None else _small(cell.entry)
    try:
        return Image.open(path).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def of_picture(picture: Picture) -> Any:
    """Return the file of a scored image, or its thumbnail; None where nothing is left of it."""
    known = pictures.full_size(picture.hash)
    names = [name for name in (picture.name, picture.thumbnail_name) if name]
    paths = [*([known] if known is not None else []), *(pictures.folder() / name for name in names)]
    return next((path for path in paths if path.is_file()), None) or _small(picture.entry)


def _saved(file: str) -> Path | None:
    """Return a saved image below the output folder; nothing else is ever opened."""
    if not file:
        return None
    output = Path(folder_paths.get_output_directory()).resolve()
    try:
        path = (output / file).resolve()
        return path if path.is_relative_to(output) and path.is_file() else None
    except (OSError, ValueError):
        return None


def _small(entry: int | None) -> Image.Image | None:
    try:
        ledger = recording.the_ledger() if entry else None
        data = ledger.thumbnail(entry) if ledger is not None and entry else None
        return Image.open(bytesio.BytesIO(data)).convert("RGB") if data else None
    except (HpsError, OSError, ValueError):
        log.debug("A thumbnail of the ledger could not be read", exc_info=True)
        return None
