"""How large a study must be: what a grid can find, how many pairs a difference needs, prompts against seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..errors import StudyError
from .lazy import special
from .permutation import EXACT_UNITS, smallest_p

WITHIN_PROMPT_SD = 0.8
"""Spread of HPS between seeds of one prompt, in points: .73 to .82 on pools of public text-to-image models."""
UNPAIRED_SD = WITHIN_PROMPT_SD * math.sqrt(2.0)
"""Spread of the difference of two images that share nothing but the prompt."""
MOST = 10_000_000
MARGIN = 0.6
"""What a clear verdict asks beyond the t test, as a share, times the units (measured: docs/comparing_statistics.md)."""


def detectable(sd: float, n: int, power: float = 0.8, confidence: float = 0.95) -> float:
    """Return the smallest mean difference that `n` units with this `sd` show with the given power (t test).

    NaN for fewer than two units or an unknown sd; about 2.8 sd / sqrt(n) for many units at 80 % and 95 %.
    """
    if n < 2:
        return math.nan
    return detectable_by_error(sd / math.sqrt(n), n - 1, power, confidence)


def detectable_by_error(error: float, freedom: int, power: float = 0.8, confidence: float = 0.95) -> float:
    """Return the same from the standard error of the estimate and its degrees of freedom; NaN where unknown."""
    _check(power, confidence)
    if freedom < 1 or math.isnan(error):
        return math.nan
    return error * _standardised(freedom, power, confidence)


@lru_cache(maxsize=1024)
def _standardised(freedom: int, power: float, confidence: float) -> float:
    """Return the shift of the t statistic that gives the power: the noncentrality, by bisection."""
    functions = special()
    limit = float(functions.stdtrit(freedom, (1 + confidence) / 2))
    low, high = 0.0, limit + 40.0
    while float(functions.nctdtr(freedom, high, limit)) > 1 - power:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        missed = float(functions.nctdtr(freedom, middle, limit))
        low, high = (middle, high) if missed > 1 - power else (low, middle)
    return (low + high) / 2


def pairs_needed(
    sd: float, difference: float, power: float = 0.8, confidence: float = 0.95, *, normal: bool = False
) -> int | None:
    """Return how many units show a mean `difference` with the given power; None when no finite number does.

    With `normal` the textbook formula (1.96 + 0.84)^2 sd^2 / difference^2, rounded up; else Student's t takes the
    place of the normal quantiles, which asks for two or three units more.
    """
    _check(power, confidence)
    if not math.isfinite(sd) or not math.isfinite(difference) or difference == 0:
        return None
    ratio = (sd / difference) * (sd / difference)  # infinite, where ** would raise OverflowError
    first = (float(special().ndtri((1 + confidence) / 2)) + float(special().ndtri(power))) ** 2 * ratio
    if first > MOST:
        return None
    start = max(math.ceil(first - 1e-9), 1)
    return start if normal else _enough(start, ratio, power, confidence)


def _enough(start: int, ratio: float, power: float, confidence: float) -> int:
    n = max(start, 2)
    while ratio > 0 and detectable(math.sqrt(ratio), n, power, confidence) > 1:
        n += 1
    return n


@dataclass(frozen=True)
class PlanRow:
    """One way to lay out a study."""

    prompts: int
    seeds: int | None
    """Seeds for each prompt; None when no number of seeds suffices for so few prompts."""
    images: int | None
    """Of all settings together."""
    detectable: float
    """Difference that this layout would show, in points; NaN without one."""
    holds_for: str
    """"prompts like these" or "these prompts only"."""


@dataclass(frozen=True)
class Plan:
    """What it takes to see a difference."""

    difference: float
    sd: float
    """Of the difference of two images of one block, in points."""
    between: float
    """Spread of the true difference between prompts, in points."""
    settings: int
    power: float
    confidence: float
    pairs: int | None
    """Independent pairs that show it, by Student's t, for this many settings."""
    textbook: int | None
    """The same for two settings by the normal formula."""
    rows: tuple[PlanRow, ...]


