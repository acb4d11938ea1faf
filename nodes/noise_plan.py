"""What a noise optimisation is to do: the person's settings, the methods by name, and the noises to begin with."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.sample
import torch

from ..hpskit.autodiff.randomstate import RandomState, preserved_random_state
from ..hpskit.errors import NoiseError, SelectionError
from ..hpskit.search.method import Method
from ..hpskit.search.reno import Geodesic, Reno
from ..hpskit.search.sphere import SphereSearch, ZeroOrder
from ..hpskit.search.subspace import SubspaceSearch
from ..hpskit.types import Scorer
from .sampling import Sampling, reseeded, seeds_from

log = logging.getLogger("hps")

METHOD, ITERATIONS, SCREEN = "geodesic (gradient)", 10, 8
"""The defaults are what won on the miniatures, see docs/noise_optimisation.md."""
STOP, KEEP = "stop the queue", "keep the best so far"


@dataclass(frozen=True)
class Plan:
    """The person's settings; a limit of 0 is off."""

    vae: Any
    scorer: Scorer
    prompt: str
    method: str = METHOD
    iterations: int = ITERATIONS
    max_seconds: float = 0.0
    screen: int = SCREEN
    starts: int = 1
    population: int = 4
    max_drift: float = 60.0
    """Degrees; methods with gradients only."""
    target: float = 0.0
    match_saved_file: bool = True
    checkpointing: str = "auto"
    on_cancel: str = STOP
    held_out: Scorer | None = None
    fast_vae: Any = None

    @property
    def keeps(self) -> bool:
        """Whether a stop by hand gives the best so far."""
        return self.on_cancel == KEEP

    @property
    def uses_gradients(self) -> bool:
        """Whether the method needs a backward pass."""
        return self.method.endswith("(gradient)")

    @property
    def children(self) -> int:
        """Images of one iteration."""
        return 1 if self.uses_gradients else self.population

    def share(self, screened: int) -> float:
        """Return which part of the whole work one image of an iteration is, a gradient counted as three images."""
        each = 3 if self.uses_gradients else 1
        return 1 / (self.children * (screened + each * min(self.starts, screened) * self.iterations))


Maker = Callable[[Plan, int, "torch.Tensor | None"], Method]


def _geodesic(plan: Plan, seed: int, mask: torch.Tensor | None) -> Method:
    return Geodesic(max_angle=_radians(plan))


def _reno(plan: Plan, seed: int, mask: torch.Tensor | None) -> Method:
    return Reno(max_angle=_radians(plan))


def _radians(plan: Plan) -> float | None:
    return math.radians(plan.max_drift) if plan.max_drift > 0 else None


METHODS: dict[str, Maker] = {
    "geodesic (gradient)": _geodesic,
    "reno (gradient)": _reno,
    "sphere search": lambda plan, seed, mask: SphereSearch(plan.population, seed, mask=mask),
    "subspace search": lambda plan, seed, mask: SubspaceSearch(
        population=max(2, plan.population), seed=seed, mask=mask
    ),
    "zero-order search": lambda plan, seed, mask: ZeroOrder(plan.population, seed, mask=mask),
}


def make_method(plan: Plan, seed: int, mask: torch.Tensor | None) -> Method:
    """Return the method; `mask` [1, C, ...] or None is what an inpainting may change."""
    usable = mask is not None and bool((mask > 0.5).any())
    return METHODS[plan.method](plan, seed, mask.float().cpu() if mask is not None and usable else None)


@dataclass(frozen=True)
class Beginning:
    """Where a run begins."""

    seed: int
    """Seed of the sampler, the same for every image: what a stochastic sampler draws on its way does not change."""
    noises: torch.Tensor
    """[k, ...] float32 on the CPU; the first is the person's own."""
    random: RandomState
    """State of torch's global generators in which every image begins."""
    notes: tuple[str, ...] = ()


def beginning(job: Sampling, screen: int) -> Beginning:
    """Draw the person's noise and, with seeds counting up, those to screen.

    Raises SelectionError when there is nothing to sample, NoiseError when there is no noise to optimise.
    """
    if job.sigmas.numel() < 2:
        raise SelectionError("There are no steps to sample (is denoise 0?), so no noise has an effect.")
    device = job.guider.model_patcher.load_device
    with preserved_random_state(device):
        noises = [job.noise.generate_noise(job.latent)]
        _check(noises[0])
        others, note = _others(job, screen - 1)
        # The state in which the host's own noise leaves the generators, and OptimizedNoise, too.
        comfy.sample.prepare_noise(job.latent["samples"], job.noise.seed)
        random = RandomState.capture(device)
    stacked = torch.cat([noise.float().cpu() for noise in (*noises, *others)])
    return Beginning(job.noise.seed, stacked, random, note)


def _check(noise: torch.Tensor) -> None:
    if getattr(noise, "is_nested", False) or not bool(torch.isfinite(noise).all()):
        raise NoiseError("The starting noise holds several streams or numbers that are not finite.")
    if not bool(noise.any()):
        raise NoiseError(
            "The starting noise is all zeros (Disable Noise), so there is nothing to optimise. Use RandomNoise."
        )


def _others(job: Sampling, count: int) -> tuple[list[torch.Tensor], tuple[str, ...]]:
    if count < 1:
        return [], ()
    try:
        seeds = seeds_from(job.noise.seed, count + 1)[1:]
        return [reseeded(job.noise, seed).generate_noise(job.latent) for seed in seeds], ()
    except SelectionError:
        return [], ("this NOISE has no other seeds, so it was the only start.",)
