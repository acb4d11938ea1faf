"""Every stock sampler in lockstep against a plain KSampler run of the same seed."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import comfy.controlnet
import comfy.k_diffusion.sampling
import comfy.model_management as mm
import comfy.samplers
import torch
from comfy_inside import pack, sibling

tiny = sibling("best_of_n_tiny")
SEEDS = [11, 12, 13]
TOLERANCE = 5e-6
ALONE = {"dpm_adaptive"}
"""Samplers whose candidates never share a call."""
VIDEO = {"ar_video"}
"""Samplers that take video latents of a causal model only."""
STOCK = [name for name in comfy.samplers.SAMPLER_NAMES if name not in VIDEO]


def sampling(kind: str, given: dict[str, Any], seed: int = 11, **settings: Any) -> Any:
    """Return the pack's Sampling for a plain KSampler's settings."""
    chosen = {"steps": 3, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0} | settings
    model, _ = tiny.models(kind)
    positive, negative = tiny.conditioning(kind, 1), tiny.conditioning(kind, 2)
    return pack("nodes.sampling").plain_sampling(model, positive, negative, given, seed=seed, **chosen)


def compare(kind: str, given: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Return the differences of exact and batched candidates to plain runs, and how many model calls batching made."""
    seeds = SEEDS[:2] if settings.get("sampler_name") in ALONE else SEEDS
    alone = torch.cat([tiny.ksampler(kind, seed, given, **settings) for seed in seeds])
    job = sampling(kind, given, **settings)
    with torch.inference_mode():
        exact = dataclasses.replace(job, exact=True)(seeds)
        together = job(seeds)
    figures = {"exact": tiny.difference(exact, alone), "batched": tiny.difference(together, alone)}
    return figures | {"calls": job.stats.calls, "evals": job.stats.evals}


def expect(name: str, figures: dict[str, Any]) -> None:
    """Fail unless exact is bit-equal, batched within the tolerance, and calls were shared by all."""
    assert figures["exact"] == 0.0, (name, figures)
    assert figures["batched"] <= TOLERANCE, (name, figures)
    expected = 0 if name in ALONE else len(SEEDS) * figures["calls"]
    assert figures["evals"] == expected, (name, figures)
    assert name in ALONE or figures["calls"] > 0, (name, figures)


def check_every_stock_sampler_on_a_flow_model() -> dict[str, Any]:
    table = {name: compare("sd3", tiny.latent("sd3"), sampler_name=name, steps=3) for name in STOCK}
    for name, figures in table.items():
        expect(name, figures)
    return table


def check_unet_samplers_at_odd_sizes() -> dict[str, Any]:
    """The other kind of model, with 4 x 7 x 5 numbers a latent (no multiple of 16); not those that run alone: slow."""
    sharing = [name for name in STOCK if name not in ALONE]
    table = {name: compare("sd15", tiny.latent("sd15", 7, 5), sampler_name=name, steps=2) for name in sharing}
    for name, figures in table.items():
        expect(name, figures)
    return table


def check_unet_at_odd_size_in_short() -> None:
    for name in ("euler_ancestral", "dpmpp_2m_sde", "uni_pc", "euler_cfg_pp"):
        expect(name, compare("sd15", tiny.latent("sd15", 7, 5), sampler_name=name, steps=2))


def check_flow_at_odd_size() -> None:
    for name in ("euler", "dpmpp_sde", "res_multistep_ancestral"):
        expect(name, compare("sd3", tiny.latent("sd3", 9, 5), sampler_name=name))


def check_candidates_one_by_one_in_lockstep_are_bit_equal() -> None:
    """The threads themselves change nothing: with one candidate a model call every sampler is exact."""
    module = pack("nodes.sampling")
    for name in STOCK:
        if name in ALONE:
            continue
        job = sampling("sd3", tiny.latent("sd3"), sampler_name=name, steps=2)
        alone = torch.cat(
            [tiny.ksampler("sd3", seed, tiny.latent("sd3"), sampler_name=name, steps=2) for seed in SEEDS]
        )
        with torch.inference_mode():
            draws = [job.draw(seed) for seed in SEEDS]
            inner = module.LockstepSampler(job.sampler, draws, 1, None, job.stats)
            out = job._run(module.expecting_batch(job.guider, 3), draws[0], inner, None)
        assert torch.equal(out, alone), (name, tiny.difference(out, alone))


def check_image_to_image_guidance_and_batch_index() -> None:
    start = tiny.latent("sd3", empty=False)
    for name in ("euler", "dpmpp_2m_sde", "ddim"):
        expect(name, compare("sd3", start, sampler_name=name, denoise=0.6))
        expect(name, compare("sd3", tiny.latent("sd3"), sampler_name=name, cfg=1.0))
        expect(name, compare("sd3", {**start, "batch_index": [2]}, sampler_name=name, denoise=0.6))
    assert tiny.difference(sampling("sd3", start, denoise=0.0)(SEEDS), start["samples"].repeat(3, 1, 1, 1)) == 0.0


