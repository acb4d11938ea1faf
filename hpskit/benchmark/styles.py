"""The prompts of the HPS v2 benchmark and of DrawBench as it scores it: their form on disk, read and checked.

Form as in tgxs002/HPSv2: a folder with `anime.json`, `concept-art.json`, `paintings.json` and `photo.json`, each a JSON
list of 800 texts, and `drawbench.json`, a JSON list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ..errors import BenchmarkError

Layout = Literal["hpsv2", "drawbench"]

STYLES: Final = ("anime", "concept-art", "paintings", "photo")
PROMPTS_EACH: Final = 800
DRAWBENCH: Final = "drawbench"
DRAWBENCH_PROMPTS: Final = 200
_MOST_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class PromptSet:
    """The prompts that images were made from."""

    layout: Layout
    prompts: Mapping[str, tuple[str, ...]]
    """By style, in the order of STYLES; DrawBench has the one entry DRAWBENCH."""
    source: str
    """Where they were read, in words."""

    @property
    def size(self) -> int:
        """How many prompts there are in all."""
        return sum(map(len, self.prompts.values()))

    @property
    def official(self) -> bool:
        """Tell whether every list has the benchmark's length; more cannot be told, no checksum is published."""
        each = PROMPTS_EACH if self.layout == "hpsv2" else DRAWBENCH_PROMPTS
        return all(len(texts) == each for texts in self.prompts.values())

    @property
    def whole(self) -> bool:
        """Tell whether all styles are there, so that an average over them is the benchmark's."""
        return self.layout == "drawbench" or set(self.prompts) == set(STYLES)

    def only(self, styles: Iterable[str]) -> PromptSet:
        """Return the prompts of some styles; BenchmarkError for one that is not there."""
        wanted = set(styles)
        if absent := sorted(wanted - set(self.prompts)):
            raise BenchmarkError(
                f"{self.source} has no prompts of {', '.join(absent)}; it has {', '.join(self.prompts)}."
            )
        return PromptSet(
            self.layout, {name: self.prompts[name] for name in self.prompts if name in wanted}, self.source
        )


def read_prompts(place: Path, layout: Layout) -> PromptSet:
    """Read the prompts of a layout from a folder of lists, one list, or one JSON object of lists by style.

    A folder may hold some of the styles only. Raises BenchmarkError with the file and what is wrong with it.
    """
    found = _from_folder(place, layout) if place.is_dir() else _from_file(place, layout)
    names = STYLES if layout == "hpsv2" else (DRAWBENCH,)
    if unknown := [name for name in found if name not in names]:
        raise BenchmarkError(f"{place} names {', '.join(unknown[:5])}; the styles are {', '.join(names)}.")
    if not found:
        wanted = ", ".join(f"{name}.json" for name in names)
        raise BenchmarkError(f"{place} holds none of {wanted}. Get the lists with: hps benchmark --get-prompts")
    return PromptSet(layout, {name: found[name] for name in names if name in found}, str(place))


def _from_folder(folder: Path, layout: Layout) -> dict[str, tuple[str, ...]]:
    names = STYLES if layout == "hpsv2" else (DRAWBENCH,)
    files = {name: folder / f"{name}.json" for name in names}
    return {name: texts(load_json(file), str(file)) for name, file in files.items() if file.is_file()}


def _from_file(path: Path, layout: Layout) -> dict[str, tuple[str, ...]]:
    data = load_json(path)
    if isinstance(data, dict):
        return {str(name): texts(value, f"{path}, {name}") for name, value in data.items()}
    if layout == "drawbench":
        return {DRAWBENCH: texts(data, str(path))}
    if path.stem not in STYLES:
        names = ", ".join(f"{name}.json" for name in STYLES)
        raise BenchmarkError(f"{path} is one list, and its name does not tell the style. Name it one of {names}.")
    return {path.stem: texts(data, str(path))}


def texts(value: Any, where: str) -> tuple[str, ...]:
    """Return a list of prompts as it is; BenchmarkError when it is no list of texts, or empty."""
    if not isinstance(value, list) or not value:
        raise BenchmarkError(f"{where} must be a JSON list of prompts that is not empty.")
    wrong = next((k for k, text in enumerate(value) if not isinstance(text, str)), None)
    if wrong is not None:
        raise BenchmarkError(f"{where}: entry {wrong} is no text.")
    return tuple(value)


def load_json(path: Path) -> Any:
    """Return what a JSON file holds; BenchmarkError when it cannot be read, or is far too large."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise BenchmarkError(f"{path} is larger than {_MOST_BYTES >> 20} MB: that is another kind of file.")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, BenchmarkError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise BenchmarkError(f"{path} cannot be read as JSON ({reason}).") from error
