"""Gradient checkpointing: store less in the forward pass, and compute it again in the backward pass.

Two levels. Around a denoiser call as the sampler sees it: everything inside (the batch of conditionings, guidance,
ControlNets) is made again, so that memory does not grow with the number of steps. And around the repeated blocks of a
network: so that one call does not need all of its layers at once. Checkpointing the network as a whole would be wrong
with a ControlNet, whose outputs the host's networks take from a list that is then empty.

Method: T. Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016 (arXiv:1604.06174).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import comfy.model_management as mm
import torch
from torch.utils.checkpoint import checkpoint

from ..hpskit.errors import GradientError

LEVELS = ("none", "steps", "blocks", "full")
"""What is checkpointed: nothing, denoiser calls, blocks of the network, or both."""
_NO_OPTIONS: dict[str, Any] = {}


# --- denoiser calls --------------------------------------------------------------------------------------------------


@dataclass
class Calls:
    """What the denoiser was asked for in one render, and whether it may still be asked again."""

    count: int = 0
    """Denoiser calls of the sampler, without those that only compute again."""
    open: bool = True
    """False once what the run needs has been put back."""


class StepGuider:
    """What the twin of a sampler sees as its guider: counts calls, lets interrupts through, checkpoints each call."""

    def __init__(self, guider: Any, calls: Calls, checkpointed: bool) -> None:
        self.__dict__.update(_guider=guider, _calls=calls, _checkpointed=checkpointed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_guider"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_guider"], name, value)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """Pass isinstance() checks that the guider passes."""
        return type(self.__dict__["_guider"])

    def __call__(
        self, x: torch.Tensor, timestep: torch.Tensor, model_options: Any = None, seed: int | None = None
    ) -> torch.Tensor:
        """Return the denoised latent."""
        guider, calls = self.__dict__["_guider"], self.__dict__["_calls"]
        options = _NO_OPTIONS if model_options is None else model_options
        mm.throw_exception_if_processing_interrupted()
        calls.count += 1

        def denoise(latent: torch.Tensor) -> Any:
            if not calls.open:
                raise GradientError("The backward pass must come before the end of the differentiable() block.")
            return guider(latent, timestep, model_options=options, seed=seed)

        if not (torch.is_grad_enabled() and x.requires_grad):
            return denoise(x)
        denoised = checkpoint(denoise, x, use_reentrant=False) if self.__dict__["_checkpointed"] else denoise(x)
        if not denoised.requires_grad:  # samplers add x to it, so that a gradient would come out, and be wrong
            raise GradientError(
                "The model's prediction carries no gradient: a patch on the model cuts it off. Remove the patch, or "
                "search without gradients."
            )
        return denoised


# --- blocks of a network ---------------------------------------------------------------------------------------------


def repeated_blocks(network: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the blocks a network is a stack of: modules with parts of their own whose class occurs more than once.

    Of nested ones the outer is taken, unless it is a stack of such blocks itself.
    """
    counts = Counter(type(module) for module in network.modules() if _is_composite(module))
    repeated = {kind for kind, count in counts.items() if count > 1}
    return list(_blocks(network, repeated))


def _blocks(module: torch.nn.Module, repeated: set[type]) -> Iterator[torch.nn.Module]:
    for child in module.children():
        if type(child) in repeated and not _is_stack(child, repeated):
            yield child
        else:
            yield from _blocks(child, repeated)


def _is_composite(module: torch.nn.Module) -> bool:
    """Return whether a module has parts and a forward of its own; the host walks through containers by itself."""
    if isinstance(module, (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)):
        return False
    has_forward = type(module).forward is not torch.nn.Module.forward
    return has_forward and next(module.children(), None) is not None


def _is_stack(module: torch.nn.Module, repeated: set[type]) -> bool:
    lists = (child for child in module.children() if isinstance(child, (torch.nn.ModuleList, torch.nn.Sequential)))
    inside = (Counter(type(item) for item in items if type(item) in repeated) for items in lists)
    return any(count > 1 for counts in inside for count in counts.values())


def outer_layers(network: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Yield the layers and blocks that a network calls itself, whatever containers they are in."""
    for child in network.children():
        container = isinstance(child, (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict))
        if container or type(child).forward is torch.nn.Module.forward:
            yield from outer_layers(child)
        else:
            yield child


@contextlib.contextmanager
def protected_inputs(networks: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Give every outer layer of networks copies of its inputs, so that nobody can change what it stored.

    Needed with ControlNets and patches between blocks: the host adds to skip connections in place, and those are stored
    inputs of layers before. Plain autograd would notice; computing again in a checkpoint does not.
    """
    handles = []
    try:
        for network in networks:
            for layer in outer_layers(network):
                handles.append(layer.register_forward_pre_hook(_with_copies, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _with_copies(module: torch.nn.Module, args: Any, kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return None
    return tuple(map(_cloned, args)), {key: _cloned(value) for key, value in kwargs.items()}


@contextlib.contextmanager
def checkpointed_blocks(networks: Iterable[torch.nn.Module]) -> Iterator[int]:
    """Checkpoint the repeated blocks of networks until the end of the block; gives their number.

    Without gradients the blocks run as always.
    """
    blocks = [block for network in networks for block in repeated_blocks(network)]
    patched = [block for block in dict.fromkeys(blocks) if "forward" not in vars(block)]
    try:
        for block in patched:
            vars(block)["forward"] = _checkpointing(block.forward, type(block).__name__)
        yield len(patched)
    finally:
        for block in patched:
            vars(block).pop("forward", None)


def _checkpointing(forward: Callable[..., Any], name: str) -> Callable[..., Any]:
    def checkpointing(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled() or not any(map(_is_tracked, (*args, *kwargs.values()))):
            return forward(*args, **kwargs)
        replay = _Replay(forward, name, tuple(map(_copied, args)), _copied_values(kwargs))
        return checkpoint(replay.run(args, kwargs), *args, use_reentrant=False, preserve_rng_state=False)

    return checkpointing


class _Replay:
    """Runs a block, and runs it again on what it was given the first time.

    The host passes dictionaries and lists that it changes as it goes from block to block (which block it is at, caches
    of video decoders): the second run gets them as they were.
    """

    def __init__(self, forward: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.forward, self.name, self.args, self.kwargs = forward, name, args, kwargs
        self.versions = self._versions()

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        """Return a function that runs the block on `args` at the first call, and on copies of the kept ones later."""
        given: list[tuple[tuple[Any, ...], dict[str, Any]]] = [(args, kwargs)]

        def compute(*_: Any) -> Any:
            if given:
                first_args, first_kwargs = given.pop()
                return self.forward(*first_args, **first_kwargs)
            if self._versions() != self.versions:
                raise GradientError(
                    f"An input of {self.name} was changed in place, so that the block cannot be computed again: "
                    'choose the checkpointing "steps" instead.'
                )
            return self.forward(*map(_copied, self.args), **_copied_values(self.kwargs))

        return compute

    def _versions(self) -> list[int]:
        return [value._version for value in (*self.args, *self.kwargs.values()) if _is_tracked(value)]


def _is_tracked(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _cloned(value: Any) -> Any:
    return value.clone() if _is_tracked(value) else value


def _copied(value: Any) -> Any:
    return value.copy() if type(value) in (dict, list) else value


def _copied_values(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) for key, value in values.items()}
