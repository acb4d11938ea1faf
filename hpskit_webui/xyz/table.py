"""The scores of an X/Y/Z plot as files beside its grid: CSV, a self-contained HTML page, a study where it is one."""

from __future__ import annotations

import csv
import io
import logging
import math
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..shots import Shot, scorer_name
from . import study as xyz_study
from .plot import Place, Plot, words

if TYPE_CHECKING:
    from ...hpskit.report import Report, Section

log = logging.getLogger("hps")

MOST_PICTURES = 240
SHOWN_DIGITS = 4
"""Digits behind the point of a score as `words` shows it."""
MOST_NAMED = 4
"""Cells of one score that are named."""
LONGEST = 600
"""Characters of a line below the gallery: values may be whole prompts."""


def lines(plot: Plot) -> list[str]:
    """Return what stands under the gallery: the best cell, and what has no score."""
    said = []
    groups = {shot.group for cell in plot.cells.values() for shot in cell.shots}
    scored = [place for place, cell in plot.cells.items() if cell.scores]
    if len(groups) == 1 and len(scored) > 1:
        luck = "; every cell has seeds of its own, so that this may be luck" if _seeds_differ(plot) else ""
        said.append(f"{_best_line(plot, scored, next(iter(groups))[1])}{luck}")
    elif scored:
        what = "prompts or scorers differ between cells, and only scores of one prompt and one scorer compare"
        said.append(f"{len(scored)} cells scored" + (f"; {what}" if len(groups) > 1 else ""))
    missing = size(plot) - len(scored)
    if missing:
        said.append(f"{missing} of {size(plot)} cells have no score")
    troubles = dict.fromkeys(cell.trouble for cell in plot.cells.values() if cell.trouble)
    return [cut(line) for line in [*said, *troubles, *_verdict(plot)]]


def _best_line(plot: Plot, scored: Sequence[Place], by: str) -> str:
    """Return which cell scores highest, or which ones do alike."""
    (best,) = _leaders(plot).values()
    value = words(plot.cells[best[0]].scores)
    if len(best) == 1:
        return f"best cell by {by}: {label(plot, best[0])} ({value})"
    if len(best) == len(scored):
        return f"no cell is better than another by {by}: all {len(scored)} that are scored tie at {value}"
    return f"best cells by {by}: {len(best)} of {len(scored)} tie at {value}: {_named(plot, best)}"


def _named(plot: Plot, places: Sequence[Place]) -> str:
    more = f"; and {len(places) - MOST_NAMED} more" if len(places) > MOST_NAMED else ""
    return "; ".join(label(plot, place) for place in places[:MOST_NAMED]) + more


def cut(line: str) -> str:
    """Return one line that is short enough to stand below the gallery."""
    plain = " ".join(line.split())
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 3]}..."


def _seeds_differ(plot: Plot) -> bool:
    """Tell whether cells differ in their seeds although no axis says so: "Keep -1 for seeds", or "Vary seeds"."""
    if any(axis.name in xyz_study.SEEDS for axis in plot.axes):
        return False
    shots = [cell.shots for cell in plot.cells.values() if cell.shots]
    if any("rank" in shot.record for cell in shots for shot in cell):
        return False  # the best of a pool is chosen among many
    return len({tuple(shot.seed for shot in cell) for cell in shots}) > 1


def _verdict(plot: Plot) -> list[str]:
    study = xyz_study.study_of(plot)
    found = None if study is None else xyz_study.analysed(study)
    return [] if found is None else [found.headline]


def size(plot: Plot) -> int:
    """Return how many cells the plot has."""
    return math.prod(len(axis.values) for axis in plot.axes)


def label(plot: Plot, place: Place) -> str:
    """Return what a cell is called: its value on every axis that varies."""
    named = [(axis, axis.values[at]) for axis, at in zip(plot.axes, place) if axis.name]  # noqa: B905 always three
    return ", ".join(f"{axis.name} {value}" for axis, value in named) or "the only cell"


# --- files ------------------------------------------------------------------------------------------------------------


