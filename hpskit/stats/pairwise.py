"""Who beats whom: win rates with intervals, and Bradley-Terry strengths that stay finite when one always wins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .bootstrap import Spread
from .lazy import special

Array = NDArray[np.float64]

ELO: Final = 400.0 / math.log(10.0)
"""Elo points a unit of Bradley-Terry strength: 400 points are odds of ten to one."""


def wins(differences: Array) -> Array:
    """Return 1 for a positive difference, 0 for a negative one, one half for a tie, NaN for a missing one."""
    values = np.asarray(differences, dtype=float)
    return np.where(np.isnan(values), np.nan, 0.5 + 0.5 * np.sign(np.nan_to_num(values)))


def wilson(rate: Array, count: Array, confidence: Array | float) -> tuple[Array, Array]:
    """Return Wilson's interval of a share of `count` independent trials; 0..1 where there is none."""
    share, trials = np.nan_to_num(np.asarray(rate, dtype=float)), np.maximum(np.asarray(count, dtype=float), 1e-6)
    z2 = special().ndtri((1 + np.asarray(confidence)) / 2) ** 2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = np.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    some = np.asarray(count) > 0
    low, high = np.where(some, middle - half, 0.0), np.where(some, middle + half, 1.0)
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def win_interval(rate: Array, known: Spread, units: Array, pairs: Array, confidence: float) -> tuple[Array, Array]:
    """Return Wilson's interval of win rates for as many trials as the pairs are worth; arrays over the comparisons.

    Pairs of one prompt tend to go the same way, so that they count less than independent ones: their number becomes
    rate (1 - rate) / error^2 with the `known` error between the units, times the price of not knowing that error
    (normal over t quantile, squared; Korn & Graubard 1998), kept between the number of `units` and that of `pairs`.
    Where all units agree (all won, say) the trials are the units; where every pair is a unit, the pairs.
    """
    share = np.nan_to_num(np.asarray(rate, dtype=float))
    error = np.nan_to_num(known.error)
    worth = np.divide(share * (1 - share), error**2, out=np.array(units, dtype=float), where=error > 0)
    student = special().stdtrit(np.maximum(known.effective, 1), (1 + confidence) / 2)
    price = np.where((error > 0) & (units < pairs), (special().ndtri((1 + confidence) / 2) / student) ** 2, 1.0)
    return wilson(share, np.clip(worth, units, pairs) * price, confidence)


@dataclass(frozen=True)
class Strengths:
    """Bradley-Terry strengths; the chance that i beats j is sigmoid(strength_i - strength_j)."""

    strength: Array
    sd: Array
    """Of the strength above the mean of all, by Laplace's approximation; their common level is the prior's alone."""

    @property
    def elo(self) -> Array:
        """The strengths in Elo points, around 0."""
        return ELO * self.strength


def bradley_terry(won: Array) -> Strengths:
    """Fit strengths with an N(0, 1) prior to `won` [n, n]: how often i beat j, ties half to both.

    Newton's method with halved steps where one overshoots; the prior makes the maximum unique and finite whatever was
    won. The diagonal is ignored.
    """
    counted = np.array(won, dtype=float)
    np.fill_diagonal(counted, 0.0)
    games = counted + counted.T
    found = np.zeros(len(counted))
    for _ in range(100):
        gradient, curvature = _derivatives(found, counted, games)
        step = np.asarray(np.linalg.solve(curvature, gradient), dtype=np.float64)
        found = _improved(found, step, float(gradient @ step), counted)
        if gradient @ step < 1e-16 * (1 + found @ found):
            break
    covariance = np.linalg.inv(_derivatives(found, counted, games)[1])
    centred = covariance - covariance.mean(axis=0) - covariance.mean(axis=1, keepdims=True) + covariance.mean()
    return Strengths(found, np.sqrt(np.maximum(np.diag(centred), 0.0)))


def _derivatives(strength: Array, won: Array, games: Array) -> tuple[Array, Array]:
    chance = special().expit(strength[:, None] - strength[None, :])
    information = games * chance * (1 - chance)
    gradient = (won - games * chance).sum(axis=1) - strength
    return gradient, np.diag(information.sum(axis=1) + 1.0) - information


def _posterior(strength: Array, won: Array) -> float:
    return float((won * special().log_expit(strength[:, None] - strength[None, :])).sum() - strength @ strength / 2)


def _improved(strength: Array, step: Array, slope: float, won: Array) -> Array:
    size, start = 1.0, _posterior(strength, won)
    while size > 1e-4 and _posterior(strength + size * step, won) < start + 1e-4 * size * slope - 1e-12 * abs(start):
        size /= 2
    return strength + size * step
