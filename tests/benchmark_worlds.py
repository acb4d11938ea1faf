"""Made-up benchmarks: pictures that carry a number, a scorer that looks the number up, prompts and human ranks."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from hpskit.images import as_list
from hpskit.prompts import as_prompts
from hpskit.types import ScorerInfo, Scores

STYLES = ("anime", "concept-art", "paintings", "photo")


def picture(path: Path, number: int) -> Path:
    """Write a picture that carries a number below 65536 without loss, whatever its name ends in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        Image.new("RGB", (2, 2), (number % 256, number // 256, 7)).save(stream, "PNG")
    return path


def number_of(image: torch.Tensor) -> int:
    """Return the number of a canonical picture [3, H, W]."""
    red, green = (round(255 * float(image[k, 0, 0])) for k in range(2))
    return red + 256 * green


class TableScorer:
    """Scores a picture by its number in a table; counts what it was asked."""

    def __init__(self, table: Sequence[float], scorer_id: str = "hps-v2.1", name: str = "HPS v2.1") -> None:
        self.table = torch.tensor(table, dtype=torch.float32)
        self.info = ScorerInfo(scorer_id, name, "hps", "2.1", "reference", "float32", "0123456789ab")
        self.prompts: list[str] = []

    def score(self, images: Any, prompts: str | Sequence[str]) -> Scores:
        """Score n images."""
        items = as_list(images)
        self.prompts += [prompts] if isinstance(prompts, str) else list(prompts)
        values = torch.stack([self.table[number_of(item)] for item in items])
        return Scores(values, self.info, as_prompts(prompts, len(items)))


def prompts(folder: Path, counts: Mapping[str, int]) -> Path:
    """Write a list of prompts a style (or "drawbench"); one text occurs in all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for style, count in counts.items():
        texts = [f"{style} number {k}, (weight:1.2)" if k else "the same everywhere" for k in range(count)]
        (folder / f"{style}.json").write_text(json.dumps(texts), encoding="utf-8")
    return folder


def model(folder: Path, counts: Mapping[str, int], first: int = 0, without: Sequence[tuple[str, int]] = ()) -> int:
    """Write one picture a prompt, numbered from `first` on, some left out; return the next free number."""
    number = first
    for style, count in counts.items():
        place = folder if style == "drawbench" else folder / style
        place.mkdir(parents=True, exist_ok=True)
        for k in range(count):
            if (style, k) not in without:
                picture(place / f"{k:05d}.jpg", number)
            number += 1
    return number


def rankings(
    path: Path, images: Path, keys: tuple[str, str], count: int, seed: int, ranks: int = 4
) -> list[dict[str, Any]]:
    """Write a test file of `count` prompts with two to seven images each, human ranks with ties; return its items."""
    rng = random.Random(seed)
    items, number = [], 0
    for k in range(count):
        size = rng.randrange(2, 8)
        names = [f"part-{k}/{i}.jpg" for i in range(size)]
        for name in names:
            picture(images / name, number)
            number += 1
        given = [rng.randrange(1, ranks + 1) for _ in names]
        if len(set(given)) == 1:
            given[0] += 1  # ImageReward's count divides by the pairs that people order
        items.append({"id": str(k), "prompt": f"prompt {k}", keys[0]: names, keys[1]: given})
    path.write_text(json.dumps(items), encoding="utf-8")
    return items
