"""Gradients in Forge and its relatives that keep ComfyUI's names (reForge, Forge Classic): networks and decoders."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from ...hpskit.autodiff.aliases import Aliases, freeze
from ..bridge.residency import management

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
        "Some weights of the model stay in the computer's memory and are fetched in every step: take a smaller model, "
        "or raise GPU Weights at the top of the page (Forge)."
    ]


def half(p: Any) -> bool:
    """Return whether the denoiser or the decoder computes in half precision."""
    objects = p.sd_model.forge_objects
    model = objects.unet.model
    named = (getattr(model, name, None) for name in ("computation_dtype", "manual_cast_dtype"))
    computed = next((dtype for dtype in named if dtype is not None), None) or next(model.parameters()).dtype
    return computed != torch.float32 or objects.vae.vae_dtype != torch.float32


@contextlib.contextmanager
def prepared(p: Any) -> Iterator[None]:
    """Leave the model loaded as it is; give weights that the host has made inference tensors aliases."""
    freeze(network(p))
    yield


@contextlib.contextmanager
def loads(p: Any, wanted: torch.Tensor) -> Iterator[None]:
    """Have model and ControlNets in place for computing a call of the denoiser again, and tidy up as the host does."""
    unet = p.sd_model.forge_objects.unet
    there = any(loaded.model is unet for loaded in management().current_loaded_models)
    if there and not _controls(unet) and not getattr(unet, "has_online_lora", bool)():
        yield
        return
    sampling = _sampling()
    sampling.sampling_prepare(unet, x=wanted)
    freeze(unet.model)
    try:
        yield
    finally:
        sampling.sampling_cleanup(unet)


def _sampling() -> Any:
    try:
        from backend.sampling import sampling_function as found
    except ImportError:
        from modules_forge import forge_sampler as found
    return found


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
    marks = ("prev_parameters_manual_cast", "prev_ldm_patched_cast_weights")
    return any(hasattr(module, mark) for module in model.modules() for mark in marks)


def free_bytes() -> int | None:
    """Return the free memory of the graphics card; None without one."""
    device = management().get_torch_device()
    return None if device.type == "cpu" else int(management().get_free_memory(device))


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
    return _full(p.sd_model.forge_objects, latent)


def _full(objects: Any, latent: torch.Tensor) -> torch.Tensor:
    vae, stage = objects.vae, objects.vae.first_stage_model
    scaled = stage if hasattr(stage, "process_out") else objects.unet.model.model_config.latent_format
    latent = scaled.process_out(latent)
    freeze(stage)  # before it is moved: the host would make inference tensors in its own mode
    needed = vae.memory_used_decode(latent.shape, vae.vae_dtype) * (BACKWARD if torch.is_grad_enabled() else 1)
    management().load_models_gpu([vae.patcher], memory_required=needed)
    freeze(stage)
    return stage.decode(latent.to(vae.vae_dtype).to(vae.device)).float()  # type: ignore[no-any-return]
