"""Samples and scores the cells of a comparison that are not known yet, prompt by prompt, a chunk of seeds at a time."""

from __future__ import annotations

import gc
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management as mm
import comfy.samplers
import torch

from ..hpskit.errors import Cancelled
from ..hpskit.search.making import Maker
from ..hpskit.study.design import Design, Recipe
from ..hpskit.types import Scorer
from . import sampling
from .compare_cells import Cells, Cost
from .compare_models import Models
from .compare_watch import CompareWatch
from .sampling import AUTO_LIMIT
from .shown_study import Place

log = logging.getLogger("hps")

PATIENCE = 3
"""Times that a setting may fail before it is given up; one that never worked is given up at once."""


@dataclass(frozen=True)
class Plan:
    """What is compared, over which blocks, and how."""

    design: Design
    prompts: tuple[str, ...]
    scored: tuple[str, ...]
    """What the images of each prompt are scored against."""
    seeds: tuple[int, ...]
    negative: str = ""
    denoise: float = 1.0
    exact: bool = False
    quantize: bool = True
    chunk: int = 0
    seconds: float = 0.0

    def places(self) -> Iterator[Place]:
        """Yield every cell: by setting, prompt and seed."""
        for setting in range(len(self.design.settings)):
            for prompt in range(len(self.prompts)):
                yield from ((setting, prompt, seed) for seed in range(len(self.seeds)))


