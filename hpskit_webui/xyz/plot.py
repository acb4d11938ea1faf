"""One X/Y/Z plot as it is made: which cell is which, their scores, and where the plot ends.

The host's script makes its cells and its grid in one function, `draw_xyz_grid`. That function alone is wrapped: it says
which cell is being made and hands back the finished plot. The rest comes through the host's own callbacks: the pictures
of a grid may be replaced before they are pasted, and the file of the grid is known once it is saved.
"""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .. import options, settings
from ..shots import Shot, best_first, record_of, shots_of

log = logging.getLogger("hps")

Place = tuple[int, int, int]
"""Of a cell: its positions on X, Y and Z."""
_now = threading.local()


@dataclass(frozen=True)
class PlotAxis:
    """One axis of a plot."""

    name: str
    """Empty where nothing varies."""
    values: tuple[str, ...]


@dataclass(frozen=True)
class PlotCell:
    """One cell: what its generation gave."""

    shots: tuple[Shot, ...] = ()
    picture: Any = None
    """What the grid shows: the first picture of the generation."""
    trouble: str = ""
    """Why it has no score, where the panel said so."""

    @property
    def scores(self) -> list[float]:
        """All scores that are known."""
        return [shot.score for shot in self.shots if shot.score == shot.score]


@dataclass
class Plot:
    """The cells of a plot so far."""

    axes: tuple[PlotAxis, PlotAxis, PlotAxis]
    folder: str
    """Where grids are saved."""
    cells: dict[Place, PlotCell] = field(default_factory=dict)
    pictures: dict[int, Place] = field(default_factory=dict)
    """Place of a cell by the identity of its picture, which the host holds on to."""
    result: Any = None
    """What the host hands back."""
    model: str = ""

    @property
    def scored(self) -> bool:
        """Whether any cell has a score."""
        return any(cell.scores for cell in self.cells.values())

    def add(self, place: Place, processed: Any, interrupted: bool) -> None:
        """Take the generation of a cell; the last picture of an interrupted one is half made and has no score."""
        pictures = list(getattr(processed, "images", None) or [])
        shots = best_first(shots_of(pictures))
        params = getattr(processed, "extra_generation_params", None) or {}
        # The modes that choose leave half-made pictures out themselves.
        if interrupted and params.get("HPS mode") == options.SCORE and pictures and record_of(pictures[-1]):
            shots = shots[:-1]
        shown = pictures[0] if pictures else None
        self.cells[place] = PlotCell(tuple(shots), shown, str(params.get("HPS error") or ""))
        if shown is not None:
            self.pictures[id(shown)] = place
            self.model = self.model or str(getattr(processed, "sd_model_name", "") or "")


# --- watching ---------------------------------------------------------------------------------------------------------


def watch(module: Any) -> None:
    """Watch the plots of the host's script from now on; a module that is watched is left as it is."""
    original = getattr(module, "draw_xyz_grid", None)
    if original is None or getattr(original, "_hps_watched", False):
        return
    signature = inspect.signature(original)

    @functools.wraps(original)
    def draw_xyz_grid(*args: Any, **kwargs: Any) -> Any:
        plot = None
        try:
            bound = signature.bind(*args, **kwargs)
            plot = _begin(bound.arguments)
            bound.arguments["cell"] = _around(plot, bound.arguments["cell"])
        except Exception:
            log.warning("This X/Y/Z plot gets no table of scores.", exc_info=True)
            return original(*args, **kwargs)
        with _current(plot):
            plot.result = original(*bound.args, **bound.kwargs)
        _guarded(_ended, plot)
        return plot.result

    draw_xyz_grid._hps_watched = True  # type: ignore[attr-defined]
    module.draw_xyz_grid = draw_xyz_grid


def _begin(arguments: dict[str, Any]) -> Plot:
    from modules import shared

    axes = []
    for letter in "xyz":
        info = getattr(shared.state, f"xyz_plot_{letter}", None)
        option = getattr(info, "axis", None)
        name = "" if option is None or option.label == "Nothing" else str(option.label)
        axes.append(PlotAxis(name, tuple(_value(text, name) for text in arguments[f"{letter}_labels"])))
    return Plot((axes[0], axes[1], axes[2]), str(getattr(arguments["p"], "outpath_grids", "") or ""))


def _value(label: Any, name: str) -> str:
    """Return a value without the name that the host puts before it."""
    return str(label).removeprefix(f"{name}: ")


