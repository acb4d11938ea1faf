"""Scored pictures into the ledger: how the host made them, their pictures, and the one ledger of the host.

Recording never stops or changes a generation: whatever goes wrong becomes one warning, and the rest goes on without it.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ...hpskit.errors import HpsError
from ...hpskit.ledger import Entry, Ledger
from ...hpskit.ledger.scored import Trace, entry_of, made_of, trace_of
from .. import options, settings
from ..bridge import access, folders
from . import pictures

if TYPE_CHECKING:
    from ...hpskit.metadata import PromptInfo
    from ..best_of_n.contest import Contest
    from ..job import Job
    from ..judge import Judged

log = logging.getLogger("hps")

SOURCE = "webui"
SWITCH = "HPS_LEDGER"
"""Environment variable that switches recording off with the value "off"."""
BUSY_SECONDS = 1.0
"""How long a generation waits for another program that holds the ledger."""
AGAIN = 600.0
"""Seconds after which the same trouble is told again."""
MOST_INFOTEXT = 16_000
"""Characters of an infotext that is kept with its row; a longer one is left out."""
HELD = "held"
"""Entry of `extra` with what else made a picture, by name: comparisons keep it equal."""

_lock = threading.Lock()
_open: dict[str, Ledger] = {}
_warned: dict[str, float] = {}
_runs: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


# --- what is written --------------------------------------------------------------------------------------------------


def add(p: Any, job: Job, picture: Any, judged: Judged) -> None:
    """Write a scored picture down; trouble with the ledger never reaches a generation."""
    if judged.known:
        _guarded(lambda ledger: _add(ledger, picture, judged, run_of(job), **made_by(p, job, judged)), job)


def add_traces(job: Any, rows: Sequence[tuple[Trace, Judged, Callable[[], dict[str, Any]]]]) -> None:
    """Write down scored pictures whose pixels are gone, with what gives the fields of their entries. Never raises."""

    def entries() -> list[Entry]:
        run = run_of(job)
        return [
            entry_of(judged.record, judged.text, seen, source=SOURCE, run=run, **made()) for seen, judged, made in rows
        ]

    if rows:
        _guarded(lambda ledger: ledger.add(entries()), job)


def add_picture(picture: Any, judged: Judged, **made: Any) -> None:
    """Write down a scored picture that no generation made, such as a result of the Extras tab. Never raises."""
    if judged.known:
        _guarded(lambda ledger: _add(ledger, picture, judged, secrets.token_hex(8), **made))


def add_file(record: Mapping[str, Any], prompt: str, seen: Trace, file: str, info: PromptInfo | None, run: str) -> None:
    """Write down a scored file with what its own metadata say of how it was made. Never raises."""
    _guarded(
        lambda ledger: ledger.add([entry_of(record, prompt, seen, source=SOURCE, run=run, file=file, **made_of(info))])
    )


def saved(files: Iterable[tuple[str, str]]) -> None:
    """Write down where pictures (hashes) lie now, as absolute paths. Never raises."""
    _guarded(lambda ledger: ledger.saved_many(files))


def register() -> None:
    """Have the host tell where pictures were saved."""
    from modules import script_callbacks

    script_callbacks.on_image_saved(image_saved)


def image_saved(params: Any) -> None:
    """Add the file of a recorded picture; everything else that the host saves is none of the ledger's business."""
    if not pictures.any_awaited():
        return
    try:
        # The host numbers a file whose name is taken after it has announced the name.
        file = getattr(params.image, "already_saved_as", None) or params.filename
        digest = pictures.hash_of(params.image)
    except Exception:
        log.debug("A saved picture could not be looked at", exc_info=True)
        return
    if pictures.is_awaited(digest):
        saved([(digest, os.path.abspath(str(file)))])  # noqa: PTH100 resolve() would follow links


def run_of(job: Any) -> str:
    """Return the name of a generation, the same for all of its pictures; all parts of a job share its judge."""
    return _runs.setdefault(job.judge, secrets.token_hex(8))


