"""Folders of images in the benchmark's layout: which model, which style, and which prompts have one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from ..errors import BenchmarkError
from .styles import DRAWBENCH, STYLES, Layout, PromptSet

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp")
"""Of `{idx:05d}.jpg` and its like, the preferred first; the reference knows `.jpg` only."""
_SPANS: Final = 5


@dataclass(frozen=True)
class ModelFolder:
    """The images of one model."""

    name: str
    path: Path
    images: Mapping[str, tuple[Path | None, ...]]
    """By style, one a prompt; None where there is none."""
    extra: int = 0
    """Numbered images beyond the last prompt."""

    @property
    def missing(self) -> dict[str, list[int]]:
        """Numbers of the prompts without an image, by style; only styles that lack some."""
        found = {style: [k for k, path in enumerate(paths) if path is None] for style, paths in self.images.items()}
        return {style: numbers for style, numbers in found.items() if numbers}

    @property
    def lost(self) -> int:
        """How many images are missing."""
        return sum(map(len, self.missing.values()))

    @property
    def expected(self) -> int:
        """How many images a whole folder has."""
        return sum(map(len, self.images.values()))


def detect(folder: Path) -> Layout | None:
    """Tell the layout from the folder, or from the models in it; None when it looks like neither."""
    own = _detect_model(folder)
    if own is not None:
        return own
    found = {layout for child in _folders(folder) if (layout := _detect_model(child)) is not None}
    return found.pop() if len(found) == 1 else None


def models_in(folder: Path, layout: Layout) -> list[Path]:
    """Return the folder itself when it is a model's, else the models' folders in it; BenchmarkError without any."""
    if not folder.is_dir():
        raise BenchmarkError(f"{folder} is no folder.")
    if _detect_model(folder) == layout:
        return [folder]
    found = [child for child in _folders(folder) if _detect_model(child) == layout]
    if not found:
        wants = " and ".join((f"folders such as {STYLES[0]}", "images 00000.jpg, 00001.jpg, ... in them"))
        wants = wants if layout == "hpsv2" else "images 00000.jpg, 00001.jpg, ..."
        raise BenchmarkError(f"{folder} holds neither {wants} nor folders of models with them.")
    return found


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return a name for each folder: its own, or the whole path where two have the same."""
    own = [Path(os.path.abspath(folder)).name for folder in folders]  # noqa: PTH100  resolve() would follow links
    return [name if own.count(name) == 1 else str(folder) for name, folder in zip(own, folders, strict=True)]


def open_model(name: str, folder: Path, prompts: PromptSet) -> ModelFolder:
    """Find the image of every prompt; nothing is opened yet."""
    images: dict[str, tuple[Path | None, ...]] = {}
    extra = 0
    for style, texts in prompts.prompts.items():
        place = folder if style == DRAWBENCH else folder / style
        numbered = _numbered(place)
        images[style] = tuple(numbered.get(k) for k in range(len(texts)))
        extra += sum(1 for k in numbered if k >= len(texts))
    return ModelFolder(name, folder, images, extra)


def missing_text(model: ModelFolder, failed: Mapping[str, Iterable[int]] | None = None) -> str:
    """Say how many images of which styles are missing, or could not be read, with the first of their numbers."""
    lacks = model.missing if failed is None else {style: sorted(numbers) for style, numbers in failed.items()}
    parts = [f"{len(numbers)} of {style} ({spans(numbers)})" for style, numbers in lacks.items() if numbers]
    return ", ".join(parts)


def spans(numbers: Sequence[int]) -> str:
    """Return rising numbers as file names in runs: "00003, 00007-00012"; the first few, then how many more."""
    runs = []
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        runs.append((f"{run[0]:05d}" if len(run) == 1 else f"{run[0]:05d}-{run[-1]:05d}", len(run)))
    shown = ", ".join(text for text, _ in runs[:_SPANS])
    rest = sum(size for _, size in runs[_SPANS:])
    return f"{shown}, and {rest} more" if rest else shown


def _detect_model(folder: Path) -> Layout | None:
    if any((folder / style).is_dir() for style in STYLES):
        return "hpsv2"
    return "drawbench" if _numbered(folder) else None


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    except OSError:
        return []


def _numbered(folder: Path) -> dict[int, Path]:
    """Return the images with a number of five digits for a name, by number."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208  names are enough
    except OSError:
        return {}
    found: dict[int, tuple[int, Path]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)  # noqa: PTH122  thousands of times
        if len(stem) == 5 and stem.isascii() and stem.isdigit() and suffix.lower() in SUFFIXES:
            place = SUFFIXES.index(suffix.lower())
            if int(stem) not in found or place < found[int(stem)][0]:
                found[int(stem)] = (place, folder / name)
    return {number: path for number, (_, path) in found.items()}
