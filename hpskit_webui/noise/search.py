"""Noise optimisation in a generation: for every picture a better starting noise, which the host then goes on from."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...hpskit.errors import Cancelled, GradientError, NoiseError
from .. import settings
from ..best_of_n import contest, planning
from ..bridge import host
from ..bridge.residency import torch_gc
from ..first_pass import sampling
from ..options import GRADIENT, SCORE, Options
from . import report as noise_report
from . import whole
from .given import GivenNoise
from .passes import METHODS, Passes, Sturdy
from .whole import BEFORE_HIRES, Found, trace_of, words_of

if TYPE_CHECKING:
    from ...hpskit.search.method import Method
    from ...hpskit.search.objective import Objective
    from ...hpskit.search.trace import Update

log = logging.getLogger("hps")


class NoiseJob(GivenNoise):
    """Improves the starting noise of every picture for its own prompt and seed."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.starts: dict[int, str] = {}
        self.iterations: dict[int, str] = {}
        self._off = self._flown = False
        """Whether there is no gradient, so that pictures are made as usual; and whether that has been tried."""

    # --- callbacks ---

    def process(self, p: Any) -> None:
        """Put the fields of the infotext in."""
        super().process(p)
        if self._searches:
            told = (self.starts.get, self.iterations.get, self.noises.get)
            p.extra_generation_params.update(noise_report.fields(self.options, *told))

    @property
    def _searches(self) -> bool:
        return self.options.mode != SCORE and not self._off

    def process_batch(self, p: Any) -> None:
        """Stand before the host's sampling."""
        if not self._searches or self.failure or self.trouble:
            super().process_batch(p)
            return
        if p.iteration == 0:
            contest.more_jobs(p.n_iter * p.batch_size * self._passes(p))
        sampling.take_over(p, partial(self._sample, p))

    def _passes(self, p: Any) -> int:
        """Return how many passes the search for one picture makes when it runs to its end."""
        gradient = self.options.mode == GRADIENT
        chunk, children = (1, 1) if gradient else (p.batch_size, self.options.population)
        return -(-self.options.screen // chunk) + self.options.iterations * -(-children // chunk)

    def postprocess(self, p: Any, processed: Any) -> None:
        """Put the host's flags back, and say how it went."""
        self.interruption.end()
        noise_report.settle(processed, noise_report.START, self.starts)
        noise_report.settle(processed, noise_report.ITERATIONS, self.iterations)
        noise_report.settle_method(processed, self.options, bool(self.starts))
        super().postprocess(p, processed)

    # --- one batch ---

    def _sample(self, p: Any, call: sampling.Call) -> Any:
        """Stand for p.sample: find a noise for every picture of the batch, and let the host go on from these."""
        if not self._searches:
            return super()._sample(p, call)
        found: list[Found] = []
        try:
            with self._counted(p, len(call.seeds)):
                self._search_all(p, call, found)
        except NoiseError as error:
            self.failure = f"the noise was not optimised: {error}"
        except Exception as error:
            self._make_as_usual("the noise was not optimised", error)
        finally:
            contest.thaw()
        return self._hand_over(p, call, found)

    @contextmanager
    def _counted(self, p: Any, pictures: int) -> Iterator[None]:
        """Take the passes that are not made after all out of the host's progress bars."""
        from modules import shared

        each, before = self._passes(p), shared.state.job_no
        try:
            yield
        finally:
            left = 0 if self._searches and not self.failure else p.n_iter - p.iteration - 1
            contest.more_jobs(shared.state.job_no - before - pictures * each - left * p.batch_size * each)

    def _search_all(self, p: Any, call: sampling.Call, found: list[Found]) -> None:
        for place in range(len(call.seeds)):
            one = self._search(p, call, place)
            if one is not None:
                found.append(one)
            if one is None or self.interruption.held:
                return

    def _make_as_usual(self, what: str, error: Exception) -> None:
        """Search no more; pictures are made as usual and scored."""
        self._off = True
        why = f"{what}, so the image is made as usual: {words_of(error)}"
        self.notes.append(why)
        log.warning("%s", why, exc_info=trace_of(error))
        torch_gc()

    def _hand_over(self, p: Any, call: sampling.Call, found: list[Found]) -> Any:
        if not self.interruption.held:  # after a failure the others keep the noise of their seeds
            rest = range(len(found), len(call.seeds))
            found = [*found, *(Found(self._noise(p, call.seeds[k], call.subseeds[k])) for k in rest)]
        if not found:
            return self._half_made(p, call, "stopped before the first image was finished.")
        try:
            if self.interruption.held or any(one.search is not None for one in found):
                found = self._made_whole(p, call, found)
            made, left_out = whole.hand_over(p, call, found, self.interruption)
        except Cancelled:
            return self._half_made(p, call, "stopped again while the best image was made.")
        except NoiseError as error:
            return self._half_made(p, call, str(error))
        if left_out and BEFORE_HIRES not in self.notes:
            self.notes.append(BEFORE_HIRES)
        return made

    def _made_whole(self, p: Any, call: sampling.Call, found: list[Found]) -> list[Found]:
        """Sample what is not sampled yet, one by one, as from its file; raises Cancelled when nothing is whole."""
        ready: list[Found] = []
        try:
            for place, one in enumerate(found):
                known = one.raw is not None
                ready.append(one if known else whole.sampled(p, call, place, one, self.interruption))
        except Cancelled:
            if not ready:
                raise
            return ready
        except Exception as error:
            if self.interruption.held:
                raise NoiseError(f"the best image could not be made: {words_of(error)}") from error
            log.warning("An optimised noise could not be sampled.", exc_info=trace_of(error))
            torch_gc()
            return found  # the host tries it in its own way
        return ready

    def _half_made(self, p: Any, call: sampling.Call, why: str) -> Any:
        """Let the host break the batch off: what it makes of it gets no score and is not saved."""
        from modules import shared

        start = p.iteration * p.batch_size
        numbers = range(start, start + len(call.seeds))
        self.broken.update(numbers)
        for known in (self.starts, self.iterations, self.noises, self._tags):
            for number in numbers:
                known.pop(number, None)
        self.notes.append(why)
        shared.state.skipped = not self.interruption.held
        self.interruption.drop()
        sampling.arm(p, call.seeds, call.subseeds)
        return sampling.finish(p, call)

    def _noise(self, p: Any, seed: int, subseed: int) -> Tensor:
        given = self.given(p) if not self.failure else None
        return given if given is not None else sampling.noise_of(p, [seed], [subseed])

    def _search(self, p: Any, call: sampling.Call, place: int) -> Found | None:
        """Find a noise for one picture; None when the person has interrupted before there was any."""
        noise = self._noise(p, call.seeds[place], call.subseeds[place])
        if not self._searches:
            return Found(noise)
        began = time.monotonic()
        try:
            with host.holding(self.judge.scorer):
                one = self._optimized(p, call, place, noise)
        except Cancelled:
            if self.interruption.take():
                return None
            self.notes.append(f"seed {call.seeds[place]}: stopped before its noise was improved.")
            return Found(noise)
        if host.interrupted():
            self.interruption.take()
        if one.search is not None:
            self._note(p, call, place, one, time.monotonic() - began - one.search.seconds)
            if one.trouble or one.search.stopped == "memory":
                torch_gc()
        return one

    def _optimized(self, p: Any, call: sampling.Call, place: int, noise: Tensor) -> Found:
        if self.options.mode != GRADIENT:
            return self._run(p, call, place, Passes(p, call.row(place), call.seeds[place], call.subseeds[place]))
        from ..gradients import run as gradients

        seeds, subseeds = [call.seeds[place]], [call.subseeds[place]]
        own = call.row(place)
        try:
            self._preflight(p, own, call.prompts[place])
            with gradients.differentiable(p, own, seeds, subseeds) as run:
                passes = Passes(p, own, seeds[0], subseeds[0], run)
                found = self._run(p, call, place, passes)
        except Cancelled:
            raise
        except Exception as error:
            self._make_as_usual("no gradient", error)
            return Found(noise)
        # Sampled again without gradients: with them a card rounds in other ways than when the file is loaded.
        return replace(found, raw=None)

    def _preflight(self, p: Any, call: sampling.Call, prompt: str) -> None:
        """Try a small backward pass before the first picture of the job; raises GradientError with what is found."""
        if self._flown:
            return
        from ..gradients.preflight import preflight

        [place] = call.places
        found = preflight(
            p, call, [call.seeds[place]], [call.subseeds[place]], self.judge.scorer, self.judge.text(prompt)
        )
        if not found.ok:
            raise GradientError(" ".join(found.problems))
        self._flown = True
        self.notes += found.advice

    def _run(self, p: Any, call: sampling.Call, place: int, passes: Passes) -> Found:
        from ...hpskit.search import Guards, optimize_noise

        seed, subseed = call.seeds[place], call.subseeds[place]
        objective = self._objective(p, call, place, passes)
        held_out = host.load_scorer(self.options.held_out) if self.options.held_out else None
        method = Sturdy(self._method(p, seed))
        with torch.inference_mode(False), torch.no_grad(), method.telling():
            search = optimize_noise(
                method,
                objective,
                self._beginning(p, seed, subseed),
                iterations=self.options.iterations,
                seconds=self.options.seconds or None,
                target=self.options.target or None,
                guards=Guards(held_out),
                on_progress=self._teller(p, place, objective.main),
                cancelled=host.ending,
                keep_on_cancel=True,
                is_out_of_memory=host.is_out_of_memory,
            )
        trouble = "" if method.trouble is None else words_of(method.trouble)
        return Found(search.chosen.noise, passes.raw(search.chosen.noise), search, trouble)

    def _objective(self, p: Any, call: sampling.Call, place: int, passes: Passes) -> Objective:
        from ...hpskit.search import Objective, terms_of

        text = self.judge.text(call.prompts[place])
        steps = p.steps * (1 if call.unconditional is None or p.cfg_scale == 1 else 2)
        return Objective(
            passes.render,
            passes.decode,
            terms_of(self.judge.scorer),
            text,
            judge=partial(passes.pictures, place),
            nfe=steps,
            chunk=1 if passes.run is not None else p.batch_size,
            is_out_of_memory=host.is_out_of_memory,
        )

    def _beginning(self, p: Any, seed: int, subseed: int) -> Tensor:
        """Return the picture's own noise and those of seeds that no other picture of the job has."""
        apart = p.n_iter * p.batch_size
        seeds = [seed + (apart * k if p.subseed_strength == 0 else 0) for k in range(self.options.screen)]
        noises = sampling.noise_of(p, seeds, [subseed + apart * k for k in range(self.options.screen)])
        given = self.given(p)
        return noises if given is None else torch.cat([given, noises[1:]])

    def _method(self, p: Any, seed: int) -> Method:
        chosen = self.options
        mask = getattr(p, "nmask", None)
        with torch.inference_mode(False):
            usable = (
                mask[None].detach().float().cpu().clone() if mask is not None and bool((mask > 0.5).any()) else None
            )
        return METHODS[noise_report.method_of(chosen)](chosen, seed, usable)

    def _teller(self, p: Any, place: int, main: str) -> Callable[[Update], None]:
        from modules import shared

        from ...hpskit.images import to_pil

        shown: list[Any] = [None, math.nan]
        total, number = p.n_iter * p.batch_size, p.iteration * p.batch_size + place

        def tell(update: Update) -> None:
            if shown[0] is None:
                shown[1] = update.point.best_scores.get(main, math.nan)
            shared.state.textinfo = noise_report.progress(update, number, total, main, shown[1])
            if update.best is not shown[0]:
                shown[0] = update.best
                planning.show_picture(to_pil(update.best.image[0]))

        return tell

    def _note(self, p: Any, call: sampling.Call, place: int, one: Found, prepared: float) -> None:
        """Keep what infotext, file and the lines under the gallery say about a picture."""
        search = one.search
        assert search is not None
        number, main = p.iteration * p.batch_size + place, self.judge.info.id
        self.starts[number] = f"{search.start.scores.get(main, math.nan):.4f}"
        self.iterations[number] = str(noise_report.made_of(search))
        self.notes.append(noise_report.line(search, self.options, main, call.seeds[place], one.trouble, prepared))
        self.notes += search.warnings
        if self.options.save_noise and settings.get("hps_save_noise"):
            from ...hpskit.search import noise_file

            prompt = self.judge.text(call.prompts[place])
            record = noise_report.record(search, p, call.seeds[place], prompt, self.judge.info)
            self._remember(number, noise_file.encode(one.noise, record))
