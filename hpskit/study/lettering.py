"""Text on pictures with nothing but Pillow: its own font at any size, lines broken to a width, unknown signs as "?".

Pillow 10.1 and newer bring a scalable face; before that, and without FreeType, there is a bitmap of a single size,
which is enlarged. No text can make drawing fail.
"""

from __future__ import annotations

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


class Lettering:
    """Pillow's own face at one size in pixels."""

    def __init__(self, size: float) -> None:
        self.size = max(round(size), 6)
        self._font, self._factor = _face(self.size)
        self._widths: dict[str, float] = {}
        self.line = round(self.size * 1.32)
        """Height of a line."""

    def width(self, text: str) -> float:
        """Return the width of drawable text in pixels."""
        return float(self._font.getlength(text)) * self._factor

    def drawable(self, text: object) -> str:
        """Return one line in which every sign the face lacks is a question mark."""
        return "".join(c if _has(self._font, c) else "?" for c in plain(text)[:_LONGEST])

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
        keep = self._most(line, width - self.width(_DOTS))
        return f"{line[:keep].rstrip()}{_DOTS}" if keep else ""

    def _fitting(self, text: str, width: float) -> str:
        """Return the longest beginning that fits, broken after a space or a sign if that costs less than half."""
        keep = max(self._most(text, width), 1)
        if keep == len(text) or text[keep] == " ":
            return text[:keep]
        at = max(text.rfind(sign, 0, keep) for sign in _BREAKS) + 1
        return text[: at if at > keep // 3 else keep]

    def _most(self, text: str, width: float) -> int:
        """Return how many characters fit."""
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.width(text[:middle]) <= width else (low, middle - 1)
        return low

    def draw(self, picture: Image.Image, at: tuple[float, float], text: str, colour: Colour) -> None:
        """Draw one line of drawable text, its upper left corner at the given place."""
        from PIL import Image, ImageDraw

        if not text:
            return
        x, y = round(at[0]), round(at[1])
        if self._factor == 1:
            ImageDraw.Draw(picture).text((x, y), text, colour, self._font)
            return
        width, height = max(round(self._font.getlength(text)), 1) + 2, _BITMAP + 3
        mask = Image.new("L", (width, height), 0)
        ImageDraw.Draw(mask).text((0, 0), text, 255, self._font)
        large = mask.resize((round(width * self._factor), round(height * self._factor)), Image.Resampling.BICUBIC)
        picture.paste(colour, (x, y), large)


def _face(size: int) -> tuple[Any, float]:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size), 1.0
    except (TypeError, ImportError, OSError):
        return ImageFont.load_default(), size / _BITMAP


@lru_cache(maxsize=4096)
def _has(font: Any, sign: str) -> bool:
    """Tell whether a face has a sign; one that it lacks is drawn as the sign that no face has."""
    if " " <= sign <= "~":
        return True
    try:
        return bytes(font.getmask(sign)) != _absent(font)
    except (UnicodeError, ValueError, OSError):
        return False


@lru_cache(maxsize=64)
def _absent(font: Any) -> bytes:
    try:
        return bytes(font.getmask("\uffff"))
    except (UnicodeError, ValueError, OSError):
        return b"\x00"  # the bitmap face refuses what it lacks
