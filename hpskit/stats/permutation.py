"""Permutation tests: how often chance alone, without any difference between the settings, does as much as was seen.

Every test here is two-sided and handles ties with a tolerance, so that equal sums in another order count as equal.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EXACT_UNITS = 16
"""Up to this many units every pattern of signs is looked at."""
EXACT_LABELLINGS = 2**16
FLIPS = 10_000
TOLERANCE = 1e-9
"""Two sums that differ by less, in relation to the sum of absolute terms, are ties."""
CHUNK = 4_000_000
"""Sums held at a time."""


def sign_flip(terms: Array, *, flips: int = FLIPS, seed: int = 0) -> Array:
    """Return the p-values of the sign-flip test, [comparisons].

    `terms` is [comparisons, units]: what each unit adds to the estimate, 0 (or NaN) where it is missing. Without a
    difference each term is as likely as its negative. Exact up to 16 units; else `flips` random patterns, where the
    observed one counts as one more: (b + 1) / (m + 1). A comparison without units, or with zeros only, has p = 1.
    """
    known = np.nan_to_num(np.asarray(terms, dtype=float))
    units = np.flatnonzero((known != 0).any(axis=0))
    known = known[:, units]
    if len(units) <= EXACT_UNITS:
        return _share(known, _all_signs(len(units)))
    random = np.random.default_rng(seed).integers(0, 2, (flips, len(units)), dtype=np.int8)
    return (_share(known, (2 * random - 1).astype(np.float64)) * flips + 1) / (flips + 1)


def smallest_p(units: int) -> float:
    """Return the smallest p-value that the sign-flip test can give: 2 / 2^units, as far as it is exact."""
    return min(1.0, 2.0 / 2.0**units) if units <= EXACT_UNITS else 1.0 / (FLIPS + 1)


def _all_signs(units: int) -> Array:
    """Return every pattern of signs up to the sign of all, [2^(units - 1), units]."""
    if units == 0:
        return np.zeros((1, 0))
    numbers = np.arange(2 ** (units - 1))[:, None]
    return np.asarray(np.where(numbers >> np.arange(units) & 1, -1.0, 1.0), dtype=np.float64)


def _share(terms: Array, signs: Array) -> Array:
    """Return the share of the patterns whose sum is at least as far from zero as the observed one."""
    limit = np.abs(terms.sum(axis=1)) - TOLERANCE * np.abs(terms).sum(axis=1)
    at_once = max(1, CHUNK // max(len(signs), 1))
    parts = [
        (np.abs(terms[k : k + at_once] @ signs.T) >= limit[k : k + at_once, None]).mean(axis=1)
        for k in range(0, len(terms), at_once)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def relabel(first: Array, second: Array, *, shuffles: int = FLIPS, seed: int = 0) -> Array:
    """Return the p-values of the two-sample test within prompts, [comparisons], for seeds that are not paired.

    `first` and `second` are [comparisons, prompts, seeds] with NaN where a score is missing. Within every prompt that
    both sides have, the scores are dealt out again; the statistic is the mean over the prompts of the difference of
    the means. Exact up to 65,536 ways to deal, else `shuffles` random ones with (b + 1) / (m + 1).
    """
    here, there = np.isfinite(first), np.isfinite(second)
    both = np.asarray(here.any(axis=2) & there.any(axis=2))
    masks = np.concatenate([here & both[:, :, None], there & both[:, :, None]], axis=2)
    pooled = np.concatenate([first, second], axis=2)
    patterns, which = np.unique(masks.reshape(len(masks), -1), axis=0, return_inverse=True)
    found = np.ones(len(masks))
    for k, pattern in enumerate(patterns):
        if pattern.any():
            rows = which.reshape(-1) == k
            mask = pattern.reshape(masks.shape[1:])
            used = np.flatnonzero(mask.any(axis=1))
            sizes = mask[used, : first.shape[2]].sum(axis=1)
            groups = [_Group(pooled[rows, p][:, mask[p]], int(n)) for p, n in zip(used, sizes, strict=True)]
            found[rows] = _relabelled(groups, shuffles, seed)
    return found


def smallest_relabel_p(first: Array, second: Array) -> Array:
    """Return the smallest p-value that `relabel` can give for each comparison; arguments as there."""
    ours, theirs = np.isfinite(first).sum(axis=2), np.isfinite(second).sum(axis=2)
    found = np.ones(len(ours))
    for c in range(len(ours)):
        pairs = [(int(a), int(b)) for a, b in zip(ours[c], theirs[c], strict=True) if a and b]
        ways = math.prod(math.comb(a + b, a) for a, b in pairs)
        mirrored = 2 if pairs and all(a == b for a, b in pairs) else 1
        found[c] = min(1.0, mirrored / ways) if ways <= EXACT_LABELLINGS else 1.0 / (FLIPS + 1)
    return found


def _relabelled(groups: Sequence[_Group], shuffles: int, seed: int) -> Array:
    count = len(groups[0].values)
    observed = sum(group.observed for group in groups)
    limit = np.abs(observed) - TOLERANCE * sum(np.abs(group.values).sum(axis=1) for group in groups)
    if math.prod(group.ways for group in groups) <= EXACT_LABELLINGS:
        total = np.zeros((count, 1))
        for group in groups:
            total = (total[:, :, None] + (group.values @ group.all_labels.T)[:, None, :]).reshape(count, -1)
        return np.asarray((np.abs(total) >= limit[:, None]).mean(axis=1))
    source = np.random.default_rng(seed)
    total = np.zeros((count, shuffles))
    for group in groups:
        total += group.values @ group.random_labels(source, shuffles).T
    return np.asarray(((np.abs(total) >= limit[:, None]).sum(axis=1) + 1) / (shuffles + 1))


class _Group:
    """The scores of one prompt, [comparisons, scores]; the first `size` are one side's."""

    def __init__(self, values: Array, size: int) -> None:
        self.values = values - values.mean(axis=1, keepdims=True)  # a common shift changes nothing but rounding
        self.size = size
        self.count = values.shape[1]
        self.ways = math.comb(self.count, size)

    @property
    def _labels(self) -> tuple[float, float]:
        return 1.0 / self.size, -1.0 / (self.count - self.size)

    @property
    def observed(self) -> Array:
        ours, theirs = self._labels
        return np.asarray(
            self.values[:, : self.size].sum(axis=1) * ours + self.values[:, self.size :].sum(axis=1) * theirs
        )

    @property
    def all_labels(self) -> Array:
        ours, theirs = self._labels
        made = np.full((self.ways, self.count), theirs)
        for row, chosen in enumerate(itertools.combinations(range(self.count), self.size)):
            made[row, list(chosen)] = ours
        return made

    def random_labels(self, source: np.random.Generator, shuffles: int) -> Array:
        ours, theirs = self._labels
        drawn = source.random((shuffles, self.count), dtype=np.float32)
        limit = np.partition(drawn, self.size - 1, axis=1)[:, self.size - 1 : self.size]
        labels = np.where(drawn <= limit, ours, theirs)
        twins = (drawn <= limit).sum(axis=1) != self.size  # two equal random numbers: dealt again, by their order
        labels[twins] = np.where(drawn[twins].argsort(axis=1).argsort(axis=1) < self.size, ours, theirs)
        return labels
