"""The page of the pack in the host's settings, and its values, also before the host has read them."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

log = logging.getLogger("hps")

SECTION = ("hps", "HPS")
KEEP_AUTO, KEEP_ALWAYS, KEEP_NEVER = KEEP = ("auto", "always", "never")
"""Whether a scorer stays on the graphics card between uses; auto looks at how much memory is left."""
DEVICE_HOST, DEVICE_CPU = DEVICES = ("as the host", "CPU")
DTYPES = ("auto", "fp32", "fp16", "bf16")
LEAST_LEDGER, MOST_LEDGER = 16, 4096
"""Megabytes that the ledger may take."""

Arguments = Union[Mapping[str, Any], Callable[[], Mapping[str, Any]]]


@dataclass(frozen=True)
class Setting:
    """One line of the settings page."""

    name: str
    default: Any
    label: str
    info: str = ""
    """Shown in grey behind the label; plain text."""
    component: str = ""
    """Name of a gradio component; empty takes the one that fits the default's type."""
    arguments: Arguments = field(default_factory=dict)
    """Arguments of the component, or a function that returns them when the page is built."""
    restricted: bool = False
    """Whether programs that use the API may not change it."""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    """Values that make sense; anything else counts as the default."""


def _scorers() -> Mapping[str, Any]:
    """Return the scorers to choose from, and what is chosen now: gradio refuses a page whose value is no choice."""
    from .bridge import host

    chosen = str(get("hps_default_scorer"))
    known = host.scorer_choices()
    return {"choices": known if chosen in known else [*known, chosen]}


def _hidden() -> Mapping[str, Any]:
    """Hide folders where the host hides its own ones (--hide-ui-dir-config)."""
    from modules import shared

    return dict(getattr(shared, "hide_dirs", None) or {})


def _slider(least: float, most: float, step: float) -> dict[str, Any]:
    return {"minimum": least, "maximum": most, "step": step}


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "hps_default_scorer",
        "hps-v2.1",
        "Scorer that the panel begins with",
        "seen after Reload UI",
        "Dropdown",
        _scorers,
    ),
    Setting(
        "hps_models_folder",
        "",
        "Further folder with reward models",
        "besides models/reward_models, for example that of another program; nothing is downloaded into it",
        "",
        _hidden,
        restricted=True,
    ),
    Setting(
        "hps_device",
        DEVICE_HOST,
        "Where scorers run",
        "on the CPU an image takes seconds with HPS v2.1, but no graphics memory; --use-cpu hps does the same",
        "Radio",
        {"choices": list(DEVICES)},
        choices=DEVICES,
    ),
    Setting(
        "hps_dtype",
        "auto",
        "Precision of scorers",
        "scores of different precisions differ in the third decimal; auto is fp16 on most graphics cards, else fp32",
        "Radio",
        {"choices": list(DTYPES)},
        choices=DTYPES,
    ),
    Setting(
        "hps_keep_on_device",
        KEEP_AUTO,
        "Keep the scorer on the graphics card between images",
        "auto: as long as enough memory is left for generating; with --lowvram and --medvram it always leaves. "
        "Forge decides itself",
        "Radio",
        {"choices": list(KEEP)},
        choices=KEEP,
    ),
    Setting(
        "hps_keep_minutes",
        20,
        "Minutes after which an unused scorer is dropped from memory",
        "the next use reads it from the disk again; 0 drops it at once",
        "Slider",
        _slider(0, 240, 1),
        least=0,
        most=1440,
    ),
    Setting("hps_ledger", True, "Record scored images in the ledger", "prompt, settings, scores and a thumbnail"),
    Setting(
        "hps_ledger_megabytes",
        256,
        "Megabytes that the ledger may take",
        "the oldest rows go first",
        "Slider",
        _slider(LEAST_LEDGER, MOST_LEDGER, 16),
        least=LEAST_LEDGER,
        most=MOST_LEDGER,
    ),
    Setting(
        "hps_save_rejected",
        False,
        "Also save the candidates that best of N does not keep",
        "into a folder hps-rejected below the usual one",
    ),
    Setting(
        "hps_show_candidates",
        False,
        "Show all candidates of best of N in one picture behind the results",
        "when it judges before hires fix; nothing of it is saved",
    ),
    Setting("hps_save_noise", True, "Save an optimised starting noise beside its image", "0.1 MB each"),
    Setting("hps_draw_scores", True, "Write scores on the cells of an X/Y/Z grid", "on the grid only"),
    Setting("hps_save_table", True, "Save the scores of an X/Y/Z grid as a table beside it", "CSV and HTML"),
)
"""All settings in the order of the page; whoever needs another one adds a line."""


def known() -> dict[str, Setting]:
    """Return the settings by name."""
    return {setting.name: setting for setting in SETTINGS}


def get(name: str) -> Any:
    """Return the value of a setting; its default while the host has no options yet and where the stored value is odd.

    Raises KeyError for a name that is not in SETTINGS.
    """
    setting = known()[name]
    try:
        from modules import shared

        value = getattr(shared.opts, name, setting.default)
    except (ImportError, AttributeError):
        return setting.default
    return _sound(setting, value)


def _sound(setting: Setting, value: Any) -> Any:
    """Return the stored value if it has the default's type and lies within its limits; people edit config.json."""
    kind = type(setting.default)
    if kind is bool:
        return value if isinstance(value, bool) else setting.default
    if kind is str:
        fits = isinstance(value, str) and (not setting.choices or value in setting.choices)
        return value if fits else setting.default
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    if not number:
        return setting.default
    least, most = setting.least, setting.most
    return kind(min(max(value, least if least is not None else value), most if most is not None else value))


def register() -> None:
    """Put the page into the host's settings when it builds them."""
    from modules import script_callbacks

    script_callbacks.on_ui_settings(add_options)


def add_options() -> None:
    """Add every setting to the host's options; what a host of another age cannot show is left out with a word."""
    from modules import shared

    for setting in SETTINGS:
        try:
            shared.opts.add_option(setting.name, _option(setting))
        except Exception:
            log.exception("The setting %s could not be added; its default is used.", setting.name)


def _option(setting: Setting) -> Any:
    import gradio as gr
    from modules import shared

    component = getattr(gr, setting.component) if setting.component else None
    arguments = setting.arguments if callable(setting.arguments) else dict(setting.arguments)
    option = shared.OptionInfo(setting.default, setting.label, component, arguments, section=SECTION)
    if setting.restricted:
        option.restrict_api = True
    # The host puts this into the page as HTML, and hosts before 1.4 have no such line.
    return option.info(html.escape(setting.info, quote=True)) if setting.info and hasattr(option, "info") else option
