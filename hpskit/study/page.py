"""The report of a study: verdict first, then the reasons, then every figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from ..report import Chart, Column, Facts, Figure, Headline, Line, Note, Report, Section, Table, Text
from ..report.sections import Cell as Shown
from .explained import how_to_read
from .grid_draw import Pictures
from .page_pictures import axis_forests, forest, matrix
from .records import Analysis, Comparison, Study
from .shown import (
    between,
    block_z,
    chance,
    counted,
    design,
    excerpt,
    number,
    plain,
    shorten,
    signed,
    verdict_words,
    wanted,
)
from .table import ELO_PER_STRENGTH

MOST_CELLS: Final = 1000
"""Rows of the table of all cells."""
_LINES: Final = 5
"""Curves that one chart can tell apart."""
_LABEL: Final = 40
_NOTES: Final = 3
"""Notes that stand before the pictures; the others follow them."""


def study_report(study: Study, analysis: Analysis, *, pictures: Pictures | None = None, title: str = "") -> Report:
    """Return the report of a study; `hpskit.report.write_report` makes one HTML file of it.

    `pictures` finds the picture of a cell; None from it, as no `pictures` at all, means the cell's thumbnail. At most
    240 pictures and 1000 rows of cells are in it, and the report says what is left out.
    """
    sections: list[Section] = [Headline(_figures(study, analysis))]
    sections += _notes(study, analysis)
    sections += [*forest(study, analysis), *matrix(study, analysis, pictures), _standings(study, analysis)]
    sections += _more_notes(study, analysis)
    sections += [*axis_forests(analysis), *_comparisons(study, analysis), *_curves(study, analysis)]
    sections += [_cells(study), _facts(study, analysis), Text(how_to_read(study.seeds_shared), "How to read this")]
    return Report(plain(title or study.title) or "Comparison of settings", analysis.headline, tuple(sections))


# --- verdict ----------------------------------------------------------------------------------------------------------


def _figures(study: Study, analysis: Analysis) -> list[Figure]:
    best = analysis.order[0] if analysis.order else study.reference
    shown = [Figure(shorten(study.settings[best].label, _LABEL), "highest mean", _contenders(study, analysis))]
    found = leading(study, analysis)
    if found is None:
        return shown
    beside = shorten(found.against, _LABEL)
    interval = f"{100 * analysis.confidence:g} % interval {between(found.adjusted)}"
    whose = "" if found.label == study.settings[best].label else f"{shorten(found.label, _LABEL)}: "
    wins = f"wins {100 * found.wins:.0f} % of {counted(found.pairs, 'pair')}" if math.isfinite(found.wins) else ""
    verdict = f"verdict{f' on {shorten(found.label, _LABEL)}' if whose else ''}"
    shown += [
        Figure(signed(found.difference), f"points, {whose}against {beside}", interval),
        Figure(verdict_words(found), verdict, ", ".join(filter(None, [f"p {chance(found.p_adjusted)}", wins]))),
    ]
    least = wanted(found)
    if not math.isfinite(least):
        return shown
    return [*shown, Figure(number(least), "points: this grid finds so much in 8 of 10 tries", _needed(found))]


def leading(study: Study, analysis: Analysis) -> Comparison | None:
    """Return the comparison of the best setting; of the best other one, where the reference itself is the best."""
    for place in analysis.order:
        found = analysis.comparison(study.settings[place].label)
        if found is not None and found.pairs:
            return found
    return analysis.comparisons[0] if analysis.comparisons else None


def _contenders(study: Study, analysis: Analysis) -> str:
    others = len(analysis.contenders) - 1
    if others <= 0:
        return f"of {counted(len(study.settings), 'setting')}"
    return f"of {counted(len(study.settings), 'setting')}; {others} more may be the best"


def _needed(found: Comparison) -> str:
    if found.pairs_needed is None or found.pairs_needed <= found.pairs:
        return ""
    return f"if the measured one is real, about {found.pairs_needed:,} pairs would show it"


def _notes(study: Study, analysis: Analysis) -> Iterator[Note]:
    said = _said(study, analysis)
    if said:
        yield Note("\n\n".join(said[:_NOTES]))
    yield Note()


def _more_notes(study: Study, analysis: Analysis) -> Iterator[Text]:
    said = _said(study, analysis)[_NOTES:]
    if said:
        yield Text("\n\n".join(said), "More notes")


def _said(study: Study, analysis: Analysis) -> list[str]:
    return [plain(warning) for warning in dict.fromkeys([*analysis.warnings, *study.notes])]


# --- tables -----------------------------------------------------------------------------------------------------------


def _standings(study: Study, analysis: Analysis) -> Table:
    parts = [name for name in study.part_names if any(name in one.parts for one in analysis.standings)]
    columns = [
        Column("rank"),
        Column("setting"),
        Column("cells"),
        *(Column(name, 2) for name in ("vs mean", "z")),
        Column("win rate %", 0),
        *(Column(name, 0) for name in ("Elo", "+-")),
        Column("mean rank", 1),
        *(Column(name, 4) for name in ("p", "p adjusted")),
        *(Column(f"vs mean, {plain(study.part_names[name])}", 2) for name in parts),
        *(Column(name, 3) for name in _looks(analysis)),
    ]
    rows = [_standing(study, analysis, at, place, parts) for at, place in enumerate(analysis.order, start=1)]
    marked = frozenset(at for at, place in enumerate(analysis.order) if place in analysis.contenders)
    reference = shorten(study.settings[study.reference].label, 60)
    note = (
        "Highest mean first; set off: those that may be the best, since no other one is clearly above them. vs mean: "
        "points against the mean of all settings on the same prompt and seed; z: the same in standard deviations "
        f"between the settings there. Win rate, p and p adjusted (Holm): against {reference}. Elo counts rows won, not "
        "points: 0 is the middle, and 100 above another wins 64 % against it; +- is its standard error. "
        f"{_friedman(analysis)}"
    )
    return Table(columns, rows, "Settings", note.strip(), marked)


def _looks(analysis: Analysis) -> list[str]:
    names = ("contrast", "saturation")
    return [name for name in names if any(getattr(one, name) is not None for one in analysis.standings)]


def _standing(study: Study, analysis: Analysis, rank: int, place: int, parts: Sequence[str]) -> list[Shown]:
    one = analysis.standings[place]
    found = analysis.comparison(study.settings[place].label)
    label = shorten(study.settings[place].label, 160)
    p: list[Shown] = [None, None] if found is None else [found.p, found.p_adjusted]
    wins = None if found is None else 100 * found.wins
    figures: list[Shown] = [one.relative, one.z, wins, one.elo, ELO_PER_STRENGTH * one.strength_sd, one.mean_rank, *p]
    more: list[Shown] = [*(one.parts.get(name) for name in parts), *(getattr(one, name) for name in _looks(analysis))]
    named = f"{label} (reference)" if place == study.reference and analysis.comparisons else label
    return [rank, named, one.cells, *figures, *more]


def _friedman(analysis: Analysis) -> str:
    if analysis.friedman_p is None:
        return ""
    return f"Friedman's test that all settings are alike: p {chance(analysis.friedman_p)}."


def _comparisons(study: Study, analysis: Analysis) -> Iterator[Table]:
    found = [("", one) for one in analysis.comparisons]
    found += [(f"{shorten(axis, 60)} ", one) for axis, group in analysis.by_axis.items() for one in group]
    if not found:
        return
    parts = [name for name in study.part_names if any(name in one.parts for _, one in found)]
    level = f"{100 * analysis.confidence:g} %"
    columns: list[Column | str] = [
        *("setting or value", "against"),
        Column("difference", 2),
        *(f"{level} alone", f"{level} after Holm"),
        *(Column(name, 4) for name in ("p", "p adjusted")),
        *("verdict", Column("win rate %", 0), f"{level} of it"),
        *(Column("prompts"), Column("pairs"), Column("sd", 2), Column("detectable", 2), Column("pairs needed")),
        *(Column(f"difference, {plain(study.part_names[name])}", 2) for name in parts),
    ]
    note = "sd: of the differences between the units of the analysis. pairs needed: to show the measured difference."
    yield Table(columns, [_compared(one, axis, parts) for axis, one in found], "All comparisons", note, folded=True)


def _compared(one: Comparison, axis: str, parts: Sequence[str]) -> list[Shown]:
    wins = one.wins_interval
    share = f"{100 * wins.low:.0f} to {100 * wins.high:.0f}" if math.isfinite(wins.low + wins.high) else None
    return [
        *(f"{axis}{shorten(one.label, 160)}", f"{axis}{shorten(one.against, 160)}"),
        *(one.difference, between(one.interval)),
        *(between(one.adjusted), one.p, one.p_adjusted, verdict_words(one), 100 * one.wins, share),
        *(one.prompts, one.pairs, one.sd, one.detectable, one.pairs_needed),
        *(one.parts.get(name) for name in parts),
    ]


def _cells(study: Study) -> Table:
    parts = [name for name in study.part_names if any(name in cell.parts for cell in study.cells)]
    z = block_z(study)
    ranked = sorted(study.cells, key=lambda cell: (cell.prompt, cell.seed, cell.setting))
    rows: list[list[Shown]] = [
        [
            shorten(study.settings[cell.setting].label, 160),
            excerpt(study.prompts[cell.prompt], 200),
            plain(study.seeds[cell.seed]),
            cell.score,
            float(z[cell.setting, cell.prompt, cell.seed]),
            *(cell.parts.get(name) for name in parts),
        ]
        for cell in ranked[:MOST_CELLS]
    ]
    columns: list[Column | str] = ["setting", "prompt", Column("seed", mono=True), Column("score", 3)]
    columns += [Column("z in its row", 2), *(Column(plain(study.part_names[name]), 3) for name in parts)]
    cut = f" The first {MOST_CELLS:,} of {len(ranked):,}; CSV and JSON have all." if len(ranked) > MOST_CELLS else ""
    return Table(
        columns, rows, "All images", f"Scores compare only where prompt and seed are the same.{cut}", folded=True
    )


# --- curves and facts -------------------------------------------------------------------------------------------------


def _curves(study: Study, analysis: Analysis) -> Iterator[Chart]:
    """Yield what each of a few settings gives at its best of n seeds."""
    wanted = list(dict.fromkeys([*analysis.order[: _LINES - 1], study.reference, *analysis.order]))[:_LINES]
    lines = [
        Line(shorten(study.settings[place].label, _LABEL), list(enumerate(analysis.standings[place].best_of, start=1)))
        for place in wanted
        if len(analysis.standings[place].best_of) > 1
    ]
    if not lines:
        return
    left_out = len(study.settings) - len(wanted)
    note = (
        "What the best of n seeds gives on average, in points against the mean of all settings on the same prompt. "
        "Where one curve reaches the start of another, making so many seeds is worth as much as the better setting."
    )
    cut = (
        f" The best {len(wanted) - 1} settings and the reference; {left_out} more are left out." if left_out > 0 else ""
    )
    yield Chart(lines, "n seeds", "points", "Best of n by setting", note + cut)


def _facts(study: Study, analysis: Analysis) -> Facts:
    from .. import __version__

    scorer = study.scorer
    missing = f"{len(study.cells):,}" + (f", {analysis.missing:,} missing" if analysis.missing else "")
    held = "for prompts like these" if analysis.units == "prompts" else "for these prompts only, with other seeds"
    own = [(plain(name), plain(value)) for name, value in study.facts]
    known = {name for name, _ in own}
    return Facts(
        [
            ("Design", design(study)),
            ("Images", missing),
            ("Reference", shorten(study.settings[study.reference].label, 200)),
            ("Same noise", "yes, by seed" if study.seeds_shared else "no, seeds are only names"),
            ("Holds", f"{held} (units: {analysis.units})"),
            ("Confidence", f"{100 * analysis.confidence:g} %"),
            ("Scorer", plain(f"{scorer.name} ({scorer.id}), version {scorer.version}")),
            ("Judges", plain(scorer.domain) or "-"),
            ("Preprocessing", plain(scorer.preprocess)),
            ("Computed in", plain(scorer.dtype)),
            ("Checkpoint", plain(scorer.checkpoint) or "-"),
            *own,
            *([] if "hps" in known else [("hps", __version__)]),
        ]
    )
