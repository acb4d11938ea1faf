"""The tab "HPS": leaderboard, comparison of settings, scores of files, and the models on this machine."""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr

from . import board as tab_board
from . import compare as tab_compare
from . import files as tab_files
from . import models as tab_models
from . import view as tab_view

log = logging.getLogger("hps")

PARTS = (
    ("Leaderboard", "board", tab_board.build),
    ("Compare", "compare", tab_compare.build),
    ("Score files", "files", tab_files.build),
    ("Models", "models", tab_models.build),
)


def register() -> None:
    """Put the tab into the host's page when it builds it."""
    from modules import script_callbacks

    script_callbacks.remove_callbacks_for_function(tabs)
    script_callbacks.on_ui_tabs(tabs)


def tabs() -> list[tuple[Any, str, str]]:
    """Return the tab as the host wants it; no file is opened and nothing is loaded for it."""
    with gr.Blocks(analytics_enabled=False) as page:
        gr.HTML(tab_view.STYLE)
        with gr.Tabs(elem_id="hps_parts"):
            for label, name, build in PARTS:
                with gr.Tab(label, id=name, elem_id=f"hps_{name}") as part:
                    try:
                        build(part)
                    except Exception as error:  # the other parts are of use without it
                        log.exception("The part %s of the HPS tab could not be built.", label)
                        gr.HTML(tab_view.trouble(f"This part could not be built: {type(error).__name__}."))
    return [(page, "HPS", "hps")]
