"""One run of `score`, `rank` or `pick`: load the scorers, go through the images, keep the results."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .. import stamp
from ..errors import PromptError
from ..scorers import EnsembleScorer, combine, load_scorer
from ..types import Scorer, ScorerInfo
from . import bulk, console, files
from .bulk import Look, Scored
from .inputs import Failure, Job, jobs
from .recording import Recorder
from .state import State

NO_COMPARISON: Final = "Scores of different prompts do not compare"
_MINIATURES: Final = ("hps-tiny-judge", "hps-tiny-shapes")
_LISTED: Final = 5


@dataclass(frozen=True)
class Outcome:
    """Everything a run found."""

    infos: Mapping[str, ScorerInfo]
    """Identity of each scorer, by the id under which its scores stand."""
    results: list[Scored] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def pools(self) -> dict[str, list[Scored]]:
        """Return the results by prompt, in the order in which the prompts appear."""
        found: dict[str, list[Scored]] = {}
        for result in self.results:
            found.setdefault(result.prompt, []).append(result)
        return found

    def exit_code(self) -> int:
        """Return 0, or 1 when some files failed."""
        return 1 if self.failures else 0


def insist_on_text(prompt: str) -> None:
    """Raise PromptError for an empty prompt, which an unset shell variable easily makes: its scores say nothing."""
    if not prompt.strip():
        raise PromptError("The prompt is empty. Give a text, or leave --prompt out to use each image's own metadata.")


def run(
    args: argparse.Namespace,
    recorder: Recorder,
    on_result: Callable[[Outcome, Scored], None] | None = None,
    look: Look | None = None,
) -> Outcome:
    """Score everything that the command line names; `on_result` sees each result as it comes.

    `look` sees each picture that is decoded, in the recorder's place: it has to hand it on.

    The recorder writes each new one into the ledger; what --resume knows already was written when it was scored.
    """
    files.check_csv(args.csv)
    work, failures = jobs(args.paths, args.recursive, args.prompt, args.prompts)
    scorer = load(args)
    if scorer.info.needs_text and args.prompt is not None:
        insist_on_text(args.prompt)
    outcome = Outcome(infos(scorer))
    for failure in failures:
        _fail(outcome, failure)
    done = 0
    bar = console.Progress("Scoring", len(work))
    try:
        for result in _results(args, work, scorer, recorder, look):
            done = min(done + 1, len(work))
            if on_result is not None or isinstance(result, Failure):
                bar.close()
            if isinstance(result, Failure):
                _fail(outcome, result)
            else:
                outcome.results.append(result)
                if on_result is not None:
                    on_result(outcome, result)
            bar.update(done)
    except KeyboardInterrupt:
        bar.close()
        if args.resume:
            console.note(f"{done} of {len(work)} are kept in {args.resume}; the same command goes on from there.")
        raise
    finally:
        bar.close()
    return outcome


def load(args: argparse.Namespace) -> Scorer:
    """Load the scorers that were named, combined into one when there are several."""
    folders = [Path(folder) for folder in args.models] if args.models else None
    options: dict[str, Any] = {"mode": args.mode, "device": args.device, "dtype": args.dtype, "folders": folders}
    scorers = [load_scorer(name, **options) for name in dict.fromkeys(args.scorer or ["hps-v2.1"])]
    return scorers[0] if len(scorers) == 1 else combine(scorers)


def infos(scorer: Scorer) -> dict[str, ScorerInfo]:
    """Return the identity of a scorer, or of each member of an ensemble, by id."""
    if isinstance(scorer, EnsembleScorer):
        return {name: member.info for name, member in scorer.members.items()}
    return {scorer.info.id: scorer.info}


def _results(
    args: argparse.Namespace, work: list[Job], scorer: Scorer, recorder: Recorder, look: Look | None
) -> Iterator[Scored | Failure]:
    """Yield results of earlier runs first, then those of this one; each is stamped before it is remembered."""
    path = Path(args.resume) if args.resume else None
    with State(path, scorer, raw=args.raw_prompt) as state:
        known = {job: found for job in work if (found := state.known(job)) is not None} if path else {}
        if known:
            console.note(f"{console.count(len(known), 'image')} unchanged since the last run.")
        for job, earlier in known.items():
            yield from _finish(args, state, job, earlier, again=True)
        todo = [job for job in work if job not in known]
        threads = bulk.decode_threads(args.threads)
        look = look or (recorder.look if recorder.active else None)
        options: dict[str, Any] = {"batch": args.batch, "threads": threads, "raw": args.raw_prompt, "look": look}
        scored = bulk.score_files(todo, scorer, **options, heed=args.prompt is not None)
        for job, result in scored:
            recorder.scored(job, None if isinstance(result, Failure) else result)
            if isinstance(result, Failure):
                yield result
            else:
                yield from _finish(args, state, job, result, again=False)


def _finish(
    args: argparse.Namespace, state: State, job: Job, result: Scored, *, again: bool
) -> Iterator[Scored | Failure]:
    """Write the record into the file where that is asked for, then remember the result with the file's new state."""
    new = not again
    problem: Failure | None = None
    if args.write_metadata:
        try:
            if new or stamp.read(job.path) != dict(result.record):
                stamp.write(job.path, result.record)
                new = True
        except Exception as error:  # whatever one strange file does must not end a run over thousands
            reason = bulk.reason_of(error, job.path)
            problem = Failure(job.path, f"scored, but the score could not be written into it: {reason}")
    if new:
        state.add(job, result)
    yield result
    if problem is not None:
        yield problem