def check_inpainting() -> None:
    start = tiny.latent("sd3", empty=False)
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1.0
    for name in ("euler", "euler_ancestral", "ddim", "dpmpp_2m"):
        expect(name, compare("sd3", {**start, "noise_mask": mask}, sampler_name=name, denoise=0.8))


def check_lora_regions_and_model_hooks() -> None:
    """What is wired to the guider keeps working: weight patches, masks, prompt schedules, functions on the model."""
    module = pack("nodes.sampling")
    model = tiny.models("sd3")[0].clone()
    weight = "diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight"
    noise = torch.randn(model.model_state_dict()[weight].shape, generator=torch.Generator().manual_seed(3))
    assert model.add_patches({weight: ("diff", (noise,))}, 0.1)
    calls = []
    model.set_model_sampler_post_cfg_function(
        lambda args: calls.append(len(args["denoised"])) or args["denoised"] * 0.99
    )
    left = torch.zeros(1, 8, 8)
    left[:, :, :4] = 1.0
    region = [
        [*tiny.conditioning("sd3", 5)[0][:1], {**tiny.conditioning("sd3", 5)[0][1], "mask": left, "end_percent": 0.7}]
    ]
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(tiny.conditioning("sd3", 1) + region, tiny.conditioning("sd3", 2))
    guider.set_cfg(3.0)
    for name in ("euler", "dpmpp_2m_sde", "euler_cfg_pp"):
        job = dataclasses.replace(sampling("sd3", tiny.latent("sd3"), sampler_name=name), guider=guider)
        assert isinstance(job, module.Sampling)
        calls.clear()
        with torch.inference_mode():
            exact = dataclasses.replace(job, exact=True)(SEEDS)
            assert set(calls) == {1}
            calls.clear()
            together = job(SEEDS)
        assert set(calls) == {3}, calls
        assert tiny.difference(together, exact) <= TOLERANCE, name
        plain = sampling("sd3", tiny.latent("sd3"), sampler_name=name)
        with torch.inference_mode():
            assert tiny.difference(plain(SEEDS), exact) > 0.01, "the patches had no effect"
    assert not hasattr(guider, "conds") and not hasattr(guider, "inner_model")


class Push(comfy.controlnet.ControlBase):
    """A ControlNet of sorts: adds its hint, scaled by each item's own content, to the tokens of the flow model."""

    def get_control(self, x_noisy: Any, t: Any, cond: Any, batched_number: int, transformer_options: Any = None) -> Any:
        if not self.timestep_range[1] <= t[0] <= self.timestep_range[0]:
            return None
        hint = comfy.controlnet.broadcast_image_to(self.cond_hint_original, x_noisy.shape[0], batched_number)
        return {"output": [hint * x_noisy.mean((1, 2, 3)).reshape(-1, 1, 1)]}


def check_control_nets() -> None:
    hint = torch.randn(1, 16, 64, generator=torch.Generator().manual_seed(6))
    push = Push().set_cond_hint(hint * 20, timestep_percent_range=(0.0, 0.8))
    positive, negative = tiny.conditioning("sd3", 1), tiny.conditioning("sd3", 2)
    guider = comfy.samplers.CFGGuider(tiny.models("sd3")[0])
    guider.set_conds([[positive[0][0], {**positive[0][1], "control": push, "control_apply_to_uncond": True}]], negative)
    guider.set_cfg(2.0)
    plain = sampling("sd3", tiny.latent("sd3"), sampler_name="dpmpp_sde")
    job = dataclasses.replace(plain, guider=guider)
    with torch.inference_mode():
        exact, together = dataclasses.replace(job, exact=True)(SEEDS), job(SEEDS)
        assert tiny.difference(together, exact) <= TOLERANCE
        assert tiny.difference(plain(SEEDS), exact) > 0.01, "the control had no effect"


def check_sampler_that_draws_from_the_global_generator() -> None:
    """Churn in euler takes its noise from torch's global generator, which the host has just seeded with the noise."""
    churn = comfy.samplers.KSAMPLER(comfy.k_diffusion.sampling.sample_euler, extra_options={"s_churn": 3.0})
    job = dataclasses.replace(sampling("sd3", tiny.latent("sd3")), sampler=churn)
    before = torch.get_rng_state()
    with torch.inference_mode():
        together, exact = job(SEEDS), dataclasses.replace(job, exact=True)(SEEDS)
    assert torch.equal(before, torch.get_rng_state())
    plain = []
    for seed in SEEDS:
        noise = pack("nodes.sampling").SeedNoise(seed)
        with torch.inference_mode():
            plain.append(
                job.guider.sample(
                    noise.generate_noise(job.latent),
                    job.latent["samples"],
                    churn,
                    job.sigmas,
                    seed=seed,
                    disable_pbar=True,
                )
            )
    assert torch.equal(exact, torch.cat(plain))
    assert tiny.difference(together, torch.cat(plain)) <= TOLERANCE


