"""`hps best-of`: N candidates from one prompt on the embedded miniature, the best of them kept."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from .. import stats as st
from ..report import Chart, Figure, Headline, Report, Text, write_report
from ..search import StopRule
from . import console, files, making, recording, session
from .making import Search

_WIDTH: Final = 40
_STOPPED: Final = {
    "target": "the target was reached",
    "gain": "one more image was not worth it",
    "time": "the time was up",
}


def run(args: argparse.Namespace) -> int:
    """Search, print the gain curve, write pictures and report; return the exit code."""
    session.insist_on_text(args.prompt)
    stop = StopRule(target=args.target, min_gain=args.stop_gain)
    generator, scorer = making.load()
    folder = files.new_folder(Path(args.out))
    bar = console.Progress("Best of", args.n)
    seeds = range(args.seed, args.seed + args.n)
    options: dict[str, Any] = {"keep": args.keep, "size": args.size, "stop": stop, "bar": bar}
    with recording.opened(args) as recorder:
        try:
            made = making.search(generator, scorer, args.prompt, seeds, recorder=recorder, **options)
        finally:
            bar.close()
        pictures = [_save(folder, made, place, index) for place, index in enumerate(made.result.kept, start=1)]
        for picture, index in zip(pictures, made.result.kept, strict=True):
            recorder.saved(made.hashes.get(index, ""), picture)
    page = write_report(folder / "report.html", _report(made, args.n))
    _print(made, args.n)
    for picture in pictures:
        console.out(f"Picture: {picture}")
    console.out(f"Report: {page}")
    return 0


def _save(folder: Path, made: Search, place: int, index: int) -> Path:
    seed = made.result.candidates[index].seed
    return making.save(folder, f"best-{place}-seed-{seed}.png", made, index)


def _stopped(made: Search, asked: int) -> str:
    done = len(made.result.candidates)
    why = _STOPPED.get(made.result.stopped)
    return f"Stopped after {done} of {asked}: {why}." if why else f"All {done} candidates were made."


def _print(made: Search, asked: int) -> None:
    values, best = made.values, made.result.best
    console.note(making.PLAIN_WORDS)
    if made.unknown:
        console.note(f"The generator does not know: {', '.join(made.unknown)}.")
    for warning in made.result.warnings:
        console.note(warning)
    console.out(f"{_stopped(made, asked)} {made.result.seconds:.1f} s.")
    console.out("\n".join(_curve(values)))
    console.out(
        f"Best: seed {best.seed}, score {max(values):.3f}, {made.gain:+.3f} points above the mean "
        f"{st.mean(values):.3f} (sd {st.standard_deviation(values):.3f})."
    )


def _curve(values: list[float]) -> list[str]:
    """Return the gain curve as text: what best of n gives on average, n doubling."""
    measured = st.expected_maximum(values)
    steps = [n for n in (2**k for k in range(20)) if n < len(values)] + [len(values)]
    low, high = measured[0], measured[-1]
    lines = [f"{'n':>5}  best of n, on average"]
    for n in steps:
        filled = round(_WIDTH * (measured[n - 1] - low) / (high - low)) if high > low else 0
        lines.append(f"{n:5}  {measured[n - 1]:10.3f}  {'#' * filled}")
    return lines


def _report(made: Search, asked: int) -> Report:
    values, best = made.values, made.result.best
    spread = st.standard_deviation(values)
    figures = [
        Figure(f"{max(values):.2f}", "best score", f"seed {best.seed}"),
        Figure(f"{made.gain:+.2f}", "points above the mean", f"sd {spread:.2f}"),
        Figure(str(len(values)), "candidates", _stopped(made, asked)),
    ]
    chart = Chart(making.curves(values), "n", "best of n (points)", "What fewer candidates would have given")
    return Report(
        f"Best of {len(values)}: {made.prompt}",
        making.PLAIN_WORDS,
        [
            Headline(figures),
            *([Text(f"The generator does not know and ignored: {', '.join(made.unknown)}.")] if made.unknown else []),
            making.gallery(made, "Candidates, best first"),
            chart,
            making.table(made),
            *making.notes(made.result.info),
            making.facts(made.result.info, ("Seeds", f"{made.result.candidates[0].seed} and up")),
        ],
    )
