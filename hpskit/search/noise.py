"""Geometry of starting noise: almost all of a standard normal vector lies on a shell, so searches walk on a sphere.

Everything works row by row over dim 0 of a batch [n, ...] and changes no input. Angles are in radians; two independent
noises of many elements stand at about pi / 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

_TINY = 1e-12
_PARALLEL = 1e-5
"""Share of a direction below which its perpendicular part is rounding."""
PERMUTATIONS = 20
"""Random reorderings over which `health` looks at the worst; more find structure that is hidden better."""


def norms(x: Tensor) -> Tensor:
    """Return the Euclidean norm of every row, [n]."""
    result: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return result


def unit(x: Tensor) -> Tensor:
    """Return every row at norm 1; a row of zeros stays zero."""
    return x / _column(norms(x).clamp_min(_TINY), x)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of the rows, [n]."""
    return (a * b).flatten(1).sum(1)


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle between the rows, [n], exact for small angles, too."""
    ua, ub = unit(a.double()), unit(b.double())
    # The arc cosine would lose half of the digits near zero.
    return (2 * torch.atan2(norms(ua - ub), norms(ua + ub))).to(a.dtype)


def tangent(v: Tensor, base: Tensor) -> Tensor:
    """Return the part of `v` that is perpendicular to `base`."""
    u = unit(base)
    return v - _column(dot(v, u), v) * u


def geodesic(base: Tensor, direction: Tensor, theta: Tensor | float) -> Tensor:
    """Return `base` turned by `theta` towards `direction` (of any length), at the norm of `base`.

    `theta` is one angle or one a row. Where the direction has no part perpendicular to `base`, `base` is returned.
    """
    sideways = tangent(direction, base)
    turn = torch.as_tensor(theta, dtype=base.dtype, device=base.device).expand(len(base))
    # What is left of a parallel direction is rounding, and would be followed at the full angle.
    turn = torch.where(norms(sideways) > _PARALLEL * norms(direction), turn, torch.zeros_like(turn))
    moved = _column(turn.cos(), base) * unit(base) + _column(turn.sin(), base) * unit(sideways)
    return moved * _column(norms(base) / norms(moved).clamp_min(_TINY), base)


def mutate(base: Tensor, theta: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """Return children at exactly the angle `theta` from `base` in random directions, on its shell.

    This is cos(theta) x + sin(theta) n of arXiv 2501.09732 (zero-order search) with the chance in the norm taken out.
    The random numbers come from the CPU, so that they are the same for every device.
    """
    fresh = torch.randn(base.shape, generator=generator, dtype=torch.float32).to(base)
    return geodesic(base, fresh, theta)


def blend(a: Tensor, b: Tensor, share: Tensor | float) -> Tensor:
    """Return the point that lies `share` (0..1) of the way from `a` to `b` on the sphere, at the norm of `a`."""
    way = angle(a, b) * torch.as_tensor(share, dtype=a.dtype, device=a.device)
    return geodesic(a, b, way)


def limited(noise: Tensor, start: Tensor, most: float) -> Tensor:
    """Return `noise` turned back towards `start` where it stands more than `most` radians away, at its own norm."""
    far = angle(noise, start)
    pulled = geodesic(start, noise, far.clamp(max=most))
    pulled = pulled * _column(norms(noise) / norms(pulled).clamp_min(_TINY), noise)
    return torch.where(_column(far, noise) > most, pulled, noise)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (like.ndim - 1)).to(like)


# --- does it still look like noise? ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseHealth:
    """How far a noise is from what a random generator makes."""

    norm_z: float
    """Squared norm in standard deviations from its expectation: 0 is typical, beyond +-3 is rare."""
    p_mean: float
    """Bound on the chance of a mean this far from zero, at most 1 (DNO, arXiv 2405.18881)."""
    p_covariance: float
    """Bound on the chance of elements this correlated, at most 1 (DNO)."""
    lag_x: float
    """Correlation of horizontal neighbours in units of its standard deviation."""
    lag_y: float
    """Correlation of vertical neighbours, likewise."""

    @property
    def verdict(self) -> Literal["green", "amber", "red"]:
        """Green: nothing unusual. Amber: one in a hundred random noises looks like this. Red: no random noise does."""
        worst = max(abs(self.norm_z), abs(self.lag_x), abs(self.lag_y))
        least = min(self.p_mean, self.p_covariance)
        if worst > 6 or least < 1e-3:
            return "red"
        return "amber" if worst > 3 or least < 0.05 else "green"

    @property
    def words(self) -> str:
        """What is unusual, in words; empty when nothing is."""
        found = [
            (abs(self.norm_z) > 3, f"its norm is {self.norm_z:+.1f} sd from a random noise's"),
            (self.p_mean < 0.05, "its mean is not zero"),
            (self.p_covariance < 0.05, "its elements are correlated"),
            (max(abs(self.lag_x), abs(self.lag_y)) > 3, "neighbouring elements are alike"),
        ]
        return "; ".join(text for unusual, text in found if unusual)


def health(noise: Tensor) -> NoiseHealth:
    """Return how normal one noise [1, C, ..., h, w] looks; cheap, and the same for the same noise."""
    x = noise.detach().double().cpu().reshape(noise.shape[1:])
    d = x.numel()
    norm_z = float((x.square().sum() - d) / math.sqrt(2 * d))
    order = torch.Generator().manual_seed(0)
    flat = x.flatten()
    checks = [_concentration(flat)]
    checks += [_concentration(flat[torch.randperm(d, generator=order)]) for _ in range(PERMUTATIONS)]
    p_mean, p_covariance = (min(column) for column in zip(*checks, strict=True))
    return NoiseHealth(norm_z, p_mean, p_covariance, _lag(x, -1), _lag(x, -2))


def _concentration(flat: Tensor, k: int = 4) -> tuple[float, float]:
    """Return DNO's bounds for m vectors of k elements: on their mean, and on their covariance's distance from one."""
    m = flat.numel() // k
    if m < 2 * k:  # too few elements to say anything
        return 1.0, 1.0
    rows = flat[: m * k].reshape(m, k)
    mean = float(rows.mean(0).square().sum())
    distance = float(torch.linalg.matrix_norm(rows.T @ rows / m - torch.eye(k, dtype=rows.dtype), 2))
    excess = max(math.sqrt(1 + distance) - 1 - math.sqrt(k / m), 0.0)
    return min(1.0, 2 * math.exp(-m * mean / (2 * k))), min(1.0, 2 * math.exp(-m * excess**2 / 2))


def _lag(x: Tensor, dim: int) -> float:
    if x.ndim < abs(dim) or x.shape[dim] < 2:
        return 0.0
    a, b = x.narrow(dim, 0, x.shape[dim] - 1), x.narrow(dim, 1, x.shape[dim] - 1)
    size = float(x.square().mean()) or 1.0
    return float((a * b).mean() / size * math.sqrt(a.numel()))
