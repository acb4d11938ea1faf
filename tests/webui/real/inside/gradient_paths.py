"""Gradients of the noise through the samplers of the real hosts, against finite differences; and nothing is left."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from PIL import Image, ImageDraw
from webui_inside import Made, img2img, kind, pack, stop_at, txt2img

TOLERANCE = 5e-3
"""Relative error against a finite difference in fp32."""
WAYS = ((1, 4.0), (3, 4.0), (3, 1.0))
"""Steps and guidance."""


def inside(work: Callable[..., Any], maker: Callable[..., Made] = txt2img, *given: Any, **settings: Any) -> Any:
    """Return work(p, call, seeds, subseeds), done in the place of p.sample, where a job does it."""
    sampling, found = pack("hpskit_webui.first_pass.sampling"), []

    def answer(p: Any, call: Any) -> Any:
        try:
            found.append(work(p, call, call.seeds, call.subseeds))
        except BaseException as error:
            found.append(error)
        return sampling.first_pass(p, call, call.seeds, call.subseeds)

    def before(p: Any) -> None:
        sampling.take_over(p, lambda call: answer(p, call))

    maker(*given, before=before, **settings)
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def noise(p: Any, seeds: list[int]) -> torch.Tensor:
    sampling = pack("hpskit_webui.first_pass.sampling")
    return sampling.noise_of(p, seeds, [0] * len(seeds))


def wave(latent: torch.Tensor) -> torch.Tensor:
    factors = torch.cos(torch.arange(latent.numel(), dtype=torch.float32)).reshape(latent.shape)
    return (latent.float() * factors).sum()


def followed(run: Any, z: torch.Tensor, decoded: bool) -> torch.Tensor:
    latent = run.render(z)
    return wave(run.decode(latent)) if decoded else wave(latent)


def compared(p: Any, call: Any, seeds: list[int], subseeds: list[int], **options: Any) -> dict[str, float]:
    """Return the error of the gradient along itself, and how far the render is from the host's own result."""
    sampling, differentiable = (
        pack("hpskit_webui.first_pass.sampling"),
        pack("hpskit_webui.gradients.run").differentiable,
    )
    decoded, step = options.pop("decoded", False), options.pop("step", 1e-2)
    with torch.no_grad(), torch.inference_mode(False):
        start = noise(p, seeds)
    with differentiable(p, call, seeds, subseeds, **options) as run:
        z = start.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(followed(run, z, decoded), z)
        along = gradient / gradient.norm()

        def value(distance: float) -> float:
            with torch.no_grad():
                return float(followed(run, start + distance * along, decoded))

        near, far = ((value(h) - value(-h)) / (2 * h) for h in (step, 2 * step))
        with torch.no_grad():
            ours = run.render(start)
    with sampling.host_mode(p):
        plain = sampling.first_pass(p, call, seeds, subseeds)
    exact = float(gradient.norm())
    error = abs((4 * near - far) / 3 - exact) / exact
    return {"error": error, "apart": float((ours - plain).abs().max() / plain.abs().max()), "norm": exact}


def right(found: dict[str, float]) -> bool:
    return found["error"] < TOLERANCE and found["apart"] < 1e-5


def _settings(name: str, steps: int, scale: float) -> dict[str, Any]:
    steps = 2 if name == "DDIM" and steps == 1 else steps  # the host's DDIM makes one step less than it is told
    return {"sampler_name": name, "steps": steps, "cfg_scale": scale}


def _checked(names: tuple[str, ...], *ways: tuple[int, float]) -> dict[str, str]:
    found = {
        f"{name} {steps} {scale}": inside(compared, **_settings(name, steps, scale))
        for name in names
        for steps, scale in ways
    }
    wrong = {name: values for name, values in found.items() if not right(values)}
    assert not wrong, wrong
    return {name: f"{values['error']:.1e} {values['norm']:.3f}" for name, values in found.items()}


def check_euler_against_finite_differences() -> Any:
    return _checked(("Euler", "Euler a"), *WAYS)


def check_multistep_against_finite_differences() -> Any:
    return _checked(("DPM++ 2M", "DPM++ SDE"), *WAYS)


def check_ddim_and_lcm_against_finite_differences() -> Any:
    return _checked(("DDIM", "LCM"), *WAYS)


def check_other_samplers_let_gradients_through() -> Any:
    return _checked(("Heun", "DPM++ 2S a", "DPM++ 2M SDE", "LMS"), (3, 4.0))


def check_samplers_with_functions_of_their_own() -> Any:
    return _checked(("DPM fast", "Restart", "PLMS", "UniPC", "DDIM CFG++"), (3, 4.0))


def check_decoding_against_finite_differences() -> Any:
    found = inside(_decoded)
    assert found["error"] < 2e-2, found  # decoders have kinks, and the clamp to 0..1
    return found


def _decoded(*given: Any) -> Any:
    return compared(*given, decoded=True, step=2e-3)


