"""A study of images that tell how they were made: settings are the values of some fields, all else stays within blocks.

Whatever varies without being compared becomes part of the block: two samplers are compared within each number of steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import StudyError
from .records import Axis, Setting
from .sources import (
    MOST_SETTINGS,
    Block,
    Layout,
    Placed,
    Scoring,
    Shot,
    Sourced,
    alike,
    assemble,
    listing,
    natural,
    remark,
    sound,
    unique,
)

FIELDS: Final = ("model", "lora", "sampler", "scheduler", "steps", "cfg", "size")
"""What can be compared; more that is known of images only keeps different ones apart."""
NO_LORA: Final = "no LoRA"


@dataclass(frozen=True)
class Choice:
    """Which fields are compared, and which others vary and are held equal within a block."""

    by: tuple[str, ...]
    held: tuple[str, ...]
    constant: tuple[str, ...] = ()
    """Fields that were asked for but have one value only."""


def from_fields(
    shots: Sequence[Shot], scoring: Scoring, by: Sequence[str] = (), *, paired: bool = True, title: str = ""
) -> Sourced:
    """Return the study of the combinations of the fields `by`; of those that vary when none is named.

    Blocks are prompt x seed x whatever else varies; not `paired`, images of one setting and prompt are only counted.
    StudyError when nothing varies, nothing is known, or nothing pairs.
    """
    choice = choose(shots, by)
    known = [shot for shot in alike(shots) if all(value_of(shot, name) for name in choice.by)]
    unknown = [shot for shot in shots if not all(value_of(shot, name) for name in choice.by)]
    seedless = [shot for shot in known if paired and shot.seed is None]
    settings, place = _settings(known, choice.by)
    left_out = [
        *remark(f"do not tell their {' and '.join(choice.by)}", unknown),
        *(line for why, shots_of in _by_reason(seedless).items() for line in remark(why, shots_of)),
    ]
    ordered = sorted((shot for shot in known if not paired or shot.seed is not None), key=lambda s: natural(s.name))
    placed = list(_placed(ordered, choice, place, paired=paired))
    varying = tuple(Axis(name, _values(known, name)) for name in choice.by)
    layout = Layout(
        title=title or f"Comparison by {', '.join(choice.by)}",
        settings=settings,
        axes=varying,
        paired=f"by prompt and seed{_and(choice.held)}",
        seeds_shared=paired,
        notes=tuple(_notes(choice)),
    )
    found = assemble(placed, layout, scoring, left_out)
    if found is None:
        raise StudyError(_nothing(ordered, known, choice))
    return found


def _by_reason(seedless: Sequence[Shot]) -> Mapping[str, list[Shot]]:
    found: dict[str, list[Shot]] = {}
    for shot in seedless:
        found.setdefault(shot.unseeded, []).append(shot)
    return found


def value_of(shot: Shot, name: str) -> str:
    """Return what a shot says of a field; "" for nothing. No LoRA is a value too."""
    return shot.made.get(name, NO_LORA if name == "lora" else "")


def choose(shots: Sequence[Shot], by: Sequence[str] = ()) -> Choice:
    """Return which fields are compared: those that are named and vary, or all that vary.

    StudyError when there is none.
    """
    names = dict.fromkeys([*FIELDS, *(name for shot in shots for name in shot.made)])
    values = {name: {value_of(shot, name) for shot in shots} for name in names}
    vary = [name for name in names if len(values[name] - {""}) > 1]
    if by:
        silent = [name for name in by if not values.get(name, set()) - {""}]
        if silent:
            raise StudyError(f"No image tells its {' or '.join(silent)}. {_told(values)}")
    chosen = [name for name in dict.fromkeys(by) if name in vary] if by else [name for name in FIELDS if name in vary]
    if not chosen:
        asked = f"{' and '.join(by)} of the images {'are' if len(by) > 1 else 'is'} always the same." if by else ""
        raise StudyError(f"{asked or 'The images do not differ in how they were made.'} {_told(values)}")
    held = tuple(name for name in names if name not in chosen and len(values[name]) > 1)
    return Choice(tuple(chosen), held, tuple(name for name in dict.fromkeys(by) if name not in vary))


def _told(values: Mapping[str, Iterable[str]]) -> str:
    known = [(name, sorted(set(values.get(name, ())) - {""}, key=natural)) for name in FIELDS]
    told = "; ".join(f"{name}: {listing(found, 3)}" for name, found in known if found and found != [NO_LORA])
    if not told:
        return "Nothing is known of how they were made: put the images of each setting into a folder of their own."
    return f"What they tell: {told}."


def _values(shots: Sequence[Shot], name: str) -> tuple[str, ...]:
    return tuple(map(sound, sorted({value_of(shot, name) for shot in shots}, key=natural)))


def _settings(shots: Sequence[Shot], by: Sequence[str]) -> tuple[tuple[Setting, ...], Mapping[tuple[str, ...], int]]:
    """Return the combinations that occur, in natural order, and the place of each."""
    found = {tuple(value_of(shot, name) for name in by) for shot in shots}
    combined = sorted(found, key=lambda values: [natural(value) for value in values])
    if len(combined) > MOST_SETTINGS:
        raise StudyError(
            f"{', '.join(by)} make {len(combined)} settings; at most {MOST_SETTINGS} can be compared. "
            "Name fewer fields with --by."
        )
    labels = unique([label_of(by, values) for values in combined])
    values_of = [dict(zip(by, map(sound, values), strict=True)) for values in combined]
    settings = tuple(map(Setting, labels, values_of))
    return settings, {values: k for k, values in enumerate(combined)}


def label_of(by: Sequence[str], values: Sequence[str]) -> str:
    """Return the label of a setting: "euler, 8 steps, cfg 7"."""
    return ", ".join(worded(name, value) for name, value in zip(by, values, strict=True))


def worded(name: str, value: str) -> str:
    """Return a value as it stands in a label: "8 steps", "1 step", "cfg 7", "euler"; "" stays empty."""
    if name == "steps" and value:
        return f"{value} step{'' if value == '1' else 's'}"
    return f"cfg {value}" if name == "cfg" and value else value


def _placed(
    shots: Iterable[Shot], choice: Choice, place: Mapping[tuple[str, ...], int], *, paired: bool
) -> Iterable[Placed]:
    count: dict[tuple[int, str], int] = {}
    for shot in shots:
        setting = place[tuple(value_of(shot, name) for name in choice.by)]
        number = count[setting, shot.prompt] = count.get((setting, shot.prompt), 0) + 1
        yield Placed(shot, setting, _block(shot, choice) if paired else (f"no. {number}",))


def _block(shot: Shot, choice: Choice) -> Block:
    return (shot.seed or "", *(worded(name, value_of(shot, name)) for name in choice.held))


def _and(names: Sequence[str]) -> str:
    return f", and equal {', '.join(names)}" if names else ""


def _notes(choice: Choice) -> Iterable[str]:
    if choice.held:
        names = ", ".join(choice.held)
        yield f"The images also differ in {names}; settings are compared within images that agree in that."
    if choice.constant:
        yield f"{', '.join(choice.constant)}: the same in all images, so there is nothing to compare."


def _nothing(shots: Sequence[Shot], known: Sequence[Shot], choice: Choice) -> str:
    if known and not shots:
        return (
            "No seed tells the noise of any image, so nothing pairs. --pair-by none compares the settings without "
            "pairs, which takes more images."
        )
    if len({tuple(value_of(shot, name) for name in choice.by) for shot in shots}) < 2:
        return f"There are no two settings of {', '.join(choice.by)} to compare among the images that tell enough."
    more = f" --by {','.join([*choice.by, *(name for name in choice.held if name in FIELDS)])}" if choice.held else ""
    hint = f" Perhaps the settings changed together:{more} compares the combinations." if more.strip() else ""
    return (
        f"No image has a partner: nothing of the same prompt and seed{_and(choice.held)} was made with another "
        f"{' or '.join(choice.by)}.{hint} --pair-by none compares the settings without pairs."
    )
