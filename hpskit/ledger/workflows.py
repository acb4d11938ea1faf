"""Workflows as the ledger stores them: plain JSON without the pictures that some nodes keep in it, compressed."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

log = logging.getLogger("hps")

MAX_WORKFLOW: Final = 8 * 2**20
"""Characters of a workflow as JSON; a longer one is left out."""
MAX_PACKED: Final = 2**20
"""Bytes of a compressed workflow; a larger one is left out."""
MAX_TEXT: Final = 64 * 2**10
"""Characters of one text in a workflow: longer ones are pictures and strokes that a widget keeps, and become ""."""


@dataclass(frozen=True)
class PackedWorkflow:
    """A workflow ready to be stored; made by `prepare_workflow`."""

    hash: bytes
    kind: str
    """"workflow" (what the editor saves) or "prompt" (what the server runs)."""
    data: bytes
    """Compressed JSON."""


def prepare_workflow(graph: Mapping[str, Any] | None, kind: str) -> PackedWorkflow | None:
    """Return a workflow for `Entry.workflow`, made once for all images of a run; None when there is nothing to keep.

    What is too large or no JSON is left out with a line in the log.
    """
    text = as_json(graph, "workflow", MAX_WORKFLOW, MAX_TEXT)
    if text is None:
        return None
    data = zlib.compress(text.encode(), 6)
    if len(data) > MAX_PACKED:
        log.warning("A workflow of %d bytes is left out of the ledger (at most %d).", len(data), MAX_PACKED)
        return None
    return PackedWorkflow(hashlib.sha256(f"{kind}\n{text}".encode("utf-8", "surrogatepass")).digest()[:16], kind, data)


def unpacked_workflow(data: bytes) -> dict[str, Any] | None:
    """Return the graph of compressed JSON; None when it is damaged, or larger than any that is written."""
    try:
        text = zlib.decompressobj().decompress(data, MAX_WORKFLOW + 1)
        graph = json.loads(text) if len(text) <= MAX_WORKFLOW else None
    except (zlib.error, ValueError, TypeError, RecursionError):
        return None
    return graph if isinstance(graph, dict) else None


def as_json(value: Any, what: str, limit: int, longest: int | None = None) -> str | None:
    """Return compact ASCII JSON of at most `limit` characters; None for nothing and for what does not fit.

    Texts above `longest` characters become "", numbers that are not finite null.
    """
    if not value:
        return None
    try:
        text = json.dumps(_plain(value, longest), separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        log.warning("The %s of an image is left out of the ledger: %s.", what, error)
        return None
    if len(text) > limit:
        log.warning("The %s of an image is left out of the ledger: %d bytes (at most %d).", what, len(text), limit)
        return None
    return text


def _plain(value: Any, longest: int | None) -> Any:
    if isinstance(value, str):
        return value if longest is None or len(value) <= longest else ""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item, longest) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, longest) for item in value]
    return str(value)
