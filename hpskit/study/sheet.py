"""Which pictures of a study stand where: rows are blocks and columns settings, or two axes cross; bounded on request.

The picture of a grid and the grid of a page show the same sheet.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import StudyError
from ..report import Foot, Head, Tone
from .records import CLEAR, LEANING, Analysis, Cell, Comparison, Study, cell_index
from .shown import SCORES_COMPARE, between, block_best, block_z, relative, shorten, signed, verdict_words

if TYPE_CHECKING:
    import numpy as np

ONE_BLOCK: Final = "All pictures are of one prompt and one seed, so all scores compare."
WITHIN_BLOCKS: Final = "Scores compare among pictures of one prompt and one seed only."

Block = tuple[int, int]
"""Positions of a prompt and a seed."""


@dataclass(frozen=True)
class Place:
    """One field of the sheet."""

    cell: Cell | None
    """None where the design has no such image."""
    z: float = float("nan")
    """Within the block."""
    best: bool = False


@dataclass(frozen=True)
class Sheet:
    """Heads, fields and feet, with what a reader must know of them."""

    columns: tuple[Head, ...]
    rows: tuple[Head, ...]
    places: tuple[tuple[Place, ...], ...]
    """One tuple a row."""
    feet: tuple[Foot, ...]
    """Empty or one a column."""
    feet_title: str = ""
    prompt: str = ""
    """The prompt, where there is one only; the rows do not repeat it."""
    note: str = ""
    """What is not shown; empty where all is."""
    block: str = ""
    """The seed, where all pictures are of one block."""
    compare: str = SCORES_COMPARE
    """Which of the scores compare."""
    key: str = "z within the row"
    """What the colours stand for."""


@dataclass(frozen=True)
class _Figures:
    """What is measured of all cells, once."""

    cells: dict[tuple[int, int, int], Cell]
    z: np.ndarray
    best: np.ndarray
    off: np.ndarray
    """Score minus the mean of its block."""

    def place(self, setting: int | None, block: Block) -> Place:
        where = (-1 if setting is None else setting, *block)
        cell = self.cells.get(where)
        return Place(None) if cell is None else Place(cell, float(self.z[where]), bool(self.best[where]))


def sheet(
    study: Study,
    analysis: Analysis | None = None,
    *,
    columns_by: str | None = None,
    most_columns: int = 1_000_000,
    most_rows: int = 1_000_000,
) -> Sheet:
    """Return the sheet of a study, at most so many columns and rows of it.

    Columns are the settings and rows the blocks; with `columns_by` columns are the values of that axis and rows the
    combinations of the others in every block, which is also the form of two axes and one block. Where not all fits,
    the best settings, the reference and the worst one stay, and blocks of all prompts before further seeds of one.
    Raises StudyError when the study has no such axis.
    """
    figures = _Figures(dict(cell_index(study.cells)), block_z(study), block_best(study), relative(study))
    axis = _column_axis(study, columns_by)
    if axis is None:
        return _by_settings(study, analysis, figures, max(most_columns, 1), max(most_rows, 1))
    return _by_axis(study, analysis, figures, axis, (max(most_columns, 1), max(most_rows, 1)))


def _column_axis(study: Study, wanted: str | None) -> str | None:
    names = [axis.name for axis in study.axes]
    if wanted is not None and wanted not in names:
        close = difflib.get_close_matches(wanted, names, 1)
        hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(names) or 'no axes, only names'}."
        raise StudyError(f"The comparison has no axis {wanted!r}. {hint}")
    if wanted is not None:
        return wanted
    values = [tuple(setting.values.get(name) for name in names) for setting in study.settings]
    crossed = len(names) == 2 and len(_blocks(study)) == 1 and len(set(values)) == len(values)
    return names[0] if crossed and len(values) > 1 else None


def _blocks(study: Study) -> list[Block]:
    """Return the blocks that have an image, in the order of prompts and seeds."""
    return sorted({(cell.prompt, cell.seed) for cell in study.cells})


def _some_blocks(blocks: Sequence[Block], most: int) -> list[Block]:
    """Return at most so many blocks: the first seed of every prompt before the second seed of any."""
    turn: dict[Block, int] = {}
    seen: dict[int, int] = {}
    for block in blocks:
        turn[block] = seen.get(block[0], 0)
        seen[block[0]] = turn[block] + 1
    first = sorted(blocks, key=lambda block: (turn[block], block[0]))
    return sorted(_spread(first, most) if turn and most < len(seen) else first[:most])


def _spread(items: Sequence[Block], most: int) -> list[Block]:
    """Return every nth of the first seeds of the prompts."""
    prompts = [item for item in items if item[1] == items[0][1]] or list(items)
    step = len(prompts) / most
    return [prompts[int(at * step)] for at in range(most)] if step >= 1 else list(items[:most])


# --- columns are settings ---------------------------------------------------------------------------------------------


def _by_settings(study: Study, analysis: Analysis | None, figures: _Figures, columns: int, rows: int) -> Sheet:
    blocks = _blocks(study)
    settings, chosen = some_settings(study, analysis, columns), _some_blocks(blocks, rows)
    feet = tuple(_foot(study, analysis, figures, setting) for setting in settings)
    return Sheet(
        columns=tuple(_setting_head(study, setting) for setting in settings),
        rows=_block_heads(study, chosen),
        places=tuple(tuple(figures.place(setting, block) for setting in settings) for block in chosen),
        feet=feet if any(foot.main for foot in feet) else (),
        feet_title=_feet_title(study, analysis),
        **_about(study, blocks, crossed=False),
        note=_note(
            (len(settings), len(study.settings), "settings (the best, the reference, the worst)"),
            (len(chosen), len(blocks), "rows"),
        ),
    )


def some_settings(study: Study, analysis: Analysis | None, most: int) -> list[int]:
    """Return at most so many settings in the study's order: the best, the reference, and the worst one."""
    count = len(study.settings)
    if count <= most:
        return list(range(count))
    order = list(analysis.order) if analysis is not None else list(range(count))
    order += [setting for setting in range(count) if setting not in set(order)]
    wanted = dict.fromkeys([order[0], study.reference, order[-1], *order])
    return sorted(list(wanted)[:most])


