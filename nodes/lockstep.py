"""Candidates that walk through an unmodified sampler side by side, one model call for all of them.

Each candidate runs the host's own sampler code with batch 1 and its own seed, in a thread that is only ever awake while
everybody else waits. When it asks for the model it is put to sleep; once all candidates sleep, their questions are
answered by one batched model call. No two threads run at the same time, the order is fixed, and every candidate has its
own state of the global random generators, so the noise a sampler draws is what the candidate's seed alone gives.

Needs torch only: the host is on the other side of `model`, a callable like ComfyUI's guider.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..hpskit.autodiff.randomstate import RandomState, preserved_random_state
from .cfg_hooks import merged, signature
from .guider_stand_in import GuiderStandIn

log = logging.getLogger("hps")
JOIN_SECONDS = 30.0
"""How long a stopped candidate may take to unwind before it is given up as a stuck daemon thread."""


class Stopped(BaseException):
    """Unwinds a candidate that is no longer wanted; a BaseException so that `except Exception` cannot swallow it."""


@dataclass(frozen=True)
class ModelCall:
    """A candidate asks for the denoised latent of `x` [b, ...] at noise level `sigma` [b]."""

    x: torch.Tensor
    sigma: torch.Tensor
    model_options: Mapping[str, Any]
    seed: int | None


@dataclass(frozen=True)
class StepReport:
    """A candidate's sampler called its callback after a step."""

    step: int
    x0: torch.Tensor
    x: torch.Tensor
    total: int


@dataclass
class Stats:
    """How much lockstep saved: `calls` of the model answered `evals` questions of single candidates."""

    calls: int = 0
    evals: int = 0


@contextlib.contextmanager
def _same_environment(inference: bool, grad: bool, device: torch.device, stream: Any) -> Iterator[None]:
    """Re-enter what torch keeps per thread: inference mode, grad mode, current device and stream."""
    with contextlib.ExitStack() as stack:
        if stream is not None:
            module = getattr(torch, device.type)
            stack.enter_context(module.device(device))
            stack.enter_context(module.stream(stream))
        stack.enter_context(torch.inference_mode(inference))
        stack.enter_context(torch.set_grad_enabled(grad))
        yield


def _current_stream(device: torch.device) -> Any:
    module = getattr(torch, device.type, None)
    usable = device.type != "cpu" and all(hasattr(module, name) for name in ("current_stream", "stream", "device"))
    return module.current_stream(device) if usable and module is not None else None


class Fiber:
    """A function in its own thread that runs only while its owner waits: a coroutine out of code not written as one.

    The owner calls `resume`, the function calls `ask`; whoever calls sleeps until the other side is done. Inference
    mode, grad mode, current device and stream, and context variables are those of the creator.
    """

    def __init__(self, body: Callable[[Fiber], Any], device: torch.device, name: str = "hps-candidate") -> None:
        self.device = device
        self.finished = False
        self.result: Any = None
        self._body = body
        self._stopping = False
        self._replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        settings = (torch.is_inference_mode_enabled(), torch.is_grad_enabled(), device, _current_stream(device))
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run, settings), name=name, daemon=True)

    def _run(self, settings: tuple[bool, bool, torch.device, Any]) -> None:
        try:
            with _same_environment(*settings):
                result = self._body(self)
            self._events.put(("done", result))
        except Stopped:
            self._events.put(("done", None))
        except BaseException as error:
            self._events.put(("error", error))

    def ask(self, request: Any) -> Any:
        """Inside the function: hand `request` to the owner and return its answer."""
        if self._stopping:
            raise Stopped
        self._events.put(("ask", request))
        reply = self._replies.get()
        if self._stopping:
            raise Stopped
        return reply

    def resume(self, reply: Any = None) -> Any:
        """Let the function run until its next request and return that; None once it has finished.

        An error of the function is raised here with its own traceback.
        """
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._replies.put(reply)
        kind, value = self._events.get()
        if kind == "ask":
            return value
        self.finished = True
        self._thread.join()
        if kind == "error":
            raise value
        self.result = value
        return None

    def stop(self) -> None:
        """Unwind the function wherever it sleeps and wait for its thread to end; harmless when it has ended."""
        self._stopping = True
        if self._thread.ident is None or self.finished:
            return
        self._replies.put(None)
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            log.warning(
                "A sampler thread did not stop in %.0f s; restart the host if memory stays in use", JOIN_SECONDS
            )


