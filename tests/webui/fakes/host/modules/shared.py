"""What everything in the host shares: settings, command line, state, the checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from modules import FORGE, options, shared_state
from modules.options import OptionHTML, OptionInfo, options_section
from modules.paths_internal import data_path, default_output_dir, extensions_dir, models_path, script_path

__all__ = ["OptionHTML", "OptionInfo", "extensions_dir", "models_path", "options_section", "script_path"]

cmd_opts = SimpleNamespace(
    use_cpu=["all"], lowvram=False, medvram=False, medvram_sdxl=False, api=True, no_prompt_history=False,
    freeze_settings=False, hide_ui_dir_config=False, data_dir=data_path, ckpt_dir=None, no_half=True, always_cpu=True,
    embeddings_dir=str(Path(data_path) / "embeddings"), filenames_max_length=128, unix_filenames_sanitization=False,
)  # fmt: skip

_DEFAULTS: dict[str, Any] = {
    "samples_save": True, "samples_format": "png", "samples_filename_pattern": "", "save_images_add_number": True,
    "save_images_replace_action": "Replace", "grid_save": True, "grid_format": "png", "grid_extended_filename": False,
    "grid_only_if_multiple": True, "grid_prevent_empty_spots": False, "grid_background_color": "#ffffff", "n_rows": -1,
    "return_grid": True, "return_mask": False, "return_mask_composite": False, "save_mask": False,
    "save_mask_composite": False, "save_incomplete_images": False, "enable_pnginfo": True, "save_txt": False,
    "jpeg_quality": 80, "webp_lossless": False, "save_to_dirs": True, "grid_save_to_dirs": True,
    "directories_filename_pattern": "[date]", "save_images_before_face_restoration": False,
    "save_images_before_highres_fix": False, "save_images_before_color_correction": False, "face_restoration": False,
    "face_restoration_model": "CodeFormer", "tiling": False, "overlay_inpaint": True, "img2img_color_correction": False,
    "img2img_fix_steps": False, "img2img_background_color": "#ffffff", "initial_noise_multiplier": 1.0,
    "inpainting_mask_weight": 1.0, "img2img_extra_noise": 0.0, "CLIP_stop_at_last_layers": 1, "eta_noise_seed_delta": 0,
    "randn_source": "CPU", "live_previews_enable": True, "show_progress_every_n_steps": 10,
    "show_progress_type": "Approx NN", "live_preview_content": "Prompt", "show_progress_grid": True,
    "live_previews_image_format": "png", "add_model_hash_to_info": True, "add_model_name_to_info": True,
    "add_version_to_infotext": True, "add_user_name_to_info": False, "s_min_uncond": 0.0, "s_churn": 0.0,
    "s_tmin": 0.0, "s_tmax": 0.0, "s_noise": 1.0, "eta_ancestral": 1.0, "sd_model_checkpoint": "fake.safetensors",
    "sd_vae": "Automatic", "sd_vae_encode_method": "Full", "sd_vae_decode_method": "Full",
    "auto_vae_precision": True, "auto_vae_precision_bfloat16": False, "upscaler_for_img2img": None,
    "use_old_scheduling": False, "hires_fix_use_firstpass_conds": False, "persistent_cond_cache": True,
    "token_merging_ratio": 0.0, "token_merging_ratio_hr": 0.0, "infotext_skip_pasting": [], "infotext_styles": "Ignore",
    "no_dpmpp_sde_batch_determinism": False, "hide_samplers": [], "outdir_samples": "", "outdir_grids": "",
    "outdir_txt2img_samples": str(Path(default_output_dir) / "txt2img-images"),
    "outdir_img2img_samples": str(Path(default_output_dir) / "img2img-images"),
    "outdir_txt2img_grids": str(Path(default_output_dir) / "txt2img-grids"),
    "outdir_img2img_grids": str(Path(default_output_dir) / "img2img-grids"),
    "outdir_save": str(Path(data_path) / "log" / "images"),
    "outdir_extras_samples": str(Path(default_output_dir) / "extras-images"),
    "postprocessing_operation_order": [], "postprocessing_disable_in_extras": [], "sgm_noise_multiplier": False,
}  # fmt: skip
if FORGE:
    _DEFAULTS |= {"stealth_pnginfo_option": "Alpha", "forge_try_reproduce": "None", "forge_additional_modules": []}

opts = options.Options({name: OptionInfo(value, name) for name, value in _DEFAULTS.items()}, set())
state = shared_state.State()
demo: Any = None
device = "cpu"
parallel_processing_allowed = True
tab_names: list[str] = []
sd_upscalers: list[Any] = []
latent_upscale_default_mode = "Latent"
latent_upscale_modes = {
    "Latent": {"mode": "bilinear", "antialias": False},
    "Latent (nearest)": {"mode": "nearest", "antialias": False},
}
total_tqdm = SimpleNamespace(update=lambda: None, updateTotal=lambda new: None, clear=lambda: None)
prompt_styles = SimpleNamespace(
    apply_styles_to_prompt=lambda prompt, styles: prompt,
    apply_negative_styles_to_prompt=lambda prompt, styles: prompt,
    get_style_prompts=lambda styles: [],
)


class _Shared(type(sys)):  # type: ignore[misc]
    @property
    def sd_model(self) -> Any:
        """The loaded checkpoint; asking loads it, as in the host."""
        from modules import sd_models

        return sd_models.model_data.get_sd_model()


sys.modules[__name__].__class__ = _Shared
