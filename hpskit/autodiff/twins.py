"""Differentiable twins of functions that switch gradients off.

Samplers are decorated with torch.no_grad, and some call each other decorated. The twin of a function is the same code,
undecorated, with a namespace in which the decorated functions it can reach are twins, too. Nothing of the host is
changed, twins are made afresh for each run, and the forward computation is the stock one bit for bit.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import torch

FOREIGN = {"torch", "numpy", "scipy", "tqdm", "torchsde", "einops", "PIL", *sys.stdlib_module_names}
"""Packages with no sampler code: their functions stay as they are."""
SWITCHES = (torch.no_grad, torch.inference_mode, torch.set_grad_enabled)


def stops_gradients(function: Any) -> bool:
    """Return whether a function is decorated with torch.no_grad, inference_mode or set_grad_enabled."""
    if not isinstance(function, types.FunctionType) or not hasattr(function, "__wrapped__"):
        return False
    names = function.__code__.co_freevars
    cells = dict(zip(names, (_content(cell) for cell in function.__closure__ or ()), strict=True))
    return isinstance(getattr(cells.get("ctx_factory"), "__self__", None), SWITCHES)


def switches_gradients_on(function: Any) -> bool:
    """Return whether a function turns gradients on in its body, for a derivative of its own (as the deis sampler)."""
    return isinstance(function, types.FunctionType) and not {"enable_grad", "inference_mode"}.isdisjoint(
        function.__code__.co_names
    )


def _disturbs(function: Any) -> bool:
    if not isinstance(function, types.FunctionType) or _foreign(function.__module__):
        return False
    return switches_gradients_on(function) or "detach" in function.__code__.co_names


class Twins:
    """Makes twins of functions, and of what carries functions, that can reach one which changes the gradient mode.

    Objects of a host that carry functions are made known by a subclass with `carried` and `rebuilt`.
    """

    def __init__(self) -> None:
        self._spaces: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._made: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any) -> Any:
        """Return the twin of a function, partial, method or callable object; other values as they are."""
        if id(value) in self._made:
            return self._made[id(value)][1]
        needed = not _foreign(value.__name__) if isinstance(value, types.ModuleType) else self._reaches(value)
        twin = self._twin(value) if needed else value
        self._made[id(value)] = (value, twin)
        return twin

    def _twin(self, value: Any) -> Any:
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, functools.partial):
            arguments = {name: self.of(argument) for name, argument in value.keywords.items()}
            return functools.partial(self.of(value.func), *map(self.of, value.args), **arguments)
        if isinstance(value, types.MethodType):
            return types.MethodType(self.of(value.__func__), value.__self__)
        if isinstance(value, types.ModuleType):
            return _ModuleTwin(value, self)
        if self.carried(value) is not None:
            return self.rebuilt(value)
        return types.MethodType(self.of(type(value).__call__), value)

    def carried(self, value: Any) -> Iterable[Any] | None:
        """Return what an object of the host may call; None for objects that are not of the host's kinds."""
        return None

    def rebuilt(self, value: Any) -> Any:
        """Return a copy of an object of the host that carries twins."""
        raise NotImplementedError

    def _function(self, function: types.FunctionType) -> types.FunctionType:
        bare = _undecorated(function)
        cells = tuple(types.CellType() for _ in bare.__closure__ or ())
        space = self._space(bare)
        twin = types.FunctionType(_attached(bare.__code__), space, bare.__name__, bare.__defaults__, cells or None)
        self._made[id(function)] = self._made[id(bare)] = (function, twin)  # first: it may call itself
        twin.__kwdefaults__ = {name: self.of(value) for name, value in (bare.__kwdefaults__ or {}).items()} or None
        twin.__defaults__ = tuple(map(self.of, bare.__defaults__)) if bare.__defaults__ else None
        twin.__dict__.update({name: value for name, value in vars(bare).items() if name != "__wrapped__"})
        for cell, old in zip(cells, bare.__closure__ or (), strict=True):
            _fill(cell, self.of(_content(old)))
        for name in _names(bare.__code__) & bare.__globals__.keys():
            space[name] = self.of(bare.__globals__[name])
        return _constant(twin) if switches_gradients_on(bare) else twin

    def _space(self, function: types.FunctionType) -> dict[str, Any]:
        known = self._spaces.get(id(function.__globals__))
        if known is None:
            known = (function.__globals__, dict(function.__globals__))
            self._spaces[id(function.__globals__)] = known
        return known[1]

    def _reaches(self, value: Any) -> bool:
        """Return whether a function that needs a twin can be reached from a value by the names that its code uses."""
        seen, waiting = {id(value): value}, [value]
        while waiting:
            current = waiting.pop()
            if stops_gradients(current) or _disturbs(current):
                return True
            for other in self._referenced(current):
                if id(other) not in seen:
                    seen[id(other)] = other
                    waiting.append(other)
        return False

    def _referenced(self, value: Any) -> Iterator[Any]:
        """Yield the functions, and carriers of functions, that a value may call."""
        carried = self.carried(value)
        if isinstance(value, types.FunctionType):
            if not _foreign(value.__module__):
                yield from _used(value)
        elif isinstance(value, functools.partial):
            yield from (value.func, *value.args, *value.keywords.values())
        elif isinstance(value, types.MethodType):
            yield value.__func__
        elif carried is not None:
            yield from carried
        elif _is_callable_object(value):
            yield type(value).__call__


