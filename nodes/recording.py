"""Scored images into the ledger: what a run's graph says about them, their pictures, and the one ledger of the host.

Recording never stops or changes a run: whatever goes wrong becomes one warning, and the run goes on without it.
"""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..hpskit import graphsettings
from ..hpskit.errors import HpsError
from ..hpskit.ledger import Entry, Ledger, PackedWorkflow, prepare_workflow
from ..hpskit.types import ScorerInfo
from . import pictures, settings
from .notices import notice
from .pictures import Picture, Shot

log = logging.getLogger("hps")

SEARCHES = ("HPS_BestOfN", "HPS_BestOfNSimple", "HPS_OptimizeNoise", "HPS_OptimizeNoiseSimple", "HPS_CompareSettings")
"""Samplers whose image is not that of the seed they were given."""
BATCH_INDEX = "batch_index"
"""Place of an image in its batch, where that and the sampler's seed are all that is known."""
_lock = threading.Lock()
_open: dict[str, Ledger] = {}
_warned: dict[str, float] = {}
BUSY_SECONDS = 1.0
"""How long a run waits for another program that holds the ledger."""
AGAIN = 600.0
"""Seconds after which the same trouble is told again."""


@dataclass(frozen=True)
class Origin:
    """Which node of which graph scores."""

    node: str = ""
    graph: Mapping[str, Any] = field(default_factory=dict)
    """In API format."""
    workflow: Mapping[str, Any] | None = None
    """In the interface's format; None when the graph did not come from it."""

    @classmethod
    def of(cls, hidden: Any) -> Origin:
        """Return the origin that a node's hidden inputs name."""
        extra = hidden.extra_pnginfo
        workflow = extra.get("workflow") if isinstance(extra, Mapping) else None
        graph = hidden.prompt if isinstance(hidden.prompt, Mapping) else {}
        return cls(str(hidden.unique_id or ""), graph, workflow if isinstance(workflow, Mapping) else None)


@dataclass(frozen=True)
class Judged:
    """One scored image as a node knows it."""

    score: float
    prompt: str
    parts: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the entry that the node knows better than the graph says, such as the sampler of this image."""


class Recorder:
    """Takes the pictures of one run and writes its images down, into the host's ledger unless another one is given."""

    def __init__(self, origin: Origin, ledger: Ledger | None = None) -> None:
        self.run = secrets.token_hex(8)
        self._ledger = ledger
        self._origin = origin
        self._settings = _settings_of(origin)
        self._active = True
        self._packed: PackedWorkflow | None = None

    def add(
        self, images: Sequence[torch.Tensor], judged: Sequence[Judged], info: ScorerInfo, first: int = 0
    ) -> list[Picture]:
        """Return a picture of each image [3, h, w], with its row of the ledger where it was recorded.

        `info` is the scorer of the judged scores; `first` the number of the first image within the run.
        """
        shots = pictures.take(images, first)
        if not self._active or not shots:
            return [shot.picture for shot in shots]
        ids = self._written([self._entry(shot, one, info) for shot, one in zip(shots, judged, strict=True)])
        return [replace(shot.picture, entry=row or None) for shot, row in zip(shots, ids, strict=True)]

    def _written(self, entries: list[Entry]) -> list[int]:
        try:
            ledger = self._ledger or the_ledger()
            if ledger is not None:
                return ledger.add(entries)
        except HpsError as error:
            warn_once(str(error))
        except Exception:
            log.warning("Scores could not be recorded; the run is not affected.", exc_info=True)
        self._active = False
        return [0] * len(entries)

    def _entry(self, shot: Shot, judged: Judged, info: ScorerInfo) -> Entry:
        packed = self._packed = self._packed or self._pack()
        return replace(
            replace(self._settings, **judged.made),
            prompt=judged.prompt,
            scorer=info.id,
            scorer_version=info.version,
            preprocess=info.preprocess,
            dtype=info.dtype,
            checkpoint=info.checkpoint,
            score=judged.score,
            parts=judged.parts,
            **self._seed(judged),
            width=shot.picture.width,
            height=shot.picture.height,
            image_hash=shot.picture.hash,
            thumbnail=shot.thumbnail,
            workflow=packed,
            run=self.run,
        )

    def _pack(self) -> PackedWorkflow | None:
        """Return the graph as the ledger keeps it; packed once, for a large one takes longer than the image's row."""
        origin = self._origin
        kind, graph = ("prompt", origin.graph) if origin.workflow is None else ("workflow", origin.workflow)
        return prepare_workflow(graph, kind) if graph else None

    def _seed(self, judged: Judged) -> dict[str, Any]:
        """Return seed and extra: all images of a batch carry the sampler's seed, which makes the first one only."""
        extra, given = {**self._settings.extra, **judged.extra}, self._settings.seed
        if judged.seed is not None:
            return {"seed": judged.seed, "extra": extra}
        if BATCH_INDEX not in extra:
            return {"seed": given, "extra": extra}
        return {"seed": None, "extra": extra | ({"batch_seed": str(given)} if given is not None else {})}


def _settings_of(origin: Origin) -> Entry:
    """Return an entry with what the graph says about the images that reach the node, and blanks for the rest."""
    blank = Entry(prompt="", scorer="", scorer_version="", preprocess="", dtype="", score=0.0, source="comfyui")
    try:
        found = graphsettings.read_at(origin.graph, origin.node)
    except Exception:  # the graph is whatever other packs make of it
        log.debug("The graph could not be read", exc_info=True)
        found = None
    if found is None:
        return blank
    return replace(
        blank,
        negative=found["negative"],
        model=_text(found["model"]),
        loras=tuple(found["loras"]),
        sampler=_text(found["sampler"]),
        scheduler=_text(found["scheduler"]),
        steps=_whole(found["steps"]),
        cfg=_number(found["cfg"]),
        denoise=_number(found["denoise"]),
        extra={"guidance": True} if found["guided"] else {},
        seed=None if found["sampler_class"] in SEARCHES else _whole(found["seed"]),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64 else None


# --- the ledger ------------------------------------------------------------------------------------------------------


def the_ledger() -> Ledger | None:
    """Return the host's ledger, or None when recording is off; raises LedgerError when it cannot be used."""
    chosen = settings.ledger_settings()
    return opened(chosen) if chosen.enabled else None


def opened(chosen: settings.LedgerSettings) -> Ledger:
    """Return the ledger whether or not anything is recorded now: what was recorded before may be looked at."""
    path = settings.ledger_folder() / "ledger.sqlite3"
    with _lock:
        known = _open.get(str(path))
        if known is None:
            known = _open[str(path)] = Ledger(path, max_bytes=chosen.max_bytes, busy_seconds=BUSY_SECONDS)
        known.max_bytes = chosen.max_bytes
        return known


def saved(files: Iterable[tuple[str, str]]) -> None:
    """Write down that images (hashes) were saved as files, relative to the output folder. Never raises."""
    try:
        ledger = the_ledger()
        if ledger is not None:
            ledger.saved_many(files)
    except HpsError as error:
        warn_once(str(error))
    except Exception:
        log.warning("It could not be recorded where an image was saved.", exc_info=True)


def warn_once(words: str) -> None:
    """Log and show a warning, unless it was told a short while ago."""
    now = time.monotonic()
    if now - _warned.get(words, -math.inf) < AGAIN:
        return
    _warned[words] = now
    log.warning("Scores are not recorded: %s", words)
    notice("warn", "HPS: scores are not recorded", words)
