"""Gains, rules and stopping on public reward pools: 200 prompts x 200 seeds of FLUX.1-dev, 200 x 54 of an SDXL.

    TTSNAP_PATH=path/to/TTSnap python benchmarks/public_pools.py [PATH] [--draws 20] [--same-noise]

Everything is computed by the functions that the nodes and the command line use, and printed as markdown beside the
figures of an earlier, independent calculation. The pools are scores only (no images) and not part of this repository;
docs/public_pools.md says where they come from and what the figures mean.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[0]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import public_pools_earlier as earlier
import ttsnap
from ttsnap import REWARDS, Table

from hpskit.rules import Rule, average_ranks, standardize
from hpskit.search.stopping import StopRule, expected_gain, reason_to_stop
from hpskit.select import rank_pool
from hpskit.stats import expected_maximum, gaussian_expected_maximum, mean, quantile, standard_deviation

NAMES = {"hps": "HPS", "imr": "ImageReward", "pic": "PickScore"}
TITLES = {"flux": "FLUX.1-dev", "sdxl": "SDXL"}
SIZES = (4, 8, 16, 32)
COSTS = (0.02, 0.05, 0.10)
PRIOR_SD = 0.75
"""What the stopping rule believes before it has seen a pool: that of the HPS scorers."""
LONGEST = 64
"""Neither a fixed N nor the stopping rule goes further."""
RULES: dict[str, tuple[Rule, tuple[str, ...]]] = {
    **{f"{NAMES[reward]} alone": (Rule("single", main=reward), (reward,)) for reward in REWARDS},
    **{f"{kind} of all": (Rule(kind, main="hps"), REWARDS) for kind in ("zsum", "rank", "worst")},
    "zsum of HPS and ImageReward": (Rule("zsum", main="hps"), ("hps", "imr")),
    "zsum of HPS and PickScore": (Rule("zsum", main="hps"), ("hps", "pic")),
    "gate: HPS among the better half by ImageReward": (Rule("gate", main="hps"), ("hps", "imr")),
}


# --- gains ------------------------------------------------------------------------------------------------------------


def curve(pools: Sequence[Sequence[float]], up_to: int) -> list[float]:
    """Return the mean gain of best of 1..`up_to` in standard deviations of the prompt's pool."""
    gains = []
    for pool in pools:
        sd, found = standard_deviation(pool), expected_maximum(pool, up_to)
        gains.append([(value - found[0]) / sd for value in found])
    return [mean(column) for column in zip(*gains, strict=True)]


