"""An X/Y/Z plot read as a study: settings by seeds (and prompts), where it has more than one picture a setting."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..shots import Shot, scorer_info, scorer_name
from .plot import Place, Plot

if TYPE_CHECKING:
    from ...hpskit.report import Report
    from ...hpskit.study import Analysis, Study

log = logging.getLogger("hps")

SEEDS = ("Seed", "Var. seed")
"""Axes whose values are draws of the same setting."""


def study_of(plot: Plot) -> Study | None:
    """Return the study that a plot is; None for one picture a setting, one setting, or scorers that do not compare.

    Axes of seeds and the pictures of a cell are its draws. An axis that changes the text which is scored makes
    prompts, and all others make settings.
    """
    from ...hpskit.study import Cell, Setting, Study

    found = list(_pictures(plot))
    if len({shot.scorer for _, _, shot in found}) != 1:
        return None
    drawn = [k for k, axis in enumerate(plot.axes) if axis.name in SEEDS]
    texts = [k for k in range(3) if k not in drawn and _changes_text(plot, k)]
    chosen = [k for k in range(3) if k not in (*drawn, *texts)]
    settings = sorted({_at(place, chosen) for place, _, _ in found})
    draws = sorted({(_at(place, drawn), k) for place, k, _ in found})
    prompts = list(dict.fromkeys(shot.text for _, _, shot in found))
    if len(settings) < 2 or len(draws) * len(prompts) < 2:
        return None
    names, shared = _draw_names(plot, found, chosen, drawn, draws)
    cells: dict[tuple[int, int, int], Any] = {}
    for place, k, shot in found:
        at = (settings.index(_at(place, chosen)), prompts.index(shot.text), draws.index((_at(place, drawn), k)))
        if at in cells:
            return None  # two values of a prompt axis read alike
        cells[at] = Cell(
            *at, shot.score, parts=shot.parts, width=shot.width, height=shot.height, thumbnail=shot.thumbnail
        )
    labels = [_setting(plot, place, chosen) for place in settings]
    return Study(
        title="X/Y/Z plot",
        axes=_axes(plot, chosen),
        settings=tuple(Setting(name, values) for name, values in labels),
        prompts=tuple(prompts),
        seeds=names,
        cells=tuple(cells.values()),
        scorer=scorer_info(found[0][2]),
        part_names={name: scorer_name(name) for name in found[0][2].parts},
        facts=(("model of the first cell", plot.model),) if plot.model else (),
        seeds_shared=shared,
    )


def _pictures(plot: Plot) -> Iterator[tuple[Place, int, Shot]]:
    for place in sorted(plot.cells):
        for k, shot in enumerate(plot.cells[place].shots):
            if shot.score == shot.score:
                yield place, k, shot


def _at(place: Place, axes: list[int]) -> tuple[int, ...]:
    return tuple(place[k] for k in axes)


def _changes_text(plot: Plot, axis: int) -> bool:
    """Tell whether cells that differ on this axis alone were scored against different texts."""
    seen: dict[tuple[int, ...], str] = {}
    for place, cell in plot.cells.items():
        rest = tuple(at for k, at in enumerate(place) if k != axis)
        for shot in cell.shots:
            if seen.setdefault(rest, shot.text) != shot.text:
                return True
    return False


def _draw_names(
    plot: Plot, found: list[tuple[Place, int, Shot]], chosen: list[int], drawn: list[int], draws: list[Any]
) -> tuple[tuple[str, ...], bool]:
    """Return the names of the draws, and whether every setting had the same seeds in them."""
    seeds: dict[Any, set[int | None]] = {draw: set() for draw in draws}
    for place, k, shot in found:
        seeds[_at(place, drawn), k].add(shot.seed)
    shared = all(len(known) == 1 and None not in known for known in seeds.values())
    names = [str(next(iter(known))) if shared else str(number) for number, known in enumerate(seeds.values(), 1)]
    if len(set(names)) < len(names):  # a variation seed varies, and the seed itself stays
        names = [_draw_name(plot, drawn, *draw) for draw in draws]
    return tuple(names), shared


def _draw_name(plot: Plot, drawn: list[int], places: tuple[int, ...], number: int) -> str:
    return ", ".join([*(plot.axes[k].values[at] for k, at in zip(drawn, places)), str(number + 1)])  # noqa: B905


def _axes(plot: Plot, chosen: list[int]) -> Any:
    from ...hpskit.study import Axis

    varied = [plot.axes[k] for k in chosen if len(plot.axes[k].values) > 1]
    return tuple(Axis(axis.name, distinct(axis.values)) for axis in varied)


def _setting(plot: Plot, place: tuple[int, ...], chosen: list[int]) -> tuple[str, dict[str, str]]:
    varied = [(plot.axes[k], at) for k, at in zip(chosen, place) if len(plot.axes[k].values) > 1]  # noqa: B905
    values = {axis.name: distinct(axis.values)[at] for axis, at in varied}
    return ", ".join(f"{name} {value}" for name, value in values.items()), values


def distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return names that all differ: those that are there twice get their number."""
    return tuple(f"{text} ({k})" if values.count(text) > 1 else text for k, text in enumerate(values, 1))


def analysed(study: Study) -> Analysis | None:
    """Return what a study shows; None where it cannot be told."""
    from ...hpskit.errors import HpsError
    from ...hpskit.study import analyse

    try:
        return analyse(study)
    except HpsError as error:
        log.info("No verdict on the X/Y/Z plot: %s", error)
        return None


def report(study: Study, analysis: Analysis, plain: Report) -> Report:
    """Return the page of a plot with its verdict before the grids."""
    from ...hpskit.study import study_report

    whole = study_report(study, analysis, title="Scores of an X/Y/Z plot")
    return replace(whole, sections=(*whole.sections, *plain.sections[2:]))


def write_json(path: Path, study: Study, analysis: Analysis) -> Path:
    """Write the study for other programs, and return its path; OutputError."""
    from ...hpskit.study import write_json as write

    return write(path, study, analysis)