class GuiderProxy(GuiderStandIn):
    """What a candidate's sampler sees as its guider: model calls go to the owner, everything else to the real one."""

    def __init__(self, guider: Any, fiber: Fiber) -> None:
        super().__init__(guider, _fiber=fiber)

    def __call__(
        self, x: torch.Tensor, timestep: torch.Tensor, model_options: Any = None, seed: int | None = None
    ) -> Any:
        """Ask the owner for the denoised latent."""
        options = _NO_OPTIONS if model_options is None else model_options
        return self.__dict__["_fiber"].ask(ModelCall(x, timestep, options, seed))


_NO_OPTIONS: dict[str, Any] = {}


@dataclass
class Track:
    """One candidate on its way: its thread and its own random generators."""

    fiber: Fiber
    random: RandomState
    device: torch.device
    on_step: Callable[[StepReport], None] | None = None

    @contextlib.contextmanager
    def own_random_state(self) -> Iterator[None]:
        """Swap the candidate's generators in, and out again with what was drawn."""
        with preserved_random_state(self.device):
            self.random.restore(self.device)
            yield
            self.random = RandomState.capture(self.device)

    def advance(self, reply: Any) -> ModelCall | None:
        """Run until the next model call, passing step reports on; None when the sampler has returned."""
        with self.own_random_state():
            request = self.fiber.resume(reply)
            while isinstance(request, StepReport):
                if self.on_step is not None:
                    self.on_step(request)
                request = self.fiber.resume()
        return request


@dataclass(frozen=True)
class Lockstep:
    """Runs tracks against one model.

    `model(x, sigma, model_options=..., seed=...)` returns the denoised latents of a batch; `max_batch` bounds how many
    candidates share a call (1: each call is exactly the one a lone candidate would make).
    """

    model: Callable[..., torch.Tensor]
    max_batch: int = 1
    stats: Stats = field(default_factory=Stats)

    def run(self, tracks: Sequence[Track]) -> list[Any]:
        """Return what each track's function returns; on any error or interrupt no thread is left behind."""
        replies: dict[int, Any] = dict.fromkeys(range(len(tracks)))
        try:
            while replies:
                calls = {k: tracks[k].advance(replies.pop(k)) for k in list(replies)}
                replies = self._answer({k: call for k, call in calls.items() if call is not None}, tracks)
            return [track.fiber.result for track in tracks]
        finally:
            for track in tracks:
                track.fiber.stop()

    def _answer(self, calls: Mapping[int, ModelCall], tracks: Sequence[Track]) -> dict[int, torch.Tensor]:
        answers: dict[int, torch.Tensor] = {}
        for group in group_calls(calls, self.max_batch):
            members = [calls[k] for k in group]
            # A model that draws from the global generators does so from the first member's.
            with tracks[group[0]].own_random_state():
                out = self._call(members)
            self.stats.calls += 1
            self.stats.evals += len(group)
            answers.update(zip(group, out, strict=True))
        # In the order of the tracks, whatever the grouping was.
        return {k: answers[k] for k in calls}

    def _call(self, members: Sequence[ModelCall]) -> Sequence[torch.Tensor]:
        first = members[0]
        if len(members) == 1:
            return [self.model(first.x, first.sigma, model_options=first.model_options, seed=first.seed)]
        sizes = [len(call.x) for call in members]
        sigma = torch.cat([call.sigma.reshape(-1).expand(size) for call, size in zip(members, sizes, strict=True)])
        x = torch.cat([call.x for call in members])
        options = merged([call.model_options for call in members], sizes)
        return self.model(x, sigma, model_options=options, seed=first.seed).split(sizes)


def group_calls(calls: Mapping[int, ModelCall], max_batch: int) -> list[list[int]]:
    """Split calls into lists of at most `max_batch` that one model call can answer.

    Together go calls of the same noise level, shape and options (guidance hooks apart): a host decides by the first
    item's noise level which conditionings apply.
    """
    if not calls:
        return []
    # One transfer for all noise levels: each .tolist() would wait for the device.
    flat: list[float] = torch.cat([call.sigma.reshape(-1) for call in calls.values()]).tolist()
    ends = itertools.accumulate(call.sigma.numel() for call in calls.values())
    levels = [tuple(flat[end - call.sigma.numel() : end]) for call, end in zip(calls.values(), ends, strict=True)]
    groups: dict[Any, list[list[int]]] = {}
    for (k, call), level in zip(calls.items(), levels, strict=True):
        level = level[:1] if len(set(level)) == 1 else level
        key = (signature(call.model_options), level, tuple(call.x.shape[1:]), call.x.dtype)
        lists = groups.setdefault(key, [[]])
        if len(lists[-1]) >= max_batch:
            lists.append([])
        lists[-1].append(k)
    return [group for lists in groups.values() for group in lists]
