"""Forge's handle of a model in its memory management."""

from __future__ import annotations

import copy
from typing import Any


class ModelPatcher:
    def __init__(
        self,
        model: Any,
        load_device: Any,
        offload_device: Any,
        size: int = 0,
        current_device: Any = None,
        **kwargs: Any,
    ) -> None:
        self.model, self.load_device, self.offload_device = model, load_device, offload_device
        self.size = size or sum(each.numel() * each.element_size() for each in model.parameters())
        self.current_device = offload_device if current_device is None else current_device
        self.lora_patches: dict[str, Any] = {}
        self.object_patches: dict[str, Any] = {}
        self.model_options: dict[str, Any] = {"transformer_options": {}}

    def model_size(self) -> int:
        return self.size

    def clone(self) -> ModelPatcher:
        twin = ModelPatcher(self.model, self.load_device, self.offload_device, self.size, self.current_device)
        twin.model_options = copy.deepcopy(self.model_options)
        return twin

    def is_clone(self, other: Any) -> bool:
        return hasattr(other, "model") and self.model is other.model

    def has_online_lora(self) -> bool:
        return False
