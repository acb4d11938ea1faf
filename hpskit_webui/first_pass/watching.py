"""What sits on the host's sampler during a first pass: it sees the result, ends the pass there, or gives it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

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

    def sit(self, p: Any) -> None:
        """Take place on the sampler that is about to run."""
        if self._seat is not None or p.sampler is None or getattr(p, "is_hr_pass", False):
            return
        self._seat = p.sampler
        for name in ("sample", "sample_img2img"):
            self._before[name] = vars(p.sampler).get(name, _ABSENT)
            setattr(p.sampler, name, self._around(p, getattr(p.sampler, name)))

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
        yield
    finally:
        watch.leave()
        setattr(p, WATCH, before)


def before_every_sampling(p: Any) -> None:
    """Is to be called by a job in the callback of that name."""
    watch = getattr(p, WATCH, None)
    if watch is not None:
        watch.sit(p)
