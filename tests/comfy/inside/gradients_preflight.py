"""The check before a long run: what it passes, what it stops and how it says so, and its estimate of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management as mm
import comfy.samplers
import torch
from comfy_inside import pack, sibling

probe = sibling("gradients_probe")
tiny = probe.tiny


class Within(comfy.samplers.Sampler):
    """SAMPLER that hands what a sampler is given to a function."""

    def __init__(self, inner: Any, work: Callable[[Any], Any]) -> None:
        self.inner, self.work, self.result = inner, work, None

    def sample(
        self, model_wrap: Any, sigmas: Any, extra_args: Any, callback: Any, noise: Any,
        latent_image: Any = None, denoise_mask: Any = None, disable_pbar: bool = False,
    ) -> torch.Tensor:  # fmt: skip
        given = (latent_image, denoise_mask)
        self.result = self.work((model_wrap, self.inner, sigmas, extra_args, noise, *given))
        return torch.zeros_like(noise)


def within(work: Callable[[Any], Any], kind: str = "sd15", *, model: Any = None, sampler: Any = "euler", side: int = 8,
           steps: int = 2) -> Any:  # fmt: skip
    """Call `work` where a sampler would run, in inference mode."""
    inner = comfy.samplers.sampler_object(sampler) if isinstance(sampler, str) else sampler
    running = Within(inner, work)
    with torch.inference_mode():
        model = model or tiny.models(kind)[0]
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(tiny.conditioning(kind, 1), tiny.conditioning(kind, 2))
        guider.set_cfg(2.0)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", steps)
        latent = tiny.latent(kind, side, side)["samples"]
        noise = comfy.sample.prepare_noise(latent, 1)
        guider.sample(noise, latent, running, sigmas, disable_pbar=True, seed=1)
    return running.result


def checked(probe: bool = False, vae: Any = None, checkpoint: str = "full", **settings: Any) -> Any:
    """Return the pre-flight of a run."""
    flight = pack("nodes.preflight")
    return within(
        lambda given: flight.preflight(flight.Setup(*given, vae=vae, checkpoint=checkpoint), probe=probe), **settings
    )


def check_a_good_run_passes_with_its_probe() -> Any:
    found = {kind: checked(True, tiny.models(kind)[1], kind=kind) for kind in ("sd15", "sd3")}
    for result in found.values():
        assert result.ok and result.advice == () and 0 < result.bytes_needed < result.bytes_free, result
    return {kind: result.bytes_needed for kind, result in found.items()}


def check_memory_grows_with_area_and_falls_with_checkpointing() -> Any:
    small, large = (checked(side=side, checkpoint="none").bytes_needed for side in (16, 32))
    assert 3.5 < large / small < 4.5, (small, large)
    few = checked(side=32, checkpoint="full").bytes_needed
    more = checked(side=32, checkpoint="none", steps=4).bytes_needed
    assert few < large * 0.7 and 1.9 < more / large < 2.1, (few, large, more)
    return small, large, few, more


def check_it_says_what_to_change_when_memory_is_short() -> None:
    kept = mm.get_free_memory
    model = tiny.models("sd15")[0]
    try:
        flight = pack("nodes.preflight")

        def short(given: Any) -> Any:
            setup = flight.Setup(*given, vae=tiny.models("sd15")[1], checkpoint="none")
            stages = {"decoding": pack("hpskit.autodiff.measuring").Activations(1 << 34)}
            mm.get_free_memory = lambda *a, **k: 1 << 30
            return flight._judged(setup, stages, 1.0)

        found = within(short, model=model)
    finally:
        mm.get_free_memory = kept
    said = " ".join(found.advice)
    assert found.ok and found.bytes_needed > found.bytes_free
    assert "GB" in said and "TAESD" in said and '"full"' in said and "without gradients" in said, said


def check_refusals_come_first() -> None:
    found = checked(sampler="dpm_adaptive")
    assert not found.ok and "dpm_adaptive" in found.problems[0]


class Rounding(torch.nn.Module):
    """Layer without a gradient."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self.inner(*args, **kwargs).detach().round()