def _setting_head(study: Study, setting: int) -> Head:
    return Head(study.settings[setting].label, "reference" if setting == study.reference else "")


def _block_heads(study: Study, blocks: Sequence[Block]) -> tuple[Head, ...]:
    heads, before = [], -1
    several = len({prompt for prompt, _ in blocks}) > 1
    for prompt, seed in blocks:
        starts = prompt != before
        title = study.prompts[prompt] if starts and several else ""
        heads.append(Head(title, seed_words(study.seeds[seed]), starts))
        before = prompt
    return tuple(heads)


def seed_words(seed: str) -> str:
    """Return a seed as "seed 7"; a replicate that is a file name as it is."""
    return f"seed {seed}" if seed.lstrip("-").isdecimal() else seed


def _feet_title(study: Study, analysis: Analysis | None) -> str:
    if analysis is None or not analysis.comparisons:
        return "Mean, against the mean of the row"
    return (
        f"Against {shorten(study.settings[study.reference].label, 40)}, {100 * analysis.confidence:g} % interval (Holm)"
    )


def _foot(study: Study, analysis: Analysis | None, figures: _Figures, setting: int) -> Foot:
    found = None if analysis is None else analysis.comparison(study.settings[setting].label)
    if found is not None:
        return _compared(found)
    if analysis is not None and analysis.comparisons and setting == study.reference:
        return Foot("reference", tone="reference")
    import numpy as np

    own = figures.off[setting]
    finite = own[np.isfinite(own)]
    return Foot(signed(float(finite.mean())) if finite.size and len(study.settings) > 1 else "")


def _compared(found: Comparison) -> Foot:
    """Return a comparison in three short lines; the interval is the one that the verdict rests on."""
    verdict = found.verdict if found.pairs else verdict_words(found)
    return Foot(signed(found.difference), between(found.adjusted), verdict, tone(found))


def tone(found: Comparison) -> Tone:
    """Return how a comparison is coloured."""
    if found.verdict == CLEAR:
        return "better" if found.difference > 0 else "worse"
    return "leaning" if found.verdict == LEANING else "none"


# --- columns are the values of an axis --------------------------------------------------------------------------------


