"""`hps demo`: best of N on several prompts, against what statistics lets one expect and against optimised noises."""

from __future__ import annotations

import argparse
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .. import stats as st
from ..embedded import EXAMPLE_PROMPTS
from ..report import (
    Chart,
    Column,
    Figure,
    Headline,
    Line,
    Report,
    Section,
    Table,
    Text,
    write_report,
)
from ..types import Scorer
from . import console, demo_noise, files, making, noise_making
from .demo_noise import Match
from .making import Search
from .noise_making import Models

PROMPTS: Final = EXAMPLE_PROMPTS[:6]
SIZE: Final = 192


def run(args: argparse.Namespace) -> int:
    """Run the searches, write pictures and report, and say in five lines what was seen; return the exit code."""
    start = time.monotonic()
    console.note("Best of N and optimised noises, on miniature models that draw and judge coloured shapes only.")
    generator, scorer = making.load()
    folder = files.new_folder(Path(args.out))
    seeds = range(args.seed, args.seed + args.n)
    bar = console.Progress("Making images", args.n * len(PROMPTS))
    try:
        searches = [
            making.search(generator, scorer, prompt, seeds, size=SIZE, bar=bar, before=number * args.n)
            for number, prompt in enumerate(PROMPTS)
        ]
    finally:
        bar.close()
    for number, made in enumerate(searches, start=1):
        making.save(folder, f"best-{number}-seed-{made.result.best.seed}.png", made, made.result.best.index)
    models = Models(generator, scorer, noise_making.watcher(""))
    found = demo_noise.matches(models, PROMPTS, demo_noise.settings_of(args.seed, SIZE))
    seconds = time.monotonic() - start
    page = write_report(folder / "report.html", _report(searches, found, scorer, seconds))
    console.out("\n".join([*_seen(searches, found, seconds), f"Report: {page.resolve()}"]))
    if args.open:
        webbrowser.open(page.resolve().as_uri())
    return 0


def _mean_curve(searches: Sequence[Search]) -> list[float]:
    """Return best of n above the mean, in standard deviations of each prompt's pool, averaged over the prompts."""
    columns = [st.expected_maximum(_standardised(made.values)) for made in searches]
    return [st.mean(column) for column in zip(*columns, strict=True)]


def _standardised(values: Sequence[float]) -> list[float]:
    centre, spread = st.mean(values), st.standard_deviation(values)
    return [(value - centre) / spread if spread > 0 else 0.0 for value in values]


def _lucky(searches: Sequence[Search]) -> int:
    """Count the prompts whose first seed was the best anyway."""
    return sum(made.result.best.index == 0 for made in searches)


def _images(searches: Sequence[Search], found: Sequence[Match]) -> int:
    """Count all pictures that were made."""
    optimised = sum(match.made.search.curve[-1].images + len(match.rival.pool.values) for match in found)
    return optimised + sum(len(made.values) for made in searches)


def _seen(searches: Sequence[Search], found: Sequence[Match], seconds: float) -> list[str]:
    n = len(searches[0].values)
    gain, expected = _mean_curve(searches)[-1], st.gaussian_expected_maximum(n)
    points = st.mean([made.gain for made in searches])
    return [
        f"{_images(searches, found)} images of {len(searches)} prompts made and scored in {seconds:.0f} s by "
        "miniature models (coloured shapes only).",
        f"Best of {n} scored {gain:.2f} standard deviations ({points:.1f} points) above the average seed; "
        f"normally distributed scores would give {expected:.2f}.",
        f"The first seed was already the best for {_lucky(searches)} of {len(searches)} prompts.",
        demo_noise.seen(found),
        "For your own pictures: hps models get hps-v2.1, then hps rank FOLDER --prompt TEXT",
    ]


def _report(searches: Sequence[Search], found: Sequence[Match], scorer: Scorer, seconds: float) -> Report:
    measured, n = _mean_curve(searches), len(searches[0].values)
    lead = st.mean([match.lead for match in found])
    figures = [
        Figure(
            f"{measured[-1]:+.2f} sd", f"gain of best of {n}", f"normal scores: {st.gaussian_expected_maximum(n):+.2f}"
        ),
        Figure(f"{len(searches) - _lucky(searches)} of {len(searches)}", "prompts where another seed beat the first"),
        Figure(f"{lead:+.2f}", "points, optimised noise against best of N", "at equal cost"),
        Figure(f"{seconds:.0f} s", f"for {_images(searches, found)} images"),
    ]
    rows = [demo_noise.gallery(made, match) for made, match in zip(searches, found, strict=True)]
    galleries = [making.gallery(made, f"All candidates: {made.prompt}") for made in searches]
    known = making.facts(scorer.info, ("Seeds", f"{searches[0].result.candidates[0].seed} and up, {n} a prompt"))
    middle: tuple[Section, ...] = (
        Headline(figures),
        _gain_chart(measured),
        demo_noise.chart(found),
        *rows,
        _table(searches),
        demo_noise.table(found),
        *making.notes(scorer.info),
        _about(),
    )
    return Report(
        "Best of N and optimised noises on miniature models", making.PLAIN_WORDS, (*middle, *galleries, known)
    )


def _gain_chart(measured: Sequence[float]) -> Chart:
    sizes = range(1, len(measured) + 1)
    lines = [
        Line("measured, mean of the prompts", list(zip(sizes, measured, strict=True))),
        Line("expected of normal scores", [(n, st.gaussian_expected_maximum(n)) for n in sizes], dashed=True),
    ]
    half = max(len(measured) // 2, 1)
    note = (
        f"Each point is the average over all subsets of n candidates. {half} candidates give {measured[half - 1]:.2f} "
        f"of the {measured[-1]:.2f} standard deviations that {len(measured)} give. "
        "Normal scores promise too much where most pictures are about equally good and a few bad ones make the spread."
    )
    return Chart(lines, "n candidates", "gain (standard deviations)", "Gain of best of n", note)


def _table(searches: Sequence[Search]) -> Table:
    columns = [
        Column("prompt"),
        *(Column(name, 2) for name in ("first seed", "mean", "sd", "best", "gain")),
        Column("seed"),
    ]
    rows: list[list[str | int | float | None]] = [
        [
            made.prompt,
            made.values[0],
            st.mean(made.values),
            st.standard_deviation(made.values),
            max(made.values),
            made.gain,
            made.result.best.seed,
        ]
        for made in searches
    ]
    return Table(columns, rows, "By prompt", "gain = best minus mean, in points (100 x cosine)")


def _about() -> Text:
    body = (
        "Every prompt was drawn from the same seeds, every picture was scored against its prompt, and the best one was "
        "kept. The best picture is stored beside this report with its score, seed and prompt inside the file. Then a "
        "starting noise was optimised, and best of N run again with as many seeds as its cost pays for; "
        "`hps optimize` does that for any prompt.\n\n"
        "With real weights the same is done for any pictures: hps models get hps-v2.1, then hps rank FOLDER "
        "--prompt TEXT."
    )
    return Text(body, "What was done")
