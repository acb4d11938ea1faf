"""What the interface shows of scored images: one item an image, best first, with its picture and its lead."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from typing import Any

from ..hpskit.stats import win_probability
from ..hpskit.types import ScorerInfo, Scores
from . import tables
from .notices import without_nan
from .pictures import MOST, Picture
from .types import ScoreTable

VERSION = 1
"""Of the data's form; the interface leaves alone what it does not know."""
POOL, SEARCH = "pool", "search"


def pool(table: ScoreTable, kept: Sequence[int], run: str = "", picked: bool = False, **more: Any) -> dict[str, Any]:
    """Return the data of a scored batch or pool; `kept` are the positions that are handed on, best first."""
    data = {"v": VERSION, "kind": POOL, "run": run, "token": token(table), "kept": list(kept), "picked": picked}
    found: dict[str, Any] = without_nan(data | tables.as_json(table) | {"items": items(table, kept)} | more)
    return found


def items(table: ScoreTable, kept: Sequence[int], labels: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the images best first, at most 256 and all that are kept: scores, lead over the next, pictures."""
    order = table.ranking.order
    wanted = [place for place, index in enumerate(order) if place < MOST or index in kept]
    return [_item(table, place, kept, labels) for place in wanted]


def _item(table: ScoreTable, place: int, kept: Sequence[int], labels: Sequence[str]) -> dict[str, Any]:
    index = table.ranking.order[place]
    picture = table.pictures[index] if table.pictures else None
    return {
        "index": index,
        "seed": str(table.seeds[index]) if table.seeds else None,
        "score": table.ranking.scores[index],
        "rank": table.ranking.rank[index],
        **_lead(table, place),
        "kept": index in kept,
        "best": place == 0,
        "parts": {name: part.tolist()[index] for name, part in table.scores.parts.items()},
        **picture_files(picture),
        "label": labels[index] if labels else "",
    }


def picture_files(picture: Picture | None) -> dict[str, Any]:
    """Return where the interface finds a picture, and its row of the ledger."""
    if picture is None:
        return {"image": None, "thumb": None, "entry": None}
    return {**picture.files(), "entry": picture.entry}


def _lead(table: ScoreTable, place: int) -> dict[str, float | None]:
    """Return the margin to the next lower rank on the main scorer, and how often the scorer thinks people agree."""
    order, scores = table.ranking.order, table.ranking.scores
    if place + 1 >= len(order):
        return {"margin": None, "win": None}
    mine, below = scores[order[place]], scores[order[place + 1]]
    if not (math.isfinite(mine) and math.isfinite(below)):
        return {"margin": None, "win": None}
    scale = main_info(table.scores, table.ranking.main).logit_scale
    return {"margin": mine - below, "win": win_probability(mine, below, scale) if scale else None}


def main_info(scores: Scores, main: str) -> ScorerInfo:
    """Return the identity of the scorer whose scores are shown: the member `main`, or the one scorer."""
    return scores.parts[main].info if main in scores.parts else scores.info


def token(table: ScoreTable) -> str:
    """Return 8 hex digits for this batch, so that what was picked by hand is not taken for a pick of another one.

    They stand for the images; where those are not known, for scores and seeds.
    """
    if table.pictures:
        marks = ",".join(picture.hash for picture in table.pictures).encode()
    else:
        marks = struct.pack(f"<{len(table)}d", *table.scores.tolist()) + repr(table.seeds).encode()
    return hashlib.blake2b(marks, digest_size=4).hexdigest()
