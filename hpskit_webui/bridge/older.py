"""What hosts of 2024 lack beside newer ones, brought to them: A1111 before 1.10, and Forge that grew from it.

Nothing here does anything in a host that has it itself, which is asked by what is there and not by a version.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


def register() -> None:
    """Bring to this host what it lacks for as long as it runs; the second time does nothing."""
    from modules import processing

    if not _asks_callables(processing.create_infotext):
        processing.create_infotext = _asking(processing.create_infotext)


def tells_before_sampling() -> bool:
    """Tell whether the host has the callback process_before_every_sampling, as A1111 since 1.10."""
    from modules import scripts

    return hasattr(scripts.Script, "process_before_every_sampling")


def _asks_callables(function: Callable[..., str]) -> bool:
    """Tell whether an infotext is made with values that are callables, as in A1111 since 1.9."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is None or "callable" in code.co_names or hasattr(function, _MARK)


_MARK = "_hps_asks"


def _asking(create: Callable[..., str]) -> Callable[..., str]:
    signature = inspect.signature(create)

    @functools.wraps(create)
    def create_infotext(p: Any, *args: Any, **kwargs: Any) -> str:
        given = signature.bind(p, *args, **kwargs)
        given.apply_defaults()
        known = given.arguments
        if known["use_main_prompt"]:
            known = {**known, "index": 0}
        elif known["index"] is None:
            known = {**known, "index": known["position_in_batch"] + known["iteration"] * p.batch_size}
        before = p.extra_generation_params
        try:
            p.extra_generation_params = {k: v(**known) if callable(v) else v for k, v in before.items()}
            return create(*given.args, **given.kwargs)
        finally:
            p.extra_generation_params = before

    setattr(create_infotext, _MARK, True)
    return create_infotext
