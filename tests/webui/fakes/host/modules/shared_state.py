"""The state of the running job: what Interrupt, Skip and progress act on."""

from __future__ import annotations

import time
from typing import Any


class State:
    skipped = False
    interrupted = False
    stopping_generation = False
    job: Any = ""
    job_no = 0
    job_count = 0
    processing_has_refined_job_count = False
    job_timestamp = "0"
    sampling_step = 0
    sampling_steps = 0
    current_latent: Any = None
    current_image: Any = None
    current_image_sampling_step = 0
    id_live_preview = 0
    textinfo: Any = None
    time_start: float | None = None

    def skip(self) -> None:
        self.skipped = True

    def interrupt(self) -> None:
        self.interrupted = True

    def stop_generating(self) -> None:
        self.stopping_generation = True

    def nextjob(self) -> None:
        self.job_no += 1
        self.sampling_step = self.current_image_sampling_step = 0

    def dict(self) -> dict[str, Any]:
        names = (
            "skipped interrupted stopping_generation job job_count job_timestamp job_no sampling_step sampling_steps"
        )
        return {name: getattr(self, name) for name in names.split()}

    def begin(self, job: str = "(unknown)") -> None:
        self.time_start, self.job, self.job_count, self.job_no = time.time(), job, -1, 0
        self.job_timestamp = time.strftime("%Y%m%d%H%M%S")
        self.skipped = self.interrupted = self.stopping_generation = self.processing_has_refined_job_count = False
        self.sampling_step = self.current_image_sampling_step = self.id_live_preview = 0
        self.current_latent = self.current_image = self.textinfo = None

    def end(self) -> None:
        self.job, self.job_count = "", 0

    def set_current_image(self) -> None:
        """Nothing: nobody watches a preview here."""

    def assign_current_image(self, image: Any) -> None:
        self.current_image = image
        self.id_live_preview += 1
