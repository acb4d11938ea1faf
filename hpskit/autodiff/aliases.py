"""Normal tensors on the memory of inference tensors, for everything that a sampling run touches.

The host runs its graph in torch.inference_mode, so the weights, conditionings, masks and sigmas it hands to a sampler
are inference tensors: autograd refuses to save them for a backward pass. An alias is a normal tensor on the same
memory. It costs no bytes, and later runs in inference mode use it like the tensor it stands for.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import sys
import types
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import torch

DEPTH = 12
"""How deep containers are followed; the host's own nest about six levels."""
FOREIGN = {"torch", "numpy", "PIL", "aiohttp", "server", "execution", "app", *sys.stdlib_module_names}
"""Packages whose objects hold no tensors of a run, or must not be touched."""


def alias(tensor: torch.Tensor) -> torch.Tensor:
    """Return a normal tensor on the memory of an inference tensor; normal tensors as they are.

    Of the host's quantised weights the parts are aliased. Must be called outside inference mode.
    """
    if not tensor.is_inference():
        return tensor
    if hasattr(tensor, "__tensor_flatten__"):
        names, context = tensor.__tensor_flatten__()
        parts = {name: alias(getattr(tensor, name)) for name in names}
        kind: Any = type(tensor)
        return kind.__tensor_unflatten__(parts, context, tensor.size(), tensor.stride())  # type: ignore[no-any-return]
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        return tensor
    empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    place = (tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())
    return empty.set_(*place)


@contextlib.contextmanager
def outside_inference() -> Iterator[None]:
    """Leave inference mode in this thread without switching gradients on, as torch.inference_mode(False) would."""
    enabled = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(enabled):
        yield


def freeze(module: torch.nn.Module) -> None:
    """Give a module's inference parameters and buffers aliases for good; they need no gradients and share the memory.

    For good, because holding on to the old ones would keep memory that the host believes to have freed.
    """
    for child in module.modules():
        for name, parameter in child._parameters.items():
            if parameter is not None and parameter.is_inference():
                child._parameters[name] = _frozen(parameter)
        for name, buffer in child._buffers.items():
            if buffer is not None:
                child._buffers[name] = alias(buffer)


def _frozen(parameter: torch.nn.Parameter) -> torch.nn.Parameter:
    tensor = alias(parameter)
    if tensor is parameter:  # of a kind that is not known; the pre-flight tells whether it works
        return parameter
    frozen = torch.nn.Parameter(tensor, requires_grad=False)
    frozen.__dict__.update(parameter.__dict__)
    return frozen


