"""Scored images become a study: each finds its setting, and its block among the images of the other settings.

What is compared must have a partner: an image of the same prompt and the same noise under another setting. Where the
partners come from is up to the readers (`folders`, `fields`, `ledger_rows`); here blocks are counted and laid out.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ..errors import StudyError
from ..types import ScorerInfo
from .records import Axis, Cell, Setting, Study

MOST_SETTINGS: Final = 200
"""Every pair of settings is tested; beyond this neither the table nor the arithmetic is of any use."""
LISTED: Final = 10
_DIGITS: Final = re.compile(r"(\d+(?:\.\d+)?)")

Block = tuple[str, ...]
"""What images of one prompt must have in common to be partners, first of all the seed; empty parts do not show."""


@dataclass(frozen=True)
class Shot:
    """One scored image before it has its place in a study."""

    cell: Cell
    """What was measured; its three positions count for nothing yet."""
    prompt: str
    """The text that it was scored against."""
    name: str = ""
    """What people know it by: its file below the folder that was named, or its row."""
    label: str = ""
    """Its setting, where that is only a name (a folder)."""
    seed: str | None = None
    """None where no seed tells the noise that it began with."""
    made: Mapping[str, str] = field(default_factory=dict)
    """How it was made, as people read it, by the name of the field; a field that is unknown is missing."""
    unseeded: str = "came without a seed"
    """Why there is no seed, to stand after "2 images"."""


@dataclass(frozen=True)
class Placed:
    """A shot with its setting and its block."""

    shot: Shot
    setting: int
    block: Block


@dataclass(frozen=True)
class Scoring:
    """Which scorer all shots were scored by, and the names of the members where it is an ensemble."""

    info: ScorerInfo
    """Of the main scorer."""
    part_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """What is compared, and how partners were found."""

    title: str
    settings: tuple[Setting, ...]
    axes: tuple[Axis, ...] = ()
    paired: str = ""
    """How, to stand after "Paired": "by the seeds in the images' metadata"."""
    seeds_shared: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sourced:
    """A study with what did not come to be in it."""

    study: Study
    paired: str
    """How partners were found, as a sentence with their number."""
    left_out: tuple[str, ...]
    """One sentence for each kind of image that was left out; empty when all are in."""


def alike(shots: Sequence[Shot]) -> list[Shot]:
    """Return the shots with one spelling of each prompt, the first: upper case and white space say nothing to a scorer.

    Two spellings as two prompts would pass for independent evidence.
    """
    first: dict[str, str] = {}
    read = (" ".join(shot.prompt.casefold().split()) for shot in shots)
    return [replace(shot, prompt=first.setdefault(key, shot.prompt)) for key, shot in zip(read, shots, strict=True)]


def assemble(
    placed: Sequence[Placed], layout: Layout, scoring: Scoring, left_out: Sequence[str] = ()
) -> Sourced | None:
    """Lay out the blocks that two settings or more have; None when there is none.

    Prompts keep the order of their first image. Of several pictures in one cell equal ones count once, different ones
    are numbered, so that the second of one setting meets the second of another.
    """
    cells, copies = _numbered(placed)
    alone = _partnerless(cells, paired=layout.seeds_shared)
    kept = {key: shot for key, shot in cells.items() if key not in alone}
    if not kept:
        return None
    prompts = list(dict.fromkeys(prompt for _, prompt, _ in kept))
    columns, names = _replicates({(prompt, block) for _, prompt, block in kept}, prompts)
    rows = {prompt: k for k, prompt in enumerate(prompts)}
    made = [
        replace(
            shot.cell,
            setting=setting,
            prompt=rows[prompt],
            seed=columns[prompt, block],
            file=sound(shot.cell.file),
        )
        for (setting, prompt, block), shot in kept.items()
    ]
    remarks = [*left_out, *_remark("had no partner", [cells[key].name for key in alone])]
    remarks += _remark("occurred twice and counts once", copies)
    blocks = len(columns)
    how = f"Paired {layout.paired}: " if layout.seeds_shared else "Not paired: "
    paired = f"{how}{_count(len(kept), 'image')} in {_count(blocks, 'block')} of {_count(len(prompts), 'prompt')}."
    study = Study(
        title=layout.title,
        axes=layout.axes,
        settings=layout.settings,
        prompts=tuple(map(sound, prompts)),
        seeds=names,
        cells=tuple(sorted(made, key=lambda cell: (cell.prompt, cell.seed, cell.setting))),
        scorer=scoring.info,
        part_names=scoring.part_names,
        notes=(paired, *remarks, *layout.notes, *_same_pictures(made, layout)),
        seeds_shared=layout.seeds_shared,
    )
    return Sourced(without_empty(study), paired, tuple(remarks))


_Key = tuple[int, str, Block]


def _numbered(placed: Sequence[Placed]) -> tuple[dict[_Key, Shot], list[str]]:
    """Return one shot a cell, and the names of those that are copies of another one in their cell."""
    cells: dict[_Key, Shot] = {}
    seen: dict[_Key, set[str]] = {}
    copies: list[str] = []
    for entry in placed:
        key = (entry.setting, entry.shot.prompt, entry.block)
        known, picture = seen.setdefault(key, set()), entry.shot.cell.image_hash
        if picture and picture in known:
            copies.append(entry.shot.name)
            continue
        known.add(picture or f"#{len(known)}")
        block = entry.block if len(known) == 1 else (*entry.block, f"no. {len(known)}")
        cells[entry.setting, entry.shot.prompt, block] = entry.shot
    return cells, copies


def _partnerless(cells: Mapping[_Key, Shot], *, paired: bool) -> set[_Key]:
    """Return the cells whose block only one setting has; unpaired, those whose prompt only one has."""
    met: dict[tuple[str, Block | None], set[int]] = {}
    for setting, prompt, block in cells:
        met.setdefault((prompt, block if paired else None), set()).add(setting)
    return {key for key in cells if len(met[key[1], key[2] if paired else None]) < 2}


def sound(text: str) -> str:
    """Return text that can be written as UTF-8: names and metadata of strangers' files may hold lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _replicates(
    blocks: set[tuple[str, Block]], prompts: Sequence[str]
) -> tuple[dict[tuple[str, Block], int], tuple[str, ...]]:
    """Return the column of each block, and the columns' names.

    Where all prompts share their seeds a column is a seed. Where each prompt has seeds of its own, the columns only
    count them: a column for every seed would be a table of gaps.
    """
    own: dict[str, list[Block]] = {prompt: [] for prompt in prompts}
    for prompt, block in blocks:
        own[prompt].append(block)
    every = sorted({block for _, block in blocks}, key=_natural_block)
    most = max(len(found) for found in own.values())
    if len(every) == most:
        place = {block: k for k, block in enumerate(every)}
        names = unique([block_label(block) for block in every])
        return {(prompt, block): place[block] for prompt, block in blocks}, names
    columns = {
        (prompt, block): k for prompt, found in own.items() for k, block in enumerate(sorted(found, key=_natural_block))
    }
    return columns, tuple(f"no. {k + 1}" for k in range(most))


