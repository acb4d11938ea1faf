"""What nodes send to the interface, made up for component tests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

TOKEN = "1f3a5b7c"
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


def file_of(name: str) -> dict[str, str]:
    """Return where a picture is said to be."""
    return {"filename": name, "subfolder": "hps", "type": "temp"}


def item(index: int, score: float | None, rank: int, **more: Any) -> dict[str, Any]:
    """Return one image of a ranking."""
    base = {"index": index, "seed": str(100 + index), "score": score, "rank": rank, "margin": None, "win": None}
    files = {"image": file_of(f"{index}.jpg"), "thumb": file_of(f"{index}.webp"), "entry": None}
    return base | {"kept": False, "parts": {}, "label": ""} | files | more


def pool(scores: Sequence[float], kept: Sequence[int] | None = None, **more: Any) -> dict[str, Any]:
    """Return what a node gives for images of these scores, in the order of the images; the best is kept."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    kept = order[:1] if kept is None else kept
    items = [
        item(index, scores[index], place + 1, kept=index in kept, entry=index + 1, **_lead(scores, order, place))
        for place, index in enumerate(order)
    ]
    columns = {
        "scores": list(scores),
        "ranks": [order.index(index) + 1 for index in range(len(scores))],
        "seeds": [str(100 + index) for index in range(len(scores))],
        "parts": {},
    }
    scorer = {"id": "hps-v2.1", "name": "HPS v2.1", "mode": "reference", "dtype": "float32"}
    base = {"v": 1, "kind": "pool", "run": "r", "token": TOKEN, "scorer": scorer, "prompts": ["a cat"], "warnings": []}
    return base | columns | {"items": items, "kept": list(kept), "picked": False} | more


def _lead(scores: Sequence[float], order: Sequence[int], place: int) -> dict[str, float]:
    if place + 1 >= len(order):
        return {}
    margin = scores[order[place]] - scores[order[place + 1]]
    return {"margin": margin, "win": 1 / (1 + math.exp(-margin))}


def candidate(index: int, score: float | None) -> dict[str, Any]:
    """Return one candidate of a search over seeds."""
    named = {"index": index, "seed": str(100 + index), "scores": {"hps-v2.1": score}, "score": score}
    return named | {"image": file_of(f"{index}.jpg"), "thumb": file_of(f"{index}.webp")}


def search(node: str, scores: Iterable[tuple[int, float | None]], best: int, done: int, **more: Any) -> dict[str, Any]:
    """Return an event of a search over eight seeds: some candidates, and which is the best so far."""
    candidates = [candidate(index, score) for index, score in scores]
    known = {each["index"]: each for each in candidates}
    base = {"node": node, "run": "s", "done": done, "total": 8, "candidates": candidates}
    return base | {"best": known.get(best) or candidate(best, None), "expected_gain": None} | more


def point(images: int, score: float | None, best: float | None, **more: Any) -> dict[str, Any]:
    """Return one point of a noise optimisation."""
    base = {"phase": "optimize", "start": 0, "iteration": images, "images": images, "equivalents": images}
    return base | {"seconds": 1.0, "score": score, "best": best, "angle": 1, "norm": 1, "held_out": None} | more


def noise(node: str, points: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Return an event of a noise optimisation."""
    base = {"node": node, "run": "n", "done": 0.5, "points": list(points), "stopped": None, "reason": ""}
    return base | {"unit": "score", "image": None} | more
