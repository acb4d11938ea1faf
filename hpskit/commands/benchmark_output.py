"""Results of `hps benchmark`: tables on the console, one JSON document, CSV, and the report."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ..benchmark import published, ranking
from ..benchmark.folders import ModelFolder
from ..benchmark.protocol import ModelFigure, StyleFigure
from ..benchmark.published import Row
from ..benchmark.styles import PromptSet
from ..study.analysis import analyse
from ..study.records import Analysis, Interval, Study
from ..study.table import table_text
from ..types import ScorerInfo
from . import benchmark_run, console, files
from .benchmark_run import Found

AVERAGE: Final = "Average"
FORMAT: Final = "hps-benchmark/1"


@dataclass(frozen=True)
class Result:
    """Everything that one scorer says of all models."""

    scorer: ScorerInfo
    prompts: PromptSet
    models: tuple[ModelFolder, ...]
    scores: Mapping[str, Mapping[str, Sequence[float]]]
    """By model and style, in the order of the prompts; NaN without an image."""
    figures: tuple[ModelFigure, ...]
    """In the order of the models."""
    reference: int = 0

    @property
    def published(self) -> tuple[Row, ...]:
        """The authors' table for this scorer; empty where there is none, or no figure may stand beside it."""
        whole = any(figure.comparable for figure in self.figures) and self.prompts.layout == "hpsv2"
        return published.BY_SCORER.get(self.scorer.id, ()) if whole else ()

    @cached_property
    def study(self) -> Study:
        """Models as settings, prompts as blocks."""
        return ranking.study(self.prompts, self.scores, self.scorer, self.reference)

    @cached_property
    def analysis(self) -> Analysis | None:
        """Comparison of the models; None for a single one."""
        return analyse(self.study) if len(self.models) > 1 else None


def write(args: argparse.Namespace, found: Found, results: Sequence[Result]) -> None:
    """Write what the command line asks for."""
    if args.json or args.json_file:
        made = document(found, results)
        if args.json:
            files.write_json(benchmark_run.finite(made))
        if args.json_file:
            benchmark_run.write_json_file(Path(args.json_file), made)
    if not args.json:
        for result in results:
            _print(result, args.published)
    if args.csv:
        benchmark_run.write_csv(Path(args.csv), list(_csv_rows(results)))
    if args.html:
        from ..report import write_report
        from .benchmark_page import page

        write_report(args.html, page(results))


# --- console ----------------------------------------------------------------------------------------------------------


def _print(result: Result, all_published: bool) -> None:
    console.note(f"Scored by {benchmark_run.header(result.scorer)}.")
    for figure in result.figures:
        console.out(f"{figure.model}  ({figure.label})")
        for line in console.table(["mean", "+-", "95 % interval", "images", "style"], _rows(figure), indent="  "):
            console.out(line)
        _print_known(result, figure)
        console.out()
    if result.analysis is not None:
        console.out("\n".join([*_overview(result), ""]))
        console.out(table_text(result.study, result.analysis))
        console.out()
    if all_published:
        _print_published(result)


def _rows(figure: ModelFigure) -> list[list[str]]:
    rows = [[*_style_cells(style), style.style] for style in figure.styles]
    if figure.average is not None and len(figure.styles) > 1:
        rows.append([f"{figure.average:.2f}", "", between(figure.interval), str(figure.images), AVERAGE])
    return rows


def _style_cells(style: StyleFigure) -> list[str]:
    """Return the cells as the reference prints them, 2 and 4 decimals, then interval and number of images."""
    if math.isnan(style.mean):
        return ["-", "-", "-", f"0 of {style.expected}"]
    many = str(style.images) if style.images == style.expected else f"{style.images} of {style.expected}"
    return [f"{style.mean:.2f}", f"{style.spread:.4f}", between(style.interval), many]


def between(interval: Interval, digits: int = 2) -> str:
    """Return an interval as "30.51 .. 30.75"; "-" when there is none."""
    if math.isnan(interval.low):
        return "-"
    return f"{interval.low:.{digits}f} .. {interval.high:.{digits}f}"


