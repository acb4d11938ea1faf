"""Hosts that differ from the two main ones: A1111 before 1.10, reForge, Forge Classic and Forge Neo."""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

if TYPE_CHECKING:
    from fakes.web import Web


def test_scores_stand_by_their_pictures_when_the_host_hands_over_copies_of_the_prompts(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ReForge and Forge Neo take comments out of the prompts first, so that the list is not the batch's own."""
    expected = web.scores(web.txt2img({"mode": "score"}, n_iter=2, batch_size=2))
    loop = web.host("fake_loop")
    create = loop.create_infotext

    def with_copies(p: Any, all_prompts: Any, *args: Any, **more: Any) -> str:
        return str(create(p, list(all_prompts), *args, **more))

    monkeypatch.setattr(loop, "create_infotext", with_copies)
    assert web.scores(web.txt2img({"mode": "score"}, n_iter=2, batch_size=2)) == expected
    assert len(set(expected)) == 4


# --- gradients -------------------------------------------------------------------------------------------------------


class Doubled(torch.nn.Module):
    """A layer as Forge Neo's decoder has them: its forward switches gradients off by itself."""

    @torch.inference_mode()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def slope(web: Web) -> tuple[float, float]:
    """Return the finite difference along the gradient of a whole render, and the gradient's size."""
    sampling, found = web.module("first_pass.sampling"), []

    def both(p: Any, call: Any) -> Any:
        start, step = sampling.noise_of(p, call.seeds, call.subseeds), 1e-2
        with web.module("gradients.run").differentiable(p, call, call.seeds, call.subseeds) as run:

            def loss(z: torch.Tensor) -> torch.Tensor:
                image = run.decode(run.render(z))
                return (image * torch.cos(torch.arange(image.numel(), dtype=torch.float32)).reshape(image.shape)).sum()

            z = start.clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(z), z)
            along = gradient / gradient.norm()
            with torch.no_grad():
                high, low = float(loss(start + step * along)), float(loss(start - step * along))
        found.append(((high - low) / (2 * step), float(gradient.norm())))
        return sampling.first_pass(p, call, call.seeds, call.subseeds)

    web.at("process_batch", 1, lambda p: sampling.take_over(p, lambda call: both(p, call)))
    web.txt2img()
    return found[0]


