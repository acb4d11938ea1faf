"""What `hps benchmark` and `hps evaluate` share: scoring of thousands of files, resumable, and their result files."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..ledger.export import cell
from ..types import Scorer, ScorerInfo
from . import bulk, console, files, session
from .bulk import Scored
from .inputs import Failure, Job
from .state import State

NO_NUMBER: Final = "its score is no finite number"
_NAMED: Final = 20
"""Failed files that are named one by one; the JSON document has all of them."""


@dataclass
class Found:
    """Scores of a run, and what could not be scored."""

    infos: Mapping[str, ScorerInfo]
    scores: dict[Job, Mapping[str, float]] = field(default_factory=dict)
    """By scorer id."""
    failures: list[Failure] = field(default_factory=list)
    cut: int = 0
    """Images whose prompt was longer than the scorer reads."""

    def score(self, job: Job | None, scorer: str) -> float:
        """Return a score; NaN without an image or where it failed."""
        known = None if job is None else self.scores.get(job)
        return math.nan if known is None else known[scorer]


def check_outputs(args: argparse.Namespace) -> None:
    """Raise OutputError when a result file could not be written: better now than after hours of scoring."""
    for name in (args.csv, args.json_file, args.html):
        files.check_csv(name)


def score(args: argparse.Namespace, jobs: Sequence[Job], scorer: Scorer) -> Found:
    """Score every job once, prompts as they are; an interrupt keeps what --resume has."""
    work = list(dict.fromkeys(jobs))
    found = Found(session.infos(scorer))
    bar = console.Progress("Scoring", len(work))
    done = 0
    try:
        for job, result in _results(args, work, scorer):
            done += 1
            _add(found, bar, job, result)
            bar.update(done)
    except KeyboardInterrupt:
        bar.close()
        if args.resume:
            console.note(f"{done} of {len(work)} are kept in {args.resume}; the same command goes on from there.")
        else:
            console.note(f"{done} of {len(work)} were scored; with --resume FILE they would have been kept.")
        raise
    finally:
        bar.close()
    if len(found.failures) > _NAMED:
        console.note(f"... and {len(found.failures) - _NAMED} more.")
    return found


def _results(args: argparse.Namespace, work: list[Job], scorer: Scorer) -> Iterator[tuple[Job, Scored | Failure]]:
    """Yield what earlier runs found, then what this one finds; each is remembered before it is yielded."""
    with State(Path(args.resume) if args.resume else None, scorer, raw=True) as state:
        todo = []
        for job in work:
            earlier = state.known(job) if args.resume else None
            if earlier is None:
                todo.append(job)
            else:
                yield job, earlier
        if len(todo) < len(work):
            console.note(f"{console.count(len(work) - len(todo), 'image')} unchanged since the last run.")
        threads = bulk.decode_threads(args.threads)
        for job, result in bulk.score_files(todo, scorer, batch=args.batch, threads=threads, raw=True):
            if isinstance(result, Scored):
                state.add(job, result)
            yield job, result


def _add(found: Found, bar: console.Progress, job: Job, result: Scored | Failure) -> None:
    if isinstance(result, Scored) and not all(math.isfinite(value) for value in result.scores.values()):
        result = Failure(job.path, NO_NUMBER)
    if isinstance(result, Scored):
        found.scores[job] = result.scores
        found.cut += result.truncated
        return
    found.failures.append(result)
    if len(found.failures) <= _NAMED:
        bar.close()
        console.note(f"failed: {result.path}: {result.reason}")


def identity(infos: Mapping[str, ScorerInfo]) -> list[dict[str, Any]]:
    """Return the scorers for JSON output."""
    return session.identity(session.Outcome(infos))


def header(info: ScorerInfo) -> str:
    """Return a scorer with what makes its scores comparable."""
    return session.header(session.Outcome({info.id: info}))


def closing_notes(found: Found) -> None:
    """Say what a person must know to read the figures."""
    if found.cut:
        many = console.count(found.cut, "image")
        console.note(f"The prompts of {many} are longer than 77 tokens; their ends were not read, as in the reference.")
    for name in (name for name in found.infos if name.startswith("hps-tiny-")):
        console.note(f"{name} is a miniature: it judges coloured shapes only, never art or photographs.")


def write_json_file(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document; the file appears whole or not at all, and what is no number becomes null."""
    text = json.dumps(finite(document), indent=1, allow_nan=False)
    files.publish(path, f"{text}\n".encode("ascii"))


def finite(value: Any) -> Any:
    """Return a document with None in place of every number that is not finite."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV; texts that a spreadsheet would read as formulas get an apostrophe, missing numbers nothing."""
    safe = [{key: cell(finite(value)) for key, value in row.items()} for row in rows]
    files.write_csv(path, safe)