def plan(
    difference: float,
    *,
    sd: float = UNPAIRED_SD,
    between: float = 0.0,
    settings: int = 2,
    prompts: Sequence[int] = (1, 4, 8, 12, 20, 40),
    power: float = 0.8,
    confidence: float = 0.95,
    most_seeds: int = 1000,
) -> Plan:
    """Return how many seeds each number of prompts needs to show `difference` clearly, the rest as in `Plan`.

    `sd` is that of the difference between two images of one block: .8 sqrt 2 when nothing is known, smaller when the
    same noise makes similar images (measure it). `between` is how much the true difference varies from prompt to
    prompt, which no number of seeds averages away. Raises StudyError on impossible numbers.
    """
    _check(power, confidence)
    if not (difference > 0 and sd >= 0 and between >= 0 and settings >= 2 and math.isfinite(difference + sd + between)):
        raise StudyError("A plan needs a difference above 0, spreads of at least 0 and at least two settings.")
    strict = 1 - (1 - confidence) / (settings - 1)
    rows = tuple(_row(p, difference, (sd, between), settings, (power, confidence), most_seeds) for p in prompts)
    return Plan(
        difference, sd, between, settings, power, confidence,
        pairs_needed(sd, difference, power, strict),
        pairs_needed(sd, difference, power, confidence, normal=True),
        rows,
    )  # fmt: skip


def enough_units(units: int, comparisons: int, confidence: float) -> bool:
    """Tell whether so many units can make one of so many comparisons clear at all: 2 / 2^units x comparisons."""
    return smallest_p(units) * comparisons <= (1 - confidence) * (1 + 1e-9)


def attainable(units: int, level: float) -> float:
    """Return the largest p-value of the exact sign-flip test that is at most `level`: what such a test really asks.

    The p-values of `units` signs are whole numbers of 2 / 2^units; 0.0 when even the smallest one is above the level.
    """
    if units > EXACT_UNITS:
        return level
    step = 2.0 ** (1 - units)
    return math.floor(level * (1 + 1e-9) / step) * step


def clear_difference(
    error: float, units: int, freedom: int, comparisons: int = 1, power: float = 0.8, confidence: float = 0.95
) -> float:
    """Return the smallest difference that comes out clear with the given power; infinite where none can.

    `error` is the standard error of the estimate. Holm's first step, the steps of the sign-flip test for few units and
    the wider of two intervals are taken into account. NaN where the error is not known.
    """
    level = attainable(units, (1 - confidence) / comparisons)
    if level == 0:
        return math.inf
    return detectable_by_error(error, freedom, power, 1 - level) * (1 + MARGIN / max(units, 1))


def units_needed(comparisons: int, confidence: float) -> int:
    """Return the smallest number of units for which a comparison can be clear at all."""
    return next(units for units in range(1, 1000) if 2.0 ** (1 - units) * comparisons <= (1 - confidence) * (1 + 1e-9))


def _row(
    prompts: int, difference: float, spreads: tuple[float, float], settings: int, aims: tuple[float, float], most: int
) -> PlanRow:
    power, confidence = aims
    general = enough_units(prompts, settings - 1, confidence)
    words = "prompts like these" if general else "these prompts only"

    def shown(seeds: int) -> float:
        within = spreads[0] / math.sqrt(prompts * seeds)
        if general:
            error = math.hypot(within, spreads[1] / math.sqrt(prompts))
            return clear_difference(error, prompts, prompts - 1, settings - 1, power, confidence)
        units, freedom = prompts * seeds, prompts * (seeds - 1)
        return clear_difference(within, units, freedom, settings - 1, power, confidence) if freedom else math.inf

    if prompts < 1 or not shown(most) <= difference:
        return PlanRow(prompts, None, None, math.nan, words)
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle) <= difference else (middle, high)
    return PlanRow(prompts, high, prompts * high * settings, shown(high), words)


def _check(power: float, confidence: float) -> None:
    if not (0.05 <= power < 1 and 0.5 < confidence < 1):
        raise StudyError(
            f"power {power}, confidence {confidence}: power lies in 0.05..1, confidence between 0.5 and 1."
        )
