"""Families of comparisons: which scores stand against which, and what the tests say of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..stats.bootstrap import Spread, Strata, resample, spread
from ..stats.multiple import holm, holm_levels
from ..stats.pairwise import win_interval, wins
from ..stats.permutation import relabel, sign_flip, smallest_p, smallest_relabel_p
from ..stats.planning import clear_difference, pairs_needed
from .records import CLEAR, LEANING, NO_EVIDENCE, Comparison, Interval, Units, Verdict

Array = NDArray[np.float64]

LEANING_P = 0.10


@dataclass(frozen=True)
class Method:
    """How the comparisons of a study are judged."""

    units: Units
    paired: bool
    """Whether one seed means the same noise on both sides."""
    confidence: float
    draws: int
    seed: int


@dataclass(frozen=True)
class Family:
    """Comparisons that are made together, and corrected for that.

    `first` and `second` are [comparisons, combinations, prompts, seeds] with NaN where a score is missing: a comparison
    of two settings has one combination, that of two values of an axis one for each combination of the other axes.
    """

    labels: tuple[str, ...]
    against: tuple[str, ...]
    first: Array
    second: Array

    def blocks(self) -> Array:
        """Return the mean difference of each block, [comparisons, prompts, seeds]; NaN where one side is missing."""
        return mean_of(self.first - self.second, 1)

    def prompts(self, paired: bool) -> Array:
        """Return the mean difference of each prompt, [comparisons, prompts]."""
        if paired:
            return mean_of(self.blocks(), 2)
        return mean_of(mean_of(self.first, 3) - mean_of(self.second, 3), 1)

    def flat(self) -> tuple[Array, Array]:
        """Return both sides as [comparisons, combinations * prompts, seeds]."""
        shape = (len(self.first), -1, self.first.shape[3])
        return self.first.reshape(shape), self.second.reshape(shape)


def mean_of(values: Array, axis: int) -> Array:
    """Return the mean of what is there; NaN, without a warning, where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=axis)) if values.shape[axis] else values.sum(axis=axis) + np.nan


def strata_of(family: Family, method: Method) -> Strata:
    """Return the units of the analysis with the estimate they make."""
    if method.units == "prompts":
        return Strata.of_units(family.prompts(method.paired))
    if method.paired:
        return Strata.of_groups(family.blocks())
    first, second = family.flat()
    both = np.isfinite(first).any(axis=2) & np.isfinite(second).any(axis=2)
    share = both / np.maximum(both.sum(axis=1, keepdims=True), 1)
    return Strata(np.concatenate([first, second], axis=1), np.concatenate([share, -share], axis=1))


def p_values(family: Family, method: Method) -> Array:
    """Return the p-value of each comparison, not corrected."""
    if method.units == "seeds" and not method.paired:
        return relabel(*family.flat(), seed=method.seed)
    return sign_flip(strata_of(family, method).terms, seed=method.seed)


def p_above(family: Family, method: Method) -> Array:
    """Return the one-sided p-values, not corrected: how far chance alone would put the first side above the second."""
    if method.units == "seeds" and not method.paired:
        return relabel(*family.flat(), seed=method.seed, one_sided=True)
    terms = strata_of(family, method).terms  # every pattern of signs has its mirror image, so that half of p is exact
    return np.where(terms.sum(axis=1) > 0, sign_flip(terms, seed=method.seed) / 2, 1.0)


def win_strata(family: Family, method: Method) -> Strata:
    """Return the share of blocks that the first side wins, ties half, by the units of the analysis.

    Of seeds that are not paired every one meets every one of the other side within its prompt; these have one unit a
    stratum, whose spread is unknown.
    """
    if method.paired:
        won = wins(family.blocks())
        return Strata.of_groups(won) if method.units == "seeds" else Strata.of_units(mean_of(won, 2))
    first, second = family.flat()
    pairs = wins(first[:, :, :, None] - second[:, :, None, :])
    won = mean_of(pairs.reshape(*first.shape[:2], -1), 2)
    if method.units == "seeds":
        return Strata.of_groups(won[:, :, None])
    return Strata.of_units(mean_of(won.reshape(family.first.shape[:3]), 1))


