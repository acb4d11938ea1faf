"""What Forge does around a sampling run: the model is loaded before, and things are tidied up behind it."""

from __future__ import annotations

from typing import Any

from backend import memory_management


def sampling_prepare(unet: Any, x: Any) -> None:
    memory_management.load_models_gpu([unet])


def sampling_cleanup(unet: Any) -> None:
    pass
