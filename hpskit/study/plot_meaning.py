"""What the rows of a plot are: seeds of one prompt, prompts, or values of a second setting."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import StudyError
from .axes import same_prompts
from .plot_layout import Layout, PlotDesign, RowsAre, axis_of
from .records import Setting


def read_plot(layout: Layout, rows_are: RowsAre, prompts: Sequence[str]) -> PlotDesign:
    """Return settings, prompts and seeds that a plot shows; StudyError where they cannot be compared.

    Seeds and settings need one prompt; with prompts in the rows there is one for each row.
    """
    if rows_are == "prompts":
        return _with_prompts(layout, prompts)
    if len(prompts) != 1:
        raise StudyError(
            f"There are {len(prompts)} prompts, but rows that are {rows_are} share one. Give one prompt, or set "
            '`rows_are` to "prompts".'
        )
    return _with_seeds(layout, prompts[0]) if rows_are == "seeds" else _with_settings(layout, prompts[0])


def _with_prompts(layout: Layout, prompts: Sequence[str]) -> PlotDesign:
    if len(prompts) != len(layout.rows):
        raise StudyError(
            f"There are {len(layout.rows)} rows but {len(prompts)} prompts. Give one prompt for each row: a list, or "
            "one a line."
        )
    twice = same_prompts(prompts)
    if twice:
        raise StudyError(
            f'Two rows have the same prompt ("{prompts[twice[0]][:60]}"). Rows of one prompt are its seeds: set '
            '`rows_are` to "seeds", or give every row a prompt of its own.'
        )
    plan = _columns(layout)
    places = tuple((column, row, copy) for column, row, copy in layout.places)
    return PlotDesign(plan.axes, plan.settings, tuple(prompts), _copies(layout), places)


def _with_seeds(layout: Layout, prompt: str) -> PlotDesign:
    plan = _columns(layout)
    several = layout.copies > 1
    names = [f"{row} ({copy})" if several else row for row in layout.rows for copy in _copies(layout)]
    places = tuple((column, 0, row * layout.copies + copy) for column, row, copy in layout.places)
    if several and len(layout.rows) == 1:
        names = list(_copies(layout))
    return PlotDesign(plan.axes, plan.settings, (prompt,), tuple(names), places)


def _columns(layout: Layout) -> PlotDesign:
    if len(layout.columns) < 2:
        raise StudyError(
            "There is one column only, so there is nothing to compare it with. Give two or more column labels; "
            "settings that stand in the rows belong into the columns here (change `order`)."
        )
    axis = axis_of(layout.columns, "setting")
    settings = [Setting(label, {axis.name: value}) for label, value in zip(layout.columns, axis.values, strict=True)]
    return PlotDesign((axis,), tuple(settings), (), (), ())


def _with_settings(layout: Layout, prompt: str) -> PlotDesign:
    if len(layout.rows) == 1 and len(layout.columns) > 1:
        return _with_seeds(layout, prompt)
    across, down = axis_of(layout.columns, "column"), axis_of(layout.rows, "row")
    if across.name == down.name:
        across, down = (type(axis)(f"{axis.name} ({side})", axis.values) for axis, side in ((across, "x"), (down, "y")))
    if len(layout.columns) * len(layout.rows) < 2:
        raise StudyError("There is one setting only. Give two or more labels of columns or rows.")
    between = ", " if not any(", " in label for label in (*layout.columns, *layout.rows)) else " / "
    settings = tuple(
        Setting(f"{column}{between}{row}", {across.name: value, down.name: other})
        for row, other in zip(layout.rows, down.values, strict=True)
        for column, value in zip(layout.columns, across.values, strict=True)
    )
    wide = len(layout.columns)
    places = tuple((row * wide + column, 0, copy) for column, row, copy in layout.places)
    return PlotDesign((across, down), settings, (prompt,), _copies(layout), places)


def _copies(layout: Layout) -> tuple[str, ...]:
    return tuple(str(copy) for copy in range(1, layout.copies + 1))
