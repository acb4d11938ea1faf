"""What tests hold in their hands: one fake host with the pack inside."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .install import PACK, ROOT, load_pack

CALLBACKS = [
    "setup", "before_process", "process", "before_process_batch", "after_extra_networks_activate", "process_batch",
    "process_before_every_sampling", "before_hr", "post_sample", "postprocess_batch", "postprocess_batch_list",
    "postprocess_image", "postprocess_maskoverlay", "postprocess_image_after_composite", "postprocess",
]  # fmt: skip
"""All callbacks of a script in which tests can act."""
SCORER = "hps-tiny-shapes"
BASE = {"prompt": "a red circle", "steps": 2, "width": 64, "height": 64, "seed": 1, "cfg_scale": 4.0,
        "sampler_name": "Euler"}  # fmt: skip


class Web:
    """One fake host. `flavour` is "a1111" or "forge"; `folder` is its temporary folder; `p` is the last job."""

    def __init__(self, flavour: str, folder: Path) -> None:
        self.flavour, self.forge, self.folder = flavour, flavour == "forge", folder
        self.p: Any = None
        self._extra: list[tuple[bool, Any]] = []
        self._loaded = False
        for name in ("models", "extensions", "outputs", "embeddings"):
            (folder / "webui" / name).mkdir(parents=True)

    def host(self, name: str) -> Any:
        """Return a module of the host: host("images") is modules.images."""
        return importlib.import_module(f"modules.{name}")

    def pack(self, name: str) -> Any:
        """Return a module of the pack by its dotted name from the repository's root."""
        load_pack()
        return importlib.import_module(f"{PACK}.{name}")

    def module(self, name: str) -> Any:
        """Return a module of hpskit_webui."""
        return self.pack(f"hpskit_webui.{name}")

    state = property(lambda self: self.host("shared").state)
    opts = property(lambda self: self.host("shared").opts)
    errors = property(lambda self: self.host("errors").kept)
    """What extensions raised and the host swallowed; the fixture fails a test that leaves something here."""
    saved = property(lambda self: self.host("images").saved)
    """Files written: image, info, pnginfo, path, p, seed, prompt, grid, suffix."""
    calls = property(lambda self: self.host("fake_model").calls)
    """Batch sizes of the calls of the network."""

    def add_script(self, title: str = "Other", *, first: bool = False, **methods: Callable[..., None]) -> Any:
        """Add another always visible extension, after the pack or `first`; methods take (p, ...) as in the host."""
        scripts = self.host("scripts")
        body: dict[str, Any] = {name: staticmethod(method) for name, method in methods.items()}
        body |= {"title": lambda self: title, "show": lambda self, is_img2img: scripts.AlwaysVisible}
        kind = type("Other", (scripts.Script,), body)
        self._extra.append((first, kind))
        if self._loaded:
            self.reload()
        return kind

    def record(self) -> list[str]:
        """Write down the names of the callbacks of all later jobs, in order, as another extension sees them."""
        seen: list[str] = []
        methods = {name: (lambda p, *args, _name=name, **more: seen.append(_name)) for name in CALLBACKS}
        self.add_script("Recorder", **methods)
        return seen

    def at(self, name: str, number: int, act: Callable[[Any], None]) -> None:
        """Call act(p) at the number-th call of a callback, before the pack's own."""
        count = iter(range(1, 10**9))

        def method(p: Any, *args: Any, **more: Any) -> None:
            if next(count) == number:
                act(p)

        self.add_script(f"At {name} {number}", first=True, **{name: method})

    @contextlib.contextmanager
    def stop_at(self, calls: int, *, skip: bool = False, gently: bool = False) -> Iterator[list[int]]:
        """Interrupt at the `calls`-th step of a sampler, or skip, or ask for a stop after the image in work (`gently`).

        Gives the list of the steps seen.
        """
        callbacks, seen = self.host("script_callbacks"), []
        self.boot()

        def count(params: Any) -> None:
            seen.append(params.sampling_step)
            if len(seen) == calls:
                stop = self.state.stop_generating if gently else self.state.skip if skip else self.state.interrupt
                stop()

        callbacks.on_cfg_denoiser(count)
        try:
            yield seen
        finally:
            callbacks.remove_callbacks_for_function(count)

    def boot(self) -> None:
        """Load the scripts and build the interface as the host does at its start; the second time does nothing."""
        if not self._loaded:
            self.reload()

    def reload(self) -> None:
        """Load the scripts again, as Reload UI does."""
        scripts, callbacks = self.host("scripts"), self.host("script_callbacks")
        if self._loaded:
            callbacks.script_unloaded_callback()
        self._loaded = True
        scripts.load_scripts([str(path) for path in sorted((ROOT / "scripts").glob("*.py"))])
        others = [(first, scripts.ScriptClassData(kind, "other.py", str(ROOT), None)) for first, kind in self._extra]
        scripts.scripts_data[:0] = [data for first, data in others if first]
        scripts.scripts_data += [data for first, data in others if not first]
        callbacks.ui_settings_callback()
        callbacks.before_ui_callback()
        self.tabs = callbacks.ui_tabs_callback()
        for runner, is_img2img in ((scripts.scripts_txt2img, False), (scripts.scripts_img2img, True)):
            runner.initialize_scripts(is_img2img)
            for _ in range(3):  # the hosts ask every script for its panel three times
                runner.prepare_ui()
                runner.infotext_fields, runner.paste_field_names = [], []
                runner.setup_ui()

    def runner(self, tab: str = "txt2img") -> Any:
        """Return the runner of a tab's scripts."""
        self.boot()
        return getattr(self.host("scripts"), f"scripts_{tab}")

    def script(self, title: str = "HPS", tab: str = "txt2img") -> Any:
        """Return the script object with that title."""
        return self.runner(tab).script(title)

    def arguments(self, panel: Any, tab: str = "txt2img", others: dict[str, list[Any]] | None = None) -> list[Any]:
        """Return the arguments of all scripts: the panels' own values, then what is given."""
        runner = self.runner(tab)
        flat = [0, *[control.value for control in runner.inputs[1:]]]
        given = {**(others or {}), **({} if panel is None else {"HPS": panel if isinstance(panel, list) else [panel]})}
        for title, values in given.items():
            start = runner.script(title).args_from
            flat[start : start + len(values)] = values
        return flat

    def txt2img(self, panel: Any = None, **fields: Any) -> Any:
        """Make images from text with the panel's dict (or positional list); returns the host's Processed.

        Also known: before=f(p) to change the job, others={title: [...]}; the rest are fields of the host's job.
        The panel's scorer is the shipped miniature unless it names one.
        """
        return self._make("txt2img", panel, fields)

    def img2img(self, image: Any, panel: Any = None, **fields: Any) -> Any:
        """Make images from a picture (or a list of them); `mask` as in the API."""
        base = {"init_images": image if isinstance(image, list) else [image], "denoising_strength": 0.6,
                "inpainting_fill": 1, "inpaint_full_res": False}  # fmt: skip
        return self._make("img2img", panel, {**base, **fields})

    def job(self, tab: str, panel: Any = None, **fields: Any) -> Any:
        """Return the processing object of a job, ready for modules.processing.process_images."""
        runner, before = self.runner(tab), fields.pop("before", None)
        if isinstance(panel, dict):
            panel = {"scorer": SCORER, **panel}
        flat = self.arguments(panel, tab, fields.pop("others", None))
        names = {"txt2img": "StableDiffusionProcessingTxt2Img", "img2img": "StableDiffusionProcessingImg2Img"}
        out = {f"outpath_{kind}": str(self.folder / "webui" / "outputs" / kind) for kind in ("samples", "grids")}
        self.p = p = getattr(self.host("processing"), names[tab])(**{**BASE, **out, **fields})
        p.is_api, p.scripts, p.script_args = True, runner, tuple(flat)
        if before is not None:
            before(p)
        return p

    def _make(self, tab: str, panel: Any, fields: dict[str, Any]) -> Any:
        p = self.job(tab, panel, **fields)
        self.state.begin(job=f"scripts_{tab}")
        try:
            return self.host("processing").process_images(p)
        finally:
            self.state.end()

    def pictures(self, processed: Any) -> list[Any]:
        """Return the images without the grid in front."""
        return list(processed.images[processed.index_of_first_image :])

    def texts(self, processed: Any) -> list[str]:
        """Return the infotexts without the grid's."""
        return list(processed.infotexts[processed.index_of_first_image :])

    def field(self, processed: Any, name: str) -> list[str | None]:
        """Return one field of every image's infotext, as text."""
        found = [self.host("infotext_utils").parse_generation_parameters(text) for text in self.texts(processed)]
        return [each.get(name) for each in found]

    def seeds(self, processed: Any) -> list[int]:
        """Return the seed in every image's infotext."""
        return [int(re.search(r"Seed: (\d+)", text)[1]) for text in self.texts(processed)]  # type: ignore[index]

    def scores(self, processed: Any) -> list[float | None]:
        """Return the score in every image's infotext."""
        return [None if value is None else float(value) for value in self.field(processed, "HPS score")]
