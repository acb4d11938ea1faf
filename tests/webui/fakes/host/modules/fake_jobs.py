"""What the processing classes of text and image generation share; not a module of the hosts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import torch
from modules import FORGE, devices, extra_networks, images, prompt_parser, rng, sd_samplers, shared
from modules.sd_samplers_common import decode_first_stage
from modules.shared import opts, state
from PIL import Image

opt_C, opt_f = 4, 8


def get_fixed_seed(seed: Any) -> Any:
    if seed == "" or seed is None or isinstance(seed, str):
        seed = int(seed) if isinstance(seed, str) and seed.lstrip("-").isdigit() else -1
    return random.randrange(4294967294) if seed == -1 else seed


def fix_seed(p: Any) -> None:
    p.seed, p.subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)


def create_random_tensors(
    shape: Any, seeds: Any, subseeds: Any = None, subseed_strength: float = 0.0, seed_resize_from_h: int = 0,
    seed_resize_from_w: int = 0, p: Any = None,
) -> Any:  # fmt: skip
    return rng.ImageRNG(shape, seeds, subseeds, subseed_strength, seed_resize_from_h, seed_resize_from_w).next()


class DecodedSamples(list):  # type: ignore[type-arg]
    already_decoded = True


def decode_latent_batch(model: Any, batch: Any, target_device: Any = None, check_for_nans: bool = False) -> Any:
    if FORGE:
        return DecodedSamples(decode_first_stage(model, batch))
    return DecodedSamples(_decoded(model, batch[k : k + 1], check_for_nans)[0] for k in range(len(batch)))


def _decoded(model: Any, latent: Any, check_for_nans: bool) -> Any:
    """Decode, in full precision from the first picture on that is none in half precision."""
    sample = decode_first_stage(model, latent)
    try:
        if check_for_nans:
            devices.test_for_nans(sample, "vae")
    except devices.NansException:
        if not opts.auto_vae_precision or devices.dtype_vae == torch.float32:
            raise
        devices.dtype_vae = torch.float32
        model.first_stage_model.to(torch.float32)
        sample = decode_first_stage(model, latent)
    return sample


def apply_overlay(image: Any, paste_loc: Any, overlay: Any) -> tuple[Any, Any]:
    if overlay is None:
        return image, image.copy()
    if paste_loc is not None:
        left, top, width, height = paste_loc
        ground = Image.new("RGBA", overlay.size)
        ground.paste(images.resize_image(1, image, width, height), (left, top))
        image = ground
    original, image = image.copy(), image.convert("RGBA")
    image.alpha_composite(overlay)
    return image.convert("RGB"), original


@dataclass(repr=False)
class StableDiffusionProcessing:
    sd_model: Any = None
    outpath_samples: Any = None
    outpath_grids: Any = None
    prompt: Any = ""
    prompt_for_display: Any = None
    negative_prompt: Any = ""
    styles: Any = None
    seed: Any = -1
    subseed: Any = -1
    subseed_strength: float = 0
    seed_resize_from_h: int = -1
    seed_resize_from_w: int = -1
    seed_enable_extras: bool = True
    sampler_name: Any = None
    scheduler: Any = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    if FORGE:
        distilled_cfg_scale: float = 3.5
    width: int = 512
    height: int = 512
    restore_faces: Any = None
    tiling: Any = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    extra_generation_params: Any = None
    overlay_images: Any = None
    eta: Any = None
    denoising_strength: Any = None
    s_min_uncond: Any = None
    s_churn: Any = None
    s_tmax: Any = None
    s_tmin: Any = None
    s_noise: Any = None
    override_settings: Any = None
    override_settings_restore_afterwards: bool = True
    refiner_checkpoint: Any = None
    refiner_switch_at: Any = None
    token_merging_ratio = 0
    token_merging_ratio_hr = 0
    disable_extra_networks: bool = False
    firstpass_image: Any = None
    scripts_value: Any = field(default=None, init=False)
    script_args_value: Any = field(default=None, init=False)
    scripts_setup_complete: bool = field(default=False, init=False)
    cached_uc = [None, None]  # noqa: RUF012 shared by all jobs, as in the hosts
    cached_c = [None, None]  # noqa: RUF012
    comments: Any = None
    sampler: Any = field(default=None, init=False)
    is_using_inpainting_conditioning: bool = field(default=False, init=False)
    paste_to: Any = field(default=None, init=False)
    is_hr_pass: bool = field(default=False, init=False)
    c: Any = field(default=None, init=False)
    uc: Any = field(default=None, init=False)
    rng: Any = field(default=None, init=False)
    step_multiplier: int = field(default=1, init=False)
    color_corrections: Any = field(default=None, init=False)
    all_prompts: Any = field(default=None, init=False)
    all_negative_prompts: Any = field(default=None, init=False)
    all_seeds: Any = field(default=None, init=False)
    all_subseeds: Any = field(default=None, init=False)
    iteration: int = field(default=0, init=False)
    main_prompt: Any = field(default=None, init=False)
    main_negative_prompt: Any = field(default=None, init=False)
    prompts: Any = field(default=None, init=False)
    negative_prompts: Any = field(default=None, init=False)
    seeds: Any = field(default=None, init=False)
    subseeds: Any = field(default=None, init=False)
    extra_network_data: Any = field(default=None, init=False)
    user: Any = field(default=None, init=False)
    sd_model_name: Any = field(default=None, init=False)
    sd_model_hash: Any = field(default=None, init=False)
    sd_vae_name: Any = field(default=None, init=False)
    sd_vae_hash: Any = field(default=None, init=False)
    is_api: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.comments, self.styles = {}, self.styles or []
        self.sampler_noise_scheduler_override = None
        self.extra_generation_params = self.extra_generation_params or {}
        self.override_settings = self.override_settings or {}
        self.script_args = self.script_args or {}
        if FORGE:
            self.extra_result_images: list[Any] = []
            self.latents_after_sampling: list[Any] = []
            self.pixels_after_sampling: list[Any] = []
            self.modified_noise = None

    def fill_fields_from_opts(self) -> None:
        for name in ("s_min_uncond", "s_churn", "s_tmin", "s_tmax", "s_noise"):
            if getattr(self, name) is None:
                setattr(self, name, getattr(opts, name))

    @property
    def scripts(self) -> Any:
        return self.scripts_value

    @scripts.setter
    def scripts(self, value: Any) -> None:
        self.scripts_value = value
        self._maybe_set_up()

    @property
    def script_args(self) -> Any:
        return self.script_args_value

    @script_args.setter
    def script_args(self, value: Any) -> None:
        self.script_args_value = value
        self._maybe_set_up()

    def _maybe_set_up(self) -> None:
        if self.scripts_value and self.script_args_value and not self.scripts_setup_complete:
            self.setup_scripts()

    def setup_scripts(self) -> None:
        self.scripts_setup_complete = True
        self.scripts.setup_scrips(self, is_ui=not self.is_api)

    def comment(self, text: str) -> None:
        self.comments[text] = 1

    def txt2img_image_conditioning(self, x: Any, width: Any = None, height: Any = None) -> Any:
        return x.new_zeros(x.shape[0], 5, 1, 1)

    def img2img_image_conditioning(
        self, source_image: Any, latent_image: Any, image_mask: Any = None, round_image_mask: bool = True
    ) -> Any:
        return latent_image.new_zeros(latent_image.shape[0], 5, 1, 1)

    def init(self, all_prompts: Any, all_seeds: Any, all_subseeds: Any) -> None: ...

    def sample(
        self, conditioning: Any, unconditional_conditioning: Any, seeds: Any, subseeds: Any, subseed_strength: float,
        prompts: Any,
    ) -> Any:  # fmt: skip
        raise NotImplementedError

    def close(self) -> None:
        self.sampler = self.c = self.uc = None

    def get_token_merging_ratio(self, for_hr: bool = False) -> float:
        return 0.0

    def setup_prompts(self) -> None:
        count = len(self.negative_prompt) if isinstance(self.negative_prompt, list) else self.batch_size * self.n_iter
        self.all_prompts = self.prompt if isinstance(self.prompt, list) else [self.prompt] * count
        one = self.negative_prompt
        self.all_negative_prompts = one if isinstance(one, list) else [one] * len(self.all_prompts)
        if len(self.all_prompts) != len(self.all_negative_prompts):
            raise RuntimeError("Received a different number of prompts and negative prompts")
        self.all_prompts, self.all_negative_prompts = list(self.all_prompts), list(self.all_negative_prompts)
        self.main_prompt, self.main_negative_prompt = self.all_prompts[0], self.all_negative_prompts[0]

    def get_conds_with_caching(
        self, function: Any, required_prompts: Any, steps: int, caches: Any, extra_network_data: Any,
        hires_steps: Any = None, use_old_scheduling: bool = False,
    ) -> Any:  # fmt: skip
        key = (list(required_prompts), steps, hires_steps, str(extra_network_data), self.width, self.height)
        for cache in caches:
            if cache[0] is not None and cache[0] == key:
                return cache[1]
        caches[0][:] = [key, function(shared.sd_model, required_prompts, steps, hires_steps, use_old_scheduling)]
        return caches[0][1]

    def setup_conds(self) -> None:
        config = sd_samplers.find_sampler_config(self.sampler_name)
        steps = self.firstpass_steps = config.total_steps(self.steps)
        self.step_multiplier = steps // self.steps
        self.c, self.uc = self._conds(self.prompts, self.negative_prompts, steps, self.cfg_scale)

    def _conds(self, prompts: Any, negative: Any, steps: int, cfg: float, hires_steps: Any = None) -> Any:
        said = prompt_parser.SdConditioning(prompts, width=self.width, height=self.height)
        unsaid = prompt_parser.SdConditioning(negative, True, width=self.width, height=self.height)
        uc = None
        if not (FORGE and cfg == 1):
            learn = prompt_parser.get_learned_conditioning
            uc = self.get_conds_with_caching(
                learn, unsaid, steps, [self.cached_uc], self.extra_network_data, hires_steps
            )
        learn_all = prompt_parser.get_multicond_learned_conditioning
        c = self.get_conds_with_caching(learn_all, said, steps, [self.cached_c], self.extra_network_data, hires_steps)
        return c, uc

    def get_conds(self) -> Any:
        return self.c, self.uc

    def parse_extra_network_prompts(self) -> None:
        self.prompts, self.extra_network_data = extra_networks.parse_prompts(self.prompts)

    def save_samples(self) -> bool:
        whole = not state.interrupted and not state.skipped
        return bool(opts.samples_save and not self.do_not_save_samples and (opts.save_incomplete_images or whole))

    def _before_sampling(self, x: Any, noise: Any, c: Any, uc: Any) -> Any:
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(self, x=x, noise=noise, c=c, uc=uc)
        if FORGE and self.modified_noise is not None:
            noise, self.modified_noise = self.modified_noise, None
        return noise

    def _apply_networks(self) -> None:
        if FORGE:
            self.sd_model.forge_objects = self.sd_model.forge_objects_after_applying_lora.shallow_copy()


StableDiffusionProcessing.sd_model = property(lambda self: shared.sd_model, lambda self, value: None)
