"""Every stock sampler: its gradient against a finite difference, and its differentiable run against the plain one."""

from __future__ import annotations

import functools
from typing import Any

import comfy.k_diffusion.sampling as stock
import comfy.samplers
import torch
from comfy_inside import pack, sibling

probe = sibling("gradients_probe")
SAMPLERS = [name for name in comfy.samplers.SAMPLER_NAMES if name not in ("dpm_adaptive", "ar_video")]


LIMITS = {"dpm_2_ancestral": 5e-3}
"""Where rounding limits the finite difference: its last step is short, so that a small change is measured."""


def _sampled(kind: str, name: str, **settings: Any) -> tuple[float, bool, int]:
    report = probe.probe(kind, sampler=name, steps=3, step=2e-2, **settings)
    assert report.error < LIMITS.get(name, probe.LIMIT) and report.identical, (kind, name, report.error)
    return report.error, report.identical, report.calls


def check_every_stock_sampler() -> dict[str, Any]:
    """From a noise level below the first, where a flow model's signal to noise ratio is finite."""
    return {name: _sampled("sd3", name, denoise=0.75) for name in SAMPLERS}


def check_samplers_with_memory_on_an_epsilon_model() -> dict[str, Any]:
    return {name: _sampled("sd15", name) for name in ("ipndm_v", "deis", "uni_pc", "dpm_fast", "dpmpp_2m_cfg_pp")}


def check_dpm_adaptive_and_unknown_samplers_are_refused() -> None:
    class Own(comfy.samplers.Sampler):
        def sample(self, model_wrap: Any, *args: Any) -> Any:
            return model_wrap

    gradients, error = pack("nodes.gradients"), pack("hpskit.errors").GradientError
    for sampler, word in ((comfy.samplers.sampler_object("dpm_adaptive"), "dpm_adaptive"), (Own(), "Own")):
        try:
            gradients.twin_of(sampler)
        except error as refused:
            assert word in str(refused) and "choose" in str(refused)
        else:
            raise AssertionError(word)
    willing = Own()
    willing.differentiable = True  # type: ignore[attr-defined]
    assert gradients.twin_of(willing) is willing


def check_wrapped_samplers_have_twins() -> None:
    """A partial, a closure over a stock function, and a sampler handed to another one in its options."""

    def outer(model: Any, x: Any, sigmas: Any, inner: Any = None, **kwargs: Any) -> Any:
        return inner.sampler_function(model, x, sigmas, **kwargs, **inner.extra_options)

    def closed(model: Any, x: Any, sigmas: Any, **kwargs: Any) -> Any:
        return stock.sample_euler(model, x, sigmas, **kwargs)

    euler = comfy.samplers.sampler_object("euler")
    kinds = {
        "options": comfy.samplers.KSAMPLER(outer, {"inner": euler}),
        "closure": comfy.samplers.KSAMPLER(closed),
        "partial": comfy.samplers.KSAMPLER(functools.partial(stock.sample_euler, s_noise=1.0)),
    }
    plain = probe.probe("sd3", sampler=euler).gradient
    for name, sampler in kinds.items():
        report = probe.probe("sd3", sampler=sampler)
        assert report.identical and torch.equal(report.gradient, plain), name


def check_a_sampler_that_hides_no_grad_is_named() -> None:
    def hidden(model: Any, x: Any, sigmas: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return stock.sample_euler(model, x, sigmas, **kwargs)

    try:
        probe.probe("sd3", sampler=comfy.samplers.KSAMPLER(hidden))
    except pack("hpskit.errors").GradientError as refused:
        assert "hidden" in str(refused)
    else:
        raise AssertionError


def check_twins_leave_the_host_alone_and_follow_it() -> None:
    """Nothing of the host changes, and a stock function that someone replaces is the one that the next twin uses."""
    before = dict(vars(stock))
    sampler = comfy.samplers.sampler_object("euler_ancestral")
    pack("nodes.gradients").twin_of(sampler)
    assert {name: id(value) for name, value in before.items()} == {name: id(v) for name, v in vars(stock).items()}
    kept, used = stock.to_d, []
    try:
        stock.to_d = lambda *args: used.append(1) or kept(*args)
        probe.probe("sd15", sampler=comfy.samplers.sampler_object("euler"), steps=1)
    finally:
        stock.to_d = kept
    assert len(used) > 2
