"""Options of `hps compare`; loads neither torch nor the ledger, since the command line takes its help from here."""

from __future__ import annotations

import argparse
import math
from typing import Final

from . import ledger_options, numbers

FIELDS: Final = ("model", "lora", "sampler", "scheduler", "steps", "cfg", "size")
PAIR_BY: Final = ("auto", "seed", "name", "order", "none")
FILTERS: Final = ("search", "model", "sampler", "scheduler", "source", "since", "until")


def add(made: argparse.ArgumentParser) -> None:
    """Add everything but the images and the scorer."""
    _add_what(made)
    _add_ledger(made)
    _add_analysis(made)
    _add_output(made)
    run = made.add_argument_group("long runs")
    remember = "remember scores in this file; the next run, or one after Ctrl-C, goes on from there"
    run.add_argument("--resume", metavar="FILE", help=remember)
    run.add_argument("--batch", type=numbers.positive, default=8, metavar="N", help="images scored at once; default: 8")
    threads = "decode threads; default: one per core, at most 8"
    run.add_argument("--threads", type=numbers.positive, metavar="N", help=threads)
    made.set_defaults(write_metadata=False)


def _add_what(made: argparse.ArgumentParser) -> None:
    what = made.add_argument_group("what is compared")
    fields = f"settings by what the images' metadata or the ledger say: {', '.join(FIELDS)}; default: all that vary"
    what.add_argument("--by", type=_fields, default=(), metavar="FIELD,...", help=fields)
    pairs = (
        "how images of two folders find each other: by seed, by file name, by order, or none for an unpaired "
        "comparison; default: auto, the seed where it is known, else the name"
    )
    what.add_argument("--pair-by", choices=PAIR_BY, default="auto", help=pairs)
    what.add_argument("--study", metavar="FILE", help="analyse a comparison again that --json-file saved")


def _add_ledger(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("ledger")
    group.add_argument(
        "--ledger", dest="from_ledger", action="store_true", help="compare what the ledger holds; scores nothing"
    )
    place = group.add_mutually_exclusive_group()
    where = "the ledger to read or to record in; default: $HPS_LEDGER or the user's own, see `hps ledger info`"
    place.add_argument("--ledger-file", dest="ledger", metavar="FILE", help=where)
    place.add_argument("--no-ledger", action="store_true", help="record nothing; so does HPS_LEDGER=off")
    only = "with --ledger: only rows"
    group.add_argument("--search", metavar="TEXT", help=f"{only} whose prompt holds this; --prompt asks for all of it")
    group.add_argument("--model", metavar="NAME", help=f"{only} made by this model")
    group.add_argument("--sampler", metavar="NAME", help=f"{only} made with this sampler")
    group.add_argument("--scheduler", metavar="NAME", help=f"{only} made with this scheduler")
    group.add_argument("--source", choices=ledger_options.SOURCES, help=f"{only} recorded by this program")
    dated = "such as 2025-01-31 or 2025-01-31T18:30"
    group.add_argument("--since", type=ledger_options.date, metavar="DATE", help=f"{only} since then, {dated}")
    group.add_argument("--until", type=ledger_options.date, metavar="DATE", help=f"{only} before this")


def _add_analysis(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("analysis")
    group.add_argument(
        "--reference", metavar="LABEL", help="setting that the others are compared with; default: the first one"
    )
    group.add_argument(
        "--confidence", type=_confidence, default=0.95, metavar="C", help="of all intervals and verdicts; default: 0.95"
    )
    plan = "say how many prompts and seeds show a difference of D points; images are not needed, but make it better"
    group.add_argument("--plan", type=_points, metavar="D", help=plan)


def _add_output(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="write one JSON document instead of a table")
    group.add_argument("--html", metavar="FILE", help="also write a report with pictures")
    group.add_argument("--grid", metavar="FILE", help="also write a grid of the pictures, as PNG, JPEG or WebP")
    group.add_argument("--csv", metavar="FILE", help="also write a CSV file with a row for each image")
    group.add_argument("--json-file", metavar="FILE", help="also save the comparison, for --study")
    group.add_argument("--force", action="store_true", help="replace files that exist")


# --- values -----------------------------------------------------------------------------------------------------------


def _fields(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in FIELDS]
    if unknown or not names:
        wrong = f"{unknown[0]!a} is none of them" if unknown else "it is empty"
        raise argparse.ArgumentTypeError(f"{wrong}; name some of {', '.join(FIELDS)}")
    return names


def _confidence(text: str) -> float:
    value = _number(text)
    if not 0.5 < value < 1:
        raise argparse.ArgumentTypeError("must lie between 0.5 and 1, such as 0.95")
    return value


def _points(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("must be a difference above 0 in points of the score, such as 0.3")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!a} is no number") from None
