from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats as reference

from hpskit.stats.bootstrap import ENOUGH_FREEDOM, Strata, resample, spread

Array = NDArray[np.float64]
nan = float("nan")

tables = arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 12)), elements=st.floats(-50, 50, width=32))


def units(values: object) -> Strata:
    return Strata.of_units(np.atleast_2d(np.asarray(values, dtype=float)))


def groups(values: object) -> Strata:
    return Strata.of_groups(np.asarray(values, dtype=float)[None])


@pytest.mark.parametrize("shape", ["normal", "exponential", "laplace"])
@pytest.mark.parametrize("n", [9, 12, 40])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_plain_bca_equals_scipys(shape: str, n: int, confidence: float) -> None:
    values = getattr(np.random.default_rng(n), shape)(size=n) + 0.3
    low, high = resample(units(values), 60_000, 1).interval(confidence, expand=False)
    want = reference.bootstrap((values,), np.mean, confidence_level=confidence, n_resamples=60_000, method="BCa", rng=1)
    scale = float(want.standard_error)
    assert low[0] == pytest.approx(want.confidence_interval.low, abs=0.05 * scale)
    assert high[0] == pytest.approx(want.confidence_interval.high, abs=0.05 * scale)


def test_plain_bca_of_strata_equals_scipys_of_several_samples() -> None:
    source = np.random.default_rng(0)
    a, b = source.exponential(size=9), source.exponential(size=9) * 2

    def total(x: Array, y: Array, axis: int) -> Array:
        return np.asarray((np.mean(x, axis=axis) + np.mean(y, axis=axis)) / 2)

    want = reference.bootstrap((a, b), total, n_resamples=60_000, method="BCa", rng=1)
    low, high = resample(groups([a, b]), 60_000, 1).interval(0.95, expand=False)
    scale = 0.05 * float(want.standard_error)
    assert (low[0], high[0]) == pytest.approx(tuple(want.confidence_interval), abs=scale)


@pytest.mark.parametrize("n", [2, 3, ENOUGH_FREEDOM])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_few_units_take_students_t(n: int, confidence: float) -> None:
    values = np.random.default_rng(n).normal(size=n)
    want = reference.t.interval(confidence, n - 1, values.mean(), reference.sem(values))
    low, high = resample(units(values)).interval(confidence)
    assert (low[0], high[0]) == pytest.approx(want)


@given(tables)
def test_the_default_is_never_narrower_than_students_t(values: Array) -> None:
    known = resample(units(values), 500)
    low, high = known.interval(0.9)
    half = reference.t.ppf(0.95, np.maximum(known.spread.effective, 1)) * known.spread.error
    sure = np.isfinite(low)
    assert (low <= known.estimates - half + 1e-9)[sure].all()
    assert (high >= known.estimates + half - 1e-9)[sure].all()


def test_lopsided_values_stretch_the_interval_to_their_side() -> None:
    values = np.random.default_rng(3).exponential(size=20) ** 2
    known = resample(units(values))
    low, high = known.interval(0.95)
    assert high[0] - known.estimates[0] > 1.15 * (known.estimates[0] - low[0])


def test_a_level_beyond_the_draws_is_left_to_students_t() -> None:
    values = np.random.default_rng(4).exponential(size=20)
    low, high = resample(units(values), 200).interval(0.9999)
    want = reference.t.interval(0.9999, 19, values.mean(), reference.sem(values))
    assert (low[0], high[0]) == pytest.approx(want)


@settings(max_examples=40)
@given(tables, st.floats(-20, 20), st.floats(0.1, 10))
def test_intervals_shift_and_scale_with_the_values(values: Array, shift: float, factor: float) -> None:
    low, high = resample(units(values), 300).interval(0.95)
    moved = resample(units(values * factor + shift), 300).interval(0.95)
    for end, other in zip((low, high), moved, strict=True):
        np.testing.assert_allclose(other, end * factor + shift, rtol=1e-6, atol=1e-3)


def test_the_mirror_image_has_the_mirrored_interval() -> None:
    values = np.random.default_rng(5).exponential(size=(1, 15))
    low, high = resample(units(values), 4000).interval(0.95)
    mirrored = resample(units(-values), 4000).interval(0.95)
    assert mirrored[0][0] == pytest.approx(-high[0], abs=0.02)
    assert mirrored[1][0] == pytest.approx(-low[0], abs=0.02)


def test_defined_results_where_little_is_known() -> None:
    values = np.array([[1.0, nan, nan], [nan, nan, nan], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0]])
    known = resample(units(values))
    low, high = known.interval(0.95)
    np.testing.assert_allclose(known.estimates, [1.0, nan, 0.1, 0.0])
    assert low.tolist() == [-np.inf, -np.inf, pytest.approx(0.1), 0.0]
    assert high.tolist() == [np.inf, np.inf, pytest.approx(0.1), 0.0]


def test_missing_units_are_as_if_they_had_never_been() -> None:
    values = np.random.default_rng(6).normal(size=14)
    holes = np.insert(values, [0, 5, 14], nan)
    both = np.stack([holes, np.nan_to_num(holes)])
    np.testing.assert_allclose(
        [end[0] for end in resample(units(both)).interval(0.95)],
        [end[0] for end in resample(units(values)).interval(0.95)],
    )


def test_the_mean_of_groups_weighs_every_prompt_the_same() -> None:
    values = [[1.0, 1.0, 1.0, 1.0], [3.0, nan, nan, nan], [nan, nan, nan, nan]]
    assert groups(values).estimates[0] == 2.0


def test_seeds_of_a_prompt_do_not_carry_the_difference_between_prompts() -> None:
    noise = np.random.default_rng(7).normal(size=(3, 6))
    near = resample(groups(noise)).interval(0.95)
    far = resample(groups(noise + np.array([[-50.0], [0.0], [50.0]]))).interval(0.95)
    np.testing.assert_allclose(near, far, atol=1e-9)


def test_a_lone_seed_borrows_the_variance_of_the_other_prompts() -> None:
    known = spread(groups([[1.0, 3.0], [5.0, nan]]))
    assert known.freedom[0] == 1
    assert known.error[0] == pytest.approx(np.sqrt((2.0 / 2 + 2.0) / 4))
    assert np.isnan(spread(groups([[1.0, nan], [5.0, nan]])).error[0])


def test_unequal_variances_cost_degrees_of_freedom() -> None:
    source = np.random.default_rng(8)
    even = spread(groups(source.normal(size=(4, 8)))).effective[0]
    odd = spread(groups(source.normal(size=(4, 8)) * [[10.0], [0.1], [0.1], [0.1]])).effective[0]
    assert odd < 9 < even <= 28
    assert spread(units(source.normal(size=9))).effective[0] == pytest.approx(8)


def test_settings_share_their_draws_and_the_order_does_not_matter() -> None:
    values = np.random.default_rng(9).normal(size=(4, 12))
    order = [2, 0, 3, 1]
    low, high = resample(units(values), 1000, 3).interval(0.95)
    again = resample(units(values[order]), 1000, 3).interval(0.95)
    np.testing.assert_allclose(again, [low[order], high[order]])
    twice = resample(units(np.concatenate([values, values])), 1000, 3)
    np.testing.assert_array_equal(twice.draws[:4], twice.draws[4:])


def test_the_seed_decides() -> None:
    values = np.random.default_rng(10).normal(size=(1, 20))
    same, other = resample(units(values), 500, 1), resample(units(values), 500, 2)
    np.testing.assert_array_equal(same.draws, resample(units(values), 500, 1).draws)
    assert (same.draws != other.draws).any()
