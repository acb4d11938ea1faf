"""Words for what a study shows: the headline, for people who do not read statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..stats.planning import units_needed
from .records import CLEAR, LEANING, Analysis, Comparison, Study

NAMED = 3


def points(value: float) -> str:
    """Return a difference with its sign: "+0.62"; "?" when it is not known."""
    return f"{value:+.2f}" if math.isfinite(value) else "?"


def span(comparison: Comparison) -> str:
    """Return the interval that goes with the verdict: "[0.31, 0.95]"."""
    ends = (comparison.adjusted.low, comparison.adjusted.high)
    return "[" + ", ".join(f"{end:.2f}" if math.isfinite(end) else "?" for end in ends) + "]"


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: "1 prompt", "3 prompts"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def some(names: Sequence[str]) -> str:
    """Return three names and how many more there are: "a, b, c and 4 more"; semicolons part names with commas."""
    rest = len(names) - NAMED
    comma = "; " if any("," in name for name in names) else ", "
    return comma.join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def headline(study: Study, found: Analysis) -> str:
    """Return the verdict in one or two sentences."""
    known = [one for one in found.comparisons if one.pairs]
    reference = study.settings[study.reference].label
    if not known:
        return f"Nothing can be compared: no setting has a scored image of the same prompt as {reference}."
    ranked = sorted(known, key=lambda one: -one.difference)
    leaning = [one for one in ranked if one.verdict == LEANING]
    where = _where(study, found)
    if any(one.verdict == CLEAR for one in ranked):
        return _clear(ranked, reference, where)
    if leaning:
        return _leaning(max(leaning, key=lambda one: abs(one.difference)), reference, where)
    return _nothing(ranked, reference, where, found)


def _where(study: Study, found: Analysis) -> str:
    if found.units == "prompts":
        return ""
    return " for this prompt" if len(study.prompts) == 1 else f" for {prompts_judged(study, found)}"


def prompts_judged(study: Study, found: Analysis) -> str:
    """Return which prompts the verdicts rest on: "these 3 prompts", or "2 of these 3 prompts" with pairs."""
    whole, counts = len(study.prompts), {one.prompts for one in found.comparisons if one.pairs}
    if max(counts, default=whole) == whole:
        return f"these {whole} prompts"
    most = "" if len(counts) == 1 else "at most "
    return f"{most}{max(counts)} of these {whole} prompts"


def _clear(known: Sequence[Comparison], reference: str, where: str) -> str:
    """Return who wins, or that nobody does and who does not lose; then who loses. `known` stands highest first."""
    above = [one for one in known if one.verdict == CLEAR and one.difference > 0]
    below = [one for one in known if one.verdict == CLEAR and one.difference < 0]
    if above:
        return _winner(above, len(known), reference, where) + _losers(below)
    if len(known) == 1:
        return f"{known[0].label} is clearly worse than {reference}{where}: {_figures(known[0])}."
    rest = [one.label for one in known if one.verdict != CLEAR]
    near = f" {some(rest)} {'is' if len(rest) == 1 else 'are'} not clearly worse." if rest else ""
    return f"None of {len(known)} settings is clearly better than {reference}{where}.{near}{_losers(below)}"


def _winner(above: Sequence[Comparison], count: int, reference: str, where: str) -> str:
    told = f"{above[0].label} is clearly better than {reference}{where}: {_figures(above[0])}."
    if count == 1:
        return told
    more = f"; {counted(len(above) - 1, 'other is', 'others are')} clearly better too" if len(above) > 1 else ""
    return f"{told} It was picked as the best of {count} after looking, so expect a little less of it{more}."


def _losers(below: Sequence[Comparison]) -> str:
    worst = list(reversed(below))
    if not worst:
        return ""
    return f" Clearly worse: {some([f'{worst[0].label} ({_figures(worst[0])})', *(one.label for one in worst[1:])])}."


def _figures(one: Comparison) -> str:
    return f"{points(one.difference)} points {span(one)}"


def _leaning(one: Comparison, reference: str, where: str) -> str:
    word = "better" if one.difference > 0 else "worse"
    return (
        f"Nothing is clear: {one.label} leans towards {word} than {reference}{where} ({_figures(one)}), "
        f"which chance can do too.{_need(one)}"
    )


def _need(one: Comparison) -> str:
    if one.pairs_needed is None or one.pairs_needed <= one.pairs:
        return ""
    return f" If it is real, about {one.pairs_needed} images of each would show it; there are {one.pairs}."


def _nothing(ranked: Sequence[Comparison], reference: str, where: str, found: Analysis) -> str:
    start = f"No evidence of any difference from {reference}{where}"
    shown = [one.detectable for one in ranked if math.isfinite(one.detectable)]
    if not shown:
        return f"{start}, but this grid is too small to show any: {_least(ranked, found)}."
    largest = max(shown)
    if largest == 0:
        return f"{start}: the scores are the same."
    return f"{start}; this grid would have shown {largest:.2f} points or more."


def _least(ranked: Sequence[Comparison], found: Analysis) -> str:
    needed = units_needed(len(found.comparisons), found.confidence)
    if found.units == "prompts":
        return f"it takes at least {needed} prompts, or several seeds for each prompt"
    return f"it takes at least {needed} images of each setting, and there are {max(one.pairs for one in ranked)}"
