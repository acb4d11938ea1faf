"""What is done when the host closes a job that has not come to its end."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("hps")

_RESCUE = "_hps_rescue"


def forget(p: Any) -> None:
    """Do nothing any more when the job is closed."""
    p.__dict__.pop(_RESCUE, None)


def watch(p: Any, rescue: Callable[[], None]) -> None:
    """Call `rescue` when the host closes the job, which it also does after an exception.

    The method of the class is wrapped: one on the job itself would go over to copies of it, and their end is none.
    """
    setattr(p, _RESCUE, (id(p), rescue))
    close = type(p).close
    if getattr(close, "_hps_watched", False):
        return

    @functools.wraps(close)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        owner, own = self.__dict__.pop(_RESCUE, None) or (0, None)
        try:
            if own is not None and owner == id(self):
                own()
        except Exception:
            log.exception("The images of a generation that broke off could not be saved.")
        return close(self, *args, **kwargs)

    watched._hps_watched = True  # type: ignore[attr-defined]
    type(p).close = watched