def write(plot: Plot, beside: str) -> list[Path]:
    """Write the table beside the file of a grid (into the folder of the grids without one); OutputError.

    Return the HTML page, the CSV and, for a study, its JSON, which `hps compare --study` reads.
    """
    from ...hpskit.report import write_report

    stem = _stem(plot, beside)
    study = xyz_study.study_of(plot)
    analysis = None if study is None else xyz_study.analysed(study)
    page = report(plot)
    made = []
    if study is not None and analysis is not None:
        page = xyz_study.report(study, analysis, page)
        made.append(xyz_study.write_json(stem.with_name(stem.name + ".hps.json"), study, analysis))
    table = _write_text(stem.with_name(stem.name + ".hps.csv"), csv_text(plot))
    return [write_report(stem.with_name(stem.name + ".hps.html"), page), table, *made]


def _stem(plot: Plot, beside: str) -> Path:
    if beside:
        path = Path(beside)
        return path.with_suffix("") if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".avif") else path
    folder = Path(plot.folder or ".").absolute()
    name = time.strftime("xyz_grid-%Y%m%d-%H%M%S")
    found = folder / name
    number = 1
    while found.with_name(found.name + ".hps.html").exists():
        number += 1
        found = folder / f"{name}-{number}"
    return found


def _write_text(path: Path, text: str) -> Path:
    from ...hpskit.errors import OutputError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", newline="")
    except OSError as error:
        raise OutputError(f"The table {path} cannot be written ({error.strerror or error}).") from error
    return path


def csv_text(plot: Plot) -> str:
    """Return one row a scored picture, cells in reading order; a spreadsheet finds no formula in it."""
    from ...hpskit.ledger.export import cell as safe

    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC)
    parts = sorted({name for cell in plot.cells.values() for shot in cell.shots for name in shot.parts})
    heads = [axis.name or letter for axis, letter in zip(plot.axes, "XYZ")]  # noqa: B905 always three
    named = ("image", "score", "z_of_cell", "seed", "scorer", "version", "preprocess", "dtype", "prompt")
    writer.writerow([safe(name) for name in (*heads, *named, *(f"score {name}" for name in parts))])
    z = z_of(plot)
    for place, k, shot in rows(plot):
        values = [axis.values[at] for axis, at in zip(plot.axes, place)]  # noqa: B905
        known = [k + 1, shot.score, z.get(place), str(shot.seed), *shot.scorer[:4], shot.text]
        writer.writerow([_plain(value) for value in (*values, *known, *(shot.parts.get(name) for name in parts))])
    return out.getvalue()


def _plain(value: Any) -> Any:
    from ...hpskit.ledger.export import cell as safe

    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return float(f"{value:.9g}") + 0.0 if isinstance(value, float) else safe(value)


def rows(plot: Plot) -> Iterator[tuple[Place, int, Shot]]:
    """Yield the scored pictures of all cells: by Z, Y and X as the grid reads, with their number in the cell."""
    for place in sorted(plot.cells, key=lambda at: at[::-1]):
        for k, shot in enumerate(plot.cells[place].shots):
            yield place, k, shot


def z_of(plot: Plot) -> Mapping[Place, float]:
    """Return how each cell stands among the cells of its prompt and scorer, in standard deviations."""
    means: dict[tuple[str, ...], dict[Place, float]] = {}
    for place, cell in plot.cells.items():
        if cell.scores and len({shot.group for shot in cell.shots}) == 1:
            means.setdefault(cell.shots[0].group, {})[place] = statistics.fmean(cell.scores)
    found: dict[Place, float] = {}
    for group in means.values():
        spread = statistics.stdev(group.values()) if len(group) > 1 else 0.0
        middle = statistics.fmean(group.values())
        found |= {place: (value - middle) / spread if spread > 0 else 0.0 for place, value in group.items()}
    return found


# --- the page ---------------------------------------------------------------------------------------------------------


def report(plot: Plot) -> Report:
    """Return the page of a plot: its grids in the colours of the scores, and every figure."""
    from ...hpskit import report as rp

    z, best = z_of(plot), _best(plot)
    sections: list[Section] = [_headline(plot), rp.Note()]
    sections += [_grid(plot, at, z, best) for at in range(len(plot.axes[2].values))]
    sections += [_table(plot, z), rp.Facts(_facts(plot))]
    names = " x ".join(f"{len(axis.values)} {axis.name}" for axis in plot.axes if axis.name)
    return rp.Report("Scores of an X/Y/Z plot", f"{names or 'One cell'}. Colours compare within a prompt.", sections)


