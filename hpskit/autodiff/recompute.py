"""Compute parts of the forward pass again in the backward pass, right also where a network changes tensors in place.

torch.utils.checkpoint keeps what it computes again out of reach of autograd's own check for tensors that were changed
after they had been stored. Networks of the hosts do change such tensors (`img += ...` in Flux), and their gradients
would be wrong without a word. Here the second pass is an ordinary graph with the check; where it objects, the pass is
made once more with copies of what is changed.

Method: T. Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016 (arXiv:1604.06174).
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.graph import allow_mutation_on_saved_tensors

from ..errors import GradientError
from .randomstate import RandomState, preserved_random_state

_inside = threading.local()


@contextlib.contextmanager
def tolerant() -> Iterator[None]:
    """Copy stored tensors that are changed in place, until the end of the block; can be nested.

    It does not see a change through a slice, so it is for networks that the plain check has refused.
    """
    if getattr(_inside, "depth", 0):
        yield
        return
    _inside.depth = 1
    try:
        with allow_mutation_on_saved_tensors():
            yield
    finally:
        _inside.depth = 0


@dataclass
class Manner:
    """How a part of a network has to be computed again; shared by all of its calls."""

    tolerant: bool = False
    """It changes tensors in place that its own backward pass needs."""
    peak: float | None = None
    """Scale gradients that enter to this size (the largest element), and back; for networks in half precision, where
    small gradients would vanish. It shrinks when gradients inside grow too large for the type. None does not scale."""


class _Autocast:
    """The automatic casts of a thread, to be entered again elsewhere: a backward pass has none of its own."""

    def __init__(self, device: torch.device) -> None:
        self.kind = device.type
        self.enabled, self.dtype = _casts(device.type)
        self.cached = torch.is_autocast_cache_enabled()

    def __call__(self) -> contextlib.AbstractContextManager[Any]:
        if self.kind not in ("cpu", "cuda"):
            return contextlib.nullcontext()
        return torch.autocast(self.kind, dtype=self.dtype, enabled=self.enabled, cache_enabled=self.cached)


def _casts(kind: str) -> tuple[bool, torch.dtype]:
    """Return whether a kind of device casts automatically, and to what; torch has renamed the functions in 2.4."""
    if hasattr(torch, "get_autocast_dtype"):
        return torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    if kind == "cpu":
        return torch.is_autocast_cpu_enabled(), torch.get_autocast_cpu_dtype()
    return torch.is_autocast_enabled(), torch.get_autocast_gpu_dtype()


@dataclass
class _Job:
    """What both passes share: the function, its random numbers, and the shape of what it returned."""

    compute: Callable[..., Any]
    random: RandomState | None
    device: torch.device
    autocast: _Autocast
    lost: str
    manner: Manner
    kind: type = tuple
    constants: dict[int, Any] | None = None
    """Results that are no tensors, by position."""

    def run(self, tensors: Sequence[torch.Tensor]) -> Any:
        """Run the function as the first time: with its automatic casts, and its random numbers when they were kept."""
        with self.autocast(), preserved_random_state(self.device) if self.random else contextlib.nullcontext():
            if self.random:
                self.random.restore(self.device)
            return self.compute(*tensors)


def recomputed(
    compute: Callable[..., Any],
    *tensors: torch.Tensor,
    keep_random: bool = False,
    lost: str = "",
    manner: Manner | None = None,
) -> Any:
    """Return compute(*tensors), storing the tensors alone; differentiable in those that require gradients.

    `compute` returns a tensor, or a tuple or list of tensors and other things, and gives the same each time. It may
    change its arguments in place: it gets copies. Everything it depends on that requires gradients must be among the
    tensors. With `keep_random` random numbers are the same in both passes. With `lost` the backward pass raises a
    GradientError of these words when the result does not depend on the tensors.
    """
    device = tensors[0].device
    random = RandomState.capture(device) if keep_random else None
    job = _Job(compute, random, device, _Autocast(device), lost, manner or Manner())
    made = _Recomputed.apply(job, *tensors)
    return made[0] if job.kind is torch.Tensor else job.kind(_with_constants(made, job.constants or {}))


def _with_constants(tensors: Sequence[Any], constants: dict[int, Any]) -> list[Any]:
    rest = iter(tensors)
    return [constants[k] if k in constants else next(rest) for k in range(len(tensors) + len(constants))]


def _tensors_of(result: Any, job: _Job) -> list[torch.Tensor]:
    """Return the tensors of a result, and note what else it holds."""
    if isinstance(result, torch.Tensor):
        job.kind = torch.Tensor
        return [result]
    job.kind = list if isinstance(result, list) else tuple
    job.constants = {k: item for k, item in enumerate(result) if not isinstance(item, torch.Tensor)}
    return [item for item in result if isinstance(item, torch.Tensor)]


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, job: _Job, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.job = job
        ctx.save_for_backward(*tensors)
        made = _tensors_of(job.compute(*(tensor.detach().clone() for tensor in tensors)), job)
        # A view made without gradients would lose them when the host changes it in place.
        return tuple(tensor.clone() if tensor._is_view() else tensor for tensor in made)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        job, needed, saved = ctx.job, ctx.needs_input_grad[1:], ctx.saved_tensors
        try:
            if not job.manner.tolerant:
                return (None, *_second_pass(job, saved, needed, grads))
        except RuntimeError as error:
            if "inplace operation" not in str(error):
                raise
            job.manner.tolerant = True
        with tolerant():
            return (None, *_second_pass(job, saved, needed, grads))


_Gradients = list[torch.Tensor | None]
_SMALLEST_PEAK = 1e-4


def _second_pass(
    job: _Job, saved: Sequence[torch.Tensor], needed: Sequence[bool], grads: Sequence[torch.Tensor | None]
) -> _Gradients:
    """Return the gradients with respect to the saved tensors, computed at the size that suits the network's type."""
    factor = _factor(grads, job.manner.peak)
    if factor is None:
        return _computed_again(job, saved, needed, grads)
    while True:
        raised = [None if grad is None else grad * factor for grad in grads]
        found = _computed_again(job, saved, needed, raised)
        if all(grad is None or bool(grad.isfinite().all()) for grad in found) or _at_the_limit(job.manner):
            return [None if grad is None else grad / factor for grad in found]
        factor /= 16


