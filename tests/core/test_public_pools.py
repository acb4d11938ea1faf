"""The benchmark on public reward pools: right on made-up pools always, and on the real ones where they are at hand."""

from __future__ import annotations

import importlib
import math
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hpskit.stats import expected_improvement, expected_maximum, gaussian_expected_maximum

ROOT = Path(__file__).resolve().parents[2]
Table = dict[str, list[list[float]]]


@pytest.fixture(scope="module")
def pools() -> Iterator[ModuleType]:
    names = ("public_pools", "public_pools_earlier", "ttsnap")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        for name in names:
            patch.delitem(sys.modules, name, raising=False)
        yield importlib.import_module("public_pools")
        for name in names:
            sys.modules.pop(name, None)


def made_up(prompts: int, seeds: int, correlations: tuple[float, float] = (0.35, 0.5), sd: float = 0.8) -> Table:
    """Return normal scores: HPS in points, and two judges that are correlated with it."""
    draw = random.Random(7)
    table: Table = {"hps": [], "imr": [], "pic": []}
    for _ in range(prompts):
        main = [draw.gauss(0, 1) for _ in range(seeds)]
        table["hps"].append([28 + sd * x for x in main])
        for name, r in zip(("imr", "pic"), correlations, strict=True):
            table[name].append([1 + 0.4 * (r * x + math.sqrt(1 - r * r) * draw.gauss(0, 1)) for x in main])
    return table


# --- on pools whose figures are known ---------------------------------------------------------------------------------


def test_normal_pools_give_the_normal_curve(pools: ModuleType) -> None:
    found = pools.curve(made_up(300, 100)["hps"], 32)
    for n in (1, 4, 8, 16, 32):
        assert found[n - 1] == pytest.approx(gaussian_expected_maximum(n), abs=0.03)


def test_spreads_are_those_that_were_drawn(pools: ModuleType) -> None:
    middle, low, high = pools.spread(made_up(200, 100)["hps"])
    assert middle == pytest.approx(0.8, abs=0.01)
    assert 0.7 < low < middle < high < 0.9


@pytest.mark.parametrize("n", [1, 2, 7, 11])
def test_the_chances_of_a_place_make_the_expected_maximum(pools: ModuleType, n: int) -> None:
    values = [math.sin(7 * k) for k in range(11)]
    chances = pools.place_chances(len(values), n)
    assert math.fsum(chances) == pytest.approx(1)
    mean_best = math.fsum(p * v for p, v in zip(chances, sorted(values, reverse=True), strict=True))
    assert mean_best == pytest.approx(expected_maximum(values)[n - 1])


def test_judges_see_their_correlation_of_the_gain(pools: ModuleType) -> None:
    found = pools.transfer(made_up(300, 100), 16)
    assert found["hps"] == pytest.approx(gaussian_expected_maximum(16), abs=0.03)
    assert found["imr"] == pytest.approx(0.35 * found["hps"], abs=0.05)
    assert found["pic"] == pytest.approx(0.50 * found["hps"], abs=0.05)


def test_correlations_are_those_that_were_drawn(pools: ModuleType) -> None:
    found = pools.correlations(made_up(200, 100))
    for pair, want in ((("hps", "imr"), 0.35), (("hps", "pic"), 0.5), (("imr", "pic"), 0.175)):
        pearson, spearman = found[pair]
        assert pearson == pytest.approx(want, abs=0.03)
        assert spearman == pytest.approx(6 / math.pi * math.asin(pearson / 2), abs=0.02)


def test_every_rule_gains_most_where_it_looks(pools: ModuleType) -> None:
    table = made_up(120, 60, correlations=(0.0, 0.0))
    found = pools.rule_gains(table, size=16, draws=4)
    best = gaussian_expected_maximum(16)
    for position, name in enumerate(pools.NAMES.values()):
        gains = found[f"{name} alone"]
        assert gains[position] == pytest.approx(best, abs=0.08)
        assert all(abs(other) < 0.12 for k, other in enumerate(gains) if k != position)
    both = found["zsum of HPS and ImageReward"]
    assert both[:2] == pytest.approx([best / math.sqrt(2)] * 2, abs=0.1)
    gate = found["gate: HPS among the better half by ImageReward"]
    assert gate[0] == pytest.approx(gaussian_expected_maximum(8), abs=0.08)
    assert gate[1] == pytest.approx(math.sqrt(2 / math.pi), abs=0.12), "the mean of the upper half of a normal"
    assert found["worst of all"] == pytest.approx([found["worst of all"][0]] * 3, abs=0.12)


