"""Many comparisons at once: Holm's procedure, for p-values and for the levels of the intervals that go with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def holm(p: Array) -> Array:
    """Return Holm's adjusted p-values, at most 1: they control the chance of any false finding among all."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = np.arange(len(values), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(values[order] * steps), 1.0)
    found = np.empty_like(adjusted)
    found[order] = adjusted
    return found


def holm_levels(p: Array, alpha: float) -> Array:
    """Return the error rate of each comparison's interval: alpha / (m - k + 1) for the k-th smallest p-value.

    Equal p-values take the strictest level of theirs, and all that come after the first comparison that fails keep its
    level, since Holm's procedure stops there; so an adjusted p-value and its interval speak of the same error rate.
    """
    values = np.asarray(p, dtype=float)
    count = len(values)
    ordered = np.sort(values)
    steps = np.arange(count, 0, -1)
    fails = np.flatnonzero(ordered * steps > alpha)
    place = np.searchsorted(ordered, values, side="left")
    if len(fails):
        place = np.minimum(place, np.searchsorted(ordered, ordered[fails[0]], side="left"))
    return np.asarray(alpha / (count - place))
