"""Bridge to the host: which flavour it is, what can score here, and scorers in the host's memory management."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ...hpskit.errors import CheckpointMissing
from .. import settings
from ..options import Options
from .folders import models_folder, reward_file, reward_files, reward_folders, state_folder

if TYPE_CHECKING:
    import torch

    from ...hpskit.cards import Card
    from ...hpskit.types import Scorer
    from .hosted import Network

__all__ = [
    "FORGE",
    "MINIATURES",
    "default_scorer",
    "device",
    "ending",
    "holding",
    "interrupted",
    "is_out_of_memory",
    "load_scorer",
    "locate",
    "models_folder",
    "plain_name",
    "scorer_choices",
    "scorer_of",
    "state_folder",
    "step_aside",
    "unload",
]

log = logging.getLogger("hps")

FORGE = "modules_forge" in sys.modules
"""Whether this is Forge or one of its relatives: it has loaded this before any extension."""
MINIATURES = {
    "hps-tiny-judge (second miniature for trials: to hold out)": "hps-tiny-judge",
    "hps-tiny-shapes (miniature for trials: judges coloured shapes only)": "hps-tiny-shapes",
}
"""What the panel calls the scorers that know coloured shapes only, with their ids."""
TRIAL = "hps-tiny-shapes"
"""The one of them to begin with."""
SMALL = 50_000_000
"""Networks with fewer parameters gain nothing from half precision."""


def plain_name(choice: str) -> str:
    """Return the scorer that a choice of the panel means: a card id, or a file below the reward folders."""
    return MINIATURES.get(choice, choice)


# --- what there is ---------------------------------------------------------------------------------------------------


def scorer_choices() -> list[str]:
    """Return what the panel offers: the known scorers, files that belong to none of them, and last the miniatures."""
    from ...hpskit.cards import by_filename, load_cards

    known = [name for name in load_cards() if name not in MINIATURES.values()]
    other = [name for name in reward_files() if by_filename(Path(name).name) is None]
    return [*known, *other, *MINIATURES]


def default_scorer() -> str:
    """Return the choice that a panel begins with."""
    wanted = str(settings.get("hps_default_scorer"))
    return wanted if wanted in scorer_choices() else Options().scorer


def locate(name: str) -> dict[str, Path]:
    """Return the files of a scorer by role; raises CheckpointMissing with the nearest thing to do here."""
    from ...hpskit import weights
    from ...hpskit.cards import card, load_cards

    plain = plain_name(name)
    if plain not in load_cards():
        return {"weights": reward_file(plain)}
    try:
        return weights.find(plain, reward_folders())
    except CheckpointMissing as error:
        raise CheckpointMissing(_missing(card(plain), error)) from error


def _missing(chosen: Card, error: CheckpointMissing) -> str:
    if all(file.shipped for file in chosen.files):
        return str(error)
    size = sum(file.bytes or 0 for file in chosen.files) / 1e9
    names = " and ".join(file.name for file in chosen.files)
    return (
        f"{chosen.name} is not on this machine yet. Press Download in the tab HPS > Models ({size:.1f} GB, once), "
        f"or put {names} into {models_folder()}. To try things out without it choose {TRIAL}: it knows coloured "
        "shapes only."
    )


# --- loading ---------------------------------------------------------------------------------------------------------

_loading = threading.RLock()
_shared: WeakValueDictionary[tuple[Any, ...], Network] = WeakValueDictionary()
"""Networks in memory by (files, compute type, device), whoever uses them."""
_recent: list[Network] = []
"""Networks that are kept until their time is over, see `unload`."""


def scorer_of(options: Options) -> Scorer:
    """Return the scorer of a panel's options, several of them as one with the panel's rule; raises HpsError."""
    from ...hpskit import scorers
    from ...hpskit.rules import Rule, default_rule

    made = [load_scorer(name) for name in options.scorers]
    if len(made) == 1:
        return made[0]
    ids = [scorer.info.id for scorer in made]
    rule = default_rule(ids) if options.rule == "auto" else Rule(options.rule, main=ids[0])
    return scorers.combine(made, rule=rule)


def load_scorer(name: str) -> Scorer:
    """Return a scorer in the host's care; all scorers of the same files and precision share one copy of the weights.

    Raises the errors of hpskit: CheckpointMissing, CheckpointCorrupt, CheckpointUnsafe, CheckpointUnknown.
    """
    from .hosted import hosted

    with _loading:
        network = _network(name)
        if network not in _recent:
            _recent.append(network)
    _expire_later()
    return hosted(network)


def _network(name: str) -> Network:
    from ...hpskit.cards import load_cards
    from .hosted import Network

    plain = plain_name(name)
    files = locate(plain)
    key = (tuple(_identity(path) for path in files.values()), str(settings.get("hps_dtype")), str(device()))
    known = _shared.get(key)
    if known is None:
        known = Network(files, load_cards().get(plain), device())
        _shared[key] = known
    return known


def _identity(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path), stat.st_mtime_ns, stat.st_size


def device() -> torch.device:
    """Return where scorers compute: as the host would have it (`--use-cpu hps` too), or where the settings say."""
    import torch
    from modules import devices, shared

    flags = getattr(getattr(shared, "cmd_opts", None), "use_cpu", None) or ()
    if settings.get("hps_device") == settings.DEVICE_CPU or "hps" in flags:
        return torch.device("cpu")
    return torch.device(devices.get_device_for("hps"))


def pick_dtype(place: torch.device, parameters: int) -> torch.dtype:
    """Return the compute type: as the settings say, else fp32 on a CPU and for miniatures, else what the host picks."""
    import torch

    named = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    wanted = settings.get("hps_dtype")
    if wanted in named and not (place.type == "cpu" and wanted == "fp16"):
        return named[wanted]
    if place.type == "cpu" or parameters < SMALL:
        return torch.float32
    if not FORGE:
        return _without_half(torch.float16)
    from .residency import forge_dtype

    return forge_dtype(place, parameters)


def _without_half(half: torch.dtype) -> torch.dtype:
    """Return `half`, or float32 where a person told A1111 that the card cannot do half precision."""
    import torch
    from modules import shared

    flags = getattr(shared, "cmd_opts", None)
    full = getattr(flags, "no_half", False) or getattr(flags, "precision", "") == "full"
    return torch.float32 if full else half


# --- lifetime --------------------------------------------------------------------------------------------------------

_timers: list[threading.Timer] = []
"""The one that is running, if any."""
AGAIN = 5.0
"""Seconds until the next look when the host was at work."""


def _expire_later(seconds: float | None = None) -> None:
    """Look again when the next network may be dropped; one timer does for all."""
    with _loading:
        if seconds is None and any(timer.is_alive() for timer in _timers):
            return
        wait = 60 * float(settings.get("hps_keep_minutes")) if seconds is None else seconds
        timer = threading.Timer(max(wait, AGAIN), _expire)
        timer.daemon = True
        _timers[:] = [timer]
        timer.start()


def _expire() -> None:
    """Drop what nobody has used for long, but not while the host is at work."""
    try:
        from modules.call_queue import queue_lock
    except ImportError:  # the host is going down
        return
    if not queue_lock.acquire(blocking=False):
        _expire_later(AGAIN)
        return
    try:
        limit = 60 * float(settings.get("hps_keep_minutes"))
        unload(older=limit)
        youngest = min((time.monotonic() - network.used for network in _recent), default=None)
    finally:
        queue_lock.release()
    if youngest is not None:
        _expire_later(limit - youngest)


def unload(older: float = 0.0) -> int:
    """Let go of the networks that were not used for `older` seconds; return how many.

    Whoever still holds a scorer may go on using it. Call it when the host is idle, or under its queue lock.
    """
    with _loading:
        now = time.monotonic()
        dropped = [network for network in _recent if now - network.used >= older]
        _recent[:] = [network for network in _recent if network not in dropped]
    for network in dropped:
        network.rest(for_good=True)
    count = len(dropped)
    if dropped:
        del dropped, network
        gc.collect()  # Forge's patcher and the network point at each other
    return count


def step_aside() -> None:
    """Have scorers leave the graphics card of A1111 before something large, such as a hires pass, unless they may stay.

    Forge needs no such hint: it evicts by itself.
    """
    if settings.get("hps_keep_on_device") == settings.KEEP_ALWAYS:
        return
    for network in list(_shared.values()):
        network.rest()


@contextmanager
def holding(scorer: Any) -> Iterator[None]:
    """Keep a scorer on its device until the end of the block: for a backward pass, or many images in a row."""
    with ExitStack() as stack:
        for member in (getattr(scorer, "members", None) or {"": scorer}).values():
            if hasattr(member, "holding"):
                stack.enter_context(member.holding())
        yield


# --- the generation --------------------------------------------------------------------------------------------------


def interrupted() -> bool:
    """Tell whether the person has stopped or skipped the generation."""
    from modules import shared

    return bool(shared.state.interrupted or shared.state.skipped)


def ending() -> bool:
    """Tell whether the person wants an end: stopped, skipped, or asked for a stop once the image in work is finished.

    The last is what the first press of Interrupt means in a job of several images. A search counts as several, and
    what is in work is one of its candidates.
    """
    from modules import shared

    return interrupted() or bool(shared.state.stopping_generation)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that the graphics card has no memory left."""
    import torch

    from ...hpskit.errors import MemoryExhausted

    kinds = (MemoryExhausted, torch.cuda.OutOfMemoryError)
    return isinstance(error, kinds) or (isinstance(error, RuntimeError) and "out of memory" in str(error).lower())
