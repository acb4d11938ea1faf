"""Statistics of pools (best of N) and of comparisons: plain numbers in, frozen results out; knows no image."""

from __future__ import annotations

from .pools import (
    Summary,
    expected_improvement,
    expected_maximum,
    gaussian_expected_maximum,
    mean,
    quantile,
    selection_pressure,
    standard_deviation,
    summary,
    win_probability,
)

__all__ = [
    "Summary",
    "expected_improvement",
    "expected_maximum",
    "gaussian_expected_maximum",
    "mean",
    "quantile",
    "selection_pressure",
    "standard_deviation",
    "summary",
    "win_probability",
]
