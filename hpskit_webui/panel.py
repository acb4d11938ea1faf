"""The panel of the script: components in the order of `options.Options`."""

from __future__ import annotations

from typing import Any

import gradio as gr

from . import host, options


def build(script: Any) -> list[Any]:
    """Return the components of the panel, one for each field of the options."""
    default = options.Options()
    with gr.Accordion("HPS", open=False, elem_id=script.elem_id("panel")):
        mode = gr.Dropdown(list(options.LABELS.values()), value=options.LABELS[options.OFF], label="Mode")
        scorer = gr.Dropdown(host.scorer_choices(), value=default.scorer, label="Scorer")
    return [mode, scorer]
