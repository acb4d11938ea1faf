"""How often a scorer orders images as people do, counted as the two public test scripts count it, with intervals.

Three counts that are easily mixed up:
`rank_accuracy` (tgxs002/HPSv2, `--data-type test`): per prompt 1 minus the share of pairs in the opposite order, ties
of people never wrong, equal scores ordered by position; then the mean over prompts.
`pair_accuracy` per prompt (tgxs002/HPSv2, `--data-type ImageReward`): share of the pairs that people order where the
scores have that order strictly; then the mean over prompts.
`pair_accuracy` pooled (THUDM/ImageReward, test.py): the same pairs, all prompts in one pot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..errors import BenchmarkError
from ..study.records import Interval
from .humans import Ranked, Rankings
from .intervals import UNKNOWN, percentile_interval, resampled_sums


@dataclass(frozen=True)
class Share:
    """One accuracy, 0..1, with its 95 % interval by bootstrap over the prompts."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Accuracy:
    """How well one scorer agrees with people on one test file."""

    ranks: Share
    """Mean of `rank_accuracy`."""
    pairs: Share
    """Mean over the prompts of the share of ordered pairs that are right."""
    pooled: Share
    """Share of all ordered pairs that are right."""
    prompts: int
    ordered: int
    """Prompts where people order at least one pair; only these count for the pairs."""
    count: int
    """Pairs that people order."""


def predicted_ranks(scores: Sequence[float]) -> list[int]:
    """Return the place of every image when they are sorted by score, 0 for the highest; equal scores by position."""
    if any(math.isnan(score) for score in scores):
        raise BenchmarkError("A score is not a number; such images cannot be ranked.")
    order = sorted(range(len(scores)), key=lambda k: -scores[k])  # stable
    places = [0] * len(scores)
    for place, k in enumerate(order):
        places[k] = place
    return places


def rank_accuracy(scores: Sequence[float], ranks: Sequence[float]) -> float:
    """Return 1 minus the share of pairs that scores and people put in opposite order, 0..1.

    As `inversion_score` in tgxs002/HPSv2. BenchmarkError for fewer than two images or lists of unequal length.
    """
    _check(scores, ranks)
    mine = predicted_ranks(scores)
    pairs = list(combinations(range(len(ranks)), 2))
    wrong = sum((mine[i] - mine[j]) * (ranks[i] - ranks[j]) < 0 for i, j in pairs)
    return 1 - wrong / len(pairs)


def pair_counts(scores: Sequence[float], ranks: Sequence[float]) -> tuple[int, int]:
    """Return how many of the pairs that people order the scores put in that order, strictly, and how many there are."""
    _check(scores, ranks)
    ordered = [(i, j) for i, j in combinations(range(len(ranks)), 2) if ranks[i] != ranks[j]]
    right = sum((scores[i] > scores[j]) if ranks[i] < ranks[j] else (scores[j] > scores[i]) for i, j in ordered)
    return right, len(ordered)


def _check(scores: Sequence[float], ranks: Sequence[float]) -> None:
    if len(scores) != len(ranks) or len(ranks) < 2:
        raise BenchmarkError(f"{len(scores)} scores and {len(ranks)} ranks: there must be as many, and at least two.")


def table(items: Sequence[Ranked], scores: Sequence[Sequence[float]]) -> np.ndarray:
    """Return one row a prompt: rank accuracy, share of pairs (0 without one), whether it has pairs, right, pairs."""
    rows = []
    for item, values in zip(items, scores, strict=True):
        right, pairs = pair_counts(values, item.ranks)
        share = right / pairs if pairs else 0.0
        rows.append([rank_accuracy(values, item.ranks), share, float(pairs > 0), float(right), float(pairs)])
    return np.asarray(rows, dtype=np.float64)


def accuracy(rows: np.ndarray, seed: int = 0) -> Accuracy:
    """Return the three accuracies from `table`."""
    n = len(rows)
    total = rows.sum(axis=0)
    drawn = resampled_sums(rows, np.random.default_rng(seed)) if n > 1 else None
    return Accuracy(
        _share(total[0] / n, None if drawn is None else drawn[:, 0] / n),
        _ratio(total[1], total[2], drawn, 1, 2),
        _ratio(total[3], total[4], drawn, 3, 4),
        n,
        int(total[2]),
        int(total[4]),
    )


def difference(first: np.ndarray, second: np.ndarray, rankings: Rankings, seed: int = 0) -> Share:
    """Return how much more accurate the second scorer is, over the same prompts, on the count of this kind of file."""
    above, below = (0, None) if rankings.source == "hpdv2" else (1, 2)
    change = second[:, above] - first[:, above]
    count = np.ones(len(change)) if below is None else first[:, below]
    columns = np.stack([change, count], axis=1)
    total = columns.sum(axis=0)
    drawn = resampled_sums(columns, np.random.default_rng(seed)) if len(change) > 1 else None
    return _ratio(total[0], total[1], drawn, 0, 1)


def _ratio(above: float, below: float, drawn: np.ndarray | None, i: int, j: int) -> Share:
    """Return one sum over another; draws without a pair say nothing and are left out."""
    if not below:
        return Share(math.nan, UNKNOWN)
    if drawn is None:
        return Share(float(above / below), UNKNOWN)
    kept = drawn[drawn[:, j] > 0]
    return _share(above / below, kept[:, i] / kept[:, j])


def _share(value: float, drawn: np.ndarray | None) -> Share:
    return Share(float(value), UNKNOWN if drawn is None or not len(drawn) else percentile_interval(drawn))
