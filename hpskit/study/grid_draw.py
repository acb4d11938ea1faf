"""The picture of a grid drawn onto its layout: dark ground, frames and lines tinted by z within the row."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..errors import HpsError
from ..report import Foot, Tone
from .grid_layout import Layout
from .lettering import Colour, Lettering
from .records import Cell
from .sheet import Place, Sheet
from .shown import number, signed

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger("hps")

Pictures = Callable[[Cell], Any]

PAPER: Final[Colour] = (24, 26, 30)
CARD: Final[Colour] = (36, 39, 45)
INK: Final[Colour] = (238, 239, 241)
SOFT: Final[Colour] = (168, 175, 186)
RULE: Final[Colour] = (62, 66, 74)
MIDDLE: Final[Colour] = (92, 97, 106)
LOW: Final[Colour] = (255, 140, 26)
HIGH: Final[Colour] = (66, 153, 255)
"""Orange and blue stay apart in every common kind of colour blindness."""
MARK: Final[Colour] = (255, 255, 255)
FULL: Final = 2.0
"""Standard deviations at which a colour is at its strongest."""
_STEEP: Final = 0.75
"""Below 1: small differences are told apart sooner."""
_TONES: Final[dict[Tone, Colour]] = {"reference": SOFT, "better": HIGH, "worse": LOW, "leaning": INK, "none": SOFT}


def tint(z: float) -> Colour:
    """Return the colour of a z: orange below 0, grey at 0 and where it is not known, blue above."""
    if not math.isfinite(z):
        return MIDDLE
    return mix(MIDDLE, HIGH if z > 0 else LOW, min(abs(z) / FULL, 1.0) ** _STEEP)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Return a colour between two."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def draw(sheet: Sheet, plan: Layout, pictures: Pictures | None) -> Image.Image:
    """Return the picture of a sheet; pictures that are missing or damaged leave a hatched field."""
    from PIL import Image

    made = Image.new("RGB", (plan.width, plan.height), PAPER)
    _words(made, plan)
    _column_heads(made, plan)
    for at, row in enumerate(sheet.places):
        _row_head(made, plan, sheet, at)
        for column, place in enumerate(row):
            _field(made, plan, place, plan.field(at, column), pictures)
    if sheet.feet:
        _feet(made, plan, sheet)
    _legend(made, plan, sheet.key)
    return made


def _words(made: Image.Image, plan: Layout) -> None:
    y = plan.margin
    y = _block(made, plan.fonts.title, plan.title, (plan.margin, y), INK)
    _block(made, plan.fonts.intro, plan.intro, (plan.margin, y), SOFT)
    top = plan.remark_top + round(plan.fonts.remark.line * 1.5)
    _block(made, plan.fonts.remark, plan.remarks, (plan.margin, top), SOFT)


def _block(made: Image.Image, face: Lettering, lines: tuple[str, ...], at: tuple[int, int], colour: Colour) -> int:
    """Draw lines below each other and return where the next one would begin."""
    x, y = at
    for line in lines:
        face.draw(made, (x, y), line, colour)
        y += face.line
    return y


def _column_heads(made: Image.Image, plan: Layout) -> None:
    fonts, bottom = plan.fonts, plan.grid_top - plan.gap // 2
    for column, (title, detail) in enumerate(plan.heads):
        x = plan.field(0, column)[0]
        y = bottom - len(title) * fonts.head.line - len(detail) * fonts.small.line
        y = _block(made, fonts.head, title, (x, y), INK)
        _block(made, fonts.small, detail, (x, y), SOFT)


def _row_head(made: Image.Image, plan: Layout, sheet: Sheet, row: int) -> None:
    from PIL import ImageDraw

    title, detail = plan.row_heads[row]
    x, y = plan.margin, plan.field(row, 0)[1]
    if row and sheet.rows[row].starts:
        level = y - plan.gap // 2 - 1
        ImageDraw.Draw(made).line([(x, level), (plan.width - plan.margin, level)], RULE, 1)
    y = _block(made, plan.fonts.small, title, (x, y + plan.frame), INK)
    _block(made, plan.fonts.small, detail, (x, y), SOFT)


# --- one field --------------------------------------------------------------------------------------------------------


def _field(made: Image.Image, plan: Layout, place: Place, at: tuple[int, int], pictures: Pictures | None) -> None:
    from PIL import ImageDraw

    pen, (x, y), (wide, high), frame = ImageDraw.Draw(made), at, plan.box, plan.frame
    right, bottom = x + wide + 2 * frame - 1, y + high + 2 * frame + plan.strip - 1
    colour = tint(place.z) if place.cell is not None else RULE
    pen.rectangle([x, y, right, bottom], colour if place.cell is not None else PAPER)
    inner = x + frame, y + frame
    shown = None if place.cell is None else picture_of(place.cell, pictures)
    pen.rectangle([*inner, inner[0] + wide - 1, inner[1] + high - 1], CARD)
    if shown is None:
        _hatch(made, inner, plan.box)
    else:
        small = _scaled(shown, plan.box)
        made.paste(small, (inner[0] + (wide - small.width) // 2, inner[1] + (high - small.height) // 2))
    if place.cell is not None:
        _strip(made, plan, place, (x, bottom - plan.strip + 1))
    if place.best:
        pen.rectangle([x - 1, y - 1, right + 1, bottom + 1], outline=MARK, width=max(frame // 2, 1) + 1)
        _star(made, plan, (inner[0], inner[1]))


def _strip(made: Image.Image, plan: Layout, place: Place, at: tuple[int, int]) -> None:
    """Write the score to the left and z to the right; a narrow field has room for the score only."""
    from PIL import ImageDraw

    (x, y), frame, width = at, plan.frame, plan.box[0]
    ground = mix(CARD, tint(place.z), 0.35)
    ImageDraw.Draw(made).rectangle([x + frame, y, x + frame + width - 1, y + plan.strip - 1 - frame], ground)
    body, small = plan.fonts.body, plan.fonts.small
    score = body.drawable(number(place.cell.score if place.cell else None))
    z = small.drawable(f"z {signed(place.z, 1)}") if math.isfinite(place.z) else ""
    top = y + (plan.strip - frame - body.line) / 2 + body.line * 0.06
    left = x + frame + round(body.size * 0.35)
    body.draw(made, (left, top), score, INK)
    free = width - round(body.size * 0.7) - body.width(score) - small.width(z)
    if free > body.size * 0.4:
        place_z = x + frame + width - round(body.size * 0.35) - small.width(z)
        small.draw(made, (place_z, top + (body.size - small.size) * 0.8), z, mix(INK, ground, 0.25))


def picture_of(cell: Cell, pictures: Pictures | None) -> Image.Image | None:
    """Return the picture of a cell as RGB: the one that `pictures` finds, else its thumbnail; None if unreadable."""
    from PIL import Image

    try:
        found = pictures(cell) if pictures is not None else None
        if found is None and cell.thumbnail:
            found = Image.open(io.BytesIO(cell.thumbnail))
        return None if found is None or 0 in found.size else rgb(found)
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError, HpsError) as error:
        log.warning("A picture cannot be read and is left out: %s", error)
        return None


def rgb(picture: Image.Image) -> Image.Image:
    """Return a picture as RGB; what is transparent shows the ground."""
    from PIL import Image

    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        whole = picture.convert("RGBA")
        ground = Image.new("RGBA", whole.size, (*CARD, 255))
        return Image.alpha_composite(ground, whole).convert("RGB")
    return picture.convert("RGB")


def _scaled(picture: Image.Image, box: tuple[int, int]) -> Image.Image:
    """Return a picture that fills the box as far as its form allows; a tiny one is enlarged without smoothing."""
    from PIL import Image

    factor = min(box[0] / picture.width, box[1] / picture.height)
    size = max(round(picture.width * factor), 1), max(round(picture.height * factor), 1)
    if size == picture.size:
        return picture
    smooth = Image.Resampling.LANCZOS if factor < 2 or max(picture.size) > 96 else Image.Resampling.NEAREST
    return picture.resize(size, smooth, reducing_gap=3.0 if factor < 1 else None)


def _hatch(made: Image.Image, at: tuple[int, int], box: tuple[int, int]) -> None:
    from PIL import Image, ImageDraw

    (wide, high), step = box, max(min(box) // 10, 6)
    field = Image.new("RGB", box, CARD)
    pen = ImageDraw.Draw(field)
    for x in range(-high, wide, step):
        pen.line([(x, high), (x + high, 0)], RULE, 1)
    made.paste(field, at)


def _star(made: Image.Image, plan: Layout, at: tuple[int, int]) -> None:
    """Draw a star in the upper left corner of a picture, large and scaled down, so that its edges are smooth."""
    from PIL import Image, ImageDraw

    size = max(plan.side // 9, 10)
    points = []
    for corner in range(10):
        radius = size * 2 * (0.78 if corner % 2 == 0 else 0.33)
        angle = math.pi * (corner / 5 - 0.5)
        points.append((size * 2 + radius * math.cos(angle), size * 2 + radius * math.sin(angle)))
    ground, star = (Image.new("L", (size * 4, size * 4), 0) for _ in range(2))
    ImageDraw.Draw(ground).ellipse((0, 0, size * 4 - 1, size * 4 - 1), 205)
    ImageDraw.Draw(star).polygon(points, 255)
    edge = max(plan.frame // 2, 2)
    for colour, mask in ((PAPER, ground), (MARK, star)):
        small = mask.resize((size, size), Image.Resampling.LANCZOS)
        made.paste(colour, (at[0] + edge, at[1] + edge), small)


# --- below the fields -------------------------------------------------------------------------------------------------


def _feet(made: Image.Image, plan: Layout, sheet: Sheet) -> None:
    _block(made, plan.fonts.small, plan.feet_title, (plan.margin, plan.foot_top), SOFT)
    for column, (foot, detail) in enumerate(zip(sheet.feet, plan.foot_details, strict=True)):
        _foot(made, plan, foot, detail, plan.field(0, column)[0])


def _foot(made: Image.Image, plan: Layout, foot: Foot, detail: tuple[str, ...], x: int) -> None:
    fonts, width = plan.fonts, plan.pitch[0] - plan.gap
    main = (fonts.body.cut(foot.main, width),)
    y = _block(made, fonts.body, main, (x, plan.foot_top), INK)
    y = _block(made, fonts.small, detail, (x, y), SOFT)
    _block(made, fonts.small, (fonts.small.cut(foot.verdict, width),), (x, y), _TONES[foot.tone])


def _legend(made: Image.Image, plan: Layout, key: str) -> None:
    """Draw what the colours mean."""
    from PIL import ImageDraw

    face, pen = plan.fonts.remark, ImageDraw.Draw(made)
    x, y = plan.margin, plan.remark_top
    words = f"{key}  -2"
    face.draw(made, (x, y), words, SOFT)
    x += round(face.width(words) + face.size * 0.5)
    wide, high = face.size * 8, round(face.size * 0.7)
    top = y + round((face.line - high) / 2)
    for step in range(wide):
        pen.line([(x + step, top), (x + step, top + high)], tint((2 * step / (wide - 1) - 1) * FULL))
    face.draw(made, (x + wide + face.size * 0.5, y), "+2     a star marks the best", SOFT)
