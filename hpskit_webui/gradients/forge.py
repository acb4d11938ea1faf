"""Gradients in Forge: its networks, decoders and what is in their way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from ...hpskit.autodiff.aliases import Aliases, freeze

FULL, NETWORK, CHEAP, TINY = 0, 1, 2, 3
"""Ways to decode, as the host numbers them."""
BACKWARD = 2
"""Memory of decoding with gradients and blocks computed again, as a multiple of the host's estimate without."""


def network(p: Any) -> torch.nn.Module:
    """Return the denoiser with its schedule."""
    return p.sd_model.forge_objects.unet.model  # type: ignore[no-any-return]


def problems(p: Any) -> list[str]:
    """Return one sentence for each reason why this model cannot be differentiated as it is loaded."""
    if not _swapped(network(p)):
        return []
    return [
        "Some weights of the model stay in the computer's memory and are fetched in every step: raise GPU Weights at "
        "the top of the page, or take a smaller model."
    ]


def half(p: Any) -> bool:
    """Return whether the denoiser or the decoder computes in half precision."""
    objects = p.sd_model.forge_objects
    model = objects.unet.model
    computed = getattr(model, "computation_dtype", None) or next(model.parameters()).dtype
    return computed != torch.float32 or objects.vae.vae_dtype != torch.float32


@contextlib.contextmanager
def prepared(p: Any) -> Iterator[None]:
    """Leave the model loaded as it is; give weights that the host has made inference tensors aliases."""
    freeze(network(p))
    yield


@contextlib.contextmanager
def loads(p: Any, wanted: torch.Tensor) -> Iterator[None]:
    """Have model and ControlNets in place for computing a call of the denoiser again, and tidy up as the host does."""
    from backend import memory_management

    unet = p.sd_model.forge_objects.unet
    there = any(loaded.model is unet for loaded in memory_management.current_loaded_models)
    if there and not _controls(unet) and not getattr(unet, "has_online_lora", bool)():
        yield
        return
    from backend.sampling import sampling_function

    sampling_function.sampling_prepare(unet, x=wanted)
    freeze(unet.model)
    try:
        yield
    finally:
        sampling_function.sampling_cleanup(unet)


def settle(p: Any, aliases: Aliases) -> None:
    """Alias what the patchers hold beside the weights: patches of extensions and ControlNets."""
    unet = p.sd_model.forge_objects.unet
    aliases.attributes(unet, skip=("model", "lora_loader", "load_device", "offload_device"))
    for control in _controls(unet):
        aliases.of(control)


def _controls(unet: Any) -> list[Any]:
    return list(getattr(unet, "list_controlnets", list)())


def _swapped(model: torch.nn.Module) -> bool:
    """Return whether the host keeps weights where they are not computed with; it marks such layers."""
    return any(hasattr(module, "prev_parameters_manual_cast") for module in model.modules())


def free_bytes() -> int | None:
    """Return the free memory of the graphics card; None without one."""
    from backend import memory_management

    device = memory_management.get_torch_device()
    return None if device.type == "cpu" else int(memory_management.get_free_memory(device))


# --- decoding --------------------------------------------------------------------------------------------------------


def decoder(p: Any) -> torch.nn.Module:
    """Return the network that decodes, by the host's settings."""
    found = _approximation()
    return p.sd_model.forge_objects.vae.first_stage_model if found is None else found


def way() -> int:
    """Return how the host decodes finished pictures."""
    from modules import sd_samplers_common, shared

    return int(sd_samplers_common.approximation_indexes.get(getattr(shared.opts, "sd_vae_decode_method", ""), FULL))


def _approximation() -> torch.nn.Module | None:
    """Return the small network of the settings; an identity for the formula that stands in for missing ones."""
    kind = way()
    if kind == FULL:
        return None
    from modules import sd_vae_approx, sd_vae_taesd

    found = {NETWORK: sd_vae_approx.model, TINY: sd_vae_taesd.decoder_model}.get(kind, lambda: None)()
    return torch.nn.Identity() if found is None else found


def pixels(p: Any, latent: torch.Tensor) -> torch.Tensor:
    """Decode latents [n, C, h, w] to [n, 3, H, W] in about -1..1, as the host's decode_first_stage does."""
    from modules import devices

    small = _approximation()
    if isinstance(small, torch.nn.Identity):
        from modules import sd_vae_approx

        return sd_vae_approx.cheap_approximation(latent)  # type: ignore[no-any-return]
    if small is not None:
        made = small(latent.to(devices.device, devices.dtype))
        return made * 2 - 1 if way() == TINY else made  # type: ignore[no-any-return]
    return _full(p.sd_model.forge_objects.vae, latent)


def _full(vae: Any, latent: torch.Tensor) -> torch.Tensor:
    from backend import memory_management

    stage = vae.first_stage_model
    latent = stage.process_out(latent)
    freeze(stage)  # before it is moved: the host would make inference tensors in its own mode
    needed = vae.memory_used_decode(latent.shape, vae.vae_dtype) * (BACKWARD if torch.is_grad_enabled() else 1)
    memory_management.load_models_gpu([vae.patcher], memory_required=needed)
    freeze(stage)
    return stage.decode(latent.to(vae.vae_dtype).to(vae.device)).float()  # type: ignore[no-any-return]
