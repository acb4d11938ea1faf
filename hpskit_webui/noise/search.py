"""Noise optimisation in a generation: for every picture a better starting noise, which the host then goes on from."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...hpskit.errors import Cancelled, GradientError, HpsError
from .. import settings
from ..best_of_n import contest, planning
from ..bridge import host
from ..first_pass import sampling
from ..options import GRADIENT, SCORE, Options
from . import report as noise_report
from .given import GivenNoise
from .passes import METHODS, Passes

if TYPE_CHECKING:
    from ...hpskit.search.method import Method
    from ...hpskit.search.objective import Objective
    from ...hpskit.search.trace import NoiseSearch, Update

log = logging.getLogger("hps")
_PRESSES = 3
"""So often may Interrupt be pressed while the best image is made once more, before that is given up, too."""


@dataclass
class Found:
    """The noise for one picture."""

    noise: Tensor
    """[1, C, h, w]"""
    raw: Tensor | None = None
    """What the sampler made of it, [1, ...]; None where it has to be sampled again."""
    search: NoiseSearch | None = None


class NoiseJob(GivenNoise):
    """Improves the starting noise of every picture for its own prompt and seed."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.starts: dict[int, str] = {}
        self._off = self._flown = False
        """Whether there is no gradient, so that pictures are made as usual; and whether that has been tried."""

    # --- callbacks ---

    def process(self, p: Any) -> None:
        """Put the fields of the infotext in."""
        super().process(p)
        if self._searches:
            p.extra_generation_params.update(noise_report.fields(self.options, self.starts.get, self.noises.get))

    @property
    def _searches(self) -> bool:
        return self.options.mode != SCORE and not self._off

    def process_batch(self, p: Any) -> None:
        """Stand before the host's sampling."""
        if not self._searches or self.failure:
            super().process_batch(p)
            return
        if p.iteration == 0:
            contest.more_jobs(p.n_iter * p.batch_size * self._passes(p.batch_size))
        sampling.take_over(p, partial(self._sample, p))

    def _passes(self, chunk: int) -> int:
        children = 1 if self.options.mode == GRADIENT else self.options.population
        return -(-self.options.screen // chunk) + self.options.iterations * -(-children // chunk)

    def postprocess(self, p: Any, processed: Any) -> None:
        """Put the host's flags back, and say how it went."""
        self.interruption.end()
        noise_report.settle(processed, noise_report.START, self.starts)
        super().postprocess(p, processed)

    # --- one batch ---

    def _sample(self, p: Any, call: sampling.Call) -> Any:
        """Stand for p.sample: find a noise for every picture of the batch, and let the host go on from these."""
        if not self._searches:
            return super()._sample(p, call)
        found: list[Found] = []
        try:
            for place in range(len(call.seeds)):
                one = self._search(p, call, place)
                if one is None:
                    break
                found.append(one)
        except HpsError as error:
            self.failure = f"the noise was not optimised: {error}"
        except Exception as error:
            log.exception("The noise could not be optimised; the image is made as usual.")
            self.failure = f"the noise was not optimised: {type(error).__name__}: {error}"
        finally:
            contest.thaw()
        return self._hand_over(p, call, found)

    def _hand_over(self, p: Any, call: sampling.Call, found: list[Found]) -> Any:
        count = len(call.seeds)
        if not self.interruption.held:  # after a failure the others keep the noise of their seeds
            rest = range(len(found), count)
            found += [Found(self._noise(p, call.seeds[k], call.subseeds[k])) for k in rest]
        elif not found:
            return self._half_made(p, call, "stopped before the first image was finished.")
        noise = torch.cat([one.noise for one in found])
        raws = [one.raw for one in found if one.raw is not None]
        raw = torch.cat(raws) if len(raws) == len(found) else None
        seeds, subseeds = call.seeds[: len(found)], call.subseeds[: len(found)]
        if raw is None and self.interruption.held:  # with the flag up again the host would leave them half made
            raw = self._sampled(p, call, seeds, subseeds, noise)
            if raw is None:
                return self._half_made(p, call, "stopped again while the best image was made.")
        sampling.arm(p, seeds, subseeds, noise)
        return self.interruption.finish(lambda: sampling.finish(p, call, raw), last=True)

    def _sampled(self, p: Any, call: sampling.Call, seeds: list[int], subseeds: list[int], noise: Tensor) -> Any:
        """Return what the sampler makes of noises; None when the person goes on stopping it."""
        for _ in range(_PRESSES):
            with sampling.host_mode(p):
                made = sampling.make(p, call, seeds, subseeds, noise)
            if not host.interrupted():
                return made.raw
            self.interruption.take()
        return None

    def _half_made(self, p: Any, call: sampling.Call, why: str) -> Any:
        """Let the host break the batch off: what it makes of it gets no score and is not saved."""
        start = p.iteration * p.batch_size
        self.broken.update(range(start, start + len(call.seeds)))
        self.notes.append(why)
        self.interruption.drop()
        sampling.arm(p, call.seeds, call.subseeds)
        return sampling.finish(p, call)

    def _noise(self, p: Any, seed: int, subseed: int) -> Tensor:
        given = self.given(p) if not self.failure else None
        return given if given is not None else sampling.noise_of(p, [seed], [subseed])

    def _search(self, p: Any, call: sampling.Call, place: int) -> Found | None:
        """Find a noise for one picture; None when the person has interrupted before there was any."""
        seed, subseed = call.seeds[place], call.subseeds[place]
        try:
            with host.holding(self.judge.scorer):
                one = self._optimized(p, call, place)
        except Cancelled:
            return None if self.interruption.take() else Found(self._noise(p, seed, subseed))
        if host.interrupted():
            self.interruption.take()
        if one.search is not None:
            self._note(p, call, place, one)
        return one

    def _optimized(self, p: Any, call: sampling.Call, place: int) -> Found:
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
        except HpsError as error:
            self._off = True
            self.notes.append(f"no gradient, so the image is made as usual: {error}")
            return Found(self._noise(p, seeds[0], subseeds[0]))
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
        with torch.inference_mode(False), torch.no_grad():
            search = optimize_noise(
                self._method(p, seed),
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
        return Found(search.chosen.noise, passes.raw(search.chosen.noise), search)

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

    def _note(self, p: Any, call: sampling.Call, place: int, one: Found) -> None:
        """Keep what infotext, file and the lines under the gallery say about a picture."""
        search = one.search
        assert search is not None
        number, main = p.iteration * p.batch_size + place, self.judge.info.id
        self.starts[number] = f"{search.start.scores.get(main, math.nan):.4f}"
        self.notes.append(noise_report.line(search, self.options, main, call.seeds[place]))
        self.notes += search.warnings
        if self.options.save_noise and settings.get("hps_save_noise"):
            from ...hpskit.search import noise_file

            prompt = self.judge.text(call.prompts[place])
            record = noise_report.record(search, p, call.seeds[place], prompt, self.judge.info)
            self._remember(number, noise_file.encode(one.noise, record))
