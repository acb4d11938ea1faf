"""`hps ledger`: find, compare, export and delete the scored pictures of the past."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ..errors import LedgerError
from ..ledger import Agreement, Ledger, Query, Row, Setting
from . import console, files, ledger_export, ledger_place

NO_COMPARISON: Final = "Scores of different prompts or scorers do not compare; z is relative to the own group."
DESCRIPTIVE: Final = (
    "This describes what was recorded and is no test of significance: scores are set against the mean of their own "
    "prompt and scorer, but pictures may differ in more than this setting."
)
_LISTED: Final = 5
_MOST_PROMPTS: Final = 10_000
_NARROW, _WIDE = 18, 28


def run(args: argparse.Namespace) -> int:
    """Do what one subcommand says; return the exit code."""
    path = ledger_place.to_read(args.ledger)
    with ledger_place.opened(args.ledger, path) as ledger:
        return _ACTIONS[args.action](args, ledger, path)


def query_of(args: argparse.Namespace, **more: Any) -> Query:
    """Return the query that the filters on the command line make."""
    return Query(
        prompt=args.prompt,
        search=args.search or "",
        model=args.model,
        sampler=args.sampler,
        scheduler=args.scheduler,
        scorer=args.scorer,
        source=args.source,
        since=args.since,
        until=args.until,
        **more,
    )


# --- best and list ----------------------------------------------------------------------------------------------------


def _best(args: argparse.Namespace, ledger: Ledger, path: Path) -> int:
    prompt = None if args.prompt is None else _prompt(ledger, args.prompt)
    rows = ledger.best_seeds(prompt=prompt, model=args.model, scorer=args.scorer, limit=args.limit)
    if args.json:
        files.write_json(
            {"ledger": str(path), "rows": [row.as_json(longest=None) for row in rows], "note": NO_COMPARISON}
        )
        return 0
    if prompt is not None:
        console.out(f'"{console.shorten(prompt, 90)}"')
    _print(rows, last=None if prompt is None else "file")
    return 0


def _prompt(ledger: Ledger, text: str) -> str:
    """Return the prompt that is meant: this very one, or the only one that holds the text."""
    if ledger.rows(Query(prompt=text, limit=1)).total:
        return text
    known = [facet.value for facet in ledger.facets(limit=_MOST_PROMPTS, longest=None).prompts]
    found = [prompt for prompt in known if text.casefold() in prompt.casefold()]
    if len(found) == 1:
        return found[0]
    if not found:
        raise LedgerError(f'No prompt in the ledger holds "{text}". `hps ledger list` shows what is there.')
    some = "; ".join(f'"{console.shorten(prompt, 60)}"' for prompt in found[:_LISTED])
    raise LedgerError(f'{len(found)} prompts hold "{text}": {some}{"; ..." if len(found) > _LISTED else ""}. Name one.')


def _list(args: argparse.Namespace, ledger: Ledger, path: Path) -> int:
    order = {"sort": args.sort, "descending": not args.ascending, "limit": args.limit, "offset": args.offset}
    page = ledger.rows(query_of(args, **order))
    if args.json:
        rows = [row.as_json(longest=None) for row in page.rows]
        files.write_json({"ledger": str(path), "rows": rows, "total": page.total, "note": NO_COMPARISON})
        return 0
    _print(page.rows)
    if page.total > len(page.rows):
        console.note(f"{len(page.rows)} of {page.total} rows; --limit and --offset show others.")
    return 0


def _print(rows: Sequence[Row], last: str | None = None) -> None:
    """Print rows as a table that ends with the file, or with the prompt."""
    if not rows:
        console.note("Nothing that fits is recorded.")
        return
    head = ["when", "score", "z", "of", "seed", "steps", "cfg", "sampler", "model", "scorer", last or "prompt"]
    console.out("\n".join(console.table(head, [_cells(row, last or "prompt") for row in rows])))
    console.note("z: standard deviations above the mean of the same prompt and scorer; of: pictures in that group.")
    if len({(row.prompt, row.fingerprint) for row in rows}) > 1:
        console.note(NO_COMPARISON)


def _cells(row: Row, last: str) -> list[str]:
    return [
        moment(row.time),
        f"{row.score:.4f}",
        _known(row.standing, "+.2f"),
        str(row.group_n),
        "-" if row.seed is None else str(row.seed),
        "-" if row.steps is None else str(row.steps),
        _known(row.cfg, "g"),
        console.shorten(row.sampler or "-", _NARROW),
        console.shorten(row.model or "-", _WIDE),
        console.shorten(row.scorer, _NARROW),
        (row.file if last == "file" else row.prompt) or "-",
    ]


def _known(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def moment(time: float | None) -> str:
    """Return a Unix time as a local date and time; "-" for none, and for one that no calendar has."""
    try:
        return "-" if time is None else datetime.fromtimestamp(time).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "-"


# --- compare ----------------------------------------------------------------------------------------------------------


def _compare(args: argparse.Namespace, ledger: Ledger, path: Path) -> int:
    settings = ledger.compare(args.by, query_of(args))
    if args.json:
        rows = [asdict(setting) for setting in settings]
        files.write_json({"ledger": str(path), "by": args.by, "settings": rows, "note": DESCRIPTIVE})
        return 0
    if not settings:
        console.note("Nothing that fits is recorded.")
        return 0
    head = ["pictures", "prompts", "mean", "gain", "sd", "won", args.by]
    console.out("\n".join(console.table(head, [_setting(setting) for setting in settings])))
    console.note(f"{_COLUMNS}\n{DESCRIPTIVE}")
    return 0


_COLUMNS: Final = (
    "prompts: those with several values; gain: mean of the score less the mean of its prompt and scorer, over those; "
    "won: of the pairs with the same prompt, scorer and seed."
)


def _setting(setting: Setting) -> list[str]:
    won = f"{setting.wins}/{setting.pairs}" if setting.pairs else "-"
    numbers = [_known(setting.mean, ".4f"), _known(setting.gain, "+.4f"), _known(setting.sd, ".4f")]
    return [str(setting.n), str(setting.groups), *numbers, won, str(setting.value) or "(unknown)"]


# --- info -------------------------------------------------------------------------------------------------------------


def _info(args: argparse.Namespace, ledger: Ledger, path: Path) -> int:
    summary, own = ledger.summary(), args.ledger is None
    agreements = _agreements(ledger) if summary.picks else {}
    if args.json:
        known = asdict(summary) | {"max_bytes": summary.max_bytes if own else None}
        files.write_json({"ledger": str(path), **known, "agreement": {k: asdict(v) for k, v in agreements.items()}})
        return 0
    console.out(f"Ledger: {path}")
    console.out(f"Pictures: {summary.rows}, of {console.count(summary.prompts, 'prompt')}")
    if summary.rows:
        console.out(f"From {moment(summary.oldest)} to {moment(summary.newest)}")
    limit = f" of at most {size_text(summary.max_bytes)}; beyond it the oldest thumbnails go, then rows"
    console.out(f"Size: {size_text(summary.bytes)}{limit if own else ''}")
    console.out(f"Picks by eye: {summary.picks}")
    for scorer, agreement in agreements.items():
        console.out(f"  {scorer}: {_agreement(agreement)}")
    return 0


def size_text(number: int) -> str:
    """Return bytes in units of 1024, as the limit of a ledger is given everywhere: "256 MB"."""
    for unit, step in (("GB", 2**30), ("MB", 2**20), ("kB", 2**10)):
        if number >= step:
            return f"{number / step:.3g} {unit}"
    return f"{number} B"


def _agreements(ledger: Ledger) -> dict[str, Agreement]:
    """Return how far the picks agree with each scorer that knows any of them."""
    found = {facet.value: ledger.agreement(facet.value) for facet in ledger.facets().scorers}
    return {scorer: agreement for scorer, agreement in found.items() if agreement.n}


def _agreement(found: Agreement) -> str:
    between = f"95 % interval {found.low:.0%} to {found.high:.0%}"
    few = "" if found.enough else "; too few picks or prompts to tell"
    return f"the picture with the higher score was chosen in {found.agree} of {found.n} ({between}{few})"


# --- purge ------------------------------------------------------------------------------------------------------------


def _purge(args: argparse.Namespace, ledger: Ledger, path: Path) -> int:
    held = ledger.summary().rows
    number = held if args.all else ledger.rows(Query(until=args.before, limit=1)).total
    if not number:
        console.note("There is nothing to delete.")
        return 0
    if not args.yes and not _agreed(f"{number} of {console.count(held, 'row')} in {path} would be deleted."):
        console.note("Nothing was deleted.")
        return 0
    deleted = ledger.purge(before=None if args.all else args.before)
    size = size_text(ledger.summary().bytes)
    console.out(f"{console.count(deleted, 'row')} deleted; picks are kept as records. {path} takes {size} now.")
    return 0


def _agreed(warning: str) -> bool:
    """Ask on a terminal; LedgerError where there is none."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise LedgerError(f"{warning} There is no terminal to ask on; give --yes to do it.")
    console.note(f"{warning} Type yes to do it:")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _export(args: argparse.Namespace, ledger: Ledger, path: Path) -> int:
    return ledger_export.export(args, ledger, query_of(args))


_ACTIONS: Final[Mapping[str, Callable[[argparse.Namespace, Ledger, Path], int]]] = {
    "best": _best,
    "compare": _compare,
    "list": _list,
    "export": _export,
    "info": _info,
    "purge": _purge,
}
