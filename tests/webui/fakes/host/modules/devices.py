"""Devices: all on the CPU, in 32 bits."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch

cpu = device = torch.device("cpu")
dtype = dtype_vae = dtype_unet = dtype_inference = torch.float32
fp8 = unet_needs_upcast = False


class NansException(Exception):
    pass


def get_optimal_device() -> torch.device:
    return cpu


def get_optimal_device_name() -> str:
    return "cpu"


def get_device_for(task: str) -> torch.device:
    return cpu


def torch_gc() -> None:
    pass


def autocast(disable: bool = False) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def without_autocast(disable: bool = False) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def test_for_nans(x: Any, where: str) -> None:
    if torch.all(torch.isnan(x)).item():
        raise NansException(f"A tensor with all NaNs was produced in {where}.")


def cond_cast_unet(input: Any) -> Any:
    return input


def cond_cast_float(input: Any) -> Any:
    return input
