"""Blind picks: which pair to show next, what a person chose, and how often that was the image with the higher score."""

from __future__ import annotations

import math
import random
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final

from ..errors import LedgerError
from .queries import FILE, pack, storable, unpack
from .records import Agreement, Pick

Z95: Final = 1.959963984540054
"""97.5 % point of the normal distribution."""
ENOUGH_PICKS: Final = 15
ENOUGH_PROMPTS: Final = 5

# Rows without a hash stand for an image of their own.
_IMAGE = "CASE WHEN e.image = '' THEN '#' || e.id ELSE e.image END"


def insert(connection: sqlite3.Connection, pick: Pick, now: float) -> int:
    """Write a pick with the images and all scores they have, and return its id.

    LedgerError when a row is not there any more, or when the rows are of different prompts.
    """
    rows = [_shown(connection, id) for id in pick.shown]
    prompts = {row[1] for row in rows}
    if len(prompts) != 1:
        raise LedgerError("These rows were made from different prompts; only images of one prompt compare.")
    seconds = pick.seconds if pick.seconds is not None and math.isfinite(pick.seconds) else None
    cursor = connection.execute(
        "INSERT INTO picks (time, prompt, kind, outcome, seconds) VALUES (?, ?, ?, ?, ?)",
        (now if pick.time is None else pick.time, prompts.pop(), pick.kind, pick.outcome, seconds),
    )
    number = int(cursor.lastrowid or 0)
    for position, row in enumerate(rows):
        connection.execute(
            "INSERT INTO pick_images (pick, position, entry, image, chosen) VALUES (?, ?, ?, ?, ?)",
            (number, position, row[0], row[2], row[0] == pick.chosen),
        )
        _insert_scores(connection, number, position, row)
    return number


def _shown(connection: sqlite3.Connection, id: int) -> tuple[Any, ...]:
    text = f"SELECT e.id, e.prompt, {_IMAGE}, e.scorer FROM entries e WHERE e.id = ?"
    found: tuple[Any, ...] | None = connection.execute(text, (id,)).fetchone() if storable(id) else None
    if found is None:
        raise LedgerError(f"The ledger has no row {id} any more; show another pair.")
    return found


def _insert_scores(connection: sqlite3.Connection, pick: int, position: int, row: tuple[Any, ...]) -> None:
    """Keep the newest score of every scorer for this image and prompt, that of the row shown before all others."""
    id, prompt, image, shown = row
    found = connection.execute(
        "SELECT s.fingerprint, s.name, e.score, e.scorer FROM entries e JOIN scorers s ON s.id = e.scorer "
        "WHERE e.id = ? OR (e.image = ? AND e.prompt = ?) ORDER BY e.id = ? DESC, e.id DESC",
        (id, image, prompt, id),
    )
    kept: dict[str, tuple[Any, ...]] = {}
    for fingerprint, name, score, scorer in found:
        kept.setdefault(fingerprint, (pick, position, fingerprint, name, score, scorer == shown))
    connection.executemany(
        "INSERT INTO pick_scores (pick, position, fingerprint, scorer, score, shown) VALUES (?, ?, ?, ?, ?, ?)",
        kept.values(),
    )


# --- the next pair ----------------------------------------------------------------------------------------------------


def next_pair(connection: sqlite3.Connection, prompt: int | None, rng: random.Random) -> tuple[int, int] | None:
    """Return the ids of two rows with different images of one prompt that were not compared yet, in random order."""
    if prompt is None:
        found = connection.execute("SELECT prompt FROM entries GROUP BY prompt HAVING count(*) > 1 ORDER BY prompt")
        candidates = [int(row[0]) for row in found]
        rng.shuffle(candidates)
    else:
        candidates = [prompt] if storable(prompt) else []
    return next(filter(None, (_open_pair(connection, one, rng) for one in candidates)), None)


def _open_pair(connection: sqlite3.Connection, prompt: int, rng: random.Random) -> tuple[int, int] | None:
    images = _images(connection, prompt)
    judged = {pair for pair in _judged(connection, prompt) if pair <= images.keys()}
    names = sorted(images)
    total = len(names) * (len(names) - 1) // 2
    if total <= len(judged):
        return None
    if 2 * len(judged) < total:
        pair = rng.sample(names, 2)
        while frozenset(pair) in judged:
            pair = rng.sample(names, 2)
    else:
        left = [pair for pair in combinations(names, 2) if frozenset(pair) not in judged]
        pair = rng.sample(rng.choice(left), 2)
    return _rows_of(images[pair[0]], images[pair[1]])


def _rows_of(one: dict[int, int], other: dict[int, int]) -> tuple[int, int]:
    """Return rows of one fingerprint, the newest, when both images have one in common; else the newest of each."""
    common = max(one.keys() & other.keys(), key=lambda scorer: one[scorer] + other[scorer], default=None)
    return (max(one.values()), max(other.values())) if common is None else (one[common], other[common])


