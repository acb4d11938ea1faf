"""Scores of one block that differ by rounding alone are made equal: arithmetic is no evidence.

The same image scored in another batch, or sampled beside other seeds, moves in its last digits. Two settings that make
the same images would otherwise differ by thousandths, and the tests, which know no units, could call that a result.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TOLERANCE: Final = {"float32": 8e-5, "float16": 8e-4, "bfloat16": 4e-3}
"""What rounding may make, as a share of the typical size of a score, by the scorer's compute type. For HPS v2, around
25 points, that is .002, .02 and .1 points, where a standard deviation between seeds is about .8."""


def without_rounding(scores: Array, dtype: str) -> Array:
    """Return scores [settings, prompts, seeds] with those of a block that lie within rounding at their common mean.

    Neighbours count as equal when no gap between them is larger than the tolerance of the compute type; the others stay
    as they are, to the bit. NaN stays.
    """
    if not np.isfinite(scores).any():
        return scores
    typical = float(np.median(np.abs(scores[np.isfinite(scores)])))
    tolerance = TOLERANCE.get(dtype, TOLERANCE["float32"]) * typical
    ordered = np.sort(scores, axis=0)
    with np.errstate(invalid="ignore"):
        gaps = np.diff(ordered, axis=0)
        close = ((gaps > 0) & (gaps <= tolerance)).any(axis=0)
    settled: Array = scores.copy()
    for prompt, seed in np.argwhere(close):
        settled[:, prompt, seed] = _merged(scores[:, prompt, seed], tolerance)
    return settled


def _merged(values: Array, tolerance: float) -> Array:
    order = np.argsort(values)  # NaN comes last
    known = order[: int(np.isfinite(values).sum())]
    cuts = np.flatnonzero(np.diff(values[known]) > tolerance) + 1
    merged: Array = values.copy()
    for group in np.split(known, cuts):
        if len(group) > 1:
            merged[group] = values[group].mean()
    return merged
