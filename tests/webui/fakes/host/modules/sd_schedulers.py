"""Schedules of noise levels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch


@dataclasses.dataclass
class Scheduler:
    name: str
    label: str
    function: Any
    default_rho: float = -1
    need_inner_model: bool = False
    aliases: list[str] | None = None


def karras(n: int, sigma_min: float, sigma_max: float, device: Any = "cpu") -> torch.Tensor:
    ramp = torch.linspace(0, 1, n)
    low, high = sigma_min ** (1 / 7), sigma_max ** (1 / 7)
    return torch.cat([(high + ramp * (low - high)) ** 7, torch.zeros(1)])


_NONE: Callable[..., Any] | None = None
schedulers = [Scheduler("automatic", "Automatic", _NONE), Scheduler("karras", "Karras", karras, default_rho=7.0)]
schedulers_map = {**{x.name: x for x in schedulers}, **{x.label: x for x in schedulers}}
