"""From latents to pictures as the host will show them, and the latents that img2img starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

FACTOR = 8
"""Pixels of a side that one latent becomes, as the hosts count."""
SEEDS = "_hps_filled"
LATENT_NOISE = 2
"""Value of `inpainting_fill` that fills the masked part with noise of the seed."""


def decode(p: Any, latents: Tensor) -> Tensor:
    """Return pictures [n, 3, H, W] in 0..1, float32 on the CPU, as the host decodes; NaN where its decoder fails."""
    from modules import devices, processing

    pictures = []
    for k in range(len(latents)):
        try:
            rows = processing.decode_latent_batch(
                p.sd_model, latents[k : k + 1], target_device=devices.cpu, check_for_nans=True
            )
            pictures.append(((rows[0].float() + 1.0) / 2.0).clamp(0.0, 1.0))
        except devices.NansException:
            sides = [side * FACTOR for side in latents.shape[-2:]]
            pictures.append(torch.full((3, *sides), float("nan")))
    return torch.stack(pictures)


def finished(p: Any, image: Tensor, place: int = 0) -> Image.Image:
    """Return a decoded picture [3, H, W] as the host will finish it: in 8 bits, colours corrected, pasted into place.

    Face restoration and what other extensions do afterwards are not in it.
    """
    from modules import processing, shared
    from PIL import Image

    rows = 255.0 * np.moveaxis(image.detach().cpu().numpy(), 0, 2)
    picture = Image.fromarray(rows.astype(np.uint8))  # cut off and not rounded, as the host does
    corrections = getattr(p, "color_corrections", None)
    if corrections is not None and place < len(corrections):
        picture = processing.apply_color_correction(corrections[place], picture)
    overlays = getattr(p, "overlay_images", None)
    if not shared.opts.overlay_inpaint or overlays is None or place >= len(overlays):
        return picture
    return processing.apply_overlay(picture, p.paste_to, overlays[place])[0]


def note_seeds(p: Any) -> None:
    """Remember the seeds with which the host has laid the job out; is to be called in every batch, before a pass."""
    if p.iteration == 0 or not hasattr(p, SEEDS):
        setattr(p, SEEDS, list(p.all_seeds))


def start(p: Any, rows: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """Return the latents that img2img begins with, [n, ...]: those of the job's `rows`, for these seeds.

    Only "latent noise" in inpainting depends on the seed; the host fills it once a job, with the first batch's seeds.
    """
    latent: Tensor = p.init_latent[list(rows)]
    mask = getattr(p, "mask", None)
    if mask is None or getattr(p, "inpainting_fill", None) != LATENT_NOISE:
        return latent
    from modules import processing

    def noise(of: Sequence[int]) -> Tensor:
        made: Tensor = processing.create_random_tensors(latent.shape[1:], list(of)).to(latent)
        return made

    if hard(mask):
        return latent * mask + noise(seeds) * p.nmask
    filled = getattr(p, SEEDS, None) or p.all_seeds
    return latent + (noise(seeds) - noise([filled[row] for row in rows])) * p.nmask


def hard(mask: Tensor) -> bool:
    """Tell whether a mask has no half tones, so that blending twice is blending once."""
    return bool(torch.equal(mask, mask.round()))
