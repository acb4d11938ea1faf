"""Checks before a long run with gradients: is it refused, does one small backward pass work, does it fit the memory.

What is stored for the backward pass is measured on a small latent and grows with the area; so do the blocks that are
computed again. That leaves out the allocator's gaps and temporary memory of single operations: see MARGIN.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management as mm
import torch

from ..hpskit.autodiff.measuring import Activations, Trace, measured, traced
from ..hpskit.autodiff.randomstate import preserved_random_state
from ..hpskit.errors import GradientError
from .differentiable import differentiable, has_control
from .gradient_decode import decoder_problem, differentiable_decoder
from .refusals import refusals
from .sampling import is_out_of_memory

SMALL = 16
"""Side of the small latent: small enough to be quick, and divisible by what the host's networks divide by."""
MARGIN = 1.3
TOLERANCE = {torch.float32: 1e-3}
"""Relative difference between two ways to compute the same that rounding explains; 0.1 for other types."""
PROBE_TOLERANCE = 0.02
_GB = 1 << 30


@dataclass(frozen=True)
class Preflight:
    """What was found: problems stop the run, advice does not."""

    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    bytes_needed: int = 0
    """Beyond what is loaded now, at the real size."""
    bytes_free: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is known that would stop the run."""
        return not self.problems


@dataclass(frozen=True)
class Setup:
    """The arguments of SAMPLER.sample, for batch 1, and what follows."""

    guider: Any
    sampler: Any
    sigmas: torch.Tensor
    extra_args: dict[str, Any]
    noise: torch.Tensor
    latent_image: torch.Tensor | None = None
    denoise_mask: torch.Tensor | None = None
    vae: Any = None
    reward: Callable[[torch.Tensor], torch.Tensor] | None = None
    """Images [1, 3, H, W] in 0..1 -> scores [1]; differentiable."""
    checkpoint: str = "full"

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What `differentiable` takes."""
        return self.guider, self.sampler, self.sigmas, self.extra_args, self.latent_image, self.denoise_mask


def preflight(setup: Setup, probe: bool = False) -> Preflight:
    """Check a run before it starts; with `probe` also compare the gradient with a finite difference, in fp32 only.

    Costs one denoising step forward and backward on a small latent where the conditionings allow it (no areas, masks
    or ControlNets), else at the real size.
    """
    problems = [*refusals(setup.guider, setup.sampler, setup.extra_args)]
    if setup.vae is not None and (problem := decoder_problem(setup.vae)):
        problems.append(problem)
    if problems:
        return Preflight(tuple(problems))
    small, scale = _small(setup)
    with traced(_networks(setup)) as trace:
        try:
            stages = _stages(small, probe)
        except Exception as error:
            mm.throw_exception_if_processing_interrupted()
            if isinstance(error, mm.InterruptProcessingException):
                raise
            where = trace.running[-1] if trace.running else None
            return Preflight((_explained(error, trace, where),))
    if trace.lost is not None:  # a way around it, such as the noise itself, may carry a gradient all the same
        return Preflight((_blocked(trace.lost, "its output has no gradient"),))
    return _judged(setup, stages, scale)


def forward_difference(setup: Setup) -> float:
    """Return |differentiable run - stock run| / |stock run| for the setup's noise; 0 where they are bit-equal."""
    args = (dict(setup.extra_args), None, setup.noise.clone(), setup.latent_image, setup.denoise_mask, True)
    with differentiable(*setup.arguments, checkpoint="none") as render, torch.no_grad():
        ours = render(setup.noise)
        with _same_numbers(render):
            stock = setup.sampler.sample(setup.guider, setup.sigmas, *args)
    return float((ours - stock).norm() / stock.norm().clamp(min=1e-12))


def directional_error(loss: Callable[[torch.Tensor], torch.Tensor], noise: torch.Tensor, step: float = 2e-2) -> float:
    """Return the relative error of a gradient against a finite difference of fourth order along it; fp32 only."""
    start = noise.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(start), start)
    direction = gradient / gradient.norm().clamp(min=1e-30)

    def value(distance: float) -> float:
        with torch.no_grad():
            return float(loss(noise + distance * direction))

    near, far = ((value(h) - value(-h)) / (2 * h) for h in (step, 2 * step))
    exact = float(gradient.norm())
    return abs((4 * near - far) / 3 - exact) / max(abs(exact), 1e-30)


