"""Search on the noise sphere without gradients: works with any model and scorer, in the memory of plain sampling.

`SphereSearch` is an evolution strategy over geodesic mutations and blends, its step size set by the success rule.
`ZeroOrder` is the neighbourhood search of arXiv 2501.09732 as in sayakpaul/tt-scale-flux. Noises are float32 on the
CPU; with a mask only the noise inside it changes, angles are measured there, and its norm there is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import HpsError
from . import noise as sphere
from .method import Step
from .objective import Evaluation, Objective
from .randomness import stream

SUCCESS = 0.2
"""Share of children better than their parent at which the mutation angle stays as it is."""
SMALLEST, LARGEST = 0.05, math.pi / 2
"""Limits of the mutation angle."""
PATIENCE = 3
"""Generations without a better child after which the search starts again elsewhere."""
RESERVE = 4
"""Evaluations of the screening that are kept for such starts."""
_SLACK = 1e-4


@dataclass(frozen=True)
class Parent:
    """A noise [1, ...] whose loss is known."""

    noise: Tensor
    loss: float


class Region:
    """Where on the sphere a search may go: inside a mask, and no further than an angle from its start."""

    def __init__(self, start: Tensor, mask: Tensor | None, max_angle: float | None) -> None:
        """`mask` broadcasts to the noise; what is above 0.5 may change. Raises HpsError when it does not fit."""
        self.start, self.max_angle = start, max_angle
        self.mask = None if mask is None else _fitting(mask, start)

    def inside(self, noise: Tensor) -> Tensor:
        """Return the part that may change, flat: [n, elements]."""
        return noise.flatten(1) if self.mask is None else noise[:, self.mask]

    def around(self, parts: Tensor, base: Tensor) -> Tensor:
        """Return noises [n, ...] with these parts, and the rest of `base` [n or 1, ...]; within the largest angle."""
        if self.max_angle is not None:
            parts = sphere.limited(parts, self.inside(self.start).expand_as(parts), self.max_angle)
        if self.mask is None:
            return parts.reshape(-1, *self.start.shape[1:])
        made = base.expand(len(parts), *base.shape[1:]).clone()
        made[:, self.mask] = parts
        return made

    def mutated(self, base: Tensor, theta: float, count: int, generator: torch.Generator) -> Tensor:
        """Return `count` children at the angle `theta` from `base` [1, ...]."""
        part = self.inside(base)
        return self.around(sphere.mutate(part.expand(count, -1), theta, generator), base)

    def blended(self, a: Tensor, b: Tensor, share: Tensor) -> Tensor:
        """Return children a `share` [n] of the way from `a` to `b`, both [1, ...]."""
        parts = self.inside(a).expand(len(share), -1)
        return self.around(sphere.blend(parts, self.inside(b).expand_as(parts), share), a)

    def fresh(self, count: int, generator: torch.Generator) -> Tensor:
        """Return `count` independent noises at the norm of the start, equal to it outside the mask."""
        part = self.inside(self.start)
        drawn = torch.randn(count, part.shape[1], generator=generator)
        return self.around(sphere.unit(drawn) * sphere.norms(part), self.start)

    def holds(self, noise: Tensor) -> bool:
        """Whether a noise [1, ...] of the same shape differs from the start inside the region only."""
        if noise.shape != self.start.shape:
            return False
        if self.mask is not None and not torch.equal(noise[:, ~self.mask], self.start[:, ~self.mask]):
            return False
        far = sphere.angle(self.inside(noise), self.inside(self.start))
        return self.max_angle is None or float(far) <= self.max_angle + _SLACK


def _fitting(mask: Tensor, start: Tensor) -> Tensor:
    try:
        fitted = (mask.detach().cpu() > 0.5).expand(start.shape)[0]
    except RuntimeError as error:
        raise HpsError(f"A mask of shape {list(mask.shape)} does not fit noise {list(start.shape)}.") from error
    if int(fitted.sum()) < 2:
        raise HpsError("The mask leaves nothing of the noise to change; draw it larger, or use none.")
    return fitted


class _Population:
    """What the methods on the sphere have in common: a region, their own random numbers, and a state of plain data."""

    uses_gradients = False
    _plain: tuple[str, ...] = ()
    """Names of the numbers that belong to the state."""

    def __init__(self, name: str, population: int, seed: int, mask: Tensor | None, max_angle: float | None) -> None:
        if population < 1:
            raise HpsError(f"The population is {population}; it must be at least 1.")
        self.name, self.population, self.seed = name, population, seed
        self.mask, self.max_angle = mask, max_angle
        self.generator = stream(seed, name)
        self.parents: list[Parent] = []
        self.reserve: list[Parent] = []

    def begin(self, noise: Tensor, known: Sequence[Evaluation], iterations: int) -> None:
        """Start at a noise [1, ...], or at the best of what is known where it lies in the region."""
        self._place(noise.detach().float().cpu().clone())
        self.generator = stream(self.seed, self.name)
        self.parents = [Parent(e.noise, e.loss) for e in known if e.usable and self.region.holds(e.noise)]
        self.parents.sort(key=lambda parent: parent.loss)

    def _place(self, start: Tensor) -> None:
        self.start = start
        self.region = Region(start, self.mask, self.max_angle)

    def state(self) -> dict[str, Any]:
        """Return start, parents, numbers and the state of the random numbers."""
        made: dict[str, Any] = {name: getattr(self, name) for name in self._plain}
        made |= {"start": self.start, "random": self.generator.get_state()}
        return made | {"parents": _packed(self.parents), "reserve": _packed(self.reserve)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take all of it up again."""
        self._place(state["start"])
        self.generator.set_state(state["random"])
        self.parents, self.reserve = _unpacked(state["parents"]), _unpacked(state["reserve"])
        for name in self._plain:
            setattr(self, name, state[name])


