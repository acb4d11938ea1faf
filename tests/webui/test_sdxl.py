"""A model that is told text and a vector in a dict, as SDXL is: every mode does with it what it does with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from fakes.web import Web

WAYS = ("best-of-n", "best-of-n-first-pass")
HIRES = {"enable_hr": True, "hr_scale": 2.0, "hr_upscaler": "Latent", "denoising_strength": 0.6}


@pytest.fixture(autouse=True)
def sdxl(web: Web) -> None:
    web.host("fake_model").layout = "sdxl"


def pixels(image: Any) -> Any:
    return np.asarray(image.convert("RGB")).astype(int)


def known(web: Web, seeds: range, **fields: Any) -> dict[int, float]:
    """Return the score of each seed alone."""
    made = [web.txt2img({"mode": "score"}, seed=seed, **fields) for seed in seeds]
    return {seed: float(web.scores(one)[0] or 0) for seed, one in zip(seeds, made, strict=True)}


def test_the_network_is_told_both(web: Web) -> None:
    seen: list[Any] = []
    web.boot()
    web.host("script_callbacks").on_cfg_denoiser(lambda params: seen.append(params.text_cond))
    one, other = (web.pictures(web.txt2img(width=width))[0] for width in (64, 128))
    assert {name: list(value.shape) for name, value in seen[0].items()} == {"crossattn": [1, 3, 8], "vector": [1, 10]}
    assert (pixels(one)[:, :32] != pixels(other)[:, :32]).any()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fields", [{}, {"cfg_scale": 1.0}, {"sampler_name": "Euler a", **HIRES}], ids=str)
def test_winners_come_again(web: Web, way: str, fields: dict[str, Any]) -> None:
    made = web.txt2img({"mode": way, "candidates": 3}, batch_size=2, prompt="a red circle AND a blue dog", **fields)
    alone = web.txt2img({"mode": "score"}, seed=web.seeds(made)[0], prompt="a red circle AND a blue dog", **fields)
    assert web.scores(made) == pytest.approx(web.scores(alone), abs=1e-4)
    assert np.abs(pixels(web.pictures(made)[0]) - pixels(web.pictures(alone)[0])).max() <= 1


@pytest.mark.parametrize("way", WAYS)
def test_each_picture_of_a_batch_keeps_its_prompt(web: Web, way: str) -> None:
    """Candidates of one batch are told different things: each must get its own row of text and of vector."""
    prompts = ["a red circle", "a blue square", "a green dog"]
    alone = [web.txt2img({"mode": "score"}, seed=seed, prompt=text) for seed, text in enumerate(prompts, 1)]
    made = web.txt2img({"mode": way, "candidates": 1}, prompt=prompts, batch_size=3)
    assert web.scores(made) == pytest.approx([web.scores(one)[0] for one in alone], abs=1e-4)


def test_a_gradient_is_right_and_improves(web: Web) -> None:
    begun = known(web, range(1, 2))[1]
    made = web.txt2img({"mode": "noise-gradient", "gradient_method": "geodesic", "iterations": 4, "screen": 1})
    assert "no gradient" not in made.comments and "Gradients" not in made.comments, made.comments
    assert float(web.scores(made)[0] or 0) > begun + 1e-3


def test_a_search_improves(web: Web) -> None:
    begun = known(web, range(1, 2))[1]
    made = web.txt2img({"mode": "noise-search", "screen": 3, "iterations": 2, "population": 2})
    assert float(web.scores(made)[0] or 0) > begun


@pytest.fixture
def overflowing(web: Web, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The decoder of SDXL in half precision, which gives no numbers; A1111 turns it to 32 bits at the first picture."""
    if web.forge:
        pytest.skip("Forge chooses a precision in which its decoders work")
    kind, devices = web.host("fake_model").Vae, web.host("devices")
    decode = kind.decode

    def half(self: Any, z: torch.Tensor) -> torch.Tensor:
        if next(self.parameters()).dtype == torch.float32:
            return decode(self, z)
        return torch.nn.functional.interpolate(z[:, :3], scale_factor=8) * float("nan")

    monkeypatch.setattr(kind, "decode", half)
    monkeypatch.setattr(devices, "dtype_vae", torch.float16)
    web.boot()
    stage = web.host("shared").sd_model.first_stage_model.half()
    assert not torch.isfinite(stage.decode(torch.zeros(1, 4, 8, 8))).any()
    return stage


def test_a_gradient_turns_the_decoder_to_32_bits_as_the_host_does(web: Web, overflowing: Any) -> None:
    """It is the first in the session that decodes."""
    made = web.txt2img({"mode": "noise-gradient", "iterations": 2, "screen": 1})
    assert "no gradient" not in made.comments and "VAE" not in made.comments, made.comments
    assert web.host("devices").dtype_vae == torch.float32 and next(overflowing.parameters()).dtype == torch.float32
    assert float(web.scores(made)[0] or 0) > known(web, range(1, 2))[1]


def test_a_decoder_that_must_stay_in_half_precision_is_named(web: Web, overflowing: Any) -> None:
    web.opts.auto_vae_precision = False
    web.host("devices").test_for_nans = lambda x, where: None  # as with --disable-nan-check; a picture is made
    made = web.txt2img({"mode": "noise-gradient", "iterations": 2, "screen": 1})
    assert "--no-half-vae" in made.comments, made.comments
    assert next(overflowing.parameters()).dtype == torch.float16
