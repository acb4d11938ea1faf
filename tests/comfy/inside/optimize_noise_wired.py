"""The noise optimiser with what people wire to a sampler: stock nodes make its image again of the returned noise."""

from __future__ import annotations

from typing import Any

import comfy.controlnet
import comfy.k_diffusion.sampling
import comfy.samplers
import torch
from comfy_inside import sibling

parts = sibling("optimize_noise_parts")
tiny = parts.tiny
LATENT, REPORT = parts.LATENT, parts.REPORT
BOTH = (parts.GRADIENT[0], parts.SEARCH[0])


def _with_guider(method: str, model: Any, positive: Any, **settings: Any) -> Any:
    """Return a graph whose guider has this MODEL and positive CONDITIONING."""
    wired = parts.Wired(method=method, **settings)
    inputs = wired.graph.nodes[wired.links["guider"][0]]["inputs"]
    if model is not None:
        inputs["model"] = wired.graph.give(model)
    if positive is not None:
        inputs["positive"] = wired.graph.give(positive)
    return wired


def _differs(wired: Any, kind: str = "sd3") -> None:
    """Check that what is wired has an effect on the start, so that the check shows something."""
    run = parts.catch(wired.graph, wired.stock(), 0)
    plain = parts.Wired(kind)
    other = parts.catch(plain.graph, plain.stock(), 0)
    assert tiny.difference(run[0][0]["samples"], other[0][0]["samples"]) > 0.01


def check_lora() -> None:
    model = tiny.models("sd3")[0].clone()
    weight = "diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight"
    change = torch.randn(model.model_state_dict()[weight].shape, generator=torch.Generator().manual_seed(3))
    assert model.add_patches({weight: ("diff", (change,))}, 0.1)
    for method in BOTH:
        wired = _with_guider(method, model, None)
        _differs(wired)
        parts.expect_remade(wired)
    before = tiny.ksampler("sd3", 5, tiny.latent("sd3"))
    assert torch.equal(before, tiny.ksampler("sd3", 5, tiny.latent("sd3")))


class Push(comfy.controlnet.ControlBase):
    """A ControlNet of sorts: adds its hint, scaled by each item's own content, to the tokens of the flow model."""

    def get_control(self, x_noisy: Any, t: Any, cond: Any, batched_number: int, transformer_options: Any = None) -> Any:
        hint = comfy.controlnet.broadcast_image_to(self.cond_hint_original, x_noisy.shape[0], batched_number)
        return {"output": [hint * x_noisy.mean((1, 2, 3)).reshape(-1, 1, 1)]}


def check_control_net() -> None:
    hint = torch.randn(1, 16, 64, generator=torch.Generator().manual_seed(6))
    text, extra = tiny.conditioning("sd3", 1)[0]
    positive = [[text, {**extra, "control": Push().set_cond_hint(hint * 20), "control_apply_to_uncond": True}]]
    for method in BOTH:
        for checkpointing in ("off", "on"):
            wired = _with_guider(method, None, positive, checkpointing=checkpointing)
            _differs(wired)
            parts.expect_remade(wired)


def check_regions_and_prompt_schedules() -> None:
    left = torch.zeros(1, 8, 8)
    left[:, :, :4] = 1.0
    text, extra = tiny.conditioning("sd3", 5)[0]
    positive = [*tiny.conditioning("sd3", 1), [text, {**extra, "mask": left, "end_percent": 0.9}]]
    for method in BOTH:
        wired = _with_guider(method, None, positive)
        _differs(wired)
        parts.expect_remade(wired)


def check_guidance_and_model_hooks() -> None:
    model = tiny.models("sd3")[0].clone()
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 0.9)
    for method in BOTH:
        for cfg in (1.0, 5.0):
            parts.expect_remade(_with_guider(method, model, None, cfg=cfg))


def check_inpainting() -> None:
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1.0
    given = {**tiny.latent("sd3", empty=False), "noise_mask": mask}
    for method in (*BOTH, "subspace search"):
        wired = parts.Wired(method=method, latent=given, denoise=0.8, steps=3)
        run = parts.expect_remade(wired)
        latent = run[0][0]
        assert torch.equal(latent["noise_mask"], mask)
        assert torch.allclose(latent["samples"][..., :3], given["samples"][..., :3], atol=1e-5), "the rest must stay"
        assert not torch.allclose(latent["samples"][..., 5:], given["samples"][..., 5:], atol=1e-2)


def check_a_search_leaves_the_noise_outside_the_mask() -> None:
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1.0
    given = {**tiny.latent("sd3", empty=False), "noise_mask": mask}
    run = parts.Wired(method="sphere search", latent=given, screen=1).run(parts.NOISE)
    first = parts.tiny.comfy.sample.prepare_noise(given["samples"], 200)
    assert torch.equal(run[0][0].noise[..., :4], first[..., :4]) and not torch.equal(run[0][0].noise, first)


