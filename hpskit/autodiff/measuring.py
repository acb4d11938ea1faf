"""What a forward pass stores for its backward pass, and where gradients get lost: measured by trying."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from .blocks import repeated_blocks


class SavedBytes:
    """Counts the bytes of distinct memory that autograd stores within a `with` block, weights left out."""

    def __init__(self, weights: Iterable[torch.Tensor] = ()) -> None:
        self._weights = {_place(tensor)[0] for tensor in weights}
        self._seen: dict[int, int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        place, size = _place(tensor)
        if place not in self._weights:
            self._seen[place] = size
        return tensor

    def __enter__(self) -> SavedBytes:
        self._hooks.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._hooks.__exit__(*exception)

    @property
    def bytes(self) -> int:
        """Bytes so far."""
        return sum(self._seen.values())


def _place(tensor: torch.Tensor) -> tuple[int, int]:
    """Return where a tensor's memory is and its size; 0, 0 for quantised tensors, which have none of their own."""
    try:
        storage = tensor.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    except (NotImplementedError, RuntimeError):
        return 0, 0


@dataclass
class Activations:
    """Bytes that one pass through networks stores; `inside` and `inputs` are those of the repeated blocks."""

    total: int = 0
    inside: list[int] = field(default_factory=list)
    inputs: int = 0

    def needed(self, blocks: bool) -> int:
        """Return the bytes that a pass with its backward pass needs, with or without checkpointed blocks."""
        if not blocks or not self.inside:
            return self.total
        return max(self.total - sum(self.inside), 0) + self.inputs + max(self.inside)


@contextlib.contextmanager
def measured(networks: Iterable[torch.nn.Module]) -> Iterator[Activations]:
    """Measure what passes through networks store until the end of the block, without any checkpointing."""
    networks = list(networks)
    found = Activations()
    weights = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
    blocks = list(dict.fromkeys(block for network in networks for block in repeated_blocks(network)))
    try:
        for block in blocks:
            vars(block)["forward"] = _measuring(block.forward, found, weights)
        with SavedBytes(weights) as saved:
            yield found
        found.total = saved.bytes + sum(found.inside)
    finally:
        for block in blocks:
            vars(block).pop("forward", None)


def _measuring(forward: Any, found: Activations, weights: list[torch.Tensor]) -> Any:
    def measuring(*args: Any, **kwargs: Any) -> Any:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        found.inputs += sum(tensor.nbytes for tensor in tensors if tensor.requires_grad)
        with SavedBytes(weights) as saved:  # the inner of two hooks is the one that runs
            result = forward(*args, **kwargs)
        found.inside.append(saved.bytes)
        return result

    return measuring


@dataclass
class Trace:
    """Where a forward pass is, and which layer first got a gradient and gave none."""

    lost: str | None = None
    running: list[str] = field(default_factory=list)
    failed: str | None = None


@contextlib.contextmanager
def traced(networks: Iterable[tuple[str, torch.nn.Module]]) -> Iterator[Trace]:
    """Watch the layers of named networks until the end of the block."""
    trace, handles = Trace(), []
    try:
        for prefix, network in networks:
            for name, module in network.named_modules():
                label = f"{prefix}.{name}" if name else prefix
                handles.append(module.register_forward_pre_hook(_entering(trace, f"{label} ({type(module).__name__})")))
                handles.append(module.register_forward_hook(_leaving(trace)))
        yield trace
    except BaseException:
        trace.failed = trace.running[-1] if trace.running else None
        raise
    finally:
        for handle in handles:
            handle.remove()


def _entering(trace: Trace, label: str) -> Any:
    return lambda module, args: trace.running.append(label)


def _leaving(trace: Trace) -> Any:
    def leaving(module: torch.nn.Module, args: Any, output: Any) -> None:
        label = trace.running.pop()
        wanted = any(isinstance(value, torch.Tensor) and value.requires_grad for value in args)
        given = output if isinstance(output, (tuple, list)) else (output,)
        floats = [value for value in given if isinstance(value, torch.Tensor) and value.is_floating_point()]
        if trace.lost is None and wanted and floats and not any(value.requires_grad for value in floats):
            trace.lost = label

    return leaving
