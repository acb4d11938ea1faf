"""Agreement with human rankings against independent statements of the three counts, and its properties."""

from __future__ import annotations

import math
import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from hpskit.benchmark import pair_counts, predicted_ranks, rank_accuracy
from hpskit.benchmark.accuracy import accuracy, difference, table
from hpskit.benchmark.humans import Ranked, Rankings
from hpskit.errors import BenchmarkError

PAIRED = st.lists(st.tuples(st.integers(-4, 4), st.integers(1, 5)), min_size=2, max_size=9)
ORDER = st.integers(2, 9).flatmap(lambda n: st.permutations(range(n)))


@given(ORDER)
def test_identical_order_is_one_reversed_is_zero(order: list[int]) -> None:
    scores = [-float(rank) for rank in order]
    assert rank_accuracy(scores, order) == 1.0
    assert rank_accuracy([-score for score in scores], order) == 0.0
    pairs = len(order) * (len(order) - 1) // 2
    assert pair_counts(scores, order) == (pairs, pairs)
    assert pair_counts([-score for score in scores], order) == (0, pairs)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=9))
def test_where_people_see_no_difference_nothing_is_wrong(scores: list[float]) -> None:
    assert rank_accuracy(scores, [3] * len(scores)) == 1.0
    assert pair_counts(scores, [3] * len(scores)) == (0, 0)


@given(PAIRED)
def test_rank_accuracy_as_it_is_published(pairs: list[tuple[int, int]]) -> None:
    """With sign matrices instead of loops: a pair is wrong when places and ranks have opposite signs."""
    scores, ranks = np.array(pairs).T
    order = np.argsort(-scores, kind="stable")
    places = np.empty(len(order), int)
    places[order] = np.arange(len(order))
    opposite = np.sign(places[:, None] - places) * np.sign(ranks[:, None] - ranks) < 0
    expected = 1 - np.triu(opposite).sum() / math.comb(len(order), 2)
    assert rank_accuracy(scores.tolist(), ranks.tolist()) == pytest.approx(expected, abs=1e-12)


@given(PAIRED)
def test_pair_counts_as_they_are_published(pairs: list[tuple[int, int]]) -> None:
    """ImageReward's count, over ordered pairs (better, worse) instead of positions; equal scores are wrong."""
    both = [(s, t) for (s, a), (t, b) in combinations(pairs, 2) if a < b]
    both += [(t, s) for (s, a), (t, b) in combinations(pairs, 2) if a > b]
    assert pair_counts([s for s, _ in pairs], [r for _, r in pairs]) == (sum(s > t for s, t in both), len(both))


@given(st.permutations(range(7)))
def test_without_ties_it_is_kendalls_tau(order: list[int]) -> None:
    ranks = list(range(7))
    tau = kendalltau(order, [-rank for rank in ranks]).statistic
    assert rank_accuracy([float(v) for v in order], ranks) == pytest.approx((tau + 1) / 2)


def test_equal_scores_are_ordered_by_position() -> None:
    assert predicted_ranks([1.0, 2.0, 1.0, 2.0]) == [2, 0, 3, 1]
    assert rank_accuracy([1.0, 1.0], [1, 2]) == 1.0
    assert rank_accuracy([1.0, 1.0], [2, 1]) == 0.0
    assert pair_counts([1.0, 1.0], [1, 2]) == (0, 1)


@pytest.mark.parametrize(("scores", "ranks"), [([1.0], [1]), ([1.0, 2.0], [1]), ([], [])])
def test_what_cannot_be_counted_is_an_error(scores: list[float], ranks: list[float]) -> None:
    with pytest.raises(BenchmarkError):
        rank_accuracy(scores, ranks)


def test_scores_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(BenchmarkError, match="not a number"):
        rank_accuracy([math.nan, 1.0], [1, 2])


# --- over a whole test set --------------------------------------------------------------------------------------------


def made_up(count: int, seed: int, skill: float) -> tuple[list[Ranked], list[list[float]]]:
    rng = random.Random(seed)
    items, scores = [], []
    for k in range(count):
        size = rng.randrange(2, 8)
        ranks = [float(rng.randrange(1, 5)) for _ in range(size)]
        items.append(Ranked(f"p{k}", tuple(f"{k}-{i}.jpg" for i in range(size)), tuple(ranks)))
        scores.append([-skill * rank + rng.gauss(0, 1) for rank in ranks])
    return items, scores


def test_means_over_prompts_and_pooled_pairs_differ_and_are_both_there() -> None:
    items = [Ranked("a", ("1", "2"), (1.0, 2.0)), Ranked("b", ("1", "2", "3"), (1.0, 2.0, 3.0))]
    items.append(Ranked("tied", ("1", "2"), (1.0, 1.0)))
    found = accuracy(table(items, [[2.0, 1.0], [1.0, 2.0, 3.0], [5.0, 4.0]]))
    assert found.ranks.value == pytest.approx((1 + 0 + 1) / 3)
    assert found.pairs.value == pytest.approx((1 + 0) / 2)
    assert found.pooled.value == pytest.approx(1 / 4)
    assert (found.prompts, found.ordered, found.count) == (3, 2, 4)


def test_intervals_are_as_wide_as_theory_says() -> None:
    rows = table(*made_up(400, 1, 0.5))
    found = accuracy(rows)
    error = rows[:, 0].std(ddof=1) / math.sqrt(400)
    assert (found.ranks.interval.high - found.ranks.interval.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.08)
    for share in (found.ranks, found.pairs, found.pooled):
        assert share.interval.low < share.value < share.interval.high


def test_the_pooled_share_is_drawn_as_a_ratio() -> None:
    """A scorer that is always right has no interval, however much the number of pairs varies between prompts."""
    items, _ = made_up(60, 3, 1.0)
    perfect = accuracy(table(items, [[-rank for rank in item.ranks] for item in items]))
    for share in (perfect.pairs, perfect.pooled):
        assert (share.value, share.interval.low, share.interval.high) == (1.0, 1.0, 1.0)


def test_one_prompt_has_no_interval() -> None:
    found = accuracy(table([Ranked("a", ("1", "2"), (1.0, 2.0))], [[2.0, 1.0]]))
    assert (found.ranks.value, found.pooled.value) == (1.0, 1.0)
    assert math.isnan(found.ranks.interval.low)


def test_nobody_orders_anything() -> None:
    found = accuracy(table([Ranked("a", ("1", "2"), (1.0, 1.0))] * 3, [[2.0, 1.0]] * 3))
    assert found.ranks.value == 1.0
    assert math.isnan(found.pairs.value) and math.isnan(found.pooled.value)


@pytest.mark.parametrize("source", ["hpdv2", "imagereward"])
def test_a_difference_is_taken_prompt_by_prompt(source) -> None:
    items, blind = made_up(300, 2, 0.0)
    _, good = made_up(300, 2, 1.0)
    rankings = Rankings(source, tuple(items))
    first, second = table(items, blind), table(items, good)
    lead = difference(first, second, rankings)
    names = {"hpdv2": "ranks", "imagereward": "pairs"}
    expected = getattr(accuracy(second), names[source]).value - getattr(accuracy(first), names[source]).value
    assert lead.value == pytest.approx(expected, abs=1e-12)
    assert lead.interval.low > 0
    same = difference(first, first, rankings)
    assert (same.value, same.interval.low, same.interval.high) == (0.0, 0.0, 0.0)
