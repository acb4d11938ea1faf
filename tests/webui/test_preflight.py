"""The check before gradients: it finds what stands in the way by trying, and says so in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

if TYPE_CHECKING:
    from fakes.web import Web

GRADIENT = {"mode": "noise-gradient", "iterations": 3, "screen": 1}


def flown(web: Web, *image: Any, **fields: Any) -> Any:
    """Return what the check finds for a job; with an image it is one of img2img."""
    sampling, found = web.module("first_pass.sampling"), []

    def answer(p: Any, call: Any) -> Any:
        scorer = web.module("bridge.host").load_scorer("hps-tiny-shapes")
        before = (p.steps, p.rng)
        found.append(
            web.module("gradients.preflight").preflight(p, call, call.seeds, call.subseeds, scorer, "a red circle")
        )
        assert (p.steps, p.rng) == before
        return sampling.first_pass(p, call, call.seeds, call.subseeds)

    def before(p: Any) -> None:
        sampling.take_over(p, lambda call: answer(p, call))

    (web.img2img if image else web.txt2img)(*image, before=before, **fields)
    return found[0]


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ SDE"])
def test_a_plain_job_passes(web: Web, sampler: str) -> None:
    found = flown(web, sampler_name=sampler, width=192, height=160)
    assert found.ok and found.advice == () and found.error < 0.01, found
    assert found.bytes_needed > 0


def test_only_the_small_latent_is_sampled(web: Web) -> None:
    seen: list[Any] = []
    web.boot()
    web.host("script_callbacks").on_cfg_denoiser(lambda params: seen.append(tuple(params.x.shape[-2:])))
    flown(web, width=512, height=512)
    assert set(seen[:-4]) == {(16, 16)} and seen[-1] == (64, 64)


def test_memory_that_will_not_do_is_advice(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.module("gradients.common").side(), "free_bytes", lambda: 1 << 10)
    [said] = flown(web, width=512, height=512).advice
    assert "GB" in said and said.endswith("Noise search works as it is.")


def cut(params: Any) -> None:
    params.x = params.x.detach()


def other_each_time(params: Any) -> None:
    params.x = params.x + 0.1 * torch.rand(1, generator=torch.Generator().manual_seed(len(TIMES)))
    TIMES.append(1)


def forgets_half(params: Any) -> None:
    params.x = 0.5 * params.x + 0.5 * params.x.detach()


TIMES: list[int] = []


@pytest.mark.parametrize(
    ("act", "said"),
    [(cut, "cuts the gradient"), (other_each_time, "random or keeps state"), (forgets_half, "finite difference")],
)
def test_extensions_in_the_way_are_found(web: Web, act: Any, said: str) -> None:
    web.boot()
    web.host("script_callbacks").on_cfg_after_cfg(act)
    [problem] = flown(web).problems
    assert said in problem and problem.endswith("Noise search works as it is.")


def test_a_layer_without_a_backward_pass_is_named(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    network = web.host("fake_model").Network

    def broken(self: Any, x: torch.Tensor, *given: Any) -> torch.Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            raise NotImplementedError("no derivative for this product")
        return x

    monkeypatch.setattr(network, "_one", broken)
    [problem] = flown(web).problems
    assert "(Network)" in problem and "no derivative for this product" in problem


def test_memory_that_runs_out_is_said(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, x: torch.Tensor, *given: Any) -> torch.Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return x

    monkeypatch.setattr(web.host("fake_model").Network, "_one", full)
    [problem] = flown(web).problems
    assert "does not fit the memory" in problem


def test_an_interrupt_is_no_problem_of_the_model(web: Web) -> None:
    with web.stop_at(2), pytest.raises(web.pack("hpskit.errors").Cancelled):
        run_cancelled(web)


def run_cancelled(web: Web) -> None:
    sampling, found = web.module("first_pass.sampling"), []

    def answer(p: Any, call: Any) -> Any:
        scorer = web.module("bridge.host").load_scorer("hps-tiny-shapes")
        try:
            web.module("gradients.preflight").preflight(p, call, call.seeds, call.subseeds, scorer, "a red circle")
        except BaseException as error:
            found.append(error)
        return sampling.first_pass(p, call, call.seeds, call.subseeds)

    web.txt2img(before=lambda p: sampling.take_over(p, lambda call: answer(p, call)))
    raise found[0]


def test_a_job_with_gradients_improves(web: Web) -> None:
    for method in ("geodesic", "reno"):
        done = web.txt2img({**GRADIENT, "gradient_method": method})
        [score], [before] = web.scores(done), web.field(done, "HPS start score")
        assert score > float(before), done.comments  # type: ignore[operator, arg-type]
        assert "no gradient" not in done.comments


def test_a_job_without_gradients_is_made_as_usual_and_says_why(web: Web) -> None:
    web.boot()
    web.host("script_callbacks").on_cfg_after_cfg(cut)
    plain = web.txt2img({"mode": "score"})
    done = web.txt2img(GRADIENT)
    assert web.scores(done) == web.scores(plain) and "HPS error" not in web.texts(done)[0]
    assert "no gradient" in done.comments and "Noise search works as it is." in done.comments


# --- memory, decoders and img2img ---


def without_room(web: Web, monkeypatch: pytest.MonkeyPatch, when: Any) -> list[int]:
    """Have renders with gradients run out of memory where `when(run, noise)` says so; return the tidyings up."""
    run, tidied = web.module("gradients.run").Differentiable, []
    real = run.render

    def render(self: Any, noise: torch.Tensor) -> torch.Tensor:
        if noise.requires_grad and when(self, noise):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return real(self, noise)

    monkeypatch.setattr(run, "render", render)
    monkeypatch.setattr(web.host("devices"), "torch_gc", lambda: tidied.append(1))
    return tidied


def test_a_check_that_stores_everything_may_find_no_room(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    tidied = without_room(web, monkeypatch, lambda run, noise: not run.recompute)
    found = flown(web)
    assert found.ok and found.error < 0.01 and tidied


def test_no_room_at_the_real_size_does_not_hide_the_reason(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    tidied = without_room(web, monkeypatch, lambda run, noise: noise.shape[-1] > 16)
    web.boot()
    web.host("script_callbacks").on_cfg_after_cfg(cut)
    [problem] = flown(web, width=256, height=256).problems
    assert "cuts the gradient" in problem and "memory" not in problem and tidied


def test_an_image_that_has_no_room_is_told_apart_from_a_model(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    without_room(web, monkeypatch, lambda run, noise: True)
    [problem] = flown(web, width=256, height=256).problems
    assert "take a smaller model" in problem
    image = Image.linear_gradient("L").convert("RGB")
    [problem] = flown(web, image, width=256, height=256).problems
    assert "An image of this size" in problem


def test_a_decoder_that_gives_no_numbers_is_named(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    side = web.module("gradients.common").side()
    real = side.pixels
    monkeypatch.setattr(side, "pixels", lambda p, latent: real(p, latent) + float("nan"))
    [problem] = flown(web).problems
    assert "values that are no numbers" in problem and ("--vae-in-fp32" if web.forge else "--no-half-vae") in problem


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ SDE"])
def test_few_steps_of_img2img_are_enough_to_see_something(web: Web, sampler: str) -> None:
    """Of 20 steps at a denoising strength of .1 the host makes three, and of 3 steps hardly one."""
    seen: list[int] = []
    web.boot()
    web.host("script_callbacks").on_cfg_denoiser(lambda params: seen.append(params.sampling_step))
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    for strength in (0.1, 0.5):
        seen.clear()
        found = flown(web, image, steps=20, denoising_strength=strength, sampler_name=sampler)
        assert found.ok and max(seen[:-24]) >= 1 and len(seen) < 160, (found, seen)
