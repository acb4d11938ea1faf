"""Lines of descent along a denoising path: how a state is mutated, carried on, and made again from its genealogy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import SelectionError
from .randomness import stream
from .stepping import Trajectory, noise_in, noised


@dataclass(frozen=True)
class Branch:
    """Where a line left its parent."""

    step: int
    """Step before which the state was mutated; 0 is the starting noise."""
    parent: int
    """Index of the parent; -1 in the first generation, which is not mutated."""
    seed: int
    """Of the mutation, and of the fresh noise in the steps from here on."""


@dataclass(frozen=True)
class State:
    """A line at one step, each tensor [1, ...] on the CPU."""

    noise: Tensor
    """Starting noise of the line."""
    x: Tensor
    x0: Tensor
    """The model's clean latent for `x`."""


@dataclass(frozen=True)
class Mutation:
    """How far children are from their parent; both forms keep a standard normal noise standard normal."""

    beta: float = 0.2
    """Share of fresh noise in a starting noise: sqrt(1 - beta^2) x + beta n, as published."""
    rho: float = 0.8
    """Share of the old noise that stays at an intermediate step."""

    def __post_init__(self) -> None:
        if not (0 < self.beta <= 1 and 0 <= self.rho < 1):
            raise SelectionError(f"beta is {self.beta} and rho is {self.rho}; both are shares between 0 and 1.")

    def of(self, state: State, path: Trajectory, step: int, generator: torch.Generator) -> State:
        """Return the child of a state at `step`; its x0 is still the parent's."""
        fresh = torch.randn(state.x.shape, generator=generator).to(state.x)
        if step == 0:
            noise = math.sqrt(1 - self.beta**2) * state.noise + self.beta * fresh
            return State(noise, path.start(noise), state.x0)
        sigma = path.sigmas[step]
        old = noise_in(state.x, state.x0, sigma, path.family)
        mixed = self.rho * old + math.sqrt(1 - self.rho**2) * fresh
        return State(state.noise, noised(state.x0, mixed, sigma, path.family), state.x0)


def generator_of(branch: Branch) -> torch.Generator:
    """Return the random numbers of a line from a branch on."""
    return stream(branch.seed, "evolution")


def carry(
    path: Trajectory,
    x: Tensor,
    first: int,
    last: int,
    generators: Sequence[torch.Generator],
    before: Callable[[int], None] | None = None,
    seen: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Return `x` [n, ...] after steps `first` to `last` - 1, each row's fresh noise from its own generator.

    `before` is called with the number of each step, `seen` with its number, x and x0.
    """
    for index in range(first, last):
        if before is not None:
            before(index)
        x0 = path.denoised(x, index)
        if seen is not None:
            seen(index, x, x0)
        fresh = None
        if path.stochastic(index):
            rows = [torch.randn((1, *x.shape[1:]), generator=generator) for generator in generators]
            fresh = torch.cat(rows).to(x)
        x = path.next(x, x0, index, fresh)
    return x


@torch.no_grad()
def remake(
    path: Trajectory,
    root: Tensor,
    lineage: Sequence[Branch],
    *,
    mutation: Mutation | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the latent [1, ...], on the CPU, of the last one of a line that began with the noise `root` [1, ...].

    The same path and mutation give the same bits as the search did when it made one image at a time on this device.
    """
    if not lineage or lineage[0].step != 0:
        raise SelectionError("A line of descent begins with a branch at step 0.")
    how, noise = mutation or Mutation(), root.detach().float().cpu()
    x, generator = path.start(noise), generator_of(lineage[0])
    for before, branch in pairwise(lineage):
        x = carry(path, x.to(device), before.step, branch.step, [generator])
        x0 = path.denoised(x, branch.step)
        generator = generator_of(branch)
        child = how.of(State(noise, x.cpu(), x0.cpu()), path, branch.step, generator)
        noise, x = child.noise, child.x
    return carry(path, x.to(device), lineage[-1].step, path.steps, [generator]).float().cpu()