class Aliases:
    """Aliases for what a run holds; `undo` puts back what had to be replaced in place.

    Containers and the host's COND objects are copied when something in them changes. Objects whose identity matters
    (ControlNets, hooks, patches, closures) get their attributes replaced until `undo`.
    """

    def __init__(self) -> None:
        self._undo: list[Callable[[], Any]] = []
        self._seen: dict[int, tuple[Any, Any]] = {}  # id -> (original, replacement); holding both keeps ids unique
        self.modules: list[torch.nn.Module] = []

    def undo(self) -> None:
        """Put everything back that was replaced in place, unless someone else has changed it since."""
        while self._undo:
            self._undo.pop()()
        self._seen.clear()

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return `value` with aliases instead of inference tensors, the same object when there are none."""
        if depth > DEPTH or value is None or isinstance(value, (str, bytes, int, float, complex, type)):
            return value
        if id(value) in self._seen:
            return self._seen[id(value)][1]
        self._seen[id(value)] = (value, value)
        replaced = self._replaced(value, depth + 1)
        self._seen[id(value)] = (value, replaced)
        return replaced

    def _replaced(self, value: Any, depth: int) -> Any:
        if isinstance(value, torch.Tensor):
            return alias(value)
        if isinstance(value, torch.nn.Module):
            return self._module(value, depth)
        if isinstance(value, dict):
            return self._dict(value, depth)
        if isinstance(value, (list, tuple)):
            return self._sequence(value, depth)
        if isinstance(value, functools.partial):
            return self._partial(value, depth)
        if isinstance(value, types.FunctionType):
            return self._closure(value, depth)
        if isinstance(value, types.MethodType):
            self.of(value.__self__, depth)
            return value
        return self._object(value, depth)

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        items = {key: self.of(item, depth) for key, item in value.items()}
        if all(items[key] is item for key, item in value.items()):
            return value
        copied = copy.copy(value)  # of its own kind: some dictionaries of hosts have further attributes
        copied.update(items)
        return copied

    def _sequence(self, value: Any, depth: int) -> Any:
        items = [self.of(item, depth) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)

    def _partial(self, value: functools.partial[Any], depth: int) -> Any:
        parts = (self.of(value.func, depth), self.of(value.args, depth), self.of(value.keywords, depth))
        same = parts[0] is value.func and parts[1] is value.args and parts[2] is value.keywords
        return value if same else functools.partial(parts[0], *parts[1], **parts[2])

    def _closure(self, value: types.FunctionType, depth: int) -> Any:
        if not _foreign(value.__module__):
            for cell in value.__closure__ or ():
                self._cell(cell, depth)
        return value

    def _cell(self, cell: types.CellType, depth: int) -> None:
        try:
            old = cell.cell_contents
        except ValueError:  # a name that has no value yet
            return
        new = self.of(old, depth)
        if new is old:
            return

        def back() -> None:
            if cell.cell_contents is new:
                cell.cell_contents = old

        cell.cell_contents = new
        self._undo.append(back)

    def _object(self, value: Any, depth: int) -> Any:
        fields = getattr(value, "__dict__", None)
        if not isinstance(fields, dict) or isinstance(value, types.ModuleType) or _foreign(type(value).__module__):
            return value
        if hasattr(value, "process_cond") and hasattr(value, "cond"):  # one of comfy.conds.COND*
            copied = object.__new__(type(value))
            copied.__dict__.update({name: self.of(item, depth) for name, item in fields.items()})
            return copied
        if hasattr(value, "load_device") and isinstance(fields.get("model"), torch.nn.Module):  # a ModelPatcher
            self.of(value.model, depth)
            return value
        self.attributes(value, depth)
        return value

    def attributes(self, value: Any, depth: int = 0, skip: tuple[str, ...] = ()) -> None:
        """Replace inference tensors among the attributes of an object, until undo."""
        fields = vars(value)
        for name in [name for name in fields if name not in skip]:
            new = self.of(fields[name], depth)
            if new is not fields[name]:
                self._swap(fields, name, new)

    def _swap(self, store: MutableMapping[str, Any], name: str, new: Any) -> None:
        old = store[name]

        def back() -> None:
            if store.get(name) is new:
                store[name] = old

        store[name] = new
        self._undo.append(back)

    def _module(self, module: torch.nn.Module, depth: int) -> torch.nn.Module:
        self.modules.append(module)
        freeze(module)
        for child in module.modules():
            for parameter in child._parameters.values():
                if parameter is not None and parameter.requires_grad and not parameter.is_inference():
                    self._no_gradient(parameter)
            self._plain_tensors(child, depth)
        return module

    def _no_gradient(self, parameter: torch.nn.Parameter) -> None:
        parameter.requires_grad_(False)
        self._undo.append(functools.partial(parameter.requires_grad_, True))

    def _plain_tensors(self, module: torch.nn.Module, depth: int) -> None:
        """Replace tensors kept as plain attributes, such as tables of positions and the factors of a latent format."""
        fields = vars(module)
        for name in [name for name in fields if not name.startswith("_")]:
            value = fields[name]
            if isinstance(value, (torch.Tensor, list, tuple, dict)) or name == "latent_format":
                new = self.of(value, depth)
                if new is not value:
                    self._swap(fields, name, new)


def _foreign(module: str | None) -> bool:
    return (module or "").partition(".")[0] in FOREIGN
