"""The cells of a comparison as they are made or found: rows for the ledger, pictures, and what the library analyses."""

from __future__ import annotations

import io as bytesio
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..hpskit.images import to_pil
from ..hpskit.ledger import Row
from ..hpskit.search.guards import look
from ..hpskit.study import Cell
from ..hpskit.study.design import Recipe
from ..hpskit.types import Candidate
from . import pictures
from .compare_store import Store
from .pictures import Picture
from .recording import Judged, Recorder
from .shown_study import MOST_PICTURES, Place

log = logging.getLogger("hps")

SMALL_SIDE = 128
"""Pixels of the pictures in the grid beyond the first MOST_PICTURES cells."""


@dataclass(frozen=True)
class Cost:
    """What one image took."""

    evaluations: int
    """Of the diffusion model, both sides of a guided step counted."""
    seconds: float
    """Sampling and decoding, for one image."""


@dataclass
class Cells:
    """All cells so far."""

    store: Store
    recorder: Recorder
    main: str
    """Scorer id of the score that decides."""
    found: dict[Place, Cell] = field(default_factory=dict)
    pictures: dict[Place, Picture] = field(default_factory=dict)
    costs: dict[int, list[Cost]] = field(default_factory=dict)
    """Of every setting, by chunk."""
    reused: int = 0

    def reuse(self, known: Mapping[Place, Row]) -> None:
        """Take cells from rows of earlier runs."""
        for place, row in known.items():
            small = self.store.thumbnail(row)
            self.pictures[place] = self.store.shown(self._picture(row, small))
            self.found[place] = _cell_of(place, row, small, self.pictures[place].entry)
            cost = _cost_of(row)
            if cost is not None:
                self.costs.setdefault(place[0], []).append(cost)
        self.reused += len(known)

    def _picture(self, row: Row, small: bytes | None) -> Picture:
        picture = Picture(row.image_hash, row.width, row.height, entry=row.id)
        if small is None or len(self.pictures) >= MOST_PICTURES:
            return picture
        with suppress(OSError):
            picture = replace(picture, thumbnail_name=pictures.keep_small(row.image_hash, small))
        path = pictures.full_size(row.image_hash)
        return picture if path is None else replace(picture, name=path.name)

    def add(
        self,
        places: Sequence[Place],
        keys: Sequence[str],
        fresh: Sequence[Candidate],
        recipe: Recipe,
        cost: Cost,
        info: Any,
        common: Mapping[str, Any],
    ) -> None:
        """Write down freshly scored images; `common` are fields of their rows that all of them share."""
        images = [made.image[0] for made in fresh if made.image is not None]
        judged = [self._judged(made, image, recipe, cost, common) for made, image in zip(fresh, images, strict=True)]
        first = 0 if len(self.pictures) < MOST_PICTURES else pictures.MOST
        taken = self.recorder.add(images, judged, info, first)
        self.store.remember(zip(keys, taken, strict=True))
        for place, made, one, picture, image in zip(places, fresh, judged, taken, images, strict=True):
            shown = self.pictures[place] = self.store.shown(picture)
            self.found[place] = _cell(place, made.scores, one, shown, _small(picture, image))
        self.costs.setdefault(places[0][0], []).append(cost)

    def _judged(
        self, made: Candidate, image: torch.Tensor, recipe: Recipe, cost: Cost, common: Mapping[str, Any]
    ) -> Judged:
        seen = look(torch.nan_to_num(image)[None])
        extra = {"contrast": round(seen.contrast, 5), "saturation": round(seen.saturation, 5)}
        extra |= {"evaluations": cost.evaluations, "seconds": round(cost.seconds, 4), **common["extra"]}
        extra |= {} if recipe.shift is None else {"shift": recipe.shift}
        score = made.scores.get(self.main, math.nan)
        parts = made.scores if len(made.scores) > 1 else {}
        return Judged(score, common["prompt"], parts, made.seed, extra, common["made"] | _fields(recipe))


def _fields(recipe: Recipe) -> dict[str, Any]:
    """Return the fields of a ledger's entry that a setting decides."""
    made = {"sampler": recipe.sampler, "scheduler": recipe.scheduler, "steps": recipe.steps, "cfg": recipe.cfg}
    return made | ({"model": recipe.checkpoint} if recipe.checkpoint else {})


def _cell(place: Place, scores: Mapping[str, float], judged: Judged, picture: Picture, small: bytes | None) -> Cell:
    return Cell(
        *place,
        judged.score,
        parts=judged.parts,
        width=picture.width,
        height=picture.height,
        contrast=judged.extra["contrast"],
        saturation=judged.extra["saturation"],
        thumbnail=small,
        image_hash=picture.hash,
        entry=picture.entry,
    )


def _cell_of(place: Place, row: Row, small: bytes | None, entry: int | None) -> Cell:
    return Cell(
        *place,
        row.score,
        parts=dict(row.parts) if len(row.parts) > 1 else {},
        width=row.width,
        height=row.height,
        contrast=_number(row.extra.get("contrast")),
        saturation=_number(row.extra.get("saturation")),
        thumbnail=small,
        file=row.file,
        image_hash=row.image_hash,
        entry=entry,
    )


def _cost_of(row: Row) -> Cost | None:
    evaluations, seconds = _number(row.extra.get("evaluations")), _number(row.extra.get("seconds"))
    return None if evaluations is None or seconds is None else Cost(int(evaluations), seconds)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _small(picture: Picture, image: torch.Tensor) -> bytes | None:
    """Return the small picture of a cell: the file that was just written, else a smaller one."""
    try:
        if picture.thumbnail_name:
            return (pictures.folder() / picture.thumbnail_name).read_bytes()
        small = to_pil(torch.nan_to_num(image))
        small.thumbnail((SMALL_SIDE, SMALL_SIDE))
        buffer = bytesio.BytesIO()
        small.save(buffer, "JPEG", quality=80)
        return buffer.getvalue()
    except Exception:  # a full disk, or sides that a format cannot hold
        log.debug("A cell has no small picture", exc_info=True)
        return None
