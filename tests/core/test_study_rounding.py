"""Differences that arithmetic alone makes are no evidence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpskit.study import NO_EVIDENCE, Cell, Setting, Study, analyse
from hpskit.study.rounding import TOLERANCE, without_rounding
from hpskit.types import ScorerInfo


def study(scores: np.ndarray, dtype: str = "float32") -> Study:
    settings, prompts, seeds = scores.shape
    cells = [
        Cell(a, p, s, float(scores[a, p, s])) for a in range(settings) for p in range(prompts) for s in range(seeds)
    ]
    return Study(
        title="t",
        axes=(),
        settings=tuple(Setting(f"s{a}") for a in range(settings)),
        prompts=tuple(f"p{p}" for p in range(prompts)),
        seeds=tuple(map(str, range(seeds))),
        cells=tuple(cells),
        scorer=ScorerInfo("x", "X", "fake", "1", "reference", dtype),
    )


def test_the_same_images_up_to_rounding_are_no_evidence() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(25, 2, (12, 4))
    second = first + rng.uniform(1e-6, 1e-4, first.shape)  # always above: a test without units would call it clear
    found = analyse(study(np.stack([first, second]))).comparisons[0]
    assert found.verdict == NO_EVIDENCE
    assert found.difference == 0
    assert found.p == 1
    assert found.wins == 0.5


def test_a_small_true_difference_still_counts() -> None:
    first = np.random.default_rng(0).normal(25, 2, (12, 4))
    found = analyse(study(np.stack([first, first + 0.05]))).comparisons[0]
    assert found.difference == pytest.approx(0.05)
    assert found.verdict == "clear"


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_half_precision_rounds_more(dtype: str) -> None:
    apart = np.array([20.0, 20.0 + 18 * TOLERANCE[dtype]])[:, None, None]
    assert len(np.unique(without_rounding(apart, dtype))) == 1
    wider = np.array([20.0, 20.0 + 22 * TOLERANCE[dtype]])[:, None, None]
    assert np.array_equal(without_rounding(wider, dtype), wider)


@given(st.lists(st.one_of(st.floats(-50, 50), st.just(float("nan"))), min_size=1, max_size=12))
def test_nothing_moves_far_and_order_is_kept(values: list[float]) -> None:
    before = np.array(values)[:, None, None]
    after = without_rounding(before, "float32")
    assert np.array_equal(np.isnan(before), np.isnan(after))
    known = ~np.isnan(before)
    assert np.all(np.abs(after - before)[known] <= 50 * TOLERANCE["float32"] * len(values))
    order = np.argsort(before[known], kind="stable")
    assert np.all(np.diff(after[known][order]) >= -1e-12)
