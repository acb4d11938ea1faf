"""`hps evaluate`: how often scorers order the images of a prompt as people did, on a file of human rankings."""

from __future__ import annotations

import argparse
import math
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..benchmark import accuracy, published
from ..benchmark.accuracy import Accuracy, Share
from ..benchmark.humans import Ranked, Rankings, Source, read_rankings
from ..benchmark.protocol import PARTIAL
from ..errors import BenchmarkError
from ..types import ScorerInfo
from . import benchmark_run, console, files, session
from .benchmark_run import Found
from .inputs import Job

FORMAT: Final = "hps-evaluate/1"
NAMES: Final[Mapping[Source, str]] = {"hpdv2": "HPD v2", "imagereward": "ImageReward"}
HEADLINE: Final[Mapping[Source, str]] = {"hpdv2": "rank accuracy", "imagereward": "pair accuracy"}
"""The count that is published for this kind of file."""
_LISTED: Final = 10


@dataclass(frozen=True)
class Verdict:
    """What one scorer reached."""

    info: ScorerInfo
    rows: np.ndarray
    """One row a prompt, see `accuracy.table`."""
    result: Accuracy
    lead: Share | None
    """How much more accurate than the first scorer over the same prompts; None for the first."""


@dataclass(frozen=True)
class Evaluation:
    """A whole run."""

    rankings: Rankings
    kept: tuple[int, ...]
    """Positions of the prompts whose images were all scored."""
    verdicts: tuple[Verdict, ...]
    found: Found

    @property
    def whole(self) -> bool:
        """Tell whether every prompt counts."""
        return len(self.kept) == len(self.rankings.items)

    @property
    def title(self) -> str:
        """What was measured, in words."""
        form = f"rankings in {NAMES[self.rankings.source]}'s layout"
        return form if self.whole else f"{form} ({PARTIAL})"


def run(args: argparse.Namespace) -> int:
    """Score the images, count agreement, and write table, JSON, CSV and a report; return the exit code."""
    benchmark_run.check_outputs(args)
    source: Source | None = None if args.layout == "auto" else args.layout
    rankings = read_rankings(Path(args.test), source)
    folder = Path(args.images)
    if not folder.is_dir():
        raise BenchmarkError(f"{folder} is no folder. --images is where the names in {args.test} start from.")
    jobs = [[Job(folder / name, item.prompt) for name in item.images] for item in rankings.items]
    _insist_on_images(jobs, folder, args.partial)
    _tell_of_repeats(rankings)
    work = [job for item in jobs for job in item if job.path.is_file()]
    found = benchmark_run.score(args, work, session.load(args))
    done = _evaluation(rankings, jobs, found)
    code = _incomplete(done, args.partial)
    if code is None:
        _write(args, done)
        code = 1 if found.failures else 0
    benchmark_run.closing_notes(found)
    return code


def _insist_on_images(jobs: Sequence[Sequence[Job]], folder: Path, partial: bool) -> None:
    missing = [job.path for item in jobs for job in item if not job.path.is_file()]
    if not missing:
        return
    count = sum(map(len, jobs))
    names = _first([str(path.relative_to(folder)) for path in missing])
    text = f"{len(missing)} of {count} images are not in {folder}: {names}."
    if not partial or len(missing) == count:
        hint = "Check --images" if len(missing) == count else "Add them, or leave their prompts out with --partial"
        raise BenchmarkError(f"{text} {hint}.")
    console.note(text)


def _tell_of_repeats(rankings: Rankings) -> None:
    """Warn of images that are listed twice: an image beside itself has no order, and prompts count once too often."""
    seen: set[tuple[str, ...]] = set()
    within: list[str] = []
    again: list[str] = []
    for item in rankings.items:
        places = [posixpath.normpath(name.replace("\\", "/")) for name in item.images]
        within += [name for k, name in enumerate(item.images) if places[k] in places[:k]]
        whole = (item.prompt, *sorted(set(places)))
        again += [" ".join(item.prompt.split())[:80]] if whole in seen else []
        seen.add(whole)
    if within:
        console.note(f"Listed twice for one prompt: {_first(within)}. No scorer can order an image beside itself.")
    if again:
        console.note(f"Listed again with the same images, and counted again: {_first(again)}.")


def _first(names: Sequence[str]) -> str:
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _evaluation(rankings: Rankings, jobs: Sequence[Sequence[Job]], found: Found) -> Evaluation:
    kept = tuple(k for k, item in enumerate(jobs) if all(job in found.scores for job in item))
    items = [rankings.items[k] for k in kept]
    verdicts: list[Verdict] = []
    for name, info in found.infos.items() if items else ():
        rows = accuracy.table(items, [[found.score(job, name) for job in jobs[k]] for k in kept])
        lead = accuracy.difference(verdicts[0].rows, rows, rankings) if verdicts else None
        verdicts.append(Verdict(info, rows, accuracy.accuracy(rows), lead))
    return Evaluation(rankings, kept, tuple(verdicts), found)


