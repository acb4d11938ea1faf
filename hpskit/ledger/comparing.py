"""What the rows say together: the values in use, the best seeds, one value of a setting against the others."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .. import stats
from ..errors import LedgerError
from . import queries
from .queries import unpack
from .records import Facet, Facets, Query, Setting, shortened

SETTINGS: Final = ("sampler", "scheduler", "steps", "cfg", "model")

SEARCH_WORDS: Final = frozenset({"method", "guidance"})
"""Entries of `extra` that images have for whose score was searched: they say nothing about a sampler or a model."""
_SEARCHED: Final = (
    "CASE WHEN " + " OR ".join(f"instr(e.extra, '{word}')" for word in sorted(SEARCH_WORDS)) + " THEN e.extra END"
)

_PROMPTS = """SELECT g.prompt, p.text, g.n, g.newest FROM (
    SELECT prompt, count(*) AS n, max(time) AS newest FROM entries GROUP BY prompt ORDER BY newest DESC LIMIT ?) g
    JOIN prompts p ON p.id = g.prompt ORDER BY g.newest DESC"""
_SCORERS = """SELECT s.name, sum(g.n), max(g.newest) AS newest FROM (
    SELECT scorer, count(*) AS n, max(time) AS newest FROM entries GROUP BY scorer) g
    JOIN scorers s ON s.id = g.scorer GROUP BY s.name ORDER BY newest DESC LIMIT ?"""


def facets(connection: sqlite3.Connection, limit: int, longest: int | None) -> Facets:
    """Return at most `limit` values of each kind, cut to `longest` characters, the most recent first."""
    prompts = tuple(
        Facet(id, shortened(unpack(text), longest), n, newest)
        for id, text, n, newest in connection.execute(_PROMPTS, (limit,))
    )
    scorers = tuple(Facet(None, unpack(name), n, newest) for name, n, newest in connection.execute(_SCORERS, (limit,)))
    models, samplers, schedulers = (_facet(connection, name, limit) for name in ("model", "sampler", "scheduler"))
    return Facets(prompts, models, samplers, schedulers, scorers)


def _facet(connection: sqlite3.Connection, name: str, limit: int) -> tuple[Facet, ...]:
    text = (
        f"SELECT {name}, count(*), max(time) AS newest FROM entries WHERE {name} != '' GROUP BY {name} "
        "ORDER BY newest DESC LIMIT ?"
    )
    return tuple(Facet(None, unpack(value), n, newest) for value, n, newest in connection.execute(text, (limit,)))


def best_seeds(connection: sqlite3.Connection, query: Query, limit: int) -> list[int]:
    """Return the ids of the rows with the best standing, one for each prompt, model and seed."""
    condition, values = queries.where(connection, query)
    join, before = queries.places(connection, query)
    text = (
        f"SELECT e.id, e.prompt, e.model, e.seed FROM entries e {join} WHERE {condition} AND e.seed IS NOT NULL "
        f"ORDER BY {queries.PLACE} IS NULL, {queries.PLACE} DESC, e.score DESC, e.id DESC"
    )
    best: dict[tuple[Any, ...], int] = {}
    for id, *key in connection.execute(text, [*before, *values]):
        if len(best) >= limit:
            break
        best.setdefault(tuple(key), id)
    return list(best.values())


@dataclass
class _Tally:
    """What is collected about one value of a setting."""

    scores: list[float] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    groups: int = 0
    wins: int = 0
    pairs: int = 0
    scorers: set[int] = field(default_factory=set)


def compare(connection: sqlite3.Connection, by: str, query: Query) -> tuple[Setting, ...]:
    """Return how each value of the setting `by` did among the rows that the filters let through, best gain first."""
    if by not in SETTINGS:
        raise LedgerError(f"The ledger cannot compare by {by!r}; choose one of: {', '.join(SETTINGS)}.")
    condition, values = queries.where(connection, query)
    text = (
        f"SELECT e.prompt, e.scorer, e.width, e.height, {_SEARCHED}, e.{by}, e.seed, e.score FROM entries e "
        f"WHERE {condition} AND e.{by} IS NOT NULL AND e.{by} != ''"
    )
    groups: dict[tuple[int, ...], list[tuple[Any, str | None, float]]] = defaultdict(list)
    for prompt, scorer, width, height, extra, *rest in connection.execute(text, values):
        if extra is None or queries.mapping(extra).keys().isdisjoint(SEARCH_WORDS):
            groups[prompt, scorer, width, height].append((rest[0], rest[1], rest[2]))
    tallies: dict[Any, _Tally] = defaultdict(_Tally)
    for (_, scorer, _, _), members in groups.items():
        _tally_group(tallies, scorer, members)
        _tally_pairs(tallies, members)
    settings = [_setting(value, tally) for value, tally in tallies.items()]
    return tuple(sorted(settings, key=lambda s: (s.gain is None, -(s.gain or 0.0), -s.n, s.value)))


def _tally_group(tallies: dict[Any, _Tally], scorer: int, members: Sequence[tuple[Any, str | None, float]]) -> None:
    mean = stats.mean([score for _, _, score in members])
    present = {value for value, _, _ in members}
    for value in present:
        tallies[value].scorers.add(scorer)
        tallies[value].groups += len(present) > 1
    for value, _, score in members:
        tallies[value].scores.append(score)
        if len(present) > 1:  # a group with one value says nothing about the others
            tallies[value].gains.append(score - mean)


def _tally_pairs(tallies: dict[Any, _Tally], members: Iterable[tuple[Any, str | None, float]]) -> None:
    """Compare the values that were tried with the same seed; several rows of one value count by their mean."""
    seeds: dict[str, dict[Any, list[float]]] = defaultdict(lambda: defaultdict(list))
    for value, seed, score in members:
        if seed is not None:
            seeds[seed][value].append(score)
    for cell in seeds.values():
        means = {value: stats.mean(scores) for value, scores in cell.items()}
        ordered = sorted(means.values())
        for value, score in means.items():
            below, upto = bisect_left(ordered, score), bisect_right(ordered, score)
            tallies[value].wins += below
            tallies[value].pairs += below + len(ordered) - upto


def _setting(value: Any, tally: _Tally) -> Setting:
    text = repr(value).removesuffix(".0") if isinstance(value, (int, float)) else unpack(value)
    return Setting(
        value=text,
        n=len(tally.scores),
        groups=tally.groups,
        mean=stats.mean(tally.scores) if len(tally.scorers) == 1 else None,
        gain=stats.mean(tally.gains) if tally.gains else None,
        sd=stats.standard_deviation(tally.gains) if len(tally.gains) > 1 else None,
        wins=tally.wins,
        pairs=tally.pairs,
    )
