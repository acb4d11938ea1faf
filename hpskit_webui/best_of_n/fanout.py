"""Best of N by fan-out: every candidate is a finished picture, and only the kept ones are saved and shown.

The host makes batch after batch; right before each one its seeds are those of the next candidate that is still wanted,
so that a pool which ends early costs nothing more. At the end the result, the job's own lists and the files on disk
are what a job of the kept pictures alone would have left.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from .. import infotext, settings
from ..bridge import host
from ..job import Job, number_of
from ..options import SCORE, Options
from . import closing, early, gallery, grids, planning, records
from .gallery import Group, Made
from .pools import Candidate, Layout, Pool, Schedule, stop_rule

log = logging.getLogger("hps")


class FanOut(Job):
    """Makes N finished candidates for every picture that was asked for, and keeps the best of them."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.layout: Layout | None = None
        self.pools: list[Pool] = []
        self.made: list[Made] = []
        self.trouble = ""
        """Why the rest is not judged; unlike `failure` it lets the pictures still come in."""
        self._batch = range(0)
        self._came = 0
        """Candidates of the batch in work that have come in."""
        self._stopping = False
        self._best: Candidate | None = None
        self._held: early.Held | None = None

    # --- before ---

    def before_process(self, p: Any) -> None:
        """Ask the host for all candidates of all pools, and for nothing to be saved."""
        planning.give_back(p)
        if planning.chosen_already(p):
            self.options = replace(self.options, mode=SCORE)
            return
        self.layout, notes = planning.ask(p, self.options)
        self.notes += notes
        self.schedule = Schedule(self.layout)
        self.masks = planning.Masks.of(p)
        self._held = early.hold(p, planning.before(p, "do_not_save_samples", True))
        if self._held is None and early.wanted(p):
            self.notes.append("copies from before the finishing are not saved with best of N in this host.")
        closing.watch(p, partial(self.rescue, p))

    def before_process_batch(self, p: Any) -> None:
        """Give the batch the next candidates that are wanted."""
        if self.layout is None:
            return
        if p.iteration == 0:
            changed = planning.counted_otherwise(p, self.layout.total)
            if changed:
                self._only_score(p, changed)
                return
            self.plan = planning.Plan.of(p)
        self._close_batch(p)
        self._batch, self._came = self.schedule.take(), 0
        if not self._batch:
            p.prompts.clear()  # the host leaves its loop
            return
        number, _ = self.layout.place(self._batch.start)
        if not self.pools or self.pools[-1].number != number:
            self.pools.append(Pool(number, self.layout.candidates, self.layout.keep))
            self._best = None
        self.pools[-1].begin()
        self.plan.put(p, self._batch, self.layout.first(number))
        self._tell()

    def _only_score(self, p: Any, why: str) -> None:
        """Leave the choice, and score what the host makes and saves."""
        planning.as_usual(p)
        self.layout = None
        records.only_score(p, self, why)

    # --- pictures ---

    def image_done(self, p: Any, pp: Any) -> None:
        """Judge a finished picture, and decide after the last one of a batch whether its pool goes on."""
        if self.layout is None:
            super().image_done(p, pp)
            return
        made = self._take(p, pp.image)
        if made.pool >= 0:
            self._came += 1
            self._judge(p, made)
            if p.batch_index + 1 >= len(self._batch):
                self._close_batch(p)

    def _take(self, p: Any, picture: Any) -> Made:
        place = p.batch_index
        known = place < len(self._batch) and self.layout is not None
        pool, candidate = self.layout.place(self._batch[place]) if known and self.layout else (-1, -1)
        if not known and not self._batch and self.trouble:
            pool = max(0, len(self.pools) - 1)  # nobody knows whose it is, and it is kept like all others
        made = Made(
            slot=number_of(p),
            pool=pool,
            place=candidate,
            seed=p.seeds[place],
            subseed=p.subseeds[place],
            prompt=p.prompts[place],
            negative=p.negative_prompts[place],
            picture=picture,
            whole=not host.interrupted(),
            save=planning.would_save(p),
            at=(p.iteration, place),
            text_before=picture.info.get(gallery.TEXT),
        )
        self.made.append(made)
        return made

    def _judge(self, p: Any, made: Made) -> None:
        if not made.whole or self.trouble:
            self._lose()
            return
        pool = self.pools[-1]
        try:
            [made.judged] = self.judge.score([made.picture], made.prompt, seed=made.seed)
        except Exception as error:
            pool.lose()
            self.fail(error)
            return
        extra = {"pool": made.pool, "candidate": made.place}
        self.keep_score(p, made.picture, made.slot, made.judged, **extra)
        pool.add(made.place, made.seed, made.judged)
        self._tell(made)

    def _lose(self) -> None:
        if self.pools:
            self.pools[-1].lose()

    def fail(self, error: Exception) -> None:
        """Give up judging; the pictures go on coming in, and all of them are kept."""
        super().fail(error)
        if self.layout is not None:
            self.trouble, self.failure = self.trouble or self.failure, ""
        log.debug("A step of best of N failed.", exc_info=error)

    def _close_batch(self, p: Any) -> None:
        """Decide after a batch whether its pool has ended, and whether the host is to go on."""
        batch, self._batch = self._batch, range(0)
        if not batch or self.layout is None:
            return
        pool = self.pools[-1]
        for _ in range(len(batch) - self._came):  # another extension has taken pictures out of the batch
            pool.lose()
        if self._ended(pool):
            self.schedule.end(pool.number)
        if not self.schedule.left:
            self._stopping = planning.stop(p) or self._stopping

    def _ended(self, pool: Pool) -> bool:
        from modules import shared

        if shared.state.interrupted:
            pool.stopped = "interrupted"
        elif self.trouble:
            # Nothing can be told apart any more: a pool is over when it has as many pictures as it is to give.
            pool.stopped = "failed" if pool.seen >= pool.keep else ""
        elif not pool.candidates:
            pool.stopped = "all" if pool.seen >= pool.size else ""
        else:
            spreads = self.judge.spreads
            rule = stop_rule(self.options, spreads.get(self.judge.info.id))
            pool.check(rule, self.judge.rank, spreads, self.layout.batch if self.layout else 1)
        return bool(pool.stopped)

    def _tell(self, made: Made | None = None) -> None:
        """Show how far the job is, and the best picture so far."""
        pool, layout = self.pools[-1], self.layout
        best = pool.ordered(self.judge.rank)[0] if pool.candidates else None
        planning.show_progress(pool, layout.pools if layout else 1, best)
        if made is not None and best is not None and best.place == made.place:
            planning.show_picture(made.picture)

    # --- the end ---

    def postprocess(self, p: Any, processed: Any) -> None:
        """Leave what a job of the kept pictures alone would have left."""
        if self.layout is None:
            planning.give_back(p)
            super().postprocess(p, processed)
            return
        self._close_batch(p)
        self._hand_back(p)
        for pool in self.pools:
            if not pool.stopped and pool.seen < pool.size:  # the host has left its loop: somebody pressed a button
                pool.stopped = "interrupted"
        self.failure = self.failure or self.trouble
        result = gallery.split(processed, self.made, self.masks.count, texted=records.writes_texts())
        kept = self._choose(result.groups)
        if kept:
            self._leave(p, processed, result, kept)
        super().postprocess(p, processed)
        # The infotext's callables hold this job, and so would all its pictures live on.
        self.made, self._held = [], None

    def _hand_back(self, p: Any) -> None:
        planning.give_back(p)
        planning.end(self._stopping)
        self._stopping = False

    def _choose(self, groups: Sequence[Group]) -> list[Group]:
        """Return what is kept: the best of every pool, all when they could not be judged."""
        whole = [group for group in groups if group.made.whole]
        if self.failure or not whole:
            return whole or list(groups)
        by_place = {(group.made.pool, group.made.place): group for group in whole}
        kept = []
        for pool in self.pools:
            order = [candidate.place for candidate in pool.ordered(self.judge.rank)]
            for rank, place in enumerate(order, start=1):
                by_place[pool.number, place].text = infotext.with_rank(
                    by_place[pool.number, place].text, rank, len(order)
                )
            kept += [by_place[pool.number, candidate.place] for candidate in pool.kept(self.judge.rank)]
        return kept

    def _leave(self, p: Any, processed: Any, result: gallery.Result, kept: list[Group]) -> None:
        added = gallery.companions(result.added, result.groups, kept)
        gallery.rewrite(p, processed, result, kept, self.masks.shown, added)
        processed.batch_size = p.batch_size
        self._renumber(kept)
        saver, whole = grids.Saver(p), [*kept, *added]
        for number, group in enumerate(whole):
            records.write_text(group)
            saver.early(group, number, len(whole), self._held)
            if group.made.save:
                saver.save(group, number, len(whole), self.masks.files(p, group))
        if settings.get("hps_save_rejected") and not self.failure:
            others = [group for group in result.groups if group.made.whole and group not in kept]
            others += [group for group in result.added if group not in added]
            rejected = [group for group in others if group.made.save]
            for number, group in enumerate(rejected):
                saver.reject(group, number, len(rejected))
        self.notes += [saver.trouble] if saver.trouble else []
        end = len(processed.images) - len(result.tail)
        pictures = processed.images[len(result.head) : end]
        grids.grid(p, processed, pictures, len(self.pools), p.do_not_save_grid)

    def _renumber(self, kept: Sequence[Group]) -> None:
        """Number scores and ranks as the kept pictures stand now, and put the ranks into their records."""
        counts = {pool.number: len(pool.candidates) for pool in self.pools}
        self.judged = {number: group.made.judged for number, group in enumerate(kept) if group.made.judged}
        self.ranks = {}
        for number, group in enumerate(kept):
            rank = infotext.rank_of(group.text)
            if rank and group.made.judged:
                self.ranks[number] = f"{rank} of {counts[group.made.pool]}"
                records.tag(group, rank=rank, candidates=counts[group.made.pool])

    def rescue(self, p: Any) -> None:
        """Save the best so far when the host has broken off without finishing; does nothing after a normal end."""
        if self.layout is None or not self.made:
            return
        self._hand_back(p)
        everything = [records.group_of(p, made) for made in self.made]
        groups = [group for group in everything if group.made.pool >= 0]
        kept = [group for group in self._choose(groups) if group.made.whole]
        kept += gallery.companions([group for group in everything if group.made.pool < 0], groups, kept)
        saver = grids.Saver(p)
        for number, group in enumerate(kept):
            saver.early(group, number, len(kept), self._held)
            if group.made.save:
                saver.save(group, number, len(kept))
        self.made, self._held = [], None
        log.warning("The generation broke off; the best %d images so far were saved.", sum(g.made.save for g in kept))