@contextlib.contextmanager
def _same_numbers(render: Any) -> Iterator[None]:
    with preserved_random_state(render.device):
        render.random.restore(render.device)
        yield


def _networks(setup: Setup) -> list[tuple[str, torch.nn.Module]]:
    networks = [("diffusion_model", setup.guider.inner_model.diffusion_model)]
    decoder = getattr(setup.vae, "first_stage_model", None)
    return [*networks, ("vae", decoder)] if isinstance(decoder, torch.nn.Module) else networks


def _small(setup: Setup) -> tuple[Setup, float]:
    """Return the setup with one step, on a small latent where the conditionings allow it, and the ratio of areas."""
    one = replace(setup, sigmas=setup.sigmas[:2])
    height, width = setup.noise.shape[-2:]
    if has_fixed_size(setup) or max(height, width) <= SMALL:
        return one, 1.0
    sides = (slice(0, min(height, SMALL)), slice(0, min(width, SMALL)))
    cut = setup.noise[(..., *sides)]
    latent = None if setup.latent_image is None else setup.latent_image[(..., *sides)]
    return replace(one, noise=cut, latent_image=latent), setup.noise.numel() / cut.numel()


def has_fixed_size(setup: Setup) -> bool:
    """Return whether something in a run was made for latents of one size."""
    if setup.denoise_mask is not None or has_control(setup.guider):
        return True
    conds = [cond for group in setup.guider.conds.values() for cond in group or ()]
    if any(key in cond for cond in conds for key in ("area", "mask", "gligen")):
        return True
    held = [getattr(value, "cond", None) for cond in conds for value in cond.get("model_conds", {}).values()]
    return any(isinstance(value, torch.Tensor) and value.ndim >= 4 for value in held)


def _stages(setup: Setup, probe: bool) -> dict[str, Activations]:
    """Run one step, decode and score it with gradients; return what each stage stores. Raises GradientError."""
    stages: dict[str, Activations] = {}
    with differentiable(*setup.arguments, checkpoint="none") as render:
        gradient = _gradient(setup, render)
        start = setup.noise.clone().requires_grad_(True)
        with measured([setup.guider.inner_model.diffusion_model]) as stages["sampling"]:
            samples = render(start)
        _followed(setup, samples.detach().requires_grad_(True), stages)
        if probe and _in_fp32(setup):
            # Of sampling only: decoders have kinks (ReLU, the clamp to 0..1) that a finite difference steps across.
            alone = replace(setup, vae=None, reward=None)
            _check_probe(directional_error(lambda noise: _followed(alone, render(noise), {}), setup.noise))
    if setup.checkpoint != "none":
        with differentiable(*setup.arguments, checkpoint=setup.checkpoint) as render:
            _check_checkpointing(setup, _gradient(setup, render), gradient)
    _check_forward(setup, forward_difference(setup))
    return stages


def _gradient(setup: Setup, render: Any) -> torch.Tensor:
    start = setup.noise.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(_followed(setup, render(start), {}), start)
    if not bool(torch.isfinite(gradient).all()):
        raise GradientError("The gradient is not finite: use a model in fp32 or bf16, or search without gradients.")
    if not bool(gradient.any()):
        raise GradientError(
            "The gradient is zero: no change of the noise changes the score. Try another scorer or VAE."
        )
    return gradient


def _check_probe(error: float) -> None:
    if error > PROBE_TOLERANCE:
        raise GradientError(
            f"The gradient differs by {error:.0%} from a finite difference, so something in the model does not "
            "differentiate rightly: remove model patches one by one, or search without gradients."
        )


def _check_checkpointing(setup: Setup, found: torch.Tensor, plain: torch.Tensor) -> None:
    """Compare with the gradient without checkpointing: autograd notices there when stored memory was changed."""
    error = float((found - plain).norm() / plain.norm())
    if error > TOLERANCE.get(_dtype(setup), 0.1):
        raise GradientError(
            f"Computing again in the backward pass gives another gradient (by {error:.1%}), so something in the model "
            "is random, keeps state or changes memory: switch checkpointing off, or remove model patches one by one."
        )


