"""The host's own sampling, run again inside one batch: for candidates from other seeds, and for noises from elsewhere.

A pass goes through what `p.sample` was before, so that wrappers of other extensions, ControlNet and whatever listens to
process_before_every_sampling take part in every pass. A pass ends before hires fix although the job has it on, and what
a sampler has made once can be handed to the host in a later pass instead of being sampled again.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ...hpskit.errors import HpsError, NoiseError
from ..bridge import host
from . import latents
from .watching import Watch, before_every_sampling, watching

decode, finished = latents.decode, latents.finished

__all__ = [
    "Call", "FixedNoise", "Made", "arm", "before_every_sampling", "decode", "finish", "finished", "first_pass",
    "host_mode", "make", "noise_of", "random_numbers", "take_over", "taken",
]  # fmt: skip

ALONE, MODE = "_hps_alone", "_hps_inference"
_CHANGED = (
    "seeds", "subseeds", "prompts", "negative_prompts", "all_seeds", "all_subseeds", "all_prompts",
    "all_negative_prompts", "rng", "batch_size", "c", "uc", "hr_c", "hr_uc", "init_latent", "image_conditioning",
    "extra_generation_params", "sampler", "enable_hr", "modified_noise", "is_hr_pass",
)  # fmt: skip
"""What a pass changes about the processing object, by us or by the host."""
_GROWN = ("latents_after_sampling", "pixels_after_sampling", "extra_result_images")
"""Lists of Forge with an entry for every picture that is made; a candidate is none."""
_ABSENT = object()


@dataclass
class Call:
    """The arguments of p.sample for one batch, and what p.sample was."""

    conditioning: Any
    unconditional: Any
    seeds: list[int]
    subseeds: list[int]
    strength: float
    prompts: list[str]
    inner: Callable[..., Any] | None = None
    """What makes latents of these arguments; None is the method of the class."""
    rows: tuple[int, ...] | None = None
    """Which pictures of the batch are meant; None for all."""
    said: dict[str, Any] = field(default_factory=dict)
    """What the host's sampler has put into the infotext in passes so far; the same dict for all calls of a batch."""

    def row(self, place: int) -> Call:
        """Return the call for one picture of the batch."""
        return replace(self, rows=(place,))

    @property
    def places(self) -> tuple[int, ...]:
        """Places of the pictures in the batch."""
        return tuple(range(len(self.prompts))) if self.rows is None else self.rows


class FixedNoise:
    """Stands for p.rng: the first `next` gives a given noise [n, ...], later ones what the seeds would have given.

    The seeds' own first noise is drawn all the same: it leaves the generators, also torch's common one, where the host
    would have left them.
    """

    def __init__(self, rng: Any, noise: Tensor) -> None:
        self._own, self._noise = rng, noise

    def next(self) -> Tensor:
        """Return the next noise; raises NoiseError when the given one has another shape."""
        made: Tensor = self._own.next()
        if self._noise is None:
            return made
        noise, self._noise = self._noise, None
        if noise.shape != made.shape:
            raise NoiseError(f"The noise has the shape {list(noise.shape)}; this pass needs {list(made.shape)}.")
        return noise.to(device=made.device, dtype=made.dtype, copy=True)  # img2img multiplies it in place

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_own"], name)


def random_numbers(p: Any, seeds: Sequence[int], subseeds: Sequence[int]) -> Any:
    """Return what the host would draw the noise of these seeds from, in the size of this batch's first pass."""
    from modules import rng

    resized = {name: getattr(p, name) for name in ("seed_resize_from_h", "seed_resize_from_w")}
    strength = {"subseeds": list(subseeds), "subseed_strength": p.subseed_strength}
    return rng.ImageRNG(p.rng.shape, list(seeds), **strength, **resized)


def noise_of(p: Any, seeds: Sequence[int], subseeds: Sequence[int]) -> Tensor:
    """Return the starting noises [n, ...] of seeds, float32 on the CPU."""
    drawn = random_numbers(p, seeds, subseeds).next()
    with torch.inference_mode(False):
        return drawn.detach().to("cpu", torch.float32, copy=True)  # type: ignore[no-any-return]


def arm(p: Any, seeds: Sequence[int], subseeds: Sequence[int], noise: Tensor | None = None) -> None:
    """Make these the seeds of the batch in work, everywhere where the host looks for them, and begin with `noise`."""
    p.seeds[:], p.subseeds[:] = list(seeds), list(subseeds)
    first = p.iteration * p.batch_size
    place = slice(first, first + len(seeds))
    p.all_seeds, p.all_subseeds = list(p.all_seeds), list(p.all_subseeds)  # a list of the person's is not ours
    p.all_seeds[place], p.all_subseeds[place] = list(seeds), list(subseeds)
    own = random_numbers(p, seeds, subseeds)
    p.rng = own if noise is None else FixedNoise(own, noise)


