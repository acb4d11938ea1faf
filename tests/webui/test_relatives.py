"""Hosts that differ from the two main ones: A1111 before 1.10, reForge, Forge Classic and Forge Neo."""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
import torch

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
