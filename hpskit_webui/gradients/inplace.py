"""`x += y` as `x = x + y` where gradients flow, in one thread and for a while.

Networks of Forge add to what they have just given to a layer (`x += n` on the residual). Autograd has stored that
tensor for its backward pass, and refuses. Python's augmented assignment lets a class decide whether it works in place;
while somebody is inside `out_of_place`, tensors with gradients do not. `x.add_(y)` stays what it is.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch

OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "__iadd__": torch.add,
    "__isub__": torch.sub,
    "__imul__": torch.mul,
    "__itruediv__": torch.div,
}
_inside = threading.local()
_lock = threading.Lock()
_users = 0
_before: dict[str, Any] = {}
_INHERITED = object()


@contextlib.contextmanager
def out_of_place() -> Iterator[None]:
    """Make augmented assignments of this thread keep what they are given, until the end of the block; can be nested.

    Only where gradients are enabled and one of the two tensors requires them. A slice of a tensor that somebody holds
    is changed in place as always, for then the change of the whole is meant.
    """
    _enter()
    _inside.depth = getattr(_inside, "depth", 0) + 1
    try:
        yield
    finally:
        _inside.depth -= 1
        _leave()


def _enter() -> None:
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            for name, plain in OPERATIONS.items():
                _before[name] = vars(torch.Tensor).get(name, _INHERITED)
                setattr(torch.Tensor, name, _assignment(getattr(torch.Tensor, name), plain))


def _leave() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            for name, before in _before.items():
                if before is _INHERITED:
                    delattr(torch.Tensor, name)
                else:
                    setattr(torch.Tensor, name, before)
            _before.clear()


def _assignment(in_place: Any, plain: Callable[..., torch.Tensor]) -> Any:
    @functools.wraps(in_place)
    def assignment(self: torch.Tensor, other: Any) -> torch.Tensor:
        if not (getattr(_inside, "depth", 0) and _flows(self, other)) or _is_part(self):
            return in_place(self, other)  # type: ignore[no-any-return]
        made = plain(self, other)
        if made.shape != self.shape:  # what the assignment in place refuses, with its own words
            return in_place(self, other)  # type: ignore[no-any-return]
        return made.to(self.dtype)

    return assignment


def _flows(tensor: torch.Tensor, other: Any) -> bool:
    tracked = tensor.requires_grad or (isinstance(other, torch.Tensor) and other.requires_grad)
    return tracked and torch.is_grad_enabled()


def _is_part(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is a view of one that Python code holds, and not only of a passing result."""
    base = tensor._base
    return base is not None and sys.getrefcount(base) > 2
