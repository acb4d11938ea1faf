"""The pools of a best-of-N job, as both of its variants need them: layout, seeds, batches, stopping and the choice.

A pool is the candidates of one prompt. A job has one pool for every picture that the person asked for by batch count;
candidate j of pool r has the number r * N + j in the job, and the seed that the host gives to that number. No host is
needed here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...hpskit.errors import SelectionError

if TYPE_CHECKING:
    from ...hpskit.search.stopping import StopRule
    from ...hpskit.select import Ranking
    from ..judge import Judged
    from ..options import Options

Rank = Callable[[Sequence["Judged"]], "Ranking"]
USUAL_SPREAD = 0.75
"""Standard deviation between the seeds of one prompt for which the presets of `hpskit.search.GAIN_PRESETS` are made."""
STOPPED: Mapping[str, str] = {
    "all": "",
    "target": "the target is reached",
    "gain": "another candidate is not expected to add enough",
    "time": "the time is up",
    "interrupted": "it was stopped by hand",
    "failed": "scores were not to be had",
}
"""Why a pool ended, in words for the person."""


def divisor(number: int, most: int) -> int:
    """Return the largest divisor of `number` that is at most `most`; both are at least 1."""
    return next(size for size in range(min(number, max(most, 1)), 0, -1) if number % size == 0)


@dataclass(frozen=True)
class Layout:
    """How the candidates of a job are numbered. Raises SelectionError where a batch would reach over two pools."""

    pools: int
    candidates: int
    """Of every pool."""
    keep: int
    batch: int
    """Candidates that are made at a time."""

    def __post_init__(self) -> None:
        if min(self.pools, self.candidates, self.keep, self.batch) < 1 or self.candidates % self.batch:
            raise SelectionError(f"{self.candidates} candidates cannot be made in batches of {self.batch}.")

    @property
    def total(self) -> int:
        """Candidates of the whole job."""
        return self.pools * self.candidates

    @property
    def batches(self) -> int:
        """Batches of the whole job, when no pool ends early."""
        return self.total // self.batch

    def place(self, number: int) -> tuple[int, int]:
        """Return pool and place in the pool of a candidate's number."""
        return divmod(number, self.candidates)

    def first(self, pool: int) -> int:
        """Return the number of a pool's first candidate."""
        return pool * self.candidates


class Schedule:
    """Hands out batches of candidates in order, and leaves out the rest of a pool that has ended."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._next = 0

    def take(self) -> range:
        """Return the numbers of the next batch; empty when nothing is wanted any more."""
        if not self.left:
            return range(0)
        batch = range(self._next, self._next + self.layout.batch)
        self._next = batch.stop
        return batch

    def end(self, pool: int) -> None:
        """Leave out what is left of this pool and of those before it."""
        self._next = max(self._next, self.layout.first(pool + 1))

    @property
    def left(self) -> int:
        """Batches that are still to be made."""
        return max(0, self.layout.total - self._next) // self.layout.batch


@dataclass(frozen=True)
class Candidate:
    """A finished and judged candidate."""

    place: int
    """In its pool, from 0."""
    seed: int
    judged: Judged


class Pool:
    """The candidates of one prompt as they come in, and when to make no more of them."""

    def __init__(self, number: int, size: int, keep: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.number, self.size, self.keep = number, size, keep
        self.candidates: list[Candidate] = []
        """Finished and judged, in the order in which they came."""
        self.lost = 0
        """Candidates that were begun and not finished."""
        self.stopped = ""
        """A key of STOPPED once the pool has ended."""
        self._clock = clock
        self._start: float | None = None

    def begin(self) -> None:
        """Start the clock; later calls change nothing."""
        if self._start is None:
            self._start = self._clock()

    @property
    def seconds(self) -> float:
        """Time since the pool began."""
        return 0.0 if self._start is None else self._clock() - self._start

    @property
    def seen(self) -> int:
        """Candidates that have come in, finished or not."""
        return len(self.candidates) + self.lost

    def add(self, place: int, seed: int, judged: Judged) -> None:
        """Take a finished candidate in."""
        self.begin()
        self.candidates.append(Candidate(place, seed, judged))

    def lose(self) -> None:
        """Count a candidate that was not finished."""
        self.lost += 1

    def ranking(self, rank: Rank) -> Ranking:
        """Return the order of the candidates so far, by their place in `candidates`; there must be one."""
        return rank([candidate.judged for candidate in self.candidates])

    def ordered(self, rank: Rank) -> list[Candidate]:
        """Return the candidates so far, best first."""
        return [self.candidates[k] for k in self.ranking(rank).order] if self.candidates else []

    def kept(self, rank: Rank) -> list[Candidate]:
        """Return the best `keep` candidates, best first; one without a score only when nobody has one."""
        from ...hpskit.select import select

        if not self.candidates:
            return []
        return [self.candidates[k] for k in select(self.ranking(rank), top_k=self.keep).kept]

    def check(self, rule: StopRule, rank: Rank, spreads: Mapping[str, float | None], coming: int) -> bool:
        """Decide after a batch whether the pool has ended, before `coming` more candidates are made.

        A target, or little to expect, ends a pool only when there are as many candidates as it is to give. Time ends
        it at once.
        """
        if not self.stopped and self.seen >= self.size:
            self.stopped = "all"
        if not self.stopped and self.candidates:
            self.stopped = self._reason(rule, self.ranking(rank), spreads, coming) or ""
        return bool(self.stopped)

    def _reason(self, rule: StopRule, ranking: Ranking, spreads: Mapping[str, float | None], coming: int) -> str | None:
        from ...hpskit.search.stopping import expected_gain, reason_to_stop

        gain = None
        if rule.min_gain is not None:
            gain = expected_gain(ranking, coming, rule.prior_sd or spreads.get(ranking.main))
        reason = reason_to_stop(rule, ranking, self.seconds, gain, coming)
        if reason in ("target", "gain") and len(self.candidates) < self.keep:
            return "time" if rule.seconds is not None and self.seconds >= rule.seconds else None
        return reason


def stop_rule(options: Options, spread: float | None) -> StopRule:
    """Return when a pool ends early by the panel's settings.

    `spread` is the main scorer's typical standard deviation between the seeds of one prompt; the presets are scaled by
    it, since a tenth of a point means much for one scorer and nothing for another.
    """
    from ...hpskit.search.stopping import GAIN_PRESETS, StopRule

    preset = GAIN_PRESETS.get(options.stop)
    return StopRule(
        target=options.target or None,
        min_gain=None if preset is None else preset * (spread or USUAL_SPREAD) / USUAL_SPREAD,
        seconds=options.seconds or None,
        prior_sd=spread,
    )


def seeds(first: int, subseed: int, strength: float, count: int) -> tuple[list[int], list[int]]:
    """Return seeds and subseeds of `count` pictures as the host numbers them.

    With a variation strength above 0 the seed stays and the subseed counts up; otherwise both count up.
    """
    return [first + (k if strength == 0 else 0) for k in range(count)], [subseed + k for k in range(count)]
