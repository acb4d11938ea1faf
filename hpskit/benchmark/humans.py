"""Human rankings to measure a scorer by: HPD v2's `test.json` and ImageReward's `data/test.json`.

HPD v2: items with `prompt`, `image_path` and `rank` (averaged over annotators). ImageReward: items with `prompt`,
`generations` and `ranking`. In both, 1 is the best rank, and ties occur.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, Literal

from ..errors import BenchmarkError
from .styles import load_json

Source = Literal["hpdv2", "imagereward"]

KEYS: Final[Mapping[Source, tuple[str, str]]] = {
    "hpdv2": ("image_path", "rank"),
    "imagereward": ("generations", "ranking"),
}
"""Names of the list of images and of the list of ranks."""


@dataclass(frozen=True)
class Ranked:
    """The images of one prompt as people ranked them."""

    prompt: str
    images: tuple[str, ...]
    """Names below the folder of images."""
    ranks: tuple[float, ...]
    """One an image, smaller is better."""


@dataclass(frozen=True)
class Rankings:
    """A whole test file."""

    source: Source
    items: tuple[Ranked, ...]
    alone: int = 0
    """Items with a single image, which rank nothing and were left out."""


def read_rankings(path: Path, source: Source | None = None) -> Rankings:
    """Read a test file; the layout is told from its first item unless given.

    Raises BenchmarkError that names the item and what is wrong with it.
    """
    data = load_json(path)
    if not isinstance(data, list) or not data or not all(isinstance(item, dict) for item in data):
        raise BenchmarkError(f"{path} must be a JSON list of items with a prompt, images and their ranks.")
    found = source or _source(path, data[0])
    items = [_item(item, found, f"{path}, item {number}") for number, item in enumerate(data)]
    several = tuple(item for item in items if len(item.images) > 1)
    if not several:
        raise BenchmarkError(f"{path} has no prompt with two or more images, so there is no order to compare.")
    return Rankings(found, several, len(items) - len(several))


def _source(path: Path, item: Mapping[str, Any]) -> Source:
    for name, keys in KEYS.items():
        if all(key in item for key in keys):
            return name
    if "human_preference" in item:
        raise BenchmarkError(f"{path} looks like HPD v2's train.json; rank accuracy is measured on its test.json.")
    wants = " or ".join(" and ".join(keys) for keys in KEYS.values())
    raise BenchmarkError(
        f"The items of {path} need a prompt with {wants}; the first has {', '.join(item) or 'nothing'}."
    )


def _item(item: Mapping[str, Any], source: Source, where: str) -> Ranked:
    names, places = KEYS[source]
    prompt, images, ranks = item.get("prompt"), item.get(names), item.get(places)
    if not isinstance(prompt, str):
        raise BenchmarkError(f"{where}: prompt is no text.")
    if not isinstance(images, list) or not all(isinstance(name, str) and name for name in images):
        raise BenchmarkError(f"{where}: {names} is no list of file names.")
    if not isinstance(ranks, list) or not all(_is_number(rank) for rank in ranks):
        raise BenchmarkError(f"{where}: {places} is no list of numbers.")
    if len(images) != len(ranks) or not images:
        raise BenchmarkError(f"{where}: {len(images)} images, but {len(ranks)} ranks.")
    if leaving := next((name for name in images if _leaves(name)), None):
        raise BenchmarkError(f'{where}: "{leaving}" leads out of the folder of images; only names below it are read.')
    return Ranked(prompt, tuple(images), tuple(float(rank) for rank in ranks))


def _is_number(value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all doubles
        return False


def _leaves(name: str) -> bool:
    windows = PureWindowsPath(name)
    return PurePosixPath(name).is_absolute() or bool(windows.anchor) or ".." in windows.parts or "\0" in name
