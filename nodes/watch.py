"""What a person sees while a search runs: one bar over all candidates and steps, the best image so far, live events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management as mm
import comfy.utils
import latent_preview
import torch

from ..hpskit.images import to_pil
from ..hpskit.search import Progress
from ..hpskit.types import Candidate, Scorer
from . import shown
from .lockstep import StepReport
from .notices import send_event, without_nan
from .pictures import Picture
from .recording import Judged, Recorder

EVENT = "hps.candidate"
EVENT_SECONDS = 0.1
"""Least time between two events; candidates that come faster travel together."""


class Watch:
    """Progress of one search over `n` candidates of `steps` steps each, whose images are recorded as they come."""

    def __init__(
        self, n: int, steps: int, patcher: Any, node_id: str | None, scorer: Scorer, prompt: str, recorder: Recorder
    ) -> None:
        self._scorer, self._prompt, self._recorder = scorer, prompt, recorder
        self._total, self._steps, self._node_id = n * max(steps, 1), max(steps, 1), node_id
        self._bar = comfy.utils.ProgressBar(self._total)
        self._previewer = latent_preview.get_previewer(patcher.load_device, patcher.model.latent_format)
        self._finished = 0
        self._running: dict[int, int] = {}
        self._open = False
        self._best: int | None = None
        self._waiting: list[dict[str, Any]] = []
        self._sent = 0.0
        self._last: Progress | None = None
        self.pictures: dict[int, Picture] = {}
        """Picture of every candidate so far, by its index."""
        self.expected_gain = ""
        """What further candidates are expected to add to the best score, in words; empty while unknown."""

    def around(self, sample: Callable[[Sequence[int]], torch.Tensor]) -> Callable[[Sequence[int]], torch.Tensor]:
        """Return `sample` with the watch told that a chunk starts."""

        def begin(seeds: Sequence[int]) -> torch.Tensor:
            if self._open:  # the last chunk did not get as far as being scored: memory ran out
                mm.soft_empty_cache()
            self._open = True
            self._running.clear()
            return sample(seeds)

        return begin

    def on_step(self, position: int, report: StepReport) -> None:
        """Candidate `position` of the chunk made a step; raises the host's interrupt when one is pending."""
        self._running[position] = min(report.step + 1, self._steps)
        # Once a best image is known it stays in view: latents of later candidates would replace it.
        wanted = position == 0 and self._best is None and self._previewer is not None
        preview = self._previewer.decode_latent_to_preview_image("JPEG", report.x0) if wanted else None
        self._show(preview)

    def on_progress(self, progress: Progress) -> None:
        """A chunk was scored: show the best image so far and tell the interface about the candidates."""
        self._last, self._open = progress, False
        self._running.clear()
        self._finished = progress.done * self._steps
        if progress.expected_gain is not None:
            self.expected_gain = f"Expected gain of {progress.next_chunk} more: {progress.expected_gain:.3f}."
        best = progress.best
        if best.index != self._best and best.image is not None:
            self._best = best.index
            self._show(("JPEG", to_pil(best.image[0]), latent_preview.MAX_PREVIEW_RESOLUTION))
        self._show(None)
        self._record(progress)
        self._waiting += [self._as_json(candidate, progress) for candidate in progress.candidates]
        if time.monotonic() - self._sent >= EVENT_SECONDS or progress.done >= progress.total:
            self._send(progress)

    def finish(self) -> None:
        """Fill the bar, as an early stop leaves candidates undone, and send what still waits."""
        self._bar.update_absolute(self._total, self._total)
        if self._waiting and self._last is not None:
            self._send(self._last)

    def _record(self, progress: Progress) -> None:
        """Take pictures of the chunk and write it down at once: an interrupt later loses none of it."""
        fresh = [candidate for candidate in progress.candidates if candidate.image is not None]
        if not fresh:
            return
        main = progress.ranking.main
        info = getattr(self._scorer, "members", {}).get(main, self._scorer).info
        judged = [self._judged(candidate, main) for candidate in fresh]
        images = [candidate.image[0] for candidate in fresh if candidate.image is not None]
        taken = self._recorder.add(images, judged, info, fresh[0].index)
        self.pictures |= {candidate.index: picture for candidate, picture in zip(fresh, taken, strict=True)}

    def _judged(self, candidate: Candidate, main: str) -> Judged:
        parts = candidate.scores if len(candidate.scores) > 1 else {}
        return Judged(candidate.scores.get(main, math.nan), self._prompt, parts, candidate.seed)

    def _as_json(self, candidate: Candidate, progress: Progress) -> dict[str, Any]:
        # Seeds reach 2^64, which JavaScript's numbers do not hold.
        named = {"index": candidate.index, "seed": str(candidate.seed), "scores": dict(candidate.scores)}
        score = candidate.scores.get(progress.ranking.main)
        return named | {"score": score} | shown.picture_files(self.pictures.get(candidate.index))

    def _show(self, preview: Any) -> None:
        mm.throw_exception_if_processing_interrupted()  # newer hosts' bars skip updates, and this check with them
        self._bar.update_absolute(self._finished + sum(self._running.values()), self._total, preview)

    def _send(self, progress: Progress) -> None:
        data = {"node": self._node_id, "run": self._recorder.run, "candidates": self._waiting}
        data |= {"done": progress.done, "total": progress.total, "expected_gain": progress.expected_gain}
        data |= {"best": self._as_json(progress.best, progress)}
        self._waiting, self._sent = [], time.monotonic()
        send_event(EVENT, without_nan(data))
