"""Options of everything that has to do with the ledger: `hps ledger` itself, and recording by the other commands.

Loads neither the ledger nor torch: the command line takes its help from here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from . import numbers

SORTS: Final = ("time", "score", "standing", "seed", "model", "sampler", "steps", "cfg")
COMPARED: Final = ("sampler", "scheduler", "steps", "cfg", "model")
FORMATS: Final = ("csv", "jsonl", "parquet")
SOURCES: Final = ("comfyui", "cli", "webui")
MOST_ROWS: Final = 1000
Action = Callable[[Any, str, str], argparse.ArgumentParser]
"""Makes the parser of one subcommand from the subcommands, its name and its summary."""


def add_recording(command: argparse.ArgumentParser) -> None:
    """Add what switches recording off or sends it elsewhere."""
    ledger = command.add_argument_group("ledger").add_mutually_exclusive_group()
    where = "record the scored pictures in this ledger; default: $HPS_LEDGER or the user's own, see `hps ledger info`"
    ledger.add_argument("--ledger", metavar="FILE", help=where)
    ledger.add_argument("--no-ledger", action="store_true", help="record nothing; so does HPS_LEDGER=off")


def add(actions: Any, action: Action) -> None:
    """Add the subcommands of `hps ledger`."""
    _add_best(action(actions, "best", "List the seeds with the best scores."))
    _add_compare(action(actions, "compare", "Compare samplers, step counts or models within the prompts they share."))
    _add_list(action(actions, "list", "List scored pictures."))
    _add_export(action(actions, "export", "Write scored pictures as CSV, JSON lines or Parquet."))
    info = action(actions, "info", "Say where the ledger lies, how much it holds, and how often people agree with it.")
    _place(info)
    _json(info)
    _add_purge(action(actions, "purge", "Delete scored pictures from the ledger, and shrink its file."))


def _add_best(made: argparse.ArgumentParser) -> None:
    made.add_argument("-p", "--prompt", metavar="TEXT", help="seeds of this prompt; a part that no other holds will do")
    made.add_argument("--model", metavar="NAME", help="seeds of this model")
    made.add_argument("-s", "--scorer", metavar="ID", help="as judged by this scorer")
    _limit(made, "seeds")
    _place(made)
    _json(made)


def _add_compare(made: argparse.ArgumentParser) -> None:
    made.add_argument("--by", choices=COMPARED, required=True, help="the setting to compare")
    _filters(made)
    _place(made)
    _json(made)


def _add_list(made: argparse.ArgumentParser) -> None:
    _filters(made)
    order = made.add_argument_group("order")
    order.add_argument("--sort", choices=SORTS, default="time", help="default: time")
    order.add_argument("--ascending", action="store_true", help="smallest or oldest first")
    _limit(order, "rows")
    order.add_argument("--offset", type=_whole, default=0, metavar="N", help="leave out the first N rows")
    _place(made)
    _json(made)


def _add_export(made: argparse.ArgumentParser) -> None:
    made.add_argument("-o", "--output", metavar="FILE", required=True, help="- for standard output (not Parquet)")
    made.add_argument("--format", choices=FORMATS, help="default: by the ending of FILE; Parquet needs pyarrow")
    made.add_argument("--force", action="store_true", help="replace a file that exists")
    _filters(made)
    _place(made)


def _add_purge(made: argparse.ArgumentParser) -> None:
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("--before", type=date, metavar="DATE", help="delete rows older than this")
    what.add_argument("--all", action="store_true", help="delete every row")
    made.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal to ask on")
    _place(made)


def _filters(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("which pictures")
    group.add_argument("-p", "--prompt", metavar="TEXT", help="of exactly this prompt")
    group.add_argument("--search", metavar="TEXT", help="of prompts that hold this text")
    group.add_argument("--model", metavar="NAME", help="made by this model")
    group.add_argument("--sampler", metavar="NAME", help="made with this sampler")
    group.add_argument("--scheduler", metavar="NAME", help="made with this scheduler")
    group.add_argument("-s", "--scorer", metavar="ID", help="judged by this scorer")
    group.add_argument("--source", choices=SOURCES, help="recorded by this program")
    group.add_argument("--since", type=date, metavar="DATE", help="such as 2025-01-31 or 2025-01-31T18:30")
    group.add_argument("--until", type=date, metavar="DATE", help="before this")


def _limit(made: Any, what: str) -> None:
    made.add_argument(
        "-n", "--limit", type=_rows, default=20, metavar="N", help=f"most {what} to show, up to 1000; default: 20"
    )


def _place(made: argparse.ArgumentParser) -> None:
    where = "the ledger, or the folder that holds it such as ComfyUI's; default: $HPS_LEDGER or the user's own"
    made.add_argument("--ledger", metavar="FILE", help=where)


def _json(made: argparse.ArgumentParser) -> None:
    made.add_argument("--json", action="store_true", help="write one JSON document instead of a table")


# --- values -----------------------------------------------------------------------------------------------------------


def _rows(text: str) -> int:
    value = numbers.positive(text)
    if value > MOST_ROWS:
        raise argparse.ArgumentTypeError(f"must be at most {MOST_ROWS}; `hps ledger export` writes all rows")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError("must be at least 0")
    return value


def date(text: str) -> float:
    """Return the Unix time of a date or time, local unless it names its offset from UTC."""
    try:
        moment = datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith(("Z", "z")) else text)
        return moment.timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise argparse.ArgumentTypeError(f"{text!a} is no date such as 2025-01-31 or 2025-01-31T18:30") from error
