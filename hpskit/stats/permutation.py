"""Permutation tests: how often chance alone, without any difference between the settings, does as much as was seen.

Every test here is two-sided and handles ties with a tolerance, so that equal sums in another order count as equal.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EXACT_UNITS = 16
"""Up to this many units every pattern of signs is looked at."""
EXACT_LABELLINGS = 2**16
FLIPS = 10_000
TOLERANCE = 1e-9
"""Two sums that differ by less, in relation to the sum of absolute terms, are ties."""
TIES = 1e-7
"""The same for two studentised differences, absolute and relative."""
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


def relabel(first: Array, second: Array, *, shuffles: int = FLIPS, seed: int = 0, one_sided: bool = False) -> Array:
    """Return the p-values of the two-sample test within prompts, [comparisons], for seeds that are not paired.

    `first` and `second` are [comparisons, prompts, seeds] with NaN where a score is missing. Within every prompt that
    both sides have, the scores are dealt out again; the statistic is the mean over the prompts of the difference of
    the means, divided by its standard error with a variance for each side (Janssen 1997): without that, sides of
    unequal number and spread look different when they are not. Exact up to 65,536 ways to deal, else `shuffles` random
    ones with (b + 1) / (m + 1). `one_sided` asks only whether the first side is above.
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
            found[rows] = _relabelled(groups, shuffles, seed, one_sided)
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


def _relabelled(groups: Sequence[_Group], shuffles: int, seed: int, one_sided: bool) -> Array:
    exact = math.prod(group.ways for group in groups) <= EXACT_LABELLINGS
    source = np.random.default_rng(seed)
    dealt = [group.all_deals if exact else group.random_deals(source, shuffles) for group in groups]
    ways = math.prod(map(len, dealt)) if exact else shuffles
    at_once = max(1, CHUNK // (3 * ways))
    rows = range(0, len(groups[0].values), at_once)
    parts = [_as_far([g.rows(k, k + at_once) for g in groups], dealt, exact, one_sided) for k in rows]
    count = np.concatenate(parts)
    return np.asarray(count / ways if exact else (count + 1) / (shuffles + 1))


def _as_far(groups: Sequence[_Group], dealt: Sequence[Array], exact: bool, one_sided: bool) -> Array:
    """Return how many deals lie at least as far out as the observed one, [comparisons]."""
    observed = _added([group.parts(group.observed) for group in groups], exact=False)
    others = _added([group.parts(deals) for group, deals in zip(groups, dealt, strict=True)], exact)
    limit, found = _studentised(observed, groups), _studentised(others, groups)
    if not one_sided:
        limit, found = np.abs(limit), np.abs(found)
    return np.asarray((found >= limit - TIES * (1 + np.abs(limit))).sum(axis=1), dtype=float)


def _added(parts: Sequence[Array], exact: bool) -> Array:
    """Return the sums over the prompts, [3, comparisons, deals]; when `exact` of every deal with every other."""
    if not exact:
        return np.asarray(sum(parts[1:], start=parts[0]))
    total = parts[0]
    for part in parts[1:]:
        total = (total[..., :, None] + part[..., None, :]).reshape(*total.shape[:2], -1)
    return total


def _studentised(sums: Array, groups: Sequence[_Group]) -> Array:
    """Return difference / standard error from the sums of the prompts: differences and squares of either side.

    Each side's variance is pooled over its prompts; a side without freedom takes that of both. With no freedom at all
    the difference stands alone.
    """
    difference, *squares = sums
    freedom = [sum(size - 1 for size in sizes) for sizes in zip(*(group.sizes for group in groups), strict=True)]
    largest = np.max([np.abs(group.values).max(axis=1) for group in groups], axis=0)[:, None]
    largest = np.where(largest > 0, largest, 1.0)
    if not sum(freedom):
        return np.asarray(difference / largest)
    both = sum(squares) / sum(freedom)
    share = [sum(1 / size for size in sizes) for sizes in zip(*(group.sizes for group in groups), strict=True)]
    error = sum(w * (s / f if f else both) for w, s, f in zip(share, squares, freedom, strict=True))
    least = (TOLERANCE * largest) ** 2  # where no spread is left
    return np.asarray(difference / np.sqrt(np.maximum(error, 0.0) + least))


@dataclass(frozen=True)
class _Group:
    """The scores of one prompt, [comparisons, scores]; the first `size` are one side's."""

    scores: Array
    size: int

    @property
    def values(self) -> Array:
        """The scores around their mean: a common shift changes nothing but rounding."""
        return np.asarray(self.scores - self.scores.mean(axis=1, keepdims=True))

    def rows(self, start: int, end: int) -> _Group:
        """Return the same of some comparisons."""
        return _Group(self.scores[start:end], self.size)

    @property
    def count(self) -> int:
        return int(self.scores.shape[1])

    @property
    def sizes(self) -> tuple[int, int]:
        """Scores of either side."""
        return self.size, self.count - self.size

    @property
    def ways(self) -> int:
        """How many ways there are to deal."""
        return math.comb(self.count, self.size)

    def parts(self, deals: Array) -> Array:
        """Return difference of the means and sums of squares of either side, [3, comparisons, deals]."""
        values = self.values
        ours, theirs = self.sizes
        total, squares = values @ deals.T, values**2 @ deals.T
        rest = (values**2).sum(axis=1, keepdims=True) - squares
        return np.stack([total / ours + total / theirs, squares - total**2 / ours, rest - total**2 / theirs])

    @property
    def observed(self) -> Array:
        """Which scores are the first side's, 1 or 0, [1, scores]."""
        return np.asarray(np.arange(self.count) < self.size, dtype=float)[None]

    @property
    def all_deals(self) -> Array:
        """Every way to deal, [ways, scores]."""
        made = np.zeros((self.ways, self.count))
        for row, chosen in enumerate(itertools.combinations(range(self.count), self.size)):
            made[row, list(chosen)] = 1.0
        return made

    def random_deals(self, source: np.random.Generator, shuffles: int) -> Array:
        """Return random ways to deal, [shuffles, scores]."""
        drawn = source.random((shuffles, self.count), dtype=np.float32)
        limit = np.partition(drawn, self.size - 1, axis=1)[:, self.size - 1 : self.size]
        deals = np.where(drawn <= limit, 1.0, 0.0)
        twins = (drawn <= limit).sum(axis=1) != self.size  # two equal random numbers: dealt again, by their order
        deals[twins] = drawn[twins].argsort(axis=1).argsort(axis=1) < self.size
        return deals
