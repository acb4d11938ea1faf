"""Whether the statistics of a comparison hold: known studies, simulated, judged as `hpskit.study.analyse` judges them.

    python benchmarks/compare_statistics.py [--studies 2000] [--draws 2000]
        [--only coverage|families|naive|unpaired|best]

Every study is a table of differences whose truth is known: an effect that varies from prompt to prompt (normal, skewed
or heavy-tailed) plus noise between seeds. Counted: how often the intervals hold the truth, how often the test fires
where nothing is to be found, how often any setting of a study is called clear although none is, and how often an
effect is found for which the plan promises 80 %. Thousands of studies are judged at once. Prints Markdown.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hpskit.stats.bootstrap import Strata, resample, spread
from hpskit.stats.multiple import holm, holm_levels
from hpskit.stats.pairwise import win_interval
from hpskit.stats.planning import clear_difference, enough_units
from hpskit.study.analysis import contenders
from hpskit.study.contrasts import Family, Method, compare, p_values, pair_counts, strata_of, win_strata

Array = NDArray[np.float64]

NOISE = 0.8
"""Standard deviation between seeds of the difference of two images, in points: .8 sqrt 2 times sqrt(1 - .5)."""
BETWEEN = 0.4
"""Standard deviation between prompts of the true difference, in points."""
ALPHA = 0.05
SHAPES = ("normal", "skewed", "heavy")
AT_ONCE = 6_000_000


@dataclass(frozen=True)
class Design:
    """One kind of study."""

    prompts: int
    seeds: int
    settings: int = 2
    shape: str = "normal"
    """Of the effects between prompts where prompts are the units, else of the noise."""
    missing: float = 0.0
    effect: float = 0.0
    """Of the first setting after the reference; the others have none."""
    paired: bool = True
    between: float = BETWEEN

    @property
    def units(self) -> str:
        """What `analyse` takes as units."""
        few = not enough_units(self.prompts, self.settings - 1, 1 - ALPHA)
        return "seeds" if few and self.seeds > 1 else "prompts"


@dataclass(frozen=True)
class Counts:
    """Shares of the simulated studies or comparisons, in percent."""

    cover95: float
    cover90: float
    wins95: float
    fires: float
    """Comparisons whose test has p <= .05."""
    clear: float
    """Comparisons that are called clear."""
    found: float
    """Studies where the first comparison is clear and has the right sign."""
    false_clear: float
    """Studies where any of the others is clear, or the first one without an effect."""
    family95: float
    """Studies all of whose adjusted intervals hold the truth."""


def shaped(source: np.random.Generator, shape: str, size: tuple[int, ...]) -> Array:
    """Return random numbers of mean 0 and sd 1: normal, exponential (skewness 2), or Student's t with 3 degrees."""
    if shape == "normal":
        return source.normal(size=size)
    if shape == "skewed":
        return source.exponential(size=size) - 1
    return source.standard_t(3, size=size) / math.sqrt(3)


def simulate(design: Design, studies: int, source: np.random.Generator) -> tuple[Family, Array, Array]:
    """Return the comparisons of many studies, one study after the other, their true differences and win rates."""
    count, seeds = design.settings - 1, design.units == "seeds"
    size = (studies, count, design.prompts)
    effects = design.between * shaped(source, "normal" if seeds else design.shape, size)
    effects = effects - effects.mean(axis=2, keepdims=True) if seeds else effects
    effects[:, 0] += design.effect
    half = NOISE / math.sqrt(2)
    own = half * shaped(source, design.shape if seeds else "normal", (*size, design.seeds))
    reference = half * source.normal(size=(studies, 1, design.prompts, design.seeds))
    first = (effects[..., None] + own).reshape(-1, 1, design.prompts, design.seeds)
    second = np.broadcast_to(reference, own.shape).reshape(first.shape).copy()
    first[source.random(first.shape) < design.missing] = np.nan
    mean = np.where(np.arange(count) == 0, design.effect, 0.0)
    truth = effects.mean(axis=2).ravel() if seeds else np.tile(mean, studies)
    names = ("",) * len(first)
    return Family(names, names, first, second), truth, true_wins(effects, design)


