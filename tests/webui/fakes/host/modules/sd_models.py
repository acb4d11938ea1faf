"""The loaded checkpoint."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from modules import FORGE, fake_model

checkpoint_aliases: dict[str, Any] = {}
checkpoints_list: dict[str, Any] = {}


class SdModelData:
    def __init__(self) -> None:
        self.sd_model: Any = None
        self.loaded_sd_models: list[Any] = []

    def get_sd_model(self) -> Any:
        if self.sd_model is None:
            self.sd_model = fake_model.load()
            self.loaded_sd_models = [self.sd_model]
        return self.sd_model


model_data = SdModelData()
moved: list[str] = []
"""What send_model_to_... was asked for."""


def send_model_to_cpu(m: Any) -> None:
    moved.append("cpu")


def send_model_to_device(m: Any) -> None:
    moved.append("device")


if FORGE:

    def reload_model_weights(sd_model: Any = None, info: Any = None, forced_reload: bool = False) -> Any:
        return None

    def forge_model_reload() -> tuple[Any, bool]:
        return model_data.get_sd_model(), False
else:

    def reload_model_weights(sd_model: Any = None, info: Any = None, forced_reload: bool = False) -> Any:
        return model_data.get_sd_model()


def unload_model_weights(sd_model: Any = None, info: Any = None) -> Any:
    return sd_model


def apply_token_merging(sd_model: Any, token_merging_ratio: float) -> None:
    sd_model.applied_token_merged_ratio = token_merging_ratio


def apply_alpha_schedule_override(sd_model: Any, p: Any = None) -> None:
    pass


def get_closet_checkpoint_match(search_string: str) -> Any:
    return model_data.get_sd_model().sd_checkpoint_info if search_string.startswith("fake") else None


def select_checkpoint() -> Any:
    return model_data.get_sd_model().sd_checkpoint_info


class SkipWritingToConfig:
    def __enter__(self) -> None: ...

    def __exit__(self, exc_type: Any, exc_value: Any, exc_traceback: Any) -> None: ...


SkipWritingToConfig.skip = False  # type: ignore[attr-defined]
model_types = SimpleNamespace()
