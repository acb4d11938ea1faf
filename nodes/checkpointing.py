"""Gradient checkpointing: store less in the forward pass, and compute it again in the backward pass.

Two levels. Around a denoiser call as the sampler sees it: everything inside (the batch of conditionings, guidance,
ControlNets) is made again, so that memory does not grow with the number of steps. And around the repeated blocks of a
network: so that one call does not need all of its layers at once. Checkpointing the network as a whole would be wrong
with a ControlNet, whose outputs the host's networks take from a list that is then empty.

Method: T. Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016 (arXiv:1604.06174).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import comfy.model_management as mm
import torch

from ..hpskit.autodiff.recompute import Manner, recomputed
from ..hpskit.errors import GradientError
from .guider_stand_in import GuiderStandIn

LEVELS = ("none", "steps", "blocks", "full")
"""What is checkpointed: nothing, denoiser calls, blocks of the network, or both."""
NO_GRADIENT = (
    "The model's prediction carries no gradient: a patch on the model, or a node before the sampler, cuts it off. "
    "Remove the patch, or search without gradients."
)
_NO_OPTIONS: dict[str, Any] = {}


@dataclass
class Calls:
    """What the denoiser was asked for in one render, and whether it may still be asked again."""

    count: int = 0
    """Denoiser calls of the sampler, without those that only compute again."""
    open: bool = True
    """False once what the run needs has been put back."""
    manner: Manner = field(default_factory=Manner)


class StepGuider(GuiderStandIn):
    """What the twin of a sampler sees as its guider: counts calls, lets interrupts through, checkpoints each call."""

    def __init__(self, guider: Any, calls: Calls, checkpointed: bool, options: Any = None) -> None:
        """`options` are the model options of the run."""
        super().__init__(guider, _calls=calls, _checkpointed=checkpointed, _options=options)

    def __call__(
        self, x: torch.Tensor, timestep: torch.Tensor, model_options: Any = None, seed: int | None = None
    ) -> torch.Tensor:
        """Return the denoised latent."""
        guider, calls = self.__dict__["_guider"], self.__dict__["_calls"]
        options = _NO_OPTIONS if model_options is None else model_options
        mm.throw_exception_if_processing_interrupted()
        calls.count += 1

        def denoise(latent: torch.Tensor) -> Any:
            if not calls.open:
                raise GradientError("The backward pass must come before the end of the differentiable() block.")
            return guider(latent, timestep, model_options=options, seed=seed)

        if not (torch.is_grad_enabled() and x.requires_grad):
            return denoise(x)
        # A sampler with model options of its own (the CFG++ ones) takes tensors out of the call by the back door.
        if self.__dict__["_checkpointed"] and model_options is self.__dict__["_options"]:
            return recomputed(denoise, x, keep_random=True, lost=NO_GRADIENT, manner=calls.manner)
        denoised = denoise(x)
        if not denoised.requires_grad:  # samplers add x to it, so that a gradient would come out, and be wrong
            raise GradientError(NO_GRADIENT)
        return denoised
