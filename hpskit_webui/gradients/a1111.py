"""Gradients in Automatic1111: its networks, decoders and what is in their way."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch

from ...hpskit.autodiff.aliases import Aliases
from ...hpskit.errors import GradientError

UPCAST = (torch.float16, torch.bfloat16)
FULL, NETWORK, CHEAP, TINY = 0, 1, 2, 3
"""Ways to decode, as the host numbers them."""


def network(p: Any) -> torch.nn.Module:
    """Return the denoiser."""
    return p.sd_model.model  # type: ignore[no-any-return]


def problems(p: Any) -> list[str]:
    """Return one sentence for each reason why this model cannot be differentiated as it is set up."""
    from modules import shared

    found = []
    if getattr(shared.cmd_opts, "lowvram", False):
        found.append(
            "--lowvram moves parts of the model out of the graphics card in the middle of a step: start with --medvram."
        )
    unet = getattr(sys.modules.get("modules.sd_unet"), "current_unet", None)
    if unet is not None:
        label = getattr(getattr(unet, "option", None), "label", "")
        found.append(f'The setting SD Unet is "{label}", an engine for making pictures only: choose None.')
    return found


def half(p: Any) -> bool:
    """Return whether the denoiser or the decoder computes in half precision."""
    from modules import devices

    return devices.dtype_unet in UPCAST or devices.dtype_vae in UPCAST


def loads(p: Any, wanted: torch.Tensor) -> contextlib.AbstractContextManager[None]:
    """Have everything in place for computing a call of the denoiser again: with --medvram hooks of the host do it."""
    return contextlib.nullcontext()


def settle(p: Any, aliases: Aliases) -> None:
    """Nothing of this host holds inference tensors."""


@contextlib.contextmanager
def prepared(p: Any) -> Iterator[None]:
    """Switch the checkpointing of ldm off, which is for training: it asks for gradients of all weights."""
    changed = []
    try:
        for module in network(p).modules():
            for name in ("checkpoint", "use_checkpoint"):
                if vars(module).get(name) is True:
                    vars(module)[name] = False
                    changed.append((module, name))
        yield
    finally:
        for module, name in changed:
            vars(module)[name] = True


def free_bytes() -> int | None:
    """Return the free memory of the graphics card; None without one."""
    from modules import devices

    if devices.device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(devices.device)
    return int(free) + torch.cuda.memory_reserved(devices.device) - torch.cuda.memory_allocated(devices.device)


# --- decoding --------------------------------------------------------------------------------------------------------


def decoder(p: Any) -> torch.nn.Module:
    """Return the network that decodes, by the host's settings."""
    kind = way()
    if kind in (FULL, CHEAP):
        return p.sd_model.first_stage_model if kind == FULL else torch.nn.Identity()
    from modules import sd_vae_approx, sd_vae_taesd

    return sd_vae_taesd.decoder_model() if kind == TINY else sd_vae_approx.model()  # type: ignore[no-any-return]


def way() -> int:
    """Return how the host decodes finished pictures."""
    from modules import sd_samplers_common, shared

    return int(sd_samplers_common.approximation_indexes.get(getattr(shared.opts, "sd_vae_decode_method", ""), FULL))


def pixels(p: Any, latent: torch.Tensor) -> torch.Tensor:
    """Decode latents [n, C, h, w] to [n, 3, H, W] in about -1..1, as the host's decode_first_stage does."""
    from modules import devices

    kind = way()
    if kind == CHEAP:
        from modules import sd_vae_approx

        return sd_vae_approx.cheap_approximation(latent)  # type: ignore[no-any-return]
    if kind in (NETWORK, TINY):
        made = decoder(p)(latent.to(devices.device, devices.dtype))
        return made * 2 - 1 if kind == TINY else made  # type: ignore[no-any-return]
    made = _full(p.sd_model, latent)
    finer = _finer(made) if bool(torch.isfinite(latent).all()) else None
    if finer is None:
        return made
    devices.dtype_vae = finer
    p.sd_model.first_stage_model.to(finer)
    return _full(p.sd_model, latent)


def _full(model: Any, latent: torch.Tensor) -> torch.Tensor:
    from modules import devices

    stage = model.first_stage_model
    latent = latent.to(devices.dtype_vae).to(next(stage.parameters()).dtype)
    with devices.without_autocast():
        return stage.decode(_unscaled(model, latent))  # type: ignore[no-any-return]


def _finer(made: torch.Tensor) -> torch.dtype | None:
    """Return the precision to which the host would turn its VAE after this picture, for good; None where it would not.

    The VAE of SDXL gives no numbers in half precision; the host notices with the first picture that it decodes.
    """
    from modules import devices, shared

    try:
        devices.test_for_nans(made[0].detach(), "vae")
    except devices.NansException:
        pass
    else:
        return None
    turns = {"auto_vae_precision_bfloat16": torch.bfloat16, "auto_vae_precision": torch.float32}
    wanted = next((dtype for name, dtype in turns.items() if getattr(shared.opts, name, False)), None)
    return None if wanted == devices.dtype_vae else wanted


def _unscaled(model: Any, latent: torch.Tensor) -> torch.Tensor:
    if hasattr(model, "latent_format"):
        return model.latent_format.process_out(latent)  # type: ignore[no-any-return]
    if not hasattr(model, "scale_factor"):
        raise GradientError(
            f"The decoder of {type(model).__name__} is unknown, so it gives no gradient. Noise search works as it is."
        )
    return 1.0 / model.scale_factor * latent  # type: ignore[no-any-return]
