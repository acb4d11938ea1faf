"""Callbacks that extensions register by theme; the host swallows what they raise and forgets them on reload."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from modules import errors


@dataclasses.dataclass
class ImageSaveParams:
    image: Any
    p: Any
    filename: str
    pnginfo: dict[str, Any]


@dataclasses.dataclass
class ExtraNoiseParams:
    noise: Any
    x: Any
    xi: Any


@dataclasses.dataclass
class CFGDenoiserParams:
    x: Any
    image_cond: Any
    sigma: Any
    sampling_step: int
    total_sampling_steps: int
    text_cond: Any
    text_uncond: Any
    denoiser: Any = None


@dataclasses.dataclass
class CFGDenoisedParams:
    x: Any
    sampling_step: int
    total_sampling_steps: int
    inner_model: Any


@dataclasses.dataclass
class AfterCFGCallbackParams:
    x: Any
    sampling_step: int
    total_sampling_steps: int


@dataclasses.dataclass
class ImageGridLoopParams:
    imgs: Any
    cols: int
    rows: int


@dataclasses.dataclass
class ScriptCallback:
    script: str
    callback: Any
    name: str = "unnamed"


_THEMES = [
    "app_started",
    "model_loaded",
    "ui_tabs",
    "ui_train_tabs",
    "ui_settings",
    "before_image_saved",
    "image_saved",
    "extra_noise",
    "cfg_denoiser",
    "cfg_denoised",
    "cfg_after_cfg",
    "before_component",
    "after_component",
    "image_grid",
    "infotext_pasted",
    "script_unloaded",
    "before_ui",
    "on_reload",
    "list_optimizers",
    "list_unets",
    "before_token_counter",
]
callback_map: dict[str, list[ScriptCallback]] = {f"callbacks_{theme}": [] for theme in _THEMES}


def clear_callbacks() -> None:
    for callbacks in callback_map.values():
        callbacks.clear()


def remove_callbacks_for_function(callback_func: Callable[..., Any]) -> None:
    for callbacks in callback_map.values():
        callbacks[:] = [each for each in callbacks if each.callback != callback_func]


def remove_current_script_callbacks() -> None:
    caller = inspect.stack()[1].filename
    for callbacks in callback_map.values():
        callbacks[:] = [each for each in callbacks if each.script != caller]


def _register(theme: str) -> Callable[..., None]:
    def on(callback: Callable[..., Any], *, name: str | None = None) -> None:
        script = inspect.stack()[1].filename
        callback_map[f"callbacks_{theme}"].append(ScriptCallback(script, callback, name or "unnamed"))

    return on


def _fire(theme: str, *args: Any, **kwargs: Any) -> list[Any]:
    results = []
    for each in list(callback_map[f"callbacks_{theme}"]):
        try:
            results.append(each.callback(*args, **kwargs))
        except Exception:
            errors.report(f"Error executing callback {theme} for {each.script}", exc_info=True)
    return results


for _theme in _THEMES:
    _name = "before_reload" if _theme == "on_reload" else _theme
    globals()[f"on_{_name}"] = _register(_theme)


def app_started_callback(demo: Any, app: Any) -> None:
    _fire("app_started", demo, app)


def app_reload_callback() -> None:
    _fire("on_reload")


def model_loaded_callback(sd_model: Any) -> None:
    _fire("model_loaded", sd_model)


def ui_tabs_callback() -> list[Any]:
    return [tab for tabs in _fire("ui_tabs") for tab in tabs or []]


def ui_settings_callback() -> None:
    _fire("ui_settings")


def before_ui_callback() -> None:
    _fire("before_ui")


def script_unloaded_callback() -> None:
    _fire("script_unloaded")


def before_image_saved_callback(params: ImageSaveParams) -> None:
    _fire("before_image_saved", params)


def image_saved_callback(params: ImageSaveParams) -> None:
    _fire("image_saved", params)


def extra_noise_callback(params: ExtraNoiseParams) -> None:
    _fire("extra_noise", params)


def cfg_denoiser_callback(params: CFGDenoiserParams) -> None:
    _fire("cfg_denoiser", params)


def cfg_denoised_callback(params: CFGDenoisedParams) -> None:
    _fire("cfg_denoised", params)


def cfg_after_cfg_callback(params: AfterCFGCallbackParams) -> None:
    _fire("cfg_after_cfg", params)


def image_grid_callback(params: ImageGridLoopParams) -> None:
    _fire("image_grid", params)


def infotext_pasted_callback(infotext: str, params: dict[str, Any]) -> None:
    _fire("infotext_pasted", infotext, params)


def before_component_callback(component: Any, **kwargs: Any) -> None:
    _fire("before_component", component, **kwargs)


def after_component_callback(component: Any, **kwargs: Any) -> None:
    _fire("after_component", component, **kwargs)
