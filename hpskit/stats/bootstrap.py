"""Confidence intervals of means of paired differences: BCa bootstrap over units, safe for small samples.

The units are what a repetition of the study would draw afresh: prompts (one stratum), or the seeds within each prompt
(a stratum a prompt). Where prompts are drawn, the seeds of a drawn prompt stay as they are: the means of the prompts
already contain the variance between seeds, and drawing seeds again would count it twice (Davison & Hinkley 1997,
section 3.8; Ren et al. 2010). All comparisons of a study share the same draws, so that many of them cost one product of
matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lazy import special

Array = NDArray[np.float64]

RESOLVED = 5.0
"""Draws that must lie beyond a bootstrap quantile before it is believed; Student's t answers alone otherwise."""
ENOUGH_FREEDOM = 7
"""Degrees of freedom from which on the bootstrap knows more of the shape than Student's t (eight prompts)."""


@dataclass(frozen=True)
class Strata:
    """Values of several comparisons in strata, and how the means of the strata add up to the estimate.

    `values` is [comparisons, strata, units], NaN where a unit is missing; `weights` is [comparisons, strata] and 0 for
    strata that a comparison does not use. The estimate is the weighted sum of the strata's means.
    """

    values: Array
    weights: Array

    @classmethod
    def of_units(cls, values: Array) -> Strata:
        """Return one stratum of units, values [comparisons, units]: the estimate is their mean."""
        used = np.isfinite(values).any(axis=1, keepdims=True)
        return cls(values[:, None, :], used.astype(float))

    @classmethod
    def of_groups(cls, values: Array) -> Strata:
        """Return equally weighted strata, values [comparisons, strata, units]: the mean over strata of their means."""
        used = np.isfinite(values).any(axis=2)
        return cls(values, used / np.maximum(used.sum(axis=1, keepdims=True), 1))

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which units count, [comparisons, strata, units]."""
        return np.asarray(np.isfinite(self.values) & (self.weights != 0)[:, :, None])

    @property
    def counts(self) -> Array:
        """Units in each stratum, [comparisons, strata]."""
        return np.asarray(self.present.sum(axis=2), dtype=float)

    @property
    def means(self) -> Array:
        """Means of the strata, [comparisons, strata]; 0 where one is empty."""
        total = np.where(self.present, self.values, 0.0).sum(axis=2)
        return np.asarray(total / np.maximum(self.counts, 1))

    @property
    def residuals(self) -> Array:
        """Deviations from the means of the strata, 0 where missing; rounding errors of equal values are removed."""
        raw = np.where(self.present, self.values - self.means[:, :, None], 0.0)
        size = np.abs(np.where(self.present, self.values, 0.0)).max(axis=(1, 2), initial=0.0)
        return np.where(np.abs(raw) <= 1e-12 * size[:, None, None], 0.0, raw)

    @property
    def estimates(self) -> Array:
        """The weighted sums of the means, [comparisons]; NaN where there is no unit."""
        some = self.present.any(axis=(1, 2))
        return np.where(some, (self.weights * self.means).sum(axis=1), np.nan)

    @property
    def terms(self) -> Array:
        """What each unit adds to the estimate, [comparisons, strata * units]; 0 where missing."""
        share = self.weights / np.maximum(self.counts, 1)
        return np.where(self.present, self.values * share[:, :, None], 0.0).reshape(len(self.values), -1)


@dataclass(frozen=True)
class Spread:
    """Standard error of the estimates of some strata; arrays over the comparisons."""

    sd: Array
    """Between the units of a stratum, pooled; NaN where no stratum has two units."""
    error: Array
    """Unbiased standard error of the estimate; NaN as above."""
    freedom: Array
    """Degrees of freedom of `sd`."""
    effective: Array
    """Those of `error`: fewer where the strata vary differently (Satterthwaite, corrected for few units each)."""
    shrinkage: Array
    """How much wider the estimate is spread than its plain bootstrap, >= 1: sqrt(n / (n - 1)) for one stratum."""


def spread(strata: Strata) -> Spread:
    """Return the standard errors; a stratum of one unit borrows the pooled variance of the others."""
    counts, used = strata.counts, strata.weights != 0
    squares = (strata.residuals**2).sum(axis=2)
    freedom = np.where(used, np.maximum(counts - 1, 0), 0).sum(axis=1)
    pooled = np.where(freedom > 0, squares.sum(axis=1) / np.maximum(freedom, 1), np.nan)
    variance = np.where(counts > 1, squares / np.maximum(counts - 1, 1), pooled[:, None])
    safe = np.maximum(counts, 1)
    shares = np.where(used & (freedom > 0)[:, None], strata.weights**2 * variance / safe, 0.0)
    whole, plain = shares.sum(axis=1), (strata.weights**2 * squares / safe**2).sum(axis=1)
    ratio = np.divide(whole, plain, out=np.ones_like(whole), where=plain > 0)
    own = np.where(counts > 1, counts - 1, freedom[:, None])
    effective = _effective(shares, own, freedom)
    return Spread(np.sqrt(pooled), np.where(freedom > 0, np.sqrt(whole), np.nan), freedom, effective, np.sqrt(ratio))


def _effective(shares: Array, own: Array, freedom: Array) -> Array:
    """Return Satterthwaite's degrees of freedom with Welch's correction (+ 2 within, - 2 outside), unbiased for few."""
    squares = (shares**2 / (own + 2)).sum(axis=1)
    found = np.divide(shares.sum(axis=1) ** 2, squares, out=freedom + 2, where=squares > 0) - 2
    return np.asarray(np.clip(found, np.minimum(1, freedom), freedom))


@dataclass(frozen=True)
class Resampled:
    """Bootstrap distributions of several estimates; arrays over the comparisons."""

    estimates: Array
    draws: Array
    """Sorted, [comparisons, draws]."""
    bias: Array
    """z0 of BCa."""
    acceleration: Array
    spread: Spread

    def interval(self, confidence: Array | float, *, expand: bool = True) -> tuple[Array, Array]:
        """Return the ends of the intervals at one confidence each.

        With `expand`: BCa whose normal quantiles give way to those of Student's t times the shrinkage (Hesterberg
        2015), and at each end the wider of that and the t interval. The first follows skewed effects, the second heavy
        tails; each alone misses the other. With fewer than 8 units, or where the draws do not reach far enough into
        the tail, t alone. Without `expand`: plain BCa. Unbounded where nothing is known of the spread, a point where
        all units are equal.
        """
        level = np.broadcast_to(np.asarray(confidence, dtype=float), self.estimates.shape)
        if not expand:
            normal = special().ndtri((1 + level) / 2)
            return self._bounded(self._quantile(-normal), self._quantile(normal))
        student = special().stdtrit(np.maximum(self.spread.effective, 1), (1 + level) / 2)
        half, reach = student * self.spread.error, student * self.spread.shrinkage
        resolved = special().ndtr(-reach) * self.draws.shape[1] >= RESOLVED
        known = resolved & (self.spread.freedom >= ENOUGH_FREEDOM)
        low, high = self.estimates - half, self.estimates + half
        return self._bounded(
            np.where(known, np.minimum(low, self._quantile(-reach)), low),
            np.where(known, np.maximum(high, self._quantile(reach)), high),
        )

    def _quantile(self, z: Array) -> Array:
        shifted = self.bias + z
        slope = 1 - self.acceleration * shifted
        level = special().ndtr(self.bias + shifted / np.where(slope > 0, slope, 1.0))
        level = np.where(slope > 0, level, (z > 0).astype(float))
        last = self.draws.shape[1] - 1
        place = np.clip(level, 0.0, 1.0) * last
        below = np.minimum(place.astype(int), last)
        rows = np.arange(len(self.draws))
        first, second = self.draws[rows, below], self.draws[rows, np.minimum(below + 1, last)]
        return np.asarray(first + (place - below) * (second - first))

    def _bounded(self, low: Array, high: Array) -> tuple[Array, Array]:
        unknown = ~(self.spread.freedom > 0) | np.isnan(self.estimates)
        point = self.spread.error == 0
        low = np.where(unknown, -np.inf, np.where(point, self.estimates, low))
        high = np.where(unknown, np.inf, np.where(point, self.estimates, high))
        return low, high


def resample(strata: Strata, draws: int = 4000, seed: int = 0) -> Resampled:
    """Draw the units of every stratum again and again, with replacement; deterministic for a seed."""
    counts = np.maximum(strata.counts, 1)
    residuals = strata.residuals
    cubes = (strata.weights**3 * (residuals**3).sum(axis=2) / counts**3).sum(axis=1)
    squares = (strata.weights**2 * (residuals**2).sum(axis=2) / counts**2).sum(axis=1)
    acceleration = np.divide(cubes, 6 * squares**1.5, out=np.zeros_like(cubes), where=squares > 0)
    deviations = _deviations(strata, draws, seed)
    size = 1e-12 * (np.abs(deviations).max(axis=1, initial=0.0, keepdims=True) + 1e-300)
    below = ((deviations < -size) + 0.5 * (np.abs(deviations) <= size)).mean(axis=1)
    bias = special().ndtri(np.clip(below, 0.5 / draws, 1 - 0.5 / draws))
    estimates = strata.estimates
    return Resampled(estimates, np.sort(deviations, axis=1) + estimates[:, None], bias, acceleration, spread(strata))


def _deviations(strata: Strata, draws: int, seed: int) -> Array:
    """Return bootstrap estimate - estimate, [comparisons, draws]; comparisons with the same units share the draws."""
    present = strata.present.reshape(len(strata.values), -1)
    shape = strata.values.shape[1:]
    parts = strata.residuals * (strata.weights / np.maximum(strata.counts, 1))[:, :, None]
    parts = parts.reshape(len(strata.values), -1)
    found = np.zeros((len(strata.values), draws))
    patterns, which = np.unique(present, axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
        if pattern.any():
            rows = which.reshape(-1) == k
            found[rows] = parts[rows] @ _multiplicities(pattern.reshape(shape), draws, seed).T
    return found


def _multiplicities(present: NDArray[np.bool_], draws: int, seed: int) -> Array:
    """Return how often each unit is drawn, [draws, strata * units]."""
    source = np.random.default_rng(seed)
    counted = np.zeros((draws, present.size))
    width = present.shape[1]
    row = np.arange(draws)[:, None]
    for stratum, mask in enumerate(present):
        units = np.flatnonzero(mask)
        if len(units):
            drawn = source.integers(0, len(units), (draws, len(units)))
            times = np.bincount((drawn + row * len(units)).ravel(), minlength=draws * len(units))
            counted[:, stratum * width + units] = times.reshape(draws, len(units))
    return counted
