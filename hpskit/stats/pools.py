"""Statistics of best-of-N search: expected maxima, expected improvement, win probability, selection pressure.

Plain Python on floats; scores stay in their own units (points for HPS: 100 x cosine).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import SelectionError

_SQRT2 = math.sqrt(2.0)
_NEGLIGIBLE = 1e-18
"""Order-statistic weights below this, summed over the longest pools, stay under the rounding of a double."""


@dataclass(frozen=True)
class Summary:
    """Mean, spread and quantiles of a list of scores."""

    count: int
    mean: float
    sd: float
    """Sample standard deviation (n - 1); 0.0 for one value."""
    minimum: float
    maximum: float
    quantiles: Mapping[float, float]
    """Value by probability: .05, .25, .5, .75 and .95, linearly interpolated."""


def summary(values: Sequence[float]) -> Summary:
    """Summarise finite `values`; raises SelectionError when there are none or one is not finite."""
    checked = _finite(values)
    return Summary(
        count=len(checked),
        mean=mean(checked),
        sd=standard_deviation(checked),
        minimum=min(checked),
        maximum=max(checked),
        quantiles={q: quantile(checked, q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)},
    )


def mean(values: Sequence[float]) -> float:
    """Return the exactly summed mean of at least one value, never outside their range."""
    raw = math.fsum(v / len(values) for v in values)
    return min(max(raw, min(values)), max(values))


def standard_deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation (n - 1 in the denominator); 0.0 for one value and for equal values."""
    if len(values) < 2 or min(values) == max(values):
        return 0.0
    centre = mean(values)
    return math.hypot(*(v - centre for v in values)) / math.sqrt(len(values) - 1)


def quantile(values: Sequence[float], q: float) -> float:
    """Return the `q` quantile (0..1) with linear interpolation between order statistics."""
    ordered = sorted(values)
    position = min(max(q, 0.0), 1.0) * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    share = position - low
    return min(max(ordered[low] * (1 - share) + ordered[high] * share, ordered[low]), ordered[high])


def expected_maximum(values: Sequence[float], up_to: int | None = None) -> tuple[float, ...]:
    """Return what best of n would have given, unbiased, for n = 1..`up_to` (default: all N values).

    Item n-1 is the mean, over all subsets of n of the N values, of the subset's maximum: n = 1 gives the mean, n = N
    the maximum. Raises SelectionError on no or non-finite values and on `up_to` outside 1..N.

    The weight of the j-th largest value is C(N-j, n-1) / C(N, n), with j from 1. Taken from the largest value down the
    weights start at n / N and only shrink, so neither overflow nor cancellation can occur (checked to N = 10^4).
    """
    descending = sorted(_finite(values), reverse=True)
    limit = len(descending) if up_to is None else up_to
    if not 1 <= limit <= len(descending):
        raise SelectionError(f"Best of {limit} cannot be read off {len(descending)} values; ask for 1 to that many.")
    return tuple(_mean_of_maxima(descending, n) for n in range(1, limit + 1))


def _mean_of_maxima(descending: Sequence[float], n: int) -> float:
    total = len(descending)
    weight, used = n / total, 0.0
    terms = []
    for j in range(total - n + 1):
        if weight < _NEGLIGIBLE:
            break
        terms.append(weight * descending[j])
        used += weight
        weight *= (total - j - n) / (total - j - 1) if j < total - 1 else 0.0
    raw = math.fsum(terms) / used
    return min(max(raw, descending[-1]), descending[0])


def gaussian_expected_maximum(n: int) -> float:
    """Return the expected maximum of `n` standard normal draws: 0 for 1, .564 for 2, 1.424 for 8, 2.594 for 128.

    Multiply by the within-prompt standard deviation to get the expected gain of best of n in points. Integrates the
    density of the maximum by the trapezoid rule, whose error is far below 1e-9 for such smooth, vanishing functions.
    """
    if n < 1:
        raise SelectionError(f"Best of {n} has no meaning; n starts at 1.")
    step = 0.01
    return step * math.fsum(_maximum_density(k * step, n) * k * step for k in range(-1200, 1201))


def _maximum_density(x: float, n: int) -> float:
    above = _upper_tail(x)
    if above >= 1.0:
        return float(n == 1) * _density(x)
    return n * _density(x) * math.exp((n - 1) * math.log1p(-above))