def pair_counts(family: Family, method: Method) -> Array:
    """Return how many blocks both sides have; of unpaired sides the smaller number within each prompt."""
    if method.paired:
        return np.asarray(np.isfinite(family.blocks()).sum(axis=(1, 2)), dtype=float)
    first, second = family.flat()
    fewer = np.minimum(np.isfinite(first).sum(axis=2), np.isfinite(second).sum(axis=2))
    return np.asarray(fewer.sum(axis=1), dtype=float)


def verdict_of(p: float, p_adjusted: float, adjusted: Interval, confidence: float) -> Verdict:
    """Return the word for a comparison."""
    if p_adjusted <= 1 - confidence + 1e-12 and adjusted.excludes():
        return CLEAR
    return LEANING if p <= LEANING_P + 1e-12 else NO_EVIDENCE


def compare(family: Family, method: Method, parts: Mapping[str, Array] | None = None) -> tuple[Comparison, ...]:
    """Return every comparison of a family; `parts` are its mean differences by other scorers, [comparisons] each."""
    if not family.labels:
        return ()
    drawn = resample(strata_of(family, method), method.draws, method.seed)
    p = p_values(family, method)
    adjusted = holm(p)
    single = drawn.interval(method.confidence)
    wide = drawn.interval(1 - holm_levels(p, 1 - method.confidence))
    prompts = np.isfinite(family.prompts(method.paired)).sum(axis=1)
    pairs = pair_counts(family, method)
    won = win_strata(family, method)
    units = prompts.astype(float) if method.units == "prompts" else pairs
    rates = won.estimates, *win_interval(won.estimates, spread(won), units, pairs, method.confidence)
    power = _power(family, method, drawn.spread, drawn.estimates)
    made = []
    for c, label in enumerate(family.labels):
        interval = Interval(float(single[0][c]), float(single[1][c]))
        outer = Interval(min(float(wide[0][c]), interval.low), max(float(wide[1][c]), interval.high))
        made.append(
            Comparison(
                label=label,
                against=family.against[c],
                difference=float(drawn.estimates[c]),
                interval=interval,
                adjusted=outer,
                p=float(p[c]) if pairs[c] else math.nan,
                p_adjusted=float(adjusted[c]) if pairs[c] else math.nan,
                verdict=verdict_of(float(p[c]), float(adjusted[c]), outer, method.confidence),
                wins=float(rates[0][c]),
                wins_interval=Interval(float(rates[1][c]), float(rates[2][c])),
                prompts=int(prompts[c]),
                pairs=int(pairs[c]),
                sd=float(drawn.spread.sd[c]),
                detectable=power[c][0],
                pairs_needed=power[c][1],
                parts={name: float(values[c]) for name, values in (parts or {}).items()},
            )
        )
    return tuple(made)


def smallest_possible(family: Family, method: Method) -> Array:
    """Return the smallest p-value that the test of each comparison can give at all, [comparisons]."""
    if method.units == "seeds" and not method.paired:
        return smallest_relabel_p(*family.flat())
    return np.array([smallest_p(int(count)) for count in strata_of(family, method).counts.sum(axis=1)])


def _power(family: Family, method: Method, known: Spread, estimates: Array) -> Sequence[tuple[float, int | None]]:
    """Return what each comparison would detect and the blocks it needs, at the strictest level of its family."""
    pairs = pair_counts(family, method)
    units = np.isfinite(family.prompts(method.paired)).sum(axis=1) if method.units == "prompts" else pairs
    count = len(estimates)
    strict = 1 - (1 - method.confidence) / count
    hopeless = smallest_possible(family, method) * count > (1 - method.confidence) * (1 + 1e-9)
    found = []
    for c in range(count):
        error, many = float(known.error[c]), max(float(units[c]), 1.0)
        steps = int(many) if method.paired or method.units == "prompts" else 2 * int(many)  # relabelling has more ways
        seen = clear_difference(error, steps, int(known.freedom[c]), count, confidence=method.confidence)
        needed = pairs_needed(error * np.sqrt(many), float(estimates[c]), confidence=strict)
        blocks = None if needed is None else int(np.ceil(needed * pairs[c] / many - 1e-9))
        found.append((np.inf if hopeless[c] else float(seen), blocks))
    return found