def test_stopping_is_the_formula(pools: ModuleType) -> None:
    path = [28.0, 28.9, 27.5, 28.2, 29.0, 28.1, 27.9, 28.8, 28.3, 28.0]
    for batch in (1, 3):
        for cost in pools.COSTS:
            n = max(batch, 2)
            while n < len(path):
                step = min(batch, len(path) - n)
                if expected_improvement(path[:n], max(path[:n]), 0.75, 4, batch=step) < cost * step:
                    break
                n += step
            assert pools.stopping_points(path, [cost], batch) == [n]
    every = pools.stopping_points(path, pools.COSTS, 1)
    assert every == sorted(every, reverse=True), "the dearer an image, the earlier the end"


def test_stopping_beats_every_fixed_n_on_normal_pools_and_is_compared_fairly(pools: ModuleType) -> None:
    table = made_up(150, 64)
    bests = np.maximum.accumulate(pools.orders(table["hps"], draws=4, longest=64), axis=2).mean(axis=(0, 1))
    for found in pools.stopping(table["hps"], draws=4):
        assert set(found.fixed) == set(range(1, 65)) == set(found.advantage)
        assert found.fixed[1] == pytest.approx(np.mean(table["hps"]) - found.cost)
        assert found.fixed[64] == pytest.approx(np.mean(np.max(table["hps"], axis=1)) - 64 * found.cost)
        assert found.fixed[found.best_fixed] == max(found.fixed.values())
        here = bests - found.cost * np.arange(1, 65)
        lead = found.utility - found.fixed[found.best_fixed]
        for n in (1, 8, 64):
            gap, error = found.advantage[n]
            assert gap == pytest.approx(here[found.best_fixed - 1] + lead - here[n - 1])
            assert gap > -error, f"stopping loses to {n} at {found.cost}"


def test_orders_leave_nothing_out_and_repeat_nothing(pools: ModuleType) -> None:
    pool = [float(k) for k in range(20)]
    for order in pools.orders([pool], draws=5, longest=64)[0]:
        assert sorted(order) == pool
    assert pools.orders([pool], 2, 8) == pools.orders([pool], 2, 8), "the same seed gives the same orders"


# --- reading ----------------------------------------------------------------------------------------------------------


def write(path: Path, lists: list[list[float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{k}:\n" + "".join(f"- {v!r}\n" for v in row) for k, row in enumerate(lists)))


def test_a_folder_of_pools_is_read_in_points(pools: ModuleType, tmp_path: Path) -> None:
    values = tmp_path / "simulation" / "values"
    for reward, unit in pools.ttsnap.POINTS.items():
        write(values / f"flux_{reward}_val_base" / pools.ttsnap.LAST_STEP, [[0.25 / unit, -5e-05], [1.0, 2.0]])
    table = pools.ttsnap.load(pools.ttsnap.folder(tmp_path), "flux")
    assert list(table) == ["hps", "imr", "pic"]
    for reward, unit in pools.ttsnap.POINTS.items():
        assert table[reward] == [pytest.approx([0.25, -5e-05 * unit]), [unit, 2 * unit]]
    with pytest.raises(pools.ttsnap.NotPools, match="is missing"):
        pools.ttsnap.load(values, "sdxl")


@pytest.mark.parametrize(
    "text",
    ["0:\n- !!python/object/apply:os.system ['true']\n", "0:\n- .nan\n", "0:\n- 1e999\n", "1:\n- 0.1\n", "- 0.1\n",
     "0:\n- 0.1\nx: &a [1]\n", "0:\n- \n", "0:\n- 0.1\n\x00\n", "0:\n  - 0.1\n"],
)  # fmt: skip
def test_what_is_not_plain_numbers_is_refused(pools: ModuleType, tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(pools.ttsnap.NotPools, match=r"bad\.yaml, line \d"):
        pools.ttsnap.read_numbers(path)


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3), (2, 4)), ((2, 3), (1, 3), (2, 3))])
def test_rewards_of_different_pools_are_refused(
    pools: ModuleType, tmp_path: Path, shapes: tuple[tuple[int, int], ...]
) -> None:
    for reward, (prompts, seeds) in zip(pools.REWARDS, shapes, strict=True):
        write(tmp_path / f"flux_{reward}_val_base" / pools.ttsnap.LAST_STEP, [[0.1] * seeds] * prompts)
    with pytest.raises(pools.ttsnap.NotPools, match="do not score the same"):
        pools.ttsnap.load(tmp_path, "flux")