def without_empty(study: Study) -> Study:
    """Return the study without settings that have no cell; the reference stays the same setting, or is the first."""
    present = sorted({cell.setting for cell in study.cells})
    if len(present) == len(study.settings):
        return study
    place = {old: new for new, old in enumerate(present)}
    settings = tuple(study.settings[old] for old in present)
    axes = tuple(
        replace(axis, values=tuple(v for v in axis.values if any(s.values.get(axis.name) == v for s in settings)))
        for axis in study.axes
    )
    gone = [setting.label for k, setting in enumerate(study.settings) if k not in place]
    return replace(
        study,
        settings=settings,
        axes=tuple(axis for axis in axes if len(axis.values) > 1),
        cells=tuple(replace(cell, setting=place[cell.setting]) for cell in study.cells),
        reference=place.get(study.reference, 0),
        notes=(*study.notes, f"Nothing of {listing(gone)} could be compared."),
    )


def _same_pictures(cells: Sequence[Cell], layout: Layout) -> list[str]:
    """Say of which settings' pictures some are equal to the last pixel: then what is compared had no effect there."""
    found: dict[tuple[int, int, str], list[int]] = {}
    for cell in cells:
        if cell.image_hash:
            found.setdefault((cell.prompt, cell.seed, cell.image_hash), []).append(cell.setting)
    pairs = Counter((a, b) for same in found.values() for k, a in enumerate(same) for b in same[k + 1 :])
    labels = [setting.label for setting in layout.settings]
    notes = [f"{_count(n, 'picture')} of {labels[a]} and {labels[b]} are identical" for (a, b), n in pairs.items()]
    more = f"; and so on for {len(notes) - LISTED} more pairs" if len(notes) > LISTED else ""
    return [f"{'; '.join(notes[:LISTED])}{more}."] if notes else []


def _remark(what: str, names: Sequence[str]) -> list[str]:
    """Return a sentence on images that are not in the study, with the first names."""
    return [f"{_count(len(names), 'image')} {what}: {listing(sorted(names, key=natural))}."] if names else []


def listing(names: Sequence[str], most: int = LISTED) -> str:
    """Return names in one line, at most so many."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, and {len(names) - most} more"


def remark(what: str, shots: Sequence[Shot]) -> tuple[str, ...]:
    """Return what is said of shots that are left out: how many, why, and the first names."""
    return tuple(_remark(what, [shot.name for shot in shots]))


def natural(text: str) -> tuple[tuple[int, float, str], ...]:
    """Return what sorts texts as people do: "8 steps" before "20 steps"."""
    parts = _DIGITS.split(text)
    return tuple((0, float(part), "") if k % 2 else (1, 0.0, part.casefold()) for k, part in enumerate(parts) if part)


def _natural_block(block: Block) -> tuple[tuple[tuple[int, float, str], ...], ...]:
    return tuple(natural(part) for part in block)


def block_label(block: Block) -> str:
    """Return a block's name."""
    return ", ".join(sound(part if len(part) <= 40 else f"{part[:37]}...") for part in block if part) or "no. 1"


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names in their order, fit for any output and each only once: "a", "a (2)"."""
    made: dict[str, None] = {}
    for name in map(sound, names):
        other, number = name, 1
        while other in made:
            number += 1
            other = f"{name} ({number})"
        made[other] = None
    return tuple(made)


def setting_named(settings: Sequence[Setting], label: str) -> int:
    """Return the position of the setting with a label, upper and lower case alike; StudyError names near ones."""
    labels = [setting.label for setting in settings]
    folded = [" ".join(known.casefold().split()) for known in labels]
    wanted = " ".join(label.casefold().split())
    if label in labels or wanted in folded:
        return labels.index(label) if label in labels else folded.index(wanted)
    near = difflib.get_close_matches(wanted, folded, 3, 0.5)
    meant = f"Did you mean {' or '.join(labels[folded.index(name)] for name in near)}? " if near else ""
    raise StudyError(f'No setting is called "{sound(label)[:80]}". {meant}There are: {listing(labels)}.')


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
