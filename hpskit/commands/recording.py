"""What the commands write into the ledger: every scored picture, once.

Recording is a convenience: whatever goes wrong with it costs one remark and ends it for this run, never the run. What
is kept of a picture (hash, size, thumbnail) is taken in the decode threads while its pixels are at hand.
"""

from __future__ import annotations

import argparse
import logging
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import HpsError
from . import console, ledger_place

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ..ledger import Ledger
    from ..ledger.scored import Trace
    from ..metadata import PromptInfo
    from ..types import ScorerInfo
    from .bulk import Scored
    from .inputs import Job

_log = logging.getLogger("hps")


class Recorder:
    """Writes scored pictures into a ledger for one run of a command, or does nothing; a context manager.

    `look` may be called from any thread; everything else belongs to the main one.
    """

    def __init__(self, ledger: Ledger | None) -> None:
        self._ledger = ledger
        self._run = uuid.uuid4().hex
        self._traces: dict[Job, tuple[Trace, dict[str, Any]]] = {}
        """With the fields of an entry that tell how the picture was made."""
        self._hashes: dict[Path, str] = {}

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            with suppress(Exception):  # every row is on the disk already
                ledger.close()

    @property
    def active(self) -> bool:
        """Whether anything is recorded (still)."""
        return self._ledger is not None

    def look(self, job: Job, image: Tensor, info: PromptInfo | None) -> Trace | None:
        """Keep what an entry needs of a picture, uint8 [3, H, W], until its score is known; never raises.

        Returns it too; None when nothing is recorded.
        """
        if self._ledger is None:
            return None
        from ..ledger import scored

        try:
            trace = scored.trace_of(scored.picture_of(image))
            self._traces[job] = (trace, scored.made_of(info))
        except Exception as error:  # one strange picture must not fail for its entry's sake
            _log.info("%s gets no entry in the ledger", job.path, exc_info=error)
            return None
        return trace

    def scored(self, job: Job, result: Scored | None) -> None:
        """Write the entry of a picture that was looked at; without a result only forget it."""
        found = self._traces.pop(job, None)
        if self._ledger is None or found is None or result is None:
            return
        trace, made = found
        file = os.path.abspath(job.path)  # noqa: PTH100
        if self._write(result.prompt, result.record, trace, file=file, **made):
            self._hashes[job.path] = trace.image_hash

    def made(self, picture: Image, prompt: str, info: ScorerInfo, score: float, **settings: Any) -> str:
        """Write the entry of a picture that was made here; return its hash, "" when nothing is recorded."""
        if self._ledger is None:
            return ""
        from ..ledger.scored import trace_of

        try:
            trace = trace_of(picture)
        except Exception as error:
            _log.info("a picture gets no entry in the ledger", exc_info=error)
            return ""
        return trace.image_hash if self._write(prompt, identity(info, score), trace, **settings) else ""

    def saved(self, image_hash: str, file: Path) -> None:
        """Note where a recorded picture lies."""
        if self._ledger is not None and image_hash:
            try:
                self._ledger.saved(image_hash, os.path.abspath(file))  # noqa: PTH100
            except Exception as error:
                self._give_up(error)

    def moved(self, source: Path, target: Path) -> None:
        """Note that a picture of this run lies somewhere else now."""
        self.saved(self._hashes.get(source, ""), target)

    def _write(self, prompt: str, record: Mapping[str, Any], trace: Trace, **made: Any) -> bool:
        if self._ledger is None:
            return False
        from ..ledger.scored import entry_of

        try:
            self._ledger.add([entry_of(record, prompt, trace, source="cli", run=self._run, **made)])
        except Exception as error:
            self._give_up(error)
            return False
        return True

    def _give_up(self, error: Exception) -> None:
        """Say once that nothing more is recorded."""
        tell(error)
        ledger, self._ledger = self._ledger, None
        self._traces.clear()
        with suppress(Exception):
            if ledger is not None:
                ledger.close()


def opened(args: argparse.Namespace) -> Recorder:
    """Return the recorder that the command line asks for; one that does nothing when it is switched off or fails."""
    if args.no_ledger or (args.ledger is None and ledger_place.is_off()):
        return Recorder(None)
    try:
        path = ledger_place.place(args.ledger)
        if args.ledger is not None:  # a slip may name any file, and that is not to be set aside as damaged
            ledger_place.insist_on_ledger(path)
        return Recorder(ledger_place.opened(args.ledger, path))
    except Exception as error:
        tell(error)
        return Recorder(None)


def tell(error: Exception) -> None:
    """Say why nothing is recorded; the scores are not affected."""
    _log.info("recording ends", exc_info=error)
    reason = str(error) if isinstance(error, HpsError) else f"{type(error).__name__}: {error}."
    console.note(f"Nothing more is recorded in this run: {reason} The scores are not affected.")


# --- what is recorded -------------------------------------------------------------------------------------------------


def identity(info: ScorerInfo, score: float) -> dict[str, Any]:
    """Return the part of a record that tells which scorer gave a score."""
    return {
        "value": score,
        "scorer": info.id,
        "version": info.version,
        "preprocess": info.preprocess,
        "dtype": info.dtype,
        "checkpoint": info.checkpoint,
    }