def _images(connection: sqlite3.Connection, prompt: int) -> dict[str, dict[int, int]]:
    """Return of every image of a prompt that can be shown the newest row by each scorer."""
    found = connection.execute(
        f"SELECT {_IMAGE}, e.scorer, max(e.id) FROM entries e WHERE e.prompt = ? AND ("
        f"EXISTS (SELECT 1 FROM thumbnails t WHERE t.hash = e.thumbnail) OR {FILE} != '') GROUP BY 1, 2",
        (prompt,),
    )
    images: dict[str, dict[int, int]] = defaultdict(dict)
    for image, scorer, id in found:
        images[unpack(image)][int(scorer)] = int(id)
    return images


def _judged(connection: sqlite3.Connection, prompt: int) -> Iterator[frozenset[str]]:
    """Yield the pairs that a person has compared: both of a pair, and the chosen of a grid with each other one."""
    shown: dict[int, list[tuple[str, bool]]] = defaultdict(list)
    found = connection.execute(
        "SELECT i.pick, i.image, i.chosen FROM picks p JOIN pick_images i ON i.pick = p.id WHERE p.prompt = ?",
        (prompt,),
    )
    for pick, image, chosen in found:
        shown[pick].append((unpack(image), bool(chosen)))
    for images in shown.values():
        for (one, chosen), (other, also) in combinations(images, 2):
            if chosen or also or len(images) == 2:
                yield frozenset((one, other))


# --- agreement --------------------------------------------------------------------------------------------------------


@dataclass
class _Judgement:
    """One pick as it is read back."""

    prompt: int
    outcome: str
    chosen: int | None = None
    size: int = 0
    scores: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    """By fingerprint, then by position."""
    shown: str = ""
    """Fingerprint of the first row that was shown."""
    images: set[str] = field(default_factory=set)


def agreement(connection: sqlite3.Connection, scorer: str | None) -> Agreement:
    """Return how often the chosen image had the higher score.

    Each set of images of a prompt counts once, with its first answer: asking again adds no evidence. A skip is none.
    Scores of one fingerprint decide: that of the first row shown when it knows all images, else the first that does. A
    choice from a grid counts as one comparison, with one of the images passed over, drawn by the number of the pick:
    that keeps the comparisons independent and the chance level at one half.
    """
    judgements = _judgements(connection, scorer)
    compared = [(one.prompt, won) for id, one in judgements.items() if (won := _won(id, one)) is not None]
    n, agree = len(compared), sum(won for _, won in compared)
    prompts = len({prompt for prompt, _ in compared})
    outcomes = [one.outcome for one in judgements.values()]
    low, high = wilson(agree, n)
    return Agreement(
        *(n, agree, outcomes.count("tie"), outcomes.count("skip"), agree / n if n else None, low, high, prompts),
        enough=n >= ENOUGH_PICKS and prompts >= ENOUGH_PROMPTS,
    )


def _judgements(connection: sqlite3.Connection, scorer: str | None) -> dict[int, _Judgement]:
    found = connection.execute("SELECT id, prompt, outcome FROM picks ORDER BY id")
    judgements = {id: _Judgement(prompt, outcome) for id, prompt, outcome in found}
    for pick, position, image, chosen in connection.execute("SELECT pick, position, image, chosen FROM pick_images"):
        if (one := judgements.get(pick)) is not None:
            one.size += 1
            one.images.add(unpack(image))
            one.chosen = position if chosen else one.chosen
    condition, values = ("", ()) if scorer is None else ("WHERE scorer = ?", (pack(scorer),))
    text = f"SELECT pick, position, fingerprint, score, shown FROM pick_scores {condition} ORDER BY pick, fingerprint"
    for pick, position, fingerprint, score, shown in connection.execute(text, values):
        if (one := judgements.get(pick)) is not None:
            one.scores[fingerprint][position] = score
            one.shown = fingerprint if shown and position == 0 else one.shown
    return _first_answers(judgements)


def _first_answers(judgements: dict[int, _Judgement]) -> dict[int, _Judgement]:
    """Return of each set of images of a prompt the first judgement that is no skip, or else its first skip."""
    first: dict[tuple[int, frozenset[str]], int] = {}
    for id, one in judgements.items():
        known = first.setdefault((one.prompt, frozenset(one.images)), id)
        if judgements[known].outcome == "skip" != one.outcome:
            first[one.prompt, frozenset(one.images)] = id
    return {id: judgements[id] for id in sorted(first.values())}


def _won(id: int, one: _Judgement) -> bool | None:
    """Say whether the chosen image has the higher score; None when that cannot be said."""
    complete = [name for name, scores in one.scores.items() if len(scores) == one.size]
    if one.chosen is None or not complete:
        return None
    scores = one.scores[one.shown if one.shown in complete else complete[0]]
    others = [position for position in range(one.size) if position != one.chosen]
    other = random.Random(id).choice(others)
    return None if scores[one.chosen] == scores[other] else scores[one.chosen] > scores[other]


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion; (0, 1) when n is 0 (Wilson, JASA 22, 1927)."""
    if n == 0:
        return 0.0, 1.0
    rate, share = successes / n, Z95 * Z95 / n
    centre = (rate + share / 2) / (1 + share)
    half = Z95 * math.sqrt(rate * (1 - rate) / n + share / (4 * n)) / (1 + share)
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)