class Undefined(torch.autograd.Function):
    """Operation without a backward pass."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("derivative for quick_matmul is not implemented")


class Failing(Rounding):
    """Layer whose operation cannot be differentiated."""

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return Undefined.apply(self.inner(*args, **kwargs))


def _patched(replacement: Callable[[torch.nn.Module], torch.nn.Module]) -> Any:
    model = tiny.models("sd15")[0].clone()
    name = "diffusion_model.out.2"
    model.add_object_patch(name, replacement(model.get_model_object(name)))
    return model


def check_the_layer_that_loses_the_gradient_is_named() -> Any:
    found = checked(model=_patched(Rounding))
    assert not found.ok and "out.2 (Rounding)" in found.problems[0] and "backward" in found.problems[0], found
    other = checked(model=_patched(Failing))
    assert not other.ok and "quick_matmul" in other.problems[0], other
    return found.problems, other.problems


def check_randomness_and_state_are_found() -> Any:
    calls = []

    def noisy(apply_model: Any, given: Any) -> Any:
        calls.append(1)
        return apply_model(given["input"], given["timestep"], **given["c"]) * (1 + 0.1 * len(calls))

    model = tiny.models("sd15")[0].clone()
    model.set_model_unet_function_wrapper(noisy)
    found = checked(model=model)
    assert not found.ok and "state" in found.problems[0], found
    return found.problems


def check_everything_is_put_back_after_an_error() -> None:
    run, seen = pack("nodes.differentiable").differentiable, {}

    def work(given: Any) -> None:
        guider, *_ = given
        conds, network = guider.conds, guider.inner_model.diffusion_model
        inference, rng = torch.is_inference_mode_enabled(), torch.get_rng_state()
        try:
            with run(*given[:4], *given[5:]) as render:
                seen["render"] = render
                assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
                assert any("forward" in vars(module) for module in network.modules())
                render(given[4].clone())
                raise KeyError
        except KeyError:
            pass
        assert guider.conds is conds and torch.is_inference_mode_enabled() is inference is True
        assert not any("forward" in vars(m) or m._forward_pre_hooks for m in network.modules())
        assert torch.equal(torch.get_rng_state(), rng)
        assert pack("nodes.host")._kept.get() == ()

    within(work)
    try:
        seen["render"](torch.zeros(1, 4, 8, 8))
    except pack("hpskit.errors").GradientError as refused:
        assert "ended" in str(refused)
    else:
        raise AssertionError


def check_several_noises_are_sampled_alone() -> None:
    run = pack("nodes.differentiable").differentiable

    def work(given: Any) -> None:
        with run(*given[:4], *given[5:]) as render, torch.no_grad():
            pair = torch.cat([given[4], given[4].flip(-1)])
            assert torch.equal(render(pair), torch.cat([render(pair[:1]), render(pair[1:])]))

    within(work, sampler="euler_ancestral")


def check_the_scorer_does_not_push_the_model_out() -> None:
    """What is loaded within the block is asked for together with the models of the run."""
    run, host, asked = pack("nodes.differentiable").differentiable, pack("nodes.host"), []
    kept = mm.load_models_gpu

    def work(given: Any) -> None:
        with run(*given[:4], *given[5:]):
            mm.load_models_gpu = lambda models, **k: asked.append(list(models)) or kept(models, **k)
            host.load_fully([tiny.models("sd15")[1].patcher])
            assert given[0].model_patcher in asked[-1] and tiny.models("sd15")[1].patcher in asked[-1]

    try:
        within(work)
    finally:
        mm.load_models_gpu = kept


def check_an_interrupt_ends_a_render() -> None:
    run = pack("nodes.differentiable").differentiable

    def work(given: Any) -> Any:
        with run(*given[:4], *given[5:]) as render:
            mm.interrupt_current_processing(True)
            try:
                render(given[4].clone().requires_grad_(True))
            except mm.InterruptProcessingException:
                return "interrupted"
        return None

    assert within(work) == "interrupted"


def check_what_is_stored_hardly_grows_with_the_steps() -> Any:
    stored = {steps: probe.probe("sd15", steps=steps).saved for steps in (1, 4)}
    whole = probe.probe("sd15", steps=4, checkpoint="none").saved
    assert stored[4] - stored[1] < whole / 100, (stored, whole)
    return stored, whole
