"""The result of a noise optimisation for people and for the interface: words, a picture of the curve, JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..hpskit import __version__
from ..hpskit.images import from_pil, to_nhwc
from ..hpskit.report.plot import draw_chart
from ..hpskit.report.sections import Chart, Line
from ..hpskit.search import NoiseSearch
from ..hpskit.search.noise_file import NoiseRecord
from ..hpskit.search.objective import spread
from ..hpskit.search.trace import Point
from ..hpskit.study.search_records import CurvePoint, SearchTrace
from . import shown, tables
from .noise_plan import Plan
from .noise_watch import point_json
from .notices import without_nan
from .types import ScoreTable

START, BEST = 0, 1
"""Rows of the table."""


def record(found: NoiseSearch, plan: Plan, seed: int, model: str) -> NoiseRecord:
    """Return where the chosen noise comes from."""
    info = plan.scorer.info
    return NoiseRecord(
        seed=seed,
        method=found.method,
        iterations=sum(point.phase == "optimize" for point in found.curve),
        prompt=plan.prompt,
        scorer=info.id,
        scorer_version=info.version,
        start=dict(found.start.scores),
        best=dict(found.chosen.scores),
        degrees=math.degrees(found.angle),
        model=model,
        vae=type(getattr(plan.vae, "first_stage_model", plan.vae)).__name__,
        made_by=f"hps {__version__}",
    )


# --- words -----------------------------------------------------------------------------------------------------------


def report(found: NoiseSearch, plan: Plan, main: str, table: ScoreTable, notes: Sequence[str]) -> str:
    """Return the result in words, with the table and everything worth a warning."""
    known = tables.warnings(table)
    warnings = [f"Note: {note}" for note in (*found.warnings, *notes) if note not in known]
    lines = [_headline(found, main), found.reason, *_earlier(found, main), _effort(found), *_held_out(found, plan)]
    lines += [_turn(found), *warnings]
    return "\n".join([*lines, "", "Image 0 is the start, image 1 the result.", "", tables.describe(table)])


def _headline(found: NoiseSearch, main: str) -> str:
    before, after = found.start.scores[main], found.chosen.scores[main]
    if found.chosen.loss >= found.start.loss:
        return f"Nothing better than the start was found: score {before:.3f} ({found.method})"
    parent, tried = found.parent.scores[main], sum(point.phase == "screen" for point in found.curve)
    if tried < 2:
        return f"Score {before:.3f} -> {after:.3f} ({after - before:+.3f}) by {found.method}"
    return (
        f"Score: given noise {before:.3f}, begun with {parent:.3f} (of {tried} tried), optimised {after:.3f} "
        f"({after - parent:+.3f} by {found.method})"
    )


def _earlier(found: NoiseSearch, main: str) -> list[str]:
    if not found.earlier:
        return []
    most = found.best.scores[main]
    return [f"An earlier image is handed out than the one with the highest score ({most:.3f}): both scorers like it."]


def _effort(found: NoiseSearch) -> str:
    cost = found.cost
    iterations = sum(point.phase == "optimize" for point in found.curve)
    screened = sum(point.phase == "screen" for point in found.curve)
    tried = f"{screened} starting noises tried, " if screened > 1 else ""
    memory = f", at most {found.peak_memory / 2**30:.1f} GiB in use" if found.peak_memory else ""
    work = f"{cost.forwards} forward and {cost.backwards} backward passes of the denoiser"
    return f"{tried}{iterations} iterations, {found.seconds:.1f} s, {work}{memory}"


def _held_out(found: NoiseSearch, plan: Plan) -> list[str]:
    before, after = found.held_out.get("start"), found.held_out.get("chosen")
    if plan.held_out is None or before is None or after is None:
        return []
    name, change = plan.held_out.info.name, (after - before) / spread(plan.held_out.info)
    return [f"Held out, {name}: {before:.3f} -> {after:.3f} ({change:+.1f} typical spreads between seeds)"]


def _turn(found: NoiseSearch) -> str:
    health = found.health
    state = "looks like noise" if health.verdict == "green" else f"looks unusual ({health.verdict}): {health.words}"
    return f"The noise was turned by {math.degrees(found.angle):.1f} degrees from the one it began with and {state}."


# --- picture ---------------------------------------------------------------------------------------------------------


def curve_image(found: NoiseSearch, plan: Plan, main: str) -> torch.Tensor:
    """Return the curve as an IMAGE [1, h, w, 3]."""
    return to_nhwc(from_pil(draw_chart(chart(found, plan, main)).convert("RGB")))


def chart(found: NoiseSearch, plan: Plan, main: str) -> Chart:
    """Return the curve: the score of the current and of the best image, with a held-out scorer both as gains."""
    base, unit = 0.0, 1.0
    held: list[Line] = []
    label = "score"
    if plan.held_out is not None:
        # Scores of two scorers have no common scale; gains in their own spreads do.
        base, unit = found.start.scores[main], _spread_of(plan, main)
        label, held = "gain in typical spreads between seeds", _held_out_line(found, plan)
    points = found.curve
    best = [(float(p.images), (p.best_scores[main] - base) / unit) for p in points]
    now = [(float(p.images), (_score(p, main) - base) / unit) for p in points]
    lines = [Line("best so far", best), Line("current", now, dashed=True), *held]
    return Chart(lines, "images made", label, title="Noise optimisation")


def _score(point: Point, main: str) -> float:
    return point.scores.get(main, math.nan)


def _spread_of(plan: Plan, main: str) -> float:
    members = getattr(plan.scorer, "members", {})
    return spread(members[main].info if main in members else plan.scorer.info)


def _held_out_line(found: NoiseSearch, plan: Plan) -> list[Line]:
    start = found.held_out.get("start")
    if start is None or plan.held_out is None:
        return []
    unit = spread(plan.held_out.info)
    seen = [(float(p.images), (p.held_out - start) / unit) for p in found.curve if p.held_out is not None]
    return [Line(f"held out: {plan.held_out.info.name}", [(1.0, 0.0), *seen])]


# --- report of its own -----------------------------------------------------------------------------------------------


def trace(found: NoiseSearch, plan: Plan, main: str, notes: Sequence[str]) -> SearchTrace:
    """Return how the optimisation went, for its report."""
    cost, health = found.cost, found.health
    return SearchTrace(
        plan.method,
        found.reason,
        found.seconds,
        curve=tuple(CurvePoint(p.images, _score(p, main), p.best_scores[main], p.held_out) for p in found.curve),
        held_out=plan.held_out.info if plan.held_out is not None else None,
        held_out_start=found.held_out.get("start"),
        held_out_result=found.held_out.get("chosen"),
        facts=(
            ("Noise", f"turned by {math.degrees(found.angle):.1f} degrees from the one it began with"),
            ("Noise health", f"{health.verdict}: {health.words or 'it looks like any random noise'}"),
            ("Denoiser", f"{cost.forwards} forward and {cost.backwards} backward passes"),
            ("Images scored", str(cost.rewards)),
        ),
        notes=(*found.warnings, *notes),
    )


# --- interface -------------------------------------------------------------------------------------------------------


def as_json(found: NoiseSearch, table: ScoreTable, main: str, run: str) -> dict[str, Any]:
    """Return what the interface shows: the table of start and result, the curve and why it ended."""
    outcome = {
        "v": shown.VERSION,
        "kind": shown.SEARCH,
        "run": run,
        "kept": [BEST],
        "picked": False,
        "items": shown.items(table, [BEST], ("start", "result")),
        "method": found.method,
        "curve": [point_json(point, main) for point in found.curve],
        "held_out": dict(found.held_out),
        "stopped": found.stopped,
        "reason": found.reason,
        "seconds": found.seconds,
        "angle": math.degrees(found.angle),
        "begun_with": found.parent.scores.get(main),
        "health": found.health.verdict,
        "cost": {"forwards": found.cost.forwards, "backwards": found.cost.backwards, "rewards": found.cost.rewards},
    }
    return without_nan(tables.as_json(table) | outcome)  # type: ignore[no-any-return]