def _attached(code: types.CodeType) -> types.CodeType:
    """Return code without detach(): under no_grad it does nothing, but in a twin it would cut gradients off silently.

    Some multistep samplers (ipndm_v, deis) detach what they remember of earlier steps, undecorated or not.
    """
    return code.replace(co_names=tuple("contiguous" if name == "detach" else name for name in code.co_names))


def _constant(function: Any) -> Any:
    """Return a function whose results carry no graph unless an argument does: they are constants of the run.

    In a stock run they are used under no_grad, so that a graph left over in them goes unnoticed.
    """

    @functools.wraps(function)
    def constant(*args: Any, **kwargs: Any) -> Any:
        tracked = any(isinstance(value, torch.Tensor) and value.requires_grad for value in (*args, *kwargs.values()))
        result = function(*args, **kwargs)
        return result.detach() if isinstance(result, torch.Tensor) and not tracked else result

    return constant


class _ModuleTwin:
    """Stands for a module in a twin's namespace: its functions are twins where they need to be."""

    def __init__(self, module: types.ModuleType, twins: Twins) -> None:
        self.__dict__.update(_module=module, _twins=twins)

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["_twins"].of(getattr(self.__dict__["_module"], name))


def _is_callable_object(value: Any) -> bool:
    builtin = isinstance(value, (type, types.ModuleType, torch.nn.Module)) or _foreign(type(value).__module__)
    return not builtin and isinstance(inspect.getattr_static(type(value), "__call__", None), types.FunctionType)


def _used(function: types.FunctionType) -> Iterator[Any]:
    names = _names(function.__code__)
    yield from (_content(cell) for cell in function.__closure__ or ())
    yield from (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    modules = []
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        yield value
        modules += [value] if isinstance(value, types.ModuleType) else []
    yield from _module_members(modules, names)


def _module_members(modules: list[types.ModuleType], names: set[str]) -> Iterator[Any]:
    """Yield what `package.module.function` in a function's code may mean."""
    seen: set[int] = set()
    while modules:
        module = modules.pop()
        if id(module) in seen or _foreign(module.__name__):
            continue
        seen.add(id(module))
        for name in names & vars(module).keys():
            value = vars(module)[name]
            if isinstance(value, types.ModuleType):
                modules.append(value)
            else:
                yield value


def _names(code: types.CodeType) -> set[str]:
    """Return the global and attribute names in a function's code and in the functions written inside it."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*(_names(constant) for constant in inner))


def _undecorated(function: Any) -> types.FunctionType:
    while stops_gradients(function):
        function = function.__wrapped__
    return function  # type: ignore[no-any-return]


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that has no value yet
        return _EMPTY


_EMPTY = object()


def _fill(cell: types.CellType, value: Any) -> None:
    if value is not _EMPTY:
        cell.cell_contents = value


def _foreign(module: str | None) -> bool:
    return (module or "").partition(".")[0] in FOREIGN
