"""Best of N before finishing: candidates are only sampled and decoded, and the host finishes the winners alone.

The job is one of pools x results. When the host samples the first batch of a pool, all candidates of the pool are made
and judged there; winners go on, batch after batch, with their own seeds, and are not sampled a second time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ...hpskit.errors import HpsError
from ..bridge import host
from ..first_pass import sampling
from ..job import Job, number_of
from ..options import SCORE, Options
from . import contest, planning, pools, progress, records, strip
from .contest import Contest
from .interruption import Interruption
from .pools import Candidate, Pool

log = logging.getLogger("hps")

_FOR_EVERY_PICTURE = ("all_prompts", "all_negative_prompts", "all_hr_prompts", "all_hr_negative_prompts")


class FirstPass(Job):
    """Samples N candidates for every picture that was asked for, and lets the host finish the best of them."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.pools: list[Pool] = []
        self.count = 0
        """Pools of the job; 0 while it is no best of N."""
        self.batch = self.chunk = 1
        self.trouble = ""
        """Why candidates are not judged any more; finished pictures may still be."""
        self._seeds: list[int] = []
        self._subseeds: list[int] = []
        self._given: tuple[list[int] | None, list[int] | None] = (None, None)
        self.contests: list[Contest] = []
        self._contest: Contest | None = None
        self._first: dict[int, Any] = {}
        """Scores before finishing, by the number of the picture."""
        self._half: set[int] = set()
        self._came: set[int] = set()
        """Numbers of the pictures that the host has finished."""
        self.interruption = Interruption()

    # --- before ---

    def before_process(self, p: Any) -> None:
        """Ask the host for the results of all pools."""
        planning.give_back(p)
        if planning.chosen_already(p):
            self.options = replace(self.options, mode=SCORE)
            return
        keep, self.chunk = self.options.keep, p.batch_size
        asked = planning.ask_results(p, self.options)
        self.count, self._given = asked.pools, (asked.seeds, asked.subseeds)
        self.batch = p.batch_size
        if self.batch < min(self.chunk, keep):
            self.notes.append(f"finished in batches of {self.batch}, so that {keep} images divide.")

    def process(self, p: Any) -> None:
        """Number the seeds of all candidates as the host would number a job of all of them."""
        super().process(p)
        if not self.count:
            return
        size, keep = self.options.candidates, self.options.keep
        if self._counted_otherwise(p):
            return
        first = (int(p.all_seeds[0]), int(p.all_subseeds[0]))
        seeds, subseeds = pools.seeds(*first, p.subseed_strength, self.count * size)
        self._seeds, self._subseeds = self._given[0] or seeds, self._given[1] or subseeds
        numbers = [pool * size + k for pool in range(self.count) for k in range(keep)]
        p.all_seeds = [self._seeds[number] for number in numbers]
        p.all_subseeds = [self._subseeds[number] for number in numbers]

    def _counted_otherwise(self, p: Any) -> bool:
        """Leave the choice where another extension has asked for another number of images."""
        changed = planning.counted_otherwise(p, self.count * self.options.keep)
        if changed:
            self.count = 0
            records.only_score(p, self, changed)
        return bool(changed)

    def before_process_batch(self, p: Any) -> None:
        """Give all results of a pool the prompt of its first one: extensions may have drawn others."""
        if not self.count or (p.iteration == 0 and self._counted_otherwise(p)):
            return
        start = p.iteration * p.batch_size
        first = start // self.options.keep * self.options.keep
        for name in _FOR_EVERY_PICTURE:
            values = getattr(p, name, None)
            if isinstance(values, list) and start + p.batch_size <= len(values):
                values = list(values)
                values[start : start + p.batch_size] = [values[first]] * p.batch_size
                setattr(p, name, values)
        count = len(p.prompts)
        p.prompts[:] = p.all_prompts[start : start + count]
        p.negative_prompts[:] = p.all_negative_prompts[start : start + count]
        if start == first:
            self._contest = None
        elif winners := self._turn(p):
            self._arm(p, winners)

    def process_batch(self, p: Any) -> None:
        """Stand before the host's sampling."""
        if not self.count or self.trouble:
            return
        if p.iteration == 0:
            passes = self.count * -(-self.options.candidates // self.chunk)
            contest.more_jobs(passes)
            progress.more_steps(p, passes, spared=p.n_iter)  # the first passes of the kept are there already
        sampling.take_over(p, partial(self._sample, p))

    def before_every_sampling(self, p: Any, x: Any, noise: Any, c: Any, uc: Any) -> None:
        """Let the watch of a pass sit down."""
        sampling.before_every_sampling(p)

    # --- one batch ---

    def _sample(self, p: Any, call: sampling.Call) -> Any:
        """Stand for p.sample: make the pool at its first batch, and go on with its winners."""
        try:
            if p.iteration * p.batch_size % self.options.keep == 0:
                self._run(p, call)
            if self._contest is not None and (self._contest.winners or self._contest.half is not None):
                return self._hand_over(p, call, self._contest)
        except HpsError as error:
            self._make_as_usual(str(error))
        except Exception as error:
            log.exception("Best of N could not be done; the images are made as usual.")
            self._make_as_usual(f"{type(error).__name__}: {error}")
        finally:
            contest.thaw()
        self._contest = None
        sampling.arm(p, call.seeds, call.subseeds)
        return sampling.finish(p, call)

    def _run(self, p: Any, call: sampling.Call) -> None:
        size, number = self.options.candidates, len(self.contests)
        chosen = slice(number * size, (number + 1) * size)
        made = Contest(number, self.options, self.judge, self._seeds[chosen], self._subseeds[chosen])
        self._contest = made
        self.contests.append(made)
        self.pools.append(made.pool)
        if self.trouble:
            return
        with host.holding(self.judge.scorer):
            before, self.chunk = self.chunk, made.run(p, call, self.chunk, partial(self._tell, made.pool))
        left = (made.pool.size - made.pool.seen) // before
        contest.more_jobs(-left)
        progress.more_steps(p, -left)
        self.notes += made.notes
        if made.trouble is not None:
            self.fail(made.trouble)
            self.trouble = self.failure

    def _tell(self, pool: Pool, best: Candidate | None) -> None:
        planning.show_progress(pool, self.count, best)

    def _hand_over(self, p: Any, call: sampling.Call, made: Contest) -> Any:
        """Let the host go on with the winners whose turn it is."""
        if made.half is not None:
            self._half.update(self._numbers(p))
            count = min(len(made.half), len(p.seeds))
            sampling.arm(p, made.seeds[:count], made.subseeds[:count])
            return made.half[:count]
        winners = self._turn(p)
        self._arm(p, winners)
        if made.pool.stopped == "interrupted":
            self.interruption.take()
        if winners[0] is made.winners[0]:  # a stop that was asked for while candidates were made; they are there
            self.interruption.put_off()
        done = p.iteration * p.batch_size % self.options.keep + p.batch_size
        last = done >= len(made.winners)
        return self.interruption.finish(lambda: sampling.finish(p, call, made.latents(winners)), last)

    def _turn(self, p: Any) -> list[Candidate]:
        """Return the winners that are the results of the batch in work."""
        start = p.iteration * p.batch_size % self.options.keep
        return self._contest.winners[start : start + p.batch_size] if self._contest and self.count else []

    def _arm(self, p: Any, winners: Sequence[Candidate]) -> None:
        made = self._contest
        assert made is not None
        sampling.arm(p, [winner.seed for winner in winners], [made.subseeds[winner.place] for winner in winners])
        if made.trouble is None:
            ranks = [f"{made.rank_of(one)} of {len(made.pool.candidates)} {_by_first_pass(one)}" for one in winners]
            self.ranks.update(zip(self._numbers(p), ranks))  # noqa: B905 the last batch may be short
            self._first.update(zip(self._numbers(p), [winner.judged for winner in winners]))  # noqa: B905

    @staticmethod
    def _numbers(p: Any) -> range:
        start = p.iteration * p.batch_size
        return range(start, start + p.batch_size)

    # --- pictures ---

    def image_done(self, p: Any, pp: Any) -> None:
        """Score a finished picture; one that was broken off gets no score."""
        number = number_of(p)
        self._came.add(number)
        if number in self._half or host.interrupted():
            return
        if not self.count:
            super().image_done(p, pp)
            return
        [judged] = self.judge.score([pp.image], p.prompts[p.batch_index], seed=p.seeds[p.batch_index])
        extra = {"rank": int(self.ranks[number].split()[0])} if number in self.ranks else {}
        self.keep_score(p, pp.image, number, judged, **extra)

    def _make_as_usual(self, reason: str) -> None:
        """Make the rest of the job without candidates; finished pictures are scored all the same."""
        self.trouble = self.trouble or f"no best of N, so the images are made as usual: {reason}"

    # --- the end ---

    def postprocess(self, p: Any, processed: Any) -> None:
        """Put the host's state and the job's fields back, and say how it went."""
        planning.give_back(p)
        self.interruption.end()
        self.notes += [*self._differences(), *self._not_finished()]
        if self.interruption.held and getattr(p, "enable_hr", False):
            self.notes.append("the images are as they were before hires fix.")
        if self.trouble and not self.failure:
            self.pools = [made.pool for made in self.contests if made.winners]
            if self.pools:
                self.notes.append(self.trouble)
            else:
                self.failure = self.trouble
        super().postprocess(p, processed)
        self._add_strip(processed)
        self.contests = []  # the infotext's callables hold this job

    def _differences(self) -> list[str]:
        """Say what finishing has made of the scores, where it changed them."""
        pairs = [(self._first[k].main, judged.main) for k, judged in self.judged.items() if k in self._first]
        if not any(abs(after - before) >= 0.005 for before, after in pairs):
            return []
        words = ", ".join(f"{before:.2f} -> {after:.2f}" for before, after in pairs[:24])
        return [f"score before and after finishing: {words}"]

    def _not_finished(self) -> list[str]:
        """Say that kept images are missing, where a stop came while they were finished."""
        count = sum(len(made.winners) for made in self.contests) - len(self._came)
        if self.trouble or count <= 0:
            return []
        return [f"stopped before {'the last one' if count == 1 else f'{count}'} of the kept images was finished."]

    def _add_strip(self, processed: Any) -> None:
        for made in self.contests:
            if made.cells:
                kept = {winner.place for winner in made.winners}
                processed.images.append(strip.draw(made.cells, kept))


def _by_first_pass(winner: Candidate) -> str:
    """Say what a rank is by: the score beside it is the finished image's, which finishing may have changed."""
    return f"by first pass ({winner.judged.words()})" if winner.judged.known else "by first pass"
