"""A sampling run of the host as a differentiable function of its initial noise.

It is used from inside a SAMPLER. By then the guider has loaded the models, applied LoRA, prepared conditionings and
ControlNets, so that whatever was wired keeps working. What stands in the way of gradients is removed for the time of a
`with` block: inference mode, torch.no_grad on samplers, inference tensors, attention without a backward pass, weights
that move. Noise inside stochastic samplers is drawn as in a plain run, the same in every render.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.ldm.modules import attention

from ..hpskit.autodiff.aliases import Aliases, freeze, outside_inference
from ..hpskit.autodiff.blocks import checkpointed_blocks, protected_inputs
from ..hpskit.autodiff.randomstate import RandomState, preserved_random_state
from ..hpskit.errors import GradientError
from . import host
from .checkpointing import LEVELS, Calls, StepGuider
from .gradients import sampler_name, twin_of
from .refusals import left_out, refusals

EXACT_ATTENTION = {"attention_basic", "attention_sub_quad", "attention_split", "attention_pytorch"}
"""Implementations of attention in the host that have a correct backward pass: they are left as they are."""


@dataclass
class Render:
    """Noise [n, ...] -> samples [n, ...] as the sampler returns them, in the model's latent space.

    Differentiable where gradients are enabled. Each item is sampled alone, so that item k depends on noise k only and
    equals a plain run of batch 1, with the same random numbers in every render.
    """

    guider: Any
    sampler: Any
    sigmas: torch.Tensor
    extra_args: dict[str, Any]
    latent_image: torch.Tensor | None
    denoise_mask: torch.Tensor | None
    steps_checkpointed: bool
    modules: list[torch.nn.Module]
    device: torch.device
    random: RandomState
    calls: Calls = field(default_factory=Calls)

    def __call__(self, noise: torch.Tensor) -> torch.Tensor:
        """Sample; raises GradientError where the sampler loses the gradient on its way."""
        if not self.calls.open:
            raise GradientError("This render belongs to a differentiable() block that has ended.")
        self.calls.count = 0
        with outside_inference():
            for module in self.modules:
                freeze(module)  # a module that the host has moved meanwhile
            samples = torch.cat([self._one(noise[k : k + 1]) for k in range(len(noise))])
        if torch.is_grad_enabled() and noise.requires_grad and not samples.requires_grad:
            raise GradientError(
                f"The sampler {sampler_name(self.sampler)} gives no gradient, although it says nothing against it: "
                "it switches gradients off inside. Choose one of the stock samplers, or search without gradients."
            )
        return samples

    def _one(self, noise: torch.Tensor) -> torch.Tensor:
        with preserved_random_state(self.device):
            self.random.restore(self.device)
            return self._twin_sample(noise)

    def _twin_sample(self, noise: torch.Tensor) -> torch.Tensor:
        options = self.extra_args.get("model_options")
        guider = StepGuider(self.guider, self.calls, self.steps_checkpointed, options)
        start = (Aliases().of(noise) if noise.is_inference() else noise).to(self.device, torch.float32)
        args = (guider, self.sigmas, dict(self.extra_args), None, start, self.latent_image, self.denoise_mask, True)
        samples: torch.Tensor = twin_of(self.sampler).sample(*args)
        return samples


@contextlib.contextmanager
def differentiable(
    model_wrap: Any,
    sampler: Any,
    sigmas: torch.Tensor,
    extra_args: dict[str, Any],
    latent_image: torch.Tensor | None = None,
    denoise_mask: torch.Tensor | None = None,
    *,
    checkpoint: str = "full",
) -> Iterator[Render]:
    """Give a differentiable render of what `sampler.sample` with these arguments returns.

    The arguments are those that the host passes to SAMPLER.sample, for batch 1. The backward pass belongs inside the
    block, too. `checkpoint` is one of LEVELS. Inside, gradients are enabled; use torch.no_grad() for renders without.
    Raises GradientError with one sentence per reason when gradients would be missing or wrong.
    """
    if checkpoint not in LEVELS:
        raise ValueError(f'checkpoint must be one of {", ".join(LEVELS)}, not "{checkpoint}".')
    problems = refusals(model_wrap, sampler, extra_args)
    if problems:
        raise GradientError(" ".join(problems))
    aliases, calls = Aliases(), Calls()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.callback(aliases.undo)
        networks = _prepared(model_wrap, aliases)
        stack.enter_context(host.keep_loaded(patchers(model_wrap)))
        host.load_fully(())
        _check_loaded(model_wrap)
        if checkpoint in ("blocks", "full"):
            stack.enter_context(checkpointed_blocks(networks))
        if _changes_in_place(model_wrap, extra_args):
            stack.enter_context(protected_inputs(networks))
        device = model_wrap.model_patcher.load_device
        tensors = [aliases.of(tensor) for tensor in (sigmas, latent_image, denoise_mask)]
        arguments = {**extra_args, "model_options": _options(aliases.of(extra_args.get("model_options", {})))}
        stack.callback(setattr, calls, "open", False)
        yield Render(
            model_wrap,
            sampler,
            tensors[0],
            arguments,
            tensors[1],
            tensors[2],
            checkpoint in ("steps", "full"),
            aliases.modules,
            device,
            RandomState.capture(device),
            calls,
        )


def patchers(guider: Any) -> list[Any]:
    """Return the models that a run of a guider needs: the diffusion model, then ControlNets and the like."""
    return list(dict.fromkeys((guider.model_patcher, *(getattr(guider, "loaded_models", None) or ()))))


def controls(guider: Any) -> list[Any]:
    """Return the ControlNets in the conditionings of a guider, with those chained before them."""
    found: list[Any] = []
    waiting = [cond["control"] for group in guider.conds.values() for cond in group or () if cond.get("control")]
    while waiting:
        control = waiting.pop()
        if control is not None and all(control is not other for other in found):
            found.append(control)
            waiting.append(getattr(control, "previous_controlnet", None))
    return found


def has_control(guider: Any) -> bool:
    """Return whether a ControlNet takes part in a run."""
    return bool(controls(guider))


def _changes_in_place(guider: Any, extra_args: dict[str, Any]) -> bool:
    """Return whether something may change what passes between the blocks of the network, after it was stored."""
    patches = (extra_args.get("model_options") or {}).get("transformer_options", {}).get("patches", {})
    return has_control(guider) or any("block" in name or "middle" in name for name in patches)


def _prepared(guider: Any, aliases: Aliases) -> list[torch.nn.Module]:
    """Alias whatever the run touches; return the networks in which blocks can be checkpointed."""
    aliases.of(guider.inner_model)
    for patcher in patchers(guider):
        aliases.of(patcher)
    aliases.attributes(guider, skip=("model_patcher", "inner_model", "loaded_models", "original_conds"))
    others = [module for module in aliases.modules if module is not guider.inner_model]
    return [guider.inner_model.diffusion_model, *others]


def _check_loaded(guider: Any) -> None:
    for patcher in patchers(guider):
        wanted = patcher.load_device.type
        if any(parameter.device.type != wanted for parameter in patcher.model.parameters()):
            raise GradientError(
                f"The model {type(patcher.model).__name__} does not fit the device's memory as a whole, and gradients "
                "need all of it at once: use a smaller or quantised-by-fp8 model, start the host without --novram and "
                "--lowvram, or search without gradients."
            )


def _options(options: dict[str, Any]) -> dict[str, Any]:
    """Return model options for a run with gradients: differentiable attention, and no compiled network."""
    inside = dict(options.get("transformer_options", {}))
    inside["optimized_attention_override"] = _attention
    if "wrappers" in inside:
        inside["wrappers"] = left_out(inside["wrappers"])
    return {**options, "transformer_options": inside}


def _attention(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Compute attention as the host would where that has a backward pass, else with PyTorch's own."""
    chosen = function if function.__name__ in EXACT_ATTENTION else attention.attention_pytorch
    return chosen(*args, **kwargs)