def spread(pools: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Return the mean, the 10 % and the 90 % quantile over prompts of the standard deviation between seeds."""
    sds = [standard_deviation(pool) for pool in pools]
    return mean(sds), quantile(sds, 0.1), quantile(sds, 0.9)


def place_chances(total: int, n: int) -> list[float]:
    """Return how likely the best of `n` of `total` seeds is the best, the second best, ... of all."""
    return [math.comb(total - place, n - 1) / math.comb(total, n) for place in range(1, total + 1)]


def transfer(table: Table, n: int, chooser: str = "hps") -> dict[str, float]:
    """Return the mean gain of every reward, in standard deviations, when `chooser` alone picks the best of `n`.

    Exact: the mean over all choices of n seeds of a pool.
    """
    chances = place_chances(len(table[chooser][0]), n)
    orders = [rank_pool({chooser: pool}).order for pool in table[chooser]]
    gains = {}
    for reward, pools in table.items():
        z = [standardize(pool) for pool in pools]
        gains[reward] = mean([_expected(row, order, chances) for row, order in zip(z, orders, strict=True)])
    return gains


def _expected(values: Sequence[float], order: Sequence[int], chances: Sequence[float]) -> float:
    return math.fsum(chance * values[k] for chance, k in zip(chances, order, strict=True))


def rule_gains(table: Table, size: int = 16, draws: int = 20, seed: int = 0) -> dict[str, list[float]]:
    """Return every reward's mean gain in standard deviations of the pool when a rule picks one of `size` seeds.

    The mean over `draws` random choices of seeds a prompt; the same choices for every rule.
    """
    source = random.Random(seed)
    won: dict[str, list[list[float]]] = {label: [] for label in RULES}
    for pools in zip(*table.values(), strict=True):
        scaled = {name: (pool, mean(pool), standard_deviation(pool)) for name, pool in zip(table, pools, strict=True)}
        for _ in range(draws):
            seeds = source.sample(range(len(pools[0])), size)
            for label, (rule, used) in RULES.items():
                best = seeds[rank_pool({name: [scaled[name][0][k] for k in seeds] for name in used}, rule).order[0]]
                won[label].append([(pool[best] - centre) / sd for pool, centre, sd in scaled.values()])
    return {label: [mean(column) for column in zip(*rows, strict=True)] for label, rows in won.items()}


def correlations(table: Table) -> dict[tuple[str, str], tuple[float, float]]:
    """Return Pearson's and Spearman's correlation of two rewards between the seeds of a prompt, means over prompts."""
    ranked = {name: [average_ranks(pool) for pool in pools] for name, pools in table.items()}
    return {(a, b): (_agreement(table, a, b), _agreement(ranked, a, b)) for a, b in itertools.combinations(table, 2)}


def _agreement(columns: Table, a: str, b: str) -> float:
    return mean([statistics.correlation(x, y) for x, y in zip(columns[a], columns[b], strict=True)])


# --- stopping ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stopping:
    """What stopping by expected improvement does against fixed N on the same pools in the same orders."""

    cost: float
    utility: float
    """Mean of the best score less cost times n: that of the best fixed N, which is exact, plus the lead over it."""
    mean_n: float
    fixed: dict[int, float]
    """Utility of every fixed N; the exact mean over all orders."""
    best_fixed: int
    advantage: dict[int, tuple[float, float]]
    """Utility of stopping less that of a fixed N on the same orders, and its standard error over prompts; by N."""
    ahead: float
    """Share of prompts in which stopping did better than the best fixed N."""


def orders(pools: Sequence[Sequence[float]], draws: int, longest: int, seed: int = 0) -> list[list[list[float]]]:
    """Return `draws` random orders of each pool, cut to `longest`, by prompt."""
    source = random.Random(seed)
    return [[source.sample(list(pool), min(longest, len(pool))) for _ in range(draws)] for pool in pools]


def stopping_points(path: Sequence[float], costs: Sequence[float], batch: int) -> list[int]:
    """Return for each cost after how many candidates the search's own rule stops, looking after every `batch`."""
    rules = {cost: StopRule(min_gain=cost, prior_sd=PRIOR_SD) for cost in costs}
    ends = dict.fromkeys(costs, len(path))
    done = max(batch, 2)
    while done < len(path) and rules:
        ranking = rank_pool({"hps": path[:done]})
        step = min(batch, len(path) - done)
        gain = expected_gain(ranking, step, PRIOR_SD)
        for cost in [cost for cost, rule in rules.items() if reason_to_stop(rule, ranking, 0.0, gain, step)]:
            ends[cost] = done
            del rules[cost]
        done += step
    return [ends[cost] for cost in costs]


def stopping(
    pools: Sequence[Sequence[float]], costs: Sequence[float] = COSTS, batch: int = 1, draws: int = 20
) -> list[Stopping]:
    """Return for each cost how stopping by expected improvement fares against every fixed N."""
    longest = min(LONGEST, len(pools[0]))
    paths = orders(pools, draws, longest)
    ends = [[stopping_points(path, costs, batch) for path in rows] for rows in paths]
    curves = [expected_maximum(pool, longest) for pool in pools]
    exact = [mean(column) for column in zip(*curves, strict=True)]
    return [_against_fixed(paths, [[row[k] for row in rows] for rows in ends], exact, c) for k, c in enumerate(costs)]


def _against_fixed(
    paths: Sequence[Sequence[Sequence[float]]], ends: Sequence[Sequence[int]], exact: Sequence[float], cost: float
) -> Stopping:
    fixed = {n: value - cost * n for n, value in enumerate(exact, start=1)}
    best = max(fixed, key=lambda n: fixed[n])
    differences = []
    for rows, stops in zip(paths, ends, strict=True):
        running = [list(itertools.accumulate(path, max)) for path in rows]
        ours = mean([bests[n - 1] - cost * n for bests, n in zip(running, stops, strict=True)])
        theirs = [mean(column) - cost * n for n, column in enumerate(zip(*running, strict=True), start=1)]
        differences.append([ours - other for other in theirs])
    columns = list(zip(*differences, strict=True))
    return Stopping(
        cost=cost,
        utility=fixed[best] + mean(columns[best - 1]),
        mean_n=mean([mean(stops) for stops in ends]),
        fixed=fixed,
        best_fixed=best,
        advantage={
            n: (mean(column), standard_deviation(column) / math.sqrt(len(column)))
            for n, column in enumerate(columns, start=1)
        },
        ahead=mean([float(value > 0) for value in columns[best - 1]]),
    )


# --- tables -----------------------------------------------------------------------------------------------------------


_NONE = (None, None, None)


def _beside(ours: float, before: float | None, digits: int = 2) -> str:
    """Write a figure, what it was before, and the difference; the last two are empty without an earlier figure."""
    if before is None:
        return f"{ours:.{digits}f} | |"
    difference = round(ours - before, digits) + 0.0  # no minus before a zero
    return f"{ours:.{digits}f} | {before:.{digits}f} | {difference:+.{digits}f}"


def gain_table(table: Table, model: str) -> str:
    """Return the table of gains by N and reward, beside what normal scores would gain."""
    lines = ["| reward | N | normal | gain (sd) | earlier | difference |", "|---|---|---|---|---|---|"]
    for reward, pools in table.items():
        found = curve(pools, max(SIZES))
        for n in SIZES:
            cells = _beside(found[n - 1], earlier.CURVES[model][reward][n])
            lines.append(f"| {NAMES[reward]} | {n} | {gaussian_expected_maximum(n):.2f} | {cells} |")
    return "\n".join(lines)


def spread_table(table: Table, model: str) -> str:
    """Return the table of spreads between seeds in points."""
    lines = ["| reward | sd (points) | earlier | difference | 10 % below | 10 % above |", "|---|---|---|---|---|---|"]
    for reward, pools in table.items():
        found, low, high = spread(pools)
        lines.append(f"| {NAMES[reward]} | {_beside(found, earlier.SPREADS[model][reward])} | {low:.2f} | {high:.2f} |")
    return "\n".join(lines)


def transfer_table(table: Table, model: str) -> str:
    """Return the table of what other judges see of a choice by HPS."""
    lines = ["| chosen by HPS, N | judge | gain (sd) | earlier | difference |", "|---|---|---|---|---|"]
    for n, before in earlier.TRANSFER[model].items():
        if n > len(table["hps"][0]):
            continue
        found = transfer(table, n)
        lines += [f"| {n} | {NAMES[r]} | {_beside(found[r], b)} |" for r, b in zip(("imr", "pic"), before, strict=True)]
    return "\n".join(lines)


def correlation_table(table: Table) -> str:
    """Return the table of how far the rewards agree on the seeds of a prompt."""
    lines = ["| rewards | Pearson | Spearman | earlier, both models |", "|---|---|---|---|"]
    for (a, b), (pearson, spearman) in correlations(table).items():
        low, high = earlier.SPEARMAN[a, b]
        lines.append(f"| {NAMES[a]} and {NAMES[b]} | {pearson:.2f} | {spearman:.2f} | {low:.2f} to {high:.2f} |")
    return "\n".join(lines)


def rule_table(table: Table, model: str, draws: int) -> str:
    """Return the table of what a choice of 16 gains by each reward under each rule."""
    heads = [cell for name in NAMES.values() for cell in (name, "earlier", "difference")]
    lines = [f"| the winner of 16 by | {' | '.join(heads)} |", "|---" * 10 + "|"]
    for label, found in rule_gains(table, draws=draws).items():
        cells = [_beside(*pair) for pair in zip(found, earlier.RULES[model][label], strict=True)]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def fixed_table(found: Sequence[Stopping]) -> str:
    """Return the table of the utility of every fixed N that a person may choose."""
    lines = [f"| fixed N | {' | '.join(f'at {each.cost:.2f}' for each in found)} |", "|---" * (len(found) + 1) + "|"]
    for n in (n for n in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64) if n in found[0].fixed):
        lines.append(f"| {n} | {' | '.join(f'{each.fixed[n]:.3f}' for each in found)} |")
    return "\n".join(lines)