def _overview(result: Result) -> list[str]:
    """Return one row a model, the best average first, in the form of the published tables."""
    names = list(result.prompts.prompts)
    last = [AVERAGE] if result.prompts.whole and len(names) > 1 else []
    order = sorted(result.figures, key=lambda figure: -_shown_by(figure))
    rows = []
    for figure in order:
        values = [style.mean for style in figure.styles] + [_shown_by(figure) for _ in last]
        cells = ["-" if math.isnan(value) else f"{value:.2f}" for value in values]
        rows.append([*cells, figure.model if figure.comparable else f"{figure.model} ({figure.label})"])
    return console.table([*names, *last, "model"], rows)


def _shown_by(figure: ModelFigure) -> float:
    """Return what models are listed by: the average, or the mean over all images of the styles that were asked for."""
    if figure.average is not None:
        return figure.average
    total = sum(style.mean * style.images for style in figure.styles if style.images)
    return total / figure.images if figure.images else -math.inf


def _print_known(result: Result, figure: ModelFigure) -> None:
    """Name the published figures of a model that the folder is named after."""
    row = published.row_for(figure.model, result.scorer.id)
    if row is None or row not in result.published or not figure.comparable:
        return
    known = [f"{style.style} {row.styles[style.style]:.2f}" for style in figure.styles]
    average = [f"{AVERAGE} {row.average:.2f}"] if figure.average is not None else []
    console.out(f"  published for {row.model}: {', '.join([*known, *average])}")
    console.note(published.CAVEAT)


def _print_published(result: Result) -> None:
    if not result.published:
        console.note(f"There is no published table that these figures of {result.scorer.name} could stand beside.")
        return
    console.out(f"Published with {result.scorer.name}")
    rows = [[f"{value:.2f}" for value in (*row.styles.values(), row.average)] + [row.model] for row in result.published]
    console.out("\n".join(console.table([*result.published[0].styles, AVERAGE, "model"], rows, indent="  ")))
    console.note(published.CAVEAT)


# --- JSON and CSV -----------------------------------------------------------------------------------------------------


def document(found: Found, results: Sequence[Result]) -> dict[str, Any]:
    """Return the JSON document of a run."""
    prompts = results[0].prompts
    return {
        "format": FORMAT,
        "layout": prompts.layout,
        "prompts": {"source": prompts.source, "official_form": prompts.official},
        "scorers": benchmark_run.identity(found.infos),
        "results": [_result_entry(result) for result in results],
        "failed": [{"path": str(failure.path), "reason": failure.reason} for failure in found.failures],
    }


def _result_entry(result: Result) -> dict[str, Any]:
    analysis = result.analysis
    return {
        "scorer": result.scorer.id,
        "models": [_model_entry(figure, model) for figure, model in zip(result.figures, result.models, strict=True)],
        "comparisons": [] if analysis is None else [_comparison(found) for found in analysis.comparisons],
        "order": [] if analysis is None else [result.figures[k].model for k in analysis.order],
        "verdict": None if analysis is None else analysis.headline,
        "warnings": [] if analysis is None else list(analysis.warnings),
        "published": [{"model": row.model, **row.styles, "average": row.average} for row in result.published],
        "published_note": published.CAVEAT if result.published else None,
    }


def _model_entry(figure: ModelFigure, model: ModelFolder) -> dict[str, Any]:
    return {
        "model": figure.model,
        "folder": str(model.path),
        "label": figure.label,
        "styles": [
            {
                "style": style.style,
                "mean": style.mean,
                "spread": style.spread,
                "interval": _pair(style.interval),
                "images": style.images,
                "prompts": style.expected,
            }
            for style in figure.styles
        ],
        "average": figure.average,
        "interval": _pair(figure.interval),
    }


def _comparison(found: Any) -> dict[str, Any]:
    return {
        "model": found.label,
        "against": found.against,
        "difference": found.difference,
        "interval": _pair(found.interval),
        "p": found.p,
        "p_adjusted": found.p_adjusted,
        "verdict": found.verdict,
        "wins": found.wins,
        "prompts": found.prompts,
    }


def _pair(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _csv_rows(results: Sequence[Result]) -> Iterator[dict[str, Any]]:
    """Yield one row an image, with a column for every scorer."""
    prompts = results[0].prompts
    for model in results[0].models:
        for style, texts in prompts.prompts.items():
            for k, text in enumerate(texts):
                path = model.images[style][k]
                row = {"model": model.name, "style": style, "number": f"{k:05d}", "prompt": text}
                scores = {result.scorer.id: result.scores[model.name][style][k] for result in results}
                yield {**row, "path": "" if path is None else str(path), **scores}
