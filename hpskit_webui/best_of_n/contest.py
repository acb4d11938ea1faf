"""One pool of best of N before finishing: candidates are sampled, decoded and judged until the pool has ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import settings
from ..bridge import host
from ..bridge.residency import torch_gc
from ..first_pass import sampling
from ..record.candidates import Candidates
from . import planning, strip
from .pools import Candidate, Pool, stop_rule

if TYPE_CHECKING:
    from ..judge import Judge, Judged
    from ..options import Options

log = logging.getLogger("hps")

FROZEN = 1 << 30
"""A sampling step that no pass reaches: until then the host's live preview leaves the picture of ours alone."""


class Contest:
    """A pool in the making, and what its candidates need to be gone on with."""

    def __init__(
        self, number: int, options: Options, judge: Judge, seeds: Sequence[int], subseeds: Sequence[int]
    ) -> None:
        self.options, self.judge, self.seeds, self.subseeds = options, judge, list(seeds), list(subseeds)
        self.pool = Pool(number, options.candidates, options.keep)
        self.raws: dict[int, Tensor] = {}
        """Results of the sampler, on the CPU, by place in the pool."""
        self.half: Tensor | None = None
        """Latents of a chunk that was broken off before there was any candidate."""
        self.trouble: Exception | None = None
        """Why candidates were not judged."""
        self.notes: list[str] = []
        self.cells: list[strip.Cell] = []
        self.winners: list[Candidate] = []
        self._recorded = Candidates()

    def run(self, p: Any, call: sampling.Call, chunk: int, tell: Callable[[Candidate | None], None]) -> int:
        """Make candidates, `chunk` at a time, until the pool has ended; return the chunk that fits the memory.

        An interruption ends the pool with what is finished. Skip ends it, too, once there are enough to keep, and so
        does a stop after the image in work: the images of a pool are its candidates.
        """
        pool, wanted = self.pool, chunk
        pool.begin()
        while not pool.stopped:
            tell(self.best)
            places = range(pool.seen, min(pool.seen + wanted, pool.size))
            made = self._made(p, call, places)
            if made is None:
                wanted = len(places) // 2
            elif host.interrupted():
                self._broken_off(places, made)
            else:
                self._judge_all(p, places, made)
                self._check(wanted)
                next_job()
        self.winners = self._chosen()
        self._recorded.write(p, self)
        return wanted

    def _made(self, p: Any, call: sampling.Call, places: range) -> sampling.Made | None:
        """Sample a chunk; None when memory ran out and a smaller one is to be tried."""
        chosen = slice(places.start, places.stop)
        try:
            with sampling.host_mode(p):
                return sampling.make(p, call, self.seeds[chosen], self.subseeds[chosen])
        except Exception as error:
            if len(places) == 1 or not host.is_out_of_memory(error):
                raise
        torch_gc()
        self.notes.append(f"memory ran out, so that only {len(places) // 2} candidates are made at a time.")
        return None

    def _broken_off(self, places: range, made: sampling.Made) -> None:
        from modules import shared

        if shared.state.interrupted:
            self.pool.stopped = "interrupted"
            self.half = made.latents if not self.pool.candidates else None
            for _ in places:
                self.pool.lose()
            return
        shared.state.skipped = False  # the winners are still to be finished
        if len(self.pool.candidates) >= self.pool.keep:
            self.pool.stopped = "interrupted"

    def _judge_all(self, p: Any, places: Sequence[int], made: sampling.Made) -> None:
        with sampling.host_mode(p):
            images = sampling.decode(p, made.latents)
        # The prompt as the person reads it: p.prompts has lost its networks by now, and so has a plain job's score.
        prompt = p.prompts[0]
        for k, place in enumerate(places):
            if made.raw is not None:
                self.raws[place] = made.raw[k]
            picture = sampling.finished(p, images[k]) if bool(torch.isfinite(images[k]).all()) else None
            judged = self._judged(picture, prompt, self.seeds[place])
            self.pool.add(place, self.seeds[place], judged)
            if picture is not None:
                self._recorded.see(place, picture, judged)
                self._show(picture, place, judged)

    def _judged(self, picture: Any, prompt: str, seed: int) -> Judged:
        """Return the score of a candidate; after a failure they go on without one, in the order of their seeds."""
        from modules import devices

        if picture is None or self.trouble is not None:
            return self.judge.unscored(prompt)
        try:
            with devices.without_autocast():
                return self.judge.score([picture], prompt, seed=seed)[0]
        except Exception as error:
            log.debug("Scoring failed.", exc_info=error)
            self.trouble = error
            return self.judge.unscored(prompt)

    def _show(self, picture: Any, place: int, judged: Judged) -> None:
        if settings.get("hps_show_candidates"):
            self.cells.append(strip.Cell.of(picture, place, self.seeds[place], judged))
        best = self.best
        if best is not None and best.place == place:
            planning.show_picture(picture)

    def _check(self, coming: int) -> None:
        """Decide whether the pool has ended; it always gets as many candidates as it is to give."""
        pool = self.pool
        if self.trouble is not None:
            pool.stopped = "failed" if pool.seen >= pool.keep else ""
            return
        spreads = self.judge.spreads
        rule = stop_rule(self.options, spreads.get(self.judge.info.id))
        pool.check(rule, self.judge.rank, spreads, min(coming, max(1, pool.size - pool.seen)))
        if not pool.stopped and host.ending():
            pool.stopped = "interrupted"
        if pool.stopped != "all" and len(pool.candidates) < pool.keep:
            pool.stopped = ""

    @property
    def best(self) -> Candidate | None:
        """The best candidate so far."""
        return self.pool.ordered(self.judge.rank)[0] if self.pool.candidates and self.trouble is None else None

    def _chosen(self) -> list[Candidate]:
        if self.trouble is not None:
            return sorted(self.pool.candidates, key=lambda candidate: candidate.place)[: self.pool.keep]
        return self.pool.kept(self.judge.rank)

    def rank_of(self, winner: Candidate) -> int:
        """Return a candidate's place among all, from 1."""
        return self.pool.ordered(self.judge.rank).index(winner) + 1

    def latents(self, winners: Sequence[Candidate]) -> Tensor | None:
        """Return the sampler's results of these, or None where they have to be sampled again."""
        rows = [self.raws[winner.place] for winner in winners if winner.place in self.raws]
        return torch.stack(rows) if rows and len(rows) == len(winners) else None


def more_jobs(count: int) -> None:
    """Tell the host's progress bars that so many more passes are to come, or fewer."""
    from modules import shared

    state = shared.state
    if state.job_count > 0:
        state.job_count = max(1, state.job_count + count)


def next_job() -> None:
    """Tell the host that a pass is over; the live preview goes on showing our picture during the next one."""
    from modules import shared

    shared.state.nextjob()
    shared.state.current_image_sampling_step = FROZEN


def thaw() -> None:
    """Give the live preview back to the host."""
    from modules import shared

    shared.state.current_image_sampling_step = 0
