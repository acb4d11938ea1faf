"""What a noise optimisation needs of the host: its first pass as functions of the noise, and the methods by name."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...hpskit.errors import Cancelled, MemoryExhausted
from ..best_of_n import contest
from ..bridge import host
from ..first_pass import sampling
from .whole import trace_of

if TYPE_CHECKING:
    from ...hpskit.search.method import Method
    from ..options import Options

log = logging.getLogger("hps")
_MOST = 512
"""Results of the sampler that are remembered, so that the chosen one need not be sampled again."""


class Passes:
    """The host's first pass for one picture of a batch as functions of the noise: render, decode, pictures."""

    def __init__(self, p: Any, call: sampling.Call, seed: int, subseed: int, run: Any = None) -> None:
        self.p, self.call, self.seed, self.subseed, self.run = p, call, seed, subseed, run
        self._raws: dict[bytes, Tensor] = {}

    def render(self, noises: Tensor) -> Tensor:
        """Return the latents of noises [n, ...]; every one has the picture's own seed. Raises Cancelled."""
        made = self._gradient(noises) if self.run is not None else self._plain(noises)
        contest.next_job()
        return made

    def _gradient(self, noises: Tensor) -> Tensor:
        made: Tensor = self.run.render(noises)
        return made

    def _plain(self, noises: Tensor) -> Tensor:
        count = len(noises)
        with sampling.host_mode(self.p):
            made = sampling.make(self.p, self.call, [self.seed] * count, [self.subseed] * count, noises)
        if host.interrupted():
            raise Cancelled("The generation was stopped.")
        if made.raw is not None:
            for k in range(count):
                self._raws[_key(noises[k])] = made.raw[k : k + 1]
            for old in list(self._raws)[: max(0, len(self._raws) - _MOST)]:
                del self._raws[old]
        return made.latents.clone()  # an ordinary tensor, also out of Forge's inference mode

    def decode(self, latents: Tensor) -> Tensor:
        """Return the image that a gradient goes through, [1, 3, H, W] in 0..1."""
        image: Tensor = self.run.decode(latents)
        return image

    def pictures(self, place: int, latents: Tensor) -> Tensor:
        """Return pictures [n, 3, H, W] as the host will save them; NaN where they could not be decoded."""
        from ...hpskit.images import from_pil

        with sampling.host_mode(self.p):
            images = sampling.decode(self.p, latents.detach())
        rows = []
        for image in images:
            row = from_pil(sampling.finished(self.p, image.nan_to_num(), place))
            row = row if row.ndim == 3 else row[0]
            rows.append(row if bool(torch.isfinite(image).all()) else torch.full_like(row, math.nan))
        return torch.stack(rows)

    def raw(self, noise: Tensor) -> Tensor | None:
        """Return what the sampler made of a noise [1, ...], if it is still known."""
        return self._raws.get(_key(noise[0]))


def _key(noise: Tensor) -> bytes:
    plain = noise.detach().float().cpu().contiguous()
    return hashlib.blake2b(plain.numpy().tobytes(), digest_size=16).digest()


class Sturdy:
    """A method whose errors end the search, instead of costing what it has found so far."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self.trouble: Exception | None = None
        """What ended the search."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["method"], name)

    def step(self, objective: Any, last: bool) -> Any:
        """Make one iteration; raises Cancelled in place of what is neither a stop nor a lack of memory."""
        try:
            return self.method.step(objective, last)
        except (Cancelled, MemoryExhausted):
            raise
        except Exception as error:
            if host.is_out_of_memory(error):
                raise
            log.warning("An iteration of a noise optimisation failed.", exc_info=trace_of(error))
            self.trouble = error.with_traceback(None)  # its frames would hold what they have computed
        raise Cancelled("The search was ended by an error.")

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Raise the error itself where the search has found nothing yet."""
        try:
            yield
        except Cancelled:
            raise self.trouble or Cancelled("The generation was stopped.") from None


def _sphere(chosen: Options, seed: int, mask: Tensor | None) -> Method:
    from ...hpskit.search import SphereSearch

    return SphereSearch(chosen.population, seed, mask=mask)


def _subspace(chosen: Options, seed: int, mask: Tensor | None) -> Method:
    from ...hpskit.search import SubspaceSearch

    return SubspaceSearch(population=max(2, chosen.population), seed=seed, mask=mask)


def _zero_order(chosen: Options, seed: int, mask: Tensor | None) -> Method:
    from ...hpskit.search import ZeroOrder

    return ZeroOrder(chosen.population, seed, mask=mask)


def _geodesic(chosen: Options, seed: int, mask: Tensor | None) -> Method:
    from ...hpskit.search import Geodesic

    return Geodesic(max_angle=math.radians(chosen.max_drift) if chosen.max_drift > 0 else None)


def _reno(chosen: Options, seed: int, mask: Tensor | None) -> Method:
    from ...hpskit.search import Reno

    return Reno(max_angle=math.radians(chosen.max_drift) if chosen.max_drift > 0 else None)


METHODS: dict[str, Callable[[Options, int, Tensor | None], Method]] = {
    "sphere search": _sphere,
    "subspace search": _subspace,
    "zero-order search": _zero_order,
    "geodesic": _geodesic,
    "reno": _reno,
}
