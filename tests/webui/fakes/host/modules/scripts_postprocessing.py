"""Scripts of the Extras tab."""

from __future__ import annotations

import dataclasses
from typing import Any

import gradio as gr


@dataclasses.dataclass
class PostprocessedImageSharedInfo:
    target_width: int | None = None
    target_height: int | None = None


class PostprocessedImage:
    def __init__(self, image: Any) -> None:
        self.image, self.info, self.shared = image, {}, PostprocessedImageSharedInfo()
        self.extra_images: list[Any] = []
        self.nametags: list[str] = []
        self.disable_processing, self.caption = False, None

    def create_copy(
        self, new_image: Any, *, nametags: list[str] | None = None, disable_processing: bool = False
    ) -> PostprocessedImage:
        copy = PostprocessedImage(new_image)
        copy.shared, copy.info, copy.disable_processing = self.shared, self.info.copy(), disable_processing
        copy.nametags = [*self.nametags, *(nametags or [])]
        return copy


class ScriptPostprocessing:
    filename: str | None = None
    controls: Any = None
    args_from: int | None = None
    args_to: int | None = None
    order = 1000
    name: str | None = None
    group: Any = None

    def ui(self) -> Any: ...

    def process(self, pp: PostprocessedImage, **args: Any) -> None: ...

    def process_firstpass(self, pp: PostprocessedImage, **args: Any) -> None: ...

    def image_changed(self) -> None: ...


class ScriptPostprocessingRunner:
    def __init__(self) -> None:
        self.scripts: list[Any] | None = None
        self.ui_created = False

    def initialize_scripts(self, scripts_data: list[Any]) -> None:
        self.scripts = []
        for data in scripts_data:
            script = data.script_class()
            script.filename = data.path
            self.scripts.append(script)

    def scripts_in_preferred_order(self) -> list[Any]:
        if self.scripts is None:
            from modules import scripts

            self.initialize_scripts(scripts.postprocessing_scripts_data)
        return sorted(self.scripts or [], key=lambda script: script.order)

    def setup_ui(self) -> list[Any]:
        inputs: list[Any] = []
        for script in self.scripts_in_preferred_order():
            with gr.Row() as group:
                script.controls = script.ui()
            script.group, script.args_from = group, len(inputs)
            inputs += list(script.controls.values())
            script.args_to = len(inputs)
        self.ui_created = True
        return inputs

    def create_args_for_run(self, scripts_args: dict[str, dict[str, Any]]) -> list[Any]:
        if not self.ui_created:
            with gr.Blocks(analytics_enabled=False):
                self.setup_ui()
        ordered = self.scripts_in_preferred_order()
        args: list[Any] = [None] * max([script.args_to for script in ordered])
        for script in ordered:
            for place, name in enumerate(script.controls if script.name in scripts_args else []):
                args[script.args_from + place] = scripts_args[script.name].get(name)
        return args

    def run(self, pp: PostprocessedImage, args: list[Any]) -> None:
        from modules import shared

        planned = []
        for script in self.scripts_in_preferred_order():
            values = args[script.args_from : script.args_to]
            planned.append((script, dict(zip(script.controls, values))))  # noqa: B905 the host does not check either
        for script, named in planned:
            script.process_firstpass(pp, **named)
        every = [pp]
        for script, named in planned:
            if shared.state.skipped:
                break
            for single in every.copy():
                if not single.disable_processing:
                    script.process(single, **named)
                made = [
                    each if isinstance(each, PostprocessedImage) else single.create_copy(each)
                    for each in single.extra_images
                ]
                every += made
                single.extra_images.clear()
        pp.extra_images = every[1:]

    def image_changed(self) -> None:
        for script in self.scripts_in_preferred_order():
            script.image_changed()
