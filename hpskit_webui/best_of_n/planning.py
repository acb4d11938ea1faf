"""How fan-out asks the host for candidates: changes of the job's fields, and everything put back afterwards."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...hpskit.errors import SelectionError
from ..options import Options
from . import closing, early
from .gallery import HIRES_LISTS, LISTS, Group
from .grids import COMPOSITE, MASK
from .pools import Candidate, Layout, Pool, divisor

log = logging.getLogger("hps")

_TOUCHED = (
    "n_iter", "batch_size", "do_not_save_samples", "do_not_save_grid", "prompt", "negative_prompt", "hr_prompt",
    "hr_negative_prompt", "seed", "subseed", "init_images", "override_settings",
)  # fmt: skip
_PROMPTS = ("prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt")
_BEFORE, _OWNER = "_hps_before", "_hps_owner"
_scaled: list[float | None] = [None]
"""When the host's run began whose number of batches has been scaled already (cells of a plot are one run)."""


# --- asking and giving back -------------------------------------------------------------------------------------------


def chosen_already(p: Any) -> bool:
    """Tell whether the job only finishes a picture that a person has chosen (the button for hires fix of one image)."""
    return bool(getattr(p, "txt2img_upscale", False)) or getattr(p, "firstpass_image", None) is not None


def ask(p: Any, options: Options) -> tuple[Layout, list[str]]:
    """Ask for all candidates of all pools; return their layout, and what the person should know.

    Raises SelectionError, with the job as it was, where lists of prompts, seeds or input images do not fit.
    """
    own = {name: getattr(p, name) for name in _TOUCHED if hasattr(p, name)}
    try:
        pools = _pools(p, options.candidates, options.candidates)
        p.seed = _spread(p.seed, pools, options.candidates, 1 if p.subseed_strength == 0 else 0)
        p.subseed = _spread(p.subseed, pools, options.candidates, 1)
        batch = divisor(options.candidates, p.batch_size)
        layout = Layout(pools, options.candidates, options.keep, batch)
        _one_input(p)
    except Exception:
        for name, value in own.items():
            setattr(p, name, value)
        raise
    setattr(p, _BEFORE, {**own, _OWNER: id(p)})
    _scale_jobs(p.n_iter, layout.batches)
    notes = []
    if batch < min(p.batch_size, options.candidates):
        notes.append(f"batches of {batch} instead of {p.batch_size}, so that {options.candidates} candidates divide.")
    p.n_iter, p.batch_size = layout.batches, batch
    p.do_not_save_samples = p.do_not_save_grid = True
    return layout, notes


@dataclass(frozen=True)
class Results:
    """How many pools a job of results only has, and the seeds of all candidates where they were given as a list."""

    pools: int
    seeds: list[int] | None
    subseeds: list[int] | None


