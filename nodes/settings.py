"""What a person set in the host's settings dialog and a node may know: whether and how much is recorded.

Nothing here changes a result; whatever does is an input of a node, since workflows run without a browser, too.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths
from comfy.cli_args import args

ENABLED, MEGABYTES = "HPS.Ledger.Enabled", "HPS.Ledger.MaxMegabytes"
LEAST, DEFAULT, MOST = 16, 256, 4096
"""Megabytes that the ledger may take."""
_MAX_FILE = 8 << 20
ATTEMPTS, PAUSE = 3, 0.05
"""How often a file that cannot be read is tried, and seconds between."""
SWITCH = "HPS_LEDGER"
"""Environment variable that switches recording off with the value "off"."""


@dataclass(frozen=True)
class LedgerSettings:
    """Whether scored images are recorded, and how many bytes the ledger may take."""

    enabled: bool
    max_bytes: int
    reason: str = ""
    """Why it is off, with what to do; empty when it is on."""
    shared: bool = False
    """Whether several people share the server, so that nobody may see the rows."""


def ledger_folder() -> Path:
    """Return where the ledger lies: a folder of the host's user directory that none of its routes serves."""
    return Path(folder_paths.get_user_directory()) / "__hps"


def ledger_settings() -> LedgerSettings:
    """Return the settings as they are now; without a file that can be read, the defaults."""
    stored = _stored()
    size = stored.get(MEGABYTES, DEFAULT)
    known = isinstance(size, (int, float)) and not isinstance(size, bool) and size == size
    megabytes = min(max(size, LEAST), MOST) if known else DEFAULT
    reason = _why_off(stored)
    return LedgerSettings(not reason, int(megabytes * 2**20), reason, bool(args.multi_user))


def _why_off(stored: dict[str, Any]) -> str:
    if args.multi_user:
        return "The server runs with --multi-user, and rows of one person must not reach another."
    if os.environ.get(SWITCH, "").strip().lower() == "off":
        return f"The environment variable {SWITCH} is set to off. Start the server without it to record scores."
    if stored.get(ENABLED, True) is False:
        return "Recording is switched off. Switch it on in the settings, under HPS, Ledger."
    return ""


_last: dict[str, dict[str, Any]] = {}
"""What each file said when it could last be read."""


def _stored() -> dict[str, Any]:
    """Return the settings of the one user; {} when there are none.

    The host writes the file anew at every change, and a reader may find it half written: then what it said before
    counts. Taking the defaults instead would record against the person's will, and trim the ledger to another size.
    """
    path = Path(folder_paths.get_user_directory()) / "default" / "comfy.settings.json"
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE)
        try:
            if path.stat().st_size > _MAX_FILE:
                break
            value = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError):
            if str(path) in _last:
                break
            continue
        if isinstance(value, dict):
            _last[str(path)] = {name: value[name] for name in (ENABLED, MEGABYTES) if name in value}
        break
    return _last.get(str(path), {})