def _packed(parents: Sequence[Parent]) -> dict[str, Any]:
    return {"noises": [parent.noise for parent in parents], "losses": [parent.loss for parent in parents]}


def _unpacked(state: dict[str, Any]) -> list[Parent]:
    return [Parent(*pair) for pair in zip(state["noises"], state["losses"], strict=True)]


class SphereSearch(_Population):
    """Evolution strategy on the noise sphere: mutations at one angle, blends of two parents, the best stay.

    A generation turns the best noise by `theta` in random directions; `blends` of the children lie between the two best
    instead, and `fresh` of them are new. The angle grows while more than a fifth of the children beat the parent, and
    shrinks otherwise. After three generations without progress the search goes on from the next best of the screening,
    or from fresh noise; the best found so far is never lost, since every evaluation is handed out.
    """

    _plain = ("theta", "stale", "fruitless")

    def __init__(
        self,
        population: int = 4,
        seed: int = 0,
        *,
        theta: float = 0.35,
        blends: float = 0.25,
        fresh: int = 0,
        parents: int = 2,
        mask: Tensor | None = None,
        max_angle: float | None = None,
    ) -> None:
        """Set the size of a generation and its make-up; angles in radians. Raises HpsError on senseless values."""
        super().__init__("sphere", population, seed, mask, max_angle)
        if not (0 <= blends <= 1 and 0 <= fresh <= population and parents >= 1 and 0 < theta <= math.pi):
            raise HpsError("Need blends in 0..1, fresh in 0..population, at least one parent and an angle above 0.")
        self.first_theta, self.blends, self.fresh, self.keep = theta, blends, fresh, parents

    def begin(self, noise: Tensor, known: Sequence[Evaluation], iterations: int) -> None:
        """Start at the best of the known noises, the next ones in reserve; at `noise` itself when none is usable."""
        super().begin(noise, known, iterations)
        self.theta, self.stale, self.fruitless = self.first_theta, 0, 0
        self.parents, self.reserve = self.parents[: self.keep], self.parents[1 : 1 + RESERVE]

    def step(self, objective: Objective, last: bool) -> Step:
        """Make, evaluate and select one generation."""
        first = self.parents[0] if self.parents else None
        found = tuple(objective.evaluate(self._children(first)))
        usable = sorted((e for e in found if e.usable), key=lambda e: e.loss)
        if not usable:
            self.fruitless += 1
            return Step(found, None, skipped=True)
        better = sum(first is not None and e.loss < first.loss for e in usable)
        pool = [*self.parents, *(Parent(e.noise, e.loss) for e in usable)]
        self.parents = sorted(pool, key=lambda parent: parent.loss)[: self.keep]
        if first is not None:
            self._adapt(better, len(found))
        return Step(found, usable[0])

    def _children(self, first: Parent | None) -> Tensor:
        if first is None:
            return self._first_generation()
        fresh = self.fresh
        blends = round(self.blends * (self.population - fresh)) if len(self.parents) > 1 else 0
        made = [self.region.mutated(first.noise, self.theta, self.population - fresh - blends, self.generator)]
        mates = self.parents[1:]
        for k in range(blends):
            share = torch.rand(1, generator=self.generator)
            made.append(self.region.blended(first.noise, mates[k % len(mates)].noise, share))
        return torch.cat([*made, self.region.fresh(fresh, self.generator)])

    def _first_generation(self) -> Tensor:
        if self.fruitless:  # where nothing is known, or nothing near the start can be scored
            return self.region.fresh(self.population, self.generator)
        return torch.cat([self.start, self.region.mutated(self.start, self.theta, self.population - 1, self.generator)])

    def _adapt(self, better: int, children: int) -> None:
        self.theta *= math.exp(0.5 * (better / children - SUCCESS) / (1 - SUCCESS))
        self.theta = min(LARGEST, max(SMALLEST, self.theta))
        self.stale = 0 if better else self.stale + 1
        if self.stale >= PATIENCE:
            self._restart()

    def _restart(self) -> None:
        self.theta, self.stale, self.fruitless = self.first_theta, 0, 1
        self.parents, self.reserve = self.reserve[:1], self.reserve[1:]


