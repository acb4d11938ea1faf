"""What stands in the way of gradients in both hosts: known refusals, and what is put aside and put back."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from ...hpskit.autodiff.aliases import Aliases
from ...hpskit.autodiff.twins import stops_gradients
from ...hpskit.errors import Cancelled
from ..bridge import host

INSTEAD = "Noise search works as it is."
TENSORS = ("init_latent", "mask", "nmask", "image_conditioning")
"""Tensors of a job that a run uses."""


def side() -> Any:
    """Return the module that knows the networks of this host."""
    name = "forge" if host.FORGE else "a1111"
    return importlib.import_module(f".{name}", __package__)


def refusals(p: Any) -> list[str]:
    """Return one sentence for each reason known beforehand why a job has no gradient; empty when there is none."""
    found = [_sampler_problem(str(p.sampler_name)), _refiner_problem(p), *side().problems(p)]
    return [f"{problem} {INSTEAD}" for problem in found if problem]


def _sampler_problem(name: str) -> str | None:
    if "adaptive" not in name.lower():
        return None
    return f"{name} chooses its steps by the image, so it has no gradient: choose another sampler, such as Euler."


def _refiner_problem(p: Any) -> str | None:
    if getattr(p, "refiner_checkpoint_info", None) is None or float(getattr(p, "refiner_switch_at", 1) or 1) >= 1:
        return None
    return "A refiner takes the place of the model while it samples, so there is no way back: switch the refiner off."


def ask() -> None:
    """Raise Cancelled when the person has stopped or skipped the generation."""
    if host.interrupted():
        raise Cancelled("The generation was stopped.")


@contextlib.contextmanager
def kept(p: Any, aliases: Aliases) -> Iterator[None]:
    """Put back the job's own things, the host's counters, and what would show or count the renders."""
    from modules import sd_samplers_common, shared

    parameters = dict(p.extra_generation_params)
    with contextlib.ExitStack() as stack:
        for name in TENSORS:
            if isinstance(getattr(p, name, None), torch.Tensor):
                put(stack, p, name, aliases.of(getattr(p, name)))
        for name in ("sampler", "rng"):
            if hasattr(p, name):
                stack.callback(setattr, p, name, getattr(p, name))
        for name in ("sampling_step", "sampling_steps", "current_latent"):
            stack.callback(setattr, shared.state, name, getattr(shared.state, name, None))
        put(stack, sd_samplers_common, "store_latent", lambda latent: None)
        put(stack, shared.total_tqdm, "update", lambda: None)
        stack.callback(lambda: (p.extra_generation_params.clear(), p.extra_generation_params.update(parameters)))
        yield


class _WithoutNoGrad:
    """Stands for torch in a module whose code switches gradients off in the middle of a function."""

    no_grad = contextlib.nullcontext

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextlib.contextmanager
def without_no_grad(name: str) -> Iterator[None]:
    """Have a module's `with torch.no_grad()` do nothing until the end of the block, where gradients are enabled."""
    module = sys.modules.get(name)
    with contextlib.ExitStack() as stack:
        if module is not None and torch.is_grad_enabled():
            put(stack, module, "torch", _WithoutNoGrad())
        yield


@contextlib.contextmanager
def without_switches(networks: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Take the decorators that switch gradients off from the forwards of layers: Forge Neo's decoder has them."""
    kinds = {kind for network in networks for layer in network.modules() for kind in type(layer).__mro__}
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            forward = vars(kind).get("forward")
            if stops_gradients(forward):
                put(stack, kind, "forward", forward.__wrapped__)
        yield


def put(stack: contextlib.ExitStack, place: Any, name: str, value: Any) -> None:
    """Set an attribute until the stack ends; one that only the class has is taken away again."""
    had = name in vars(place)
    before = vars(place).get(name)
    setattr(place, name, value)
    stack.callback(setattr, place, name, before) if had else stack.callback(delattr, place, name)
