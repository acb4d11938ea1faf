"""The report of `hps benchmark`: figures by model and style, what separates the models, and the published tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..benchmark import published
from ..report import Column, Facts, Figure, Headline, Note, Report, Section, Table, Text
from ..report.sections import Cell
from .benchmark_output import AVERAGE, Result, between

HOW: Final = (
    "Each figure is the mean score over the images of a style, one image a prompt. +- is the standard deviation of the "
    "means of ten groups of 80 prompts, as the benchmark's authors print it: it is neither a standard error nor an "
    "interval. The interval beside it shows how far the mean would move with other prompts like these.\n\nMean scores "
    "of models compare only over the same prompts and under the same scorer and preprocessing. Differences are "
    "therefore taken prompt by prompt."
)


def page(results: Sequence[Result]) -> Report:
    """Return the whole report, one part a scorer."""
    labels = sorted({figure.label for result in results for figure in result.figures})
    sections: list[Section] = []
    for result in results:
        sections += _part(result)
    return Report(f"Benchmark: {', '.join(labels)}", HOW, sections)


def _part(result: Result) -> list[Section]:
    figures = _headline(result)
    sections: list[Section] = [*([Headline(figures)] if figures else []), _models(result), _styles(result)]
    if result.analysis is not None:
        analysis = result.analysis
        sections += [Text(analysis.headline, "What separates the models"), _comparisons(result)]
        sections += [Note(warning) for warning in analysis.warnings]
    if result.published:
        sections += [_published(result), Note(published.CAVEAT)]
    return [*sections, _facts(result)]


def _headline(result: Result) -> list[Figure]:
    best = sorted((f for f in result.figures if f.average is not None), key=lambda f: -(f.average or 0.0))
    return [Figure(f"{f.average:.2f}", f.model, f"{between(f.interval)}; {f.label}") for f in best[:4]]


def _models(result: Result) -> Table:
    names = list(result.prompts.prompts)
    heads = [
        Column("model"),
        *(Column(name, 2) for name in names),
        Column(AVERAGE, 2),
        Column("95 %"),
        Column("what it is"),
    ]
    rows: list[list[Cell]] = [
        [f.model, *(style.mean for style in f.styles), f.average, between(f.interval), f.label] for f in result.figures
    ]
    return Table(heads, rows, f"Scores, {result.scorer.name}")


def _styles(result: Result) -> Table:
    heads = [Column("model"), Column("style"), Column("mean", 2), Column("+-", 4), Column("95 %"), Column("images")]
    rows: list[list[Cell]] = [
        [figure.model, style.style, style.mean, style.spread, between(style.interval), style.images]
        for figure in result.figures
        for style in figure.styles
    ]
    return Table(heads, rows, "By style")


def _comparisons(result: Result) -> Table:
    assert result.analysis is not None
    heads = [
        Column("model"),
        Column("difference", 3),
        Column("95 %"),
        Column("p", 4),
        Column("p adjusted", 4),
        Column("better in", 3),
        Column("prompts"),
        Column("verdict"),
    ]
    rows: list[list[Cell]] = [
        [c.label, c.difference, between(c.interval, 3), c.p, c.p_adjusted, c.wins, c.prompts, c.verdict]
        for c in result.analysis.comparisons
    ]
    against = result.figures[result.reference].model
    return Table(
        heads, rows, f"Against {against}, prompt by prompt", "Better in: share of the prompts, ties count half."
    )


def _published(result: Result) -> Table:
    heads = [Column("model"), *(Column(name, 2) for name in result.published[0].styles), Column(AVERAGE, 2)]
    rows: list[list[Cell]] = [[row.model, *row.styles.values(), row.average] for row in result.published]
    return Table(heads, rows, f"Published by the authors, {result.scorer.name}")


def _facts(result: Result) -> Facts:
    info = result.scorer
    items = [
        ("scorer", f"{info.name} ({info.id}, version {info.version})"),
        ("preprocessing", info.preprocess),
        ("compute type", info.dtype),
        ("checkpoint", info.checkpoint or "none"),
        ("prompts", f"{result.prompts.size} from {result.prompts.source}"),
        ("folders", ", ".join(str(model.path) for model in result.models)),
    ]
    return Facts(items)
