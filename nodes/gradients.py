"""Differentiable twins of the host's samplers.

How twins are made: see hpskit.autodiff.twins.

A SAMPLER that is no plain KSAMPLER runs code of its own, about which nothing is known. It can opt in by an attribute
`differentiable = True` (its `sample` passes gradients as it stands) or a method `differentiable_twin()` that returns a
SAMPLER which does.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import comfy.samplers

from ..hpskit.autodiff.twins import Twins
from ..hpskit.errors import GradientError

GRADIENT_FREE = "Search without gradients works with it as it is."


def twin_of(sampler: Any) -> Any:
    """Return a copy of a SAMPLER that lets gradients through, or the sampler itself when it says that it does.

    Raises GradientError when there is no twin: dpm_adaptive, and samplers with code of their own that do not opt in.
    """
    problem = sampler_problem(sampler)
    if problem is not None:
        raise GradientError(problem)
    if callable(getattr(sampler, "differentiable_twin", None)):
        return sampler.differentiable_twin()
    if getattr(sampler, "differentiable", False):
        return sampler
    return _SamplerTwins().of(sampler)


def sampler_problem(sampler: Any) -> str | None:
    """Return in one sentence why a SAMPLER cannot be differentiated, and what to do; None when it can."""
    if getattr(sampler, "differentiable", False) or callable(getattr(sampler, "differentiable_twin", None)):
        return None
    if not is_plain(sampler):
        return (
            f"The sampler ({type(sampler).__name__}) runs code of its own that does not say it passes gradients: "
            f"choose one of the stock samplers. {GRADIENT_FREE}"
        )
    if "adaptive" in sampler_name(sampler):
        return (
            "dpm_adaptive chooses its steps by the image, so their number has no bound and no gradient: "
            f"choose another sampler, for example euler or dpmpp_2m. {GRADIENT_FREE}"
        )
    return None


def is_plain(sampler: Any) -> bool:
    """Return whether a SAMPLER is a k-diffusion style function in the host's own wrapper."""
    kind = comfy.samplers.KSAMPLER
    return isinstance(sampler, kind) and type(sampler).sample is kind.sample


def sampler_name(sampler: Any) -> str:
    """Return the name of a sampler's function, or of its class."""
    function = getattr(sampler, "sampler_function", sampler)
    return str(getattr(function, "__name__", type(function).__name__))


class _SamplerTwins(Twins):
    """Knows the host's SAMPLER objects."""

    def carried(self, value: Any) -> Iterable[Any] | None:
        """Return what a SAMPLER may call."""
        return (value.sampler_function, *value.extra_options.values()) if is_plain(value) else None

    def rebuilt(self, value: Any) -> Any:
        """Return a copy of a SAMPLER with twins."""
        twin = copy.copy(value)
        twin.sampler_function = self.of(value.sampler_function)
        twin.extra_options = {name: self.of(option) for name, option in value.extra_options.items()}
        twin.inpaint_options = dict(value.inpaint_options)
        return twin
