"""The processing class of text generation; not a module of the hosts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from modules import FORGE, devices, extra_networks, images, rng, sd_samplers, shared
from modules.fake_infotext import create_infotext
from modules.fake_jobs import StableDiffusionProcessing, decode_latent_batch, opt_f
from modules.shared import opts, state
from PIL import Image


@dataclass(repr=False)
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    enable_hr: bool = False
    denoising_strength: float = 0.75
    firstphase_width: int = 0
    firstphase_height: int = 0
    hr_scale: float = 2.0
    hr_upscaler: Any = None
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_checkpoint_name: Any = None
    hr_sampler_name: Any = None
    hr_scheduler: Any = None
    hr_prompt: Any = ""
    hr_negative_prompt: Any = ""
    if FORGE:
        hr_cfg: float = 1.0
        hr_distilled_cfg: float = 3.5
    all_hr_prompts: Any = field(default=None, init=False)
    all_hr_negative_prompts: Any = field(default=None, init=False)
    hr_prompts: Any = field(default=None, init=False)
    hr_negative_prompts: Any = field(default=None, init=False)
    hr_upscale_to_x: int = field(default=0, init=False)
    hr_upscale_to_y: int = field(default=0, init=False)
    latent_scale_mode: Any = field(default=None, init=False)
    hr_c: Any = field(default=None, init=False)
    hr_uc: Any = field(default=None, init=False)

    def init(self, all_prompts: Any, all_seeds: Any, all_subseeds: Any) -> None:
        if not self.enable_hr:
            return

        def hr_prompt(p: Any, index: int, prompt_text: str, **more: Any) -> str | None:
            return p.all_hr_prompts[index] if p.all_hr_prompts[index] != prompt_text else None

        params = self.extra_generation_params
        params |= {"Denoising strength": self.denoising_strength, "Hires prompt": hr_prompt}
        self.hr_scheduler = self.hr_scheduler or self.scheduler
        self.latent_scale_mode = shared.latent_upscale_modes[self.hr_upscaler or shared.latent_upscale_default_mode]
        if self.hr_resize_x or self.hr_resize_y:
            self.hr_upscale_to_x, self.hr_upscale_to_y = self.hr_resize_x, self.hr_resize_y
        else:
            params["Hires upscale"] = self.hr_scale
            self.hr_upscale_to_x, self.hr_upscale_to_y = (
                int(self.width * self.hr_scale),
                int(self.height * self.hr_scale),
            )

    def setup_prompts(self) -> None:
        super().setup_prompts()
        if self.enable_hr:
            self.hr_prompt, self.hr_negative_prompt = (
                self.hr_prompt or self.prompt,
                self.hr_negative_prompt or self.negative_prompt,
            )
            count = self.batch_size * self.n_iter
            self.all_hr_prompts = self.hr_prompt if isinstance(self.hr_prompt, list) else count * [self.hr_prompt]
            one = self.hr_negative_prompt
            self.all_hr_negative_prompts = one if isinstance(one, list) else count * [one]

    def parse_extra_network_prompts(self) -> None:
        super().parse_extra_network_prompts()
        if self.enable_hr:
            part = slice(self.iteration * self.batch_size, (self.iteration + 1) * self.batch_size)
            self.hr_negative_prompts = self.all_hr_negative_prompts[part]
            self.hr_prompts, self.hr_extra_network_data = extra_networks.parse_prompts(self.all_hr_prompts[part])

    def setup_conds(self) -> None:
        super().setup_conds()
        self.hr_c = self.hr_uc = None

    def calculate_hr_conds(self) -> None:
        if self.hr_c is None:
            cfg = self.hr_cfg if FORGE else self.cfg_scale
            steps = self.hr_second_pass_steps or self.steps
            self.hr_c, self.hr_uc = self._conds(
                self.hr_prompts, self.hr_negative_prompts, self.firstpass_steps, cfg, steps
            )

    def _save_intermediate(self, samples: Any, place: int) -> None:
        if not self.save_samples() or not opts.save_images_before_highres_fix:
            return
        pixels = decode_latent_batch(self.sd_model, samples[place : place + 1], target_device=devices.cpu)[0]
        pixels = ((pixels.float() + 1) / 2).clamp(0, 1).movedim(0, 2) * 255
        text = create_infotext(
            self, self.all_prompts, self.all_seeds, self.all_subseeds, [], iteration=self.iteration,
            position_in_batch=place,
        )  # fmt: skip
        images.save_image(
            Image.fromarray(pixels.to(torch.uint8).numpy()), self.outpath_samples, "", self.seeds[place],
            self.prompts[place], opts.samples_format, info=text, p=self, suffix="-before-highres-fix",
        )  # fmt: skip

    def get_conds(self) -> Any:
        return (self.hr_c, self.hr_uc) if self.is_hr_pass else super().get_conds()

    def sample(
        self, conditioning: Any, unconditional_conditioning: Any, seeds: Any, subseeds: Any, subseed_strength: float,
        prompts: Any,
    ) -> Any:  # fmt: skip
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        self._apply_networks()
        x = self.rng.next()
        x = self._before_sampling(x, x, conditioning, unconditional_conditioning)
        shape = self.txt2img_image_conditioning(x)
        samples = self.sampler.sample(self, x, conditioning, unconditional_conditioning, image_conditioning=shape)
        if not self.enable_hr:
            return samples
        return self.sample_hr_pass(samples, None, seeds, subseeds, subseed_strength, prompts)

    def sample_hr_pass(
        self, samples: Any, decoded_samples: Any, seeds: Any, subseeds: Any, subseed_strength: float, prompts: Any
    ) -> Any:
        if state.interrupted:
            return samples
        self.is_hr_pass = True
        for place in range(len(samples)):
            self._save_intermediate(samples, place)
        self.sampler = sd_samplers.create_sampler(self.hr_sampler_name or self.sampler_name, self.sd_model)
        size = (self.hr_upscale_to_y // opt_f, self.hr_upscale_to_x // opt_f)
        rows = [
            torch.nn.functional.interpolate(one[None], size=size, mode=self.latent_scale_mode["mode"])
            for one in samples
        ]
        samples = torch.cat(rows)
        state.nextjob()
        self.rng = rng.ImageRNG(
            samples.shape[1:], self.seeds, self.subseeds, self.subseed_strength, self.seed_resize_from_h,
            self.seed_resize_from_w,
        )  # fmt: skip
        noise = self.rng.next()
        if not self.disable_extra_networks:
            extra_networks.activate(self, self.hr_extra_network_data)
        self.calculate_hr_conds()
        if self.scripts is not None:
            self.scripts.before_hr(self)
            if FORGE:  # asks twice; what the first one set as noise is taken all the same
                self.scripts.process_before_every_sampling(self, x=samples, noise=noise, c=self.hr_c, uc=self.hr_uc)
        self._apply_networks()
        noise = self._before_sampling(samples, noise, self.hr_c, self.hr_uc)
        samples = self.sampler.sample_img2img(
            self, samples, noise, self.hr_c, self.hr_uc, steps=self.hr_second_pass_steps or self.steps,
            image_conditioning=self.txt2img_image_conditioning(samples),
        )  # fmt: skip
        self.sampler = None
        decoded = decode_latent_batch(self.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
        self.is_hr_pass = False
        return decoded
