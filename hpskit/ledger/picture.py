"""What the ledger keeps of a picture: a hash of its pixels and a thumbnail, the same from every writer."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any, Final

from .entry import MAX_THUMBNAIL

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE: Final = 256
"""Longest side of a thumbnail in pixels."""
QUALITIES: Final = (80, 40, 5)
"""Tried in turn until a thumbnail is small enough for the ledger; only pure noise needs more than the first."""


def pixel_hash(picture: Image) -> str:
    """Return 32 hex digits that are equal for equal pixels of equal size and mode; give RGB, so that writers agree.

    Of the pixels, not of a file: metadata written into the file later does not make another picture of it.
    """
    digest = hashlib.blake2b(f"{picture.mode} {picture.size}".encode(), digest_size=16)
    digest.update(picture.tobytes())
    return digest.hexdigest()


def thumbnail_of(picture: Image) -> bytes:
    """Return a small WebP of a picture, at most 64 KiB; a JPEG where Pillow was built without WebP."""
    from PIL import Image, features

    small = picture.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=1.0)
    options: dict[str, Any] = {"format": "WEBP", "method": 1} if features.check("webp") else {"format": "JPEG"}
    data = b""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        small.save(buffer, quality=quality, **options)
        data = buffer.getvalue()
        if len(data) <= MAX_THUMBNAIL:
            break
    return data
