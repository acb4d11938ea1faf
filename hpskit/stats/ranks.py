"""Ranks within blocks: the sanity check that asks for the order only, not for the size of the differences."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .lazy import scipy_stats

Array = NDArray[np.float64]


def mean_ranks(scores: Array) -> Array:
    """Return the mean rank of each setting over the complete blocks, 1 is the highest score; ties share their ranks.

    `scores` is [blocks, settings] with NaN where one is missing; NaN for all when no block is complete.
    """
    complete = scores[np.isfinite(scores).all(axis=1)]
    if not len(complete):
        return np.full(scores.shape[1], np.nan)
    return np.asarray(scipy_stats().rankdata(-complete, axis=1).mean(axis=0))


def friedman(scores: Array) -> float | None:
    """Return the p-value of Friedman's test that all settings are alike, by the chi-squared approximation.

    None with fewer than three settings or fewer than two complete blocks; 1.0 when every block ties throughout.
    """
    complete = scores[np.isfinite(scores).all(axis=1)]
    if scores.shape[1] < 3 or len(complete) < 2:
        return None
    if (complete == complete[:, :1]).all():
        return 1.0
    p = float(scipy_stats().friedmanchisquare(*complete.T).pvalue)
    return p if math.isfinite(p) else 1.0