def _around(plot: Plot, cell: Callable[..., Any]) -> Callable[..., Any]:
    def watched(x: Any, y: Any, z: Any, ix: int, iy: int, iz: int) -> Any:
        before = _interrupted()
        processed = cell(x, y, z, ix, iy, iz)
        _guarded(plot.add, (ix, iy, iz), processed, _interrupted() and not before)
        return processed

    return watched


def _interrupted() -> bool:
    from modules import shared

    return bool(shared.state.interrupted)


@contextmanager
def _current(plot: Plot) -> Iterator[None]:
    """Make the plot known to `draw_scores`; plots inside plots do not happen, but would not break."""
    before = getattr(_now, "plot", None)
    _now.plot = plot
    try:
        yield
    finally:
        _now.plot = before


def _guarded(work: Callable[..., None], *args: Any) -> None:
    try:
        work(*args)
    except Exception:
        log.warning("The table of an X/Y/Z plot is incomplete.", exc_info=True)


# --- the end ----------------------------------------------------------------------------------------------------------


def _ended(plot: Plot) -> None:
    """Say under the gallery what the scores show; the table waits for the file of the grid, if one is saved."""
    from modules import shared

    from . import table as xyz_table

    _now.waiting = None
    if not plot.scored and not any(cell.trouble for cell in plot.cells.values()):
        return
    said = str(plot.result.comments or "").splitlines()
    plot.result.comments = "".join(f"{line}\n" for line in said if not line.startswith("HPS: "))
    _say(plot, xyz_table.lines(plot))
    if not (plot.scored and settings.get("hps_save_table")):
        return
    if shared.opts.grid_save:
        _now.waiting = plot
    else:
        _write(plot, "")


def saved(params: Any) -> None:
    """Write the table beside the grid that the host has saved: the first file of a plot is the whole of it."""
    plot = getattr(_now, "waiting", None)
    if plot is not None and params.p is plot.result:
        _now.waiting = None
        _guarded(_write, plot, str(params.filename))


def _write(plot: Plot, beside: str) -> None:
    from ...hpskit.errors import HpsError
    from . import table as xyz_table

    try:
        files = xyz_table.write(plot, beside)
    except HpsError as error:
        _say(plot, [str(error)])
        return
    _say(plot, [f"table of scores: {files[0]}"])
    params = dict(getattr(plot.result, "extra_generation_params", None) or {})
    plot.result.extra_generation_params = {**params, "HPS table": files[0].name}


def _say(plot: Plot, lines: Sequence[str]) -> None:
    plot.result.comments += "".join(f"HPS: {line}\n" for line in lines)


# --- scores on the cells ----------------------------------------------------------------------------------------------


def draw_scores(params: Any) -> None:
    """Replace the cells of a grid that is about to be put together by copies with their scores on them."""
    plot = getattr(_now, "plot", None)
    if plot is None or not settings.get("hps_draw_scores"):
        return
    places = [plot.pictures.get(id(picture)) for picture in params.imgs]
    if not any(place is not None for place in places):
        return  # the grid of one cell, or the grid of grids
    shown = list(params.imgs)
    for k, place in enumerate(places):
        if place is not None and plot.cells[place].picture is shown[k] and plot.cells[place].scores:
            shown[k] = lettered(shown[k], words(plot.cells[place].scores))
    params.imgs = shown


def words(scores: Sequence[float]) -> str:
    """Return the score of a cell as it is drawn; of several pictures their mean."""
    mean = f"{sum(scores) / len(scores):.4f}"
    return mean if len(scores) == 1 else f"mean {mean} of {len(scores)}"


def lettered(picture: Any, text: str) -> Any:
    """Return a copy of a picture with a line of text on a dark plate in its lower left corner."""
    from PIL import Image

    from ...hpskit.study.lettering import Lettering

    made = picture.copy()
    size = max(9.0, min(40.0, made.width / 16, made.height / 8))
    letters = Lettering(size)
    line = letters.cut(text, made.width - 4) or letters.drawable(text)
    width, height = min(made.width, round(letters.width(line)) + 6), min(made.height, letters.line + 4)
    plate = Image.new("RGB", (width, height), (16, 16, 16))
    letters.draw(plate, (3, 2), line, (255, 255, 255))
    made.paste(plate.convert(made.mode), (0, made.height - height))
    return made
