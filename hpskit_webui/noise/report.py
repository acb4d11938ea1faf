"""What a noise optimisation tells: progress, lines under the gallery, fields of the infotext, its file's record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ...hpskit import __version__
from ...hpskit.search.noise_file import NoiseRecord
from .. import infotext
from ..options import GRADIENT

if TYPE_CHECKING:
    from ...hpskit.search.trace import NoiseSearch, Update
    from ..options import Options

METHOD, ITERATIONS, START, NOISE = "HPS method", "HPS iterations", "HPS start score", "HPS noise"


def method_of(options: Options) -> str:
    """Return the name of the chosen method."""
    return options.gradient_method if options.mode == GRADIENT else options.method


Told = Callable[[int], "str | None"]
"""What the infotext says of a picture, by its number."""


def fields(options: Options, start: Told, iterations: Told, noise: Told) -> dict[str, Any]:
    """Return the fields of the infotext; `iterations` are those that were made.

    One whose noise was not searched names no method: it is a plain picture of its seed.
    """

    method = method_of(options)
    return {
        METHOD: infotext.per_picture(lambda number: method if start(number) is not None else None),
        ITERATIONS: infotext.per_picture(iterations),
        START: infotext.per_picture(start),
        NOISE: infotext.per_picture(noise),
    }


def progress(update: Update, place: int, count: int, main: str, first: float) -> str:
    """Return what stands under the progress bar."""
    which = f"image {place + 1} of {count}, " if count > 1 else ""
    point = update.point
    what = f"seed {point.iteration} tried" if point.phase == "screen" else f"iteration {point.iteration}"
    return f"{which}{what}, score {first:.3f} -> {point.best_scores.get(main, math.nan):.3f}"


def made_of(found: NoiseSearch) -> int:
    """Return how many iterations were made."""
    return sum(point.phase == "optimize" for point in found.curve)


def line(found: NoiseSearch, options: Options, main: str, seed: int, trouble: str = "", prepared: float = 0) -> str:
    """Return the line under the gallery about one picture.

    `trouble` is the error that ended its search, if any; `prepared` are the seconds before the search.
    """
    before, after = found.start.scores.get(main, math.nan), found.chosen.scores.get(main, math.nan)
    images = found.curve[-1].images if found.curve else 0
    turned = f", noise turned by {math.degrees(found.angle_to_start):.0f} degrees" if after != before else ""
    held = _held_out(found)
    apart = f" ({f'{prepared:.0f} s of preparation and ' if prepared >= 0.5 else ''}the final image not counted)"
    reason = found.reason[0].lower() + found.reason[1:]
    if found.stopped == "memory":  # the words of other doors name settings that are not here
        instead = ", or take noise search, which needs no more than an image does" if options.mode == GRADIENT else ""
        reason = f"the memory ran out, and the best image so far was kept: make a smaller image{instead}."
    if trouble:
        reason = f"ended by an error, the best image so far was kept: {trouble}"
    return (
        f"seed {seed}: score {before:.3f}{_screened(found, main, before)} -> {after:.3f} by {method_of(options)}, "
        f"{images} image{'s' * (images != 1)} in {found.seconds:.0f} s of search{apart}{turned}{held}; {reason}"
    )


def _screened(found: NoiseSearch, main: str, before: float) -> str:
    """Say what the best of the tried seeds had already, so that the search is not credited with it."""
    tried = [point for point in found.curve if point.phase == "screen"]
    best = tried[-1].best_scores.get(main, math.nan) if tried else math.nan
    return f" (best of {len(tried)} seeds {best:.3f})" if best > before else ""


def _held_out(found: NoiseSearch) -> str:
    before, after = found.held_out.get("start"), found.held_out.get("chosen")
    return "" if before is None or after is None else f", held out {before:.3f} -> {after:.3f}"


def record(found: NoiseSearch, p: Any, seed: int, prompt: str, info: Any) -> NoiseRecord:
    """Return where a noise comes from, for its file; `info` is the scorer's identity."""
    return NoiseRecord(
        seed=seed,
        method=found.method,
        iterations=made_of(found),
        prompt=prompt,
        scorer=info.id,
        scorer_version=info.version,
        start=dict(found.start.scores),
        best=dict(found.chosen.scores),
        degrees=math.degrees(found.angle),
        model=str(getattr(p, "sd_model_name", "") or ""),
        vae=str(getattr(p, "sd_vae_name", "") or ""),
        made_by=f"hps {__version__}",
    )


def settle(processed: Any, name: str, values: Mapping[int, str]) -> None:
    """Put a list in place of the callable of a field: the API turns callables into null."""
    known = dict(processed.extra_generation_params)
    if callable(known.get(name)):
        known[name] = [values.get(number) for number in range(max(values, default=-1) + 1)]
        if not values:
            del known[name]
    processed.extra_generation_params = known


def settle_method(processed: Any, options: Options, searched: bool) -> None:
    """Put the method of the whole job in place of the callable, if any picture was searched."""
    known = dict(processed.extra_generation_params)
    if callable(known.pop(METHOD, None)) and searched:
        known[METHOD] = method_of(options)
    processed.extra_generation_params = known
