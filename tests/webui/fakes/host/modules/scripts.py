"""Scripts of extensions and the runner that calls them: always visible ones in order, what they raise is swallowed."""

from __future__ import annotations

import inspect
import re
from collections import namedtuple
from pathlib import Path
from typing import Any

import gradio as gr
from modules import FORGE, errors, paths, script_callbacks, script_loading, scripts_postprocessing

AlwaysVisible = object()
current_basedir = paths.script_path
ScriptFile = namedtuple("ScriptFile", ["basedir", "filename", "path"])
ScriptClassData = namedtuple("ScriptClassData", ["script_class", "path", "basedir", "module"])
scripts_data: list[ScriptClassData] = []
postprocessing_scripts_data: list[ScriptClassData] = []


class MaskBlendArgs:
    def __init__(
        self, current_latent: Any, nmask: Any, init_latent: Any, mask: Any, blended_latent: Any,
        denoiser: Any = None, sigma: Any = None,
    ) -> None:  # fmt: skip
        self.current_latent, self.nmask, self.init_latent, self.mask = current_latent, nmask, init_latent, mask
        self.blended_latent, self.denoiser, self.sigma = blended_latent, denoiser, sigma
        self.is_final_blend = denoiser is None


class PostSampleArgs:
    def __init__(self, samples: Any) -> None:
        self.samples = samples


if FORGE:

    class PostprocessImageArgs:
        def __init__(self, image: Any, index: int) -> None:
            self.image, self.index = image, index

else:

    class PostprocessImageArgs:  # type: ignore[no-redef]
        def __init__(self, image: Any) -> None:
            self.image = image


class PostProcessMaskOverlayArgs:
    def __init__(self, index: int, mask_for_overlay: Any, overlay_image: Any) -> None:
        self.index, self.mask_for_overlay, self.overlay_image = index, mask_for_overlay, overlay_image


class PostprocessBatchListArgs:
    def __init__(self, images: list[Any]) -> None:
        self.images = images


class Script:
    name: str | None = None
    section: str | None = None
    filename: str | None = None
    args_from: int | None = None
    args_to: int | None = None
    alwayson = False
    is_txt2img = False
    is_img2img = False
    tabname: str | None = None
    group: Any = None
    create_group = True
    infotext_fields: Any = None
    paste_field_names: Any = None
    api_info: Any = None
    setup_for_ui_only = False
    controls: Any = None
    if FORGE:
        sorting_priority = 0

    def title(self) -> str:
        raise NotImplementedError

    def ui(self, is_img2img: bool) -> Any: ...

    def show(self, is_img2img: bool) -> Any:
        return True

    def run(self, p: Any, *args: Any) -> Any: ...

    def setup(self, p: Any, *args: Any) -> None: ...

    def before_process(self, p: Any, *args: Any) -> None: ...

    def process(self, p: Any, *args: Any) -> None: ...

    def before_process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None: ...

    def after_extra_networks_activate(self, p: Any, *args: Any, **kwargs: Any) -> None: ...

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None: ...

    def process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None: ...

    def postprocess_batch(self, p: Any, *args: Any, **kwargs: Any) -> None: ...

    def postprocess_batch_list(self, p: Any, pp: PostprocessBatchListArgs, *args: Any, **kwargs: Any) -> None: ...

    def on_mask_blend(self, p: Any, mba: MaskBlendArgs, *args: Any) -> None: ...

    def post_sample(self, p: Any, ps: PostSampleArgs, *args: Any) -> None: ...

    def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None: ...

    def postprocess_maskoverlay(self, p: Any, ppmo: PostProcessMaskOverlayArgs, *args: Any) -> None: ...

    def postprocess_image_after_composite(self, p: Any, pp: Any, *args: Any) -> None: ...

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None: ...

    def before_component(self, component: Any, **kwargs: Any) -> None: ...

    def after_component(self, component: Any, **kwargs: Any) -> None: ...

    def before_hr(self, p: Any, *args: Any) -> None: ...

    def describe(self) -> str:
        return ""

    def elem_id(self, item_id: str) -> str:
        tab = f"{'img2img' if self.is_img2img else 'txt2img'}_" if self.show(True) == self.show(False) else ""
        return f"script_{tab}{re.sub('[^a-z_0-9]', '', re.sub(' ', '_', self.title().lower()))}_{item_id}"


def basedir() -> str:
    return current_basedir


def load_scripts(files: list[str]) -> None:
    """Forget all callbacks and load the files (the real host finds them by itself)."""
    global current_basedir, scripts_txt2img, scripts_img2img, scripts_postproc
    scripts_data.clear()
    postprocessing_scripts_data.clear()
    script_callbacks.clear_callbacks()
    for path in files:
        current_basedir = str(Path(path).parents[1])
        try:
            _take_classes(script_loading.load_module(path), path)
        except Exception:
            errors.report(f"Error loading script: {Path(path).name}", exc_info=True)
        finally:
            current_basedir = paths.script_path
    scripts_txt2img, scripts_img2img = ScriptRunner(), ScriptRunner()
    scripts_postproc = scripts_postprocessing.ScriptPostprocessingRunner()


