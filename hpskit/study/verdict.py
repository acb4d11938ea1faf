"""Words for what a study shows: the headline and the warnings, for people who do not read statistics."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .records import CLEAR, LEANING, Analysis, Comparison, Study

Array = NDArray[np.float64]


def points(value: float) -> str:
    """Return a difference with its sign: "+0.62"."""
    return f"{value:+.2f}"


def span(comparison: Comparison) -> str:
    """Return the interval that goes with the verdict: "[0.31, 0.95]"."""
    return f"[{comparison.adjusted.low:.2f}, {comparison.adjusted.high:.2f}]"


def headline(study: Study, found: Analysis) -> str:
    """Return the verdict in one or two sentences."""
    ranked = sorted(found.comparisons, key=lambda one: -one.difference if math.isfinite(one.difference) else math.inf)
    reference = study.settings[study.reference].label
    best = ranked[0]
    if best.verdict == CLEAR and best.difference > 0:
        return f"{best.label} is clearly better than {reference}: {points(best.difference)} points {span(best)}."
    if best.verdict == LEANING and best.difference > 0:
        return f"{best.label} leans above {reference}: {points(best.difference)} points {span(best)}, but not clearly."
    return f"No evidence of any difference from {reference}."


def warnings_of(study: Study, found: Analysis, scores: Array) -> tuple[str, ...]:
    """Return what a reader must know before believing the figures."""
    return ()
