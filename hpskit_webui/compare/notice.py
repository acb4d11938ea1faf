"""What the form of the script says of a scorer whose weights are not there, as the panel does."""

from __future__ import annotations

from typing import Any

import gradio as gr
from modules import scripts

from .. import options
from ..bridge import host
from ..panel import missing
from ..pasted import paragraph
from ..script import HpsScript

AS_PANEL = "the scorer of the HPS panel"


def add(scorer: Any, elem_id: str, is_img2img: bool) -> None:
    """Put the notice below the list of scorers: it follows this list and, where that says so, the panel's."""
    panel = _of_panel(is_img2img)
    text = _text(scorer.value, None if panel is None else panel.value)
    shown = gr.HTML(_html(text), visible=bool(text), elem_id=elem_id)
    both = [scorer] if panel is None else [scorer, panel]
    for one in both:
        one.change(_changed, both, [shown], show_progress=False)


def _of_panel(is_img2img: bool) -> Any:
    """Return the panel's list of scorers in the same tab; None where it is not built yet."""
    runner = scripts.scripts_img2img if is_img2img else scripts.scripts_txt2img
    panel = next((each for each in getattr(runner, "alwayson_scripts", ()) if isinstance(each, HpsScript)), None)
    controls = getattr(panel, "controls", None)
    return controls[options.NAMES.index("scorer")] if controls else None


def _changed(chosen: str, of_panel: str | None = None) -> Any:
    text = _text(chosen, of_panel)
    return gr.update(value=_html(text), visible=bool(text))


def _text(chosen: str, of_panel: str | None) -> str:
    return missing((of_panel or host.default_scorer()) if chosen in ("", None, AS_PANEL) else chosen)


def _html(text: str) -> str:
    return paragraph(text, "hps-missing") if text else ""
