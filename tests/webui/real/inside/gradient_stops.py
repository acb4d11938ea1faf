"""Noise optimisation in the real hosts when it is pressed or breaks, and in jobs that are harder than plain ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from webui_inside import Made, img2img, pack, scene, stop_at, txt2img

SCORER = "hps-tiny-shapes"
GRADIENT = {"mode": "noise-gradient", "scorer": SCORER, "gradient_method": "geodesic", "iterations": 3, "screen": 1}
SEARCH = {"mode": "noise-search", "scorer": SCORER, "iterations": 1, "population": 2, "screen": 1}
HIRES = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.6, "hr_second_pass_steps": 1}


def rgb(image: Any) -> bytes:
    return image.convert("RGB").tobytes()


def noise_of(made: Made) -> str:
    file = made.files[-1].with_suffix(".hps-noise.safetensors")
    assert file.is_file(), list(file.parent.iterdir())
    return str(file)


def again(made: Made, maker: Callable[..., Made] = txt2img, *given: Any, **settings: Any) -> None:
    """Check that the noise beside the last picture makes it again."""
    panel = {"mode": "score", "scorer": SCORER, "noise_file": noise_of(made)}
    alone = maker(*given, panel, seed=made.seeds[-1], **settings)
    assert rgb(alone.images[0]) == rgb(made.images[-1]) and alone.scores[0] == made.scores[-1], alone.scores


def calls_of(panel: dict[str, Any], **settings: Any) -> int:
    """Return how often the network is called in a job that nobody stops."""
    with stop_at(1 << 30) as calls:
        txt2img(panel, **settings)
    return len(calls)


def told(made: Made) -> list[str]:
    comments: str = made.processed.comments
    assert "no gradient" not in comments, comments
    return comments.splitlines()


def check_a_stop_ends_the_searches_of_the_whole_batch() -> Any:
    with stop_at(60) as calls:
        made = txt2img({**GRADIENT, "iterations": 40}, batch_size=2, save=True)
    assert len(calls) <= 62 and len(made.images) == 1 and not made.errors, (len(calls), made.log)
    again(made)
    return told(made)


def check_a_press_while_the_best_is_made_costs_nothing() -> Any:
    panel, found = {**GRADIENT, "iterations": 1}, []
    total = calls_of(panel)
    for how in ("interrupt", "skip"):
        with stop_at(total, how=how) as calls:
            made = txt2img(panel, save=True)
        assert len(calls) == total + 2 and not made.errors, (len(calls), total, made.log)
        again(made)
        found.append(told(made))
    return found


def check_a_press_in_the_hires_pass_gives_the_image_before_it() -> Any:
    found = []
    for upscaler, how in (("Latent", "interrupt"), ("Lanczos", "interrupt"), ("Latent", "skip")):
        hires = {**HIRES, "hr_upscaler": upscaler}
        total = calls_of(SEARCH, **hires)
        with stop_at(total, how=how):
            made = txt2img(SEARCH, save=True, **hires)
        assert made.images[0].size == (64, 64) and not made.errors, (made.images[0].size, made.log)
        again(made)
        found.append(told(made))
        assert "before hires fix" in made.processed.comments, found
    return found


def check_an_error_on_the_way_keeps_the_best_and_leaves_nothing() -> Any:
    kind, found = pack("hpskit_webui.noise.passes").Passes, []
    real, plain = kind.pictures, rgb(txt2img(sampler_name="Euler a", steps=3).images[0])
    for words in ("an extension broke", "CUDA out of memory."):
        count = iter(range(1, 100))

        def pictures(self: Any, *given: Any, count: Any = count, words: str = words) -> Any:
            if next(count) > 2:
                raise RuntimeError(words)
            return real(self, *given)

        kind.pictures = pictures
        try:
            made = txt2img(GRADIENT, save=True)
        finally:
            kind.pictures = real
        again(made)
        found.append(told(made))
        assert rgb(txt2img(sampler_name="Euler a", steps=3).images[0]) == plain
    assert words_in(found[0], "RuntimeError: an extension broke") and words_in(found[1], "memory ran out"), found
    return found


def words_in(lines: list[str], words: str) -> bool:
    return any(words in line for line in lines)


def check_img2img_at_a_low_strength() -> Any:
    found = {}
    for name in ("DDIM", "Euler a"):
        settings = {"denoising_strength": 0.3, "steps": 10, "sampler_name": name}
        [start] = img2img(scene(), {"mode": "score", "scorer": SCORER}, **settings).scores
        made = img2img(scene(), GRADIENT, save=True, **settings)
        assert made.scores[0] > start and not made.errors, (made.scores, start, made.log)
        again(made, img2img, scene(), **settings)
        found[name] = [start, *made.scores, *told(made)]
    return found


def check_prompt_editing_and_a_lora() -> Any:
    """The network of the LoRA is in the weights while gradients flow, and gone for the next image."""
    from modules import shared
    from safetensors.torch import save_file

    folder = Path(shared.cmd_opts.lora_dir)
    folder.mkdir(parents=True, exist_ok=True)
    name, make = "lora_te_text_model_encoder_layers_0_mlp_fc1", torch.Generator().manual_seed(1)
    attention = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    sides = {name: _sides("mlp.fc1"), attention: _sides("transformer_blocks.0.attn1.to_q")}
    tensors = {}
    for key, (out, into) in sides.items():
        tensors[f"{key}.lora_down.weight"] = torch.randn(2, into, generator=make) * 0.3
        tensors[f"{key}.lora_up.weight"] = torch.randn(out, 2, generator=make) * 0.3
    save_file(tensors, str(folder / "both.safetensors"))
    settings = {"prompt": "[a red circle:a blue square:0.5] <lora:both:1>", "steps": 4}
    before = rgb(txt2img(steps=4).images[0])
    without = txt2img({"mode": "score", "scorer": SCORER}, prompt="[a red circle:a blue square:0.5]", steps=4)
    plain = txt2img({"mode": "score", "scorer": SCORER}, **settings)
    assert rgb(plain.images[0]) != rgb(without.images[0])
    made = txt2img(GRADIENT, save=True, **settings)
    assert made.scores[0] > plain.scores[0] and not made.errors, (made.scores, plain.scores, made.log)
    again(made, **settings)
    assert rgb(txt2img(steps=4).images[0]) == before
    return [*plain.scores, *made.scores, *told(made)]


def _sides(ending: str) -> tuple[int, int]:
    from modules import shared

    model = shared.sd_model
    objects = getattr(model, "forge_objects", None)
    nets = [model] if objects is None else [objects.unet.model, objects.clip.cond_stage_model]
    for net in nets:
        for name, module in net.named_modules():
            if name.endswith(ending):
                return tuple(module.weight.shape)
    raise LookupError(ending)