def true_wins(effects: Array, design: Design) -> Array:
    """Return the true win rates, [comparisons]: of these prompts where seeds are the units, else of all."""
    from scipy.special import ndtr

    chances = ndtr(effects / NOISE).mean(axis=2).ravel()
    if design.units == "seeds":
        return np.asarray(chances if design.shape == "normal" else np.full_like(chances, np.nan))
    many = design.between * shaped(np.random.default_rng(99), design.shape, (400_000,))
    found, none = (float(ndtr((effect + many) / NOISE).mean()) for effect in (design.effect, 0.0))
    return np.tile(np.where(np.arange(design.settings - 1) == 0, found, none), len(effects))


def judge(design: Design, studies: int, draws: int, source: np.random.Generator) -> NDArray[np.float64]:
    """Return what happened in each comparison: [8, comparisons] of 0 and 1, NaN where it cannot be said."""
    family, truth, rates = simulate(design, studies, source)
    method = Method(design.units, design.paired, 1 - ALPHA, draws, int(source.integers(2**31)))  # type: ignore[arg-type]
    drawn = resample(strata_of(family, method), draws, method.seed)
    p = p_values(family, method)
    groups = p.reshape(studies, -1)
    adjusted = np.array([holm(row) for row in groups]).ravel()
    levels = np.array([holm_levels(row, ALPHA) for row in groups]).ravel()
    single, wide = drawn.interval(1 - ALPHA), drawn.interval(1 - levels)
    low, high = np.minimum(single[0], wide[0]), np.maximum(single[1], wide[1])
    clear = (adjusted <= ALPHA + 1e-12) & ((low > 0) | (high < 0))
    real = (np.arange(groups.shape[1]) == 0) & (design.effect != 0)
    won, pairs = win_strata(family, method), pair_counts(family, method)
    units = np.isfinite(family.prompts(design.paired)).sum(axis=1) if design.units == "prompts" else pairs
    ends = win_interval(won.estimates, spread(won), units, pairs, 1 - ALPHA)
    return np.array(
        [
            holds(single, truth),
            holds(drawn.interval(0.9), truth),
            np.where(np.isnan(rates), np.nan, holds(ends, rates)),
            p <= ALPHA + 1e-12,
            clear,
            np.repeat((clear & (drawn.estimates > 0)).reshape(studies, -1)[:, 0], groups.shape[1]),
            np.repeat((clear.reshape(studies, -1) & ~real).any(axis=1), groups.shape[1]),
            np.repeat(holds((low, high), truth).reshape(studies, -1).all(axis=1), groups.shape[1]),
        ],
        dtype=float,
    )


def holds(ends: tuple[Array, Array], truth: Array) -> NDArray[np.bool_]:
    """Tell where an interval holds the truth."""
    return np.asarray((ends[0] <= truth + 1e-12) & (truth - 1e-12 <= ends[1]))


