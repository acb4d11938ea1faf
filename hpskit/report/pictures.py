"""Pictures as data addresses: small enough for one HTML file, sharp enough to judge."""

from __future__ import annotations

import base64
import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import HpsError

if TYPE_CHECKING:
    import PIL.Image

log = logging.getLogger("hps")

LONGEST = 512
"""Longest side of an inlined picture in pixels."""
SMALL = 160
"""Pictures up to this size are kept without loss and enlarged without smoothing."""
_CARRIED = frozenset({"exif", "xmp", "comment", "photoshop", "XML:com.adobe.xmp"})
_LIGHT = 48 * 1024
"""Bytes up to which a thumbnail goes into a page as it is."""


@dataclass(frozen=True)
class Inlined:
    """A picture ready for an `img` element."""

    address: str
    width: int
    height: int
    small: bool


def inline(image: Any, longest: int = LONGEST) -> Inlined | None:
    """Return a picture (file, canonical tensor, PIL image, bytes of a file) as a data address, at most `longest`.

    None when it cannot be read: a report is worth having without one of its pictures.
    """
    if isinstance(image, bytes):
        return _stored(image, longest)
    # Reading goes through the scorers' own door, so that the report shows what was scored; only this needs torch.
    from ..images import load_images, to_pil

    try:
        picture = to_pil(load_images([image[0] if getattr(image, "ndim", 3) == 4 else image])[0])
    except HpsError as error:
        log.warning("A picture is left out of the report. %s", error)
        return None
    picture.thumbnail((longest, longest))
    small = max(picture.size) <= SMALL
    kind, data = _encode(picture, small)
    text = base64.b64encode(data).decode("ascii")
    return Inlined(f"data:image/{kind};base64,{text}", picture.width, picture.height, small)


def _stored(data: bytes, longest: int) -> Inlined | None:
    """Return a thumbnail: as it is where it is small and carries nothing but the picture, else made anew."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            bare = not _CARRIED & set(opened.info) and getattr(opened, "n_frames", 1) == 1
            kind, picture = (opened.format or "").lower(), opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        log.warning("A picture is left out of the report. %s", error)
        return None
    if not bare or kind not in {"webp", "jpeg"} or max(picture.size) > longest or len(data) > _LIGHT:
        picture.thumbnail((longest, longest))
        kind, data = _encode(picture, False)
    text = base64.b64encode(data).decode("ascii")
    return Inlined(f"data:image/{kind};base64,{text}", picture.width, picture.height, max(picture.size) <= SMALL)


def _encode(picture: PIL.Image.Image, small: bool) -> tuple[str, bytes]:
    out = io.BytesIO()
    try:
        picture.save(out, "WEBP", lossless=small, quality=86, method=4)
        return "webp", out.getvalue()
    except (OSError, KeyError):
        # Pillow can be built without WebP.
        out = io.BytesIO()
        picture.save(out, "PNG" if small else "JPEG", quality=88)
        return ("png" if small else "jpeg"), out.getvalue()
