"""Values of the host's axes that cannot work: the host would fail on them image by image, or make another size."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...hpskit.errors import StudyError

FAR = 1e15
"""Where an axis has no limits that are known here."""
LIMITS: Mapping[str, tuple[float, float]] = {
    "Steps": (1, 10_000),
    "Hires steps": (0, 10_000),
    "Clip skip": (1, 12),
    "Denoising": (0, 1),
    "Var. strength": (0, 1),
    "Cond. Image Mask Weight": (0, 1),
    "Token merging ratio": (0, 1),
    "Token merging ratio high-res": (0, 1),
    "Refiner switch at": (0, 1),
    "UniPC Order": (1, 100),
}
"""Least and most, by the names of the host's axes."""
_SIZE = re.compile(r"\s*(\d{1,5})\s*x\s*(\d{1,5})\s*")
_GRAIN = 8
"""Pixels of a picture for one of the latent."""


def of(name: str) -> tuple[float, float]:
    """Return the least and the most that an axis of numbers takes."""
    return LIMITS.get(name, (-FAR, FAR))


def check(option: Any, values: Sequence[Any]) -> None:
    """Raise StudyError on values of an axis of text that the host would take for something else."""
    if option.label == "Size":
        for value in values:
            _size(str(value))


def _size(value: str) -> None:
    found = _SIZE.fullmatch(value)
    if found is None:
        raise StudyError(f'Size: "{value[:40]}" is no size. Write width x height, such as 512x768.')
    sides = [int(side) for side in found.groups()]
    if any(side < _GRAIN or side % _GRAIN for side in sides):
        near = "x".join(str(max(round(side / _GRAIN), 1) * _GRAIN) for side in sides)
        raise StudyError(f"Size: {value} cannot be made; width and height are multiples of {_GRAIN}, such as {near}.")
