"""Gradients of the noise through the fake hosts, in both torch modes: right, the host's own render, nothing is left."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

if TYPE_CHECKING:
    from fakes.web import Web

SAMPLERS = ["Euler", "Euler a", "DPM++ 2M", "DPM++ SDE"]
Work = Callable[[Any, Any], Any]


def inside(web: Web, work: Work, maker: str = "txt2img", *given: Any, **fields: Any) -> Any:
    """Return work(p, call), done where a job does it: in the place of p.sample; what it raises comes out here."""
    sampling, found = web.module("first_pass.sampling"), []

    def answer(p: Any, call: Any) -> Any:
        try:
            found.append(work(p, call))
        except BaseException as error:
            found.append(error)
        return sampling.first_pass(p, call, call.seeds, call.subseeds)

    def before(p: Any) -> None:
        sampling.take_over(p, lambda call: answer(p, call))

    getattr(web, maker)(*given, before=before, **fields)
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def differentiable(web: Web, p: Any, call: Any, **options: Any) -> Any:
    return web.module("gradients.run").differentiable(p, call, call.seeds, call.subseeds, **options)


def noise(web: Web, p: Any, call: Any) -> torch.Tensor:
    return web.module("first_pass.sampling").noise_of(p, call.seeds, call.subseeds)


def loss(run: Any, z: torch.Tensor) -> torch.Tensor:
    image = run.decode(run.render(z))
    return (image * torch.cos(torch.arange(image.numel(), dtype=torch.float32)).reshape(image.shape)).sum()


def gradient(web: Web, p: Any, call: Any, **options: Any) -> torch.Tensor:
    with differentiable(web, p, call, **options) as run:
        z = noise(web, p, call).requires_grad_(True)
        return torch.autograd.grad(loss(run, z), z)[0]


def compared(web: Web, p: Any, call: Any) -> tuple[float, float, float]:
    """Return the slope along the gradient, its size, and how far the render is from the host's own."""
    sampling, start, step = web.module("first_pass.sampling"), noise(web, p, call), 1e-2
    with differentiable(web, p, call) as run:
        z = start.clone().requires_grad_(True)
        (found,) = torch.autograd.grad(loss(run, z), z)
        along = found / found.norm()
        with torch.no_grad():
            high, low, higher, lower = (float(loss(run, start + k * step * along)) for k in (1, -1, 2, -2))
            ours = run.render(start)
    with sampling.host_mode(p):
        plain = sampling.first_pass(p, call, call.seeds, call.subseeds)
    slope = (8 * (high - low) - (higher - lower)) / (12 * step)  # of fourth order
    return slope, float(found.norm()), float((ours - plain).abs().max())


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("steps", "scale"), [(1, 4.0), (3, 4.0), (3, 1.0)])
def test_gradients_are_those_of_finite_differences(web: Web, sampler: str, steps: int, scale: float) -> None:
    fields = {"sampler_name": sampler, "steps": steps, "cfg_scale": scale}
    slope, size, apart = inside(web, lambda p, call: compared(web, p, call), **fields)
    assert slope == pytest.approx(size, rel=1e-2) and size > 1e-3 and apart < 1e-6


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ SDE"])
def test_img2img(web: Web, sampler: str, masked: bool) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 40, 64))
    fields = {"sampler_name": sampler, "steps": 4, **({"mask": mask, "mask_blur": 0} if masked else {})}
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    slope, size, apart = inside(web, lambda p, call: compared(web, p, call), "img2img", image, **fields)
    assert slope == pytest.approx(size, rel=1e-2) and apart < 1e-6


def test_each_picture_of_a_batch(web: Web) -> None:
    def both(p: Any, call: Any) -> Any:
        found = []
        for place in range(2):
            with web.module("gradients.run").differentiable(p, call.row(place), [place + 1], [1]) as run:
                z = web.module("first_pass.sampling").noise_of(p, [place + 1], [1]).requires_grad_(True)
                found.append(torch.autograd.grad(loss(run, z), z)[0])
        return found

    first, second = inside(web, both, batch_size=2, sampler_name="DPM++ SDE")
    alone = inside(web, lambda p, call: gradient(web, p, call), seed=2, sampler_name="DPM++ SDE")
    assert torch.allclose(second, alone, rtol=1e-4, atol=1e-6) and not torch.allclose(first, second)


def test_the_same_noise_gives_the_same_each_time(web: Web) -> None:
    def twice(p: Any, call: Any) -> Any:
        with differentiable(web, p, call) as run, torch.no_grad():
            made = []
            for _ in range(2):
                made.append(run.render(noise(web, p, call)))
                torch.rand(7)
            return made

    first, second = inside(web, twice, sampler_name="Euler a", steps=4)
    assert torch.equal(first, second) and not first.is_inference() and not first.requires_grad


