"""Counters for benchmarks/gradient_memory.py: bytes saved for the backward pass, live bytes, and resident memory.

On the meta device a tensor has a shape and a type but no data, so that networks of any size run in no memory; what
they would have allocated is counted here. Kernels are not run there: attention is replaced by one that allocates and
saves what PyTorch's fused kernels do, and neither workspaces of convolutions nor an allocator's rounding are seen.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Use:
    """Bytes beside the weights that one forward and backward pass needs."""

    kept: int
    """Alive between the two passes."""
    peak: int
    """Most that was alive at any moment of both."""


def storages_of(*modules: nn.Module) -> frozenset[int]:
    """Return what identifies the storages of weights and buffers."""
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    return frozenset(tensor.untyped_storage()._cdata for tensor in tensors)


class Saved:
    """Counts the distinct storages that autograd saves, without `excluded` ones."""

    def __init__(self, excluded: frozenset[int]) -> None:
        self.excluded = excluded
        # The storages are held: an address that is free again could otherwise stand for two of them.
        self.found: dict[int, torch.UntypedStorage] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.excluded:
            self.found[storage._cdata] = storage
        return tensor

    def __enter__(self) -> Saved:
        self._hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.__exit__(kind, value, trace)

    @property
    def bytes(self) -> int:
        """Their size."""
        return sum(storage.nbytes() for storage in self.found.values())


class Live(TorchDispatchMode):
    """Follows every storage that an operator returns until it is freed, forward and backward."""

    def __init__(self, excluded: frozenset[int]) -> None:
        super().__init__()
        self.excluded, self.now, self.peak = excluded, 0, 0
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._see(leaf.untyped_storage())
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.excluded or key in self._alive:
            return

        def freed(_: object) -> None:
            self.now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)


class _Fused(torch.autograd.Function):
    """Attention as the fused kernels store it: query, key, value, output, and one number a row."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, output, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        query, key, value, _, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


@contextlib.contextmanager
def fused_attention() -> Iterator[None]:
    """Replace attention without a mask on the meta device, where PyTorch would take its unfused fallback."""
    # By attribute, as a mode of torch would not reach what is computed again inside torch.autograd.grad.
    original = F.scaled_dot_product_attention

    def attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **kwargs: Any) -> Any:
        if query.is_meta and attn_mask is None:
            return _Fused.apply(query, key, value)
        return original(query, key, value, attn_mask=attn_mask, **kwargs)

    F.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = original


def saved_bytes(forward: Forward, start: Tensor, excluded: frozenset[int]) -> int:
    """Return what the forward pass saves."""
    with torch.enable_grad(), fused_attention(), Saved(excluded) as saved:
        forward(start.detach().requires_grad_(True))
    return saved.bytes


def live_bytes(forward: Forward, start: Tensor, excluded: frozenset[int]) -> Use:
    """Run both passes from the gradient of a sum; `start` itself is not counted."""
    gc.collect()
    with torch.enable_grad(), fused_attention(), Live(excluded) as live:
        leaf = start.detach().requires_grad_(True)
        result = forward(leaf)
        gc.collect()
        kept = live.now
        torch.autograd.grad(result.sum(), leaf)
    return Use(kept, live.peak)


# --- resident memory (Linux) -----------------------------------------------------------------------------------------

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def can_measure_resident() -> bool:
    """Tell whether the system lets a process set its own peak back."""
    try:
        _RESET.write_text("5")
        return _status("VmHWM") > 0
    except (OSError, KeyError):
        return False


def resident_bytes(forward: Forward, start: Tensor) -> int:
    """Return by how much both passes on real tensors raise the most resident memory of this process."""
    gc.collect()
    _RESET.write_text("5")
    before = _status("VmRSS")
    with torch.enable_grad():
        leaf = start.detach().requires_grad_(True)
        torch.autograd.grad(forward(leaf).sum(), leaf)
    return _status("VmHWM") - before


def _status(name: str) -> int:
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(fields[name].split()[0]) * 1024
