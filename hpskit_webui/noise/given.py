"""Pictures from a noise that is there already: an optimised one, out of its file."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from ...hpskit.errors import HpsError, NoiseError
from .. import infotext, settings
from ..best_of_n import planning
from ..best_of_n.interruption import Interruption
from ..bridge import host
from ..first_pass import sampling
from ..job import Job, number_of
from ..options import SCORE, Options
from . import files as noise_files
from . import report as noise_report

log = logging.getLogger("hps")


class GivenNoise(Job):
    """Makes pictures from the noise of a file, and scores them."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.stored: Any = None
        self._file = b""
        self.noises: dict[int, str] = {}
        """What the infotext says of the noise of a picture, by its number."""
        self.interruption = Interruption()
        self.broken: set[int] = set()
        """Numbers of pictures that were left half made."""
        self._tags: dict[int, str] = {}
        self.trouble = ""
        """Why nothing more is scored; pictures still get their noise files."""

    def before_process(self, p: Any) -> None:
        """Read the noise file; its seed is taken where the person leaves the seed to chance. Raises NoiseError."""
        if planning.chosen_already(p):
            self.options = replace(self.options, mode=SCORE, noise_file="")
        if not self.options.noise_file:
            return
        self.stored = noise_files.read(self.options.noise_file)
        self._file = noise_files.content(self.options.noise_file)
        seed = self.stored.record.seed
        if p.seed in (-1, "", None):
            p.seed = seed
        elif p.seed != seed and not isinstance(p.seed, list):
            self.notes.append(
                f"the noise was made with the seed {seed}; with another one, samplers that add noise on their way and "
                "hires fix give another image."
            )

    def process(self, p: Any) -> None:
        """Put the fields of the infotext in."""
        super().process(p)
        if self.stored is not None:
            p.extra_generation_params[noise_report.NOISE] = infotext.per_picture(self.noises.get)

    def process_batch(self, p: Any) -> None:
        """Stand before the host's sampling."""
        if self.stored is not None and not self.failure:
            sampling.take_over(p, partial(self._sample, p))

    def before_every_sampling(self, p: Any, x: Any, noise: Any, c: Any, uc: Any) -> None:
        """Let the watch of a pass sit down."""
        sampling.before_every_sampling(p)

    def given(self, p: Any) -> Tensor | None:
        """Return the noise of the file; raises NoiseError when it is for another size or kind of model."""
        if self.stored is None:
            return None
        shape, wanted = list(self.stored.noise.shape[1:]), list(p.rng.shape)
        if shape != wanted:
            raise NoiseError(
                f"The noise file is for images of {_size(shape)}, and this one has {_size(wanted)}. Use the size and "
                "the kind of model that it was made with. The image was made without the file, and not scored."
            )
        return self.stored.noise  # type: ignore[no-any-return]

    def _sample(self, p: Any, call: sampling.Call) -> Any:
        """Stand for p.sample."""
        noise = None
        try:
            noise = self.given(p)
        except HpsError as error:
            self.failure = str(error)
        chosen = None if noise is None else noise.expand(len(call.seeds), *noise.shape[1:])
        if noise is not None:
            for place in range(len(call.seeds)):
                self._remember(p.iteration * p.batch_size + place, self._file)
        sampling.arm(p, call.seeds, call.subseeds, chosen)
        return sampling.finish(p, call)

    def _remember(self, number: int, file: bytes) -> None:
        """Have the noise of a picture named in its infotext, and its file written beside it."""
        digest = noise_files.keep(file)
        self.noises[number] = digest[:12]
        if self.options.save_noise and settings.get("hps_save_noise"):
            self._tags[number] = digest

    def image_done(self, p: Any, pp: Any) -> None:
        """Score a finished picture and name its noise in it; one that was broken off gets no score."""
        if number_of(p) in self._tags:
            pp.image.info[noise_files.TAG] = self._tags[number_of(p)]
        if number_of(p) not in self.broken and not self.trouble and not host.interrupted():
            super().image_done(p, pp)

    def fail(self, error: Exception) -> None:
        """Give up scoring, but not what pictures begin with and the files that keep it."""
        if not self.trouble:
            self.trouble = f"no more scores: {error}"
            log.warning("%s", self.trouble)

    def postprocess(self, p: Any, processed: Any) -> None:
        """Put lists in place of callables, and say how it went."""
        noise_report.settle(processed, noise_report.NOISE, self.noises)
        self.failure = self.failure or self.trouble
        super().postprocess(p, processed)


def _size(shape: list[int]) -> str:
    """Return the shape of a latent [C, h, w] as a person knows it."""
    channels, height, width = shape
    return f"{8 * width} x {8 * height} pixels ({channels} latent channels)"
