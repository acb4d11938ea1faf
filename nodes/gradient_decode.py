"""Decoding latents with gradients, by the network of a VAE object of the host.

The host's own VAE.decode is not used: it moves results to the CPU, and when memory runs out it decodes in tiles, in
inference mode, and so loses the gradient without a word. Decoding here is never tiled: when memory runs out, that is
an error that says what to do.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import comfy.model_management as mm
import torch

from ..hpskit.autodiff.aliases import alias, freeze, outside_inference
from ..hpskit.autodiff.blocks import checkpointed_blocks
from ..hpskit.errors import GradientError, ImageError
from . import host

Decode = Callable[[torch.Tensor], torch.Tensor]
BACKWARD = 2.0
"""Memory of decoding with gradients and checkpointed blocks, as a multiple of the host's estimate without."""


def differentiable_decoder(vae: Any, checkpoint: bool = True) -> Decode:
    """Return a function LATENT-space samples [n, C, h, w] -> images [n, 3, H, W] in 0..1, with gradients.

    Samples must have gone through process_latent_out, as those in a LATENT have; images are fp32 on the VAE's device.
    Video VAEs decode [n, C, h, w] and [n, C, 1, h, w] as single frames. With `checkpoint` the blocks of the network
    are computed twice instead of stored. The VAE's weights get frozen for good.
    Raises GradientError when this VAE cannot be differentiated.
    """
    if callable(getattr(vae, "decode_with_gradients", None)):
        return vae.decode_with_gradients  # type: ignore[no-any-return]
    problem = decoder_problem(vae)
    if problem is not None:
        raise GradientError(problem)
    return functools.partial(_decode, vae, checkpoint)


def decoder_problem(vae: Any) -> str | None:
    """Return in one sentence why a VAE gives no gradients, and what to do; None when nothing is known against it."""
    if callable(getattr(vae, "decode_with_gradients", None)):
        return None
    network, patcher = getattr(vae, "first_stage_model", None), getattr(vae, "patcher", None)
    name = type(network if network is not None else vae).__name__
    if not isinstance(network, torch.nn.Module) or patcher is None or not hasattr(vae, "process_output"):
        return f"{name} does not show its network, so no gradient can be taken through it: load a VAE with Load VAE."
    if getattr(vae, "latent_dim", 2) == 1 or getattr(vae, "extra_1d_channel", None) is not None:
        return f"{name} decodes sound, not pictures: connect the VAE of an image model."
    if getattr(vae, "output_channels", 3) not in (3, 4):
        return f"{name} does not decode to RGB pictures: connect the VAE of an image model."
    return None


def _decode(vae: Any, checkpoint: bool, samples: torch.Tensor) -> torch.Tensor:
    mm.throw_exception_if_processing_interrupted()
    network = vae.first_stage_model
    with outside_inference():
        latents = _shaped(vae, alias(samples))
        _load(vae, latents)
        latents = latents.to(vae.device, vae.vae_dtype)
        blocks = checkpointed_blocks([network], caches_unused=True) if checkpoint else contextlib.nullcontext()
        with blocks:
            pixels = network.decode(latents)
        # A clone, since newer hosts work in place on what they are given.
        images = vae.process_output(pixels.to(torch.float32).clone())
    return _single(images, network)


def _load(vae: Any, latents: torch.Tensor) -> None:
    freeze(vae.first_stage_model)  # first, so that the host may move and patch the weights outside inference mode
    estimate = vae.memory_used_decode(latents.shape, vae.vae_dtype)
    host.load_fully([vae.patcher], int(estimate * (BACKWARD if torch.is_grad_enabled() else 1)))
    freeze(vae.first_stage_model)


def _shaped(vae: Any, samples: torch.Tensor) -> torch.Tensor:
    """Return samples with the dimensions that the network takes: video networks want a frame, others do not."""
    if samples.ndim == 5 and samples.shape[2] != 1:
        raise ImageError("This latent holds several frames; gradients are for single images. Use a latent of one.")
    if getattr(vae, "latent_dim", 2) == 3:
        return samples.unsqueeze(2) if samples.ndim == 4 else samples
    return samples[:, :, 0] if samples.ndim == 5 else samples


def _single(images: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
    if images.ndim == 5:
        if images.shape[2] != 1:
            raise ImageError(
                f"{type(network).__name__} made {images.shape[2]} frames of one latent; connect an image VAE."
            )
        images = images[:, :, 0]
    return images[:, :3]