def test_calls_are_computed_again_and_nothing_is_stored(web: Web) -> None:
    def stored(p: Any, call: Any) -> Any:
        found = {}
        for recompute in (True, False):
            with differentiable(web, p, call, recompute=recompute) as run:
                z, calls = noise(web, p, call).requires_grad_(True), len(web.calls)
                with web.pack("hpskit.autodiff.measuring").SavedBytes() as saved:
                    latent = run.render(z)
                forward = len(web.calls) - calls
                torch.autograd.grad(latent.sum(), z)
                found[recompute] = (saved.bytes, (len(web.calls) - calls) / forward)
        return found

    found = inside(web, stored, steps=5)
    assert found[True][1] == 2 and found[False][1] == 1
    assert found[True][0] < found[False][0] / 5, found


@contextlib.contextmanager
def unchanged(web: Web) -> Iterator[None]:
    """Check that pictures, weights and functions of the host are afterwards what they were."""
    web.boot()
    before, state = pictures(web), host_state(web)
    yield
    assert host_state(web) == state and pictures(web) == before


def pictures(web: Web) -> list[bytes]:
    done = web.txt2img({"mode": "off"}, sampler_name="Euler a", steps=3)
    return [picture.convert("RGB").tobytes() for picture in web.pictures(done)]


def host_state(web: Web) -> Any:
    shared, model = web.host("shared"), web.host("shared").sd_model
    networks = (
        [model.forge_objects.unet.model, model.forge_objects.vae.first_stage_model]
        if web.forge
        else [model.model, model.first_stage_model]
    )
    asking = [each.requires_grad for network in networks for each in network.parameters()]
    patched = sum("forward" in vars(module) for network in networks for module in network.modules())
    functions = [web.host("sd_samplers").create_sampler, web.host("sd_samplers_common").store_latent]
    names = ("__iadd__", "__isub__", "__imul__", "__itruediv__")
    operations = [vars(torch.Tensor).get(name) for name in names]
    return asking, patched, functions, shared.total_tqdm.update, operations


def test_nothing_is_left_after_a_run(web: Web) -> None:
    with unchanged(web):
        parameters = inside(web, lambda p, call: (gradient(web, p, call), dict(p.extra_generation_params))[1])
    assert "Eta" not in parameters


def test_nothing_is_left_after_an_exception(web: Web) -> None:
    def fails(p: Any, call: Any) -> None:
        with differentiable(web, p, call) as run:
            run.render(noise(web, p, call).requires_grad_(True))
            raise KeyError("on purpose")

    with unchanged(web), pytest.raises(KeyError):
        inside(web, fails)


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_an_interrupt_ends_forward_and_backward_passes(web: Web, calls: int) -> None:
    with unchanged(web):
        cancelled = web.pack("hpskit.errors").Cancelled
        with web.stop_at(calls), pytest.raises(cancelled):
            inside(web, lambda p, call: gradient(web, p, call), steps=2)
        web.state.interrupted = False


def test_weights_ask_for_no_gradients_inside(web: Web) -> None:
    def asking(p: Any, call: Any) -> Any:
        with differentiable(web, p, call):
            network = web.module("gradients.common").side().network(p)
            return [each.requires_grad or each.is_inference() for each in network.parameters()]

    assert not any(inside(web, asking))


def test_it_ends_with_its_block(web: Web) -> None:
    def late(p: Any, call: Any) -> None:
        with differentiable(web, p, call) as run:
            z = noise(web, p, call).requires_grad_(True)
            latent = run.render(z)
        with torch.inference_mode(False), torch.enable_grad():
            torch.autograd.grad(latent.sum(), z)

    with pytest.raises(web.pack("hpskit.errors").GradientError, match="ended"):
        inside(web, late)


def test_a_model_that_cuts_the_gradient_is_told(web: Web) -> None:
    web.boot()
    web.host("script_callbacks").on_cfg_after_cfg(lambda params: setattr(params, "x", params.x.detach()))
    for recompute in (True, False):
        with pytest.raises(web.pack("hpskit.errors").GradientError, match=r"cuts the gradient.*Noise search works"):
            inside(web, lambda p, call, again=recompute: gradient(web, p, call, recompute=again))


def test_refusals_end_with_what_works(web: Web) -> None:
    def refused(p: Any, call: Any) -> Any:
        p.sampler_name, p.refiner_checkpoint_info, p.refiner_switch_at = "DPM adaptive", object(), 0.8
        try:
            return web.module("gradients.common").refusals(p)
        finally:
            p.sampler_name, p.refiner_checkpoint_info = "Euler", None

    sampler, refiner = inside(web, refused)
    assert "adaptive" in sampler and "refiner" in refiner
    assert all(said.endswith("Noise search works as it is.") for said in (sampler, refiner))
