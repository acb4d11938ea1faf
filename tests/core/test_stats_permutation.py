from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats as reference

from hpskit.stats.permutation import FLIPS, relabel, sign_flip, smallest_p, smallest_relabel_p

Array = NDArray[np.float64]
nan = float("nan")
tables = arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 9)), elements=st.floats(-9, 9, width=16))


def scipys(values: Array) -> float:
    def mean(x: Array, axis: int) -> Array:
        return np.asarray(np.mean(x, axis=axis))

    done = reference.permutation_test((values,), mean, permutation_type="samples", n_resamples=np.inf)
    return float(done.pvalue)


@pytest.mark.parametrize("n", [2, 3, 6, 9, 12])
def test_few_units_are_exact_as_in_scipy(n: int) -> None:
    source = np.random.default_rng(n)
    for values in (source.normal(0.5, 1, n), np.round(source.normal(0.5, 1, n)), source.exponential(size=n)):
        assert sign_flip(values[None])[0] == pytest.approx(scipys(values))


def test_ties_count_even_when_the_sums_round_differently() -> None:
    values = np.array([[0.1, 0.2, 0.3, -0.3, 0.3]])
    counted = [abs(sum(s * round(10 * v) for s, v in zip(signs, values[0], strict=True))) >= 6
               for signs in itertools.product((1, -1), repeat=5)]  # fmt: skip
    assert sign_flip(values)[0] == np.mean(counted)


def test_many_units_are_drawn_and_count_the_observed_pattern() -> None:
    source = np.random.default_rng(0)
    values = source.normal(0.35, 1, (2, 24))
    want = reference.permutation_test(
        (values[0],), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples", n_resamples=50_000, rng=1
    )
    p = sign_flip(values, flips=50_000)
    assert p[0] == pytest.approx(float(want.pvalue), abs=0.004)
    assert sign_flip(np.ones((1, 40)))[0] == 1 / (FLIPS + 1)
    np.testing.assert_array_equal(sign_flip(values, seed=3), sign_flip(values, seed=3))


@given(tables, st.sampled_from([0.5, 2.0, 1024.0]))
def test_sign_scale_and_order_change_nothing(values: Array, factor: float) -> None:
    p = sign_flip(values)
    np.testing.assert_array_equal(sign_flip(-values), p)
    np.testing.assert_array_equal(sign_flip(values * factor), p)
    np.testing.assert_array_equal(sign_flip(values[:, ::-1]), p)
    np.testing.assert_array_equal(sign_flip(values[::-1]), p[::-1])
    assert ((p > 0) & (p <= 1)).all()


def test_missing_units_and_nothing_at_all() -> None:
    values = np.array([[1.0, nan, 2.0, 3.0], [nan, nan, nan, nan], [0.0, 0.0, 0.0, 0.0]])
    assert sign_flip(values).tolist() == [0.25, 1.0, 1.0]
    assert sign_flip(np.zeros((0, 3))).shape == (0,)
    assert sign_flip(np.zeros((2, 0))).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_the_smallest_p_is_reached_when_all_agree(n: int) -> None:
    assert sign_flip(np.arange(1.0, n + 1)[None])[0] == smallest_p(n)


def welch(sides: list[tuple[Array, Array]]) -> float:
    """Mean difference over its standard error; each side's variance is pooled over the prompts."""
    difference = np.mean([a.mean() - b.mean() for a, b in sides])
    variance = 0.0
    for side in zip(*sides, strict=True):
        pooled = sum(((x - x.mean()) ** 2).sum() for x in side) / sum(len(x) - 1 for x in side)
        variance += pooled * sum(1 / len(x) for x in side) / len(sides) ** 2
    return float(difference / math.sqrt(variance + 1e-18))


