"""Axes of the host's X/Y/Z plot for the options of the panel, and what a plot with scores gets besides its grid."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from .. import options
from ..bridge import host
from . import plot as xyz_plot

log = logging.getLogger("hps")

FILE = "xyz_grid.py"
PREFIX = "[HPS] "
METHODS = (*options.SEARCH_METHODS, *options.GRADIENT_METHODS)


@dataclass(frozen=True)
class AxisKind:
    """One of our axes: the option that it sets, and what its values are."""

    option: str
    type: Callable[[Any], Any] = str
    choices: Callable[[], Sequence[str]] | None = None

    @property
    def name(self) -> str:
        """What the panel calls the option; the methods of search and gradient are one axis."""
        return "Method" if self.option == "method" else options.WORDS[self.option]

    @property
    def label(self) -> str:
        """As it stands in the host's list."""
        return PREFIX + self.name

    def option_for(self, value: Any) -> str:
        """Return which option a value sets; there are two for methods."""
        return "gradient_method" if self.option == "method" and value in options.GRADIENT_METHODS else self.option

    def apply(self, p: Any, value: Any, values: Any) -> None:
        """Set the option for one cell; cells are copies of one `p`, so nothing that they share is changed."""
        p._hps_axes = {**(getattr(p, "_hps_axes", None) or {}), self.option_for(value): value}

    def confirm(self, p: Any, values: Sequence[Any]) -> None:
        """Look at all values before anything is made; RuntimeError with what is wrong and what there is."""
        from ...hpskit.errors import HpsError

        if not values:
            raise RuntimeError(f"{self.label}: there is no value. Give some, separated by commas.")
        for value in values:
            try:
                read = options.read([{self.option_for(value): value}])
                if self.option in ("scorer", "guards", "held_out"):
                    for name in read.scorers if self.option != "held_out" else filter(None, [read.held_out]):
                        host.locate(name)
            except HpsError as error:
                raise RuntimeError(f"{self.label}: {error}") from None


def _scorers() -> list[str]:
    return list(host.scorer_choices())


KINDS = (
    AxisKind("mode", choices=lambda: list(options.MODES)),
    AxisKind("scorer", choices=_scorers),
    AxisKind("rule", choices=lambda: list(options.RULES)),
    AxisKind("candidates", int),
    AxisKind("keep", int),
    AxisKind("stop", choices=lambda: list(options.STOPS)),
    AxisKind("target", float),
    AxisKind("method", choices=lambda: list(METHODS)),
    AxisKind("iterations", int),
    AxisKind("population", int),
    AxisKind("screen", int),
    AxisKind("max_drift", float),
)


def register() -> None:
    """Hand the host what it calls; it forgets this when it reloads its scripts."""
    from modules import script_callbacks

    script_callbacks.on_before_ui(prepare)
    script_callbacks.on_image_grid(xyz_plot.draw_scores)
    script_callbacks.on_image_saved(xyz_plot.saved)


def prepare() -> None:
    """Put our axes into the host's list and watch its plots; does nothing twice, and nothing without the script."""
    try:
        found = module()
        if found is not None:
            add_axes(found)
            xyz_plot.watch(found)
    except Exception:
        log.warning("The X/Y/Z plot has no axes of HPS.", exc_info=True)


def module() -> Any:
    """Return the host's script as a module; None where there is none."""
    from modules import scripts

    for data in scripts.scripts_data:
        if PurePath(str(data.path)).name == FILE and hasattr(data.module, "axis_options"):
            return data.module
    return None


def add_axes(found: Any) -> None:
    """Append those of our axes that are not in the list yet."""
    known = {option.label for option in found.axis_options}
    for kind in KINDS:
        if kind.label not in known:
            found.axis_options.append(
                found.AxisOption(kind.label, kind.type, kind.apply, confirm=kind.confirm, choices=kind.choices)
            )
