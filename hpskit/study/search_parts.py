"""Parts that every report of a search is put together from: pictures, the table of all scores, facts, notes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .. import stats as st
from ..report import Column, Facts, Note, Picture, Table
from ..types import ScorerInfo
from .search_records import PoolImage, SearchPool

Row = list["str | int | float | None"]


def finite(pool: SearchPool) -> list[float]:
    """Return the scores that are numbers, in the order of the images."""
    return [image.score for image in pool.images if math.isfinite(image.score)]


def seed_words(image: PoolImage, before: str = "") -> str:
    """Return "seed 5", or nothing where the seed is not known."""
    return f"{before}seed {image.seed}" if image.seed is not None else ""


def picture_of(image: PoolImage, caption: str = "", *, winner: bool = False) -> Picture:
    """Return an image with all that is said below it."""
    return Picture(image.picture, caption, image.rank, image.score, image.seed, winner)


def table_of(pool: SearchPool, title: str) -> Table:
    """Return the scores best first, with the margin to the next and the chance to be preferred to it."""
    several = len(pool.prompts) > 1
    seeds = any(image.seed is not None for image in pool.images)
    columns = [
        Column("rank"),
        Column("image"),
        *([Column("seed", mono=True)] if seeds else []),
        *([Column("prompt")] if several else []),
        Column("score", 3),
        *(Column(info.name or name, 3) for name, info in pool.members.items()),
        *([] if several else [Column("z", 2), Column("margin to next", 3), Column("p(beats next)", 2)]),
    ]
    rows = [_row(pool, place, seeds, several) for place in range(len(pool.images))]
    note = "" if several else "z: standard deviations of this pool from its mean, as the rule counts them."
    return Table(columns, rows, title, note, marked=frozenset() if several else frozenset({0}))


def _row(pool: SearchPool, place: int, seeds: bool, several: bool) -> Row:
    index = pool.order[place]
    image = pool.images[index]
    row: Row = [image.rank, index]
    # As text: a page's numbers do not hold 64 bits.
    row += [None if image.seed is None else str(image.seed)] if seeds else []
    row += [image.prompt] if several else []
    row += [image.score, *(image.parts.get(name) for name in pool.members)]
    return row if several else [*row, image.z, *_lead(pool, place)]


def _lead(pool: SearchPool, place: int) -> Row:
    if place + 1 >= len(pool.images):
        return [None, None]
    mine, below = (pool.images[pool.order[k]].score for k in (place, place + 1))
    if not (math.isfinite(mine) and math.isfinite(below)):
        return [None, None]
    scale = pool.scorer.logit_scale
    return [mine - below, st.win_probability(mine, below, scale) if scale else None]


def by_member(pool: SearchPool) -> Iterator[Table]:
    """Yield what every member of an ensemble says of the winner, those first that took no part in the choice."""
    if not pool.members or len(pool.prompts) > 1 or len(pool.images) < 2:
        return
    names = sorted(pool.members, key=lambda name: name in pool.judging)
    rows = [_member(pool, name) for name in names]
    note = "z: standard deviations of the scorer's own scores. A winner that a scorer without a say ranks low, too, is "
    note += "one that only the choosing scorers like."
    columns: list[Column | str] = [
        "scorer",
        "role",
        Column("score of the winner", 3),
        Column("mean", 3),
        Column("z", 2),
        "its rank",
    ]
    yield Table(columns, rows, "The winner, by every scorer", note)


def _member(pool: SearchPool, name: str) -> Row:
    winner = pool.images[pool.order[0]].parts.get(name)
    values = [value for image in pool.images if math.isfinite(value := image.parts.get(name, math.nan))]
    role = "chose" if name in pool.judging else "only watched"
    known: Row = [pool.members[name].name or name, role, winner]
    if winner is None or not math.isfinite(winner) or not values:
        return [*known, None, None, None]
    centre, sd = st.mean(values), st.standard_deviation(values)
    rank = 1 + sum(value > winner for value in values)
    return [*known, centre, (winner - centre) / sd if sd > 0 else None, f"{rank} of {len(values)}"]


def notes(pool: SearchPool) -> list[Note]:
    """Return what a reader must know: what the scorers can judge, and what compares."""
    infos = list(pool.members.values()) or [pool.scorer]
    said = [f"{info.name} judges: {info.domain}" for info in infos if info.domain]
    return [*(Note(words) for words in dict.fromkeys(said)), Note()]


def setting_facts(pool: SearchPool) -> list[Facts]:
    """Return the settings that made the images, where they are known."""
    return [Facts(pool.facts, "Settings")] if pool.facts else []


def facts(pool: SearchPool, *more: tuple[str, str]) -> Facts:
    """Return what identifies the scores."""
    from .. import __version__

    infos = list(pool.members.values()) or [pool.scorer]
    judged = [fact for info in infos for fact in _scorer_facts(info, len(infos) > 1)]
    rule = [("Rule", pool.rule)] if pool.members else []
    return Facts([*judged, *rule, *more, ("hps", __version__)])


def _scorer_facts(info: ScorerInfo, short: bool) -> list[tuple[str, str]]:
    name = f"{info.name} ({info.id}), version {info.version}"
    if short:
        return [("Scorer", f"{name}, {info.preprocess}, {info.dtype}")]
    known = [("Scorer", name), ("Preprocessing", info.preprocess), ("Computed in", info.dtype)]
    return [*known, ("Checkpoint", info.checkpoint or "-")]
