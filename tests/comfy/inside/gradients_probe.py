"""What the gradient checks share: a SAMPLER that differentiates a run, compares and reports, and ways to call it."""

from __future__ import annotations

import dataclasses
from typing import Any

import comfy.sample
import comfy.samplers
import torch
from comfy_inside import pack, sibling

STEP = 2e-2
"""Length of a finite difference along the gradient, for noise of norm about 16 to 32."""
LIMIT = 5e-4
"""Largest relative error of a gradient against a finite difference, in fp32."""


tiny = sibling("best_of_n_tiny")


@dataclasses.dataclass
class Report:
    """What a probe found."""

    error: float = float("nan")
    """Relative error of the gradient against a finite difference along it."""
    identical: bool = False
    """Whether the differentiable forward pass equals the stock one bit for bit."""
    distance: float = 0.0
    """Relative difference of the differentiable forward pass to the stock one."""
    gradient: torch.Tensor | None = None
    saved: int = 0
    """Bytes that the forward pass stored for the backward pass, without weights."""
    calls: int = 0
    apart: float = 0.0
    """Relative difference of the gradient to the one without checkpointing, where autograd notices changed memory."""


class Probe(comfy.samplers.Sampler):
    """SAMPLER that differentiates another one with respect to the noise, then returns the stock result."""

    def __init__(self, inner: Any, checkpoint: str = "full", step: float = STEP) -> None:
        self.inner, self.checkpoint, self.step, self.report = inner, checkpoint, step, Report()

    def sample(
        self, model_wrap: Any, sigmas: Any, extra_args: Any, callback: Any, noise: Any,
        latent_image: Any = None, denoise_mask: Any = None, disable_pbar: bool = False,
    ) -> torch.Tensor:  # fmt: skip
        given = (latent_image, denoise_mask)
        device = model_wrap.model_patcher.load_device
        with pack("hpskit.autodiff.randomstate").preserved_random_state(device):
            stock = self.inner.sample(model_wrap, sigmas, dict(extra_args), None, noise, *given, True)
        run = pack("nodes.differentiable").differentiable
        arguments = (model_wrap, self.inner, sigmas, extra_args, *given)
        with run(*arguments, checkpoint=self.checkpoint) as render:
            self.differentiate(render, noise, stock)
        if self.checkpoint != "none":
            with run(*arguments, checkpoint="none") as render:
                plain = self.gradient(render, noise)[0]
                self.report.apart = float((self.report.gradient - plain).norm() / plain.norm())
        return self.inner.sample(model_wrap, sigmas, dict(extra_args), None, noise, *given, True)

    def gradient(self, render: Any, noise: torch.Tensor) -> tuple[Any, torch.Tensor, torch.Tensor]:
        """Return the gradient of a fixed mix of the samples, the samples, and the mix."""
        start = noise.clone().requires_grad_(True)
        samples = render(start)
        weights = torch.randn(samples.shape, generator=torch.Generator().manual_seed(3))
        (samples * weights).sum().backward()
        assert start.grad is not None and torch.isfinite(start.grad).all() and start.grad.abs().max() > 0
        return start.grad, samples.detach(), weights

    def differentiate(self, render: Any, noise: torch.Tensor, stock: torch.Tensor) -> None:
        gradient, samples, weights = self.gradient(render, noise)
        calls = render.calls.count
        with pack("hpskit.autodiff.measuring").SavedBytes(render.modules[0].parameters()) as saved:
            render(noise.clone().requires_grad_(True))
        direction = gradient / gradient.norm()
        with torch.no_grad():
            measured, exact = self.difference(render, noise, direction, weights), float(gradient.norm())
        same = torch.equal(samples, stock)
        distance = float((samples - stock).norm() / stock.norm())
        self.report = Report(abs(measured - exact) / abs(exact), same, distance, gradient, saved.bytes, calls)

    def difference(self, render: Any, noise: Any, direction: Any, weights: Any) -> float:
        """Return the directional derivative by finite differences of fourth order."""

        def value(distance: float) -> float:
            return float((render(noise + distance * direction) * weights).sum(dtype=torch.float64))

        near, far = ((value(h) - value(-h)) / (2 * h) for h in (self.step, 2 * self.step))
        return (4 * near - far) / 3


def probe(
    kind: str, *, model: Any = None, positive: Any = None, negative: Any = None, sampler: Any = "euler",
    steps: int = 2, cfg: float = 2.0, checkpoint: str = "full", given: Any = None, denoise: float = 1.0,
    step: float = STEP, scheduler: str = "normal", seed: int = 1,
) -> Report:  # fmt: skip
    """Differentiate a run as SamplerCustomAdvanced would make it, inside inference mode as in a graph."""
    model = tiny.models(kind)[0] if model is None else model
    inner = comfy.samplers.sampler_object(sampler) if isinstance(sampler, str) else sampler
    probing = Probe(inner, checkpoint, step)
    given = tiny.latent(kind) if given is None else given
    with torch.inference_mode():
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive or tiny.conditioning(kind, 1), negative or tiny.conditioning(kind, 2))
        guider.set_cfg(cfg)
        total = int(steps / denoise)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, total)
        latent = given["samples"].clone()
        noise = comfy.sample.prepare_noise(latent, seed)
        guider.sample(
            noise, latent, probing, sigmas[-(steps + 1) :], denoise_mask=given.get("noise_mask"),
            disable_pbar=True, seed=seed,
        )  # fmt: skip
    return probing.report


def expect(kind: str, *, limit: float = LIMIT, identical: bool = True, **settings: Any) -> dict[str, Any]:
    """Probe a run; fail unless the gradient is right and the forward pass is the stock one."""
    report = probe(kind, **settings)
    figures = {name: getattr(report, name) for name in ("error", "apart", "identical", "distance", "saved", "calls")}
    right = report.error < limit and report.apart < 1e-4 and (report.identical or not identical)
    right = right and report.distance < 1e-5
    assert right, (kind, sorted(settings), figures)
    return figures
