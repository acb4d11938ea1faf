"""Render preference pairs into shards, ahead of the training or beside it.

    python training/make_pairs.py data/tiny --shards 100

A *pair* is two pictures and their prompts. In a mismatch pair the second picture follows a prompt edited in one
attribute; in a degradation pair both follow the same prompt and the second is spoiled more.
"""

from __future__ import annotations

import argparse
import os
import random
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from world import EDITS, Placed, Spec, draw_scenes, edit_spec, place, possible_edits, prompt_of, sample_spec, scene_of

from degrade import degrade  # isort: skip
from teacher import layout_table, spec_vector  # isort: skip

CONTEXT = 30
"""Longest prompt of the world in tokens, start and end included."""
NEGATIVES = 6
COST = {"color": 0.6, "shape": 0.6, "relation": 0.5, "bind": 0.7, "bg": 0.6}
COST |= {"style": 0.5, "count": 0.6, "size": 0.4, "pos": 0.4, "missing": 0.7}
"""How much worse than a perfect picture one edit is."""
_EDIT_WEIGHT = {"color": 1.0, "shape": 2.2, "relation": 2.0, "bind": 1.5, "bg": 0.6}
_EDIT_WEIGHT |= {"style": 0.7, "count": 2.0, "size": 1.0, "pos": 2.0, "missing": 0.7}
_KIND_WEIGHT = torch.tensor([1.0, 0.8, 1.8, 1.0, 0.8, 1.0, 1.6, 1.0, 1.2, 1.8])


@lru_cache(maxsize=1)
def _tokenizer():  # type: ignore[no-untyped-def]
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


@lru_cache(maxsize=20000)
def _encode(text: str) -> tuple[int, ...]:
    tokenizer = _tokenizer()
    return (tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id)


@lru_cache(maxsize=1)
def vocabulary() -> Tensor:
    """Return the sorted BPE ids that the world's prompts use, padding (0) first, start and end last."""
    rng = random.Random(0)
    used = {0}
    for _ in range(6000):
        used.update(_encode(prompt_of(sample_spec(rng), rng)))
    return torch.tensor(sorted(used))


def tokenize(texts: list[str]) -> Tensor:
    """Return compact token ids [n, CONTEXT] (positions in `vocabulary()`), padded with zeros."""
    rows = vocabulary()
    lookup = {int(token): index for index, token in enumerate(rows)}
    out = torch.zeros(len(texts), CONTEXT, dtype=torch.uint8)
    for row, text in enumerate(texts):
        tokens = _encode(text)
        out[row, : len(tokens)] = torch.tensor([lookup[token] for token in tokens])
    return out


def _edited(spec: Spec, rng: random.Random, held_out: bool | None) -> tuple[str, Spec]:
    while True:
        kinds = possible_edits(spec)
        kind = rng.choices(kinds, [_EDIT_WEIGHT[k] for k in kinds])[0]
        edited = edit_spec(spec, kind, rng, held_out)
        if edited is not None:
            return kind, edited


def _strengths(mismatch: Tensor, mode: str, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return kind and strength of the degradation of each picture of the pairs."""
    n = len(mismatch)
    kind_b = torch.multinomial(_KIND_WEIGHT, n, replacement=True, generator=g)
    kind_a = torch.where(torch.rand(n, generator=g) < 0.6, kind_b, torch.randint(0, 10, (n,), generator=g))
    a, b = torch.rand(n, generator=g), torch.rand(n, generator=g)
    if mode != "train":
        return kind_a, torch.zeros(n), kind_b, torch.where(mismatch, 0.0, 0.15 + 0.85 * b)
    some = torch.rand(n, generator=g) < 0.25
    strong = 0.15 + 0.85 * b
    weaker = torch.where(torch.rand(n, generator=g) < 0.6, 0.0, strong * a)
    return (
        kind_a,
        torch.where(mismatch, torch.where(some, 0.4 * a, 0.0), weaker),
        kind_b,
        torch.where(mismatch, torch.where(some, 0.4 * b, 0.0), strong),
    )


def make_pairs(n: int, seed: int, mode: str = "train", held_out: bool | None = False) -> dict[str, Tensor]:
    """Make n pairs.

    `mode` is "train" (a mixture), "mismatch" (clean pictures) or "degradation" (clean against spoiled).
    """
    rng, g = random.Random(seed), torch.Generator().manual_seed(seed)
    share = {"train": 0.66, "mismatch": 1.0, "degradation": 0.0}[mode]
    first, second, kinds, prompts, layouts = [], [], [], [], []
    for _ in range(n):
        spec = sample_spec(rng, held_out)
        kind, twin = _edited(spec, rng, held_out and None) if rng.random() < share else ("", spec)
        prompt = prompt_of(spec, rng)
        other = prompt if twin == spec else prompt_of(twin, rng)
        key = rng.random()
        key_b = key if rng.random() < 0.7 else rng.random()
        layouts.append((place(spec, random.Random(key)), place(twin, random.Random(key_b))))
        prompts.append((prompt, other))
        first.append(spec)
        second.append(twin)
        kinds.append(EDITS.index(kind) if kind else -1)
    edit = torch.tensor(kinds)
    kind_a, strength_a, kind_b, strength_b = _strengths(edit >= 0, mode, g)
    result = {"edit": edit, "cost": torch.tensor([COST[EDITS[k]] if k >= 0 else 0.0 for k in kinds])}
    sides = ((0, first, kind_a, strength_a), (1, second, kind_b, strength_b))
    for index, specs, kind, strength in sides:
        side = _side(specs, [pair[index] for pair in layouts], [pair[index] for pair in prompts], rng, g, mode, seed)
        side["image"] = (degrade(side["image"], kind, strength, g) * 255).round().to(torch.uint8)
        side |= {"kind": kind, "strength": strength}
        result |= {f"{name}_{'ab'[index]}": value.contiguous() for name, value in side.items()}
    return result


def _side(
    specs: list[Spec],
    layouts: list[tuple[Placed, ...]],
    prompts: list[str],
    rng: random.Random,
    g: torch.Generator,
    mode: str,
    seed: int,
) -> dict[str, Tensor]:
    size = 128 if mode == "train" and seed % 8 == 0 else 64
    negatives = [[_edited(spec, rng, None)[1] for _ in range(NEGATIVES)] for spec in specs]
    return {
        "image": draw_scenes(scene_of(specs, layouts, g), size, seed, 4096 // size),
        "tokens": tokenize(prompts),
        "vector": torch.tensor([spec_vector(spec) for spec in specs], dtype=torch.int8),
        "layout": torch.tensor([layout_table(layout) for layout in layouts]),
        "negative_vectors": torch.tensor([[spec_vector(s) for s in row] for row in negatives], dtype=torch.int8),
        "negative_tokens": tokenize([prompt_of(row[0], rng) for row in negatives]),
    }


def main() -> None:
    """Write the shards that are not there yet, each whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=1024, help="pairs in a shard")
    parser.add_argument("--seed", type=int, default=1000, help="seed of the first shard; the others count up")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for index in range(arguments.shards):
        path = arguments.folder / f"shard-{index:04d}.safetensors"
        if not path.exists():
            partial = path.with_suffix(f".{os.getpid()}.part")
            save_file(make_pairs(arguments.pairs, arguments.seed + index), partial)
            partial.rename(path)


if __name__ == "__main__":
    main()
