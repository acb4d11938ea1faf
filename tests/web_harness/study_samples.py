"""What comparisons of settings send to the interface, made up for component tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .samples import file_of

SETTINGS = ("euler", "heun", "dpmpp_2m", "uni_pc")
PROMPTS = ("a red fox in the snow", "a harbour at night, oil painting")


def score_at(setting: int, prompt: int, seed: int) -> float:
    """Return a score that rises with the setting by half a point, whatever prompt and seed do to all of them."""
    wobble = ((setting * 7 + prompt * 5 + seed * 3) % 5 - 2) / 20
    return 24.0 + 3 * prompt + 0.7 * seed + 0.5 * setting + wobble


def cell(setting: int, prompt: int, seed: int, score: float | None = None, **more: Any) -> dict[str, Any]:
    """Return one cell of a grid."""
    score = score_at(setting, prompt, seed) if score is None else score
    name = f"{setting}-{prompt}-{seed}"
    files = {"image": file_of(f"{name}.jpg"), "thumb": file_of(f"{name}.webp"), "entry": None}
    return {"s": setting, "p": prompt, "k": seed, "score": score, **files} | more


def cells(settings: int, prompts: int, seeds: int, most: int | None = None) -> list[dict[str, Any]]:
    """Return the first cells in the order in which they are made: block by block, settings inside."""
    places = [(s, p, k) for p in range(prompts) for k in range(seeds) for s in range(settings)]
    return [cell(*place) for place in places[:most]]


def header(settings: Sequence[str] = SETTINGS, prompts: Sequence[str] = PROMPTS, seeds: int = 2) -> dict[str, Any]:
    """Return what a grid consists of; one axis, whose values are the settings."""
    names = list(settings)
    base = {"axes": [{"name": "sampler", "values": names}], "settings": names, "prompts": list(prompts)}
    return base | {"seeds": [str(100 + k) for k in range(seeds)], "reference": 0, "scorer": "HPS v2.1"}


def compare(node: str, found: Iterable[dict[str, Any]], done: int, **more: Any) -> dict[str, Any]:
    """Return an event of a comparison that goes on, with new cells."""
    head = header()
    total = len(head["settings"]) * len(head["prompts"]) * len(head["seeds"])
    counts = {"done": done, "total": total, "reused": 0, "eta": 42.0}
    return {"v": 1, "node": node, "run": "c", "kind": "grid", **head, **counts, "cells": list(found)} | more


def comparison(label: str, difference: float, verdict: str, half: float = 0.3, **more: Any) -> dict[str, Any]:
    """Return what is said of one setting against the reference."""
    interval = {"low": difference - half, "high": difference + half}
    chances = {"p": 0.01, "p_adjusted": 0.03, "wins": 0.75, "pairs": 4, "detectable": 0.4}
    return {"label": label, "difference": difference, "verdict": verdict, **interval, **chances} | more


def study(**more: Any) -> dict[str, Any]:
    """Return what a comparison of four samplers gives at its end."""
    head = header()
    found = cells(4, 2, 2)
    said = {
        "headline": "uni_pc is clearly better than euler: +1.50 points [1.20, 1.80].",
        "order": [3, 2, 1, 0],
        "contenders": [3, 2],
        "comparisons": [
            comparison("heun", 0.5, "no evidence"),
            comparison("dpmpp_2m", 1.0, "leaning"),
            comparison("uni_pc", 1.5, "clear"),
        ],
        "standings": [
            {"setting": s, "relative": 0.5 * s - 0.75, "z": 0.4 * s - 0.6, "elo": 40.0 * s - 60} for s in range(4)
        ],
        "units": "prompts",
        "warnings": ["Two prompts say little about others."],
        "table": "a table",
    }
    counts = {"done": len(found), "total": len(found), "reused": 3, "eta": None}
    return {"v": 1, "kind": "study", "run": "c", **head, **counts, "cells": found, **said} | more


def crossed(samplers: int = 3, steps: int = 4, blocks: int = 1, **more: Any) -> dict[str, Any]:
    """Return a comparison of two axes on one prompt."""
    x, y = [f"sampler{n}" for n in range(samplers)], [str(4 * n + 4) for n in range(steps)]
    labels = [f"{a}, {b} steps" for a in x for b in y]
    head = header(labels, PROMPTS[:1], blocks) | {
        "axes": [{"name": "sampler", "values": x}, {"name": "steps", "values": y}]
    }
    found = cells(len(labels), 1, blocks)
    counts = {"done": len(found), "total": len(found), "reused": 0, "eta": None}
    said = {"headline": "", "order": [], "contenders": [], "comparisons": [], "standings": [], "warnings": []}
    return {"v": 1, "kind": "study", "run": "x", **head, **counts, "cells": found, "units": None, **said} | more


def large(settings: int = 200, prompts: int = 6, seeds: int = 4, pictures: int = 2000) -> dict[str, Any]:
    """Return a comparison of many settings, of which the first cells come with pictures."""
    labels = [f"dpmpp_{n}m_sde, karras, {n} steps" for n in range(settings)]
    found = cells(settings, prompts, seeds)
    for each in found[pictures:]:
        each.update(image=None, thumb=None)
    head = header(labels, [f"prompt number {n} with some more words" for n in range(prompts)], seeds)
    counts = {"done": len(found), "total": len(found), "reused": 0, "eta": None}
    return study(run="l", **head, **counts, cells=found, order=[], comparisons=[], standings=[], contenders=[])
