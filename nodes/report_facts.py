"""What a graph says about the images that reach a node, in the words of a report."""

from __future__ import annotations

import logging
from typing import Any

from ..hpskit import graphsettings
from .recording import Origin

log = logging.getLogger("hps")

_NAMES = {
    "model": "Model",
    "loras": "LoRAs",
    "sampler": "Sampler",
    "scheduler": "Scheduler",
    "steps": "Steps",
    "cfg": "CFG",
    "denoise": "Denoise",
    "seed": "Seed",
    "negative": "Negative prompt",
}


def settings_of(origin: Origin) -> tuple[tuple[str, str], ...]:
    """Return the settings that all images have in common, as names and values; empty where the graph says nothing."""
    try:
        found = graphsettings.read_at(origin.graph, origin.node)
    except Exception:  # the graph is whatever other packs make of it
        log.debug("The graph could not be read", exc_info=True)
        found = None
    if found is None:
        return ()
    known = [(words, _text(found.get(name))) for name, words in _NAMES.items()]
    return tuple((words, value) for words, value in known if value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{name} ({strength:g})" for name, strength in value)
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)
