"""A study of what the ledger remembers: rows of one scorer, compared by fields; nothing is scored again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..cards import load_cards
from ..errors import StudyError
from ..ledger import Ledger, Query, Row
from ..ledger.comparing import SEARCH_WORDS
from ..types import ScorerInfo
from .fields import from_fields
from .records import Cell
from .sources import Scoring, Shot, Sourced, listing

_PAGE: Final = 1000
_OTHER_NOISE: Final[Mapping[str, str]] = {
    "noise_file": "began with noise from a file, which their seed does not tell",
    "subseed": "mixed in a variation seed, so that their seed alone does not tell their noise",
    "seed_resize_from": "took their noise from another size, so that their seed alone does not tell it",
}
"""Entries of `extra` that images have whose noise no seed tells, and what is said of those."""


@dataclass(frozen=True)
class Gathered:
    """Rows of one fingerprint as shots, and what was passed over."""

    shots: tuple[Shot, ...]
    scoring: Scoring
    notes: tuple[str, ...]


def from_ledger(
    ledger: Ledger, query: Query, by: Sequence[str], *, paired: bool = True, pictures: bool = True
) -> Sourced:
    """Return the study of the rows that pass the filters of a query; its order, limit and offset do not count.

    Only rows with the most frequent fingerprint of the scorer that the query names, or of all. Rows of a searched
    noise or a steered sampling are left out: they say nothing about a setting. `pictures` takes their thumbnails along.
    StudyError when that leaves nothing to compare.
    """
    found = gather(ledger, query)
    sourced = from_fields(found.shots, found.scoring, by, paired=paired, title=_title(by))
    study = replace(sourced.study, notes=(*found.notes, *sourced.study.notes))
    if pictures:
        study = replace(study, cells=tuple(_with_thumbnail(ledger, cell) for cell in study.cells))
    return replace(sourced, study=study, left_out=(*found.notes, *sourced.left_out))


def gather(ledger: Ledger, query: Query) -> Gathered:
    """Return the rows that count as shots, the newest of each picture; StudyError when there is none."""
    shots: dict[str, list[Shot]] = {}
    scoring: dict[str, Scoring] = {}
    searched = 0
    for row in rows(ledger, query):
        if not SEARCH_WORDS.isdisjoint(row.extra):
            searched += 1
            continue
        shots.setdefault(row.fingerprint, []).append(_shot(row))
        if row.fingerprint not in scoring:
            scoring[row.fingerprint] = Scoring(scorer_of(row))
    if not shots:
        more = f" ({searched} rows of a searched noise do not count)" if searched else ""
        raise StudyError(f"The ledger has no row to compare that fits the filters{more}.")
    chosen, number = Counter({key: len(found) for key, found in shots.items()}).most_common(1)[0]
    notes = []
    if searched:
        notes.append(f"{searched} rows of an optimised noise or a guided sampling are left out.")
    if len(shots) > 1:
        others = sum(map(len, shots.values())) - number
        names = [_name(scoring[key].info) for key in shots if key != chosen]
        one = f"{_name(scoring[chosen].info)}, {number} rows"
        notes.append(f"Scores of one scorer only: {one}; {others} of {listing(names, 4)} are left out.")
    newest = _newest(shots[chosen])
    if len(newest) < number:
        notes.append(f"{number - len(newest)} rows are left out for newer ones of the same prompt, seed and settings.")
    return Gathered(newest, _with_parts(scoring[chosen], newest), tuple(notes))


def _newest(shots: Sequence[Shot]) -> tuple[Shot, ...]:
    """Return the last of those that cannot be told apart: something that no row tells may have changed since."""
    found: dict[object, Shot] = {}
    for k, shot in enumerate(shots):
        found[(shot.prompt, shot.seed, frozenset(shot.made.items())) if shot.seed is not None else k] = shot
    return tuple(found.values())


def rows(ledger: Ledger, query: Query) -> Iterator[Row]:
    """Yield every row of a query, oldest first, page by page: rows that are written meanwhile come last."""
    offset = 0
    while True:
        page = ledger.rows(replace(query, sort="time", descending=False, limit=_PAGE, offset=offset)).rows
        yield from page
        offset += len(page)
        if len(page) < _PAGE:
            return


def scorer_of(row: Row) -> ScorerInfo:
    """Return the identity of the scorer of a row, with what its card says of it."""
    card = load_cards().get(row.scorer)
    return ScorerInfo(
        id=row.scorer,
        name=card.name if card else row.scorer,
        family=card.family if card else "",
        version=row.scorer_version,
        preprocess=row.preprocess,
        dtype=row.dtype,
        checkpoint=row.checkpoint,
        domain=card.domain if card else "",
        within_prompt_sd=card.within_prompt_sd if card else None,
    )


def _with_parts(scoring: Scoring, shots: Sequence[Shot]) -> Scoring:
    cards = load_cards()
    ids = dict.fromkeys(name for shot in shots for name in shot.cell.parts)
    return replace(scoring, part_names={name: cards[name].name if name in cards else name for name in ids})


def _shot(row: Row) -> Shot:
    cell = Cell(
        setting=0,
        prompt=0,
        seed=0,
        score=row.score,
        parts=dict(row.parts) if len(row.parts) > 1 else {},
        width=row.width,
        height=row.height,
        file=row.file,
        image_hash=row.image_hash,
        entry=row.id,
    )
    name = row.file or f"row {row.id}"
    return Shot(cell, row.prompt, name=name, seed=_seed(row), made=_made(row), unseeded=_unseeded(row))


def _seed(row: Row) -> str | None:
    """Return the seed; of a later image in a batch the batch's seed with its place, which is as good."""
    if row.seed is not None:
        return str(row.seed)
    seed, place = row.extra.get("batch_seed"), row.extra.get("batch_index")
    return f"{seed} [{place}]" if isinstance(seed, str) and isinstance(place, int) else None


def _unseeded(row: Row) -> str:
    """Return why a row has no seed of its own, although its image may well carry one."""
    return next((words for name, words in _OTHER_NOISE.items() if name in row.extra), Shot.unseeded)


def _made(row: Row) -> Mapping[str, str]:
    known = {
        "model": row.model,
        "sampler": row.sampler,
        "scheduler": row.scheduler,
        "steps": "" if row.steps is None else str(row.steps),
        "cfg": "" if row.cfg is None else f"{row.cfg:g}",
        "size": f"{row.width}x{row.height}" if row.width and row.height else "",
        "lora": lora_text(row.loras),
        "denoise": "" if row.denoise is None else f"{row.denoise:g}",
        "negative": row.negative,
    }
    return {**_held(row), **{name: value for name, value in known.items() if value}}


def _held(row: Row) -> Mapping[str, str]:
    """Return what else made an image, by name, as its writer told it: such as the picture that it began with."""
    held = row.extra.get("held")
    if not isinstance(held, Mapping):
        return {}
    return {str(name): value for name, value in held.items() if isinstance(value, str) and value}


def lora_text(loras: Sequence[tuple[str, float]]) -> str:
    """Return LoRAs as people read them: "detail 0.8 + film 0.5"; "" for none."""
    return " + ".join(f"{name} {strength:g}" for name, strength in loras)


def _name(info: ScorerInfo) -> str:
    return f"{info.id} ({info.preprocess}, {info.dtype})"


def _title(by: Sequence[str]) -> str:
    return f"The ledger by {', '.join(by)}" if by else "The ledger"


def _with_thumbnail(ledger: Ledger, cell: Cell) -> Cell:
    data = ledger.thumbnail(cell.entry) if cell.entry is not None else None
    return cell if data is None else replace(cell, thumbnail=data)
