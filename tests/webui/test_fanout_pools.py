"""Pools without a host: every candidate once, seeds as documented, for any numbers and any moment of stopping."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

NAME, ROOT = "hps_pack", Path(__file__).resolve().parents[2]


def module(name: str) -> Any:
    """Return a module of the pack as the door loads it; pools import no host."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules[NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[NAME])
    return importlib.import_module(f"{NAME}.{name}")


pools = module("hpskit_webui.best_of_n.pools")
options = module("hpskit_webui.options")
select = module("hpskit.select")
stopping = module("hpskit.search.stopping")

sizes = st.integers(1, 12)


def judged(score: float) -> Any:
    return SimpleNamespace(main=score, scores={"a": score}, known=not math.isnan(score))


def rank(pool: Sequence[Any]) -> Any:
    return select.rank_pool({"a": [each.main for each in pool]})


def layout(count: int, candidates: int, keep: int, wanted: int) -> Any:
    return pools.Layout(count, candidates, keep, pools.divisor(candidates, wanted))


@given(st.integers(1, 400), st.integers(0, 40))
def test_the_batch_is_the_largest_divisor_within_the_wish(number: int, most: int) -> None:
    size = pools.divisor(number, most)
    assert number % size == 0
    assert size <= max(most, 1)
    assert not [k for k in range(size + 1, most + 1) if number % k == 0]


@given(sizes, sizes, sizes, sizes)
def test_every_candidate_is_made_exactly_once(count: int, candidates: int, keep: int, wanted: int) -> None:
    made = layout(count, candidates, keep, wanted)
    schedule, seen = pools.Schedule(made), []
    for left in range(made.batches, 0, -1):
        assert schedule.left == left
        batch = schedule.take()
        assert len({made.place(number)[0] for number in batch}) == 1
        seen += batch
    assert seen == list(range(count * candidates))
    assert not schedule.take() and not schedule.left


@given(sizes, sizes, sizes, st.data())
def test_a_pool_that_ends_early_costs_nothing_more(
    count: int, candidates: int, wanted: int, data: st.DataObject
) -> None:
    made = layout(count, candidates, 1, wanted)
    schedule, seen = pools.Schedule(made), []
    while batch := schedule.take():
        seen += batch
        pool = made.place(batch.start)[0]
        if data.draw(st.booleans()):
            schedule.end(pool)
            if schedule.left:
                assert made.place(schedule._next) == (pool + 1, 0)
    assert len(seen) == len(set(seen))
    assert {made.place(number)[0] for number in seen} == set(range(count))
    for pool in range(count):
        places = [made.place(number)[1] for number in seen if made.place(number)[0] == pool]
        assert places == list(range(len(places)))


def test_a_batch_over_two_pools_is_refused() -> None:
    with pytest.raises(module("hpskit.errors").SelectionError, match="6 candidates"):
        pools.Layout(2, 6, 1, 4)


@given(st.integers(0, 2**32), st.integers(0, 2**32), st.integers(1, 20))
def test_seeds_count_up_and_with_variation_only_the_subseeds(seed: int, subseed: int, count: int) -> None:
    assert pools.seeds(seed, subseed, 0, count)[0] == [seed + k for k in range(count)]
    assert pools.seeds(seed, subseed, 0.3, count)[0] == [seed] * count
    assert pools.seeds(seed, subseed, 0.3, count)[1] == [subseed + k for k in range(count)]


def filled(scores: Sequence[float], keep: int = 1, size: int = 99, clock: Any = None) -> Any:
    pool = pools.Pool(0, size, keep, clock or (lambda: 0.0))
    for place, score in enumerate(scores):
        pool.add(place, 100 + place, judged(score))
    return pool


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.integers(1, 12))
def test_the_best_are_kept_best_first(scores: list[float], keep: int) -> None:
    kept = filled(scores, keep).kept(rank)
    assert [each.judged.main for each in kept] == sorted(scores, reverse=True)[:keep]
    assert all(each.seed == 100 + each.place for each in kept)


def test_nothing_is_kept_of_nothing_and_something_of_unscored() -> None:
    assert filled([]).kept(rank) == []
    assert [each.place for each in filled([math.nan, math.nan], 2).kept(rank)] == [0]
    assert [each.place for each in filled([math.nan, 1.0], 2).kept(rank)] == [1]


def check(pool: Any, **rule: Any) -> str:
    pool.check(stopping.StopRule(**rule), rank, {"a": 1.0}, 1)
    return str(pool.stopped)


def test_a_target_waits_for_as_many_as_are_kept() -> None:
    assert check(filled([3.0]), target=2.0) == "target"
    assert check(filled([3.0], keep=2), target=2.0) == ""
    assert check(filled([3.0, 1.0], keep=2), target=2.0) == "target"
    assert check(filled([1.0]), target=2.0) == ""


def test_time_ends_a_pool_at_once() -> None:
    now = [0.0]
    pool = filled([1.0], keep=3, clock=lambda: now[0])
    assert check(pool, seconds=5.0) == ""
    now[0] = 5.0
    assert check(pool, seconds=5.0) == "time"


def test_a_pool_that_is_full_has_ended_without_a_reason_to_tell() -> None:
    pool = filled([1.0, 2.0], size=3)
    assert check(pool) == ""
    pool.lose()
    assert check(pool) == "all"
    assert not pools.STOPPED["all"]


def test_little_to_expect_ends_a_pool() -> None:
    assert check(filled([0.0] * 12), min_gain=0.5) == "gain"
    assert check(filled([0.0, 4.0, 8.0]), min_gain=0.01) == ""


def test_presets_are_scaled_by_the_spread_of_the_scorer() -> None:
    chosen = options.read([{"mode": "best-of-n", "stop": "normal", "target": 0, "seconds": 3}])
    narrow, wide = pools.stop_rule(chosen, 0.075), pools.stop_rule(chosen, 0.75)
    assert wide.min_gain == pytest.approx(stopping.GAIN_PRESETS["normal"])
    assert narrow.min_gain == pytest.approx(wide.min_gain / 10)
    assert (wide.target, wide.seconds) == (None, 3)
    assert pools.stop_rule(options.Options(), None) == stopping.StopRule()
