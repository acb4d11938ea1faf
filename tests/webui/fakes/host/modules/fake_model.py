"""A checkpoint of a few hundred numbers in the shape that each host gives it; not a module of the hosts.

The network is deterministic, differentiable and works sample by sample, so that an image does not hang on its batch.
In Forge it is loaded in inference mode and adds its residual in place, as the real one does. With `layout` "sdxl" it is
told a dict of text and vector, the size of the picture in the latter.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from modules import FORGE
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, silu

SCALE = 0.18215
layout = "sd1"
"""Of the checkpoint that is loaded next."""
calls: list[int] = []
"""Batch size of every call of the network."""
decoded: list[int] = []
"""Batch size of every call of the decoder."""


def _weights(name: str, *shape: int) -> nn.Parameter:
    draw = torch.Generator().manual_seed(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    values = torch.randn(shape, generator=draw) / max(1, int(torch.tensor(shape[1:]).prod())) ** 0.5
    return nn.Parameter(values)


class Network(nn.Module):
    """Predicts the finished latent: forward(x [n, 4, h, w], sigma [n], context [n, tokens, 8] or a dict with it)."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = _weights("enter", 8, 4, 3, 3), _weights("leave", 4, 8, 3, 3)
        self.text, self.level, self.side = _weights("text", 8, 8), _weights("level", 8), _weights("side", 2, 8)
        self.register_buffer("gain", torch.tensor(0.7))

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, context: Any, lora: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        rows = [self._one(x[k : k + 1], sigma[k], row(context, k), lora) for k in range(len(x))]
        return torch.cat(rows)

    def _one(self, x: torch.Tensor, sigma: torch.Tensor, context: Any, lora: torch.Tensor) -> torch.Tensor:
        scaled = x / (sigma**2 + 1).sqrt()
        hidden = conv2d(scaled, self.enter, padding=1)
        told = self._read(context) + self.level * (sigma.log1p() + lora)
        extra = silu(hidden + told[None, :, None, None]) + silu(hidden)
        if FORGE:
            hidden += extra
        else:
            hidden = hidden + extra
        return 2 * torch.tanh(self.gain * conv2d(hidden, self.leave, padding=1) + 0.5 * scaled)

    def _read(self, context: Any) -> torch.Tensor:
        if not isinstance(context, dict):
            return context.mean(0) @ self.text  # type: ignore[no-any-return]
        vector = context["vector"]
        return (context["crossattn"].mean(0) + vector[:8]) @ self.text + vector[8:] @ self.side  # type: ignore[no-any-return]


class Vae(nn.Module):
    """Latents [n, 4, h, w] to images [n, 3, 8h, 8w] in -1..1 and back."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.into = _weights("out", 3, 4, 1, 1), _weights("into", 4, 3, 1, 1)
        self.config = SimpleNamespace(latent_channels=4)
        self.dtype = torch.float32

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        decoded.append(len(z))
        rows = []
        for k in range(len(z)):
            colours = conv2d(z[k : k + 1] * SCALE, self.out)
            rows.append(torch.tanh(interpolate(colours, scale_factor=8, mode="bilinear", align_corners=False)))
        return torch.cat(rows)

    def encode(self, x: torch.Tensor, regulation: Any = None) -> torch.Tensor:
        return torch.cat([conv2d(avg_pool2d(x[k : k + 1], 8), self.into) for k in range(len(x))]) / SCALE

    def process_in(self, latent: torch.Tensor) -> torch.Tensor:
        return latent * SCALE

    def process_out(self, latent: torch.Tensor) -> torch.Tensor:
        return latent / SCALE


def embed(prompts: list[str]) -> torch.Tensor:
    """Return [n, 3, 8], one fixed draw for each text."""
    rows = []
    for prompt in prompts:
        draw = torch.Generator().manual_seed(int(hashlib.sha256(prompt.strip().encode()).hexdigest()[:8], 16))
        rows.append(torch.randn((3, 8), generator=draw))
    return torch.stack(rows)


def row(conditionings: Any, k: int) -> Any:
    """Return those of one text, in whichever form."""
    if isinstance(conditionings, dict):
        return {name: value[k] for name, value in conditionings.items()}
    return conditionings[k]


def tell(model: Any, prompts: Any) -> Any:
    """Return what the network is told, in the model's own form; `prompts` know the size of the picture."""
    text = embed(prompts)
    if not model.is_sdxl:
        return text
    sides = torch.tensor([(prompts.width or 1024) / 1024, (prompts.height or 1024) / 1024])
    return {"crossattn": text, "vector": torch.cat([text[:, 0], sides.expand(len(text), 2)], 1)}


class _Common(nn.Module):
    is_sd2 = is_sd3 = is_sdxl_inpaint = False
    sd_model_hash = "fa4efa4efa"
    cond_stage_key = "txt"
    parameterization = "eps"
    latent_channels = 4

    def __init__(self) -> None:
        super().__init__()
        self.is_sdxl, self.is_sd1 = layout == "sdxl", layout == "sd1"
        self.sd_checkpoint_info = SimpleNamespace(
            name_for_extra="fake", title="fake.safetensors [fa4efa4efa]", name="fake.safetensors", short_title="fake",
            filename="fake.safetensors", model_name="fake", shorthash="fa4efa4efa", sha256="fa4e" * 16, hash="fa4e",
        )  # fmt: skip
        self.register_buffer("lora", torch.tensor(0.0))
        self.sigmas = torch.linspace(0.03, 3.8, 1000).exp().sub(1).clamp(min=0.03) * 0.33

    def set_clip_skip(self, clip_skip: int) -> None:
        pass


