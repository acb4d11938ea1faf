from __future__ import annotations

import gc
import math
from collections.abc import Iterator

import choix
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from hpskit.stats.bootstrap import Strata, spread
from hpskit.stats.multiple import holm, holm_levels
from hpskit.stats.pairwise import ELO, bradley_terry, wilson, win_interval, wins
from hpskit.stats.ranks import friedman, mean_ranks

Array = NDArray[np.float64]
nan = float("nan")
chances = arrays(
    np.float64, st.integers(1, 12), elements=st.sampled_from([0.0001, 0.004, 0.01, 0.02, 0.03, 0.2, 0.5, 1])
)


@pytest.fixture(scope="module", autouse=True)
def _little_to_collect() -> Iterator[None]:
    """statsmodels collects garbage in every call: a second each in a process that has run thousands of tests."""
    gc.freeze()
    yield
    gc.unfreeze()


@given(chances)
def test_holm_equals_statsmodels(p: Array) -> None:
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-15)


@given(chances)
def test_adjusted_p_and_level_tell_the_same(p: Array) -> None:
    levels, adjusted = holm_levels(p, 0.05), holm(p)
    assert ((levels >= 0.05 / len(p) - 1e-15) & (levels <= 0.05)).all()
    np.testing.assert_array_equal(adjusted <= 0.05, p <= levels)
    order = np.argsort(p, kind="stable")
    assert (np.diff(levels[order]) >= -1e-15).all()


def test_levels_stop_where_holm_stops() -> None:
    np.testing.assert_allclose(holm_levels(np.array([0.001, 0.9, 0.03, 0.04]), 0.06), [0.015, 0.02, 0.02, 0.02])


@pytest.mark.parametrize(("won", "count"), [(0, 5), (3, 10), (7, 7), (50, 60), (1, 1)])
def test_wilson_equals_scipy_and_statsmodels(won: int, count: int) -> None:
    low, high = wilson(np.array([won / count]), np.array([count]), 0.95)
    assert (low[0], high[0]) == pytest.approx(proportion_confint(won, count, method="wilson"))
    theirs = reference.binomtest(won, count).proportion_ci(method="wilson")
    assert (low[0], high[0]) == pytest.approx((theirs.low, theirs.high))


def test_wins_count_ties_half() -> None:
    np.testing.assert_array_equal(wins(np.array([0.2, -1.0, 0.0, nan])), [1.0, 0.0, 0.5, nan])


def interval(won: list[list[float]]) -> tuple[float, float]:
    """Of prompts that are lists of blocks."""
    table = np.array([won])
    strata = Strata.of_units(table.mean(axis=2))
    pairs = np.array([table.size], dtype=float)
    low, high = win_interval(strata.estimates, spread(strata), np.array([float(len(won))]), pairs, 0.95)
    return float(low[0]), float(high[0])


def test_pairs_of_one_prompt_that_go_together_count_less() -> None:
    together = [[1.0] * 4, [0.0] * 4] * 6
    mixed = [[1.0, 0.0, 1.0, 0.0]] * 6 + [[0.0, 1.0, 1.0, 0.0]] * 6
    mixed[0], mixed[1] = [1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]
    wide, narrow = interval(together), interval(mixed)
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])
    plain = wilson(np.array([0.5]), np.array([48.0]), 0.95)
    assert narrow[0] < float(plain[0][0]), "not knowing the spread has its price"


def test_all_won_falls_back_to_the_units() -> None:
    low, high = interval([[1.0] * 4] * 5)
    assert (low, high) == pytest.approx(proportion_confint(5, 5, method="wilson"))


def test_one_pair_and_none() -> None:
    strata = Strata.of_units(np.array([[1.0], [nan]]))
    count = np.array([1.0, 0.0])
    low, high = win_interval(strata.estimates, spread(strata), count, count, 0.95)
    assert low[0] == pytest.approx(0.2065, abs=1e-3)
    assert (low[1], high[1]) == (0.0, 1.0)


def test_bradley_terry_is_the_maximum_that_choix_finds() -> None:
    source = np.random.default_rng(0)
    truth = source.normal(size=5)
    data = []
    won = np.zeros((5, 5))
    for _ in range(200):
        i, j = source.choice(5, 2, replace=False)
        winner, loser = (i, j) if source.random() < 1 / (1 + math.exp(truth[j] - truth[i])) else (j, i)
        data.append((winner, loser))
        won[winner, loser] += 1
    ours = bradley_terry(won).strength
    # choix takes alpha * sum of squares off the log-likelihood: one half is the N(0, 1) prior
    theirs = choix.opt_pairwise(5, data, alpha=0.5, method="Newton-CG", tol=1e-10)
    np.testing.assert_allclose(ours - ours.mean(), theirs - theirs.mean(), atol=1e-4)
    assert ours.mean() == pytest.approx(0.0, abs=1e-9)


def test_always_winning_stays_finite_and_in_order() -> None:
    won = np.triu(np.full((4, 4), 1e4), 1)
    found = bradley_terry(won)
    assert np.isfinite(found.strength).all() and (np.diff(found.strength) < 0).all()
    assert np.isfinite(found.sd).all() and (found.sd <= 1).all()
    np.testing.assert_allclose(found.elo, found.strength * 400 / math.log(10))


def test_nothing_played_is_the_prior() -> None:
    found = bradley_terry(np.zeros((3, 3)))
    assert found.strength.tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(found.sd, math.sqrt(2 / 3))  # above the mean of all three


def test_the_sd_is_that_of_the_curvature() -> None:
    won = np.array([[0.0, 6.0], [2.0, 0.0]])
    found = bradley_terry(won)
    gap = found.strength[0] - found.strength[1]
    chance = 1 / (1 + math.exp(-gap))
    information = 8 * chance * (1 - chance)
    np.testing.assert_allclose(found.sd, math.sqrt(2 / (2 * information + 1)) / 2)  # half that of the difference


def test_errors_shrink_with_the_number_of_blocks() -> None:
    few, many = (bradley_terry(np.array([[0.0, 0.33 * n], [0.67 * n, 0.0]])) for n in (8, 80))
    assert ELO * few.sd[0] > 2.2 * ELO * many.sd[0]
    assert ELO * many.sd[0] == pytest.approx(21, abs=2), "log-odds of 80 blocks: error .24, half of it for each side"


@given(st.permutations(range(4)))
def test_bradley_terry_does_not_depend_on_the_order(order: list[int]) -> None:
    won = np.random.default_rng(1).integers(0, 9, (4, 4)).astype(float)
    found, again = bradley_terry(won), bradley_terry(won[np.ix_(order, order)])
    np.testing.assert_allclose(again.strength, found.strength[order], atol=1e-9)


def test_ranks_and_friedman_follow_scipy() -> None:
    scores = np.random.default_rng(2).normal([0.0, 0.4, 0.9], 1, (12, 3))
    assert friedman(scores) == pytest.approx(reference.friedmanchisquare(*scores.T).pvalue)
    assert friedman(np.concatenate([scores, [[nan, 1.0, 2.0]]])) == friedman(scores)
    np.testing.assert_allclose(mean_ranks(scores), np.mean([reference.rankdata(-row) for row in scores], axis=0))
    np.testing.assert_allclose(mean_ranks(np.array([[3.0, 1.0, 3.0]])), [1.5, 3.0, 1.5])


def test_ranks_without_enough_blocks() -> None:
    assert np.isnan(mean_ranks(np.array([[1.0, nan]]))).all()
    assert friedman(np.ones((9, 2))) is None
    assert friedman(np.ones((1, 3))) is None
    assert friedman(np.ones((9, 3))) == 1.0
