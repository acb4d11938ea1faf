"""The torch modes in which the hosts call extensions, and that the fakes leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from fakes.web import Web

ROOT = Path(__file__).resolve().parents[2]
QUIET = {
    "before_process_batch",
    "process_batch",
    "process_before_every_sampling",
    "post_sample",
    "postprocess_batch_list",
    "postprocess_image_after_composite",
}
LOUD = {"before_process", "process", "postprocess"}


def test_gradients_are_off_from_batch_to_picture(web: Web) -> None:
    seen: dict[str, tuple[bool, bool]] = {}

    def look(name: str) -> Any:
        return lambda p, *args, **more: seen.update(
            {name: (torch.is_grad_enabled(), torch.is_inference_mode_enabled())}
        )

    web.add_script("Look", **{name: look(name) for name in QUIET | LOUD})
    web.txt2img()
    assert {name: seen[name] for name in QUIET} == dict.fromkeys(QUIET, (False, web.forge))
    assert {name: seen[name] for name in LOUD} == dict.fromkeys(LOUD, (True, False))


def test_forge_hands_out_inference_tensors(web: Web) -> None:
    seen: list[bool] = []

    def look(p: Any, *args: Any, x: Any, c: Any, **more: Any) -> None:
        seen.extend((x.is_inference(), c.batch[0][0].schedules[0].cond.is_inference()))

    web.add_script("Look", process_before_every_sampling=look)
    web.txt2img()
    model = web.host("shared").sd_model
    network = model.forge_objects.unet.model if web.forge else model.model
    weights = list(network.parameters())
    assert seen == [web.forge, web.forge]
    assert {weight.is_inference() for weight in weights} == {web.forge}
    assert {weight.requires_grad for weight in weights} == {not web.forge}


def test_noise_can_be_replaced_as_each_host_allows(web: Web) -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))

    def put(p: Any, *args: Any, x: Any, **more: Any) -> None:
        if web.forge:
            p.modified_noise = noise
        else:
            x.copy_(noise)

    web.add_script("Put", process_before_every_sampling=put)
    one, other = (web.pictures(web.txt2img(seed=seed))[0].tobytes() for seed in (1, 2))
    assert one == other


def test_a_sampler_can_be_differentiated_when_unwrapped(web: Web) -> None:
    """On the whole path from noise to pixels, where the network adds in place in Forge only."""
    web.boot()
    sampler = web.host("sd_samplers").create_sampler("Euler", web.host("shared").sd_model)
    noise, sigmas = torch.ones(1, 4, 8, 8, requires_grad=True), torch.tensor([2.0, 1.0, 0.0])
    model, text = web.host("shared").sd_model, torch.zeros(1, 3, 8)

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return model.apply_model(x, sigma, text)

    assert not sampler.func(denoise, noise, sigmas).requires_grad
    if web.forge:
        with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
            sampler.func.__wrapped__(denoise, noise, sigmas)
    else:
        sampler.func.__wrapped__(denoise, noise, sigmas).square().sum().backward()
        assert noise.grad is not None and noise.grad.abs().sum() > 0


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; sys.path.insert(0, 'tests/webui')\n"
        "from fakes import install, web\n"
        "before = set(sys.modules)\n"
        f"with install.installed('forge', pathlib.Path({str(tmp_path)!r})):\n"
        f"    host = web.Web('forge', pathlib.Path({str(tmp_path)!r})); host.boot()\n"
        "left = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "assert not left & set(install.NAMES), left\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize("flavour", ["a1111", "forge"])
def test_the_door_is_light_and_a_plain_image_loads_no_scorer(tmp_path: Path, flavour: str) -> None:
    code = (
        "import sys, pathlib; sys.path.insert(0, 'tests/webui')\n"
        "from fakes import install, web\n"
        f"with install.installed({flavour!r}, pathlib.Path({str(tmp_path)!r}), fresh=True):\n"
        f"    host = web.Web({flavour!r}, pathlib.Path({str(tmp_path)!r})); host.boot()\n"
        "    host.txt2img({'mode': 'off'})\n"
        "    heavy = {'open_clip', 'torchvision', 'scipy', 'hps_pack.hpskit.scorers'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
        "    assert not host.errors, host.errors\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
