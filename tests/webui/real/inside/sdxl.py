"""Every mode of the panel with models that the hosts load and sample in other ways: in the layout of SDXL, and of 2.1.

The helpers are those of the checks of each mode. Text is encoded by networks of full size, so that a prompt costs
seconds; most checks keep to one prompt, which the hosts remember.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from webui_inside import img2img, kind, scene, txt2img


def neighbour(name: str) -> ModuleType:
    """Return another file of checks, for its helpers."""
    spec = importlib.util.spec_from_file_location(f"webui_helpers_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


best, first, noise = neighbour("best_of_n"), neighbour("first_pass"), neighbour("noise_search")
paths, search, plots = neighbour("gradient_paths"), neighbour("gradient_search"), neighbour("plots")
SCORE = best.SCORE
GUIDANCE = (4.0, 1.0)
HIRES = {"hr_upscaler": "Latent", **first.HIRES}


def check_the_model_is_told_text_and_vector() -> Any:
    """What follows is worth nothing when the host took the file for another model."""
    from modules import shared

    model = shared.sd_model
    network = model.forge_objects.unet.model if kind == "forge" else model.model
    told = model.get_learned_conditioning(["a red circle"])
    assert model.is_sdxl and not model.is_sd1, type(model)
    sides = {name: list(value.shape) for name, value in told.items()}
    assert sides == {"crossattn": [1, 77, 2048], "vector": [1, 2816]}, sides
    depth = sum(type(layer).__name__ == "BasicTransformerBlock" for layer in network.modules())
    assert depth == 70, depth
    return type(model).__name__


def predicts_v() -> Any:
    """Tell that the model is one of Stable Diffusion 2.1 that predicts v; not a check of its own."""
    from modules import shared

    model = shared.sd_model
    assert model.is_sd2 and not model.is_sdxl, type(model)
    found = model.forge_objects.unet.model.predictor.prediction_type if kind == "forge" else model.parameterization
    assert str(found).startswith("v"), found
    return found


def check_scores_are_those_of_each_image_alone() -> Any:
    found = {}
    for scale in GUIDANCE:
        made = txt2img(SCORE, batch_size=2, cfg_scale=scale)
        best.sound(made, 2)
        alone = [first.score(image, first.PROMPT) for image in made.images]
        assert all(best.near(one, other) for one, other in zip(made.scores, alone, strict=True)), (made.scores, alone)
        assert abs(made.scores[0] - made.scores[1]) > 0.1, made.scores
        found[scale] = made.scores
    return found


def check_winners_are_the_best_and_come_again() -> Any:
    """Finished images and first passes, with and without guidance, at another size, too."""
    found = {}
    ways = {"guided": {}, "free": {"cfg_scale": 1.0}, "wide": {"width": 128, "height": 64}}
    for name, settings in ways.items():
        known = best.all_scores(range(1, 4), **settings)
        for way in best.WAYS:
            made = txt2img(best.best(way, 3), batch_size=2, **settings)
            best.sound(made, 1)
            seed = made.seeds[0]
            assert known[seed] > max(known.values()) - first.SCORES, (name, way, seed, known)
            assert best.near(made.scores[0], known[seed], first.SCORES), (name, way, made.scores, known)
            found[f"{name} {way}"] = [seed, round(abs(made.scores[0] - known[seed]), 5)]
    return found


def check_hires_fix_both_ways() -> Any:
    """The finishing pass has conditionings of its own, for its size."""
    found = {}
    for way in best.WAYS:
        row = {"panel": {"mode": way, "candidates": 2}, "sampler_name": "Euler a", "batch_size": 1, **HIRES}
        found |= first.same({way: row}, levels=0, by=1e-3)
    return found


def check_first_passes_by_sampler() -> Any:
    names = ("Euler a", "DPM++ SDE", "DDIM")
    rows: dict[str, Any] = {name: {"sampler_name": name} for name in names}
    prompt = {"prompt": "a [red:blue:.5] circle AND a dog", "negative_prompt": "[grey:green:.5]", "steps": 3}
    return first.same({**rows, "prompt editing": prompt})


def check_img2img_both_ways() -> Any:
    found = {}
    for way in best.WAYS:
        found |= first.same({way: {"panel": {"mode": way}, "sampler_name": "Euler a", "steps": 4}}, scene())
    return found


def check_candidates_as_an_axis() -> Any:
    known = best.all_scores(range(1, 4))
    panel = best.best("best-of-n-first-pass")
    with plots.tables() as found:
        made = plots.plot({"X": ("[HPS] Candidates", "1, 3")}, panel, save=True)
    plots.sound(made)
    rows = plots.rows(found[0])
    wanted = [known[1], max(known.values())]
    assert all(best.near(float(row["score"]), value) for row, value in zip(rows, wanted, strict=True)), (rows, known)
    return wanted


def check_noise_searches_are_made_again() -> Any:
    found = {}
    for name, maker, given in (("txt2img", txt2img, ()), ("img2img", img2img, (scene(),))):
        made = noise.searched(maker, *given, sampler_name="Euler a")
        found[name] = noise.again(maker, made, 0, *given, sampler_name="Euler a")
    return found


def check_gradients_against_finite_differences() -> Any:
    found = {}
    for name, steps, scale in (("Euler", 2, 4.0), ("Euler a", 2, 1.0), ("DPM++ 2M", 3, 4.0)):
        settings = {"sampler_name": name, "steps": steps, "cfg_scale": scale}
        found[f"{name} {steps} {scale}"] = paths.inside(paths.compared, **settings)
    image, mask = paths.picture()
    settings = {"sampler_name": "Euler a", "steps": 3, "denoising_strength": 0.7, "mask": mask, "mask_blur": 0}
    found["inpainting"] = paths.inside(paths.compared, img2img, image, **settings)
    wrong = {name: values for name, values in found.items() if not paths.right(values)}
    assert not wrong, wrong
    return {name: f"{values['error']:.1e}" for name, values in found.items()}


def check_a_gradient_improves_and_its_noise_is_kept() -> Any:
    found = {}
    for scale in GUIDANCE:
        made, [way] = search.optimised({"gradient_method": "geodesic"}, cfg_scale=scale, save=True)
        begun, reached = (next(iter(point.scores.values())) for point in (way.curve[0], way.chosen))
        assert reached > begun and best.near(made.scores[0], reached), (begun, reached, made.scores)
        again = noise.again(txt2img, made, 0, cfg_scale=scale)
        assert best.near(again, reached), (again, reached)
        found[scale] = [round(begun, 4), round(reached, 4), round(again, 4)]
    return found


def check_the_preflight_passes() -> Any:
    """It also compares its gradient with a finite difference, on the latent of its own size."""
    return search.sound_preflight(steps=1)


def check_a_decoder_without_numbers_is_turned_to_32_bits() -> Any:
    """As the VAE of SDXL in half precision is: AUTOMATIC1111 turns it at the first picture; a gradient may be that."""
    import torch
    from modules import devices, shared

    if kind == "forge":
        return "Forge chooses a precision in which its decoders work"
    stage, before = shared.sd_model.first_stage_model, devices.dtype_vae
    decode = stage.decode

    def half(z: Any) -> Any:
        made = decode(z)
        return made if next(stage.parameters()).dtype == torch.float32 else made * float("nan")

    try:
        devices.dtype_vae, stage.decode = torch.bfloat16, half
        stage.to(torch.bfloat16)
        made, [way] = search.optimised({"gradient_method": "geodesic", "iterations": 2})
        assert devices.dtype_vae == torch.float32, devices.dtype_vae
    finally:
        del stage.decode
        devices.dtype_vae = before
        stage.to(before)
    begun, reached = (next(iter(point.scores.values())) for point in (way.curve[0], way.chosen))
    assert reached > begun, (begun, reached, made.processed.comments)
    return [round(begun, 4), round(reached, 4)]
