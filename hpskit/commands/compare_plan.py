"""`hps compare --plan`: how many prompts and seeds would show a difference, from a spread that is measured or usual."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from ..stats.planning import UNPAIRED_SD, Plan, PlanRow, plan
from ..study import Study
from . import console, files

if TYPE_CHECKING:
    import numpy as np

_PROMPTS: Final = (1, 4, 8, 12, 20, 40)
_MOST_PROMPTS: Final = 10_000
_USUAL: Final = (
    f"Spread: {UNPAIRED_SD:.2f} points, which is usual for HPS between two images that share only the prompt. Images "
    "of the same seed are often closer; give some, and their own spread is measured."
)
_MEASURED: Final = (
    "Spread as measured on these images: {sd:.2f} points between the differences of one prompt's blocks, {between:.2f} "
    "between prompts."
)


def show(args: argparse.Namespace, study: Study | None) -> None:
    """Write the plan to standard output; beside a JSON document to standard error, as text."""
    found = spread_of(study) if study is not None else None
    settings = max(len(study.settings), 2) if study is not None else 2
    sd, between = found or (UNPAIRED_SD, 0.0)
    made = _planned(args.plan, sd, between, settings, args.confidence)
    lines = _lines(made, measured=found is not None)
    if args.json and study is None:
        files.write_json(_document(made))
    elif args.json:
        console.note("\n".join(lines))
    else:
        console.out("\n".join(["", *lines] if study is not None else lines))


def _planned(difference: float, sd: float, between: float, settings: int, confidence: float) -> Plan:
    """Return a plan with a row that holds for prompts like these, unless only absurdly many prompts would do."""
    prompts = [*_PROMPTS]
    while True:
        made = plan(difference, sd=sd, between=between, settings=settings, prompts=prompts, confidence=confidence)
        last = made.rows[-1]
        if last.seeds is not None or prompts[-1] >= _MOST_PROMPTS:
            kept = (row for row in made.rows if row.prompts in _PROMPTS or row.seeds is not None)
            return replace(made, rows=tuple(kept))
        prompts.append(2 * prompts[-1])


def spread_of(study: Study) -> tuple[float, float] | None:
    """Return the sd of the difference of two images of a block, and of the true difference between prompts.

    Over all settings against the reference together. None where no prompt has two blocks, or all scores are equal.
    """
    scores = study.scores()
    found = [
        _spread(scores[k], scores[study.reference], paired=study.seeds_shared)
        for k in range(len(study.settings))
        if k != study.reference
    ]
    known = [one for one in found if one is not None]
    if not known or not any(within for within, _ in known):
        return None
    within, between = (sum(values) / len(known) for values in zip(*known, strict=True))
    return math.sqrt(within), math.sqrt(between)


def _spread(a: np.ndarray, b: np.ndarray, *, paired: bool) -> tuple[float, float] | None:
    """Return both variances of a - b [prompts, seeds]: within a prompt, and between prompts less what seeds explain."""
    import numpy as np

    parts = [a - b] if paired else [a, b]
    variances = [_within(part) for part in parts]
    if any(variance is None for variance in variances):
        return None
    within = sum(variance for variance in variances if variance is not None)
    counts = [np.isfinite(part).sum(1) for part in parts]
    rows = np.min(counts, axis=0) > 0
    if rows.sum() < 2:
        return within, 0.0
    means = [np.nanmean(part[rows], axis=1) for part in parts]
    seeds = sum(
        variance * float(np.mean(1 / count[rows]))
        for variance, count in zip(variances, counts, strict=True)
        if variance is not None
    )
    differences = means[0] if paired else means[0] - means[1]
    return within, max(float(differences.var(ddof=1)) - seeds, 0.0)


def _within(values: np.ndarray) -> float | None:
    """Return the variance within the rows, pooled; None when no row has two values."""
    import numpy as np

    rows = [row[np.isfinite(row)] for row in values]
    freedom = sum(len(row) - 1 for row in rows if len(row) > 1)
    return sum(float(row.var()) * len(row) for row in rows if len(row) > 1) / freedom if freedom else None


# --- words ------------------------------------------------------------------------------------------------------------


def _lines(made: Plan, *, measured: bool) -> list[str]:
    intro = f"To see a difference of {made.difference:g} points, with a power of {made.power:.0%}:"
    spread = _MEASURED.format(sd=made.sd, between=made.between) if measured else _USUAL
    head = ["prompts", "seeds each", f"images ({made.settings} settings)", "detectable", "holds for"]
    rows = [_cells(row) for row in made.rows]
    lines = [intro, *console.table(head, rows, indent="  "), spread]
    if made.pairs is not None:
        lines.append(f"Independent pairs needed: {made.pairs}.")
    if made.pairs is None:
        lines.append("No study of a size that anybody makes shows a difference that small.")
    elif all(row.seeds is None for row in made.rows):
        lines.append("No number of seeds is enough for so few prompts: their differences vary. Take more prompts.")
    return lines


def _cells(row: PlanRow) -> list[str]:
    found = "-" if math.isnan(row.detectable) else f"{row.detectable:.2f}"
    return [str(row.prompts), _whole(row.seeds), _whole(row.images), found, row.holds_for]


def _whole(number: int | None) -> str:
    return "-" if number is None else str(number)


def _document(made: Plan) -> dict[str, Any]:
    return asdict(made)
