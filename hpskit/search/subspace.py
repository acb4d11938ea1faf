"""Search for the best mixture of a few fixed noises: low-dimensional, and every candidate is an ordinary noise.

For coefficients c of length 1 the sum of c_i n_i over independent standard normal noises n_i is standard normal again,
so each candidate is drawn from the distribution that the generator was trained on; only the selection bends it.

The optimiser is an evolution strategy with weighted recombination and cumulative step-size adaptation (Hansen,
arXiv 1604.00772), carried to the sphere of the coefficients. It is written here, and not taken from the package `cma`,
because a search must be resumable from plain data on every machine (that package's state is a pickle), because on a
sphere one direction of the plain method is without meaning, and because the covariance that it would add is not
learned within the hundred or so evaluations that images allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import HpsError
from . import noise as sphere
from .method import Step
from .objective import Evaluation, Objective
from .randomness import stream
from .sphere import Region

SMALLEST, LARGEST = 0.02, 1.0
"""Limits of the typical angle between the mean and a candidate."""


def combine(coefficients: Tensor, noises: Tensor) -> Tensor:
    """Return sums [n, ...] of `noises` [m, ...] weighted with the rows of `coefficients` [n, m], scaled to length 1."""
    weights = sphere.unit(coefficients).to(noises)
    mixed: Tensor = torch.tensordot(weights, noises, dims=1)
    return mixed


class SubspaceSearch:
    """Evolution strategy over the coefficients of `m` fixed noises; the first is the start, then come the known ones.

    The mean walks on the unit sphere of the coefficients from the best known noise; a generation are `population`
    points around it at the typical angle `theta`, which follows the length of the path the mean has taken.
    """

    uses_gradients = False

    def __init__(
        self,
        m: int = 16,
        population: int = 8,
        seed: int = 0,
        *,
        theta: float = 0.5,
        keep_norm: bool = True,
        mask: Tensor | None = None,
        max_angle: float | None = None,
    ) -> None:
        """Set dimension and size of a generation; angles in radians.

        `keep_norm` puts every candidate on the norm of the start. `mask` broadcasts to the noise: only what is above
        0.5 changes. `max_angle` turns candidates back that stand further from the start. Raises HpsError on senseless
        values.
        """
        if m < 2 or population < 2 or not 0 < theta <= LARGEST:
            raise HpsError("Subspace search needs at least 2 noises, 2 children and an angle between 0 and 1.")
        self.name = "subspace"
        self.m, self.population, self.seed, self.first_theta = m, population, seed, theta
        self.keep_norm, self.mask, self.max_angle = keep_norm, mask, max_angle
        self.generator = stream(seed, self.name)

    def begin(self, noise: Tensor, known: Sequence[Evaluation], iterations: int) -> None:
        """Choose the noises to mix: `noise` [1, ...], the known ones, fresh ones; start at the best known."""
        self.generator = stream(self.seed, self.name)
        self._place(noise.detach().float().cpu().clone())
        found = sorted((e for e in known if e.usable and self.region.holds(e.noise)), key=lambda e: e.loss)
        others = [e.noise for e in found if not torch.equal(e.noise, self.start)][: self.m - 1]
        fresh = self._drawn(self.m - 1 - len(others))
        self.parts = torch.cat([self.region.inside(x) for x in (self.start, *others)] + [fresh])
        best = 1 if others and not torch.equal(found[0].noise, self.start) else 0
        self.mean = torch.eye(self.m, dtype=torch.float64)[best : best + 1]
        self.path = torch.zeros_like(self.mean)
        self.theta, self.begun = self.first_theta, bool(found)

    def _place(self, start: Tensor) -> None:
        self.start = start
        self.region = Region(start, self.mask, self.max_angle)

    def _drawn(self, count: int) -> Tensor:
        """Return ordinary noises for the part that may change; their norms vary, as those of all noise do."""
        return torch.randn(count, self.region.inside(self.start).shape[1], generator=self.generator)

    def step(self, objective: Objective, last: bool) -> Step:
        """Make, evaluate and recombine one generation."""
        moves = self._moves()
        noises = self._noises(moves)
        if not self.begun:
            noises = torch.cat([self.start, noises[1:]])  # to the last bit, though it is only a mixture of one
        found = tuple(objective.evaluate(noises))
        order = [k for k in sorted(range(len(found)), key=lambda k: found[k].loss) if found[k].usable]
        self.begun = True
        if not order:
            return Step(found, None, skipped=True)
        self._recombine(moves, order)
        return Step(found, found[order[0]])

    def _moves(self) -> Tensor:
        """Return tangent vectors at the mean [population, m], of typical length sqrt(m - 1)."""
        drawn = torch.randn(self.population, self.m, generator=self.generator, dtype=torch.float64)
        moves = sphere.tangent(drawn, self.mean.expand_as(drawn))
        if not self.begun:
            moves[0] = 0  # the start itself, when nothing is known about it
        return moves

    def _noises(self, moves: Tensor) -> Tensor:
        parts = combine(_travelled(self.mean, self._sigma * moves), self.parts)
        if self.keep_norm:
            parts = sphere.unit(parts) * sphere.norms(self.parts[:1])
        return self.region.around(parts, self.start)

    @property
    def _sigma(self) -> float:
        return self.theta / math.sqrt(self.m - 1)

    def _recombine(self, moves: Tensor, order: Sequence[int]) -> None:
        weights = _weights(max(1, min(len(order), self.population // 2)))
        step = (weights[:, None] * moves[list(order[: len(weights)])]).sum(0, keepdim=True)
        mass = float(1 / weights.square().sum())
        dimension = self.m - 1
        rate = (mass + 2) / (dimension + mass + 5)
        damping = 1 + rate + 2 * max(0.0, math.sqrt((mass - 1) / (dimension + 1)) - 1)
        path = (1 - rate) * self.path + math.sqrt(rate * (2 - rate) * mass) * step
        moved = _travelled(self.mean, self._sigma * step)
        self.mean, self.path = moved, _carried(path, self.mean, moved)
        expected = math.sqrt(dimension) * (1 - 1 / (4 * dimension) + 1 / (21 * dimension**2))
        self.theta *= math.exp(rate / damping * (float(path.norm()) / expected - 1))
        self.theta = min(LARGEST, max(SMALLEST, self.theta))

    def state(self) -> dict[str, Any]:
        """Return the noises that are mixed, mean, path, angle and the state of the random numbers."""
        names = ("start", "parts", "mean", "path", "theta", "begun")
        return {name: getattr(self, name) for name in names} | {"random": self.generator.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take all of it up again."""
        self._place(state["start"])
        self.generator.set_state(state["random"])
        for name in ("parts", "mean", "path", "theta", "begun"):
            setattr(self, name, state[name])


def _weights(parents: int) -> Tensor:
    """Return the logarithmic weights of the `parents` best children, which sum to 1."""
    ranks = torch.arange(1, parents + 1, dtype=torch.float64)
    weights = math.log(parents + 0.5) - ranks.log()
    return weights / weights.sum()


def _travelled(mean: Tensor, moves: Tensor) -> Tensor:
    """Return where the tangent vectors [n, m] lead from `mean` [1, m] along great circles, as far as they are long."""
    return sphere.geodesic(mean.expand_as(moves), moves, sphere.norms(moves).clamp(max=math.pi / 2))


def _carried(path: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Return the tangent vector `path` at `before` moved to `after` along the great circle between them."""
    both = before + after
    return path - sphere.dot(path, after)[:, None] / (1 + sphere.dot(before, after))[:, None] * both
