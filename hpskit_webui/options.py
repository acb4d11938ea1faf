"""What a person or a program asks of the panel: one frozen record, read from components, a dict or an infotext."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..hpskit.errors import SelectionError

OFF, SCORE, BEST, BEST_FIRST, SEARCH, GRADIENT = MODES = (
    "off",
    "score",
    "best-of-n",
    "best-of-n-first-pass",
    "noise-search",
    "noise-gradient",
)
LABELS: Mapping[str, str] = {
    OFF: "Off",
    SCORE: "Score every image",
    BEST: "Best of N: judge finished images",
    BEST_FIRST: "Best of N: judge before hires fix and other finishing",
    SEARCH: "Noise search: improve the starting noise",
    GRADIENT: "Noise gradient (ReNO, advanced)",
}
"""What the panel calls the modes; both spellings are understood everywhere."""
RULES = ("auto", "single", "gate", "zsum", "rank", "worst", "pareto")
STOPS = ("never", "quick", "normal", "thorough")
"""When a search ends because little more is expected; see hpskit.search.GAIN_PRESETS."""
SEARCH_METHODS = ("sphere search", "subspace search", "zero-order search")
GRADIENT_METHODS = ("geodesic", "reno")
DEFAULT_SCORER = "hps-v2.1"


@dataclass(frozen=True)
class Options:
    """The panel's settings; the order of the fields is the order of the script's arguments. Raises SelectionError."""

    mode: str = OFF
    """What is done with the images."""
    scorer: str = DEFAULT_SCORER
    """A card id, or a file below models/reward_models."""
    guards: tuple[str, ...] = ()
    """Further scorers that the rule weighs in."""
    rule: str = "auto"
    """How several scorers order the images; "auto" is "gate" for two and "zsum" for more."""
    candidates: int = 4
    """Of every pool; one pool makes `keep` images."""
    keep: int = 1
    """Images that are kept of every pool."""
    stop: str = "never"
    """End a pool when one more candidate is not expected to add .10 (quick), .05 or .02 (thorough) points."""
    target: float = 0.0
    """Stop at this score of the main scorer; 0 is off."""
    seconds: float = 0.0
    """Start no more candidates of a pool after so long; 0 is off."""
    prompt: str = ""
    """Text to score against; empty takes each image's own prompt."""
    clean_prompt: bool = True
    """Leave LoRA tags, weights and BREAK out of the text."""
    method: str = SEARCH_METHODS[0]
    """Of a noise search."""
    gradient_method: str = GRADIENT_METHODS[0]
    """Of a noise gradient."""
    iterations: int = 8
    """Steps of a noise optimisation."""
    population: int = 4
    """Noises that a noise search tries in every iteration."""
    screen: int = 4
    """Seeds tried first in noise search; the best one is improved."""
    max_drift: float = 60.0
    """Degrees that a gradient method may turn the noise; 0 is no limit."""
    held_out: str = ""
    """Scorer that is watched and never optimised; empty for none."""
    save_noise: bool = True
    """Write the noise beside its image."""
    noise_file: str = ""
    """Noise file in the host's output folders that images begin with, or the image that it lies beside."""

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_numbers()

    def _check_choices(self) -> None:
        _one_of("mode", self.mode, MODES)
        _one_of("rule", self.rule, RULES)
        _one_of("stop", self.stop, STOPS)
        _one_of("method", self.method, SEARCH_METHODS)
        _one_of("gradient_method", self.gradient_method, GRADIENT_METHODS)
        if self.scorer in self.guards:
            raise SelectionError(
                f"{self.scorer} is the main scorer and a further one at once; take it out of the latter."
            )
        if self.noise_file and self.mode in (BEST, BEST_FIRST):
            raise SelectionError("Candidates differ by their noise, so best of N cannot begin with a noise file.")
        if self.held_out and self.held_out in (self.scorer, *self.guards):
            raise SelectionError(f"{self.held_out} is optimised and cannot be held out at the same time.")

    def _check_numbers(self) -> None:
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and least <= value <= most):
                raise SelectionError(
                    f"{said(name)} is {_shown(value)}; it must be from {_shown(least)} to {_shown(most)}."
                )
        if self.mode in (BEST, BEST_FIRST) and self.keep > self.candidates:
            there = "is only 1 candidate" if self.candidates == 1 else f"are only {self.candidates:,} candidates"
            raise SelectionError(f"{said('keep')} is {self.keep}, but there {there}: keep fewer or make more.")

    @property
    def active(self) -> bool:
        """Whether anything is to be done."""
        return self.mode != OFF

    @property
    def scorers(self) -> tuple[str, ...]:
        """All scorers that judge, the main one first."""
        return (self.scorer, *self.guards)