class CountingGuider(comfy.samplers.CFGGuider):  # type: ignore[misc]
    """The host's guider, counting how many latents the model was asked about."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.asked = [0]
        """One number, shared by the copies that the host's functions make."""

    def predict_noise(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Ask the model."""
        self.asked[0] += len(x)
        answer: torch.Tensor = super().predict_noise(x, *args, **kwargs)
        return answer


class Runner:
    """Fills the cells of a plan; whatever one setting does wrong costs that setting only."""

    def __init__(
        self, plan: Plan, models: Models, scorer: Scorer, cells: Cells, watch: CompareWatch, keys: Mapping[Place, str]
    ) -> None:
        self.plan, self.models, self.scorer, self.cells, self.watch, self.keys = (
            plan,
            models,
            scorer,
            cells,
            watch,
            keys,
        )
        self.notes: list[str] = []
        self.failures: dict[int, list[str]] = {}
        self.error: Exception | None = None
        self.stopped = False
        self.sampled = 0
        self._most = plan.chunk
        self._info = getattr(scorer, "members", {}).get(cells.main, scorer).info

    def run(self, latent: dict[str, Any], common: Callable[[Recipe, int], Mapping[str, Any]]) -> None:
        """Sample what is missing; `common` gives the fields of the rows of a recipe and a prompt.

        Raises the host's interrupt at once, and the first error where not a single cell could be made.
        """
        start = time.monotonic()
        for setting, prompt, seeds in self._jobs():
            if self._is_given_up(setting):
                continue
            if self.plan.seconds and time.monotonic() - start >= self.plan.seconds:
                self.stopped = True
                break
            recipe = self.plan.design.recipes[setting]
            try:
                self._make(setting, prompt, seeds, latent, common(recipe, prompt))
            except Exception as error:
                self._failed(setting, error)
            else:
                continue
            # Only here is the error gone, and with it the frames that held the tensors of the attempt.
            gc.collect()
            mm.soft_empty_cache()
        if self.error is not None and not self.cells.found:
            raise self.error

    def _jobs(self) -> Iterator[tuple[int, int, list[int]]]:
        """Yield setting, prompt and seeds of what is missing, so that a run that is stopped is balanced.

        Only checkpoints come one after the other: to change them takes longer than to sample.
        """
        recipes, size = self.plan.design.recipes, self.plan.chunk or AUTO_LIMIT
        for checkpoint in dict.fromkeys(recipe.checkpoint for recipe in recipes):
            ours = [k for k, recipe in enumerate(recipes) if recipe.checkpoint == checkpoint]
            for prompt in range(len(self.plan.prompts)):
                for first in range(0, len(self.plan.seeds), size):
                    chunk = range(first, min(first + size, len(self.plan.seeds)))
                    for setting in ours:
                        missing = [k for k in chunk if (setting, prompt, k) not in self.cells.found]
                        if missing:
                            yield setting, prompt, missing

    def _make(
        self, setting: int, prompt: int, seeds: list[int], latent: dict[str, Any], common: Mapping[str, Any]
    ) -> None:
        """Sample, decode, score and write down some seeds of a setting and a prompt, in as many chunks as it takes."""
        recipe = self.plan.design.recipes[setting]
        model = self.models.model(recipe)
        self.watch.begin(setting, prompt, model)
        job, asked = self._sampling(recipe, prompt, model, latent)
        if not self._most:
            self._most = sampling.auto_chunk(model, job.latent["samples"].shape, len(self.plan.seeds))
        clock = _Clock()
        maker = self._maker(job, clock, recipe, prompt)
        while seeds:
            clock.seconds, asked[0], start = 0.0, 0, time.monotonic()
            fresh = maker.make([self.plan.seeds[k] for k in seeds], 0)
            now, seeds = seeds[: len(fresh)], seeds[len(fresh) :]
            places = [(setting, prompt, k) for k in now]
            sides = 1 if recipe.cfg == 1.0 else 2
            cost = Cost(round(asked[0] * sides / len(fresh)), clock.seconds / len(fresh))
            self.cells.add(places, [self.keys[at] for at in places], fresh, recipe, cost, self._info, common)
            self.sampled += len(fresh)
            self._tell(places, [made.image[0] for made in fresh if made.image is not None], time.monotonic() - start)
            self._most = min(self._most, maker.chunk)
        for text in maker.warnings:
            self.note(text)

    def _sampling(
        self, recipe: Recipe, prompt: int, model: Any, latent: dict[str, Any]
    ) -> tuple[sampling.Sampling, list[int]]:
        """Return what a KSampler with these settings does, and the count of its questions to the model."""
        positive, negative = self.models.conditioning(recipe, self.plan.prompts[prompt], self.plan.negative)
        job = sampling.plain_sampling(
            model,
            positive,
            negative,
            latent,
            seed=self.plan.seeds[0],
            steps=recipe.steps,
            cfg=recipe.cfg,
            sampler_name=recipe.sampler,
            scheduler=recipe.scheduler,
            denoise=self.plan.denoise,
        )
        guider = CountingGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(recipe.cfg)
        return replace(job, guider=guider, exact=self.plan.exact, on_step=self.watch.on_step), guider.asked

    def _maker(self, job: sampling.Sampling, clock: _Clock, recipe: Recipe, prompt: int) -> Maker:
        return Maker(
            clock.around(self.watch.around(job)),
            clock.around(sampling.decoder(self.models.vae(recipe))),
            self.scorer,
            self.plan.scored[prompt],
            self._most,
            self.plan.quantize,
            sampling.is_out_of_memory,
            None,
        )

    def _tell(self, places: Sequence[Place], images: Sequence[torch.Tensor], took: float) -> None:
        shown = [(at, self.cells.found[at].score, self.cells.pictures[at]) for at in places]
        self.watch.scored(shown, images, took)

    # --- failures -----------------------------------------------------------------------------------------------------

    def _is_given_up(self, setting: int) -> bool:
        failures = len(self.failures.get(setting, ()))
        return failures >= (PATIENCE if setting in self.cells.costs else 1)

    def _failed(self, setting: int, error: Exception) -> None:
        """Note what a setting did wrong; interrupts go on."""
        if isinstance(error, (mm.InterruptProcessingException, Cancelled)):
            raise error
        label = self.plan.design.settings[setting].label
        log.warning("The setting %s failed and is left out: %s", label, error, exc_info=True)
        said = (str(error) or type(error).__name__).strip().splitlines()[0]
        self.failures.setdefault(setting, []).append(said)
        error.__cause__ = error.__context__ = None
        self.error = self.error or error.with_traceback(None)

    def note(self, text: str) -> None:
        """Keep a note, once."""
        if text not in self.notes:
            self.notes.append(text)


class _Clock:
    """Adds up the seconds of the calls that it is put around."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, call: Callable[[Any], torch.Tensor]) -> Callable[[Any], torch.Tensor]:
        """Return the call with its time counted."""

        def timed(argument: Any) -> torch.Tensor:
            start = time.monotonic()
            try:
                return call(argument)
            finally:
                self.seconds += time.monotonic() - start

        return timed


def typical(costs: Sequence[Cost]) -> Cost:
    """Return evaluations and seconds of one image in the middle: the first one also waits for the model."""
    return Cost(
        round(statistics.median(cost.evaluations for cost in costs)), statistics.median(cost.seconds for cost in costs)
    )
