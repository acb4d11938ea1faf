"""One scored image as a writer hands it over, and how it is made fit to be stored."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .workflows import PackedWorkflow, as_json, prepare_workflow

log = logging.getLogger("hps")

MAX_THUMBNAIL: Final = 64 * 2**10
"""Bytes of a thumbnail; a larger one is left out."""
MAX_PROMPT: Final = 64 * 2**10
"""Characters of a prompt; the rest is cut off, but tells prompts with one beginning apart."""
MAX_EXTRA: Final = 64 * 2**10
"""Characters of `parts`, `loras` and `extra`, each as JSON; a longer one is left out."""
MAX_NAME: Final = 4096
"""Characters of every other text; the rest is cut off."""
MAX_SCORE: Final = 1e100
"""No scorer gives more; a larger number would overflow in a group's spread."""


@dataclass(frozen=True)
class Entry:
    """One image, one prompt, one scorer, and what made the image; everything but the first six fields may be unknown.

    Scores compare only within one prompt and one fingerprint: scorer, version, preprocessing, compute type, checkpoint.
    """

    prompt: str
    scorer: str
    scorer_version: str
    preprocess: str
    dtype: str
    score: float
    """Finite; entries with another score are refused."""
    checkpoint: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Scores of the members of an ensemble."""
    negative: str = ""
    model: str = ""
    loras: tuple[tuple[str, float], ...] = ()
    sampler: str = ""
    scheduler: str = ""
    steps: int | None = None
    cfg: float | None = None
    denoise: float | None = None
    width: int = 0
    height: int = 0
    seed: int | None = None
    """-2^63 to 2^64 - 1; anything else counts as unknown."""
    image_hash: str = ""
    """Hex digest of the 8 bit pixels; joins entries with saved files, and tells an image that is scored again."""
    thumbnail: bytes | None = None
    """WebP or JPEG, at most 64 KiB."""
    file: str = ""
    """Where the image was saved, if it was: below the host's output folder, or absolute (command line)."""
    workflow: Mapping[str, Any] | PackedWorkflow | None = None
    """Packing takes a while for a large one: with several images of a run, give what `prepare_workflow` returns."""
    workflow_kind: str = ""
    """"workflow" (what the editor saves) or "prompt" (what the server runs); a packed one has its own."""
    source: str = "comfyui"
    """"comfyui", "cli" or "webui"."""
    run: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Anything else that is JSON; numbers that are not finite become null."""


@dataclass(frozen=True)
class Prepared:
    """An entry as it is stored: `columns` go into the row itself, the other fields into tables of their own."""

    digest: bytes
    """Equal for equal records; see `_digest`."""
    prompt: tuple[bytes, str]
    """Hash of the whole text, and as much of the text as is stored."""
    negative: tuple[bytes, str] | None
    scorer: tuple[str, str, str, str, str]
    """Name, version, preprocessing, compute type, checkpoint."""
    fingerprint: str
    columns: Mapping[str, Any]
    thumbnail: tuple[bytes, bytes] | None
    """Hash and bytes."""
    workflow: tuple[bytes, str, bytes] | None
    """Hash, kind and compressed JSON."""


def prepare(entry: Entry) -> Prepared | None:
    """Return the entry ready to be stored, or None when its score is none that can be kept.

    What is optional and cannot be stored (too large, not finite, of a wrong type) is left out, never an error: a
    ledger must not stop the work that it records.
    """
    score = _real(entry.score)
    if score is None or abs(score) > MAX_SCORE:
        log.warning("An image with the score %r is not recorded in the ledger.", entry.score)
        return None
    names = (entry.scorer, entry.scorer_version, entry.preprocess, entry.dtype, entry.checkpoint)
    scorer = (_name(names[0]), _name(names[1]), _name(names[2]), _name(names[3]), _name(names[4]))
    columns, thumbnail, workflow = _columns(entry, score), _thumbnail(entry.thumbnail), _workflow(entry)
    run = {"run": _name(entry.run)}
    return Prepared(
        _digest(entry, scorer, columns, [part[0].hex() if part else None for part in (thumbnail, workflow)]),
        *(_prompt(entry.prompt), _prompt(entry.negative) if entry.negative else None, scorer, fingerprint(scorer)),
        *({**columns, **run}, thumbnail, workflow),
    )


def _prompt(text: str) -> tuple[bytes, str]:
    return text_hash(text), text[:MAX_PROMPT]


MADE_BY: Final = ("image", "model", "sampler", "scheduler", "steps", "cfg", "denoise", "seed", "loras")
"""Columns that, with prompts and scorer, tell an image whose pixels are known from all others."""


def _digest(entry: Entry, scorer: tuple[str, ...], columns: Mapping[str, Any], hashes: list[str | None]) -> bytes:
    """Return what makes a record itself.

    The score is no part of it where the pixels are known: its last bits change with the size of a batch, and the same
    image must not be counted twice for that. Nor is what belongs to the moment: file, thumbnail, workflow, extra.
    Where they are not, everything counts: nothing else tells two images apart. An ensemble whose members are known
    says more than its first member alone, and is another record.
    """
    known = bool(columns["image"])
    made = [columns[name] for name in MADE_BY] if known else [*columns.values(), *hashes]
    members = [sorted(entry.parts)] if known and entry.parts else []
    identity = [entry.prompt, entry.negative, *scorer, *made, *members]
    return short_hash(json.dumps(identity).encode())


def fingerprint(scorer: tuple[str, ...]) -> str:
    """Return 12 hex digits for scorer, version, preprocessing, compute type and checkpoint; only equal ones compare."""
    return hashlib.sha256(json.dumps(list(scorer)).encode()).hexdigest()[:12]


def short_hash(data: bytes) -> bytes:
    """Return the first 16 bytes of the sha256 of `data`: short keys that do not collide by chance."""
    return hashlib.sha256(data).digest()[:16]


def text_hash(text: str) -> bytes:
    """Return the key of a prompt; any text has one, lone surrogates too."""
    return short_hash(text.encode("utf-8", "surrogatepass"))


def _columns(entry: Entry, score: float) -> dict[str, Any]:
    loras = [[_name(name), _real(strength)] for name, strength in entry.loras]
    parts = {_name(name): number for name, value in entry.parts.items() if (number := _real(value)) is not None}
    return {
        "score": score,
        "model": _name(entry.model),
        "sampler": _name(entry.sampler),
        "scheduler": _name(entry.scheduler),
        "steps": _integer(entry.steps),
        "cfg": _real(entry.cfg),
        "denoise": _real(entry.denoise),
        "width": _integer(entry.width) or 0,
        "height": _integer(entry.height) or 0,
        "seed": _seed(entry.seed),
        "image": _name(entry.image_hash),
        "source": _name(entry.source),
        "file": _name(entry.file),
        "loras": as_json(loras, "list of LoRAs", MAX_EXTRA),
        "parts": as_json(parts, "scores of the members", MAX_EXTRA),
        "extra": as_json(entry.extra, "extra data", MAX_EXTRA),
    }


def _thumbnail(data: bytes | None) -> tuple[bytes, bytes] | None:
    if not data:
        return None
    if len(data) > MAX_THUMBNAIL:
        log.warning("A thumbnail of %d bytes is left out of the ledger (at most %d).", len(data), MAX_THUMBNAIL)
        return None
    return short_hash(data), bytes(data)


def _workflow(entry: Entry) -> tuple[bytes, str, bytes] | None:
    packed = entry.workflow
    if not isinstance(packed, PackedWorkflow):
        packed = prepare_workflow(packed, _name(entry.workflow_kind))
    return None if packed is None else (packed.hash, packed.kind, packed.data)


def _name(value: object) -> str:
    return str(value)[:MAX_NAME] if isinstance(value, str) else ""


def _real(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number + 0.0 if math.isfinite(number) else None


def _integer(value: object) -> int | None:
    sound = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return int(value) if sound else None  # type: ignore[call-overload]


def _seed(value: object) -> str | None:
    sound = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64
    return str(value) if sound else None