def check_image_to_image() -> None:
    for method in BOTH:
        for kind in ("sd3", "sd15"):
            wired = parts.Wired(kind, method=method, latent=tiny.latent(kind, empty=False), denoise=0.6)
            parts.expect_remade(wired)


def check_a_latent_of_other_channels_and_an_odd_size() -> None:
    """An empty latent of the wrong kind gets the model's channels, as in the stock nodes."""
    for method in BOTH:
        wired = parts.Wired(method=method, latent={"samples": torch.zeros(1, 4, 6, 10)})
        assert parts.expect_remade(wired)[0][0]["samples"].shape == (1, 16, 6, 10)


def check_sampler_that_draws_from_the_global_generator() -> None:
    churn = comfy.samplers.KSAMPLER(comfy.k_diffusion.sampling.sample_euler, extra_options={"s_churn": 3.0})
    for method in BOTH:
        wired = parts.Wired(method=method)
        wired.links["sampler"] = wired.graph.give(churn)
        wired.graph.nodes[wired.node.id]["inputs"]["sampler"] = wired.links["sampler"]
        parts.expect_remade(wired)


def check_a_sampler_that_adapts_its_steps_is_searched_and_refused_for_gradients() -> None:
    small = {"latent": {"samples": torch.zeros(1, 16, 2, 2)}, "screen": 1, "iterations": 1, "population": 1}
    run = parts.Wired(method="sphere search", sampler="dpm_adaptive", **small).run(parts.TABLE)
    assert len(run[0][0]) == 2
    wired = parts.Wired(sampler="dpm_adaptive")
    run = wired.graph.run(wired.node[REPORT])
    assert not run.ok and "dpm_adaptive" in run.error and "Search without gradients" in run.error, run.error


def check_a_model_whose_gradient_would_be_wrong_is_refused_before_any_image() -> None:
    """A LoRA hook on one conditioning only changes weights between the forward and the backward pass."""
    import comfy.hooks

    model = tiny.models("sd3")[0]
    weight = "diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight"
    change = torch.randn(model.model_state_dict()[weight].shape, generator=torch.Generator().manual_seed(3))
    hooks = comfy.hooks.HookGroup()
    hook = comfy.hooks.WeightHook(strength_model=0.1, strength_clip=0.0)
    hook.weights = {weight: ("diff", (change,))}
    hooks.add(hook)
    text, extra = tiny.conditioning("sd3", 1)[0]
    positive = [[text, {**extra, "hooks": hooks}]]
    scorer = parts.redness()
    seen: list[int] = []
    inner = scorer.score
    scorer.score = lambda *args: seen.append(1) or inner(*args)
    wired = _with_guider(parts.GRADIENT[0], model, positive)
    wired.graph.nodes[wired.node.id]["inputs"]["scorer"] = wired.graph.give(scorer)
    run = wired.graph.run(wired.node[REPORT])
    assert not run.ok and "hook" in run.error and "choose a search method" in run.error, run.error
    assert not seen
    wired.graph.nodes[wired.node.id]["inputs"]["method"] = parts.SEARCH[0]
    parts.expect_remade(wired)


def check_a_model_patch_without_gradient_is_named_before_any_image() -> None:
    model = tiny.models("sd3")[0].clone()
    model.set_model_unet_function_wrapper(lambda apply, args: apply(args["input"], args["timestep"], **args["c"]).data)
    wired = _with_guider(parts.GRADIENT[0], model, None)
    run = wired.graph.run(wired.node[REPORT])
    assert not run.ok and run.error_type.endswith("errors.GradientError"), (run.error_type, run.error)
    assert "carries no gradient" in run.error and "search" in run.error, run.error
    wired.graph.nodes[wired.node.id]["inputs"]["method"] = parts.SEARCH[0]
    parts.expect_remade(wired)


def check_memory_that_will_not_do_is_said_in_the_report() -> None:
    module = parts.pack("nodes.preflight")
    kept, module.MARGIN = module.MARGIN, 1e9
    try:
        run = parts.Wired(screen=1).run(REPORT)
    finally:
        module.MARGIN = kept
    assert "Gradients need about" in run[0][0] and "are free" in run[0][0], run[0][0]


def check_checkpointing_changes_nothing() -> None:
    noises = []
    for choice in ("off", "on"):
        noises.append(parts.Wired("sd15", checkpointing=choice, sampler="dpmpp_2m").run(parts.NOISE)[0][0].noise)
    assert torch.allclose(*noises, atol=1e-4), float((noises[0] - noises[1]).abs().max())