def _factor(grads: Sequence[torch.Tensor | None], peak: float | None) -> float | None:
    """Return the power of two (it costs no digits) that brings gradients near the peak; None where there is none."""
    size = max((float(grad.abs().max()) for grad in grads if grad is not None and grad.numel()), default=0.0)
    return 2.0 ** math.floor(math.log2(peak / size)) if peak is not None and 0 < size < math.inf else None


def _at_the_limit(manner: Manner) -> bool:
    """Lower the peak, for all calls to come; tell whether it is as low as it may get."""
    manner.peak = (manner.peak or 0.0) / 16
    return manner.peak < _SMALLEST_PEAK


def _computed_again(
    job: _Job, saved: Sequence[torch.Tensor], needed: Sequence[bool], grads: Sequence[torch.Tensor | None]
) -> _Gradients:
    """Run the function as an ordinary graph, and back; raises RuntimeError where the gradients could be wrong."""
    with torch.enable_grad():
        inputs = [tensor.detach().requires_grad_(need) for tensor, need in zip(saved, needed, strict=True)]
        # Not leaves: the function may change its arguments in place.
        made = _tensors_of(job.run([tensor.clone() for tensor in inputs]), job)
        both = zip(made, grads, strict=True)
        pairs = [(out, grad) for out, grad in both if grad is not None and out.requires_grad]
        if job.lost and not pairs:
            raise GradientError(job.lost)
        found = iter(_gradients(pairs, [tensor for tensor, need in zip(inputs, needed, strict=True) if need]))
        return [next(found) if need else None for need in needed]


def _gradients(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], wanted: Sequence[torch.Tensor]) -> Any:
    if not pairs:
        return [None] * len(wanted)
    outs, grads = zip(*pairs, strict=True)
    return torch.autograd.grad(outs, wanted, grads, allow_unused=True)