def _check_forward(setup: Setup, error: float) -> None:
    if error > TOLERANCE.get(_dtype(setup), 0.1):
        raise GradientError(
            f"The differentiable run differs by {error:.1%} from the plain one for the same noise, so something in "
            "the model is random or keeps state: remove model patches one by one, or search without gradients."
        )


def _followed(setup: Setup, samples: torch.Tensor, stages: dict[str, Activations]) -> torch.Tensor:
    """Return one number of the samples: the score where there is one, else a fixed mix of all values."""
    value = samples
    if setup.vae is not None:
        network = getattr(setup.vae, "first_stage_model", None)
        decode = differentiable_decoder(setup.vae, checkpoint=False)
        out = setup.guider.inner_model.process_latent_out(samples.to(torch.float32))
        with measured([network] if isinstance(network, torch.nn.Module) else []) as stages["decoding"]:
            value = decode(out)
    if setup.reward is not None and setup.vae is not None:
        with measured([]) as stages["scoring"]:
            return setup.reward(value).sum()
    wave = torch.cos(torch.arange(value.numel(), device=value.device, dtype=torch.float32)).reshape(value.shape)
    return (value.float() * wave).sum()


def _dtype(setup: Setup) -> torch.dtype:
    model = setup.guider.inner_model
    cast: torch.dtype | None = getattr(model, "manual_cast_dtype", None)
    return cast or model.get_dtype()  # type: ignore[no-any-return]


def _in_fp32(setup: Setup) -> bool:
    decodes_in_fp32 = setup.vae is None or setup.vae.vae_dtype == torch.float32
    return _dtype(setup) == torch.float32 and decodes_in_fp32


def _explained(error: Exception, trace: Trace, where: str | None) -> str:
    """Return the sentence for a failed trial: what blocks the gradient and what to do."""
    if is_out_of_memory(error):
        return (
            "Even one step with gradients does not fit the memory: use a smaller latent, or search without gradients."
        )
    if isinstance(error, GradientError) and trace.lost is None:
        return str(error)
    if trace.lost is not None:
        return _blocked(trace.lost, "its output has no gradient")
    return _blocked(
        where or "the backward pass", f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}"
    )


def _blocked(where: str, said: str) -> str:
    return (
        f"Gradients stop in {where} ({said}): this layer or the setting behind it has no backward pass. "
        "Choose another attention or precision for the model, remove its patches, or search without gradients."
    )


def _judged(setup: Setup, stages: dict[str, Activations], scale: float) -> Preflight:
    device = setup.guider.model_patcher.load_device
    steps = 1 if setup.checkpoint in ("steps", "full") else max(1, len(setup.sigmas) - 1)
    needs = {name: _bytes(name, found, setup.checkpoint, scale, steps) for name, found in stages.items()}
    needed, free = int(max(needs.values()) * MARGIN), int(mm.get_free_memory(device))
    if needed <= free:
        return Preflight((), (), needed, free)
    worst = max(needs, key=lambda name: needs[name])
    said = (
        f"Gradients need about {needed / _GB:.1f} GB beyond what is loaded ({worst}), and {free / _GB:.1f} GB are free."
    )
    return Preflight((), (said, *_ways_out(setup, worst)), needed, free)


def _bytes(name: str, found: Activations, checkpoint: str, scale: float, steps: int) -> float:
    area = 1.0 if name == "scoring" else scale  # a scorer sees pictures of one size
    blocks = checkpoint != "none" if name == "decoding" else checkpoint in ("blocks", "full")
    return found.needed(blocks) * area * (steps if name == "sampling" else 1)


def _ways_out(setup: Setup, worst: str) -> list[str]:
    ways = [] if setup.checkpoint == "full" else ['Set the checkpointing to "full".']
    if worst == "decoding":
        ways.append("Decode with a tiny VAE (TAESD) for the gradients.")
    return [*ways, "Use a smaller latent.", "Search without gradients, which needs no more than plain sampling."]
