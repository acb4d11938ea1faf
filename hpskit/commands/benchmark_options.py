"""Options of `hps benchmark` and `hps evaluate`; loads no torch: the command line takes its help here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

from .numbers import positive

STYLES: Final = ("anime", "concept-art", "paintings", "photo")
LAYOUTS: Final = ("hpsv2", "drawbench", "auto")
SOURCES: Final = ("hpdv2", "imagereward", "auto")

Command = Callable[..., argparse.ArgumentParser]
"""Makes the parser of one command from the commands, its name, its module, a summary and details."""
AddScorer = Callable[..., None]


def add(commands: Any, command: Command, add_scorer: AddScorer) -> None:
    """Add both commands."""
    summary = "Score image generators on the HPS v2 benchmark or DrawBench."
    details = (
        "Give a folder of images a model, DIR/anime/00000.jpg and so on, or a folder of such folders; several are "
        "ranked with differences prompt by prompt. Prompts are downloaded only with --get-prompts."
    )
    made = command(commands, "benchmark", "benchmark", summary, details)
    _add_benchmark(made)
    add_scorer(made, rule=False)
    _add_results(made)
    summary = "Measure how often scorers order images as people do."
    details = "TEST.json is HPD v2's test.json or ImageReward's; several scorers are compared over the same prompts."
    made = command(commands, "evaluate", "evaluate", summary, details)
    _add_evaluate(made)
    add_scorer(made, rule=False)
    _add_results(made)


def _add_benchmark(made: argparse.ArgumentParser) -> None:
    data = made.add_argument_group("images and prompts")
    data.add_argument("paths", nargs="*", metavar="DIR", help="folder of one model's images, or of several models")
    data.add_argument("--prompts", metavar="FILE|DIR", help="{style}.json lists; default: what --get-prompts got")
    data.add_argument("--layout", choices=LAYOUTS, default="auto", help="default: auto")
    only = "this style only; repeat for several; default: all that have prompts"
    data.add_argument("--style", action="append", choices=STYLES, help=only)
    download = "first download the lists of prompts (300 kB) into --prompts, or beside the weights"
    data.add_argument("--get-prompts", action="store_true", help=download)
    partial = "go on where images are missing or unreadable, and mark the figures as partial"
    data.add_argument("--partial", action="store_true", help=partial)
    data.add_argument("--reference", metavar="MODEL", help="what the others are compared with; default: the first")
    data.add_argument("--published", action="store_true", help="also print the authors' table for this scorer")


def _add_evaluate(made: argparse.ArgumentParser) -> None:
    data = made.add_argument_group("images and rankings")
    data.add_argument("test", metavar="TEST.json", help="prompts, images and their human ranks")
    data.add_argument("--images", metavar="DIR", required=True, help="folder that the names in TEST.json start from")
    data.add_argument("--layout", choices=SOURCES, default="auto", help="default: auto")
    partial = "leave out prompts with an image that is missing or unreadable, and mark the figures as partial"
    data.add_argument("--partial", action="store_true", help=partial)


def _add_results(made: argparse.ArgumentParser) -> None:
    output = made.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="write one JSON document instead of tables")
    output.add_argument("--json-file", metavar="FILE", help="also write that document into a file")
    output.add_argument("--csv", metavar="FILE", help="also write a CSV file, one row an image or prompt")
    output.add_argument("--html", metavar="FILE", help="also write a report")
    run = made.add_argument_group("long runs")
    resume = "remember scores in this file and skip unchanged images next time"
    run.add_argument("--resume", metavar="FILE", help=resume)
    run.add_argument("--batch", type=positive, default=8, metavar="N", help="images scored at once; default: 8")
    run.add_argument("--threads", type=positive, metavar="N", help="decode threads; default: one per core, at most 8")