def _add(ledger: Ledger, picture: Any, judged: Judged, run: str, **made: Any) -> None:
    seen = trace_of(picture)
    pictures.await_file(seen.image_hash)
    ledger.add([entry_of(judged.record, judged.text, seen, source=SOURCE, run=run, **made)])


# --- how a picture was made -------------------------------------------------------------------------------------------


def made_by(
    p: Any, job: Job | Contest, judged: Judged, *, place: int | None = None, text: str | None = None
) -> dict[str, Any]:
    """Return the fields of an entry that the processing object tells; names are those of the host.

    `place` is the picture's in its batch, `text` its infotext; None for those of the picture in work.
    """
    place = int(getattr(p, "batch_index", 0)) if place is None else place
    seed = judged.record.get("seed", _at(getattr(p, "seeds", None), place))
    alone, why = _alone(p, job, seed)
    extra: dict[str, Any] = {**why, **_extra(p, place)}
    if judged.held_out:
        extra["held_out"] = dict(judged.held_out)
    infotext = _infotext(p, place) if text is None else text
    if infotext:
        extra["infotext"] = infotext
    return {
        "negative": _at(getattr(p, "negative_prompts", None), place) or "",
        "model": _text(getattr(p, "sd_model_name", "")),
        "loras": loras_of(p),
        "sampler": _text(getattr(p, "sampler_name", "")),
        "scheduler": _text(getattr(p, "scheduler", "")),
        "steps": getattr(p, "steps", None),
        "cfg": getattr(p, "cfg_scale", None),
        "denoise": getattr(p, "denoising_strength", None) if is_img2img(p) else None,
        "seed": alone,
        "extra": extra,
    }


def is_img2img(p: Any) -> bool:
    """Tell whether a picture begins with another one."""
    return hasattr(p, "init_images")


def _alone(p: Any, job: Job | Contest, seed: Any) -> tuple[int | None, dict[str, Any]]:
    """Return the seed where it alone makes the starting noise, and otherwise what else there was."""
    chosen = job.options
    if chosen.mode in (options.SEARCH, options.GRADIENT):
        method = chosen.method if chosen.mode == options.SEARCH else chosen.gradient_method
        return None, {"method": method, "from_seed": str(seed)}
    if chosen.noise_file:
        return None, {"from_seed": str(seed), "noise_file": chosen.noise_file}
    strength = getattr(p, "subseed_strength", 0) or 0
    if strength > 0:
        subseed = _at(getattr(p, "subseeds", None), int(getattr(p, "batch_index", 0)))
        return None, {"from_seed": str(seed), "subseed": str(subseed), "subseed_strength": strength}
    if min(getattr(p, "seed_resize_from_w", 0) or 0, getattr(p, "seed_resize_from_h", 0) or 0) > 0:
        size = f"{p.seed_resize_from_w}x{p.seed_resize_from_h}"
        return None, {"from_seed": str(seed), "seed_resize_from": size}
    return (int(seed) if isinstance(seed, int) else None), {}


def _extra(p: Any, place: int) -> dict[str, Any]:
    """Return what has no column of its own; what changes the picture stands under HELD."""
    held = {"start image": _start_image(p, place), "hires": _hires(p), "clip skip": _clip_skip()}
    held["refiner"] = _text(getattr(p, "refiner_checkpoint", None))
    kept = {name: value for name, value in held.items() if value}
    model_hash = _text(getattr(p, "sd_model_hash", None))
    return {
        **({"model_hash": model_hash} if model_hash else {}),
        **({"img2img": True} if is_img2img(p) else {}),
        **({HELD: kept} if kept else {}),
    }


def _start_image(p: Any, place: int) -> str:
    """Return the first digits of the hash of the picture that a picture was made from; "" without one."""
    if not is_img2img(p):
        return ""
    images = p.init_images or []
    try:
        found = pictures.hash_of(images[place] if place < len(images) else images[0])[:12]
    except Exception:
        return "unknown"
    masked = getattr(p, "image_mask", None) is not None or getattr(p, "latent_mask", None) is not None
    return f"{found}, masked" if masked else found


