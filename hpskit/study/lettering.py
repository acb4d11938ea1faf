"""Text on pictures with nothing but Pillow: its own face at any size, lines broken to a width.

Pillow 10.1 and newer bring a scalable face; before that, and without FreeType, there is a bitmap of a single size,
which is enlarged. Both know little more than ASCII: for other scripts a face of the system is used, if it has one;
what none has is written without its accents or as "?". No text can make drawing fail.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from .shown import plain

if TYPE_CHECKING:
    from PIL import Image

Colour = tuple[int, int, int]

_BITMAP: Final = 11
"""Height of the bitmap face in pixels."""
_LONGEST: Final = 600
"""Characters of a text that are looked at; no label on a picture holds more."""
_BREAKS: Final = " /\\_-,;:"
_DOTS: Final = "..."
_SYSTEM: Final = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "segoeui.ttf", "Arial.ttf", "Arial Unicode.ttf"),
    *("NotoSansCJK-Regular.ttc", "msyh.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc", "YuGothM.ttc", "meiryo.ttc"),
    *("malgun.ttf", "AppleSDGothicNeo.ttc", "wqy-microhei.ttc", "wqy-zenhei.ttc", "simsun.ttc"),
)
"""Faces that systems bring; the first one that has most of a text's signs writes it."""
_NONE: Final = "\uffff"
"""A sign that no face has."""
Face = tuple[Any, float]
"""A font of Pillow and by how much what it draws is enlarged."""


class Lettering:
    """Pillow's own face at one size in pixels."""

    def __init__(self, size: float) -> None:
        self.size = max(round(size), 6)
        self._own = _face(self.size)
        self.line = round(self.size * 1.32)
        """Height of a line."""

    def width(self, text: str) -> float:
        """Return the width of drawable text in pixels."""
        font, factor = self._face_of(text)
        return float(font.getlength(text)) * factor

    def drawable(self, text: object) -> str:
        """Return one line of signs that the face has: others lose their accents or become question marks."""
        line = plain(text)[:_LONGEST]
        if line.isascii():
            return line
        font = self._face_of(line)[0]
        return "".join(c if _has(font, c) else _ascii(c) for c in line)

    def _face_of(self, text: str) -> Face:
        """Return the face that has most of the signs; Pillow's own one where it has as many."""
        if text.isascii():
            return self._own
        signs = set(text)
        return max((self._own, *_system(self.size)), key=lambda face: sum(_has(face[0], c) for c in signs))

    def wrap(self, text: object, width: float, most: int) -> list[str]:
        """Break a text into at most `most` lines of at most `width` pixels; dots stand for what does not fit."""
        rest = self.drawable(text)
        lines: list[str] = []
        while rest and len(lines) < most:
            if len(lines) == most - 1:
                lines.append(self.cut(rest, width))
                break
            line = self._fitting(rest, width)
            lines.append(line.rstrip())
            rest = rest[len(line) :].lstrip()
        return lines

    def cut(self, text: object, width: float) -> str:
        """Return one line of at most `width` pixels: the beginning of the text, with dots if that is not all."""
        line = self.drawable(text)
        if self.width(line) <= width:
            return line
        keep = self._most(line, width, _DOTS)
        return f"{line[:keep].rstrip()}{_DOTS}" if keep else ""

    def _fitting(self, text: str, width: float) -> str:
        """Return the longest beginning that fits, broken after a space or a sign if that costs less than half."""
        keep = max(self._most(text, width), 1)
        if keep == len(text) or text[keep] == " ":
            return text[:keep]
        at = max(text.rfind(sign, 0, keep) for sign in _BREAKS) + 1
        return text[: at if at > keep // 3 else keep]

    def _most(self, text: str, width: float, end: str = "") -> int:
        """Return how many characters fit, with an end behind them."""
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.width(text[:middle] + end) <= width else (low, middle - 1)
        return low

    def draw(self, picture: Image.Image, at: tuple[float, float], text: str, colour: Colour) -> None:
        """Draw one line of drawable text, its upper left corner at the given place."""
        from PIL import Image, ImageDraw

        if not text:
            return
        x, y = round(at[0]), round(at[1])
        font, factor = self._face_of(text)
        if factor == 1:
            ImageDraw.Draw(picture).text((x, y), text, colour, font)
            return
        width, height = max(round(font.getlength(text)), 1) + 2, _BITMAP + 3
        mask = Image.new("L", (width, height), 0)
        ImageDraw.Draw(mask).text((0, 0), text, 255, font)
        large = mask.resize((round(width * factor), round(height * factor)), Image.Resampling.BICUBIC)
        picture.paste(colour, (x, y), large)


def _face(size: int) -> Face:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size), 1.0
    except (TypeError, ImportError, OSError):
        return ImageFont.load_default(), size / _BITMAP


@lru_cache(maxsize=64)
def _system(size: int) -> tuple[Face, ...]:
    """Return the faces of the system at a size."""
    from PIL import ImageFont

    try:
        return tuple((ImageFont.truetype(name, size), 1.0) for name in _installed())
    except (ImportError, OSError):
        return ()


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    """Return which of the faces the system has; looked for once, and only when a text needs them."""
    from PIL import ImageFont

    found = []
    for name in _SYSTEM:
        try:
            ImageFont.truetype(name, 12)
        except (ImportError, OSError):
            continue
        found.append(name)
    return tuple(found)


def _ascii(sign: str) -> str:
    """Return a letter without its accents, or a question mark."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", sign) if " " <= c <= "~")
    return bare or ("" if unicodedata.combining(sign) else "?")


@lru_cache(maxsize=1 << 16)
def _has(font: Any, sign: str) -> bool:
    """Tell whether a face has a sign; one that it lacks looks like the one that no face has."""
    if " " <= sign <= "~":
        return True
    try:
        return bytes(font.getmask(sign)) != _absent(font)
    except (UnicodeError, ValueError, OSError):
        return False


@lru_cache(maxsize=1024)
def _absent(font: Any) -> bytes:
    try:
        return bytes(font.getmask(_NONE))
    except (UnicodeError, ValueError, OSError):
        return b"\x00"  # the bitmap face refuses what it lacks
