"""The last pass of an optimised noise: its picture is made whole, whatever the person presses meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...hpskit.errors import Cancelled, HpsError, NoiseError
from ..best_of_n.interruption import Interruption
from ..bridge import host
from ..first_pass import sampling

if TYPE_CHECKING:
    from ...hpskit.search.trace import NoiseSearch

BEFORE_HIRES = "the images are as they were before hires fix."
_PRESSES = 3
"""So often may Interrupt be pressed while the best image is made once more, before that is given up, too."""


@dataclass(frozen=True)
class Found:
    """The noise for one picture."""

    noise: Tensor
    """[1, C, h, w]"""
    raw: Tensor | None = None
    """What the sampler made of it, [1, ...]; None where it has to be sampled again."""
    search: NoiseSearch | None = None
    trouble: str = ""
    """What broke the search off before its time."""
    latents: Tensor | None = None
    """What the whole first pass made of it, where that is known."""


def sampled(p: Any, call: sampling.Call, place: int, one: Found, interruption: Interruption) -> Found:
    """Sample the noise of one picture; Interrupt and Skip are taken, and it is begun anew.

    Raises Cancelled when the person goes on pressing them.
    """
    seeds, subseeds = [call.seeds[place]], [call.subseeds[place]]
    for _ in range(_PRESSES):
        with sampling.host_mode(p):
            made = sampling.make(p, call.row(place), seeds, subseeds, one.noise)
        if not host.interrupted():
            return replace(one, raw=made.raw, latents=made.latents)
        interruption.take()
    raise Cancelled("The generation was stopped.")


def hand_over(p: Any, call: sampling.Call, found: list[Found], interruption: Interruption) -> tuple[Any, bool]:
    """Let the host go on from these noises; return what it makes of them, and whether hires fix was left out.

    What a sampler has made already is not sampled again. Stopped in its hires pass, the host gives the first pass.
    Raises NoiseError where the job was stopped and there is nothing whole to give.
    """
    noise, raw = torch.cat([one.noise for one in found]), _all(one.raw for one in found)
    seeds, subseeds, own = call.seeds[: len(found)], call.subseeds[: len(found)], p.rng
    hires, stopped = bool(getattr(p, "enable_hr", False)), interruption.held

    def go_on() -> Any:
        p.rng = own  # after a hires pass it is that one's, of another size
        sampling.arm(p, seeds, subseeds, noise)
        return sampling.finish(p, call, raw)

    if stopped and raw is None:  # with the flag up again the host would leave them half made
        latents = _all(one.latents for one in found)
        if latents is None:
            raise NoiseError(
                f"the sampler {p.sampler_name} gave something that is no latent, so the best image could not be made "
                "after the stop: choose another sampler, such as Euler, or let the job run to its end."
            )
        sampling.arm(p, seeds, subseeds, noise)
        return interruption.finish(lambda: latents, last=True), hires
    made = interruption.finish(go_on, last=True)
    if stopped or raw is None or not host.interrupted():
        return made, stopped and hires
    again = go_on if hires else lambda: made
    if interruption.take():
        return interruption.finish(again, last=True), hires
    with _no_hires_pass():  # skipped
        return again(), hires


@contextlib.contextmanager
def _no_hires_pass() -> Iterator[None]:
    from modules import shared

    shared.state.interrupted = True
    try:
        yield
    finally:
        shared.state.interrupted = False


def _all(rows: Any) -> Tensor | None:
    """Return the rows in one tensor; None when one of them is missing."""
    known = list(rows)
    return torch.cat(known) if known and all(isinstance(row, Tensor) for row in known) else None


# --- trouble ---


def words_of(error: Exception) -> str:
    """Return what an error says to a person, and what to do about it."""
    if host.is_out_of_memory(error):
        return "the memory ran out: make a smaller image, or take noise search, which needs no more than an image does."
    return str(error) if isinstance(error, HpsError) else f"{type(error).__name__}: {error}"


def trace_of(error: Exception) -> Exception | None:
    """Return the error whose traceback the log shows; None where its words say everything."""
    return None if isinstance(error, HpsError) or host.is_out_of_memory(error) else error
