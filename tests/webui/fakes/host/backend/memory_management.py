"""Forge's memory management: everything stays where it is, and what was asked for is noted."""

from __future__ import annotations

from typing import Any

import torch

OOM_EXCEPTION = torch.OutOfMemoryError if hasattr(torch, "OutOfMemoryError") else torch.cuda.OutOfMemoryError
current_loaded_models: list[Any] = []
asked: list[Any] = []
_cpu = torch.device("cpu")


def get_torch_device() -> torch.device:
    return _cpu


def text_encoder_offload_device() -> torch.device:
    return _cpu


def text_encoder_device() -> torch.device:
    return _cpu


def unet_offload_device() -> torch.device:
    return _cpu


def vae_device() -> torch.device:
    return _cpu


def vae_offload_device() -> torch.device:
    return _cpu


def intermediate_device() -> torch.device:
    return _cpu


def get_free_memory(dev: Any = None, torch_free_too: bool = False) -> int:
    return 2**33


def load_models_gpu(models: Any, memory_required: float = 0, hard_memory_preservation: float = 0) -> None:
    for model in models:
        asked.append(model)
        if model not in current_loaded_models:
            current_loaded_models.append(model)


def load_model_gpu(model: Any) -> None:
    load_models_gpu([model])


def free_memory(memory_required: float, device: Any, keep_loaded: Any = (), free_all: bool = False) -> None:
    current_loaded_models[:] = [each for each in current_loaded_models if each in keep_loaded]


def unload_all_models() -> None:
    current_loaded_models.clear()


def soft_empty_cache(force: bool = False) -> None:
    pass


def should_use_fp16(
    device: Any = None, model_params: int = 0, prioritize_performance: bool = True, manual_cast: bool = False
) -> bool:
    return False