class ZeroOrder(_Population):
    """Zero-order search: neighbours of a base at a fixed angle; the best one becomes the base if it is better.

    When no neighbour is better, a fresh noise becomes the base, as in sayakpaul/tt-scale-flux. `threshold` is the
    cosine of the angle; theirs is 0.95.
    """

    _plain = ("begun",)

    def __init__(
        self,
        population: int = 4,
        seed: int = 0,
        *,
        threshold: float = 0.95,
        mask: Tensor | None = None,
        max_angle: float | None = None,
    ) -> None:
        """Set the number of images of a generation; `threshold` in -1..1. Raises HpsError on senseless values."""
        super().__init__("zero_order", population, seed, mask, max_angle)
        if not -1 <= threshold < 1:
            raise HpsError(f"The threshold is {threshold}; it is a cosine and must be below 1.")
        self.theta = math.acos(threshold)

    def begin(self, noise: Tensor, known: Sequence[Evaluation], iterations: int) -> None:
        """Start at the best of the known noises, or at `noise` when none is usable."""
        super().begin(noise, known, iterations)
        self.parents, self.begun = self.parents[:1], False

    def step(self, objective: Objective, last: bool) -> Step:
        """Look at the neighbours of the base, or at a new base with its neighbours."""
        base = self.parents[0] if self.parents else None
        found = tuple(objective.evaluate(self._children(base)))
        self.begun = True
        best = min((e for e in found if e.usable), key=lambda e: e.loss, default=None)
        if best is None:
            return Step(found, None, skipped=True)
        better = base is None or best.loss < base.loss
        self.parents = [Parent(best.noise, best.loss)] if better else []
        return Step(found, best)

    def _children(self, base: Parent | None) -> Tensor:
        if base is not None:
            return self.region.mutated(base.noise, self.theta, self.population, self.generator)
        new = self.region.fresh(1, self.generator) if self.begun else self.start
        return torch.cat([new, self.region.mutated(new, self.theta, self.population - 1, self.generator)])