def picture() -> tuple[Image.Image, Image.Image]:
    image, mask = Image.new("RGB", (64, 64), (30, 90, 200)), Image.new("L", (64, 64), 0)
    ImageDraw.Draw(image).ellipse((8, 8, 40, 40), fill=(200, 40, 40))
    ImageDraw.Draw(mask).rectangle((0, 0, 40, 63), fill=255)
    return image, mask


def check_img2img_with_and_without_a_mask() -> Any:
    image, mask = picture()
    found = {}
    for name in ("Euler a", "DDIM"):
        for masked in (False, True):
            extra = {"mask": mask, "mask_blur": 0} if masked else {}
            settings = {"sampler_name": name, "steps": 4, "denoising_strength": 0.7, **extra}
            found[f"{name} {masked}"] = inside(compared, img2img, image, **settings)
    wrong = {name: values for name, values in found.items() if not right(values)}
    assert not wrong, wrong
    return {name: f"{values['error']:.1e}" for name, values in found.items()}


def check_storing_everything_gives_the_same_gradient() -> Any:
    def both(*given: Any) -> Any:
        return [_gradient(*given, recompute=recompute) for recompute in (True, False)]

    again, stored = inside(both, sampler_name="DPM++ 2M", steps=3)
    apart = float((again - stored).norm() / stored.norm())
    assert apart < 1e-5, apart
    return apart


def _gradient(p: Any, call: Any, seeds: list[int], subseeds: list[int], **options: Any) -> torch.Tensor:
    with pack("hpskit_webui.gradients.run").differentiable(p, call, seeds, subseeds, **options) as run:
        z = noise(p, seeds).requires_grad_(True)
        (gradient,) = torch.autograd.grad(wave(run.decode(run.render(z))), z)
    return gradient


def check_memory_does_not_grow_with_the_steps() -> Any:
    def stored(p: Any, call: Any, seeds: list[int], subseeds: list[int]) -> Any:
        saved = pack("hpskit.autodiff.measuring").SavedBytes
        found = {}
        for recompute in (True, False):
            with pack("hpskit_webui.gradients.run").differentiable(
                p, call, seeds, subseeds, recompute=recompute
            ) as run:
                network = pack("hpskit_webui.gradients.common").side().network(p)
                z = noise(p, seeds).requires_grad_(True)
                with saved([*network.parameters(), *network.buffers()]) as count:
                    run.render(z)
                found[recompute] = count.bytes
        return found

    few, many = (inside(stored, steps=steps) for steps in (2, 6))
    assert many[True] < 2**20 < few[False] < many[False] / 2, (few, many)
    return {"2 steps": few, "6 steps": many}


# --- nothing is left -------------------------------------------------------------------------------------------------


def pixels(**settings: Any) -> list[bytes]:
    return [image.convert("RGB").tobytes() for image in txt2img(**settings).images]


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Check that pictures, weights and the host's functions are what they were."""
    before, state = pixels(sampler_name="Euler a", steps=3), _state()
    yield
    assert _state() == state
    assert pixels(sampler_name="Euler a", steps=3) == before


def _state() -> Any:
    from modules import sd_samplers, sd_samplers_common, shared

    model = shared.sd_model
    nets = [model.forge_objects.unet.model] if kind == "forge" else [model.model, model.first_stage_model]
    asking = sum(each.requires_grad for net in nets for each in net.parameters())
    forwards = sum("forward" in vars(module) for net in nets for module in net.modules())
    names = ("__iadd__", "__isub__", "__imul__", "__itruediv__")
    operations = [str(vars(torch.Tensor).get(name)) for name in names]
    functions = [sd_samplers.create_sampler, sd_samplers_common.store_latent, shared.total_tqdm.update]
    return asking, forwards, operations, [str(function) for function in functions]


def check_nothing_is_left_after_a_run() -> None:
    with unchanged():
        assert inside(_gradient).isfinite().all()


def check_nothing_is_left_after_an_exception() -> None:
    def fails(p: Any, call: Any, seeds: list[int], subseeds: list[int]) -> None:
        with pack("hpskit_webui.gradients.run").differentiable(p, call, seeds, subseeds) as run:
            run.render(noise(p, seeds).requires_grad_(True))
            raise KeyError("on purpose")

    with unchanged(), contextlib.suppress(KeyError):
        inside(fails)


def check_an_interrupt_ends_the_render_and_leaves_nothing() -> None:
    from modules import shared

    with unchanged():
        for call in (1, 3):  # in the first render; in the backward pass of one with two steps
            try:
                with stop_at(call):
                    inside(_gradient, steps=2)
            except pack("hpskit.errors").Cancelled:
                pass
            else:
                raise AssertionError("the interrupt went unnoticed")
            shared.state.interrupted = False


def check_what_has_no_gradient_is_refused_in_a_sentence() -> Any:
    try:
        inside(_gradient, sampler_name="DPM adaptive")
    except pack("hpskit.errors").GradientError as error:
        assert str(error).endswith("Noise search works as it is."), error
        return str(error)
    raise AssertionError("DPM adaptive was not refused")