def _by_axis(study: Study, analysis: Analysis | None, figures: _Figures, axis: str, most: tuple[int, int]) -> Sheet:
    values = _values(study, axis)
    others = [one.name for one in study.axes if one.name != axis]
    combinations = list(dict.fromkeys(_rest(study, setting, others) for setting in range(len(study.settings))))
    where = _positions(study, axis, others)
    blocks = _blocks(study)
    chosen = _some_blocks(blocks, max(most[1] // len(combinations), 1))
    shown, kept = values[: most[0]], combinations[: most[1]]
    places = [[figures.place(where.get((v, c)), block) for v in shown] for block in chosen for c in kept]
    feet = _axis_feet(analysis, axis, shown)
    return Sheet(
        columns=tuple(Head(f"{axis} {value}" if value else f"no {axis}") for value in shown),
        rows=tuple(_crossed_heads(study, analysis, others, chosen, kept)),
        places=tuple(tuple(row) for row in places),
        feet=feet if any(foot.main for foot in feet) else (),
        feet_title=f"{axis} alone, other axes averaged",
        **_about(study, blocks, crossed=True),
        note=_note(
            (len(shown), len(values), f"values of {axis}"),
            (len(kept) * len(chosen), len(combinations) * len(blocks), "rows"),
        ),
    )


def _values(study: Study, axis: str) -> list[str]:
    known = next(one.values for one in study.axes if one.name == axis)
    found = [setting.values.get(axis, "") for setting in study.settings]
    return [*(value for value in known if value in set(found)), *dict.fromkeys(v for v in found if v not in set(known))]


def _rest(study: Study, setting: int, others: Sequence[str]) -> tuple[str, ...]:
    return tuple(study.settings[setting].values.get(name, "") for name in others)


def _positions(study: Study, axis: str, others: Sequence[str]) -> dict[tuple[str, tuple[str, ...]], int]:
    found: dict[tuple[str, tuple[str, ...]], int] = {}
    for setting, one in enumerate(study.settings):
        place = one.values.get(axis, ""), _rest(study, setting, others)
        if found.setdefault(place, setting) != setting:
            twin = study.settings[found[place]].label
            raise StudyError(
                f"The columns cannot be values of {axis!r}: {twin!r} and {one.label!r} are alike on every axis."
            )
    return found


def _crossed_heads(
    study: Study,
    analysis: Analysis | None,
    others: Sequence[str],
    blocks: Sequence[Block],
    combinations: Sequence[tuple[str, ...]],
) -> Iterator[Head]:
    """Yield a head a row: the values of the other axes, below them what tells the blocks apart and the verdict."""
    verdicts = _verdicts(analysis, others)
    blocks_differ, prompts_differ = len(_blocks(study)) > 1, len({cell.prompt for cell in study.cells}) > 1
    before = -1
    for prompt, seed in blocks:
        for combination in combinations:
            starts = combination == combinations[0]
            words = [study.prompts[prompt]] if prompts_differ and prompt != before else []
            words += [seed_words(study.seeds[seed])] if blocks_differ and starts else []
            words += [] if blocks_differ else verdicts.get(combination, [])
            title = ", ".join(f"{name} {value}" for name, value in zip(others, combination, strict=True))
            yield Head(title, "\n".join(words), starts)
            before = prompt


def _verdicts(analysis: Analysis | None, others: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    found = analysis.by_axis.get(others[0], ()) if analysis is not None and len(others) == 1 else ()
    return {(one.label,): [f"{signed(one.difference)}, {one.verdict}"] for one in found if one.pairs > 1}


def _axis_feet(analysis: Analysis | None, axis: str, values: Sequence[str]) -> tuple[Foot, ...]:
    found = () if analysis is None else analysis.by_axis.get(axis, ())
    by_label = {one.label: _compared(one) for one in found if one.pairs > 1}
    references = {one.against for one in found}
    return tuple(
        by_label.get(value, Foot("reference", tone="reference") if value in references and by_label else Foot(""))
        for value in values
    )


def _about(study: Study, blocks: Sequence[Block], crossed: bool) -> dict[str, str]:
    """Return what holds for all pictures, and which of their scores compare."""
    prompts, single = {prompt for prompt, _ in blocks}, len(blocks) == 1
    compare = ONE_BLOCK if single else WITHIN_BLOCKS if crossed else SCORES_COMPARE
    return {
        "prompt": study.prompts[blocks[0][0]] if len(prompts) == 1 else "",
        "block": seed_words(study.seeds[blocks[0][1]]) if single else "",
        "compare": compare,
        "key": "z" if single else "z within a prompt and seed" if crossed else "z within the row",
    }


def _note(*parts: tuple[int, int, str]) -> str:
    cut = [f"{shown:,} of {whole:,} {what}" for shown, whole, what in parts if shown < whole]
    return f"Shown: {' and '.join(cut)}; the table has all." if cut else ""
