"""The design of a comparison: every combination of what was named, with labels that say what differs."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..errors import StudyError
from . import axes
from .records import Axis, Setting

MOST_SETTINGS: Final = 1000
_WORDS: Final = 40
"""Characters of a prompt variant in a label."""


@dataclass(frozen=True)
class Recipe:
    """What makes the images of one setting."""

    sampler: str = ""
    scheduler: str = ""
    steps: int = 0
    cfg: float = 0.0
    shift: float | None = None
    """None leaves the model's own."""
    loras: tuple[tuple[str, float], ...] = ()
    """File and strength, in the order in which they are applied."""
    checkpoint: str = ""
    """Empty: the model that is wired."""
    variant: str = axes.PLACE
    """The text of the image: the prompt in a frame."""

    def text(self, prompt: str) -> str:
        """Return what the model is told for a prompt."""
        return self.variant.replace(axes.PLACE, prompt)


@dataclass(frozen=True)
class Known:
    """Names that there are."""

    samplers: Sequence[str] = ()
    schedulers: Sequence[str] = ()
    loras: Sequence[str] = ()
    checkpoints: Sequence[str] = ()


@dataclass(frozen=True)
class Texts:
    """What a person typed, one text for each kind of setting."""

    samplers: str = "euler"
    schedulers: str = "normal"
    steps: str = "20"
    cfgs: str = "7"
    shifts: str = ""
    loras: str = ""
    checkpoints: str = ""
    variants: str = ""
    reference: str = ""
    """Label of the setting that the others are compared with; the first one when empty."""


@dataclass(frozen=True)
class Design:
    """All settings of a comparison."""

    axes: tuple[Axis, ...]
    """What varies; nothing for a single setting."""
    settings: tuple[Setting, ...]
    recipes: tuple[Recipe, ...]
    """What makes each of them, in the same order."""
    constants: tuple[tuple[str, str], ...] = ()
    """Name and value of what is the same in all of them."""
    reference: int = 0


@dataclass(frozen=True)
class _Dimension:
    """One thing that may vary, whether or not it does."""

    name: str
    values: tuple[Any, ...]
    shown: tuple[str, ...]
    """The values as they stand on the axis."""
    words: tuple[str, ...]
    """The same as a part of a label."""
    put: Callable[[Recipe, Any], Recipe] = field(repr=False)


def design(texts: Texts, known: Known) -> Design:
    """Return every combination of what the texts name; StudyError, before anything runs, on what makes no sense."""
    dimensions = _dimensions(texts, known)
    count = math.prod(len(one.values) for one in dimensions)
    if count > MOST_SETTINGS:
        parts = " x ".join(f"{len(one.values)} {one.name}" for one in dimensions if len(one.values) > 1)
        raise StudyError(f"{parts} make {count} settings; the most is {MOST_SETTINGS}. Leave some values out.")
    varying = [k for k, one in enumerate(dimensions) if len(one.values) > 1]
    named = varying or [k for k, one in enumerate(dimensions) if one.name in ("sampler", "scheduler", "steps", "cfg")]
    labels, settings, recipes = list[str](), list[dict[str, str]](), list[Recipe]()
    for places in itertools.product(*(range(len(one.values)) for one in dimensions)):
        recipe = Recipe()
        for one, place in zip(dimensions, places, strict=True):
            recipe = one.put(recipe, one.values[place])
        labels.append(", ".join(dimensions[k].words[places[k]] for k in named))
        settings.append({dimensions[k].name: dimensions[k].shown[places[k]] for k in varying})
        recipes.append(recipe)
    named_settings = tuple(map(Setting, _distinct(labels), settings))
    return Design(
        axes=tuple(Axis(dimensions[k].name, dimensions[k].shown) for k in varying),
        settings=named_settings,
        recipes=tuple(recipes),
        constants=tuple((one.name, one.shown[0]) for k, one in enumerate(dimensions) if k not in varying),
        reference=_reference(texts.reference, named_settings),
    )


