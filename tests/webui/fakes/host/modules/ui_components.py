"""Components of the host's own."""

from __future__ import annotations

from typing import Any

import gradio as gr


class ToolButton(gr.Button):
    pass


class FormRow(gr.Row):
    pass


class FormColumn(gr.Column):
    pass


class FormGroup(gr.Group):
    pass


class FormHTML(gr.HTML):
    pass


class ResizeHandleRow(gr.Row):
    pass


class InputAccordion(gr.Checkbox):
    def __init__(self, value: bool, **kwargs: Any) -> None:
        super().__init__(value, **kwargs)
        self.accordion = gr.Accordion(open=value, **kwargs)

    def __enter__(self) -> InputAccordion:
        self.accordion.__enter__()
        return self

    def __exit__(self, *about: Any) -> None:
        self.accordion.__exit__(*about)
