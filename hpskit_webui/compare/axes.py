"""What is compared: the host's own axes of X/Y/Z, each with its values, and every combination of them as a setting."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...hpskit.errors import StudyError
from ..xyz import axes as xyz
from . import limits

NOTHING = "Nothing"
LEFT_OUT = (NOTHING, "Seed", "Var. seed")
"""Seeds are what every setting is tried on."""
MOST_SETTINGS, MOST_CELLS = 200, 20_000


@dataclass(frozen=True)
class Varied:
    """One axis with its values."""

    option: Any
    """The host's AxisOption."""
    values: tuple[Any, ...]
    shown: tuple[str, ...]
    """As people read them; all differ."""

    @property
    def name(self) -> str:
        """As it stands in the host's list."""
        return str(self.option.label)

    def words(self, at: int) -> str:
        """Return a value as a part of a setting's label."""
        text = self.shown[at]
        return text if self.option.choices is not None or self.option.type is str else f"{self.name} {text}"


@dataclass(frozen=True)
class Chosen:
    """One setting: a value of every axis, by its place."""

    places: tuple[int, ...]
    label: str
    values: dict[str, str]


def known(is_img2img: bool) -> dict[str, Any]:
    """Return the host's axes of a tab by their names; empty without the host's script."""
    found = xyz.module()
    if found is None:
        return {}
    return {
        str(option.label): option
        for option in found.axis_options
        # Our own axes: the panel only scores here, and scores of two scorers do not compare.
        if option.label not in LEFT_OUT
        and not str(option.label).startswith(xyz.PREFIX)
        and getattr(option, "is_img2img", is_img2img) == is_img2img
    }


def varied(p: Any, named: Sequence[tuple[str, str]], is_img2img: bool) -> tuple[Varied, ...]:
    """Return the axes that a person has named with their values as text; StudyError on what makes no sense."""
    options = known(is_img2img)
    if not options:
        raise StudyError("The host's script X/Y/Z plot was not found; its axes are what is compared.")
    found: list[Varied] = []
    for name, text in named:
        if not name or name == NOTHING:
            continue
        if name not in options:
            raise StudyError(f'There is no axis "{name}" here. There are {", ".join(options)}.')
        if name in [one.name for one in found] and name != "Prompt S/R":
            raise StudyError(f"{name} is named twice; give all its values at once.")
        found.append(_axis(p, options[name], text))
    return tuple(found)


def settings_of(axes: Sequence[Varied]) -> tuple[Chosen, ...]:
    """Return every combination; StudyError for fewer than two and for too many."""
    count = math.prod(len(axis.values) for axis in axes)
    if count < 2:
        raise StudyError("Give at least one axis with two values or more; there is nothing to compare otherwise.")
    if count > MOST_SETTINGS:
        raise StudyError(f"These axes make {count} settings; the most is {MOST_SETTINGS}. Leave some values out.")
    names = distinct([axis.name for axis in axes])
    made = []
    for places in itertools.product(*(range(len(axis.values)) for axis in axes)):
        label = ", ".join(axis.words(at) for axis, at in zip(axes, places) if len(axis.values) > 1)  # noqa: B905
        values = {name: axis.shown[at] for name, axis, at in zip(names, axes, places)}  # noqa: B905
        made.append((places, label, {k: v for k, v in values.items() if len(axes[names.index(k)].values) > 1}))
    labels = distinct([label for _, label, _ in made])
    return tuple(Chosen(places, label, values) for (places, _, values), label in zip(made, labels))  # noqa: B905


def distinct(texts: Sequence[str]) -> tuple[str, ...]:
    """Return texts that all differ: those that are there twice get a number."""
    plain = [text or "(empty)" for text in texts]
    return tuple(f"{text} ({k})" if plain.count(text) > 1 else text for k, text in enumerate(plain, 1))


def _axis(p: Any, option: Any, text: str) -> Varied:
    try:
        values = _values(option, text)
        if not values:
            raise StudyError(f"{option.label} has no values. Write some, separated by commas.")
        limits.check(option, values)
        if option.confirm:
            option.confirm(p, list(values))
    except StudyError:
        raise
    except Exception as error:  # the host's and other extensions' checks raise whatever they like
        raise StudyError(f"{option.label}: {error}") from error
    shown = [_shown(p, option, value) for value in values]
    return Varied(option, values, distinct(shown))


def _values(option: Any, text: str) -> tuple[Any, ...]:
    """Return the values in a text: as the host reads them, ranges included, each once."""
    from ...hpskit.study import axes

    found = xyz.module()
    if option.type in (int, float) and not option.prepare:
        low, high = limits.of(str(option.label))
        numbers = axes.numbers(text, option.label, low=low, high=high, whole=option.type is int)
        return tuple(dict.fromkeys(option.type(value) for value in numbers))
    parts = option.prepare(text) if option.prepare else found.csv_string_to_list_strip(text)
    if option.type is getattr(found, "str_permutations", None):
        return tuple(itertools.permutations(parts))
    values = [option.type(part) for part in parts]
    return tuple(value for k, value in enumerate(values) if value not in values[:k])


def _shown(p: Any, option: Any, value: Any) -> str:
    text = str(option.format_value(p, option, value)).removeprefix(f"{option.label}: ")
    return text[:-2] if text.endswith(".0") else text