LIMITS: Mapping[str, tuple[float, float]] = {
    "candidates": (1, 4096),
    "keep": (1, 256),
    "target": (-1e6, 1e6),
    "seconds": (0, 1e6),
    "iterations": (1, 10000),
    "population": (1, 256),
    "screen": (1, 4096),
    "max_drift": (0, 180),
}
NAMES = tuple(field.name for field in fields(Options))
WORDS: Mapping[str, str] = {
    "mode": "Mode",
    "scorer": "Scorer",
    "guards": "Further scorers",
    "rule": "Rule",
    "candidates": "Candidates",
    "keep": "Keep",
    "stop": "Stop early",
    "target": "Stop at score",
    "seconds": "Stop after seconds",
    "prompt": "Score against",
    "clean_prompt": "Leave weights, brackets, LoRA tags, BREAK and AND out of the prompt",
    "method": "Search method",
    "gradient_method": "Gradient method",
    "iterations": "Iterations",
    "population": "Population",
    "screen": "Screen",
    "max_drift": "Largest turn",
    "held_out": "Held-out scorer",
    "save_noise": "Save the noise (no seed gives it again)",
    "noise_file": "Begin with a noise file",
}
"""What the panel calls the options, and the axes of plots, too; a test holds the panel to it."""
_WHOLE = ("candidates", "keep", "iterations", "population", "screen")
_REAL = ("target", "seconds", "max_drift")
_FLAGS = ("clean_prompt", "save_noise")
_MAY_BE_NONE = ("held_out", "noise_file")
NONE = "None"
"""What the panel's lists call an empty choice of these."""
_BY_LABEL = {label.lower(): mode for mode, label in LABELS.items()}


def read(args: Sequence[Any], overrides: Mapping[str, Any] | None = None) -> Options:
    """Return the options of a script's arguments: one dict of named values, or values in the order of the fields.

    Missing ones take their defaults; `overrides` (of X/Y/Z axes) win. Raises SelectionError with the known names on an
    unknown one, and on values that make no sense.
    """
    if args and isinstance(args[0], Mapping):
        given = {str(name): value for name, value in args[0].items()}
    else:
        given = {name: value for name, value in zip(NAMES, args) if value is not None}  # noqa: B905 the tail may be missing
    given |= dict(overrides or {})
    unknown = [name for name in given if name not in NAMES]
    if unknown:
        raise SelectionError(f"Unknown option {', '.join(sorted(unknown))}; known are {', '.join(NAMES)}.")
    return replace(Options(), **{name: _typed(name, value) for name, value in given.items()})


def as_dict(options: Options) -> dict[str, Any]:
    """Return the options as plain JSON values, as `read` takes them."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}


def mode_of(text: str) -> str:
    """Return the mode that a name or a label means, in any case; unknown text is returned as it is."""
    plain = str(text).strip().lower()
    return _BY_LABEL.get(plain, plain.replace(" ", "-").replace("_", "-"))


def _typed(name: str, value: Any) -> Any:
    try:
        if name == "mode":
            return mode_of(value)
        if name == "guards":
            return _names(value)
        if name in _WHOLE:
            return _whole(value)
        if name in _REAL:
            return float(value)
        if name in _FLAGS:
            return _flag(value)
    except (TypeError, ValueError, OverflowError):
        raise SelectionError(f"{said(name)} is {value!r}; it must be {_expected(name)}.") from None
    if not isinstance(value, str):
        raise SelectionError(f"{said(name)} is {value!r}; it must be a text.")
    text = value.strip()
    return "" if name in _MAY_BE_NONE and text.lower() == NONE.lower() else text


def said(name: str) -> str:
    """Return what an error calls an option: the panel's words, and the name that programs use where it differs."""
    words = WORDS[name]
    return words if words.lower() == name else f"{words} ({name})"


def _shown(number: float) -> str:
    return f"{int(number):,}" if math.isfinite(number) and number == int(number) else f"{number:,}"


def _expected(name: str) -> str:
    if name in _FLAGS:
        return "true or false"
    if name in LIMITS:
        least, most = LIMITS[name]
        return f"a {'whole ' * (name in _WHOLE)}number from {_shown(least)} to {_shown(most)}"
    return "a list of names" if name == "guards" else "a text"


def _names(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value or ())
    return tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))


def _whole(value: Any) -> int:
    number = float(value)
    if isinstance(value, bool) or number != int(number):
        raise ValueError
    return int(number)


def _flag(value: Any) -> bool:
    if isinstance(value, (bool, int, float)):
        return bool(value)
    text = str(value).strip().lower()
    if text not in ("true", "false", "on", "off", "yes", "no", "1", "0"):
        raise ValueError
    return text in ("true", "on", "yes", "1")


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise SelectionError(f'{said(name)} is "{value}"; choose one of {", ".join(known)}.')
