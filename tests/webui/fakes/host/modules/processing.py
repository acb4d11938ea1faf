"""Jobs: the parameters of one generation, its result, and the entry `process_images`."""

from __future__ import annotations

import json
from typing import Any

from modules import fake_loop, images, shared  # noqa: F401 others reach images by this name
from modules.fake_img2img import StableDiffusionProcessingImg2Img
from modules.fake_infotext import create_infotext, program_version
from modules.fake_jobs import (
    StableDiffusionProcessing,
    apply_overlay,
    create_random_tensors,
    decode_latent_batch,
    fix_seed,
    get_fixed_seed,
    opt_C,
    opt_f,
)
from modules.fake_txt2img import StableDiffusionProcessingTxt2Img
from modules.sd_samplers_common import decode_first_stage, images_tensor_to_samples

__all__ = [
    "StableDiffusionProcessing", "StableDiffusionProcessingImg2Img", "StableDiffusionProcessingTxt2Img",
    "apply_overlay", "create_infotext", "create_random_tensors", "decode_first_stage", "decode_latent_batch",
    "fix_seed", "get_fixed_seed", "images_tensor_to_samples", "opt_C", "opt_f",
]  # fmt: skip

_FROM_JOB = [
    "subseed_strength",
    "width",
    "height",
    "sampler_name",
    "cfg_scale",
    "steps",
    "batch_size",
    "restore_faces",
    "sd_model_name",
    "sd_model_hash",
    "sd_vae_name",
    "sd_vae_hash",
    "seed_resize_from_w",
    "seed_resize_from_h",
    "extra_generation_params",
    "styles",
    "eta",
    "denoising_strength",
    "is_using_inpainting_conditioning",
]
_IN_JSON = [
    "all_prompts",
    "negative_prompt",
    "all_negative_prompts",
    "seed",
    "all_seeds",
    "subseed",
    "all_subseeds",
    "subseed_strength",
    "width",
    "height",
    "sampler_name",
    "cfg_scale",
    "steps",
    "batch_size",
    "restore_faces",
    "sd_model_name",
    "sd_model_hash",
    "sd_vae_name",
    "sd_vae_hash",
    "denoising_strength",
    "extra_generation_params",
    "index_of_first_image",
    "infotexts",
    "styles",
    "job_timestamp",
    "version",
]


class Processed:
    def __init__(
        self, p: Any, images_list: list[Any], seed: Any = -1, info: str = "", subseed: Any = None,
        all_prompts: Any = None, all_negative_prompts: Any = None, all_seeds: Any = None, all_subseeds: Any = None,
        index_of_first_image: int = 0, infotexts: Any = None, comments: str = "", extra_images_list: Any = (),
    ) -> None:  # fmt: skip
        self.images, self.info, self.index_of_first_image = images_list, info, index_of_first_image
        self.extra_images = list(extra_images_list)
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        for name in _FROM_JOB:
            setattr(self, name, getattr(p, name, None))
        self.prompt, self.negative_prompt = _single(p.prompt), _single(p.negative_prompt)
        self.seed = int(_single(seed)) if seed is not None else -1
        self.subseed = int(_single(subseed)) if subseed is not None else -1
        self.all_prompts = all_prompts or p.all_prompts or [self.prompt]
        self.all_negative_prompts = all_negative_prompts or p.all_negative_prompts or [self.negative_prompt]
        self.all_seeds = all_seeds or p.all_seeds or [self.seed]
        self.all_subseeds = all_subseeds or p.all_subseeds or [self.subseed]
        self.infotexts = infotexts or [info] * len(images_list)
        self.job_timestamp, self.version = shared.state.job_timestamp, program_version()

    def js(self) -> str:
        told = {"prompt": self.all_prompts[0], **{name: getattr(self, name) for name in _IN_JSON}}
        return json.dumps(told, default=lambda value: None)

    def infotext(self, p: Any, index: int) -> str:
        place, iteration = index % p.batch_size, index // p.batch_size
        return create_infotext(
            p, self.all_prompts, self.all_seeds, self.all_subseeds, [], iteration=iteration, position_in_batch=place
        )


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def process_images(p: StableDiffusionProcessing) -> Processed:
    if p.scripts is not None:
        p.scripts.before_process(p)
    kept = {name: shared.opts.data[name] for name in p.override_settings if name in shared.opts.data}
    try:
        for name, value in p.override_settings.items():
            shared.opts.set(name, value, is_api=True, run_callbacks=False)
        return process_images_inner(p)
    finally:
        if p.override_settings_restore_afterwards:
            for name, value in kept.items():
                setattr(shared.opts, name, value)


def process_images_inner(p: StableDiffusionProcessing) -> Processed:
    return fake_loop.run(p, Processed)
