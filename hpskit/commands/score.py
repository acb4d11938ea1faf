"""`hps score`: one line an image, as the scores come."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from . import console, files, recording, session
from .bulk import Scored
from .session import Outcome


def run(args: argparse.Namespace) -> int:
    """Score images and write a table, JSON or CSV; return the exit code."""
    with recording.opened(args) as recorder:
        outcome = session.run(args, recorder, None if args.json else _print)
    if args.json:
        files.write_json(document(outcome, "results", [_entry(result) for result in outcome.results]))
    if args.csv:
        files.write_csv(Path(args.csv), [_row(result) for result in outcome.results])
    session.closing_notes(outcome, args.raw_prompt)
    return outcome.exit_code()


def _print(outcome: Outcome, result: Scored) -> None:
    columns = {name: max(len(name), 9) for name in outcome.infos}
    if len(outcome.results) == 1:
        console.note(f"Scored by {session.header(outcome)}.")
        console.out("".join(f"{name:>{size}}  " for name, size in columns.items()) + "image")
    values = "".join(f"{result.scores[name]:{size}.4f}  " for name, size in columns.items())
    limit = console.width()
    console.out(values + console.shorten(str(result.path), None if limit is None else max(limit - len(values) - 1, 8)))


def _entry(result: Scored) -> dict[str, Any]:
    return {
        "path": str(result.path),
        "prompt": result.prompt,
        "scores": dict(result.scores),
        "tokens": result.tokens,
        "truncated": result.truncated,
    }


def _row(result: Scored) -> dict[str, Any]:
    return {"path": str(result.path), "prompt": result.prompt, **result.scores, "truncated": int(result.truncated)}


def document(outcome: Outcome, name: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the JSON document of a run: scorers, entries, failures, and how to read it."""
    failed = [{"path": str(failure.path), "reason": failure.reason} for failure in outcome.failures]
    found: dict[str, Any] = {"scorers": session.identity(outcome), name: entries, "failed": failed}
    return found | {"note": f"{session.NO_COMPARISON}."}
