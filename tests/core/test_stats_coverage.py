from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hpskit.study import CLEAR, Cell, Setting, Study, analyse
from hpskit.types import ScorerInfo


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "compare_statistics.py"
    spec = importlib.util.spec_from_file_location("compare_statistics", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(("prompts", "seeds"), [(1, 8), (3, 4), (6, 2), (12, 2), (20, 1)])
@pytest.mark.parametrize("shape", ["normal", "skewed", "heavy"])
def test_intervals_hold_and_alarms_are_rare(bench: ModuleType, prompts: int, seeds: int, shape: str) -> None:
    design = bench.Design(prompts, seeds, shape=shape)
    goal = bench.planned(design)
    there = bench.measure(bench.replace(design, effect=goal), 800, 1000)
    none = bench.measure(bench.null_of(design), 800, 1000, 1)
    assert (
        92.5 <= there.cover95 <= 97.8 and 87 <= there.cover90 <= 93.5
    )  # two points and twice the error of 800 studies
    assert none.fires <= 7 and none.false_clear <= 6.5
    assert there.found >= 73, "the plan promises 80 %"


@pytest.mark.slow
def test_any_false_verdict_among_twelve_settings_is_rare(bench: ModuleType) -> None:
    found = bench.measure(bench.null_of(bench.Design(12, 2, settings=12)), 500, 1000)
    assert found.false_clear <= 7 and found.family95 >= 93


def test_the_simulation_judges_as_analyse_does(bench: ModuleType) -> None:
    design = bench.Design(9, 2, settings=4, effect=0.8)
    family, _, _ = bench.simulate(design, 5, np.random.default_rng(1))
    judged = bench.judge(design, 5, 2000, np.random.default_rng(1))
    info = ScorerInfo("hps-v2.1", "HPS v2.1", "hps", "2.1", "reference", "float32")
    for k in range(5):
        rows = slice(3 * k, 3 * k + 3)
        scores = np.concatenate([family.second[3 * k : 3 * k + 1, 0], family.first[rows, 0]])
        cells = tuple(Cell(*map(int, place), float(scores[place])) for place in np.ndindex(scores.shape))
        names = tuple(Setting(f"s{n}") for n in range(4))
        made = Study("t", (), names, tuple(map(str, range(9))), ("0", "1"), cells, info)
        found = analyse(made, draws=2000)
        assert [one.verdict == CLEAR for one in found.comparisons] == judged[4, rows].astype(bool).tolist()
        assert [one.p <= 0.05 for one in found.comparisons] == judged[3, rows].astype(bool).tolist()
