"""What a person set in the host's settings dialog and a node may know: whether and how much is recorded.

Nothing here changes a result; whatever does is an input of a node, since workflows run without a browser, too.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths
from comfy.cli_args import args

log = logging.getLogger("hps")

ENABLED, MEGABYTES = "HPS.Ledger.Enabled", "HPS.Ledger.MaxMegabytes"
LEAST, DEFAULT, MOST = 16, 256, 4096
"""Megabytes that the ledger may take."""
_MAX_FILE = 8 << 20
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
    """Return the settings as they are now; a file that cannot be read means the defaults."""
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


def _stored() -> dict[str, Any]:
    """Return the settings of the one user; {} when there are none yet."""
    path = Path(folder_paths.get_user_directory()) / "default" / "comfy.settings.json"
    try:
        if path.stat().st_size > _MAX_FILE:
            return {}
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        log.debug("The host's settings cannot be read; the defaults are used", exc_info=True)
        return {}
    return value if isinstance(value, dict) else {}
