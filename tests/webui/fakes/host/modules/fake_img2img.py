"""The processing class of image generation; not a module of the hosts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from modules import images, scripts, sd_samplers
from modules.fake_jobs import StableDiffusionProcessing, create_random_tensors
from modules.sd_samplers_common import images_tensor_to_samples
from modules.shared import opts
from PIL import ImageFilter, ImageOps


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    init_images: Any = None
    resize_mode: int = 0
    denoising_strength: float = 0.75
    image_cfg_scale: Any = None
    mask: Any = None
    mask_blur: int = 4
    inpainting_fill: int = 0
    mask_round: bool = True
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: Any = None
    image_mask: Any = field(default=None, init=False)
    nmask: Any = field(default=None, init=False)
    image_conditioning: Any = field(default=None, init=False)
    mask_for_overlay: Any = field(default=None, init=False)
    init_latent: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.image_mask, self.mask = self.mask, None
        if self.initial_noise_multiplier is None:
            self.initial_noise_multiplier = opts.initial_noise_multiplier

    def _prepare_mask(self, size: tuple[int, int]) -> Any:
        mask = self.image_mask.convert("L").point(lambda level: 255 if level > 128 else 0)
        mask = ImageOps.invert(mask) if self.inpainting_mask_invert else mask
        mask = mask.filter(ImageFilter.GaussianBlur(self.mask_blur)) if self.mask_blur else mask
        self.mask_for_overlay, self.overlay_images = mask.resize(size), []
        if self.inpaint_full_res and mask.getbbox():
            left, top, right, bottom = mask.getbbox()
            self.paste_to = (left, top, right - left, bottom - top)
            return mask.crop((left, top, right, bottom)).resize((self.width, self.height))
        return mask.resize((self.width, self.height))

    def init(self, all_prompts: Any, all_seeds: Any, all_subseeds: Any) -> None:
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        full = self.inpaint_full_res and self.image_mask is not None
        size = self.init_images[0].size if full else (self.width, self.height)
        mask = None if self.image_mask is None else self._prepare_mask(size)
        pixels = []
        for given in self.init_images:
            image = images.flatten(given, opts.img2img_background_color).resize(size)
            if mask is not None:
                kept = image.convert("RGBA")
                kept.putalpha(ImageOps.invert(self.mask_for_overlay))
                self.overlay_images.append(kept)
            if self.paste_to is not None:
                left, top, width, height = self.paste_to
                image = image.crop((left, top, left + width, top + height)).resize((self.width, self.height))
            pixels.append(np.moveaxis(np.array(image).astype(np.float32) / 255, 2, 0))
        if len(pixels) == 1:
            pixels *= self.batch_size
            self.overlay_images = None if self.overlay_images is None else self.overlay_images * self.batch_size
        elif len(pixels) <= self.batch_size:
            self.batch_size = len(pixels)
        else:
            raise RuntimeError(f"bad number of images passed: {len(pixels)}; expecting {self.batch_size} or less")
        batch = torch.from_numpy(np.stack(pixels))
        self.init_latent = images_tensor_to_samples(batch, None, self.sd_model)
        if mask is not None:
            small = np.array(mask.resize(self.init_latent.shape[:1:-1]), dtype=np.float32) / 255
            small = np.around(small) if self.mask_round else small
            self.nmask = torch.from_numpy(np.tile(small[None], (4, 1, 1)))
            self.mask = 1.0 - self.nmask
            if self.inpainting_fill == 2:
                noise = create_random_tensors(self.init_latent.shape[1:], all_seeds[: self.init_latent.shape[0]])
                self.init_latent = self.init_latent * self.mask + noise * self.nmask
            elif self.inpainting_fill == 3:
                self.init_latent = self.init_latent * self.mask
        self.image_conditioning = self.img2img_image_conditioning(batch * 2 - 1, self.init_latent, mask)

    def sample(
        self, conditioning: Any, unconditional_conditioning: Any, seeds: Any, subseeds: Any, subseed_strength: float,
        prompts: Any,
    ) -> Any:  # fmt: skip
        x = self.rng.next()
        if self.initial_noise_multiplier != 1.0:
            x *= self.initial_noise_multiplier
        self._apply_networks()
        x = self._before_sampling(self.init_latent, x, conditioning, unconditional_conditioning)
        told = (conditioning, unconditional_conditioning)
        samples = self.sampler.sample_img2img(
            self, self.init_latent, x, *told, image_conditioning=self.image_conditioning
        )
        if self.mask is None:
            return samples
        blended = samples * self.nmask + self.init_latent * self.mask
        if self.scripts is None:
            return blended
        args = scripts.MaskBlendArgs(samples, self.nmask, self.init_latent, self.mask, blended)
        self.scripts.on_mask_blend(self, args)
        return args.blended_latent
