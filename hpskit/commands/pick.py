"""`hps pick`: keep the best images of each prompt: list them, copy them or move them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError, SelectionError
from ..select import Ranking, Selection, select
from . import console, files, rank, recording, score, session
from .bulk import Scored
from .inputs import Failure
from .recording import Recorder
from .session import Outcome


@dataclass(frozen=True)
class _Pool:
    prompt: str
    images: Sequence[Scored]
    ranking: Ranking
    selection: Selection

    def kept(self) -> list[Scored]:
        return [self.images[index] for index in self.selection.kept]


def run(args: argparse.Namespace) -> int:
    """Score images, choose per prompt, and list, copy or move what was chosen; return the exit code."""
    _check(args)
    with recording.opened(args) as recorder:
        return _pick(args, recorder)


def _pick(args: argparse.Namespace, recorder: Recorder) -> int:
    outcome = session.run(args, recorder)
    pools = [_pool(outcome, prompt, images, args) for prompt, images in outcome.pools().items()]
    if not args.list and not args.json:
        for pool in pools:
            _print(outcome, pool)
    places = _place(args, outcome, pools)
    for source, target in places.items() if args.move_to else ():
        recorder.moved(source, target)
    if args.list:
        for pool in pools:
            for result in pool.kept():
                console.out_path(places.get(result.path, result.path))
    if pools and not any(pool.kept() for pool in pools):
        console.note("No image passed, so none was picked.")
    if args.json:
        files.write_json(score.document(outcome, "pools", [_entry(pool, places) for pool in pools]))
    if args.csv:
        files.write_csv(Path(args.csv), [row for pool in pools for row in _rows(pool, places)])
    session.closing_notes(outcome, args.raw_prompt)
    return outcome.exit_code()


def _check(args: argparse.Namespace) -> None:
    """Refuse senseless conditions before hours of scoring."""
    if args.keep is not None and args.keep < 1:
        raise SelectionError(f"--keep is {args.keep}; keep at least one image.")
    if args.top_percent is not None and not 0 < args.top_percent <= 100:
        raise SelectionError(f"--top-percent is {args.top_percent:g}; it must lie above 0 and at most at 100.")
    for name in ("min_score", "min_z"):
        value = getattr(args, name)
        if value is not None and not math.isfinite(value):
            raise SelectionError(f"--{name.replace('_', '-')} must be a finite number.")


def _pool(outcome: Outcome, prompt: str, images: Sequence[Scored], args: argparse.Namespace) -> _Pool:
    ranking = rank.ranking_of(outcome, images, args.rule)
    threshold = any(value is not None for value in (args.min_score, args.min_z, args.top_percent))
    keep = args.keep if args.keep is not None or threshold else 1
    chosen = select(
        ranking,
        top_k=keep,
        min_score=args.min_score,
        min_z=args.min_z,
        top_percent=args.top_percent,
        empty=args.empty,
    )
    return _Pool(prompt, images, ranking, chosen)


def _print(outcome: Outcome, pool: _Pool) -> None:
    console.out(session.prompt_line(pool.prompt, len(pool.images)))
    console.out(f"  {pool.selection.reason}")
    rows = [
        [str(pool.ranking.rank[index]), rank.number(pool.ranking.scores[index]), str(pool.images[index].path)]
        for index in pool.selection.kept
    ]
    if rows:
        console.out("\n".join(console.table(["rank", pool.ranking.main, "image"], rows, indent="  ")))
    for warning in pool.ranking.warnings:
        console.note(warning)


def _place(args: argparse.Namespace, outcome: Outcome, pools: Sequence[_Pool]) -> dict[Path, Path]:
    """Copy or move the kept images; return where each is now. One that cannot be placed is reported and skipped."""
    folder = args.copy_to or args.move_to
    if folder is None:
        return {}
    places: dict[Path, Path] = {}
    for result in (result for pool in pools for result in pool.kept()):
        if result.path in places:  # best of two prompts
            continue
        try:
            places[result.path] = files.place(result.path, Path(folder), move=args.move_to is not None)
        except OutputError as error:
            outcome.failures.append(Failure(result.path, str(error)))
            console.note(f"failed: {error}")
    done = "copied" if args.copy_to else "moved"
    console.note(f"{console.count(len(places), 'image')} {done} to {folder}.")
    return places


def _rows(pool: _Pool, places: dict[Path, Path]) -> list[dict[str, Any]]:
    kept = set(pool.selection.kept)
    return [
        {
            "path": str(pool.images[index].path),
            "prompt": pool.prompt,
            **pool.images[index].scores,
            "rank": pool.ranking.rank[index],
            "kept": int(index in kept),
            "placed": str(places.get(pool.images[index].path, "")) if index in kept else "",
        }
        for index in pool.ranking.order
    ]


def _entry(pool: _Pool, places: dict[Path, Path]) -> dict[str, Any]:
    candidates = [{**row, "kept": bool(row["kept"]), "placed": row["placed"] or None} for row in _rows(pool, places)]
    chosen = pool.selection
    return {"prompt": pool.prompt, "candidates": candidates, "fallback": chosen.fallback, "reason": chosen.reason}