def _incomplete(done: Evaluation, partial: bool) -> int | None:
    """Say what is left out; return an exit code when that leaves no figure."""
    if done.rankings.alone:
        console.note(f"{console.count(done.rankings.alone, 'prompt')} with a single image rank nothing, left out.")
    if done.whole:
        return None
    lost = len(done.rankings.items) - len(done.kept)
    console.note(f"{lost} of {len(done.rankings.items)} prompts lack an image, or one that can be read.")
    if partial and done.kept:
        return None
    console.note("There is no figure: it would not be the test set's. Replace these images, or use --partial.")
    return 1


# --- what is written --------------------------------------------------------------------------------------------------


def _write(args: argparse.Namespace, done: Evaluation) -> None:
    if args.json or args.json_file:
        made = document(done)
        if args.json:
            files.write_json(benchmark_run.finite(made))
        if args.json_file:
            benchmark_run.write_json_file(Path(args.json_file), made)
    if not args.json:
        _print(done)
    if args.csv:
        benchmark_run.write_csv(Path(args.csv), list(_csv_rows(done)))
    if args.html:
        from ..report import write_report
        from .evaluate_page import page

        write_report(args.html, page(done))


def _print(done: Evaluation) -> None:
    first = done.verdicts[0].result
    console.out(f"Agreement with people: {done.title}")
    pairs = console.count(first.count, "pair")
    console.out(f"{console.count(first.prompts, 'prompt')}; people order {pairs} in {first.ordered} of them")
    console.out()
    heads = ["rank accuracy", "95 %", "pair accuracy", "95 %", "pooled", "95 %", "scorer"]
    rows = [
        [*(text for share in shares(verdict) for text in share_texts(share)), named(verdict)]
        for verdict in done.verdicts
    ]
    console.out("\n".join(console.table(heads, rows)))
    for verdict in done.verdicts[1:]:
        console.out(lead_text(done, verdict))
    for verdict in done.verdicts:
        if text := published_text(done, verdict):
            console.note(text)


def shares(verdict: Verdict) -> tuple[Share, Share, Share]:
    """Return the three accuracies in the order in which they are shown."""
    return verdict.result.ranks, verdict.result.pairs, verdict.result.pooled


def share_texts(share: Share) -> tuple[str, str]:
    """Return an accuracy and its interval in percent."""
    if math.isnan(share.value):
        return "-", "-"
    low, high = 100 * share.interval.low, 100 * share.interval.high
    return f"{100 * share.value:.2f}", "-" if math.isnan(low) else f"{low:.1f} .. {high:.1f}"


def named(verdict: Verdict) -> str:
    """Return a scorer with what makes its scores comparable."""
    return benchmark_run.header(verdict.info)


def lead_text(done: Evaluation, verdict: Verdict) -> str:
    """Say how a scorer compares with the first one."""
    assert verdict.lead is not None
    low, high = 100 * verdict.lead.interval.low, 100 * verdict.lead.interval.high
    sure = "the interval holds 0: no evidence of a difference" if not low * high > 0 else "the interval excludes 0"
    what, first = HEADLINE[done.rankings.source], done.verdicts[0].info.id
    return (
        f"{verdict.info.id} against {first}, {what}: {100 * verdict.lead.value:+.2f} percent points, "
        f"95 % {low:+.2f} .. {high:+.2f} ({sure})"
    )


def published_text(done: Evaluation, verdict: Verdict) -> str:
    """Name the published figure of a scorer on this kind of test set; empty when there is none to name."""
    row = published.agreement_for(verdict.info.id)
    if row is None or not done.whole:
        return ""
    value = row.hpdv2 if done.rankings.source == "hpdv2" else row.imagereward
    name = NAMES[done.rankings.source]
    return (
        f"Published {HEADLINE[done.rankings.source]} of {row.scorer} on {name}'s own test set: {value:.1f}. "
        "It was computed in half precision and with the preprocessing of its time."
    )


def document(done: Evaluation) -> dict[str, Any]:
    """Return the JSON document of a run."""
    return {
        "format": FORMAT,
        "layout": done.rankings.source,
        "label": done.title,
        "complete": done.whole,
        "scorers": benchmark_run.identity(done.found.infos),
        "results": [_entry(verdict) for verdict in done.verdicts],
        "failed": [{"path": str(failure.path), "reason": failure.reason} for failure in done.found.failures],
    }


def _entry(verdict: Verdict) -> dict[str, Any]:
    result = verdict.result
    return {
        "scorer": verdict.info.id,
        "rank_accuracy": _share(result.ranks),
        "pair_accuracy": _share(result.pairs),
        "pooled_pair_accuracy": _share(result.pooled),
        "against_first": None if verdict.lead is None else _share(verdict.lead),
        "prompts": result.prompts,
        "prompts_with_pairs": result.ordered,
        "pairs": result.count,
    }


def _share(share: Share) -> dict[str, Any]:
    return {"value": share.value, "interval": [share.interval.low, share.interval.high]}


def _csv_rows(done: Evaluation) -> Iterator[dict[str, Any]]:
    """Yield one row a prompt, with columns for every scorer."""
    for at, k in enumerate(done.kept):
        item: Ranked = done.rankings.items[k]
        row: dict[str, Any] = {"item": k, "prompt": item.prompt, "images": len(item.images)}
        for verdict in done.verdicts:
            ranks, _, _, right, pairs = verdict.rows[at]
            name = verdict.info.id
            row |= {f"{name} rank_accuracy": float(ranks), f"{name} right": int(right), "pairs": int(pairs)}
        yield row