@dataclass
class Made:
    """What one pass has made."""

    latents: Tensor
    """[n, ...] as p.sample gives them, on the host's device."""
    raw: Tensor | None
    """As the sampler gave them, before a mask was blended in; on the CPU."""


def first_pass(
    p: Any, call: Call, seeds: Sequence[int], subseeds: Sequence[int], noise: Tensor | None = None
) -> Tensor:
    """Return the latents [n, ...] that the host makes of these seeds without hires fix; nothing of `p` is changed.

    `noise` [n, ...] takes the place of the seeds' first noise. Torch's modes are those of the caller: with gradients
    enabled the graph is kept. A latent of an interrupted pass is half made; the caller asks for that.
    """
    return make(p, call, seeds, subseeds, noise).latents


def make(p: Any, call: Call, seeds: Sequence[int], subseeds: Sequence[int], noise: Tensor | None = None) -> Made:
    """Do `first_pass`, and return the sampler's own result with it."""
    count = len(seeds)
    if count > 1 and getattr(p, ALONE, False):
        return _one_by_one(p, call, seeds, subseeds, noise)
    watch = Watch(only_first=True)
    with _armed(p, call, seeds, subseeds, noise), watching(p, watch):
        base_model(p)
        made = _sample(p, call, _rows(call, count))
    if getattr(made, "already_decoded", False) or len(made) != count:
        raise HpsError("The first pass could not be told from hires fix; judge the finished images instead.")
    if count > 1 and watch.drew:
        # Such a sampler draws for the whole batch at once, and a candidate would not come again from its seed alone.
        setattr(p, ALONE, True)
        return _one_by_one(p, call, seeds, subseeds, noise)
    return Made(made, watch.raw)


def _one_by_one(p: Any, call: Call, seeds: Sequence[int], subseeds: Sequence[int], noise: Tensor | None) -> Made:
    parts = []
    for k in range(len(seeds)):
        own = replace(call, rows=(call.places[k % len(call.places)],))
        part = None if noise is None else noise[k : k + 1]
        parts.append(make(p, own, seeds[k : k + 1], subseeds[k : k + 1], part))
    raws = [part.raw for part in parts if part.raw is not None]
    return Made(torch.cat([part.latents for part in parts]), torch.cat(raws) if len(raws) == len(parts) else None)


def finish(p: Any, call: Call, raw: Tensor | None = None) -> Any:
    """Let the host go on with the batch as it is armed; with `raw` [n, ...] its first pass is not sampled again."""
    p.extra_generation_params.update(call.said)
    if getattr(p, "enable_hr", False):
        host.step_aside()
    rows = tuple(call.places[k % len(call.places)] for k in range(len(p.seeds)))
    own = replace(call, rows=rows, prompts=[call.prompts[row] for row in rows])
    with _started(p, rows, p.seeds), watching(p, Watch(replay=raw)):
        if raw is None:
            base_model(p)
        return _sample(p, own, rows)


def _sample(p: Any, call: Call, rows: Sequence[int]) -> Any:
    inner = call.inner or type(p).sample.__get__(p)
    return inner(
        conditioning=taken(call.conditioning, rows),
        unconditional_conditioning=taken(call.unconditional, rows),
        seeds=p.seeds,
        subseeds=p.subseeds,
        subseed_strength=call.strength,
        prompts=p.prompts,
    )


def _rows(call: Call, count: int) -> tuple[int, ...]:
    return tuple(call.places[k % len(call.places)] for k in range(count))


def taken(conditioning: Any, rows: Sequence[int]) -> Any:
    """Return the conditionings of these pictures of a batch, in the host's own forms."""
    if conditioning is None:  # Forge without guidance
        return None
    if hasattr(conditioning, "batch"):
        chosen = copy.copy(conditioning)
        chosen.batch, chosen.shape = [conditioning.batch[row] for row in rows], (len(rows),)
        return chosen
    if isinstance(conditioning, dict):
        chosen = copy.copy(conditioning)
        chosen.update({name: taken(value, rows) for name, value in conditioning.items()})
        return chosen
    if isinstance(conditioning, Tensor):
        return conditioning[list(rows)]
    return [conditioning[row] for row in rows]


# --- the processing object during a pass ------------------------------------------------------------------------------


