"""Report of a noise optimisation: the start, the result, the way between them, and a scorer that only watched."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from ..report import Chart, Column, Figure, Headline, Line, Note, Pair, Report, Section, Table, Text
from ..types import ScorerInfo
from .search_parts import Row, facts, notes, picture_of, setting_facts
from .search_records import SearchPool, SearchTrace
from .shown import excerpt, number, signed

HONEST: Final = (
    "The score of an optimised picture is no independent judgement any more: the picture was made to please this very "
    "scorer. Look at the pictures, and at a held-out score."
)
"""What a reader of optimised scores must know."""
_X: Final = "images made"


def headline(pool: SearchPool) -> str:
    """Return the result in a sentence."""
    start, result = pool.images
    gain = result.score - start.score
    if not gain > 0:
        return f"Nothing better than the start was found: score {number(start.score)}."
    return f"Score {number(start.score)} -> {number(result.score)}: {signed(gain)} points{_in_sd(gain, pool.scorer)}."


def _in_sd(gain: float, info: ScorerInfo) -> str:
    sd = info.within_prompt_sd
    return f" ({signed(gain / sd, 1)} typical spreads between seeds)" if sd else ""


def noise_report(pool: SearchPool) -> Report:
    """Return the report of an optimisation; the pool holds the start and the result, in this order."""
    trace = pool.trace or SearchTrace("noise optimisation")
    prompt = pool.prompts[0] if pool.prompts else ""
    sections: list[Section] = [
        Headline(_figures(pool, trace)),
        Text(" ".join(part for part in (headline(pool), trace.reason) if part)),
        *(Note(warning) for warning in (*pool.warnings, *trace.notes)),
        _pair(pool),
        _curve(pool, trace),
        *_held_out(trace),
        _table(pool, trace),
        Note(HONEST),
        *notes(pool),
        *setting_facts(pool),
        facts(pool, ("Search", trace.method), *_watcher(trace), *trace.facts),
    ]
    title = pool.title or f"Noise optimisation: {excerpt(prompt, 90)}"
    return Report(title, f"Prompt: {prompt}" if prompt.strip() else "", sections)


def _figures(pool: SearchPool, trace: SearchTrace) -> list[Figure]:
    start, result = pool.images
    gain, sd = result.score - start.score, pool.scorer.within_prompt_sd
    detail = f"{signed(gain / sd, 1)} typical spreads between seeds" if sd else ""
    found = [
        Figure(signed(gain), "points above the start", detail),
        Figure(number(result.score), "score of the result", f"start: {number(start.score)}"),
    ]
    change = _change(trace)
    if trace.held_out is not None and change is not None:
        found.append(Figure(signed(change), "held-out score", f"{trace.held_out.name}, never optimised"))
    if trace.seconds is not None:
        found.append(Figure(f"{trace.seconds:.0f} s", f"for {trace.curve[-1].images} images"))
    return found


def _change(trace: SearchTrace) -> float | None:
    before, after = trace.held_out_start, trace.held_out_result
    return None if before is None or after is None else after - before


def _pair(pool: SearchPool) -> Pair:
    start, result = pool.images
    better = result.score > start.score
    note = "" if better else "Nothing better than the start was found."
    return Pair(picture_of(start, "start"), picture_of(result, "result", winner=better), "Before and after", note)


def _curve(pool: SearchPool, trace: SearchTrace) -> Chart:
    lines = [
        Line("best so far", [(float(point.images), point.best) for point in trace.curve]),
        Line("current image", [(float(point.images), point.score) for point in trace.curve], dashed=True),
    ]
    return Chart(lines, _X, f"score by {pool.scorer.name} (points)", "On the way")


def _held_out(trace: SearchTrace) -> Iterator[Chart]:
    if trace.held_out is None:
        return
    points = [(float(point.images), point.held_out) for point in trace.curve if point.held_out is not None]
    if trace.held_out_start is not None and (not points or points[0][0] > 1):
        points.insert(0, (1.0, trace.held_out_start))
    note = (
        f"{trace.held_out.name} was never optimised. While it rises with the score, the picture gets better by both; "
        "where it falls, the score rises for its own sake."
    )
    line = Line("held-out score of the best image so far", points)
    yield Chart([line], _X, f"{trace.held_out.name} (points)", "The scorer that only watches", note)


def _table(pool: SearchPool, trace: SearchTrace) -> Table:
    watched = trace.held_out is not None
    held = (trace.held_out_start, trace.held_out_result)
    rows: list[Row] = []
    for name, image, other in zip(("start", "result"), pool.images, held, strict=True):
        row: Row = [name, image.score, *(image.parts.get(member) for member in pool.members)]
        rows.append([*row, *([other] if watched else [])])
    members = [info.name or name for name, info in pool.members.items()]
    held_name = [f"held out: {trace.held_out.name}"] if trace.held_out else []
    columns = [Column("image"), *(Column(name, 3) for name in ("score", *members, *held_name))]
    better = pool.images[1].score > pool.images[0].score
    return Table(columns, rows, "Scores", marked=frozenset({1}) if better else frozenset())


def _watcher(trace: SearchTrace) -> list[tuple[str, str]]:
    held = trace.held_out
    known = [("Ended", trace.reason)] if trace.reason else []
    known += [("Time", f"{trace.seconds:.1f} s")] if trace.seconds is not None and math.isfinite(trace.seconds) else []
    return [*known, ("Held-out scorer", f"{held.name} ({held.id})" if held is not None else "none")]