def test_layers_that_switch_gradients_off_by_themselves(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.txt2img()
    decoder = web.module("gradients.common").side().decoder(web.p)
    plain = decoder.decode
    decoder.extra = Doubled()
    monkeypatch.setattr(decoder, "decode", lambda z: decoder.extra(plain(z) / 2))
    before = Doubled.forward
    measured, size = slope(web)
    assert measured == pytest.approx(size, rel=2e-2) and size > 1e-3
    assert Doubled.forward is before


def test_gradients_where_the_host_keeps_comfyuis_names(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """ReForge and Forge Classic have no package `backend`, and their decoder does not scale latents by itself."""
    if not web.forge:
        pytest.skip("relatives of Forge")
    web.txt2img()
    expected = slope(web)
    _rename(web, monkeypatch)
    measured, size = slope(web)
    assert (measured, size) == pytest.approx(expected, rel=1e-4)
    assert web.module("bridge.residency").management().__name__ == "ldm_patched.modules.model_management"
    placed = web.module("bridge.residency").managed(torch.nn.Linear(2, 2))
    assert placed.management.__name__ == "ldm_patched.modules.model_management"


def _rename(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for old, new in {
        "backend.memory_management": "ldm_patched.modules.model_management",
        "backend.patcher.base": "ldm_patched.modules.model_patcher",
        "backend.sampling.sampling_function": "modules_forge.forge_sampler",
    }.items():
        module = types.ModuleType(new)
        module.__dict__.update({k: v for k, v in vars(importlib.import_module(old)).items() if not k.startswith("__")})
        monkeypatch.setitem(sys.modules, new, module)
    for name in ("ldm_patched", "ldm_patched.modules"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for name in [name for name in sys.modules if name.split(".")[0] == "backend"]:
        monkeypatch.setitem(sys.modules, name, None)
    objects = web.host("shared").sd_model.forge_objects
    kind, stage = type(objects.vae.first_stage_model), objects.vae.first_stage_model
    scaled = types.SimpleNamespace(process_out=stage.process_out)
    objects.unet.model.model_config = types.SimpleNamespace(latent_format=scaled)
    monkeypatch.delattr(kind, "process_out")
    monkeypatch.setattr(
        type(web.host("shared").sd_model),
        "decode_first_stage",
        torch.inference_mode()(lambda self, x: objects.vae.decode(scaled.process_out(x)).movedim(-1, 1) * 2.0 - 1.0),
    )


# --- before A1111 1.10 and 1.9 ---------------------------------------------------------------------------------------

HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6}


def _without_the_callback(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(web.runner())
    monkeypatch.delattr(web.host("scripts").Script, "process_before_every_sampling")
    monkeypatch.setattr(kind, "process_before_every_sampling", lambda *args, **kwargs: None)


def test_a_first_pass_ends_before_hires_fix_without_the_callback(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_the_callback(web, monkeypatch)
    done = web.txt2img({"mode": "best-of-n-first-pass", "candidates": 4}, **HIRES)
    alone = web.txt2img({"mode": "score"}, seed=web.seeds(done)[0], **HIRES)
    assert web.scores(done) == pytest.approx(web.scores(alone), abs=1e-3) and "best of 4 by" in done.comments
    assert [image.size for image in web.pictures(done)] == [(96, 96)]


@pytest.mark.parametrize("maker", ["txt2img", "img2img"])
def test_a_winner_is_not_sampled_again_without_the_callback(
    web: Web, monkeypatch: pytest.MonkeyPatch, maker: str
) -> None:
    given = [Image.linear_gradient("L").resize((64, 64)).convert("RGB")] if maker == "img2img" else []

    def calls() -> tuple[int, list[float | None]]:
        before = len(web.calls)
        done = getattr(web, maker)(*given, {"mode": "best-of-n-first-pass", "candidates": 4})
        return len(web.calls) - before, web.scores(done)

    expected = calls()
    _without_the_callback(web, monkeypatch)
    assert calls() == expected


def test_create_sampler_is_the_hosts_own_again(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_the_callback(web, monkeypatch)
    before = web.host("sd_samplers").create_sampler
    web.txt2img({"mode": "noise-search", "iterations": 1, "population": 1, "screen": 1})
    assert web.host("sd_samplers").create_sampler is before


def test_a_host_that_asks_no_callables_for_the_infotext(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = web.scores(web.txt2img({"mode": "score"}, n_iter=2, batch_size=2))
    processing, loop = web.host("processing"), web.host("fake_loop")
    newer = processing.create_infotext

    def create_infotext(
        p: Any, all_prompts: Any, all_seeds: Any, all_subseeds: Any, comments: Any = None, iteration: int = 0,
        position_in_batch: int = 0, use_main_prompt: bool = False, index: int | None = None,
        all_negative_prompts: Any = None,
    ) -> str:  # fmt: skip
        own = p.extra_generation_params
        p.extra_generation_params = {name: None if value is None else str(value) for name, value in own.items()}
        try:
            return str(
                newer(p, all_prompts, all_seeds, all_subseeds, comments, iteration, position_in_batch,
                      use_main_prompt, index, all_negative_prompts)
            )  # fmt: skip
        finally:
            p.extra_generation_params = own

    monkeypatch.setattr(processing, "create_infotext", create_infotext)
    monkeypatch.setattr(loop, "create_infotext", lambda *args, **kwargs: processing.create_infotext(*args, **kwargs))
    web.module("bridge.older").register()
    web.module("bridge.older").register()
    assert processing.create_infotext.__wrapped__ is create_infotext
    done = web.txt2img({"mode": "score"}, n_iter=2, batch_size=2)
    assert web.scores(done) == expected and not any("function" in text for text in done.infotexts)
    assert "HPS score:" not in done.infotexts[0], "the grid has none"


def test_newer_hosts_keep_their_own_infotext(web: Web) -> None:
    own = web.host("processing").create_infotext
    web.boot()
    web.module("bridge.older").register()
    assert web.host("processing").create_infotext is own and own.__name__ == "create_infotext"
