"""What the ledger and the tab need of a picture: hash, size, thumbnail, and how a page shows it."""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hpskit.ledger.picture import pixel_hash, thumbnail_of
from ...hpskit.ledger.scored import Trace, picture_of, trace_of

if TYPE_CHECKING:
    from PIL.Image import Image

REMEMBERED = 10_000
"""Recorded pictures whose files are awaited; the oldest are forgotten."""
_awaited: OrderedDict[str, None] = OrderedDict()
_lock = threading.Lock()


def trace_of_pixels(image: Any) -> Trace:
    """Return what stays of a uint8 tensor [3, H, W]."""
    return trace_of(picture_of(image))


def hash_of(picture: Image) -> str:
    """Return the hash of the pixels, as `trace` has it."""
    return pixel_hash(picture if picture.mode == "RGB" else picture.convert("RGB"))


def await_file(image_hash: str) -> None:
    """Remember that a picture is in the ledger, so that the place of its file can be added."""
    with _lock:
        _awaited[image_hash] = None
        _awaited.move_to_end(image_hash)
        while len(_awaited) > REMEMBERED:
            _awaited.popitem(last=False)


def is_awaited(image_hash: str) -> bool:
    """Tell whether a picture was recorded since the host started."""
    with _lock:
        return image_hash in _awaited


def any_awaited() -> bool:
    """Tell whether any picture was recorded: without one no saved file needs its pixels hashed."""
    return bool(_awaited)


def forget() -> None:
    """Await no file any more: the ledger was emptied."""
    with _lock:
        _awaited.clear()


def data_address(data: bytes | None) -> str | None:
    """Return a picture's bytes as an address that a page can show without asking anybody; None when they are none."""
    if not data:
        return None
    kind = "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else "jpeg" if data[:2] == b"\xff\xd8" else ""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}" if kind else None


def small(path: Path) -> bytes | None:
    """Return a thumbnail of a file; None when it cannot be read any more."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (256, 256))
            return thumbnail_of(picture.convert("RGB"))
    except Exception:  # Pillow's decoders raise a dozen kinds on damaged files; a report does without one picture
        return None
