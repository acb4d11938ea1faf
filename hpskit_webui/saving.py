"""The score in files: `[hps]` in the names that the host makes, and the record inside PNG, JPEG and WebP files.

Both are read from the record that a job leaves in the picture's `info`; a picture without one is saved as ever.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .judge import TAG

log = logging.getLogger("hps")

PATTERN = "hps"
"""Name of the pattern, written [hps] in the host's settings."""
_STAMPED = (".jpg", ".jpeg", ".webp")
"""A PNG gets the record from the host, as one more text chunk."""


def register() -> None:
    """Register the pattern and the two hooks; the host forgets hooks when it reloads its scripts, and we ask once."""
    from modules import images, script_callbacks

    images.FilenameGenerator.replacements[PATTERN] = name_part
    for forget in (_before_saved, _saved):
        script_callbacks.remove_callbacks_for_function(forget)
    script_callbacks.on_before_image_saved(_before_saved)
    script_callbacks.on_image_saved(_saved)


def record_of(image: Any) -> dict[str, Any] | None:
    """Return the record in a picture's `info`, or None."""
    text = getattr(image, "info", {}).get(TAG)
    try:
        record = json.loads(text) if text else None
    except (TypeError, ValueError):
        return None
    return record if isinstance(record, Mapping) and "value" in record else None


def name_part(generator: Any) -> Any:
    """Return what stands for [hps] in a file name: the score, or nothing together with the text before it."""
    from modules import images

    record = record_of(generator.image)
    value = record["value"] if record else None
    if not isinstance(value, (int, float)) or math.isnan(value):
        return getattr(images, "NOTHING_AND_SKIP_PREVIOUS_TEXT", "")
    return f"{value:.4f}"


def _before_saved(params: Any) -> None:
    """Put the record among the text chunks of a PNG."""
    try:
        if record_of(params.image) is not None and isinstance(params.pnginfo, dict):
            params.pnginfo[TAG] = params.image.info[TAG]
    except Exception:
        log.exception("The score could not be put into the file's texts.")


def _saved(params: Any) -> None:
    """Stamp the record into a JPEG or WebP that the host has just written."""
    try:
        from modules import shared

        path = Path(params.filename)
        record = record_of(params.image)
        if record is None or path.suffix.lower() not in _STAMPED or not shared.opts.enable_pnginfo:
            return
        from ..hpskit import stamp

        stamp.write(path, record)
    except Exception as error:
        log.warning("The score could not be written into %s: %s", getattr(params, "filename", "a file"), error)
