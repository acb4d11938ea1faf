"""What all samplers share: decoding, previews, the swapped random source, the launch."""

from __future__ import annotations

import inspect
from collections import namedtuple
from typing import Any

import k_diffusion.sampling
import numpy as np
import torch
from modules import FORGE, shared
from modules.shared import opts, state
from PIL import Image

SamplerDataTuple = namedtuple("SamplerDataTuple", ["name", "constructor", "aliases", "options"])
approximation_indexes = {"Full": 0, "Approx NN": 1, "Approx cheap": 2, "TAESD": 3}


class SamplerData(SamplerDataTuple):
    def total_steps(self, steps: int) -> int:
        return steps * 2 if self.options.get("second_order", False) else steps


class InterruptedException(BaseException):
    pass


def setup_img2img_steps(p: Any, steps: int | None = None) -> tuple[int, int]:
    if opts.img2img_fix_steps or steps is not None:
        wanted = steps or p.steps
        return (int(wanted / min(p.denoising_strength, 0.999)) if p.denoising_strength > 0 else 0), wanted - 1
    return p.steps, int(min(p.denoising_strength, 0.999) * p.steps)


def decode_first_stage(model: Any, x: torch.Tensor) -> torch.Tensor:
    return (model or shared.sd_model).decode_first_stage(x)  # type: ignore[no-any-return]


def images_tensor_to_samples(image: torch.Tensor, approximation: Any = None, model: Any = None) -> torch.Tensor:
    model = model or shared.sd_model
    return model.get_first_stage_encoding(model.encode_first_stage(image * 2 - 1))  # type: ignore[no-any-return]


def single_sample_to_image(sample: torch.Tensor, approximation: Any = None) -> Image.Image:
    pixels = (decode_first_stage(None, sample[None])[0] * 0.5 + 0.5).clamp(0, 1) * 255
    return Image.fromarray(np.moveaxis(pixels.detach().numpy(), 0, 2).astype(np.uint8))


def sample_to_image(samples: torch.Tensor, index: int = 0, approximation: Any = None) -> Image.Image:
    return single_sample_to_image(samples[index], approximation)


def samples_to_image_grid(samples: torch.Tensor, approximation: Any = None) -> Image.Image:
    from modules import images

    return images.image_grid([single_sample_to_image(sample, approximation) for sample in samples])


def store_latent(decoded: torch.Tensor) -> None:
    state.current_latent = decoded


def is_sampler_using_eta_noise_seed_delta(p: Any) -> bool:
    return False


class TorchHijack:
    """Stands for `torch` inside the samplers, so that their noise comes from the batch's own generators."""

    def __init__(self, p: Any) -> None:
        self.rng = p.rng

    def __getattr__(self, item: str) -> Any:
        return getattr(torch, item)

    def randn_like(self, x: torch.Tensor) -> torch.Tensor:
        return self.rng.next()  # type: ignore[no-any-return]


class Sampler:
    def __init__(self, funcname: Any) -> None:
        self.funcname = self.func = funcname
        self.config: Any = None
        self.stop_at = self.eta = self.last_latent = self.s_min_uncond = None
        self.s_churn, self.s_tmin, self.s_tmax, self.s_noise = 0.0, 0.0, float("inf"), 1.0
        self.eta_option_field, self.eta_infotext_field, self.eta_default = "eta_ancestral", "Eta", 1.0
        self.conditioning_key = "crossattn"
        self.extra_params: list[str] = []
        self.p = self.model_wrap_cfg = self.sampler_extra_args = self.sampler_noises = None  # type: Any
        self.options: dict[str, Any] = {}

    def callback_state(self, d: dict[str, Any]) -> None:
        if self.stop_at is not None and d["i"] > self.stop_at:
            raise InterruptedException
        state.sampling_step = d["i"]
        shared.total_tqdm.update()

    def launch_sampling(self, steps: int, func: Any) -> Any:
        self.model_wrap_cfg.steps, self.model_wrap_cfg.total_steps = steps, self.config.total_steps(steps)
        state.sampling_steps, state.sampling_step = steps, 0
        try:
            return func()
        except InterruptedException:
            return self.last_latent

    def number_of_needed_noises(self, p: Any) -> int:
        return p.steps  # type: ignore[no-any-return]

    def initialize(self, p: Any) -> dict[str, Any]:
        self.p = self.model_wrap_cfg.p = p
        self.model_wrap_cfg.mask, self.model_wrap_cfg.nmask = getattr(p, "mask", None), getattr(p, "nmask", None)
        self.model_wrap_cfg.step = 0
        self.eta = p.eta if p.eta is not None else getattr(opts, self.eta_option_field, 0.0)
        self.s_min_uncond = getattr(p, "s_min_uncond", 0.0)
        k_diffusion.sampling.torch = TorchHijack(p)  # type: ignore[attr-defined]
        if "eta" not in inspect.signature(self.func).parameters:
            return {}
        if self.eta != self.eta_default:
            p.extra_generation_params[self.eta_infotext_field] = self.eta
        return {"eta": self.eta}

    def create_noise_sampler(self, x: Any, sigmas: Any, p: Any) -> Any:
        if opts.no_dpmpp_sde_batch_determinism:
            return None
        seeds = p.all_seeds[p.iteration * p.batch_size : (p.iteration + 1) * p.batch_size]
        return k_diffusion.sampling.BrownianTreeNoiseSampler(x, sigmas[sigmas > 0].min(), sigmas.max(), seed=seeds)

    def sample(
        self, p: Any, x: Any, conditioning: Any, unconditional_conditioning: Any, steps: Any = None,
        image_conditioning: Any = None,
    ) -> Any:  # fmt: skip
        raise NotImplementedError

    def sample_img2img(
        self, p: Any, x: Any, noise: Any, conditioning: Any, unconditional_conditioning: Any, steps: Any = None,
        image_conditioning: Any = None,
    ) -> Any:  # fmt: skip
        raise NotImplementedError

    def add_infotext(self, p: Any) -> None:
        if FORGE:
            return