def expected_improvement(
    values: Sequence[float],
    best: float,
    prior_sd: float = 0.75,
    prior_strength: float = 4.0,
    batch: int = 1,
    share: float = 1.0,
) -> float:
    """Return by how much the best of `batch` further candidates is expected to exceed `best`, in score units, >= 0.

    The next candidates are taken as normal around the mean of `values` (at least one); their variance mixes the
    sample's with `prior_sd` squared, which counts as `prior_strength` observations. `share` is the probability that a
    candidate counts at all (passes a gate or a floor). Stop searching when the result falls below `batch` times what
    one more candidate must be worth (Weitzman's optimal search). Raises SelectionError on no or non-finite values, a
    negative prior, a batch below 1 or a share outside 0..1.
    """
    sample = _finite([*values, best])[:-1]
    if not sample:
        raise SelectionError("The expected improvement needs at least one scored candidate.")
    prior_is_sound = 0 <= prior_sd < math.inf and 0 <= prior_strength < math.inf
    if not (prior_is_sound and batch >= 1 and 0 <= share <= 1):
        raise SelectionError(
            f"batch {batch}, prior_sd {prior_sd}, prior_strength {prior_strength}, share {share}: the batch must be at "
            "least 1, the prior finite and not negative, the share between 0 and 1."
        )
    advantage = mean(sample) - best
    sd = _predictive_sd(sample, prior_sd, prior_strength)
    if sd == 0.0:
        return max(advantage, 0.0) * _any_of(1.0, batch, share)
    return sd * _standard_improvement(advantage / sd, batch, share)


def _predictive_sd(sample: Sequence[float], prior_sd: float, prior_strength: float) -> float:
    weight = prior_strength + len(sample) - 1
    if weight == 0:
        return 0.0
    deviation = standard_deviation(sample) * math.sqrt(len(sample) - 1)
    pooled = math.hypot(math.sqrt(prior_strength) * prior_sd, deviation) / math.sqrt(weight)
    return pooled * math.sqrt(1 + 1 / len(sample))


def _standard_improvement(advantage: float, batch: int, share: float) -> float:
    """Return the expected positive part of (largest of those of `batch` normal draws that count) + advantage."""
    if batch == 1:
        return share * max(advantage * (1.0 - _upper_tail(advantage)) + _density(advantage), 0.0)
    start = max(-advantage, -9.0)  # below -9 the integrand is constant to the last digit
    stop = max(-advantage, 0.0) + 9.0
    steps = 200
    width = (stop - start) / steps
    heights = [_any_of(_upper_tail(start + k * width), batch, share) for k in range(steps + 1)]
    ends = heights[0] + heights[-1]
    simpson = width / 3 * (ends + 4 * math.fsum(heights[1:-1:2]) + 2 * math.fsum(heights[2:-1:2]))
    return (start + advantage) * heights[0] + simpson


def _any_of(above: float, batch: int, share: float) -> float:
    chance = above * share
    return 1.0 if chance >= 1.0 else -math.expm1(batch * math.log1p(-chance))


def win_probability(a: float, b: float, logit_scale: float) -> float:
    """Return the probability that people prefer `a` to `b`: sigmoid(logit_scale * (a - b) / 100).

    Scores are 100 x cosine; `logit_scale` is exp(logit_scale) of the checkpoint (100 for HPS and CLIP), as the model
    was trained (arXiv 2306.09341, 2305.01569). The value is the model's own confidence, not a measured one.
    """
    x = logit_scale * (a - b) / 100
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    small = math.exp(max(x, -745.0))
    return small / (1 + small)


def selection_pressure(n: int) -> float:
    """Return the bound log n - (n - 1) / n on the divergence (nats) of best of n from plain sampling.

    8 gives 1.20, 64 gives 3.17; the higher, the more the result is shaped by the scorer (arXiv 2401.01879).
    """
    if n < 1:
        raise SelectionError(f"Best of {n} has no meaning; n starts at 1.")
    return max(math.log(n) - (n - 1) / n, 0.0)


def _finite(values: Sequence[float]) -> list[float]:
    checked = [float(v) for v in values]
    if not checked:
        raise SelectionError("There are no scores to summarise.")
    for position, value in enumerate(checked):
        if not math.isfinite(value):
            raise SelectionError(f"Score {position} is {value}; leave candidates without a score out.")
    return checked


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _upper_tail(x: float) -> float:
    return 0.5 * math.erfc(x / _SQRT2)
