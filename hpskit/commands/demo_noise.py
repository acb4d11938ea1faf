"""The part of `hps demo` that sets noise optimisation beside best of N at equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .. import stats as st
from ..report import Chart, Column, Gallery, Line, Picture, Table
from ..search.objective import spread
from . import console, making, noise_making, noise_report
from .making import Search
from .noise_making import Models, Optimised, Rival
from .noise_options import Settings

ITERATIONS: Final = 10


@dataclass(frozen=True)
class Match:
    """One prompt: a noise optimised, and best of N for the same number of denoiser evaluations."""

    made: Optimised
    rival: Rival

    @property
    def lead(self) -> float:
        """Points by which the optimised picture scores higher."""
        return self.made.score - self.rival.score


def settings_of(seed: int, size: int) -> Settings:
    """Return the settings of all runs of the demo."""
    return Settings(iterations=ITERATIONS, seed=seed, size=size)


def matches(models: Models, prompts: Sequence[str], settings: Settings) -> list[Match]:
    """Optimise and compare for each prompt."""
    bar = console.Progress("Optimising noise", len(prompts))
    found = []
    try:
        for done, prompt in enumerate(prompts):
            bar.update(done)
            made = noise_making.optimise(models, prompt, settings)
            found.append(Match(made, noise_making.compare(made)))
    finally:
        bar.close()
    return found


def seen(found: Sequence[Match]) -> str:
    """Return in a sentence which side did better."""
    near = 0.05 * spread(found[0].made.models.scorer.info)
    won, lost = sum(m.lead > near for m in found), sum(m.lead < -near for m in found)
    return (
        f"For the cost of {_images(found)} images, an optimised noise scored higher than best of N for {won} of "
        f"{len(found)} prompts and lower for {lost} ({st.mean([m.lead for m in found]):+.2f} points on average)."
    )


def _images(found: Sequence[Match]) -> str:
    sizes = sorted({len(m.rival.pool.values) for m in found})
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def chart(found: Sequence[Match]) -> Chart:
    """Return both ways against their cost, in points above each prompt's average seed, averaged over the prompts."""
    each = found[0].made.settings.evaluations
    n = min(len(m.rival.pool.values) for m in found)
    plain = [[v - st.mean(m.rival.pool.values) for v in st.expected_maximum(m.rival.pool.values)[:n]] for m in found]
    places = sorted({noise_report.cost(m.made, p) for m in found for p in m.made.search.curve})
    lines = [
        Line("optimised noise", [(x, st.mean([_best_at(m, x) for m in found])) for x in places]),
        Line("best of n", [(float(k * each), st.mean(column)) for k, column in enumerate(zip(*plain, strict=True), 1)]),
    ]
    note = f"{seen(found)} The first {found[0].made.settings.screen} images of a run only choose where it starts."
    return Chart(lines, noise_report.X_LABEL, "points above the average seed", "Optimised noise or more seeds?", note)


def _best_at(match: Match, cost: float) -> float:
    """Return the best score that a run has at a cost, above the average seed."""
    key, points = match.made.models.key, match.made.search.curve
    reached = [p for p in points if noise_report.cost(match.made, p) <= cost] or points[:1]
    return reached[-1].best_scores[key] - st.mean(match.rival.pool.values)


def gallery(pool: Search, match: Match) -> Gallery:
    """Return one prompt's pictures from the worst of the pool to the optimised one."""
    order = pool.result.ranking.order
    shown = [(order[-1], f"worst of {len(order)}"), (0, "first seed"), (order[0], f"best of {len(order)}")]
    pictures = [
        Picture(pool.thumbnails[k], words, score=pool.values[k], seed=pool.result.candidates[k].seed)
        for k, words in shown
    ]
    rival, made = match.rival, match.made
    words = f"best of {len(rival.pool.values)}, as much compute as optimising"
    pictures.append(Picture(rival.image, words, score=rival.score, seed=rival.pool.result.best.seed))
    pictures.append(Picture(made.search.chosen.image, "optimised noise", score=made.score))
    return Gallery(pictures, pool.prompt)


def table(found: Sequence[Match]) -> Table:
    """Return the figures of both ways by prompt."""
    watched = found[0].made.models.held_out is not None
    names = ["best of N", "optimised", "lead"]
    names += ["held-out, N", "held-out, opt."] if watched else []
    columns = [Column("prompt"), *(Column(name, 2) for name in names)]
    rows: list[list[str | int | float | None]] = []
    for match in found:
        held = [match.rival.held_out, match.made.search.held_out.get("chosen")] if watched else []
        scores = [match.rival.score, match.made.score, match.lead]
        rows.append([match.made.prompt, *scores, *held])
    note = f"{noise_report.HONEST} {making.GENERATOR}, {found[0].made.settings.method}, {ITERATIONS} iterations."
    return Table(columns, rows, f"Best of {_images(found)} and an optimised noise, at equal cost", note)