def everything(first: Array, second: Array, one_sided: bool = False) -> float:
    """The two-sample test by brute force over all ways to deal each prompt's scores."""
    far = (lambda t: t) if one_sided else abs
    observed = far(welch(list(zip(first, second, strict=True))))
    pools, size = np.concatenate([first, second], axis=1), first.shape[1]
    choices = [list(itertools.combinations(range(pools.shape[1]), size))] * len(pools)
    count = []
    for dealt in itertools.product(*choices):
        sides = [(pool[list(c)], np.delete(pool, list(c))) for pool, c in zip(pools, dealt, strict=True)]
        count.append(far(welch(sides)) >= observed - 1e-7 * (1 + abs(observed)))
    return float(np.mean(count))


@pytest.mark.parametrize(("prompts", "ours", "theirs"), [(1, 4, 4), (1, 3, 5), (2, 3, 3), (3, 2, 2)])
def test_dealing_again_within_prompts_is_exact(prompts: int, ours: int, theirs: int) -> None:
    source = np.random.default_rng(prompts)
    first, second = (
        np.round(source.normal(1, 1, (prompts, ours)), 1),
        np.round(source.normal(0, 1, (prompts, theirs)), 1),
    )
    assert relabel(first[None], second[None])[0] == pytest.approx(everything(first, second))
    above = relabel(first[None], second[None], one_sided=True)[0]
    assert above == pytest.approx(everything(first, second, one_sided=True))


def test_sides_of_unequal_number_and_spread_do_not_look_different() -> None:
    source = np.random.default_rng(5)
    first, second = np.full((300, 4, 8), nan), source.normal(0, 1, (300, 4, 8))
    first[:, :, :2] = source.normal(0, 3, (300, 4, 2))
    for p in (relabel(first, second, shuffles=999), relabel(second, first, shuffles=999)):
        assert (p <= 0.05).mean() < 0.10, "27 % by the raw difference"
    narrow = first / 9
    assert 0.01 < (relabel(narrow, second, shuffles=999) <= 0.05).mean() < 0.10, "0.4 % by the raw difference"


def test_nothing_to_deal_and_nothing_that_varies() -> None:
    one, other = np.array([[[1.0]]]), np.array([[[2.0]]])
    assert relabel(one, other)[0] == 1.0 and relabel(one, other, one_sided=True)[0] == 1.0
    assert relabel(np.ones((1, 2, 3)), np.ones((1, 2, 3)))[0] == 1.0
    apart = relabel(np.ones((1, 1, 4)), np.zeros((1, 1, 4)))[0]
    assert apart == pytest.approx(2 / 70), "no spread within the sides: still only 2 of 70 ways are as far apart"


def test_one_prompt_agrees_with_scipys_independent_test() -> None:
    source = np.random.default_rng(1)
    first, second = source.normal(0.9, 1, 12), source.normal(0, 1, 12)
    want = reference.permutation_test(
        (first, second), lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis), n_resamples=50_000, rng=2
    )
    assert relabel(first[None, None], second[None, None], shuffles=50_000)[0] == pytest.approx(want.pvalue, abs=0.004)


def test_prompts_without_both_sides_play_no_part() -> None:
    first = np.array([[[1.0, 2.0, 4.0], [nan, nan, nan], [9.0, 9.0, 9.0]]])
    second = np.array([[[0.0, 0.5, nan], [1.0, 2.0, 3.0], [nan, nan, nan]]])
    assert relabel(first, second)[0] == relabel(first[:, :1], second[:, :1])[0]
    assert relabel(first[:, 1:], second[:, 1:])[0] == 1.0


@pytest.mark.parametrize(("ours", "theirs"), [(3, 3), (2, 4)])
def test_the_smallest_p_of_dealing_again(ours: int, theirs: int) -> None:
    first, second = np.full((1, 2, 4), nan), np.full((1, 2, 4), nan)
    first[:, :, :ours], second[:, :, :theirs] = 10.0 + np.arange(ours), np.arange(theirs) * 0.01
    assert relabel(first, second)[0] == pytest.approx(smallest_relabel_p(first, second)[0])
