"""Scoring of a folder or of uploads in a thread of its own: progress, stop, order, and what is done with the files."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hpskit.errors import HpsError, SelectionError
from ..bridge import host
from ..record import pictures, recording

if TYPE_CHECKING:
    from ...hpskit.commands.bulk import Scored
    from ...hpskit.types import Scores

log = logging.getLogger("hps")

NOTHING, COPY_BEST, MOVE_BEST, COPY_BELOW, MOVE_BELOW = ACTIONS = (
    "nothing",
    "copy the best of each prompt",
    "move the best of each prompt",
    "copy those below the threshold",
    "move those below the threshold",
)
MOVES = (MOVE_BEST, MOVE_BELOW)
_BATCH, _THREADS = 8, 2


@dataclass(frozen=True)
class Plan:
    """What is to be scored, and what is done with it afterwards."""

    files: tuple[Path, ...]
    scorer: str
    prompt: str = ""
    """Empty takes each file's own."""
    stamp: bool = False
    action: str = NOTHING
    keep: int = 1
    threshold: float | None = None
    target: Path | None = None
    """Folder for what is copied or moved."""

    def __post_init__(self) -> None:
        if self.action in (COPY_BELOW, MOVE_BELOW) and self.threshold is None:
            raise SelectionError("Give the threshold below which images are to be put aside.")
        if self.action in (COPY_BEST, MOVE_BEST) and self.keep < 1:
            raise SelectionError("Keep at least one image of each prompt.")


@dataclass
class Outcome:
    """What was found so far."""

    results: list[Scored] = field(default_factory=list)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    placed: dict[Path, Path] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def pools(self) -> list[tuple[str, list[Scored]]]:
        """Return the results by prompt, best first; the prompt with the most images comes first."""
        found: dict[str, list[Scored]] = {}
        for result in self.results:
            found.setdefault(result.prompt, []).append(result)
        ordered = sorted(found.items(), key=lambda item: -len(item[1]))
        return [(prompt, sorted(pool, key=lambda one: _order(main_of(one)))) for prompt, pool in ordered]


def main_of(result: Scored) -> float:
    """Return the score by the main scorer."""
    return next(iter(result.scores.values()), math.nan)


def _order(score: float) -> float:
    return -score if math.isfinite(score) else math.inf


class Task:
    """One run; the thread goes on when the browser's page is closed, and its result is kept."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.outcome = plan, Outcome()
        self.done, self.error, self.finished = 0, "", False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hps-files", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """Stop after the batch in work; what is scored stays, and nothing is copied or moved."""
        self._stop.set()

    @property
    def cancelled(self) -> bool:
        """Whether it was stopped."""
        return self._stop.is_set()

    def watch(self, pause: float = 0.4) -> Iterator[str]:
        """Yield a line of progress until it is over."""
        last, total = "", len(self.plan.files)
        while self._thread.is_alive():
            line = f"Scored {self.done:,} of {total:,} files ({100 * self.done // max(total, 1)} %)."
            if line != last:
                yield line
            last = line
            self._thread.join(pause)

    def _run(self) -> None:
        try:
            score(self.plan, self.outcome, self)
            if not self.cancelled:
                act(self.plan, self.outcome)
        except HpsError as error:
            self.error = str(error)
        except Exception as error:
            log.exception("Scoring of files failed.")
            self.error = f"Scoring failed: {type(error).__name__}: {error}"
        finally:
            self.finished = True


class _InTurn:
    """A scorer that waits for the host's generations between batches, and lets them pass."""

    def __init__(self, scorer: Any) -> None:
        self._scorer, self.info = scorer, scorer.info

    def score(self, images: Any, prompts: Any = "") -> Scores:
        from modules.call_queue import queue_lock

        with queue_lock:
            return self._scorer.score(images, prompts)


def score(plan: Plan, outcome: Outcome, task: Task) -> None:
    """Score the files; one that cannot be scored never stops the rest."""
    import torch
    from modules.call_queue import queue_lock

    from ...hpskit.commands import bulk
    from ...hpskit.commands.inputs import Failure, Job

    with queue_lock:  # loading takes the host's memory
        scorer = _InTurn(host.load_scorer(host.plain_name(plan.scorer)))
    seen: dict[Path, tuple[pictures.Trace, Any]] = {}
    run, recorded = secrets.token_hex(8), not recording.why_off()

    def look(job: Job, image: Any, info: Any) -> None:
        if recorded:
            seen[job.path] = (pictures.trace_of_pixels(image), info)

    def jobs() -> Iterator[Job]:
        for path in plan.files:
            if task.cancelled:
                return
            yield Job(path, plan.prompt or None)

    with torch.no_grad():
        for job, found in bulk.score_files(
            jobs(), scorer, batch=_BATCH, threads=_THREADS, raw=False, look=look if recorded else None
        ):
            task.done += 1
            trace, info = seen.pop(job.path, (None, None))
            if isinstance(found, Failure):
                outcome.failures.append((job.path, _here(found.reason)))
                continue
            outcome.results.append(found)
            if trace is not None:
                file = str(job.path.absolute()) if plan.target is not None else ""
                recording.add_file(found.record, found.prompt, trace, file, info, run)
            if plan.stamp:
                _stamp(found, outcome)


def _here(reason: str) -> str:
    return reason.replace("give one with --prompt or --prompts", "write one above")


def _stamp(found: Scored, outcome: Outcome) -> None:
    from ...hpskit import stamp

    try:
        stamp.write(found.path, found.record)
    except HpsError as error:
        outcome.remarks.append(str(error))


def act(plan: Plan, outcome: Outcome) -> None:
    """Copy or move files; nothing is ever written over, and a file that resists is told of."""
    from ...hpskit.commands.files import place

    if plan.target is None or plan.action == NOTHING:
        return
    move = plan.action in MOVES
    for result in chosen(plan, outcome):
        try:
            outcome.placed[result.path] = place(result.path, plan.target, move=move)
        except HpsError as error:
            outcome.remarks.append(str(error))
    count, verb = len(outcome.placed), "moved" if move else "copied"
    outcome.remarks.append(f"{count:,} {'file is' if count == 1 else 'files are'} {verb} to {plan.target.name}.")


def chosen(plan: Plan, outcome: Outcome) -> Iterator[Scored]:
    """Yield the results that the action is meant for."""
    for _, pool in outcome.pools():
        known = [one for one in pool if math.isfinite(main_of(one))]
        if plan.action in (COPY_BEST, MOVE_BEST):
            yield from known[: plan.keep]
        elif plan.threshold is not None:
            yield from (one for one in known if main_of(one) < plan.threshold)


_current: list[Task] = []
_lock = threading.Lock()


def begin(plan: Plan) -> Task:
    """Start a run; SelectionError while another one is at work."""
    with _lock:
        if _current and not _current[0].finished:
            raise SelectionError("Files are being scored already; wait for it, or stop it first.")
        _current[:] = [Task(plan)]
        _current[0].start()
        return _current[0]


def current() -> Task | None:
    """Return the run at work, or the last one."""
    return _current[0] if _current else None


def stamp_of_now() -> str:
    """Return the time as it stands in reports."""
    return time.strftime("%Y-%m-%d %H:%M")
