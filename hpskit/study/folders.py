"""A study of folders: each is a setting, and images find their partners by seed, by name or by order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Final, Literal

from ..errors import StudyError
from .records import Setting
from .sources import Block, Layout, Placed, Scoring, Shot, Sourced, alike, assemble, listing, natural, remark

PairBy = Literal["auto", "seed", "name", "order", "none"]
WAYS: Final[tuple[PairBy, ...]] = ("auto", "seed", "name", "order", "none")
_WORDS: Final[Mapping[PairBy, str]] = {
    "seed": "by prompt and seed from the images' metadata",
    "name": "by prompt and file name",
    "order": "by the order of the file names",
    "none": "not at all",
}
_SHOWN: Final = 3


def from_folders(shots: Sequence[Shot], labels: Sequence[str], scoring: Scoring, pair_by: PairBy = "auto") -> Sourced:
    """Return the study of the settings `labels`, whose images name them as their label.

    StudyError when fewer than two settings have an image, and when nothing pairs: the message says what to do.
    """
    order = [label for label in labels if any(shot.label == label for shot in shots)]
    if len(order) < 2:
        raise StudyError(f"Only {listing(order) or 'nothing'} has an image that was scored; a comparison needs two.")
    place = {label: k for k, label in enumerate(order)}
    sorted_shots = sorted(alike(shots), key=lambda shot: (place[shot.label], natural(shot.name)))
    way = _way(sorted_shots) if pair_by == "auto" else pair_by
    blocks = [(shot, block) for shot, block in zip(sorted_shots, _KEYS[way](sorted_shots), strict=True)]
    placed = [Placed(shot, place[shot.label], block) for shot, block in blocks if block is not None]
    strangers = [shot for shot, block in blocks if block is None]
    layout = Layout(
        title=f"{len(order)} folders" if len(order) > 3 else " against ".join(order),
        settings=tuple(Setting(label) for label in order),
        paired=_WORDS[way],
        seeds_shared=way != "none",
    )
    found = assemble(placed, layout, scoring, remark("have no seed in their metadata", strangers))
    if found is None:
        raise StudyError(_nothing(sorted_shots, order, way))
    return found


# --- keys -------------------------------------------------------------------------------------------------------------


def _by_seed(shots: Sequence[Shot]) -> list[Block | None]:
    return [None if shot.seed is None else (shot.seed,) for shot in shots]


def _by_name(shots: Sequence[Shot]) -> list[Block | None]:
    """Key by the name without its ending, unless that makes one name of two."""
    stems = [PurePath(shot.name).with_suffix("").as_posix() if shot.name else "" for shot in shots]
    keys = {(shot.label, shot.prompt, stem) for shot, stem in zip(shots, stems, strict=True)}
    files = {(shot.label, shot.prompt, shot.name) for shot in shots}
    return [(stem,) for stem in stems] if len(keys) == len(files) else [(shot.name,) for shot in shots]


def _by_order(shots: Sequence[Shot]) -> list[Block | None]:
    count: dict[tuple[str, str], int] = {}
    keys: list[Block | None] = []
    for shot in shots:
        number = count[shot.label, shot.prompt] = count.get((shot.label, shot.prompt), 0) + 1
        keys.append((f"no. {number}",))
    return keys


_KEYS: Final[Mapping[PairBy, Callable[[Sequence[Shot]], list[Block | None]]]] = {
    "seed": _by_seed,
    "name": _by_name,
    "order": _by_order,
    "none": _by_order,
}


def _way(shots: Sequence[Shot]) -> PairBy:
    """Choose seed or name: whichever gives more images a partner, the seed where both do equally well.

    A name never overrules seeds that are known: two files of one name with different seeds are no partners.
    """
    known = sum(shot.seed is not None for shot in shots)
    by_seed, by_name = (_partnered(shots, _KEYS[way](shots)) for way in ("seed", "name"))
    if known == len(shots) or (by_seed and by_seed >= by_name):
        return "seed"
    return "seed" if by_seed and _contradicted(shots) else "name"


def _partnered(shots: Sequence[Shot], keys: Sequence[Block | None]) -> int:
    met: dict[tuple[str, Block], list[str]] = {}
    for shot, key in zip(shots, keys, strict=True):
        if key is not None:
            met.setdefault((shot.prompt, key), []).append(shot.label)
    return sum(len(labels) for labels in met.values() if len(set(labels)) > 1)


def _contradicted(shots: Sequence[Shot]) -> bool:
    """Tell whether files of one name have different seeds."""
    seeds: dict[tuple[str, Block], set[str]] = {}
    for shot, key in zip(shots, _by_name(shots), strict=True):
        if shot.seed is not None and key is not None:
            seeds.setdefault((shot.prompt, key), set()).add(shot.seed)
    return any(len(found) > 1 for found in seeds.values())


# --- when nothing pairs -----------------------------------------------------------------------------------------------


def _nothing(shots: Sequence[Shot], labels: Sequence[str], way: PairBy) -> str:
    prompts = [{shot.prompt for shot in shots if shot.label == label} for label in labels]
    if not any(a & b for k, a in enumerate(prompts) for b in prompts[k + 1 :]):
        some = "; ".join(f'{label}: "{min(found)[:60]}"' for label, found in zip(labels[:3], prompts, strict=False))
        return (
            f"No prompt occurs in two of the folders ({some}), and scores of different prompts do not compare. Where "
            "all images were made from one prompt, give it with --prompt; else list the prompts with --prompts."
        )
    what, unit = ("name", "names") if way == "name" else ("seed", "seeds")
    some = "; ".join(f"{label}: {_examples(shots, label, way)}" for label in labels[:4])
    names = " --pair-by name pairs files of one name." if way == "seed" and _partnered(shots, _by_name(shots)) else ""
    return (
        f"No image has a partner of the same prompt and {what} in another folder ({unit}, {some}).{names} --pair-by "
        "order pairs the first with the first and so on, which only makes sense where they share their noise; "
        "--pair-by none compares the folders without pairs, which takes more images."
    )


def _examples(shots: Sequence[Shot], label: str, way: PairBy) -> str:
    mine = [shot for shot in shots if shot.label == label]
    values = [shot.name if way == "name" else shot.seed or "none" for shot in mine]
    return listing(list(dict.fromkeys(values)), _SHOWN)
