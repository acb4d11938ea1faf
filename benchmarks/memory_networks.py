"""Networks for benchmarks/gradient_memory.py: classes of the host in their published sizes, without trained weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from memory_host import pack

# isort: split
import comfy.ops
import torch
import torch.nn.functional as F
from comfy.ldm.flux.model import Flux, FluxParams
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.taesd.taesd import TAESD
from memory_counting import Forward, storages_of
from torch import Tensor, nn

checkpointing = pack("nodes.checkpointing")
_vit, _detect = pack("hpskit.scorers.vit"), pack("hpskit.scorers.detect")

HALF = torch.float16


@dataclass(frozen=True)
class Network:
    """A module with the way to call it: `call(x)` for x of shape [n, channels, side, side]."""

    module: nn.Module
    call: Forward
    channels: int
    scale: int
    """Pixels a side of one number of its input."""
    dtype: torch.dtype = HALF

    @property
    def weights(self) -> int:
        """Bytes of its parameters."""
        return sum(parameter.numel() * parameter.element_size() for parameter in self.module.parameters())

    @property
    def excluded(self) -> frozenset[int]:
        """Storages that are weights."""
        return storages_of(self.module)

    def start(self, pixels: int, batch: int = 1) -> Tensor:
        """Return an input for a picture of `pixels` a side."""
        device = next(self.module.parameters()).device
        side = pixels // self.scale
        return torch.zeros(batch, self.channels, side, side, dtype=self.dtype, device=device)


def _ready(module: nn.Module) -> nn.Module:
    module.eval().requires_grad_(False)
    for parameter in module.parameters():
        if not parameter.is_meta:
            parameter.fill_(0.01)  # what is never written would not be resident
    return module


def _conditions(x: Tensor, length: int, width: int, vector: int | None) -> dict[str, Tensor]:
    given = {"context": x.new_zeros(len(x), length, width)}
    return given if vector is None else {**given, "y": x.new_zeros(len(x), vector)}


def _denoiser(module: nn.Module, channels: int, dtype: torch.dtype, *sizes: Any) -> Network:
    def call(x: Tensor) -> Tensor:
        result: Tensor = module(x, x.new_zeros(len(x), dtype=torch.float32), **_conditions(x, *sizes))
        return result

    return Network(_ready(module), call, channels, 8, dtype)


_UNET = {"image_size": 32, "in_channels": 4, "out_channels": 4, "use_spatial_transformer": True, "legacy": False}
_SD1 = {
    "num_res_blocks": [2] * 4,
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
}
_SDXL = {
    "num_res_blocks": [2] * 3,
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "transformer_depth_middle": 10,
    "use_linear_in_transformer": True,
    "num_classes": "sequential",
}


def _made(device: str, dtype: torch.dtype) -> dict[str, Any]:
    return {"device": device, "dtype": dtype, "operations": comfy.ops.disable_weight_init}


def sd15(device: str = "meta", dtype: torch.dtype = HALF, width: int = 320) -> Network:
    """Return the UNet of Stable Diffusion 1.5."""
    heads = {"num_heads": 8, "num_head_channels": -1}
    module = UNetModel(**_UNET, **_SD1, **heads, model_channels=width, context_dim=768, **_made(device, dtype))
    return _denoiser(module, 4, dtype, 77, 768, None)


def sd21(device: str = "meta", dtype: torch.dtype = HALF, width: int = 320) -> Network:
    """Return the UNet of Stable Diffusion 2.1, which SD-Turbo has, too."""
    heads = {"num_heads": -1, "num_head_channels": 64, "use_linear_in_transformer": True}
    module = UNetModel(**_UNET, **_SD1, **heads, model_channels=width, context_dim=1024, **_made(device, dtype))
    return _denoiser(module, 4, dtype, 77, 1024, None)


def sdxl(device: str = "meta", dtype: torch.dtype = HALF, width: int = 320) -> Network:
    """Return the UNet of SDXL and SDXL-Turbo."""
    heads = {"num_heads": -1, "num_head_channels": 64, "adm_in_channels": 2816}
    module = UNetModel(**_UNET, **_SDXL, **heads, model_channels=width, context_dim=2048, **_made(device, dtype))
    return _denoiser(module, 4, dtype, 77, 2048, 2816)


def sd3(device: str = "meta", dtype: torch.dtype = HALF, depth: int = 24) -> Network:
    """Return the transformer of SD3-medium; its width is 64 times its depth."""
    embedder = {"in_features": 4096, "out_features": 64 * depth}
    module = OpenAISignatureMMDITWrapper(
        in_channels=16,
        out_channels=16,
        patch_size=2,
        depth=depth,
        input_size=None,
        adm_in_channels=2048,
        context_embedder_config={"target": "torch.nn.Linear", "params": embedder},
        num_patches=36864,
        pos_embed_max_size=192,
        pos_embed_scaling_factor=None,
        **_made(device, dtype),
    )
    return _denoiser(module, 16, dtype, 154, 4096, 2048)


def flux(
    device: str = "meta",
    dtype: torch.dtype = HALF,
    heads: int = 24,
    depths: tuple[int, int] = (19, 38),
    weights: torch.dtype | None = None,
) -> Network:
    """Return the transformer of Flux-schnell; `weights` stored in another type are cast at every use."""
    made = _made(device, weights or dtype)
    if weights is not None:
        made["operations"] = comfy.ops.manual_cast
    module = Flux(
        image_model="flux",
        in_channels=16,
        out_channels=16,
        patch_size=2,
        vec_in_dim=768,
        context_in_dim=4096,
        hidden_size=128 * heads,
        mlp_ratio=4.0,
        num_heads=heads,
        depth=depths[0],
        depth_single_blocks=depths[1],
        axes_dim=[16, 56, 56],
        theta=10000,
        qkv_bias=True,
        guidance_embed=False,
        **({"txt_ids_dims": []} if "txt_ids_dims" in FluxParams.__dataclass_fields__ else {}),
        **made,
    )
    return _denoiser(module, 16, dtype, 256, 4096, 768)


def flux_fp8() -> Network:
    """Return Flux-schnell with weights in fp8, computed in bfloat16."""
    return flux(dtype=torch.bfloat16, weights=torch.float8_e4m3fn)


@contextlib.contextmanager
def additions_out_of_place() -> Iterator[None]:
    """Let `a += b` make a new tensor: the host's Flux adds in place to what autograd has saved, and then cannot run
    backward. It changes nothing for the others here.
    """
    original = Tensor.__iadd__
    Tensor.__iadd__ = Tensor.__add__  # type: ignore[method-assign]
    try:
        yield
    finally:
        Tensor.__iadd__ = original  # type: ignore[method-assign]


def vae(device: str = "meta", dtype: torch.dtype = HALF, channels: int = 4) -> Network:
    """Return the AutoencoderKL of SD and SDXL, or of SD3 and Flux with 16 channels; decoding is what is called."""
    config = {"double_z": True, "z_channels": channels, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128}
    config = {**config, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}
    with torch.device(device):
        module = AutoencoderKL(ddconfig=config, embed_dim=channels).to(dtype)
    return Network(_ready(module), module.decode, channels, 8, dtype)


def flux_vae() -> Network:
    """Return the VAE of Flux, of the same build with 16 channels, in bfloat16."""
    return vae(dtype=torch.bfloat16, channels=16)


def taesd(device: str = "meta", dtype: torch.dtype = HALF, channels: int = 4) -> Network:
    """Return the tiny VAE; decoding is what is called."""
    with torch.device(device):
        module = TAESD(latent_channels=channels).to(dtype)
    return Network(_ready(module), module.decode, channels, 8, dtype)


def scorer(device: str = "meta", dtype: torch.dtype = HALF, layers: int = 32) -> Network:
    """Return the CLIP ViT-H/14 of HPS v2, its small weights in float32; of its two towers the image tower is called."""
    spec = _detect.ClipSpec(1024, 224, 14, 1280, layers, 16, 5120, 1024, 24, 16, 4096, 77, 49408)
    with torch.device(device):
        module = _vit.ClipNetwork(spec)
    for name, parameter in module.named_parameters():
        parameter.data = parameter.data.to(torch.float32 if _vit.stays_float32(name) else dtype)
    return Network(_ready(module), module.encode_image, 3, 1, dtype)


# --- whole runs ------------------------------------------------------------------------------------------------------


def sampled(network: Network, steps: int, checkpointed: bool) -> Forward:
    """Return Euler steps with the pack's own step checkpoints: float32 noise to float32 latent, as in the host."""

    def predict(x: Tensor, timestep: Tensor, model_options: Any = None, seed: int | None = None) -> Tensor:
        return x - network.call(x.to(network.dtype)).float()

    guider = checkpointing.StepGuider(predict, checkpointing.Calls(), checkpointed)

    def sample(x: Tensor) -> Tensor:
        for _ in range(steps):
            x = x + (guider(x, x.new_zeros(1)) - x) / steps
        return x

    return sample


def whole(sample: Forward, decoder: Network, judge: Network) -> Forward:
    """Return noise to score: sampling, decoding, scaling to the scorer's size, the image tower."""

    def run(noise: Tensor) -> Tensor:
        image = decoder.call(sample(noise).to(decoder.dtype)).float()
        small = F.interpolate((image.clone() + 1) / 2, size=(224, 224), mode="bilinear", antialias=True)
        return judge.call(small.clamp(0, 1))

    return run