def _leaders(plot: Plot) -> dict[tuple[str, ...], list[Place]]:
    """Return the cells with the highest score of every prompt and scorer, as the grid reads.

    More than one where they score alike as far as the figures are shown.
    """
    means: dict[tuple[str, ...], dict[Place, float]] = {}
    for place in sorted(plot.cells, key=lambda at: at[::-1]):
        cell = plot.cells[place]
        if cell.scores:
            means.setdefault(cell.shots[0].group, {})[place] = round(statistics.fmean(cell.scores), SHOWN_DIGITS)
    return {group: [at for at, mean in of.items() if mean == max(of.values())] for group, of in means.items()}


def _best(plot: Plot) -> set[Place]:
    """Return the cells that are set off: the best of every prompt and scorer, unless all of them tie."""
    sizes = Counter(cell.shots[0].group for cell in plot.cells.values() if cell.scores)
    leaders = _leaders(plot).items()
    return {place for group, places in leaders if len(places) < max(sizes[group], 2) for place in places}


def _headline(plot: Plot) -> Any:
    from ...hpskit.report import Figure, Headline

    figures = [
        Figure(words(plot.cells[places[0]].scores), _leading(plot, places), f"best of {_group(plot, places[0])}")
        for places in list(_leaders(plot).values())[:4]
    ]
    return Headline(figures or [Figure("-", "no cell has a score")])


def _leading(plot: Plot, places: Sequence[Place]) -> str:
    tie = f"{len(places)} cells tie: " if len(places) > 1 else ""
    return f"{tie}{_named(plot, places)}"[:120]


def _group(plot: Plot, place: Place) -> str:
    shot = plot.cells[place].shots[0]
    return f'"{shot.text[:80]}" by {scorer_name(shot.scorer[0])}'


def _grid(plot: Plot, iz: int, z: Mapping[Place, float], best: set[Place]) -> Any:
    from ...hpskit.report import Head, Matrix

    x, y, depth = plot.axes
    with_pictures = size(plot) <= MOST_PICTURES
    fields = [
        [_field(plot, (ix, iy, iz), z, best, with_pictures) for ix in range(len(x.values))]
        for iy in range(len(y.values))
    ]
    title = f"{depth.name}: {depth.values[iz]}" if depth.name else "Cells"
    note = "" if with_pictures else f"Pictures are left out: the plot has more than {MOST_PICTURES} cells."
    columns = [Head(value[:160], x.name) for value in x.values]
    heads = [Head(value[:160], y.name) for value in y.values]
    return Matrix(columns, heads, fields, key="z within the prompt", title=title, note=note)


def _field(plot: Plot, place: Place, z: Mapping[Place, float], best: set[Place], with_pictures: bool) -> Any:
    from ...hpskit.report import Field

    cell = plot.cells.get(place)
    if cell is None or cell.picture is None:
        return None
    value = words(cell.scores) if cell.scores else "no score"
    image = cell.shots[0].thumbnail if cell.shots and with_pictures else None
    return Field(image, value, z.get(place, math.nan), place in best and size(plot) > 1, label(plot, place))


def _table(plot: Plot, z: Mapping[Place, float]) -> Any:
    from ...hpskit.report import Column, Table

    named = [(k, axis) for k, axis in enumerate(plot.axes) if axis.name]
    columns = [
        *(axis.name for _, axis in named),
        Column("seed", mono=True),
        Column("score", 4),
        Column("z of the cell", 2),
    ]
    found = [
        [*(axis.values[place[k]] for k, axis in named), str(shot.seed), shot.score, z.get(place), shot.text[:400]]
        for place, _, shot in rows(plot)
    ]
    return Table([*columns, "prompt"], found[:2000], "All pictures")


def _facts(plot: Plot) -> Sequence[tuple[str, str]]:
    shots = [shot for _, _, shot in rows(plot)]
    scorers = dict.fromkeys(", ".join(filter(None, shot.scorer)) for shot in shots)
    sizes = dict.fromkeys(f"{shot.width} x {shot.height}" for shot in shots)
    model = [("model of the first cell", plot.model)] if plot.model else []
    return [*(("scorer", text) for text in scorers), ("size of the pictures", ", ".join(sizes)), *model]