def _dimensions(texts: Texts, known: Known) -> list[_Dimension]:
    samplers = axes.names(texts.samplers, known.samplers, "sampler")
    schedulers = axes.names(texts.schedulers, known.schedulers, "scheduler")
    steps = axes.numbers(texts.steps, "steps", low=1, high=10000, whole=True)
    cfgs = axes.numbers(texts.cfgs, "cfgs", low=0, high=100)
    shifts = axes.numbers(texts.shifts, "shifts", low=0, high=100)
    checkpoints = axes.files(texts.checkpoints, known.checkpoints, "checkpoint")
    variants = axes.variant_lines(texts.variants)
    for values, what in ((samplers, "sampler"), (schedulers, "scheduler"), (steps, "number of steps"), (cfgs, "cfg")):
        if not values:
            raise StudyError(f"No {what} is named; name one at least.")
    found = [_plain("checkpoint", checkpoints, _stems(checkpoints), "checkpoint")] if checkpoints else []
    found += _lora_dimensions(axes.lora_lines(texts.loras, known.loras))
    found += [_numbers("shift", shifts, "shift {}", "shift")] if shifts else []
    shown = _variant_words(variants)
    found += (
        [_Dimension("prompt variant", variants, shown, shown, _putter("variant"))] if texts.variants.strip() else []
    )
    found += [
        _plain("sampler", samplers, samplers, "sampler"),
        _plain("scheduler", schedulers, schedulers, "scheduler"),
    ]
    return [*found, _numbers("steps", steps, "{} steps", "steps"), _numbers("cfg", cfgs, "cfg {}", "cfg")]


def _plain(name: str, values: Sequence[str], shown: Sequence[str], where: str) -> _Dimension:
    return _Dimension(name, tuple(values), tuple(shown), tuple(shown), _putter(where))


def _numbers(name: str, values: Sequence[float], form: str, where: str) -> _Dimension:
    shown = tuple(axes.number_text(value) for value in values)
    return _Dimension(name, tuple(values), shown, tuple(form.format(text) for text in shown), _putter(where))


def _putter(where: str) -> Callable[[Recipe, Any], Recipe]:
    return lambda recipe, value: replace(recipe, **{where: value})


def _lora_dimensions(lines: Sequence[tuple[str, tuple[float, ...]]]) -> list[_Dimension]:
    def put(file: str) -> Callable[[Recipe, Any], Recipe]:
        return lambda recipe, strength: replace(recipe, loras=(*recipe.loras, (file, strength)))

    stems = _stems([file for file, _ in lines])
    found = []
    for (file, strengths), stem in zip(lines, stems, strict=True):
        shown = tuple(axes.number_text(value) for value in strengths)
        found.append(_Dimension(f"LoRA {stem}", strengths, shown, tuple(f"{stem} {text}" for text in shown), put(file)))
    return found


def _stems(files: Sequence[str]) -> tuple[str, ...]:
    """Return file names without extension, and without folder where that leaves them different."""
    bare = [re.sub(r"\.[A-Za-z]{2,12}$", "", name).replace("\\", "/") for name in files]
    short = [name.rpartition("/")[2] for name in bare]
    for names in (short, bare):
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(files)


def _variant_words(variants: Sequence[str]) -> tuple[str, ...]:
    """Return short words for prompt variants, each its own."""
    words = [
        " ".join(line.replace(axes.PLACE, "...").split()) if line != axes.PLACE else "as it is" for line in variants
    ]
    words = [text if len(text) <= _WORDS else f"{text[: _WORDS - 3]}..." for text in words]
    return _distinct(words)


def _distinct(words: Sequence[str]) -> tuple[str, ...]:
    twice = {text for text, count in Counter(words).items() if count > 1}
    return tuple(f"{text} ({k})" if text in twice else text for k, text in enumerate(words, 1))


def _reference(text: str, settings: Sequence[Setting]) -> int:
    wanted = _folded(text)
    if not wanted:
        return 0
    labels = [setting.label for setting in settings]
    for k, label in enumerate(labels):
        if _folded(label) == wanted:
            return k
    near = difflib.get_close_matches(wanted, [_folded(label) for label in labels], 3, 0.5)
    meant = [label for label in labels if _folded(label) in near] or labels[:8]
    raise StudyError(f'No setting is called "{text.strip()[:80]}". There are, among others: {"; ".join(meant)}.')


def _folded(label: str) -> str:
    return re.sub(r"\s*,\s*", ", ", " ".join(label.casefold().split()))
