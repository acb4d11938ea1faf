"""Blocks of a network: find them, and compute them again in the backward pass instead of storing what is inside.

Method: T. Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016 (arXiv:1604.06174).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from .recompute import Manner, recomputed


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
def checkpointed_blocks(networks: Iterable[torch.nn.Module], *, caches_unused: bool = False) -> Iterator[int]:
    """Checkpoint the repeated blocks of networks until the end of the block; gives their number.

    Without gradients the blocks run as always. `caches_unused`: nobody reads the tensors that blocks leave in lists and
    dictionaries, as in a video decoder that decodes one frame.
    """
    blocks = [block for network in networks for block in repeated_blocks(network)]
    patched = [block for block in dict.fromkeys(blocks) if "forward" not in vars(block)]
    try:
        for block in patched:
            vars(block)["forward"] = _Block(block.forward, caches_unused)
        yield len(patched)
    finally:
        for block in patched:
            vars(block).pop("forward", None)


class _Block:
    """The forward of a block that is computed again in the backward pass.

    The host passes dictionaries and lists that it changes as it goes from block to block (which block it is at, caches
    of video decoders): the second run gets them as they were. Blocks that take or leave tensors with gradients in such
    containers are run as always, for what goes that way would be cut off.
    """

    def __init__(self, forward: Callable[..., Any], caches_unused: bool) -> None:
        self.forward, self.caches_unused = forward, caches_unused
        self.manner, self.leaves_tensors = Manner(), False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the block."""
        values = [*args, *kwargs.values()]
        # All of them: a block may change those without gradients in place, too.
        places = [k for k, value in enumerate(values) if isinstance(value, torch.Tensor)]
        plain = not torch.is_grad_enabled() or not any(map(_is_tracked, values))
        handed_on = not self.caches_unused and any(map(_holds_tracked, values))
        if plain or self.leaves_tensors or handed_on:
            return self.forward(*args, **kwargs)
        call = _Call(self.forward, values, places, len(args), list(kwargs))
        before = _contents(values)
        made = recomputed(call, *(values[k] for k in places), manner=self.manner)
        if not self.caches_unused and _contents(values) - before:
            self.leaves_tensors = True
            call.put_back(values)
            return self.forward(*args, **kwargs)
        return made


class _Call:
    """One call of a block: the first time on what it was given, later on copies of its containers."""

    def __init__(
        self, forward: Callable[..., Any], values: list[Any], places: list[int], count: int, names: list[str]
    ) -> None:
        self.forward, self.places, self.count, self.names = forward, places, count, names
        self.kept = [None if k in places else _copied(value) for k, value in enumerate(values)]
        self.given: list[Any] | None = [None if k in places else value for k, value in enumerate(values)]

    def put_back(self, values: list[Any]) -> None:
        """Give the containers among the arguments their first contents again."""
        for value, kept in zip(values, self.kept, strict=True):
            if kept is not None and type(value) in (dict, list):
                value.clear()
                value.update(kept) if isinstance(value, dict) else value.extend(kept)

    def __call__(self, *tensors: torch.Tensor) -> Any:
        """Run the block on these tensors and the other arguments of the call."""
        values, self.given = self.given or list(map(_copied, self.kept)), None
        for place, tensor in zip(self.places, tensors, strict=True):
            values[place] = tensor
        return self.forward(*values[: self.count], **dict(zip(self.names, values[self.count :], strict=True)))


def _holds_tracked(value: Any, depth: int = 4) -> bool:
    """Return whether a container holds a tensor that requires gradients."""
    if not isinstance(value, (dict, list, tuple)) or depth == 0:
        return False
    items = value.values() if isinstance(value, dict) else value
    return any(_is_tracked(item) or _holds_tracked(item, depth - 1) for item in items)


def _contents(values: Iterable[Any], depth: int = 4) -> set[int]:
    """Return the identities of the floating-point tensors in the containers among the values."""
    found: set[int] = set()
    for value in values:
        if isinstance(value, (dict, list, tuple)) and depth:
            items = list(value.values() if isinstance(value, dict) else value)
            found |= {id(item) for item in items if isinstance(item, torch.Tensor) and item.is_floating_point()}
            found |= _contents(items, depth - 1)
    return found


def _is_tracked(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _cloned(value: Any) -> Any:
    return value.clone() if _is_tracked(value) else value


def _copied(value: Any) -> Any:
    return value.copy() if type(value) in (dict, list) else value
