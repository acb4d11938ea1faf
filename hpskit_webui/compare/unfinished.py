"""Comparisons that were stopped: made again with a seed left to chance, they go on with the seeds that they began with.

What was begun is known by a mark: a hash of all that makes its images but their seeds. So nothing goes on but the very
same comparison, and one that is whole is not begun again with seeds that it has had.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import threading
from pathlib import Path

from ..bridge import folders
from ..record import recording

log = logging.getLogger("hps")

FILE = "compare-unfinished.json"
MOST = 100
"""Comparisons that are remembered; the oldest are forgotten."""
Seeds = tuple[int, int]
"""First seed, and the variation seed."""

_here: dict[str, Seeds] = {}
_lock = threading.Lock()


def seeds_of(mark: str) -> Seeds | None:
    """Return the seeds that a comparison was begun with and is not finished; None for none."""
    with _lock:
        return _all().get(mark)


def begun(mark: str, seeds: Seeds) -> None:
    """Remember the seeds of a comparison, over a restart of the host while scores are recorded."""
    with _lock:
        known = _all()
        known.pop(mark, None)
        _keep(dict([*known.items(), (mark, seeds)][-MOST:]))


def finished(mark: str) -> None:
    """Forget a comparison."""
    with _lock:
        known = _all()
        if known.pop(mark, None) is not None:
            _keep(known)


def _all() -> dict[str, Seeds]:
    """Return what is known, the oldest first."""
    return {**_stored(), **_here}


def _path() -> Path:
    return folders.state_folder() / FILE


def _stored() -> dict[str, Seeds]:
    if recording.why_off():
        return {}
    try:
        found = json.loads(_path().read_text("utf-8"))
        return {str(mark): (int(seed), int(subseed)) for mark, (seed, subseed) in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError):  # somebody else's, or damaged
        log.debug("What was begun of comparisons cannot be read", exc_info=True)
        return {}


def _keep(known: dict[str, Seeds]) -> None:
    _here.clear()
    _here.update(known)
    if recording.why_off():
        return
    path = _path()
    made = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.write_text(json.dumps(known), "utf-8")
        os.replace(made, path)  # noqa: PTH105 whole or not at all
    except OSError:
        log.debug("What was begun of comparisons cannot be kept", exc_info=True)
    finally:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
