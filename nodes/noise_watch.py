"""What a person sees while a noise is optimised: one bar, the best image so far, and the curve as live events."""

from __future__ import annotations

import math
import time
from typing import Any, cast

import comfy.model_management as mm
import comfy.utils
import latent_preview

from ..hpskit.images import to_pil
from ..hpskit.search.objective import Evaluation
from ..hpskit.search.trace import NoiseSearch, Point, Update
from . import pictures
from .lockstep import StepReport
from .notices import send_event, without_nan
from .watch import EVENT_SECONDS

EVENT = "hps.optimize"
UNITS = 1000
"""Length of the bar; an iteration may be a small part of it."""


class NoiseWatch:
    """Progress of one noise optimisation whose images take `steps` steps each."""

    def __init__(self, steps: int, patcher: Any, node_id: str | None, run: str) -> None:
        self._steps, self._node_id, self._run = max(steps, 1), node_id, run
        self._pictured: Evaluation | None = None
        self._picture_taken: pictures.Picture | None = None
        self._bar = comfy.utils.ProgressBar(UNITS)
        self._previewer = latent_preview.get_previewer(patcher.load_device, patcher.model.latent_format)
        self._shown, self._done = 0, 0.0
        self._running: dict[int, int] = {}
        self._waiting: list[dict[str, Any]] = []
        self._sent = 0.0
        self.share = 0.0
        """Part of the whole work that one image is; moves the bar between two reports."""
        self.main = ""
        """Key of the score that is shown."""
        self.start: Evaluation | None = None
        self.best: Evaluation | None = None
        """Best so far, kept here, too, so that an interrupt loses nothing."""

    def begin_images(self) -> None:
        """A render begins."""
        self._running.clear()
        self._show(None)

    def on_step(self, position: int, report: StepReport) -> None:
        """Image `position` of the render made a step; raises the host's interrupt when one is pending."""
        self._running[position] = min(report.step + 1, self._steps)
        # Once a best image is known it stays in view: latents of later ones would replace it.
        wanted = position == 0 and self.best is None and self._previewer is not None
        x0 = report.x0.detach()
        self._show(self._previewer.decode_latent_to_preview_image("JPEG", x0) if wanted else None)

    def on_progress(self, update: Update) -> None:
        """An image was scored: show the best so far and tell the interface about the point."""
        self._running.clear()
        self._done = update.done
        self.start = self.start or update.current
        preview = None
        if update.best is not self.best:
            self.best = update.best
            preview = ("JPEG", to_pil(update.best.image[0]), latent_preview.MAX_PREVIEW_RESOLUTION)
        self._waiting.append(point_json(update.point, self.main))
        if time.monotonic() - self._sent >= EVENT_SECONDS:
            self._send(None)
        self._show(preview)

    def finish(self, found: NoiseSearch) -> None:
        """Fill the bar, as an early stop leaves work undone, and say why the run ended."""
        self._bar.update_absolute(UNITS, UNITS)
        self._done = 1.0
        self._send(found)

    def _show(self, preview: Any) -> None:
        mm.throw_exception_if_processing_interrupted()  # newer hosts' bars skip updates, and this check with them
        between = self.share * sum(self._running.values()) / self._steps
        # Never back, and full only at the end.
        self._shown = max(self._shown, min(UNITS - 1, int(UNITS * (self._done + between))))
        self._bar.update_absolute(self._shown, UNITS, preview)

    def _send(self, found: NoiseSearch | None) -> None:
        data = {"node": self._node_id, "done": self._done, "points": self._waiting}
        data |= {"run": self._run, "unit": "score", "image": self._picture()}
        data |= {"stopped": found.stopped if found else None, "reason": found.reason if found else ""}
        self._waiting, self._sent = [], time.monotonic()
        send_event(EVENT, without_nan(data))

    def _picture(self) -> dict[str, str] | None:
        """Return where the best image so far is, when it is another than was told last."""
        if self.best is None or self.best is self._pictured:
            return None
        self._pictured = self.best
        before, self._picture_taken = self._picture_taken, pictures.take([self.best.image[0]])[0].picture
        if before is not None:  # the browser shows the newest only
            pictures.drop(before.name)
            pictures.drop(before.thumbnail_name)
        return cast("dict[str, str] | None", self._picture_taken.files()["image"])


def point_json(point: Point, main: str) -> dict[str, Any]:
    """Return a point of the curve as the interface takes it: scores are those of the main scorer, angles degrees."""
    return {
        "phase": point.phase,
        "start": point.start,
        "iteration": point.iteration,
        "images": point.images,
        "equivalents": point.equivalents,
        "seconds": point.seconds,
        "score": point.scores.get(main),
        "best": point.best_scores.get(main),
        "angle": math.degrees(point.angle),
        "norm": point.norm,
        "held_out": point.held_out,
        "skipped": point.skipped,
    }