@contextlib.contextmanager
def _armed(p: Any, call: Call, seeds: Sequence[int], subseeds: Sequence[int], noise: Tensor | None) -> Iterator[None]:
    """Give `p` the chunk for a pass, and put everything back."""
    before = {name: vars(p).get(name, _ABSENT) for name in _CHANGED}
    lengths = {name: len(grown) for name in _GROWN if isinstance(grown := getattr(p, name, None), list)}
    rows, again = _rows(call, len(seeds)), p.iteration + 1
    own = random_numbers(p, seeds, subseeds)
    raw_prompts = _column(p, "all_prompts", rows, call.prompts)
    raw_negatives = _column(p, "all_negative_prompts", rows, p.negative_prompts)
    try:
        p.extra_generation_params = dict(p.extra_generation_params)
        p.prompts, p.negative_prompts = [call.prompts[r] for r in rows], [p.negative_prompts[r] for r in rows]
        p.batch_size, p.seeds, p.subseeds = len(seeds), list(seeds), list(subseeds)
        # Samplers look for their seeds at iteration * batch size in the job's lists.
        p.all_seeds, p.all_subseeds = list(seeds) * again, list(subseeds) * again
        p.all_prompts, p.all_negative_prompts = raw_prompts * again, raw_negatives * again
        p.rng = own if noise is None else FixedNoise(own, noise)
        with _started(p, rows, seeds):
            yield
        known = before["extra_generation_params"]
        call.said.update({k: v for k, v in p.extra_generation_params.items() if known.get(k, _ABSENT) is not v})
    finally:
        for name, value in before.items():
            if value is not _ABSENT:
                setattr(p, name, value)
            elif name in vars(p):
                delattr(p, name)
        for name, length in lengths.items():
            del getattr(p, name)[length:]


def _column(p: Any, name: str, rows: Sequence[int], otherwise: Sequence[str]) -> list[str]:
    whole, first = getattr(p, name), p.iteration * p.batch_size
    return [whole[first + r] if first + r < len(whole) else otherwise[r] for r in rows]


@contextlib.contextmanager
def _started(p: Any, rows: Sequence[int], seeds: Sequence[int]) -> Iterator[None]:
    """Give an img2img pass the pictures of these rows to start from."""
    latent, condition = getattr(p, "init_latent", None), getattr(p, "image_conditioning", None)
    if latent is None:
        yield
        return
    if len(getattr(p, "init_images", None) or ()) == 1:
        rows = [0] * len(rows)  # the encoder draws for every row; a picture made alone has what the first one has
    try:
        p.init_latent = latents.start(p, [r % len(latent) for r in rows], seeds)
        if isinstance(condition, Tensor):
            p.image_conditioning = condition[[r % len(condition) for r in rows]]
        yield
    finally:
        p.init_latent, p.image_conditioning = latent, condition


def base_model(p: Any) -> None:
    """Load the job's own checkpoint again where the refiner of an earlier pass has replaced it."""
    from modules import extra_networks, sd_models

    refiner = getattr(p, "refiner_checkpoint_info", None)
    if refiner is None or getattr(p.sd_model, "sd_checkpoint_info", None) != refiner:
        return
    if not hasattr(p.sd_model, "forge_objects"):
        sd_models.reload_model_weights()
        return
    sd_models.forge_model_reload()
    p.sd_model.forge_objects = p.sd_model.forge_objects_original.shallow_copy()
    if not p.disable_extra_networks:
        extra_networks.activate(p, p.extra_network_data)
    p.sd_model.forge_objects = p.sd_model.forge_objects_after_applying_lora.shallow_copy()


# --- p.sample ---------------------------------------------------------------------------------------------------------


def take_over(p: Any, work: Callable[[Call], Any]) -> None:
    """Have the next call of p.sample do `work`; wrappers of other extensions, older or younger ones, stay in place."""
    inner, own, spent = p.sample, "sample" in vars(p), []

    def sample(
        conditioning: Any,
        unconditional_conditioning: Any,
        seeds: Any,
        subseeds: Any,
        subseed_strength: Any,
        prompts: Any,
    ) -> Any:
        if vars(p).get("sample") is sample:
            if own:
                p.sample = inner
            else:
                del p.sample
        given = (conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts)
        if spent:  # held by a younger wrapper: this call is of a later batch, or of a pass within this one
            return inner(**dict(zip(_ARGUMENTS, given, strict=True)))
        spent.append(True)
        setattr(p, MODE, torch.is_inference_mode_enabled())
        latents.note_seeds(p)
        return work(Call(*given[:2], list(seeds), list(subseeds), subseed_strength, list(prompts), inner))

    p.sample = sample


_ARGUMENTS = ("conditioning", "unconditional_conditioning", "seeds", "subseeds", "subseed_strength", "prompts")


@contextlib.contextmanager
def host_mode(p: Any) -> Iterator[None]:
    """Be in the mode in which the host calls p.sample: without gradients, in Forge in inference mode."""
    with torch.inference_mode(getattr(p, MODE, torch.is_inference_mode_enabled())), torch.no_grad():
        yield
