"""A search written out for other programs and for eyes: CSV, JSON, and one picture of all its images."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from ..ledger.export import cell as safe_cell
from ..types import ScorerInfo
from .lettering import Lettering
from .search_records import PoolImage, SearchPool
from .shown import excerpt, number

if TYPE_CHECKING:
    from PIL import Image

FORMAT: Final = "hps-search/1"
_BACK, _INK, _QUIET, _BEST = (250, 250, 250), (24, 24, 27), (110, 110, 118), (22, 128, 61)
_GAP: Final = 12
_MOST: Final = 256
"""Images on the sheet."""


# --- CSV and JSON -----------------------------------------------------------------------------------------------------


def search_csv(pool: SearchPool) -> str:
    """Return one row an image, best first; cells in which a spreadsheet would see a formula begin with an apostrophe.

    Seeds are text: 64 bits do not fit a spreadsheet's numbers.
    """
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_NONNUMERIC).writerows(_rows(pool))
    return out.getvalue()


def _rows(pool: SearchPool) -> Iterator[list[Any]]:
    members = [f"score {info.name or name}" for name, info in pool.members.items()]
    last = ("width", "height", "image_hash", "entry")
    yield [safe_cell(name) for name in ("rank", "image", "seed", "prompt", "score", "z", *members, *last)]
    for index in pool.order:
        image = pool.images[index]
        seed = "" if image.seed is None else str(image.seed)
        row = [image.rank, index, seed, image.prompt, image.score, image.z]
        row += [image.parts.get(name) for name in pool.members]
        yield [_csv(value) for value in (*row, *(getattr(image, name) for name in last))]


def _csv(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return float(f"{value:.9g}") if isinstance(value, float) else safe_cell(value)


def search_json(pool: SearchPool) -> str:
    """Return everything but the pictures as JSON text: seeds as text, NaN and infinities as null."""
    images = [_image(pool.images[index], index) for index in pool.order]
    trace = None if pool.trace is None else {**asdict(pool.trace), "facts": _pairs(pool.trace.facts)}
    whole = {
        "format": FORMAT,
        "title": pool.title,
        "rule": pool.rule,
        "scorer": asdict(pool.scorer),
        "members": {name: {**asdict(info), "chose": name in pool.judging} for name, info in pool.members.items()},
        "search": trace,
        "settings": _pairs(pool.facts),
        "warnings": pool.warnings,
        "images": images,
    }
    return json.dumps(_plain(whole), allow_nan=False, separators=(",", ":")) + "\n"


def _image(image: PoolImage, index: int) -> dict[str, Any]:
    known = {name: value for name, value in vars(image).items() if name != "picture"}
    return {**known, "image": index, "seed": None if image.seed is None else str(image.seed)}


def _pairs(facts: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in facts]


def _plain(value: Any) -> Any:
    if isinstance(value, ScorerInfo):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- the sheet --------------------------------------------------------------------------------------------------------


def search_sheet(pool: SearchPool, *, side: int = 256, max_side: int = 8192) -> Image.Image:
    """Return the images best first, each with rank, score and seed below; at most 256, no side above `max_side`."""
    from PIL import Image

    shown = [pool.images[index] for index in pool.order][:_MOST]
    across = max(math.ceil(math.sqrt(len(shown) * 1.25)), 1)
    down = math.ceil(len(shown) / across)
    line = Lettering(max(side / 16, 11)).line
    side = max(min(side, (max_side - _GAP) // across - _GAP, (max_side - 5 * line) // down - 2 * line - 2 * _GAP), 16)
    small, large = Lettering(max(side / 16, 9)), Lettering(max(side / 13, 11))
    tall = _height(shown, side)
    width, top = across * (side + _GAP) + _GAP, 2 * large.line + 2 * _GAP
    height = top + down * (tall + 2 * small.line + _GAP) + small.line + _GAP
    sheet = Image.new("RGB", (width, min(height, max_side)), _BACK)
    _head(sheet, pool, large, len(shown))
    several = len(pool.prompts) > 1
    for place, image in enumerate(shown):
        left = _GAP + place % across * (side + _GAP)
        at = (left, top + place // across * (tall + 2 * small.line + _GAP))
        _field(sheet, image, at, (side, tall), small, several)
    words = "Scores compare within one prompt only." if several else f"Scores by {pool.scorer.name}."
    small.draw(sheet, (_GAP, height - small.line - _GAP / 2), small.cut(words, width - 2 * _GAP), _QUIET)
    return sheet


def _height(shown: Sequence[PoolImage], side: int) -> int:
    """Return the height of a field: that of the tallest image, where the shapes are known."""
    if not all(image.width > 0 and image.height > 0 for image in shown):
        return side
    return max(round(side * min(image.height / image.width, 1.0)) for image in shown) or 1


def _head(sheet: Image.Image, pool: SearchPool, letters: Lettering, shown: int) -> None:
    room = sheet.width - 2 * _GAP
    prompts = pool.prompts
    first = excerpt(prompts[0], 300) if len(prompts) == 1 else f"{len(prompts)} prompts"
    count = f"{len(pool.images)} images, best first" if len(prompts) < 2 else f"{len(pool.images)} images"
    count += f"; {shown} are shown" if shown < len(pool.images) else ""
    letters.draw(sheet, (_GAP, _GAP), letters.cut(first or pool.title, room), _INK)
    letters.draw(sheet, (_GAP, _GAP + letters.line), letters.cut(count, room), _QUIET)


def _field(
    sheet: Image.Image,
    image: PoolImage,
    at: tuple[int, int],
    size: tuple[int, int],
    letters: Lettering,
    several: bool,
) -> None:
    from PIL import ImageDraw

    (x, y), (side, tall) = at, size
    picture = _opened(image, side)
    drawing = ImageDraw.Draw(sheet)
    if picture is None:
        drawing.rectangle((x, y, x + side - 1, y + tall - 1), outline=_QUIET)
    else:
        sheet.paste(picture, (x + (side - picture.width) // 2, y + (tall - picture.height) // 2))
    best = image.rank == 1 and not several  # of several prompts, none is the best
    if best:
        drawing.rectangle((x - 3, y - 3, x + side + 2, y + tall + 2), outline=_BEST, width=3)
    score = number(image.score) if several else f"#{image.rank}: {number(image.score)}"
    letters.draw(sheet, (x, y + tall + 2), letters.cut(score, side), _BEST if best else _INK)
    if image.seed is not None:
        letters.draw(sheet, (x, y + tall + 2 + letters.line), letters.cut(f"seed {image.seed}", side), _QUIET)


def _opened(image: PoolImage, side: int) -> Any:
    """Return the picture at its size on the sheet; None where there is none or it cannot be read."""
    if image.picture is None:
        return None
    from ..errors import HpsError
    from ..images import load_images, to_pil

    try:
        given = image.picture[0] if getattr(image.picture, "ndim", 3) == 4 else image.picture
        picture = to_pil(load_images([given])[0])
    except HpsError:
        return None
    picture.thumbnail((side, side))
    return picture
