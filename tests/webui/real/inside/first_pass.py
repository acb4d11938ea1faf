"""Best of N before finishing: a winner's seed, made again alone with the panel off, gives the winner's picture.

Candidates are made two at a time with a rest of one. A picture of a batch and the same one made alone may differ by
what convolutions of another batch size round, which is a grey level or two.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from webui_inside import Made, data, img2img, mask, pack, scene, stop_at, txt2img

SCORER = "hps-tiny-shapes"
PANEL = {"mode": "best-of-n-first-pass", "scorer": SCORER, "candidates": 3, "keep": 1}
HIRES = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.6, "hr_second_pass_steps": 1}
LEVELS = 2
"""By how much a pixel may differ for rounding."""
SCORES = 5e-3
"""By how much a score may differ for that; the miniature is steep."""
PROMPT = "a red circle"


@contextlib.contextmanager
def options(**changed: Any) -> Iterator[None]:
    """Change the host's settings for a while."""
    from modules import shared

    before = {name: getattr(shared.opts, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(shared.opts, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(shared.opts, name, value)


def score(image: Any, prompt: str) -> float:
    judge = pack("hpskit_webui.judge").Judge(pack("hpskit_webui.options").Options(scorer=SCORER))
    return float(judge.score([image], prompt)[0].main)


def fields(text: str) -> dict[str, str]:
    """Return what an infotext says beside what the panel says."""
    found = re.findall(r'([A-Z][\w ]+): ("[^"]*"|[^,]*)', text[text.rindex("Steps: ") :])
    return {name: value for name, value in found if not name.startswith("HPS")}


def pixels(image: Any) -> Any:
    return np.asarray(image.convert("RGB")).astype(int)


def again(maker: Callable[..., Made], made: Made, place: int, *given: Any, **settings: Any) -> tuple[int, float]:
    """Make a winner again from its seed, and return how far pixels and scores are apart."""
    seeds = {"seed": made.processed.all_seeds[place], "subseed": made.processed.all_subseeds[place]}
    alone = maker(*given, None, **{**settings, **seeds, "batch_size": 1, "n_iter": 1})
    one, other = pixels(made.images[place]), pixels(alone.images[0])
    assert one.shape == other.shape, (one.shape, other.shape)
    assert fields(made.infotexts[place]) == fields(alone.infotexts[0]), (made.infotexts[place], alone.infotexts[0])
    apart = abs(made.scores[place] - score(alone.images[0], settings.get("prompt", PROMPT)))
    return int(np.abs(one - other).max()), round(apart, 5)


def compared(maker: Callable[..., Made], *given: Any, **settings: Any) -> list[tuple[int, float]]:
    """Return for every winner how far it is from its seed made alone; `panel` and `opts` change these."""
    panel, changed = {**PANEL, **settings.pop("panel", {})}, settings.pop("opts", {})
    with options(**changed):
        made = maker(*given, panel, **{"batch_size": 2, **settings})
        assert not made.errors and len(made.scores) == panel["keep"] * settings.get("n_iter", 1), made.log
        return [_judged(maker, made, place, *given, **settings) for place in range(len(made.scores))]


def _judged(maker: Callable[..., Made], made: Made, place: int, *given: Any, **settings: Any) -> tuple[int, float]:
    """Do `again`; what the host's own batches differ by, in this process and now, is not counted."""
    levels, apart = again(maker, made, place, *given, **settings)
    if settings.get("batch_size", 2) > 1 and (levels > LEVELS or apart > SCORES):
        own_levels, own_apart = batched(maker, made, place, *given, **settings)
        levels, apart = max(0, levels - 2 * own_levels), max(0.0, apart - 2 * own_apart)
    return levels, round(apart, 5)


def batched(maker: Callable[..., Made], made: Made, place: int, *given: Any, **settings: Any) -> tuple[int, float]:
    """Return how far apart the host's own picture of a seed is in a batch of two and alone, without the panel."""
    seeds = {"seed": made.processed.all_seeds[place], "subseed": made.processed.all_subseeds[place], "n_iter": 1}
    both = maker(*given, None, **{**settings, **seeds, "batch_size": 2})
    alone = maker(*given, None, **{**settings, **seeds, "batch_size": 1})
    apart = int(np.abs(pixels(both.images[0]) - pixels(alone.images[0])).max())
    prompt = settings.get("prompt", PROMPT)
    return apart, abs(score(both.images[0], prompt) - score(alone.images[0], prompt))


def same(rows: dict[str, dict[str, Any]], *given: Any, levels: int = LEVELS, by: float = SCORES) -> Any:
    """Check every row of settings; with `given` pictures it is img2img."""
    maker = img2img if given else txt2img
    found = {name: compared(maker, *given, **row) for name, row in rows.items()}
    wrong = {name: row for name, row in found.items() if any(a > levels or b > by for a, b in row)}
    assert not wrong, wrong
    return found


def check_samplers() -> Any:
    names = ("Euler", "Euler a", "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DDIM", "LCM")
    rows = {name: {"sampler_name": name} for name in names}
    return same({**rows, "UniPC": {"sampler_name": "UniPC", "steps": 3}})


def check_batches_with_a_rest_and_two_pools() -> Any:
    return same(
        {
            "five, two kept": {"panel": {"candidates": 5, "keep": 2}, "sampler_name": "Euler a"},
            "two pools": {"n_iter": 2, "sampler_name": "DPM++ SDE"},
        }
    )


def check_one_at_a_time_is_the_same_to_the_pixel() -> Any:
    return same({name: {"sampler_name": name, "batch_size": 1} for name in ("Euler", "DPM++ SDE")}, levels=0, by=1e-3)


def check_what_decides_the_noise() -> Any:
    ancestral = {"sampler_name": "Euler a"}
    return same(
        {
            "noise of seed delta": {"opts": {"eta_noise_seed_delta": 31337}, **ancestral},
            "seed from another size": {"seed_resize_from_w": 96, "seed_resize_from_h": 48, **ancestral},
            "variation": {"subseed": 77, "subseed_strength": 0.3, **ancestral},
            "random numbers of cards": {"opts": {"randn_source": "NV"}, **ancestral},
            "eta": {"sampler_name": "DDIM", "eta": 0.7},
        }
    )


def check_what_changes_the_model_and_its_prompt() -> Any:
    prompt = "a [red:blue:.5] circle AND a [small|large] dog"
    return same(
        {
            "prompt editing": {"prompt": prompt, "negative_prompt": "[grey:green:.5] (soft:1.2)", "steps": 3},
            "no guidance": {"cfg_scale": 1},
            "tiling": {"tiling": True},
            "token merging": {"opts": {"token_merging_ratio": 0.5}},
        }
    )


def check_hires_fix() -> Any:
    found = same(
        {
            "latent": {"hr_upscaler": "Latent", "sampler_name": "Euler a", **HIRES},
            "pixels": {"hr_upscaler": "Lanczos", "sampler_name": "DPM++ SDE", **HIRES},
            "other checkpoint": {"hr_upscaler": "Latent", "hr_checkpoint_name": other_checkpoint(), **HIRES},
        }
    )
    txt2img()  # has the first checkpoint again: loading draws random numbers, which the encoder of the next check has
    return found


def other_checkpoint() -> str:
    """Lay a second checkpoint beside the first, with another last layer; return its name."""
    from modules import sd_models
    from safetensors.torch import load_file, save_file

    folder, layer = data / "models" / "Stable-diffusion", "model.diffusion_model.out.2.weight"
    [first] = [path for path in folder.glob("*.safetensors") if path.stem != "other15"]
    other = folder / "other15.safetensors"
    if not other.exists():
        weights = load_file(str(first))
        weights[layer] = -weights[layer]
        save_file(weights, str(other))
        if first.with_suffix(".yaml").exists():
            shutil.copy(first.with_suffix(".yaml"), other.with_suffix(".yaml"))
        sd_models.list_models()
        # The host works it out when it loads the file, and infotexts name it from then on.
        sd_models.get_closet_checkpoint_match(other.name).calculate_shorthash()
    return other.name


def check_a_refiner() -> Any:
    """Rounding of a batch grows through the second model, so candidates are made one at a time."""
    refiner = {"refiner_checkpoint": other_checkpoint(), "refiner_switch_at": 0.5, "steps": 4, "batch_size": 1}
    found = same({"refiner": {"sampler_name": "Euler a", "panel": {"candidates": 2}, **refiner}}, levels=0, by=1e-3)
    return {**found, **same({"without, afterwards": {}})}


def check_img2img() -> Any:
    return same(
        {
            "Euler a": {"sampler_name": "Euler a"},
            "DDIM": {"sampler_name": "DDIM", "steps": 4},
            "noise multiplier": {"opts": {"initial_noise_multiplier": 0.8}},
            "extra noise": {"opts": {"img2img_extra_noise": 0.3}, "sampler_name": "Euler a"},
            "colour correction": {"opts": {"img2img_color_correction": True}},
        },
        scene(),
    )


def check_inpainting() -> Any:
    """What is filled: with blurred colours, with the picture itself, with noise, with nothing."""
    rows = {
        f"filled {fill}, {'region' if region else 'whole'}": {
            "mask": mask(), "mask_blur": 4 * region, "inpainting_fill": fill, "inpaint_full_res": region,
            "inpaint_full_res_padding": 8, "sampler_name": "Euler a",
        }
        for fill in range(4)
        for region in (False, True)
    }  # fmt: skip
    return same(rows, scene())


def check_inpainting_with_half_tones() -> Any:
    soft = {"mask": mask(), "mask_blur": 4, "mask_round": False}
    return same(
        {
            "noise": {"inpainting_fill": 2, **soft},
            "colour correction": {"opts": {"img2img_color_correction": True}, "batch_size": 1, **soft},
        },
        scene(),
    )


def check_all_candidates_are_shown_when_asked() -> None:
    with options(hps_show_candidates=True):
        made = txt2img(PANEL, batch_size=2)
    assert not made.errors and len(made.infotexts) == 1, made.log
    assert len(made.images) == 2 and made.images[1].width > 3 * 64, [image.size for image in made.images]


def check_a_stop_in_the_middle_of_a_pool() -> Any:
    with stop_at(5) as calls:  # in the third of six, which are made one at a time
        made = txt2img({**PANEL, "candidates": 6}, sampler_name="Euler a", n_iter=2)
    assert not made.errors and len(calls) < 8, (made.log, calls)
    assert "stopped after 2 of 6: it was stopped by hand" in made.processed.comments, made.processed.comments
    assert len(made.scores) == 1 and made.seeds[0] in (1, 2), made.infotexts
    from modules import shared

    assert shared.state.interrupted and not shared.state.stopping_generation
    shared.state.interrupted = False
    found = again(txt2img, made, 0, sampler_name="Euler a")
    assert found[0] == 0, found
    return made.processed.comments


def check_a_stop_spares_the_hires_pass() -> Any:
    with stop_at(5):
        made = txt2img({**PANEL, "candidates": 6}, sampler_name="Euler a", save=True, hr_upscaler="Lanczos", **HIRES)
    assert not made.errors and len(made.files) == 1, (made.log, made.files)
    assert "before hires fix" in made.processed.comments and made.images[0].size == (64, 64), made.processed.comments
    from modules import shared

    shared.state.interrupted = False
    plain = txt2img(None, sampler_name="Euler a", seed=made.seeds[0])
    assert (pixels(plain.images[0]) == pixels(made.images[0])).all()
    return made.processed.comments


def check_a_skip_in_the_middle_of_a_pool() -> Any:
    with stop_at(5, how="skip"):
        made = txt2img({**PANEL, "candidates": 4}, n_iter=2)
    assert not made.errors and len(made.scores) == 2 and None not in made.scores, (made.log, made.infotexts)
    assert "pool 1" in made.processed.comments and "stopped by hand" in made.processed.comments
    assert made.seeds[0] in (1, 2) and made.seeds[1] in range(5, 9), made.seeds
    found = [again(txt2img, made, place) for place in range(2)]
    assert max(found)[0] == 0, found
    return made.processed.comments