def check_memory_of_the_whole_chunk_is_asked_for() -> None:
    asked = []
    job = sampling("sd3", tiny.latent("sd3"))
    original = mm.load_models_gpu

    def spy(models: Any, memory_required: float = 0, **options: Any) -> Any:
        asked.append(memory_required)
        return original(models, memory_required=memory_required, **options)

    mm.load_models_gpu = spy
    try:
        with torch.inference_mode():
            job([1])
            job([1, 2, 3, 4])
    finally:
        mm.load_models_gpu = original
    assert asked[0] > 0 and abs(asked[1] / asked[0] - 4) < 1e-6, asked


def candidate_threads() -> int:
    return sum(thread.name == "hps-candidate" for thread in threading.enumerate())


def check_a_sampler_that_adapts_its_steps_runs_alone_and_says_so() -> None:
    job = sampling("sd3", tiny.latent("sd3"), sampler_name="dpm_adaptive")
    assert job.one_by_one and any("one by one" in note for note in job.notes())
    assert not sampling("sd3", tiny.latent("sd3")).one_by_one


def check_a_conditioning_that_draws_from_the_seed_runs_alone_and_says_so() -> None:
    job = sampling("sd3", tiny.latent("sd3"))
    for extra in ({"noise_augmentation": 0.1}, {"unclip_conditioning": [{"noise_augmentation": 0.1}]}):
        (text, options), *_ = tiny.conditioning("sd3", 1)
        job.guider.set_conds([[text, {**options, **extra}]], tiny.conditioning("sd3", 2))
        assert job.one_by_one and any("uses the seed" in note for note in job.notes())
    job.guider.set_conds([[text, {**options, "noise_augmentation": 0.0}]], tiny.conditioning("sd3", 2))
    assert not job.one_by_one


def check_interrupt_in_the_middle_leaves_nothing() -> None:
    seen = []

    def interrupt(position: int, report: Any) -> None:
        seen.append(position)
        if len(seen) == 4:
            raise mm.InterruptProcessingException

    job = dataclasses.replace(sampling("sd3", tiny.latent("sd3"), steps=5), on_step=interrupt)
    state = torch.get_rng_state()
    try:
        with torch.inference_mode():
            job(SEEDS)
    except mm.InterruptProcessingException:
        pass
    else:
        raise AssertionError("the interrupt was lost")
    assert seen == [0, 1, 2, 0]
    assert candidate_threads() == 0
    assert torch.equal(state, torch.get_rng_state())
    expect("euler", compare("sd3", tiny.latent("sd3")))


def check_error_of_a_sampler_comes_with_its_traceback() -> None:
    def broken(model: Any, x: Any, sigmas: Any, extra_args: Any = None, **_: Any) -> Any:
        model(x, sigmas[:1], **extra_args)
        raise ValueError("deep in the sampler")

    job = dataclasses.replace(sampling("sd3", tiny.latent("sd3")), sampler=comfy.samplers.KSAMPLER(broken))
    try:
        with torch.inference_mode():
            job(SEEDS)
    except ValueError as error:
        names, trace = [], error.__traceback__
        while trace is not None:
            names.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        assert "broken" in names
    else:
        raise AssertionError("the error was lost")
    assert candidate_threads() == 0


def check_inputs_are_never_changed() -> None:
    start = {**tiny.latent("sd3", empty=False), "noise_mask": torch.rand(1, 8, 8), "batch_index": [4]}
    copies = {key: value.clone() if isinstance(value, torch.Tensor) else list(value) for key, value in start.items()}
    job = sampling("sd3", start)
    options, conds = dict(job.guider.model_options), job.guider.original_conds
    sigmas, noise = job.sigmas.clone(), dict(vars(job.noise))
    with torch.inference_mode():
        job(SEEDS)
        dataclasses.replace(job, exact=True)(SEEDS)
    assert all(torch.equal(start[key], copies[key]) for key in ("samples", "noise_mask"))
    assert start["batch_index"] == [4] and torch.equal(sigmas, job.sigmas) and vars(job.noise) == noise
    assert job.guider.model_options == options and job.guider.original_conds is conds
    assert "prepare_sampling" not in job.guider.model_options.get("transformer_options", {}).get("wrappers", {})
