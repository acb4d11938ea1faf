"""Run one method of noise optimisation: screen starting noises, improve the best, watch the guards, keep the best.

Screen-then-optimise takes from CARINOX (amirkasaei/carinox) that several starts are tried, and spends forward passes
only on choosing them. Whatever ends the run, the best image so far is returned.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import Cancelled, MemoryExhausted, SelectionError
from . import noise as sphere
from .guards import Guards
from .making import looks_out_of_memory
from .memory import process_peak
from .method import Method
from .objective import Objective
from .run import Run
from .trace import NoiseSearch, Stopped, Update


def optimize_noise(
    method: Method,
    objective: Objective,
    noises: Tensor,
    *,
    iterations: int = 10,
    starts: int = 1,
    seconds: float | None = None,
    max_cost: float | None = None,
    target: float | None = None,
    guards: Guards | None = None,
    on_progress: Callable[[Update], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    keep_on_cancel: bool = False,
    is_out_of_memory: Callable[[BaseException], bool] = looks_out_of_memory,
    resume: Mapping[str, Any] | None = None,
    peak_memory: Callable[[], int | None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> NoiseSearch:
    """Return the best noise that `method` finds from `noises` [k, ...], the first of which is the person's own.

    With k > 1 all are tried without gradients, and the best `starts` of them are optimised one after another,
    `iterations` each. `seconds`, `max_cost` (in `Cost.equivalents`) and `target` (points of the main score) end the run
    earlier. `cancelled` is asked before every iteration: then, or when a callable raises Cancelled, the run ends in
    Cancelled, or with the best so far when `keep_on_cancel`. Memory that runs out after the first image ends the run
    with the best so far, too; before it, MemoryExhausted. `resume` takes the `state` of an earlier result of the same
    method, prompt and noises, and goes on to `iterations` in all. Raises ImageError when no starting noise gives a
    finite image, SelectionError on senseless arguments; other exceptions of the callables pass unchanged.
    """
    _check(noises, iterations, starts)
    run = Run(method, objective, noises.detach().float().cpu(), iterations, min(starts, len(noises)), guards, clock)
    run.limits, run.on_progress = (seconds, max_cost, target), on_progress
    run.peak = peak_memory or process_peak
    if resume is not None:
        run.restore(resume)
    stopped: Stopped | None = None
    while stopped is None:
        if cancelled is not None and cancelled():
            if not (keep_on_cancel and run.has_best):
                raise Cancelled("The noise optimisation was stopped; what was found before was reported as progress.")
            stopped = "cancelled"
            break
        try:
            stopped = run.advance()
        except Cancelled:  # noticed in the middle of an image
            if not (keep_on_cancel and run.has_best):
                raise
            stopped = "cancelled"
        except Exception as error:
            if not (isinstance(error, MemoryExhausted) or is_out_of_memory(error)):
                raise
            if not run.has_best:
                raise
            stopped = "memory"
    return run.result(stopped)


def _check(noises: Tensor, iterations: int, starts: int) -> None:
    if noises.ndim < 2 or len(noises) == 0 or not bool(torch.isfinite(noises).all()):
        raise SelectionError(f"The starting noise has shape {list(noises.shape)}; expected finite [k, ...] with k > 0.")
    if not bool((sphere.norms(noises.detach().float()) > 0).all()):
        raise SelectionError("A starting noise is zero everywhere, so it has no direction to turn from; use noise.")
    if iterations < 1 or starts < 1:
        raise SelectionError(f"iterations is {iterations} and starts is {starts}; both must be at least 1.")
