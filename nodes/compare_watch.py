"""What a person sees while settings are compared: the bar, the newest best picture, cells as they come."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import comfy.model_management as mm
import comfy.utils
import latent_preview
import torch

from ..hpskit.images import to_pil
from . import shown_study
from .lockstep import StepReport
from .notices import send_event
from .pictures import Picture
from .shown_study import EVENT, Place

FEW, SECONDS, SECONDS_OF_MANY = 100, 0.1, 1.0
"""Least seconds between two events, for a few settings and for many, whose labels make an event long."""


class CompareWatch:
    """Progress of one comparison; `steps` are those of each setting, `blocks` its cells: prompts times seeds."""

    def __init__(self, node: str | None, run: str, head: Mapping[str, Any], steps: Sequence[int], blocks: int) -> None:
        self._node, self._run, self._head, self._steps = node, run, head, steps
        self._units, self._cells = sum(steps) * blocks, len(steps) * blocks
        self._bar = comfy.utils.ProgressBar(self._units)
        self._done = self._done_cells = self._reused = self._measured = 0
        self._sampled_for = 0.0
        self._running: dict[int, int] = {}
        self._best: dict[int, float] = {}
        self._previewer: Any = None
        self._now = (0, 0)
        self._waiting: list[Any] = []
        self._sent = -math.inf

    def found(self, cells: Sequence[tuple[Place, float, Picture]]) -> None:
        """Show the cells of earlier runs."""
        self._reused = len(cells)
        for place, score, picture in cells:
            self._count(place, score, picture)
            self._beats(place, score)
        self._show(None)
        self._send()

    def begin(self, setting: int, prompt: int, patcher: Any) -> None:
        """Cells of a setting and a prompt are sampled now."""
        self._now = (setting, prompt)
        self._running.clear()
        self._previewer = latent_preview.get_previewer(patcher.load_device, patcher.model.latent_format)

    def around(self, sample: Callable[[Sequence[int]], torch.Tensor]) -> Callable[[Sequence[int]], torch.Tensor]:
        """Return `sample` with the watch told that a chunk starts, possibly once more with fewer seeds."""

        def begin(seeds: Sequence[int]) -> torch.Tensor:
            self._running.clear()
            return sample(seeds)

        return begin

    def on_step(self, position: int, report: StepReport) -> None:
        """Image `position` of the chunk made a step; raises the host's interrupt when one is pending."""
        setting, prompt = self._now
        self._running[position] = min(report.step + 1, self._steps[setting])
        # Once a picture of this prompt is known it stays in view: latents of later ones would replace it.
        wanted = position == 0 and prompt not in self._best and self._previewer is not None
        self._show(self._previewer.decode_latent_to_preview_image("JPEG", report.x0) if wanted else None)

    def scored(
        self, cells: Sequence[tuple[Place, float, Picture]], images: Sequence[torch.Tensor], took: float
    ) -> None:
        """Show the cells of a chunk, which took so many seconds."""
        self._running.clear()
        preview = None
        for (place, score, picture), image in zip(cells, images, strict=True):
            self._count(place, score, picture)
            self._measured += self._steps[place[0]]
            if self._beats(place, score):
                preview = ("JPEG", to_pil(torch.nan_to_num(image)), latent_preview.MAX_PREVIEW_RESOLUTION)
        self._sampled_for += took
        self._show(preview)
        if time.monotonic() - self._sent >= (SECONDS if len(self._steps) <= FEW else SECONDS_OF_MANY):
            self._send()

    def finish(self) -> None:
        """Fill the bar, as cells may be left out, and send what still waits."""
        self._bar.update_absolute(self._units, self._units)
        self._send()

    def _count(self, place: Place, score: float, picture: Picture) -> None:
        self._done += self._steps[place[0]]
        self._done_cells += 1
        kept = picture if self._done_cells <= shown_study.MOST_PICTURES else None
        self._waiting.append(shown_study.cell_item(place, score, kept))

    def _beats(self, place: Place, score: float) -> bool:
        """Tell whether a picture is the best of its prompt so far: only these compare."""
        better = score > self._best.get(place[1], -math.inf)
        if better:
            self._best[place[1]] = score
        return better

    def _eta(self) -> float | None:
        """Return the seconds that the rest will take at the pace of this run; None before the first image."""
        return (self._units - self._done) * self._sampled_for / self._measured if self._measured else None

    def _show(self, preview: Any) -> None:
        mm.throw_exception_if_processing_interrupted()  # newer hosts' bars skip updates, and this check with them
        self._bar.update_absolute(min(self._done + sum(self._running.values()), self._units), self._units, preview)

    def _send(self) -> None:
        cells, self._waiting, self._sent = self._waiting, [], time.monotonic()
        counts = {"done": self._done_cells, "total": self._cells, "reused": self._reused, "eta": self._eta()}
        send_event(EVENT, shown_study.live(self._node, self._run, self._head, cells, **counts))