def _take_classes(module: Any, path: str) -> None:
    for each in [value for value in vars(module).values() if inspect.isclass(value)]:
        if issubclass(each, Script):
            scripts_data.append(ScriptClassData(each, path, current_basedir, module))
        elif issubclass(each, scripts_postprocessing.ScriptPostprocessing):
            postprocessing_scripts_data.append(ScriptClassData(each, path, current_basedir, module))


class ScriptRunner:
    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.selectable_scripts: list[Script] = []
        self.alwayson_scripts: list[Script] = []
        self.titles: list[str] = []
        self.title_map: dict[str, Script] = {}
        self.infotext_fields: list[Any] = []
        self.paste_field_names: list[str] = []
        self.inputs: list[Any] = [None]

    def initialize_scripts(self, is_img2img: bool) -> None:
        for known in (self.scripts, self.alwayson_scripts, self.selectable_scripts):
            known.clear()
        for data in scripts_data:
            script = data.script_class()
            script.filename, script.is_txt2img, script.is_img2img = data.path, not is_img2img, is_img2img
            script.tabname = "img2img" if is_img2img else "txt2img"
            shown = script.show(is_img2img)
            if not shown:
                continue
            script.alwayson = shown == AlwaysVisible
            self.scripts.append(script)
            (self.alwayson_scripts if script.alwayson else self.selectable_scripts).append(script)

    def prepare_ui(self) -> None:
        self.inputs = [None]

    def setup_ui(self) -> list[Any]:
        self.title_map = {script.title().lower(): script for script in self.scripts}
        self.titles = [script.title() for script in self.selectable_scripts]
        for script in (*self.alwayson_scripts, *self.selectable_scripts):
            with gr.Group(visible=script.alwayson) as group:
                self.create_script_ui(script)
            script.group = group
        return self.inputs

    def create_script_ui(self, script: Script) -> None:
        script.args_from = script.args_to = len(self.inputs)
        try:
            script.controls = script.ui(script.is_img2img)
        except Exception:
            errors.report(f"Error creating UI for {script.filename}: ", exc_info=True)
        if script.controls is None:
            return
        script.name = script.title().lower()
        self.infotext_fields += script.infotext_fields or []
        self.paste_field_names += script.paste_field_names or []
        self.inputs += script.controls
        script.args_to = len(self.inputs)

    def script(self, title: str) -> Script | None:
        return self.title_map.get(title.lower())

    def run(self, p: Any, *args: Any) -> Any:
        if not args[0]:
            return None
        script = self.selectable_scripts[args[0] - 1]
        return script.run(p, *args[script.args_from : script.args_to])

    def _each(self, name: str, p: Any, *given: Any, **kwargs: Any) -> None:
        for script in list(self.alwayson_scripts):
            if getattr(type(script), name, None) in (getattr(Script, name, None), None):
                continue
            try:
                own = p.script_args[script.args_from : script.args_to]
                getattr(script, name)(p, *given, *own, **kwargs)
            except Exception:
                errors.report(f"Error running {name}: {script.filename}", exc_info=True)

    def setup_scrips(self, p: Any, *, is_ui: bool = True) -> None:
        self._each("setup", p)

    def before_process(self, p: Any) -> None:
        self._each("before_process", p)

    def process(self, p: Any) -> None:
        self._each("process", p)

    def before_process_batch(self, p: Any, **kwargs: Any) -> None:
        self._each("before_process_batch", p, **kwargs)

    def after_extra_networks_activate(self, p: Any, **kwargs: Any) -> None:
        self._each("after_extra_networks_activate", p, **kwargs)

    def process_batch(self, p: Any, **kwargs: Any) -> None:
        self._each("process_batch", p, **kwargs)

    def process_before_every_sampling(self, p: Any, **kwargs: Any) -> None:
        self._each("process_before_every_sampling", p, **kwargs)

    def on_mask_blend(self, p: Any, mba: MaskBlendArgs) -> None:
        self._each("on_mask_blend", p, mba)

    def before_hr(self, p: Any) -> None:
        self._each("before_hr", p)

    def post_sample(self, p: Any, ps: PostSampleArgs) -> None:
        self._each("post_sample", p, ps)

    def postprocess_batch(self, p: Any, images: Any, **kwargs: Any) -> None:
        self._each("postprocess_batch", p, images=images, **kwargs)

    def postprocess_batch_list(self, p: Any, pp: PostprocessBatchListArgs, **kwargs: Any) -> None:
        self._each("postprocess_batch_list", p, pp, **kwargs)

    def postprocess_image(self, p: Any, pp: Any) -> None:
        self._each("postprocess_image", p, pp)

    def postprocess_maskoverlay(self, p: Any, ppmo: PostProcessMaskOverlayArgs) -> None:
        self._each("postprocess_maskoverlay", p, ppmo)

    def postprocess_image_after_composite(self, p: Any, pp: Any) -> None:
        self._each("postprocess_image_after_composite", p, pp)

    def postprocess(self, p: Any, processed: Any) -> None:
        self._each("postprocess", p, processed)


scripts_txt2img: Any = None
scripts_img2img: Any = None
scripts_postproc: Any = None
