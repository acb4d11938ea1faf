"""Images out of a request: base64 or data URIs, bounded in number, bytes and pixels before anything is decoded."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from typing import TYPE_CHECKING, Any

from .guard import Refused

if TYPE_CHECKING:
    from PIL import Image

MOST_IMAGES = 64
MOST_BYTES = 48 << 20
"""Of one file."""
MOST_PIXELS = 64 << 20
"""Of one image."""
MOST_PIXELS_IN_ALL = 192 << 20
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""What is decoded; PIL knows others that start programs or read further files."""


def read(value: Any) -> list[Image.Image]:
    """Return the images of a request as RGB, first frames only; raises Refused with the image's number."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items:
        raise Refused(422, "images must be a list of base64 texts or data URIs, at least one.")
    if len(items) > MOST_IMAGES:
        raise Refused(413, f"{len(items)} images are too many at once; send at most {MOST_IMAGES}.")
    opened = [_opened(item, number) for number, item in enumerate(items)]
    pixels = sum(image.width * image.height for image in opened)
    if pixels > MOST_PIXELS_IN_ALL:
        raise Refused(413, f"All images together have {pixels >> 20} megapixels; at most {MOST_PIXELS_IN_ALL >> 20}.")
    return [_decoded(image, number) for number, image in enumerate(opened)]


def _opened(item: Any, number: int) -> Image.Image:
    """Return an image of which only the header was read."""
    from PIL import Image

    data = _bytes(item, number)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL's own limit, which hosts switch off; ours is below
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Refused(413, f"Image {number} has too many pixels; at most {MOST_PIXELS >> 20} megapixels.") from error
    except Exception as error:
        raise Refused(422, f"Image {number} is no {', '.join(FORMATS[:3])} file.") from error
    if image.width * image.height > MOST_PIXELS:
        size = f"{image.width} x {image.height}"
        raise Refused(413, f"Image {number} is {size} pixels; send at most {MOST_PIXELS >> 20} megapixels.")
    return image


def _bytes(item: Any, number: int) -> bytes:
    if not isinstance(item, str):
        raise Refused(422, f"Image {number} must be a base64 text or a data URI.")
    if item[:5].lower() == "data:":
        head, comma, item = item.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise Refused(422, f"Image {number} is a data URI without base64; send data:image/png;base64,...")
    if len(item) > MOST_BYTES * 4 // 3 + 8:
        raise Refused(413, f"Image {number} is larger than {MOST_BYTES >> 20} MiB.")
    try:
        return base64.b64decode("".join(item.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(422, f"Image {number} is not base64. Addresses and file names are not read here.") from error


def _decoded(image: Image.Image, number: int) -> Image.Image:
    try:
        decoded = _plain(image)
    except Exception as error:  # PIL's decoders raise whatever they run into
        raise Refused(422, f"Image {number} is damaged and cannot be read.") from error
    if 0 in decoded.size:
        raise Refused(422, f"Image {number} has no pixels.")
    return decoded


def _plain(image: Image.Image) -> Image.Image:
    """Return the pixels as the scorers read them, without what came along in the file."""
    from ...hpskit import images

    image.load()
    # Wide grey goes through the library, which scales it; PIL would saturate it to white.
    plain = images.to_pil(images.from_pil(image)) if image.mode.startswith("I") else image.convert("RGB")
    plain.info = {}
    return plain
