"""Settings of a noise optimisation: defaults, what the command line says, and what a saved run was made with.

Loads no torch: the command line takes its help from here.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from ..errors import SelectionError
from . import numbers

METHODS: Final = ("geodesic", "reno", "sphere", "zero-order", "subspace")
DEFAULT_METHOD: Final = "geodesic"
JUDGE: Final = "hps-tiny-judge"
"""Scorer that watches unless another is named: a second miniature, trained apart from the first."""
NOBODY: Final = "none"


@dataclass(frozen=True)
class Settings:
    """Everything that the outcome depends on, the prompt apart."""

    method: str = DEFAULT_METHOD
    iterations: int = 10
    screen: int = 8
    """Starting noises tried first, the person's own among them."""
    starts: int = 1
    """How many of them are optimised."""
    seed: int = 0
    """Of the first starting noise; the others count up."""
    steps: int = 4
    cfg: float = 1.0
    size: int = 256
    max_angle: float = 0.0
    """Degrees; 0 is the method's own: 60 for methods with gradients, none for the others."""
    held_out: str = ""
    """Id of the scorer that watches, NOBODY, or empty for the default where it is installed."""

    @property
    def evaluations(self) -> int:
        """Denoiser evaluations of one image."""
        return self.steps * (1 if self.cfg == 1 else 2)


DEFAULTS: Final = Settings()


def chosen(args: argparse.Namespace, saved: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings from the command line: options that were not given come from the saved run or the defaults.

    Raises SelectionError when an option contradicts the saved run, or another option.
    """
    basis = asdict(DEFAULTS) if saved is None else _from_saved(saved)
    given = {name: getattr(args, name) for name in basis if getattr(args, name) is not None}
    if saved is not None:
        for name, value in given.items():
            if name != "iterations":  # of these a saved run can be given more
                _insist_on_equal(name, value, basis[name])
    made = Settings(**(basis | given))
    if made.starts > max(made.screen, 1):
        raise SelectionError(f"--starts {made.starts} needs --screen {made.starts} or more; it is {made.screen}.")
    return made


def _insist_on_equal(name: str, given: Any, saved: Any) -> None:
    if given != saved:
        option = "--" + name.replace("_", "-")
        raise SelectionError(
            f"The saved run was made with {option} {saved or NOBODY}, not {given}. Leave {option} out, or start anew."
        )


def _from_saved(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a saved run; a file is a stranger's, so types are checked."""
    found = {}
    for entry in fields(Settings):
        value, default = saved.get(entry.name), getattr(DEFAULTS, entry.name)
        if isinstance(value, bool) or not isinstance(
            value, (int, float) if isinstance(default, float) else type(default)
        ):
            raise SelectionError(f"The saved run does not say its {entry.name}; it was not written by `hps optimize`.")
        found[entry.name] = value
    if found["method"] not in METHODS or min(found[name] for name in _COUNTS) < 1 or found["seed"] < 0:
        raise SelectionError("The settings of the saved run make no sense; it was not written by `hps optimize`.")
    return found


_COUNTS: Final = ("iterations", "screen", "starts", "steps", "size")


# --- command line -----------------------------------------------------------------------------------------------------


def add(command: argparse.ArgumentParser) -> None:
    """Add prompt and options; those of `Settings` default to None, so that given ones are told from others."""
    command.add_argument("prompt", metavar="PROMPT", help='such as "a red heart above a blue star, cartoon"')
    command.add_argument("--out", metavar="DIR", default="hps-optimize", help="folder, made new; default: hps-optimize")
    command.add_argument("--no-compare", action="store_true", help="leave out best of N at the same cost")
    search = command.add_argument_group("search")
    search.add_argument("--method", choices=METHODS, help=f"default: {DEFAULTS.method}")
    _count(search, "iterations", "steps from each start")
    _count(search, "screen", "starting noises to try first")
    _count(search, "starts", "how many of the best of them to optimise")
    search.add_argument("--seed", type=numbers.seed, help=f"seed of the first starting noise; default: {DEFAULTS.seed}")
    limit = "most degrees to turn the noise by; default: 60 for methods with gradients, no limit for the others"
    search.add_argument("--max-angle", type=numbers.degrees, metavar="A", help=limit)
    watcher = f"scorer that is reported and never optimised, or none; default: {JUDGE} where it is installed"
    search.add_argument("--held-out", metavar="ID", help=watcher)
    picture = command.add_argument_group("pictures")
    _count(picture, "steps", "steps of the sampler")
    picture.add_argument(
        "--cfg", type=numbers.number, metavar="C", help=f"guidance, 1 is without; default: {DEFAULTS.cfg:g}"
    )
    _count(picture, "size", "side of the pictures in pixels")
    end = command.add_argument_group("when to stop, and going on")
    end.add_argument("--seconds", type=numbers.above_zero, metavar="T", help="stop after so many seconds")
    end.add_argument("--target", type=numbers.number, metavar="S", help="stop at the first image with this score")
    end.add_argument("--save-state", metavar="FILE", help="write the run to FILE when it ends or is interrupted")
    resume = "go on with a saved run of the same prompt; options that are not given come from there"
    end.add_argument("--resume", metavar="FILE", help=resume)


def _count(group: Any, name: str, words: str) -> None:
    group.add_argument(
        f"--{name}", type=numbers.positive, metavar="N", help=f"{words}; default: {getattr(DEFAULTS, name)}"
    )
