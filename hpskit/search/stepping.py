"""One first-order sampling step for every model family, from the ODE to the exact posterior, and samplers made of it.

Two families of noisy latents: "eps" has x = x0 + sigma * noise (epsilon and v prediction), "flow" has
x = (1 - sigma) * x0 + sigma * noise with sigma in 0..1. With eta = 0 a step is Euler's, which is DDIM's; with eta = 1
it draws from the exact posterior, as DDPM does; all of them keep the marginal distribution of x at every level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from ..errors import HpsError
from ..types import Denoiser
from .objective import Render
from .randomness import stream

Family = Literal["eps", "flow"]
FAMILIES: tuple[Family, ...] = ("eps", "flow")


def noised(x0: Tensor, noise: Tensor, sigma: float, family: Family) -> Tensor:
    """Return the clean latent `x0` at noise level `sigma`."""
    return _alpha(sigma, family) * x0 + sigma * noise


def noise_in(x: Tensor, x0: Tensor, sigma: float, family: Family) -> Tensor:
    """Return the noise that `x` holds when `x0` is its clean latent; `sigma` above 0."""
    return (x - _alpha(sigma, family) * x0) / sigma


def step(
    x: Tensor, x0: Tensor, sigma: float, sigma_next: float, eta: float, noise: Tensor | None, family: Family
) -> Tensor:
    """Carry `x` [n, ...] from level `sigma` down to `sigma_next`, given the denoised `x0`.

    `eta` 0..1 is the share of fresh `noise` (standard normal, like x; may be None when eta is 0). Finite at sigma = 1
    of a flow, where eta = 1 replaces the old noise completely. At `sigma_next` 0 it is `x0` itself.
    """
    if sigma_next == 0:
        return x0
    keep = _ratio(sigma, sigma_next, family)
    fresh = eta * math.sqrt(1 - keep * keep)
    old = sigma_next * math.sqrt(1 - fresh * fresh)
    moved = _alpha(sigma_next, family) * x0 + old * noise_in(x, x0, sigma, family)
    if fresh == 0:
        return moved
    if noise is None:
        raise HpsError(f"A step with eta {eta} needs fresh noise.")
    return moved + sigma_next * fresh * noise


def _alpha(sigma: float, family: Family) -> float:
    return 1 - sigma if family == "flow" else 1.0


def _ratio(sigma: float, sigma_next: float, family: Family) -> float:
    """Return the noise-to-signal ratio after the step over that before it, 0..1."""
    if sigma_next == sigma:
        return 1.0
    return sigma_next * _alpha(sigma, family) / (sigma * _alpha(sigma_next, family))


@dataclass(frozen=True)
class Trajectory:
    """A sampler as data: which model, over which noise levels, in which way."""

    denoiser: Denoiser
    sigmas: tuple[float, ...]
    """Falling noise levels, one more than there are steps; the last one is usually 0."""
    family: Family
    eta: float = 0.0
    latent: Tensor | None = None
    """[1, ...]: what the noise is added to at the beginning, for image to image; nothing by default."""

    def __post_init__(self) -> None:
        check_levels(self.sigmas, self.family, self.eta)

    @property
    def steps(self) -> int:
        """Number of steps, and of denoiser evaluations for one image."""
        return len(self.sigmas) - 1

    def start(self, noise: Tensor) -> Tensor:
        """Return the noisy latents [n, ...] that sampling starts from."""
        if self.latent is None:
            return self.sigmas[0] * noise
        return noised(self.latent.to(noise), noise, self.sigmas[0], self.family)

    def denoised(self, x: Tensor, index: int) -> Tensor:
        """Return the model's x0 for `x` [n, ...] at the level of step `index`."""
        return self.denoiser(x, torch.full((len(x),), self.sigmas[index], dtype=x.dtype, device=x.device))

    def next(self, x: Tensor, x0: Tensor, index: int, noise: Tensor | None = None) -> Tensor:
        """Return the latents after step `index`."""
        return step(x, x0, self.sigmas[index], self.sigmas[index + 1], self.eta, noise, self.family)

    def stochastic(self, index: int) -> bool:
        """Whether step `index` uses fresh noise."""
        return self.eta > 0 and self.sigmas[index + 1] > 0


def check_levels(sigmas: Sequence[float], family: Family, eta: float) -> None:
    """Raise HpsError unless these are falling noise levels of the family, and eta a share."""
    if family not in FAMILIES:
        raise HpsError(f'The model family is "{family}"; it must be one of {", ".join(FAMILIES)}.')
    if len(sigmas) < 2 or not all(0 <= then < now < math.inf for now, then in pairwise(sigmas)):
        raise HpsError("Noise levels must fall from step to step, down to 0 at the lowest, and be at least two.")
    if family == "flow" and sigmas[0] > 1:
        raise HpsError(f"The first noise level is {sigmas[0]:g}; those of a flow model lie between 0 and 1.")
    if not 0 <= eta <= 1:
        raise HpsError(f"eta is {eta}; it must lie between 0 and 1.")


def render_from(
    denoiser: Denoiser,
    sigmas: Sequence[float],
    family: Family,
    eta: float = 0.0,
    seed: int = 0,
    *,
    latent: Tensor | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Render:
    """Return the sampler noise [n, ...] to latents [n, ...], differentiable when the denoiser is.

    With eta above 0 the fresh noise of each step follows from `seed` alone and is the same for every row and every
    call, so that two noises compare without luck. `on_step` is called before each step; it may raise to stop.
    """
    trajectory = Trajectory(denoiser, tuple(float(sigma) for sigma in sigmas), family, eta, latent)

    def render(noise: Tensor) -> Tensor:
        generator = stream(seed, "steps")
        x = trajectory.start(noise)
        for index in range(trajectory.steps):
            if on_step is not None:
                on_step(index)
            fresh = None
            if trajectory.stochastic(index):
                fresh = torch.randn((1, *noise.shape[1:]), generator=generator).to(x)
            x = trajectory.next(x, trajectory.denoised(x, index), index, fresh)
        return x

    return render