def ask_results(p: Any, options: Options) -> Results:
    """Ask for the results of all pools alone, whose candidates are made in another way; raises as `ask`."""
    own = {name: getattr(p, name) for name in _TOUCHED if hasattr(p, name)}
    try:
        _one_input(p)
        step = 1 if p.subseed_strength == 0 else 0
        pools = _pools(p, options.keep, options.candidates)
        given = [_spread(p.seed, pools, options.candidates, step), _spread(p.subseed, pools, options.candidates, 1)]
    except Exception:
        for name, value in own.items():
            setattr(p, name, value)
        raise
    setattr(p, _BEFORE, {**own, _OWNER: id(p)})
    lists = [list(values) if isinstance(values, list) else None for values in given]
    batch = divisor(options.keep, p.batch_size)
    _scale_jobs(p.n_iter, pools * options.keep // batch)
    p.n_iter, p.batch_size = pools * options.keep // batch, batch
    for name, values in zip(("seed", "subseed"), lists, strict=True):
        if values is not None:
            rows = range(0, len(values), options.candidates)
            setattr(p, name, [values[row + k] for row in rows for k in range(options.keep)])
    return Results(pools, *lists)


def before(p: Any, name: str, otherwise: Any) -> Any:
    """Return a field of the job as the person has set it."""
    return (getattr(p, _BEFORE, None) or {}).get(name, otherwise)


def give_back(p: Any) -> None:
    """Put everything back that was changed for the candidates; does nothing when nothing was.

    A copy that another extension has made of such a job, for a part of its picture, has its own fields and keeps them.
    """
    known = getattr(p, _BEFORE, None) or {}
    if known.get(_OWNER) == id(p):
        for name, value in known.items():
            if name != _OWNER:
                setattr(p, name, value)
    setattr(p, _BEFORE, None)
    closing.forget(p)
    early.let_go(p)


def as_usual(p: Any) -> None:
    """Let the host save what it makes from now on; numbers of images stay as they are until the job is given back."""
    for name in ("do_not_save_samples", "do_not_save_grid"):
        setattr(p, name, before(p, name, False))
    early.let_go(p)


def counted_otherwise(p: Any, count: int) -> str:
    """Return what is said when another extension has asked for another number of images than `count`; "" if not."""
    asked = {len(p.all_prompts), len(p.all_seeds), p.n_iter * p.batch_size} - {count}
    if not asked:
        return ""
    return f"no best of N: another extension asked for {max(asked)} images, not {count}. They were made as usual."


def would_save(p: Any) -> bool:
    """Tell whether the host would write the picture in work to disk, had it not been told otherwise by us."""
    now, p.do_not_save_samples = p.do_not_save_samples, before(p, "do_not_save_samples", True)
    try:
        return bool(p.save_samples())
    finally:
        p.do_not_save_samples = now


def _pools(p: Any, pictures: int, candidates: int) -> int:
    """Return the number of pools, and repeat every entry of given lists of prompts for the `pictures` of its pool."""
    lists = {name: getattr(p, name) for name in _PROMPTS if isinstance(getattr(p, name, None), list)}
    lengths = {len(values) for values in lists.values()}
    if len(lengths) > 1:
        raise SelectionError("The lists of prompts have different lengths; best of N needs one prompt for each pool.")
    pools = min(lengths.pop(), p.n_iter * p.batch_size) if lengths else p.n_iter
    for name, values in lists.items():
        setattr(p, name, [value for value in values[:pools] for _ in range(pictures)])
    return pools


def _spread(given: Any, pools: int, candidates: int, step: int) -> Any:
    """Return seeds for all candidates out of a list with one for each pool; a single seed is left to the host."""
    if not isinstance(given, list) or len(given) == pools * candidates:
        return given
    if len(given) < pools:
        raise SelectionError(
            f"{len(given)} seeds were given for {pools} pools of {candidates} candidates; give one seed, one for each "
            f"pool, or {pools * candidates}."
        )
    return [int(seed) + step * k for seed in given[:pools] for k in range(candidates)]


def _one_input(p: Any) -> None:
    images = getattr(p, "init_images", None)
    if images and len(images) > 1:
        if any(image is not images[0] for image in images):
            raise SelectionError("The batch has several input images; best of N works on one. It was made as usual.")
        p.init_images = images[:1]


def _scale_jobs(before: int, now: int) -> None:
    """Keep the host's progress bar true where a script has counted the batches in advance."""
    from modules import shared

    state = shared.state
    begun = getattr(state, "time_start", None)
    if state.job_count > 0 and _scaled[0] != begun:
        state.job_count = max(1, round(state.job_count * now / max(before, 1)))
    _scaled[0] = begun


# --- batches ----------------------------------------------------------------------------------------------------------


@dataclass
class Plan:
    """The prompts and seeds of all candidates, as the host and all extensions have laid them out."""

    lists: Mapping[str, list[Any]]

    @classmethod
    def of(cls, p: Any) -> Plan:
        """Take the job's lists over, and give the job copies that can be written to."""
        names = [name for name in (*LISTS, *HIRES_LISTS) if isinstance(getattr(p, name, None), list)]
        plan = cls({name: list(getattr(p, name)) for name in names})
        for name, values in plan.lists.items():
            setattr(p, name, list(values))
        return plan

    def put(self, p: Any, numbers: Sequence[int], first: int) -> None:
        """Make these candidates the ones of the batch in work; `first` is the one whose prompt the pool has."""
        start = p.iteration * p.batch_size
        for name, values in self.lists.items():
            row = self._row(name, values, numbers, first)
            getattr(p, name)[start : start + len(row)] = row
        stop = start + len(numbers)
        # In place: other extensions hold the very lists.
        p.prompts[:] = p.all_prompts[start:stop]
        p.negative_prompts[:] = p.all_negative_prompts[start:stop]
        seeds, subseeds = p.all_seeds[start:stop], p.all_subseeds[start:stop]
        if list(p.seeds) != seeds or list(p.subseeds) != subseeds:
            p.seeds[:], p.subseeds[:] = seeds, subseeds
            p.rng = _rng(p)

    @staticmethod
    def _row(name: str, values: Sequence[Any], numbers: Sequence[int], first: int) -> list[Any]:
        if name in ("all_seeds", "all_subseeds"):
            return [values[number] for number in numbers]
        return [values[first]] * len(numbers) if first < len(values) else []


def _rng(p: Any) -> Any:
    return type(p.rng)(
        p.rng.shape,
        p.seeds,
        subseeds=p.subseeds,
        subseed_strength=p.subseed_strength,
        seed_resize_from_h=p.seed_resize_from_h,
        seed_resize_from_w=p.seed_resize_from_w,
    )


def stop(p: Any) -> bool:
    """Let the host make no further batch; return whether that is our doing, and to be undone in the end."""
    from modules import shared

    state = shared.state
    left = p.n_iter - p.iteration - 1
    if left <= 0 or state.stopping_generation:
        return False
    passes = 2 if getattr(p, "enable_hr", False) else 1
    if state.job_count > 0:
        state.job_count = max(1, state.job_count - left * passes)
    state.stopping_generation = True
    return True


def end(stopping: bool) -> None:
    """Leave the host's state as a job does that was not stopped by us."""
    from modules import shared

    if stopping:
        shared.state.stopping_generation = False
    shared.state.textinfo = None


# --- what the person sees meanwhile -----------------------------------------------------------------------------------


def show_progress(pool: Pool, pools: int, best: Candidate | None) -> None:
    """Say under the progress bar which candidate is in work."""
    from modules import shared

    of = f"pool {pool.number + 1} of {pools}, " if pools > 1 else ""
    text = f"{of}candidate {min(pool.seen + 1, pool.size)} of {pool.size}"
    if best is not None and best.judged.known:
        text += f", best {best.judged.main:.2f} (seed {best.seed})"
    shared.state.textinfo = text


def show_picture(picture: Any) -> None:
    """Show a picture as the live preview, where there are live previews."""
    from modules import shared

    if getattr(shared.opts, "live_previews_enable", False):
        shared.state.assign_current_image(picture)


# --- masks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Masks:
    """The pictures that the host makes of a mask beside every inpainted picture."""

    shown: tuple[int, ...] = ()
    """Which of those that come back the person wants to see."""
    saved: tuple[tuple[str, int | None], ...] = ()
    """Suffix of a file, and which of those that come back it is; None where the mask itself has to be taken."""
    count: int = 0
    """How many come back behind every picture."""

    @classmethod
    def of(cls, p: Any) -> Masks:
        """Read the host's options; a composite that is only to be saved is asked back, or it would be gone."""
        if getattr(p, "image_mask", None) is None:
            return cls()
        mask, composite = _option(p, "return_mask"), _option(p, "return_mask_composite")
        wanted = _option(p, "save_mask_composite")
        if wanted and not composite:
            p.override_settings = {**p.override_settings, "return_mask_composite": True}
        last = int(mask)
        saved: list[tuple[str, int | None]] = []
        if _option(p, "save_mask"):
            saved.append((MASK, 0 if mask else None))
        if wanted:
            saved.append((COMPOSITE, last))
        shown = [*([0] if mask else []), *([last] if composite else [])]
        return cls(tuple(shown), tuple(saved), last + int(composite or wanted))

    def files(self, p: Any, group: Group) -> list[tuple[str, Any]]:
        """Return suffix and picture of the masks to save with a picture."""
        mask = getattr(p, "mask_for_overlay", None)
        found = []
        for suffix, place in self.saved:
            if place is None and mask is not None:
                found.append((suffix, mask.convert("RGB")))
            elif place is not None and place < len(group.masks):
                found.append((suffix, group.masks[place]))
        return found


def _option(p: Any, name: str) -> bool:
    from modules import shared

    return bool(p.override_settings.get(name, getattr(shared.opts, name, False)))
