"""Report of a noise optimisation: what came out, against what it cost, beside best of N for the same money."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from .. import stats as st
from ..report import (
    Chart,
    Column,
    Facts,
    Figure,
    Gallery,
    Headline,
    Line,
    Note,
    Pair,
    Picture,
    Report,
    Section,
    Table,
    Text,
)
from ..search.objective import spread
from ..search.trace import Point
from . import making
from .noise_making import Optimised, Rival

X_LABEL: Final = "denoiser evaluations, a backward pass counted as two"
HONEST: Final = (
    "The score of an optimised picture is no independent judgement any more: the picture was made to please this very "
    "scorer. Look at the pictures, and at a held-out score."
)
"""What a reader of optimised scores must know."""
_COST: Final = (
    "Cost is counted in evaluations of the denoiser. A backward pass counts as two; decoder and scorer, which both "
    "need gradients, too, are not counted. The seconds were measured."
)


def report(made: Optimised, rival: Rival | None, title: str = "Noise optimisation") -> Report:
    """Return the whole report; without a rival where best of N was not run."""
    unknown = f"The generator does not know and ignored: {', '.join(made.unknown)}."
    sections: list[Section] = [
        Headline(_figures(made, rival)),
        Text(" ".join([made.search.reason, *([] if rival is None else [verdict(made, rival)])])),
        *([Text(unknown)] if made.unknown else []),
        *(Note(warning) for warning in made.search.warnings),
        _pair(made),
        curve(made, rival),
        *_held_out_chart(made),
        Gallery(_pictures(made, rival), "On the way, and what else the same cost buys"),
        _table(made, rival),
        Note(HONEST),
        *making.notes(made.models.scorer.info),
        _noise_facts(made),
        _facts(made, rival),
    ]
    return Report(f"{title}: {made.prompt}", making.PLAIN_WORDS, sections)


def verdict(made: Optimised, rival: Rival) -> str:
    """Return in a sentence how best of N at the same cost compares."""
    lead, n = made.score - rival.score, len(rival.pool.values)
    if abs(lead) < 0.05 * spread(made.models.scorer.info):
        words = "about the same"
    elif lead > 0:
        words = f"{lead:.2f} less"
    else:
        words = f"{-lead:.2f} more: here picking among plain samples did better"
    return f"Best of {n} at the same cost scored {rival.score:.2f}, {words}."


def _figures(made: Optimised, rival: Rival | None) -> list[Figure]:
    gain = made.score - made.start
    found = [
        Figure(f"{gain:+.2f}", "points above the first seed", f"{gain / spread(made.models.scorer.info):+.1f} sd"),
        Figure(f"{made.score:.2f}", "score", f"first seed: {made.start:.2f}"),
    ]
    if rival is not None:
        lead = made.score - rival.score
        found.append(Figure(f"{lead:+.2f}", f"against best of {len(rival.pool.values)}", "at the same cost"))
    held = made.search.held_out
    if made.models.held_out is not None and (change := _difference(held.get("chosen"), held.get("start"))) is not None:
        found.append(Figure(f"{change:+.2f}", "held-out score", f"{made.models.held_out.info.id}, never optimised"))
    return found[:4]


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


# --- pictures ---------------------------------------------------------------------------------------------------------


def _pair(made: Optimised) -> Pair:
    before = Picture(made.search.start.image, "first seed", score=made.start, seed=made.settings.seed)
    after = Picture(made.search.chosen.image, "optimised", score=made.score)
    angle = math.degrees(made.search.angle)
    note = f"The noise was turned by {angle:.1f} degrees from that of seed {made.seed}; unrelated noises stand at 90."
    if made.search.chosen.image.equal(made.search.start.image):
        note = "Nothing better than the first seed was found."
    return Pair(before, after, "Before and after", note)


def _pictures(made: Optimised, rival: Rival | None) -> list[Picture]:
    search, key = made.search, made.models.key
    found = []
    if made.settings.screen > 1:
        caption = f"best of the {made.settings.screen} starts"
        found.append(Picture(search.parent.image, caption, score=search.parent.scores[key], seed=made.seed))
    if rival is not None:
        best = rival.pool.result.best
        caption = f"best of {len(rival.pool.values)}, same cost"
        found.append(Picture(rival.image, caption, score=rival.score, seed=best.seed, winner=rival.score > made.score))
    if search.earlier:
        words = "highest score, not trusted by the held-out scorer"
        found.append(Picture(search.best.image, words, score=search.best.scores[key]))
    caption = "optimised"
    found.append(
        Picture(search.chosen.image, caption, score=made.score, winner=rival is None or rival.score <= made.score)
    )
    return found


# --- curves -----------------------------------------------------------------------------------------------------------


def best_line(made: Optimised, name: str) -> Line:
    """Return the best score so far against the cost."""
    return Line(name, [(cost(made, p), p.best_scores[made.models.key]) for p in made.search.curve])


def cost(made: Optimised, point: Point) -> float:
    """Return the denoiser evaluations up to a point; starts are tried several at a time, yet each has its own."""
    if point.phase == "screen":
        return float(point.images * made.settings.evaluations)
    return float(point.equivalents)


def rival_line(values: Sequence[float], each: int, name: str) -> Line:
    """Return what the best of n gives on average against its cost."""
    return Line(name, [(float(n * each), v) for n, v in enumerate(st.expected_maximum(values), start=1)], dashed=True)


def curve(made: Optimised, rival: Rival | None) -> Chart:
    """Return best, current and best of N against the cost."""
    current = [(cost(made, p), p.scores[made.models.key]) for p in made.search.curve if p.phase == "optimize"]
    lines = [best_line(made, "best so far"), Line("current image", current)]
    if rival is not None:
        name = f"best of n on average, up to {len(rival.pool.values)}"
        lines.append(rival_line(rival.pool.values, made.settings.evaluations, name))
    note = f"The first {made.settings.screen} images are the starts. " if made.settings.screen > 1 else ""
    return Chart(lines, X_LABEL, "score (points)", "What it cost", note + _COST)


def _held_out_chart(made: Optimised) -> list[Chart]:
    held, search = made.models.held_out, made.search
    if held is None:
        return []
    points = [(float(p.equivalents), p.held_out) for p in search.curve if p.held_out is not None]
    first, last = search.held_out.get("start"), search.held_out.get("best")
    if first is not None:
        points.insert(0, (float(made.settings.evaluations), first))
    if last is not None and points and points[-1][0] < search.cost.equivalents:
        points.append((float(search.cost.equivalents), last))
    note = (
        f"{held.info.name} was never optimised. While it rises with the score, the picture gets better by both; "
        "where it falls, the score rises for its own sake."
    )
    line = Line("held-out score of the best image so far", points)
    return [Chart([line], X_LABEL, f"{held.info.id} (points)", "The scorer that only watches", note)]


# --- tables -----------------------------------------------------------------------------------------------------------


def _table(made: Optimised, rival: Rival | None) -> Table:
    search, settings = made.search, made.settings
    rows: list[list[str | int | float | None]] = [
        ["first seed", made.start, search.held_out.get("start"), 1, settings.evaluations, None]
    ]
    if rival is not None:
        n = len(rival.pool.values)
        rows.append(
            [f"best of {n}", rival.score, rival.held_out, n, n * settings.evaluations, rival.pool.result.seconds]
        )
    images = max((p.images for p in search.curve), default=0)
    words = f"optimised ({settings.method})"
    rows.append([words, made.score, search.held_out.get("chosen"), images, search.cost.equivalents, search.seconds])
    columns = [
        Column("image"),
        Column("score", 2),
        Column("held-out", 2),
        Column("images made"),
        Column("evaluations"),
        Column("seconds", 1),
    ]
    if made.models.held_out is None:
        columns, rows = [*columns[:2], *columns[3:]], [[*row[:2], *row[3:]] for row in rows]
    return Table(columns, rows, "At equal cost", marked=frozenset({len(rows) - 1}))


def _noise_facts(made: Optimised) -> Facts:
    health, search = made.search.health, made.search
    items = [
        ("Verdict", f"{health.verdict}: {health.words or 'it looks like any random noise'}"),
        ("Turned by", f"{math.degrees(search.angle):.1f} degrees from seed {made.seed}"),
        ("From the first seed", f"{math.degrees(search.angle_to_start):.1f} degrees"),
        ("Norm", f"{health.norm_z:+.2f} sd from a random noise's"),
        ("Mean", f"chance {health.p_mean:.2g}"),
        ("Covariance", f"chance {health.p_covariance:.2g}"),
        ("Neighbours", f"{health.lag_x:+.1f} sd across, {health.lag_y:+.1f} sd down"),
    ]
    return Facts(items, "Does the noise still look like noise?")


def _facts(made: Optimised, rival: Rival | None) -> Facts:
    work, search, settings = made.search.cost, made.search, made.settings
    held = made.models.held_out
    return making.facts(
        made.models.scorer.info,
        ("Held-out scorer", f"{held.info.name} ({held.info.id})" if held is not None else "none"),
        ("Method", settings.method),
        ("Sampler", f"Euler, {settings.steps} steps, cfg {settings.cfg:g}"),
        ("Seeds of the starts", f"{settings.seed} to {settings.seed + settings.screen - 1}"),
        ("Stopped", search.reason),
        ("Evaluations", f"{work.forwards} forward, {work.backwards} backward"),
        ("Images scored", str(work.rewards)),
        ("Time", f"{search.seconds:.1f} s" + (f"; best of N: {rival.pool.result.seconds:.1f} s" if rival else "")),
        ("Peak memory", megabytes(search.peak_memory)),
    )


def megabytes(number: int | None) -> str:
    """Return the peak memory of the process in words."""
    return "unknown" if number is None else f"{number / 1e6:.0f} MB of memory in the whole process"
