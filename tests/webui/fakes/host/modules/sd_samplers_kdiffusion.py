"""The samplers of k-diffusion behind the host's interface."""

from __future__ import annotations

import inspect
from typing import Any

import k_diffusion.external
import k_diffusion.sampling
import torch
from modules import FORGE, script_callbacks, sd_samplers_cfg_denoiser, sd_samplers_common, sd_schedulers, shared
from modules.shared import opts

samplers_k_diffusion: list[tuple[str, str, list[str], dict[str, Any]]] = [
    ("DPM++ 2M", "sample_dpmpp_2m", ["k_dpmpp_2m"], {"scheduler": "karras"}),
    ("DPM++ SDE", "sample_dpmpp_sde", ["k_dpmpp_sde"],
     {"scheduler": "karras", "second_order": True, "brownian_noise": True}),
    ("Euler a", "sample_euler_ancestral", ["k_euler_a"], {"uses_ensd": True}),
    ("Euler", "sample_euler", ["k_euler"], {}),
]  # fmt: skip


class CFGDenoiserKDiffusion(sd_samplers_cfg_denoiser.CFGDenoiser):
    @property
    def inner_model(self) -> Any:
        if self.model_wrap is None:
            if FORGE:
                predictor = shared.sd_model.forge_objects.unet.model.predictor
                self.model_wrap = k_diffusion.external.ForgeScheduleLinker(predictor)
                self.model_wrap.inner_model = shared.sd_model
            else:
                self.model_wrap = k_diffusion.external.CompVisDenoiser(shared.sd_model)
        return self.model_wrap


class KDiffusionSampler(sd_samplers_common.Sampler):
    def __init__(self, funcname: Any, sd_model: Any, options: Any = None) -> None:
        super().__init__(funcname)
        self.options = options or {}
        self.func = funcname if callable(funcname) else getattr(k_diffusion.sampling, funcname)
        self.model_wrap_cfg = CFGDenoiserKDiffusion(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def get_sigmas(self, p: Any, steps: int) -> torch.Tensor:
        name = (p.hr_scheduler if p.is_hr_pass else p.scheduler) or "Automatic"
        if name == "Automatic":
            name = self.config.options.get("scheduler")
        scheduler = sd_schedulers.schedulers_map.get(name)
        if scheduler is None or scheduler.function is None:
            return self.model_wrap.get_sigmas(steps)  # type: ignore[no-any-return]
        if not p.is_hr_pass:
            p.extra_generation_params["Schedule type"] = scheduler.label
        every = self.model_wrap.sigmas
        return scheduler.function(n=steps, sigma_min=every[0].item(), sigma_max=every[-1].item(), device="cpu")

    def sample_img2img(
        self, p: Any, x: Any, noise: Any, conditioning: Any, unconditional_conditioning: Any, steps: Any = None,
        image_conditioning: Any = None,
    ) -> Any:  # fmt: skip
        steps, t_enc = sd_samplers_common.setup_img2img_steps(p, steps)
        sigmas = self.get_sigmas(p, steps)
        schedule = sigmas[steps - t_enc - 1 :]
        noisy = x + noise * schedule[0]
        if opts.img2img_extra_noise > 0:
            extra = script_callbacks.ExtraNoiseParams(noise, x, noisy)
            script_callbacks.extra_noise_callback(extra)
            noisy = noisy + extra.noise * opts.img2img_extra_noise
        self.model_wrap_cfg.init_latent = self.last_latent = x
        told = (conditioning, unconditional_conditioning, image_conditioning)
        return self._launch(p, x, noisy, sigmas, schedule, t_enc + 1, told)

    def sample(
        self, p: Any, x: Any, conditioning: Any, unconditional_conditioning: Any, steps: Any = None,
        image_conditioning: Any = None,
    ) -> Any:  # fmt: skip
        steps = steps or p.steps
        sigmas = self.get_sigmas(p, steps)
        self.last_latent = x = x * sigmas[0]
        told = (conditioning, unconditional_conditioning, image_conditioning)
        return self._launch(p, x, x, sigmas, sigmas, steps, told)

    def _launch(self, p: Any, x: Any, noisy: Any, sigmas: Any, schedule: Any, steps: int, told: Any) -> Any:
        extra = self.initialize(p)
        if "sigmas" in inspect.signature(self.func).parameters:
            extra["sigmas"] = schedule
        if self.config.options.get("brownian_noise", False):
            extra["noise_sampler"] = self.create_noise_sampler(x, sigmas, p)
        names = ("cond", "uncond", "image_cond", "cond_scale", "s_min_uncond")
        values = (*told, p.cfg_scale, self.s_min_uncond)
        self.sampler_extra_args = dict(zip(names, values, strict=True))

        def run() -> Any:
            return self.func(
                self.model_wrap_cfg, noisy, extra_args=self.sampler_extra_args, disable=False,
                callback=self.callback_state, **extra,
            )  # fmt: skip

        samples = self.launch_sampling(steps, run)
        self.add_infotext(p)
        return samples


samplers_data_k_diffusion = [
    sd_samplers_common.SamplerData(label, lambda model, name=name: KDiffusionSampler(name, model), aliases, options)
    for label, name, aliases, options in samplers_k_diffusion
]
