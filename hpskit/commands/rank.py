"""`hps rank`: the images of each prompt, best first, with how much the order can be trusted."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..select import Ranking, Rule, default_rule, rank_pool
from ..stats import win_probability
from . import console, files, recording, score, session
from .bulk import Scored
from .session import Outcome


def run(args: argparse.Namespace) -> int:
    """Score and rank images per prompt; return the exit code."""
    with recording.opened(args) as recorder:
        outcome = session.run(args, recorder)
    pools = [(prompt, pool, ranking_of(outcome, pool, args.rule)) for prompt, pool in outcome.pools().items()]
    if args.json:
        entries = [
            {"prompt": prompt, "candidates": _rows(outcome, pool, ranking), "warnings": list(ranking.warnings)}
            for prompt, pool, ranking in pools
        ]
        files.write_json(score.document(outcome, "pools", entries))
    elif pools:
        console.note(f"Scored by {session.header(outcome)}.")
        for prompt, pool, ranking in pools:
            _print(outcome, prompt, pool, ranking)
    if args.csv:
        files.write_csv(Path(args.csv), [row for _, pool, ranking in pools for row in _rows(outcome, pool, ranking)])
    session.closing_notes(outcome, args.raw_prompt)
    return outcome.exit_code()


def ranking_of(outcome: Outcome, pool: Sequence[Scored], kind: str | None) -> Ranking:
    """Order the images of one prompt by a rule; the first scorer is the main one."""
    ids = list(outcome.infos)
    rule = default_rule(ids) if kind is None else Rule(kind, main=ids[0] if kind in ("single", "gate") else None)
    scores = {name: [result.scores[name] for result in pool] for name in ids}
    return rank_pool(scores, rule, {name: info.within_prompt_sd for name, info in outcome.infos.items()})


def number(value: float, form: str = ".4f") -> str:
    """Return a number for a table; "-" when there is none."""
    return format(value, form) if math.isfinite(value) else "-"


def _print(outcome: Outcome, prompt: str, pool: Sequence[Scored], ranking: Ranking) -> None:
    console.out()
    console.out(session.prompt_line(prompt, len(pool)))
    several = len(outcome.infos) > 1
    names = list(outcome.infos) if several else ["score"]
    head = ["rank", *names, *(["key"] if several else []), "margin", "p(beats next)", "image"]
    rows = []
    for row in _rows(outcome, pool, ranking):
        key = [number(row["key"] if row["key"] is not None else math.nan, ".3f")] if several else []
        margin, wins = (_known(row[name]) for name in ("margin", "win_probability"))
        values = [number(row[name]) for name in outcome.infos]
        rows.append([str(row["rank"]), *values, *key, number(margin), number(wins, ".0%"), row["path"]])
    console.out("\n".join(console.table(head, rows)))
    for warning in ranking.warnings:
        console.note(warning)


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _rows(outcome: Outcome, pool: Sequence[Scored], ranking: Ranking) -> list[dict[str, Any]]:
    """Return one flat row an image, best first; margin and probability compare with the next one on the main scorer."""
    scale = outcome.infos[ranking.main].logit_scale
    rows = []
    for place, index in enumerate(ranking.order):
        mine = ranking.scores[index]
        below = ranking.scores[ranking.order[place + 1]] if place + 1 < len(ranking.order) else math.nan
        known = math.isfinite(mine) and math.isfinite(below)
        rows.append(
            {
                "rank": ranking.rank[index],
                "path": str(pool[index].path),
                "prompt": pool[index].prompt,
                **pool[index].scores,
                "key": _finite(ranking.key[index]),
                "z": _finite(ranking.z[index]),
                "margin": mine - below if known else None,
                "win_probability": win_probability(mine, below, scale) if known and scale else None,
            }
        )
    return rows


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