def stopping_table(found: Sequence[Stopping], model: str, batch: int) -> str:
    """Return the table of stopping against all fixed N; `batch` is after how many images it looks."""
    lines = [
        "| an image costs | best fixed N | its utility | earlier | difference | stopping | earlier | difference "
        "| mean N | earlier | difference | lead over the best fixed N | ahead in prompts | fixed N that do better |",
        "|---" * 14 + "|",
    ]
    for each in found:
        utility, mean_n, fixed = earlier.STOPPING[model].get(each.cost, _NONE) if batch == 1 else _NONE
        gap, error = each.advantage[each.best_fixed]
        better = [str(n) for n, value in each.fixed.items() if value >= each.utility]
        lines.append(
            f"| {each.cost:.2f} | {each.best_fixed} | {_beside(each.fixed[each.best_fixed], fixed, 3)} "
            f"| {_beside(each.utility, utility, 3)} | {_beside(each.mean_n, mean_n, 1)} "
            f"| {gap:+.3f} +- {error:.3f} | {100 * each.ahead:.0f} % | {', '.join(better) or 'none'} |"
        )
    return "\n".join(lines)


def tables(values: Path, draws: int, limit: float = ttsnap.SAME_IMAGE) -> Iterator[str]:
    """Yield the headings and tables of docs/public_pools.md in their order."""
    for model in ttsnap.MODELS:
        every = ttsnap.load(values, model)
        table = ttsnap.only(every, ttsnap.distinct(every, limit))
        yield f"## {TITLES[model]}: {len(table['hps'])} prompts x {len(table['hps'][0])} seeds"
        yield spread_table(table, model)
        yield gain_table(table, model)
        yield transfer_table(table, model)
        yield correlation_table(table)
        yield rule_table(table, model, draws)
        for batch in (1, 4):
            found = stopping(table["hps"], batch=batch, draws=2 * draws)
            if batch == 1:
                yield fixed_table(found)
            yield stopping_table(found, model, batch)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", nargs="?", help="checkout of TTSnap (default: TTSNAP_PATH)")
    parser.add_argument("--draws", type=int, default=20, help="random orders and choices of seeds for each prompt")
    parser.add_argument("--same-noise", action="store_true", help="drop seeds that share their noise with another one")
    options = parser.parse_args()
    try:
        values = ttsnap.folder(options.path)
        for part in tables(values, options.draws, ttsnap.SAME_NOISE if options.same_noise else ttsnap.SAME_IMAGE):
            print(part, end="\n\n", flush=True)
    except ttsnap.NotPools as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