def _hires(p: Any) -> str:
    if not getattr(p, "enable_hr", False):
        return ""
    steps = getattr(p, "hr_second_pass_steps", 0) or getattr(p, "steps", 0)
    strength = getattr(p, "denoising_strength", 0) or 0
    return f"{getattr(p, 'hr_upscaler', '')} x{getattr(p, 'hr_scale', 0):g}, {steps} steps, denoise {strength:g}"


def _clip_skip() -> str:
    """Return the setting of the host where it is not the usual one."""
    from modules import shared

    value = getattr(shared.opts, "CLIP_stop_at_last_layers", 1)
    return str(value) if isinstance(value, (int, float)) and value > 1 else ""


def loras_of(p: Any) -> tuple[tuple[str, float], ...]:
    """Return the LoRAs of the batch with their strengths, as their tags in the prompt name them."""
    if getattr(p, "disable_extra_networks", False):
        return ()
    found: list[tuple[str, float]] = []
    for kind in ("lora", "lyco"):
        for tag in (getattr(p, "extra_network_data", None) or {}).get(kind, ()):
            parts = list(getattr(tag, "positional", ()) or ())
            named = getattr(tag, "named", None) or {}
            if parts:
                found.append((str(parts[0]), _number(parts[1] if len(parts) > 1 else named.get("te", 1.0))))
    return tuple(found)


def _infotext(p: Any, place: int) -> str:
    """Return the host's own text of a picture; "" when it has none that fits."""
    return host_text(p, p.prompts, p.seeds, p.subseeds, p.negative_prompts, place)


def host_text(p: Any, prompts: Any, seeds: Any, subseeds: Any, negatives: Any, place: int = 0) -> str:
    """Return the host's text of the picture of these lists; "" when it has none that fits."""
    try:
        from modules import processing

        made = processing.create_infotext(p, prompts, seeds, subseeds, index=place, all_negative_prompts=negatives)
    except Exception:  # other extensions put their functions into it
        log.debug("No infotext for the ledger", exc_info=True)
        return ""
    return made if isinstance(made, str) and len(made) <= MOST_INFOTEXT else ""


def _at(values: Any, place: int) -> Any:
    return values[place] if isinstance(values, (list, tuple)) and 0 <= place < len(values) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 1.0


# --- the ledger -------------------------------------------------------------------------------------------------------


def why_off() -> str:
    """Return why nothing is recorded, with what to do; "" when recording is on."""
    shared = access.why_shared()
    if shared:
        return f"{shared} What one person makes must not reach another, so nothing is recorded."
    if os.environ.get(SWITCH, "").strip().lower() == "off":
        return f"The environment variable {SWITCH} is set to off. Start the server without it to record scores."
    if not settings.get("hps_ledger"):
        return "Recording is switched off. Switch it on in the settings, under HPS."
    return ""


def the_ledger() -> Ledger | None:
    """Return the host's ledger, or None when recording is off; raises LedgerError when it cannot be used."""
    return None if why_off() else opened()


def opened() -> Ledger:
    """Return the ledger whether or not anything is recorded now: what was recorded before may be looked at."""
    path = folders.state_folder() / "ledger.sqlite3"
    most = int(settings.get("hps_ledger_megabytes")) * 2**20
    with _lock:
        known = _open.get(str(path))
        if known is None:
            known = _open[str(path)] = Ledger(path, max_bytes=most, busy_seconds=BUSY_SECONDS)
        known.max_bytes = most
        return known


def _guarded(work: Callable[[Ledger], object], job: Job | Contest | None = None) -> None:
    """Do something with the ledger when recording is on; a person hears of trouble once, under the gallery too."""
    try:
        ledger = the_ledger()
        if ledger is not None:
            work(ledger)
    except HpsError as error:
        _warn(str(error), job)
    except Exception as error:
        log.debug("The ledger failed", exc_info=True)
        _warn(f"{type(error).__name__}: {error}", job)


def _warn(words: str, job: Job | Contest | None) -> None:
    now = time.monotonic()
    if now - _warned.get(words, -math.inf) < AGAIN:
        return
    _warned[words] = now
    log.warning("Scores are not recorded: %s", words)
    if job is not None:
        job.notes.append(f"scores are not recorded: {words}")
