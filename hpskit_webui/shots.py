"""What a generation gave: its scored pictures, read off the records that the panel put into them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..hpskit.types import ScorerInfo
from .judge import TAG

if TYPE_CHECKING:
    from PIL import Image

_IDENTITY = ("scorer", "version", "preprocess", "dtype", "checkpoint")


@dataclass(frozen=True)
class Shot:
    """One scored picture."""

    score: float
    """NaN where it could not be scored."""
    text: str
    """What it was scored against."""
    seed: int | None
    record: Mapping[str, Any]
    """As `hpskit.stamp` stores it."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Of several scorers: all scores, the main one first."""
    width: int = 0
    height: int = 0
    thumbnail: bytes | None = None
    """WebP or JPEG, longest side 256."""

    @property
    def scorer(self) -> tuple[str, ...]:
        """What scores compare by: equal only for the same scorer in the same version and numbers."""
        return tuple(str(self.record.get(name, "")) for name in _IDENTITY)

    @property
    def group(self) -> tuple[str, ...]:
        """What scores may be set side by side within: one prompt and one scorer."""
        return (self.text, *self.scorer)


def record_of(picture: Any) -> Mapping[str, Any] | None:
    """Return the record in a picture that the panel has scored; None for grids, masks and other pictures."""
    info = getattr(picture, "info", None)
    if not isinstance(info, Mapping) or not isinstance(info.get(TAG), str):
        return None
    try:
        found = json.loads(info[TAG])
    except ValueError:
        return None
    return found if isinstance(found, dict) and "value" in found else None


def shots_of(pictures: Iterable[Any], *, small: bool = True) -> list[Shot]:
    """Return the scored ones among pictures, in their order; `small` makes their thumbnails."""
    found = ((picture, record_of(picture)) for picture in pictures)
    return [_shot(picture, record, small) for picture, record in found if record is not None]


def best_first(shots: Iterable[Shot]) -> list[Shot]:
    """Return the pictures that stand for what was made: of a pool only its best, for the others are no draws."""
    return [shot for shot in shots if _rank(shot.record.get("rank", 1)) == 1]


def scorer_info(shot: Shot) -> ScorerInfo:
    """Return the identity of the scorer of a picture, with the name that people know it by."""
    return ScorerInfo(shot.scorer[0], scorer_name(shot.scorer[0]), "", *shot.scorer[1:])


def scorer_name(id: str) -> str:
    """Return the display name of a scorer; its id where there is no card."""
    from ..hpskit.cards import load_cards

    card = load_cards().get(id)
    return card.name if card is not None else id


def _shot(picture: Image.Image, record: Mapping[str, Any], small: bool) -> Shot:
    parts = record.get("parts")
    return Shot(
        score=_number(record.get("value")),
        text=str(record.get("prompt") or ""),
        seed=record["seed"] if isinstance(record.get("seed"), int) else None,
        record=record,
        parts={str(name): _number(value) for name, value in parts.items()} if isinstance(parts, Mapping) else {},
        width=picture.width,
        height=picture.height,
        thumbnail=_small(picture) if small else None,
    )


def _small(picture: Image.Image) -> bytes | None:
    from ..hpskit.ledger.picture import thumbnail_of

    try:
        return thumbnail_of(picture.convert("RGB"))
    except (OSError, ValueError):
        return None


def _number(value: Any) -> float:
    sound = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if sound else math.nan


def _rank(value: Any) -> int:
    try:
        return int(str(value).split()[0])
    except (ValueError, IndexError):
        return 1