class A1111Model(_Common):
    """`model.diffusion_model` with weights that ask for gradients, `first_stage_model` without."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.diffusion_model = Network()
        self.model.conditioning_key = "crossattn"
        self.first_stage_model = Vae().requires_grad_(False)
        self.scale_factor = SCALE

    def apply_model(self, x: torch.Tensor, sigma: torch.Tensor, context: Any) -> torch.Tensor:
        return self.model.diffusion_model(x, sigma, context, self.lora)  # type: ignore[operator]

    def get_learned_conditioning(self, prompt: Any) -> Any:
        return tell(self, prompt)

    @torch.no_grad()
    def decode_first_stage(self, z: torch.Tensor) -> torch.Tensor:
        return self.first_stage_model.decode(z / self.scale_factor)

    @torch.no_grad()
    def encode_first_stage(self, x: torch.Tensor) -> torch.Tensor:
        return self.first_stage_model.encode(x)

    def get_first_stage_encoding(self, encoder_posterior: torch.Tensor) -> torch.Tensor:
        return encoder_posterior * self.scale_factor

    @contextlib.contextmanager
    def ema_scope(self, context: Any = None) -> Iterator[None]:
        yield


class ForgeObjects:
    def __init__(self, unet: Any, clip: Any, vae: Any, clipvision: Any) -> None:
        self.unet, self.clip, self.vae, self.clipvision = unet, clip, vae, clipvision

    def shallow_copy(self) -> ForgeObjects:
        return ForgeObjects(self.unet, self.clip, self.vae, self.clipvision)


class ForgeVae:
    """As `backend.patcher.vae.VAE`: decodes into 0..1, channels last."""

    def __init__(self, model: Vae) -> None:
        from backend.patcher.base import ModelPatcher

        self.first_stage_model = model.eval()
        self.device = self.output_device = torch.device("cpu")
        self.vae_dtype, self.downscale_ratio, self.latent_channels = torch.float32, 8, 4
        self.patcher = ModelPatcher(model, load_device=self.device, offload_device=self.device)
        self.memory_used_decode = lambda shape, dtype: 2178 * shape[2] * shape[3] * 64 * 4

    def decode(self, samples_in: torch.Tensor) -> torch.Tensor:
        return ((self.first_stage_model.decode(samples_in) + 1) / 2).clamp(0, 1).movedim(1, -1)

    def encode(self, pixel_samples: torch.Tensor) -> torch.Tensor:
        return self.first_stage_model.encode(pixel_samples.movedim(-1, 1) * 2 - 1)


class Predictor:
    def __init__(self, sigmas: torch.Tensor) -> None:
        self.sigmas = sigmas

    def noise_scaling(self, sigma: Any, noise: Any, latent_image: Any, max_denoise: bool = False) -> torch.Tensor:
        return noise * sigma + latent_image

    def timestep(self, sigma: torch.Tensor) -> torch.Tensor:
        return (self.sigmas[:, None] - sigma.flatten()[None]).abs().argmin(0)


class ForgeModel(_Common):
    """Everything below `forge_objects`; weights and buffers are inference tensors."""

    is_inpaint = use_distilled_cfg_scale = tiling_enabled = False

    def __init__(self) -> None:
        from backend.patcher.base import ModelPatcher

        super().__init__()
        kernel = nn.Module()
        kernel.diffusion_model = Network().requires_grad_(False)
        kernel.predictor = Predictor(self.sigmas)
        cpu = torch.device("cpu")
        unet = ModelPatcher(kernel, load_device=cpu, offload_device=cpu)
        objects = ForgeObjects(unet, SimpleNamespace(patcher=None), ForgeVae(Vae().requires_grad_(False)), None)
        self.forge_objects, self.forge_objects_original = objects, objects.shallow_copy()
        self.forge_objects_after_applying_lora = objects.shallow_copy()
        self.model_config, self.first_stage_model = SimpleNamespace(ztsnr=False), None
        self.comments: list[str] = []
        self.extra_generation_params: dict[str, Any] = {}

    def apply_model(self, x: torch.Tensor, sigma: torch.Tensor, context: Any) -> torch.Tensor:
        return self.forge_objects.unet.model.diffusion_model(x, sigma, context, self.lora)

    @torch.inference_mode()
    def get_learned_conditioning(self, prompt: Any) -> Any:
        return tell(self, prompt)

    @torch.inference_mode()
    def decode_first_stage(self, x: torch.Tensor) -> torch.Tensor:
        vae = self.forge_objects.vae
        return vae.decode(vae.first_stage_model.process_out(x)).movedim(-1, 1) * 2.0 - 1.0

    @torch.inference_mode()
    def encode_first_stage(self, x: torch.Tensor) -> torch.Tensor:
        vae = self.forge_objects.vae
        return vae.first_stage_model.process_in(vae.encode(x.movedim(1, -1) * 0.5 + 0.5))

    def get_first_stage_encoding(self, x: torch.Tensor) -> torch.Tensor:
        return x


def load() -> Any:
    """Return the host's checkpoint, made in the torch mode in which the host loads it."""
    with torch.inference_mode() if FORGE else contextlib.nullcontext():
        return ForgeModel() if FORGE else A1111Model()
