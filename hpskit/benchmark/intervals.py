"""Bootstrap over prompts: how far a mean would move if other prompts like these had been asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ..study.records import Interval

DRAWS: Final = 4000
CONFIDENCE: Final = 0.95
_AT_ONCE: Final = 1 << 20
"""Drawn positions that are held in memory at once."""


def resampled_sums(columns: Any, rng: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Return the sums [draws, k] of columns [n, k] over n rows drawn with replacement, the same rows for all."""
    values = np.asarray(columns, dtype=np.float64)
    n = len(values)
    found = np.empty((draws, values.shape[1]))
    step = max(_AT_ONCE // max(n, 1), 1)
    for start in range(0, draws, step):
        rows = rng.integers(0, n, size=(min(step, draws - start), n))
        found[start : start + len(rows)] = values[rows].sum(axis=1)
    return found


def percentile_interval(drawn: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Return the middle part of what was drawn; NaN where a draw has no value."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(low), float(high))


UNKNOWN: Final = Interval(math.nan, math.nan)


def interval_of_strata(strata: Sequence[Sequence[float]], seed: int = 0, draws: int = DRAWS) -> Interval:
    """Return the interval of the mean over all values, where each stratum (style) is drawn for itself.

    UNKNOWN when a stratum has fewer than two values: there is nothing to draw from.
    """
    if not strata or any(len(values) < 2 for values in strata):
        return UNKNOWN
    rng = np.random.default_rng(seed)
    total = sum(resampled_sums(np.asarray(values)[:, None], rng, draws)[:, 0] for values in strata)
    return percentile_interval(np.asarray(total) / sum(map(len, strata)))
