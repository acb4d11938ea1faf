"""Helpers of the interface."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr


def plaintext_to_html(text: str, classname: str | None = None) -> str:
    lines = "<br>\n".join(html.escape(line) for line in text.split("\n"))
    return f"<p class='{classname}'>{lines}</p>" if classname else f"<p>{lines}</p>"


def create_refresh_button(refresh_component: Any, refresh_method: Any, refreshed_args: Any, elem_id: str) -> Any:
    return gr.Button("refresh", elem_id=elem_id)
