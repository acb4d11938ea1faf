"""The report of `hps evaluate`: agreement with people for every scorer, and what the three counts mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..report import Column, Facts, Figure, Headline, Note, Report, Section, Table, Text
from .evaluate import HEADLINE, Evaluation, Verdict, lead_text, published_text, share_texts, shares

HOW: Final = (
    "Rank accuracy: for each prompt, 1 minus the share of pairs of images that the scorer puts in the opposite order "
    "to people; ties of people never count as wrong, so it is higher than the others. Pair accuracy: of the pairs that "
    "people do order, the share that the scorer orders the same way, averaged over the prompts. Pooled: the same "
    "pairs, all prompts in one pot.\n\nThe intervals are 95 % bootstrap intervals over the prompts. By chance each "
    "pair is right half the time. People agree with each other in well under all cases, so 100 % is not within reach."
)


def page(done: Evaluation) -> Report:
    """Return the whole report."""
    sections: list[Section] = [Headline(_headline(done)), _table(done)]
    leads = "\n\n".join(lead_text(done, verdict) for verdict in done.verdicts[1:])
    sections += [Text(leads, "Between the scorers")] if leads else []
    known = [text for verdict in done.verdicts if (text := published_text(done, verdict))]
    return Report(f"Agreement with people: {done.title}", HOW, [*sections, *map(Note, known), _facts(done)])


def _headline(done: Evaluation) -> list[Figure]:
    figures = []
    for verdict in done.verdicts[:4]:
        share = shares(verdict)[0 if done.rankings.source == "hpdv2" else 1]
        value, interval = share_texts(share)
        figures.append(Figure(f"{value} %", f"{verdict.info.name}, {HEADLINE[done.rankings.source]}", interval))
    return figures


def _table(done: Evaluation) -> Table:
    names = ("rank accuracy", "pair accuracy", "pooled")
    heads = [Column("scorer"), *(column for name in names for column in (Column(name, 2), Column("95 %")))]
    return Table(heads, [_row(verdict) for verdict in done.verdicts], "Agreement in percent")


def _row(verdict: Verdict) -> Sequence[str | float]:
    cells: list[str | float] = [f"{verdict.info.name} ({verdict.info.preprocess}, {verdict.info.dtype})"]
    for share in shares(verdict):
        cells += [100 * share.value, share_texts(share)[1]]
    return cells


def _facts(done: Evaluation) -> Facts:
    first = done.verdicts[0].result
    items = [
        ("prompts", f"{first.prompts} of {len(done.rankings.items)}"),
        ("pairs that people order", str(first.count)),
        ("prompts with such a pair", str(first.ordered)),
    ]
    return Facts(items)