def _fail(outcome: Outcome, failure: Failure) -> None:
    outcome.failures.append(failure)
    console.note(f"failed: {failure.path}: {failure.reason}")


def closing_notes(outcome: Outcome, raw: bool) -> None:
    """Say what a person must know to read the scores: several prompts, overruled ones, and `remarks`."""
    pools = outcome.pools()
    if len(pools) > 1:
        console.note(f"There are {len(pools)} different prompts. {NO_COMPARISON}: compare within a prompt only.")
    for line in overruled(outcome):
        console.note(line)
    remarks(outcome)


def remarks(outcome: Outcome) -> None:
    """Say which prompts were cut, that a miniature judged, and how many images failed."""
    cut = list(dict.fromkeys(result.prompt for result in outcome.results if result.truncated))
    for prompt in cut[:_LISTED]:
        console.note(f'The prompt "{console.shorten(prompt, 60)}" is longer than 77 tokens; its end was not read.')
    if len(cut) > _LISTED:
        console.note(f"... and so are {len(cut) - _LISTED} more.")
    for name in (name for name in _MINIATURES if name in outcome.infos):
        console.note(f"{name} is a miniature: it judges coloured shapes only, never art or photographs.")
    if outcome.failures:
        console.note(f"{console.count(len(outcome.failures), 'image')} failed, {len(outcome.results)} scored.")


def overruled(outcome: Outcome) -> tuple[str, ...]:
    """Return a sentence on the images whose metadata name another prompt than --prompt; nothing when there are none."""
    named = [result.named for result in outcome.results if result.named]
    if not named:
        return ()
    others = len(set(named))
    what = "another prompt in the metadata" if others == 1 else f"{others} other prompts in the metadata, such as"
    verbs = ("names", "it is") if len(named) == 1 else ("name", "they are")
    return (
        f'{console.count(len(named), "image")} {verbs[0]} {what} "{console.shorten(named[0], 60)}"; {verbs[1]} scored '
        "against the one given.",
    )


def identity(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the scorers for JSON output."""
    return [
        {
            "id": name,
            "name": info.name,
            "version": info.version,
            "preprocess": info.preprocess,
            "dtype": info.dtype,
            "checkpoint": info.checkpoint,
        }
        for name, info in outcome.infos.items()
    ]


def header(outcome: Outcome) -> str:
    """Return one line that names the scorers with what makes their scores comparable."""
    return "; ".join(f"{info.name} ({info.preprocess}, {info.dtype})" for info in outcome.infos.values())


def prompt_line(prompt: str, size: int) -> str:
    """Return the heading of one pool."""
    shown = f'"{console.shorten(prompt, 90)}"' if prompt else "(no prompt)"
    return f"{shown}  {console.count(size, 'image')}"