def measure(design: Design, studies: int, draws: int, seed: int = 0) -> Counts:
    """Simulate and judge a design, in parts that fit the memory."""
    source = np.random.default_rng([seed, design.prompts, design.seeds, design.settings])
    part = max(1, min(studies, AT_ONCE // (draws * (design.settings - 1))))
    done = [judge(design, min(part, studies - k), draws, source) for k in range(0, studies, part)]
    return Counts(*(float(100 * value) for value in np.concatenate(done, axis=1).mean(axis=1)))


def planned(design: Design, power: float = 0.8) -> float:
    """Return the effect that the plan says such a study finds with the given power; infinite where none."""
    count, seeds = design.settings - 1, design.units == "seeds"
    number = design.prompts * design.seeds if seeds else design.prompts
    freedom = design.prompts * (design.seeds - 1) if seeds else design.prompts - 1
    variance = NOISE**2 / design.seeds + (0 if seeds else design.between**2)
    units = 2 * number if seeds and not design.paired else number
    return clear_difference(math.sqrt(variance / design.prompts), units, freedom, count, power, 1 - ALPHA)


# --- tables -----------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print one Markdown table, row by row."""
    print("\n| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
    print()


def percent(value: float) -> str:
    """Return a share for a table."""
    return "-" if math.isnan(value) else f"{value:.1f}"


def null_of(design: Design) -> Design:
    """Return the same study without any effect: where seeds are the units, in none of its prompts."""
    return replace(design, effect=0.0, between=0.0 if design.units == "seeds" else design.between)


def coverage_rows(designs: Iterable[Design], studies: int, draws: int) -> Iterator[list[str]]:
    """Yield one row a design: its coverage with an effect, false alarms without one, and its power."""
    for design in designs:
        goal = planned(design)
        there = measure(replace(design, effect=goal if math.isfinite(goal) else 0.5), studies, draws)
        none = measure(null_of(design), studies, draws, 1)
        name = f"{design.prompts} x {design.seeds}" + (", 10 % missing" if design.missing else "")
        shares = [there.cover95, there.cover90, there.wins95, none.fires, none.clear]
        power = f"{there.found:.0f}" if math.isfinite(goal) else "-"
        effect = f"{goal:.2f}" if math.isfinite(goal) else "-"
        yield [name, design.units, design.shape, *(percent(value) for value in shares), effect, power]


HEAD = ("prompts x seeds", "units", "effects", "95 % holds", "90 % holds", "win rate 95 % holds", "p <= .05, no effect",
        "false clear", "planned for 80 %", "found")  # fmt: skip


def coverage(studies: int, draws: int) -> None:
    """Two settings: every size, every shape."""
    sizes = [(p, s) for p in (1, 3, 6, 8, 12, 20, 40) for s in (1, 2, 4, 8)]
    designs = [Design(p, s, shape=shape) for p, s in sizes for shape in SHAPES if p * s > 1]
    designs += [Design(p, 4, shape=shape, missing=0.1) for p in (3, 12, 20) for shape in SHAPES]
    table(HEAD, coverage_rows(designs, studies, draws))


def families(studies: int, draws: int) -> None:
    """Twelve settings: any false verdict in a whole study, and all adjusted intervals at once."""
    sizes = [(1, 8), (3, 4), (6, 4), (9, 4), (12, 1), (12, 4), (20, 4), (40, 2)]
    rows = []
    for (p, s), shape in ((size, shape) for size in sizes for shape in SHAPES):
        design = Design(p, s, settings=12, shape=shape)
        goal = planned(design)
        none = measure(null_of(design), studies, draws)
        there = measure(replace(design, effect=goal if math.isfinite(goal) else 0.5), studies, draws, 1)
        shares = [none.false_clear, there.false_clear, none.family95, there.family95]
        effect = [f"{goal:.2f}", f"{there.found:.0f}"] if math.isfinite(goal) else ["-", "-"]
        rows.append([f"{p} x {s}", design.units, shape, *(percent(value) for value in shares), *effect])
    head = ("prompts x seeds", "units", "effects", "any false clear, no effect", "the same, one effect",
            "all intervals hold, no effect", "the same, one effect", "planned for 80 %", "found")  # fmt: skip
    table(head, rows)


def unpaired(studies: int, draws: int) -> None:
    """Two settings whose seeds are not the same noise."""
    designs = [
        Design(p, s, paired=False, shape=shape) for p, s in ((1, 4), (1, 8), (3, 4), (12, 4)) for shape in SHAPES
    ]
    table(HEAD, coverage_rows(designs, studies, draws))


def naive(studies: int, draws: int) -> None:
    """Drawing seeds again within drawn prompts counts their variance twice: mean width and coverage against ours."""
    rows = []
    for p, s in ((12, 1), (12, 2), (12, 4), (20, 4), (40, 4)):
        design, source = Design(p, s, between=0.2), np.random.default_rng(5)
        family, truth, _ = simulate(design, studies, source)
        blocks = family.blocks()
        once = resample(Strata.of_units(family.prompts(True)), draws, 1)
        plain = once.interval(0.95, expand=False)
        twice = two_levels(blocks, draws, source)
        ours = once.interval(0.95)
        widths = [float((high - low).mean()) for low, high in (plain, twice, ours)]
        rows.append([f"{p} x {s}", *(percent(100 * float(holds(ends, truth).mean())) for ends in (plain, twice, ours)),
                     *(f"{width:.3f}" for width in widths)])  # fmt: skip
    head = ("prompts x seeds", "prompts drawn, plain BCa", "both drawn, percentile", "ours", "width", "width", "width")
    table(head, rows)


def two_levels(blocks: Array, draws: int, source: np.random.Generator) -> tuple[Array, Array]:
    """Return percentile intervals of a bootstrap that draws prompts and, within each, seeds, both with replacement."""
    prompts, seeds = blocks.shape[1:]
    weights = np.zeros((draws, prompts * seeds))
    for row in range(draws):
        chosen = source.integers(0, prompts, prompts)
        units = chosen[:, None] * seeds + source.integers(0, seeds, (prompts, seeds))
        weights[row] = np.bincount(units.ravel(), minlength=prompts * seeds) / (prompts * seeds)
    found = blocks.reshape(len(blocks), -1) @ weights.T
    low, high = np.quantile(found, [0.025, 0.975], axis=1)
    return low, high


ODD = "best one lopsided"
BEST_SIZES = [(4, 12, 2, True), (12, 3, 4, True), (12, 12, 4, True), (12, 20, 2, True), (4, 3, 4, False)]
Truth = tuple[str, Callable[[int], Array]]


def best(studies: int, draws: int) -> None:
    """Who may be the best: how often the true best stays, and how many settings are left; few draws are enough."""
    truths: list[Truth] = [("alike", lambda n: np.zeros(n)), ("three", lambda n: np.where(np.arange(n) < 3, 0.0, -2.0)),
              ("steps", lambda n: np.linspace(1.5, 0.0, n))]  # fmt: skip
    stays = [word for name, _ in truths for word in (f"{name}: best stays", "left")]
    head = ("settings", "prompts x seeds", "units", "effects", *stays)
    sizes = ((size, shape) for size in BEST_SIZES for shape in (*SHAPES, ODD))
    designs = (Design(p, s, n, shape, paired=paired) for (n, p, s, paired), shape in sizes)
    judged = ((one, [left(one, f(one.settings), studies, draws) for _, f in truths]) for one in designs)
    table(head, (best_row(*pair) for pair in judged))


def best_row(design: Design, found: Sequence[tuple[float, float]]) -> list[str]:
    """Return one row of that table."""
    name, units = f"{design.prompts} x {design.seeds}", design.units + ("" if design.paired else ", unpaired")
    return [str(design.settings), name, units, design.shape, *(f"{value:.1f}" for pair in found for value in pair)]


def left(design: Design, effects: Array, studies: int, draws: int) -> tuple[float, float]:
    """Return how often (in percent) the first setting, none above it, may be the best, and how many may."""
    source, seeds = np.random.default_rng(7), design.units == "seeds"
    method = Method(design.units, design.paired, 1 - ALPHA, min(draws, 300), 0)  # type: ignore[arg-type]
    count, stays, size = design.settings, 0, 0
    for at in range(studies):
        shape = "normal" if design.shape == ODD else design.shape
        noise = shaped(source, shape if seeds else "normal", (count, design.prompts, design.seeds))
        between = shaped(source, shape, (count, design.prompts, 1))
        if design.shape == ODD:
            odd = noise if seeds else between
            odd[0] = shaped(source, "skewed", odd[0].shape) * (1 if at % 4 < 2 else -1)
        known = effects[:, None, None] + (NOISE * noise + (0.0 if seeds else BETWEEN) * between) / math.sqrt(2)
        reference = 0 if at % 2 else count - 1
        others = [k for k in range(count) if k != reference]
        second = np.broadcast_to(known[reference], (count - 1, *known.shape[1:]))
        names = ("",) * (count - 1)
        judged = compare(Family(names, names, known[others][:, None], second[:, None]), method)
        order = tuple(np.argsort(-known.mean(axis=(1, 2))).tolist())
        chosen = contenders(known, order, method, list(zip(others, judged, strict=True)))
        stays, size = stays + (0 in chosen), size + len(chosen)
    return 100 * stays / studies, size / studies


PARTS = {"coverage": coverage, "families": families, "naive": naive, "unpaired": unpaired, "best": best}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables of docs/comparing_statistics.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies of each design")
    parser.add_argument("--draws", type=int, default=2000, help="bootstrap draws of each analysis")
    parser.add_argument("--only", choices=PARTS, help="one table instead of all")
    args = parser.parse_args(argv)
    for name, part in PARTS.items():
        if args.only in (None, name):
            start = time.process_time()
            print(f"## {name}")
            part(args.studies, args.draws)
            print(
                f"{args.studies} studies, {args.draws} draws, {time.process_time() - start:.0f} s of processor time.\n"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
