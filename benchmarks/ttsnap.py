"""Reads the public reward pools of TTSnap: scores of 200 prompts x 200 seeds by HPS v2, ImageReward and PickScore.

The files are lists of plain numbers written as YAML. They are read line by line here: nothing in them is executed, and
whatever is neither a key nor a number is an error. Nothing is downloaded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

REWARDS = ("hps", "imr", "pic")
"""HPS v2, ImageReward and PickScore, as the folders name them."""
MODELS = ("flux", "sdxl")
POINTS = {"hps": 100.0, "imr": 1.0, "pic": 1.0}
"""HPS is stored as a cosine; everything here is in points. The other two are in their own usual units."""
LAST_STEP = "p200_i200_s19.yaml"
"""Scores of the finished images; the other files score previews."""
SAME_IMAGE = 0.8
"""Seeds whose scores agree this well over all prompts and rewards show the same image but for rounding."""
SAME_NOISE = 0.4
"""Seeds above this correlation start from the same noise; chance alone stays below .3 with 200 prompts."""
LONGEST = 50_000_000

Table = dict[str, list[list[float]]]
"""Scores in points by reward, prompt and seed."""


class NotPools(Exception):
    """A folder or file is not what it should be; the message says what to do."""


def folder(given: str | Path | None = None) -> Path:
    """Return the folder of the values: below `given`, else TTSNAP_PATH, else ~/ref/TTSnap; raises NotPools."""
    root = Path(given or os.environ.get("TTSNAP_PATH") or "~/ref/TTSnap").expanduser()
    for candidate in (root, root / "values", root / "simulation" / "values"):
        if (candidate / "flux_hps_val_base" / LAST_STEP).is_file():
            return candidate
    raise NotPools(
        f"No reward pools in {root}: give the path of a checkout of github.com/TerrysLearning/TTSnap, as the argument "
        "or in TTSNAP_PATH."
    )


def read_numbers(path: Path) -> list[list[float]]:
    """Return the lists of a file of the form "0:" newline "- 0.25" ... in the order of its keys 0, 1, ....

    Raises NotPools, with the line, on anything else: other keys, other values, numbers that are not finite.
    """
    if path.stat().st_size > LONGEST:
        raise NotPools(f"{path} has {path.stat().st_size} bytes; such a file has at most {LONGEST}.")
    lists: list[list[float]] = []
    for number, line in enumerate(path.read_text("ascii", errors="replace").splitlines(), start=1):
        if line == f"{len(lists)}:":
            lists.append([])
        elif line.startswith("- ") and lists:
            lists[-1].append(_number(line[2:], path, number))
        else:
            raise NotPools(f'{path}, line {number}: "{line[:40]}" is neither the next key nor a number.')
    return lists


def _number(text: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise NotPools(f'{path}, line {line}: "{text[:40]}" is not a finite number.')
    return value


def load(values: Path, model: str) -> Table:
    """Return the scores of a model's finished images in points; raises NotPools when the rewards do not match."""
    table = {}
    for reward in REWARDS:
        path = values / f"{model}_{reward}_val_base" / LAST_STEP
        if not path.is_file():
            raise NotPools(f"{path} is missing.")
        table[reward] = [[POINTS[reward] * value for value in pool] for pool in read_numbers(path)]
    if len({tuple(len(pool) for pool in pools) for pools in table.values()}) > 1:
        raise NotPools(f"The rewards of {model} do not score the same prompts and seeds.")
    if len({len(pool) for pool in table["hps"]}) != 1:
        raise NotPools(f"The prompts of {model} have different numbers of seeds, or there are none.")
    return table


def distinct(table: Mapping[str, Sequence[Sequence[float]]], limit: float = SAME_IMAGE) -> list[int]:
    """Return the seeds to keep, in order: none whose scores repeat those of an earlier kept one.

    Repeated means equal, or correlated above `limit`: the correlation, over prompts, of the scores less their prompt's
    mean, averaged over the rewards.
    """
    arrays = [np.asarray(pools, dtype=float) for pools in table.values()]
    columns = np.concatenate(arrays).T
    first = {column.tobytes(): k for k, column in reversed(list(enumerate(columns)))}
    unequal = sorted(first.values())
    centred = [array[:, unequal] - array[:, unequal].mean(axis=1, keepdims=True) for array in arrays]
    alike = np.mean([np.corrcoef(array, rowvar=False) for array in centred], axis=0)
    kept: list[int] = []
    for k in range(len(unequal)):
        if not kept or alike[k, kept].max() <= limit:
            kept.append(k)
    return [unequal[k] for k in kept]


def only(table: Table, seeds: Sequence[int]) -> Table:
    """Return the table of these seeds alone."""
    return {reward: [[pool[k] for k in seeds] for pool in pools] for reward, pools in table.items()}
