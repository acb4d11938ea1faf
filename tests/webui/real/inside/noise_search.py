"""Noise searches without gradients in the real hosts: better than the seed, and made again from the saved noise."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from webui_inside import Made, img2img, mask, scene, stop_at, txt2img

SCORER = "hps-tiny-shapes"
PANEL = {"mode": "noise-search", "scorer": SCORER, "screen": 3, "iterations": 2, "population": 2}
METHODS = ("sphere search", "subspace search", "zero-order search")
HIRES = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.6, "hr_second_pass_steps": 1}


def searched(maker: Callable[..., Made], *given: Any, panel: dict[str, Any] | None = None, **settings: Any) -> Made:
    made = maker(*given, {**PANEL, **(panel or {})}, save=True, **settings)
    assert not made.errors and None not in made.scores, made.log
    assert len(made.images) == len(made.infotexts) == settings.get("batch_size", 1), made.infotexts
    return made


def noise_of(made: Made, place: int) -> Path:
    """Return the noise file beside a picture; its checksum stands in the infotext."""
    file = made.files[place].with_suffix(".hps-noise.safetensors")
    assert file.is_file() and re.search(r"HPS noise: \w{12}\b", made.infotexts[place]), made.infotexts[place]
    return file


def again(maker: Callable[..., Made], made: Made, place: int, *given: Any, **settings: Any) -> float:
    """Make a picture again from its noise file, check that it is the same, and return its score."""
    panel = {"mode": "score", "scorer": SCORER, "noise_file": str(noise_of(made, place))}
    alone = maker(*given, panel, seed=made.seeds[place], **settings)
    assert not alone.errors, alone.log
    one, other = (image.convert("RGB").tobytes() for image in (made.images[place], alone.images[0]))
    apart = max(abs(a - b) for a, b in zip(one, other, strict=True))
    # Pictures of a batch are rounded in other ways than the same ones made alone.
    assert apart <= (0 if len(made.images) == 1 else 2), apart
    assert abs(alone.scores[0] - made.scores[place]) <= (1e-4 if apart == 0 else 5e-3), (alone.scores, made.scores)
    return float(alone.scores[0])


def check_no_method_is_worse_than_the_seed_and_the_file_keeps_its_noise() -> Any:
    """A few images are not enough for every method to be better; together they are."""
    [plain] = txt2img({"mode": "score", "scorer": SCORER}, sampler_name="Euler a").scores
    found = {}
    for method in METHODS:
        made = searched(txt2img, panel={"method": method}, sampler_name="Euler a")
        assert made.scores[0] >= plain and f"HPS start score: {plain:.4f}" in made.infotexts[0], made.infotexts
        found[method] = again(txt2img, made, 0, sampler_name="Euler a")
    assert max(found.values()) > plain + 0.01, (plain, found)
    return {"plain": plain, **found}


def check_samplers_with_noise_of_their_own_and_hires_fix() -> Any:
    found = {}
    for name in ("DPM++ SDE", "LCM"):
        found[name] = again(txt2img, searched(txt2img, sampler_name=name), 0, sampler_name=name)
    hires = {"hr_upscaler": "Latent", "sampler_name": "Euler a", **HIRES}
    return {**found, "hires": again(txt2img, searched(txt2img, **hires), 0, **hires)}


def check_each_picture_of_a_batch_has_its_own() -> Any:
    made = searched(txt2img, batch_size=2, sampler_name="Euler a")
    assert made.seeds == [1, 2] and noise_of(made, 0) != noise_of(made, 1)
    return [again(txt2img, made, place, sampler_name="Euler a") for place in range(2)]


def check_img2img_and_inpainting() -> Any:
    rows = {"img2img": {}, "inpaint": {"mask": mask()}, "latent noise": {"mask": mask(), "inpainting_fill": 2}}
    return {name: again(img2img, searched(img2img, scene(), **row), 0, scene(), **row) for name, row in rows.items()}


def check_a_stop_keeps_the_best_so_far() -> Any:
    with stop_at(9):
        made = searched(txt2img, panel={"iterations": 40})
    assert "HPS score" in made.infotexts[0], made.infotexts
    return [again(txt2img, made, 0), made.processed.comments]


def check_a_stop_after_the_image_in_work_ends_at_the_next_candidate() -> Any:
    with stop_at(9, how="stop_generating") as calls:
        made = searched(txt2img, panel={"iterations": 40})
    assert len(calls) < 20 and "stopped by hand" in made.processed.comments, (calls, made.processed.comments)
    return [again(txt2img, made, 0), made.processed.comments]


def check_a_stopped_gradient_hands_out_the_noise_that_it_names() -> Any:
    gradient = {"mode": "noise-gradient", "gradient_method": "geodesic", "iterations": 40}
    found = []
    for how in ("interrupt", "stop_generating"):
        with stop_at(40, how=how):
            made = searched(txt2img, panel=gradient)
        found.append([again(txt2img, made, 0), made.processed.comments])
        told = float(made.processed.comments.split(" -> ")[1].split(" ")[0])
        assert abs(made.scores[0] - told) < 0.02 and "stopped by hand" in made.processed.comments, found
    return found
