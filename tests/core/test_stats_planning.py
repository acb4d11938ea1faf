from __future__ import annotations

import builtins
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

from hpskit.errors import DependencyError, StudyError
from hpskit.stats.planning import (
    UNPAIRED_SD,
    attainable,
    clear_difference,
    detectable,
    enough_units,
    pairs_needed,
    plan,
    units_needed,
)


@pytest.mark.parametrize(("difference", "pairs"), [(0.3, 112), (0.5, 41), (1.0, 11)])
def test_the_textbook_table(difference: float, pairs: int) -> None:
    assert pairs_needed(0.8 * math.sqrt(2), difference, normal=True) == pairs
    assert pairs_needed(0.8 * math.sqrt(2), difference) in (pairs + 1, pairs + 2)


@pytest.mark.parametrize("n", [2, 3, 8, 30, 200])
@pytest.mark.parametrize(("power", "confidence"), [(0.8, 0.95), (0.9, 0.99), (0.5, 0.9)])
def test_detectable_equals_statsmodels(n: int, power: float, confidence: float) -> None:
    got = detectable(1.0, n, power, confidence)
    want = TTestPower().power(got, n, 1 - confidence, alternative="larger", df=n - 1)
    one_side = TTestPower().power(got, n, (1 - confidence) / 2, alternative="larger", df=n - 1)
    assert one_side == pytest.approx(power, abs=1e-6)
    assert want >= power


@given(st.floats(0.1, 3), st.floats(0.2, 3))
def test_pairs_needed_is_the_smallest_number(sd: float, difference: float) -> None:
    n = pairs_needed(sd, difference)
    assert n is not None
    assert detectable(sd, n) <= difference * (1 + 1e-9)
    assert n == 2 or detectable(sd, n - 1) > difference * (1 - 1e-9)
    other = TTestPower().solve_power(difference / sd, power=0.8, alpha=0.05) if n > 3 else n
    assert n == pytest.approx(math.ceil(float(np.squeeze(other))), abs=1)


def test_many_units_come_close_to_the_formula() -> None:
    assert detectable(0.8, 10_000) == pytest.approx(2.8016 * 0.8 / 100, rel=1e-3)


def test_what_no_number_of_pairs_shows() -> None:
    assert pairs_needed(1.0, 0.0) is None
    assert pairs_needed(float("nan"), 1.0) is None
    assert pairs_needed(1.0, 1e-9) is None
    assert pairs_needed(0.0, 1.0) == 2
    assert math.isnan(detectable(1.0, 1))
    assert math.isnan(detectable(float("nan"), 9))
    assert detectable(0.0, 9) == 0.0


@pytest.mark.parametrize(("comparisons", "units"), [(1, 6), (2, 7), (11, 9), (59, 12)])
def test_units_that_a_clear_verdict_needs(comparisons: int, units: int) -> None:
    assert units_needed(comparisons, 0.95) == units
    assert enough_units(units, comparisons, 0.95) and not enough_units(units - 1, comparisons, 0.95)


def test_the_steps_of_the_exact_test() -> None:
    assert attainable(6, 0.05) == 2 / 64
    assert attainable(5, 0.05) == 0.0
    assert attainable(40, 0.05) == 0.05
    assert clear_difference(1.0, 5, 4) == math.inf
    assert math.isnan(clear_difference(float("nan"), 9, 8))
    assert clear_difference(0.1, 1000, 999) == pytest.approx(0.28, abs=0.003)


def test_plan_says_how_many_seeds() -> None:
    made = plan(0.3, prompts=(1, 12, 20))
    assert (made.textbook, made.sd) == (112, UNPAIRED_SD)
    assert made.pairs == 114
    one, dozen, score = made.rows
    assert one.holds_for == "these prompts only" and dozen.holds_for == "prompts like these"
    assert one.seeds is not None and 112 <= one.seeds <= 118
    assert dozen.seeds is not None and dozen.images == 12 * dozen.seeds * 2
    assert all(row.detectable <= 0.3 for row in made.rows)
    assert score.seeds is not None and score.seeds < dozen.seeds


def test_seeds_do_not_average_the_prompts_away() -> None:
    made = plan(0.3, between=0.4, prompts=(12, 40))
    assert made.rows[0].seeds is None and made.rows[0].images is None and math.isnan(made.rows[0].detectable)
    assert made.rows[1].seeds is not None


def test_more_settings_need_more_images() -> None:
    few, many = plan(0.5, prompts=(20,)).rows[0], plan(0.5, settings=12, prompts=(20,)).rows[0]
    assert few.seeds is not None and many.seeds is not None and many.seeds > few.seeds
    assert many.images == 20 * many.seeds * 12


@pytest.mark.parametrize("wrong", [{"difference": 0.0}, {"difference": 1, "sd": -1.0}, {"difference": 1, "settings": 1},
                                   {"difference": 1, "power": 1.0}, {"difference": 1, "confidence": 0.3}])  # fmt: skip
def test_impossible_plans_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(StudyError):
        plan(**wrong)  # type: ignore[arg-type]


def test_a_missing_scipy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def absent(name: str, *rest: object) -> object:
        if name.startswith("scipy"):
            raise ImportError(name)
        return builtins.__import__(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DependencyError, match="pip install scipy"):
        pairs_needed(1.0, 0.5)
