"""What sits on the host's sampler during a first pass: it sees the result, ends the pass there, or gives it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..bridge import older

WATCH = "_hps_watch"
_ABSENT = object()


class Watch:
    """Sits on the sampler of a first pass: sees what it makes, ends the pass there, or gives what there is already."""

    def __init__(self, only_first: bool = False, replay: Tensor | None = None) -> None:
        self.only_first, self.replay = only_first, replay
        self.raw: Tensor | None = None
        self.drew = False
        """Whether the sampler drew from torch's common random numbers."""
        self._seat: Any = None
        self._before: dict[str, Any] = {}

    def sit(self, p: Any, sampler: Any = None) -> None:
        """Take place on the sampler that is about to run: the job's, unless another one is given."""
        sampler = p.sampler if sampler is None else sampler
        if self._seat is not None or sampler is None or getattr(p, "is_hr_pass", False):
            return
        self._seat = sampler
        for name in ("sample", "sample_img2img"):
            self._before[name] = vars(sampler).get(name, _ABSENT)
            setattr(sampler, name, self._around(p, getattr(sampler, name)))

    def leave(self) -> None:
        """Give the sampler its own methods back."""
        for name, method in self._before.items():
            if method is _ABSENT:
                delattr(self._seat, name)
            else:
                setattr(self._seat, name, method)
        self._seat, self._before = None, {}

    def _around(self, p: Any, method: Callable[..., Any]) -> Callable[..., Any]:
        def sample(owner: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self.replay is not None:
                return self.replay.to(x.device, copy=True)
            device = x.device
            before = _random_state(device) if len(x) > 1 else None
            made = method(owner, x, *args, **kwargs)
            if before is not None:
                self.drew = not all(torch.equal(a, b) for a, b in zip(before, _random_state(device), strict=True))
            if isinstance(made, Tensor):
                self.raw = made.detach().to("cpu", copy=True)
            if self.only_first:
                # Only now: a refiner and other extensions ask on the way whether a hires pass will follow.
                p.enable_hr = False
            return made

        return sample


def _random_state(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


@contextlib.contextmanager
def watching(p: Any, watch: Watch) -> Iterator[None]:
    """Have `before_every_sampling` put the watch on the sampler of this pass."""
    before = getattr(p, WATCH, None)
    setattr(p, WATCH, watch)
    try:
        with contextlib.nullcontext() if older.tells_before_sampling() else _seated_when_made(p, watch):
            yield
    finally:
        watch.leave()
        setattr(p, WATCH, before)


@contextlib.contextmanager
def _seated_when_made(p: Any, watch: Watch) -> Iterator[None]:
    """Put the watch on the sampler when the host makes it: older hosts have no callback before it runs."""
    from modules import sd_samplers

    if getattr(p, "init_latent", None) is not None:  # img2img has one sampler for the whole job
        watch.sit(p)
    make = sd_samplers.create_sampler

    @functools.wraps(make)
    def create_sampler(*args: Any, **kwargs: Any) -> Any:
        sampler = make(*args, **kwargs)
        watch.sit(p, sampler)
        return sampler

    sd_samplers.create_sampler = create_sampler
    try:
        yield
    finally:
        sd_samplers.create_sampler = make


def before_every_sampling(p: Any) -> None:
    """Is to be called by a job in the callback of that name."""
    watch = getattr(p, WATCH, None)
    if watch is not None:
        watch.sit(p)
