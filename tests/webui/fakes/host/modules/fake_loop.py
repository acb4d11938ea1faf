"""The loop over the batches of a job in the order measured in both hosts; not a module of the hosts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from modules import FORGE, devices, extra_networks, images, lowvram, rng, scripts, shared
from modules.fake_infotext import create_infotext
from modules.fake_jobs import apply_overlay, decode_latent_batch, get_fixed_seed
from modules.shared import opts, state
from PIL import Image


def run(p: Any, processed: Any) -> Any:
    """Make all images of the job; `processed` is the class of the result."""
    seed, subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)
    p.restore_faces = opts.face_restoration if p.restore_faces is None else p.restore_faces
    p.sd_model_name, p.sd_model_hash = "fake", shared.sd_model.sd_model_hash
    p.fill_fields_from_opts()
    p.setup_prompts()
    count, step = len(p.all_prompts), 0 if p.subseed_strength else 1
    p.all_seeds = seed if isinstance(seed, list) else [int(seed) + k * step for k in range(count)]
    p.all_subseeds = subseed if isinstance(subseed, list) else [int(subseed) + k for k in range(count)]
    if p.scripts is not None:
        p.scripts.process(p)
    made = _Made(p)
    with torch.inference_mode() if FORGE else torch.no_grad():
        p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
        if state.job_count == -1:
            state.job_count = p.n_iter
        for n in range(p.n_iter):
            p.iteration = n
            state.skipped = False
            if state.interrupted or state.stopping_generation or not _batch(p, n, made):
                break
        if not made.infotexts:
            made.infotexts.append(processed(p, []).infotext(p, 0))
        p.color_corrections = None
        first = _grid(p, made)
    if not p.disable_extra_networks and p.extra_network_data:
        extra_networks.deactivate(p, p.extra_network_data)
    more = {"extra_images_list": p.extra_result_images} if FORGE else {}
    result = processed(
        p, images_list=made.images, seed=p.all_seeds[0], info=made.infotexts[0], subseed=p.all_subseeds[0],
        index_of_first_image=first, infotexts=made.infotexts, **more,
    )  # fmt: skip
    if p.scripts is not None:
        p.scripts.postprocess(p, result)
    return result


class _Made:
    def __init__(self, p: Any) -> None:
        self.p = p
        self.images: list[Any] = []
        self.infotexts: list[str] = []

    def text(self, index: int = 0, use_main_prompt: bool = False) -> str:
        """Count within the batch: that is what callables in the infotext get while the batch is saved."""
        p = self.p
        return create_infotext(
            p, p.prompts, p.seeds, p.subseeds, use_main_prompt=use_main_prompt, index=index,
            all_negative_prompts=p.negative_prompts,
        )  # fmt: skip


def _part(p: Any, n: int) -> slice:
    return slice(n * p.batch_size, (n + 1) * p.batch_size)


def _batch(p: Any, n: int, made: _Made) -> bool:
    part = _part(p, n)
    p.prompts, p.negative_prompts = p.all_prompts[part], p.all_negative_prompts[part]
    p.seeds, p.subseeds = p.all_seeds[part], p.all_subseeds[part]
    if FORGE:
        p.sd_model.forge_objects = p.sd_model.forge_objects_original.shallow_copy()
    p.rng = rng.ImageRNG((4, p.height // 8, p.width // 8), p.seeds, p.subseeds, p.subseed_strength,
                         p.seed_resize_from_h, p.seed_resize_from_w)  # fmt: skip
    _tell(p, "before_process_batch", n)
    if len(p.prompts) == 0:
        return False
    p.parse_extra_network_prompts()
    if not p.disable_extra_networks:
        extra_networks.activate(p, p.extra_network_data)
    _tell(p, "process_batch", n)
    p.setup_conds()
    if n == 0:
        made.p.fake_history = _history(p)
    samples = p.sample(
        conditioning=p.c, unconditional_conditioning=p.uc, seeds=p.seeds, subseeds=p.subseeds,
        subseed_strength=p.subseed_strength, prompts=p.prompts,
    )  # fmt: skip
    if FORGE:
        p.latents_after_sampling.extend(samples)
    _finish(p, n, _decoded(p, samples), made)
    return True


def _history(p: Any) -> str:
    """Return what the host writes into params.txt in the middle of the first batch; callables are asked here too."""
    return create_infotext(p, p.all_prompts, p.all_seeds, p.all_subseeds, [], iteration=0, position_in_batch=0)


def _tell(p: Any, name: str, n: int) -> None:
    if p.scripts is not None:
        getattr(p.scripts, name)(p, batch_number=n, prompts=p.prompts, seeds=p.seeds, subseeds=p.subseeds)


def _decoded(p: Any, samples: Any) -> Any:
    if p.scripts is not None:
        args = scripts.PostSampleArgs(samples)
        p.scripts.post_sample(p, args)
        samples = args.samples
    if not getattr(samples, "already_decoded", False):
        devices.test_for_nans(samples, "unet")
        samples = decode_latent_batch(p.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
    if lowvram.is_enabled(shared.sd_model):
        lowvram.send_everything_to_cpu()
    state.nextjob()
    return ((torch.stack(list(samples)).float() + 1) / 2).clamp(0, 1)


def _finish(p: Any, n: int, decoded: Any, made: _Made) -> None:
    if p.scripts is not None:
        p.scripts.postprocess_batch(p, decoded, batch_number=n)
        p.prompts, p.negative_prompts = p.all_prompts[_part(p, n)], p.all_negative_prompts[_part(p, n)]
        args = scripts.PostprocessBatchListArgs(list(decoded))
        p.scripts.postprocess_batch_list(p, args, batch_number=n)
        decoded = args.images
    saving = p.save_samples()
    for place, sample in enumerate(decoded):
        p.batch_index = place
        _picture(p, place, sample, saving, made)


def _args(image: Any, p: Any, place: int) -> Any:
    place_in_job = (place + p.iteration * p.batch_size,) if FORGE else ()
    return scripts.PostprocessImageArgs(image, *place_in_job)


def _picture(p: Any, place: int, sample: Any, saving: bool, made: _Made) -> None:
    image = Image.fromarray((255.0 * np.moveaxis(sample.cpu().numpy(), 0, 2)).astype(np.uint8))
    if p.restore_faces:
        if saving and opts.save_images_before_face_restoration:
            _save(p, image, place, made, "-before-face-restoration")
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    overlays = getattr(p, "overlay_images", None)
    overlay = overlays[place] if opts.overlay_inpaint and overlays is not None and place < len(overlays) else None
    mask = getattr(p, "mask_for_overlay", None)
    if p.scripts is not None:
        pp = _args(image, p, place)
        p.scripts.postprocess_image(p, pp)
        args = scripts.PostProcessMaskOverlayArgs(place, mask, overlay)
        p.scripts.postprocess_maskoverlay(p, args)
        image, mask, overlay = pp.image, args.mask_for_overlay, args.overlay_image
    image, denoised = apply_overlay(image, p.paste_to, overlay)
    if FORGE:
        p.pixels_after_sampling.append(image)
    if p.scripts is not None:
        pp = _args(image, p, place)
        p.scripts.postprocess_image_after_composite(p, pp)
        image = pp.image
    if saving:
        _save(p, image, place, made)
    text = made.text(place)
    made.infotexts.append(text)
    if opts.enable_pnginfo:
        image.info["parameters"] = text
    made.images.append(image)
    if mask is not None:
        _masks(p, place, saving, made, mask, denoised)


def _save(p: Any, image: Any, place: int, made: _Made, suffix: str = "") -> None:
    images.save_image(
        image, p.outpath_samples, "", p.seeds[place], p.prompts[place], opts.samples_format, info=made.text(place), p=p,
        suffix=suffix,
    )  # fmt: skip


def _masks(p: Any, place: int, saving: bool, made: _Made, mask: Any, denoised: Any) -> None:
    """Add the mask images right behind their picture, without infotexts of their own."""
    plain = mask.convert("RGB")
    if saving and opts.save_mask:
        _save(p, plain, place, made, "-mask")
    if opts.return_mask:
        made.images.append(plain)
    cut = denoised.convert("RGBA")
    cut.putalpha(mask.convert("L").resize(cut.size))
    if saving and opts.save_mask_composite:
        _save(p, cut, place, made, "-mask-composite")
    if opts.return_mask_composite:
        made.images.append(cut)


def _grid(p: Any, made: _Made) -> int:
    """Put a grid in front; masks are in it too."""
    few = len(made.images) < 2 and opts.grid_only_if_multiple
    if not (opts.return_grid or opts.grid_save) or p.do_not_save_grid or few:
        return 0
    grid = images.image_grid(made.images, p.batch_size)
    if opts.return_grid:
        text = made.text(use_main_prompt=True)
        made.infotexts.insert(0, text)
        grid.info["parameters"] = text
        made.images.insert(0, grid)
    if opts.grid_save:
        images.save_image(
            grid, p.outpath_grids, "grid", p.all_seeds[0], p.all_prompts[0], opts.grid_format,
            info=made.text(use_main_prompt=True), short_filename=not opts.grid_extended_filename, p=p, grid=True,
        )  # fmt: skip
    return 1 if opts.return_grid else 0