def test_a_missing_checkout_is_said_with_advice(pools: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(pools.ttsnap.NotPools, match="TTSNAP_PATH"):
        pools.ttsnap.folder(tmp_path)


def test_repeated_seeds_are_dropped_and_like_ones_by_the_limit(pools: ModuleType) -> None:
    table = made_up(100, 6)
    noise = random.Random(3)
    for pool_lists in table.values():
        for pool in pool_lists:
            sd = float(np.std(pool))
            pool.append(pool[0])  # 6: the same image
            pool.append(pool[1] + noise.gauss(0, 0.2 * sd))  # 7: the same but for rounding
            pool.append(pool[2] + noise.gauss(0, 1.2 * sd))  # 8: like it
    assert pools.ttsnap.distinct(table) == [0, 1, 2, 3, 4, 5, 8]
    assert pools.ttsnap.distinct(table, pools.ttsnap.SAME_NOISE) == [0, 1, 2, 3, 4, 5]
    assert pools.ttsnap.only(table, [8, 0])["hps"][3] == [table["hps"][3][8], table["hps"][3][0]]


# --- on the public pools ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def public(pools: ModuleType) -> dict[str, Table]:
    try:
        values = pools.ttsnap.folder()
    except pools.ttsnap.NotPools as error:
        pytest.skip(f"SKIPPED PUBLIC POOLS: {error}")
    tables = {model: pools.ttsnap.load(values, model) for model in pools.ttsnap.MODELS}
    return {model: pools.ttsnap.only(table, pools.ttsnap.distinct(table)) for model, table in tables.items()}


@pytest.mark.parametrize("model", ["flux", "sdxl"])
class TestPublic:
    """Within what the sampling of the earlier figures allows; the tolerances stand in docs/public_pools.md."""

    def test_pools_are_those_that_are_documented(self, public: dict[str, Table], model: str) -> None:
        seeds = {"flux": 200, "sdxl": 54}[model]
        assert all(len(pools) == 200 and {len(pool) for pool in pools} == {seeds} for pools in public[model].values())

    def test_gains(self, pools: ModuleType, public: dict[str, Table], model: str) -> None:
        for reward, before in pools.earlier.CURVES[model].items():
            found = pools.curve(public[model][reward], 32)
            for n, want in before.items():
                assert found[n - 1] == pytest.approx(want, abs=0.015), f"{reward}, best of {n}"

    def test_spreads(self, pools: ModuleType, public: dict[str, Table], model: str) -> None:
        for reward, want in pools.earlier.SPREADS[model].items():
            assert pools.spread(public[model][reward])[0] == pytest.approx(want, abs=0.025)

    def test_transfer(self, pools: ModuleType, public: dict[str, Table], model: str) -> None:
        for n, (imr, pic) in pools.earlier.TRANSFER[model].items():
            found = pools.transfer(public[model], n)
            assert (found["imr"], found["pic"]) == (pytest.approx(imr, abs=0.02), pytest.approx(pic, abs=0.02))

    def test_rules(self, pools: ModuleType, public: dict[str, Table], model: str) -> None:
        found = pools.rule_gains(public[model], draws=8)
        for label, want in pools.earlier.RULES[model].items():
            assert found[label] == pytest.approx(want, abs=0.06), label
        alone, gate = found["HPS alone"], found["gate: HPS among the better half by ImageReward"]
        assert gate[0] > 0.88 * alone[0] and gate[1] > 1.5 * alone[1]

    def test_stopping(self, pools: ModuleType, public: dict[str, Table], model: str) -> None:
        for found in pools.stopping(public[model]["hps"], draws=6):
            gap, error = found.advantage[found.best_fixed]
            assert gap > -error, f"stopping loses to {found.best_fixed} at {found.cost}"
            assert all(lead > -0.01 for lead, _ in found.advantage.values())
            before = pools.earlier.STOPPING[model].get(found.cost)
            if before:
                utility, mean_n, fixed = before
                assert found.utility == pytest.approx(utility, abs=0.02)
                assert found.mean_n == pytest.approx(mean_n, abs=0.6)
                assert found.fixed[found.best_fixed] == pytest.approx(fixed, abs=0.015)


def test_the_figures_in_the_documentation_are_those_of_the_script(pools: ModuleType, public: dict[str, Table]) -> None:
    text = (ROOT / "docs" / "public_pools.md").read_text("utf-8")
    written = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    for model, table in public.items():
        for make in (pools.spread_table, pools.gain_table, pools.transfer_table):
            made = make(table, model)
            assert any(_same(made, other) for other in written), f"{model}: not in docs/public_pools.md:\n{made}"


def _same(made: str, written: str) -> bool:
    return made.split() == written.split()
