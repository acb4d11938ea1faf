"""Helpers for checks that run inside the host's Python; imported there as `webui_inside`.

kind           "a1111" or "forge";  data: its data folder (outputs/, models/, extensions/, ledger.sqlite3)
timings        seconds that the parts of the start took
loading        by file of an extension's script: seconds of processor time, and the modules that came with it
txt2img(panel, **settings), img2img(image, panel, **settings)   make pictures as the API does, and return Made
pack(name)     a module of the pack as the host imported it, e.g. pack("hpskit.errors"), pack("hpskit_webui.job")
script(title)  the script object of a tab
client()       HTTP client for all routes of the app, ours included, without a socket
stop_at(n)     context manager: interrupts at the n-th call of the network;  log(): what was printed since the start
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

kind: str
root: Path
data: Path
timings: dict[str, float] = {}
loading: dict[str, tuple[float, list[str]]] = {}
TITLE = "HPS"
PACK = "hps_pack"
"""Name under which the thin scripts of the pack load it."""

BASE = {
    "prompt": "a red circle", "steps": 2, "width": 64, "height": 64, "seed": 1, "cfg_scale": 4, "sampler_name": "Euler",
}  # fmt: skip

_log: Path
_mark = 0
_client: Any = None


@dataclass
class Made:
    """What one job gave; grids stand in `processed.images` only."""

    processed: Any
    p: Any
    log: str
    """What the host and the pack printed meanwhile."""
    images: list[Any] = field(default_factory=list)
    infotexts: list[str] = field(default_factory=list)

    @property
    def scores(self) -> list[float | None]:
        """The score that stands in each infotext."""
        found = [re.search(r"HPS score: (-?\d+\.?\d*)", text) for text in self.infotexts]
        return [float(match.group(1)) if match else None for match in found]

    @property
    def seeds(self) -> list[int]:
        """The seed that stands in each infotext."""
        return [int(re.search(r"Seed: (\d+)", text).group(1)) for text in self.infotexts]

    @property
    def files(self) -> list[Path]:
        """Files of the kept pictures."""
        return [Path(image.already_saved_as) for image in self.images if getattr(image, "already_saved_as", None)]

    @property
    def errors(self) -> list[str]:
        """Lines of the log with which the hosts report an exception of an extension."""
        return trouble(self.log)


def boot(root_: Path, data_: Path, log_: Path, extra: list[str]) -> dict[str, float]:
    """Do what webui.py does, minus the server: import, load scripts, build the interface, load the checkpoint."""
    global kind, root, data, _log
    root, data, _log, kind = root_, data_, log_, os.environ["HPS_WEBUI_KIND"]
    os.chdir(root)
    sys.argv = ["launch.py", *extra]
    clock = _Clock()
    if (root / "modules_forge").is_dir():
        importlib.import_module("modules_forge.initialization").initialize_forge()
    initialize = importlib.import_module("modules.initialize")
    initialize.imports()
    clock("imports")
    _watch_loading()
    initialize.initialize()
    clock("initialize")
    from modules import script_callbacks, shared, timer, ui

    script_callbacks.before_ui_callback()
    shared.demo = ui.create_ui()
    clock("interface")
    _load_checkpoint()
    clock("checkpoint")
    timer.startup_record = timer.startup_timer.dump()
    return timings


def _watch_loading() -> None:
    """Note what the script of each extension costs: in processor time, for machines do other things, too."""
    from modules import script_loading

    original = script_loading.load_module

    def load(path: str, *args: Any, **kwargs: Any) -> Any:
        begun, known = time.process_time(), set(sys.modules)
        try:
            return original(path, *args, **kwargs)
        finally:
            if str(data) in str(path):
                came = sorted(set(sys.modules) - known)
                loading[Path(path).name] = (time.process_time() - begun, came)

    script_loading.load_module = load


class _Clock:
    def __init__(self) -> None:
        self.start = time.monotonic()

    def __call__(self, name: str) -> None:
        now = time.monotonic()
        timings[name], self.start = round(now - self.start, 2), now


def _load_checkpoint() -> None:
    from modules import shared

    if not (root / "modules_forge" / "main_entry.py").is_file():  # A1111, and Forge before it chose its own models
        assert shared.sd_model is not None  # this waits for the thread that loads it
        return
    from modules import sd_models
    from modules_forge import main_entry

    main_entry.refresh_model_loading_parameters()
    sd_models.forge_model_reload()


def reset() -> None:
    """Before every check: no interrupt left over, and the log begins here."""
    global _mark
    from modules import shared

    shared.state.interrupted = shared.state.skipped = False
    sys.stdout.flush()
    sys.stderr.flush()
    _mark = _log.stat().st_size
    gc.collect()


def log(since: int | None = None) -> str:
    """Return what was printed since the check began (or since a size of the log)."""
    sys.stdout.flush()
    sys.stderr.flush()
    with _log.open("rb") as file:
        file.seek(_mark if since is None else since)
        return file.read().decode("utf-8", "replace")


def whole_log() -> str:
    """Return everything printed since the start of the process."""
    return log(0)


def trouble(text: str) -> list[str]:
    """Return the lines with which the hosts report exceptions, and the heads of tracebacks."""
    return [line for line in text.splitlines() if line.startswith(("*** ", "Traceback ")) or "HPS error" in line]


def pack(name: str = "") -> Any:
    """Return a module of the pack as the host imported it."""
    return importlib.import_module(f"{PACK}.{name}" if name else PACK)


def runner(tab: str = "txt2img") -> Any:
    """Return the host's runner of the scripts of a tab."""
    from modules import scripts

    return scripts.scripts_txt2img if tab == "txt2img" else scripts.scripts_img2img


def script(title: str = TITLE, tab: str = "txt2img") -> Any:
    """Return the script object with that title (letters' case ignored)."""
    for each in runner(tab).scripts:
        if each.title().lower() == title.lower():
            return each
    raise LookupError(f"no script {title!r} in {tab}; there are {sorted(each.title() for each in runner(tab).scripts)}")


def values(title: str, changed: dict[str, Any], tab: str = "txt2img") -> list[Any]:
    """Return the values of a script's panel with those of some labels changed; raises KeyError on unknown labels."""
    controls = script(title, tab).controls
    unknown = set(changed) - {str(getattr(each, "label", None)) for each in controls}
    if unknown:
        raise KeyError(f"{title} has no {unknown}; it has {[getattr(each, 'label', None) for each in controls]}")
    return [changed.get(str(getattr(each, "label", None)), getattr(each, "value", None)) for each in controls]


def digest(image: Any) -> str:
    """Return a short text that is equal for equal pixels; what Forge hides in the alpha channel does not count."""
    picture = image.convert("RGB")
    return f"{picture.width}x{picture.height}-{hashlib.sha256(picture.tobytes()).hexdigest()[:16]}"


def scene() -> Any:
    """Return a small picture: a red circle on white."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).ellipse((12, 12, 52, 52), fill="red")
    return picture


def mask() -> Any:
    """Return a mask for it: the middle is to be made anew."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", (64, 64), 0)
    ImageDraw.Draw(picture).rectangle((16, 16, 48, 48), fill=255)
    return picture


def arguments(tab: str, given: dict[str, list[Any]], selected: str = "", values: list[Any] | None = None) -> list[Any]:
    """Return the flat list of arguments of all scripts: their panels' values, then `given` by title."""
    every = runner(tab).scripts
    flat: list[Any] = [None] * max([1, *(each.args_to or 1 for each in every)])
    flat[0] = 0
    for each in every:
        for place, control in enumerate(each.controls or []):
            flat[each.args_from + place] = getattr(control, "value", None)
    for title, own in given.items():
        start = script(title, tab).args_from
        flat[start : start + len(own)] = own
    if selected:
        chosen = script(selected, tab)
        flat[0] = runner(tab).selectable_scripts.index(chosen) + 1
        flat[chosen.args_from : chosen.args_from + len(values or [])] = values or []
    return flat


def txt2img(panel: dict[str, Any] | list[Any] | None = None, **settings: Any) -> Made:
    """Make pictures from text; `panel` is the dictionary that our script takes (or its positional arguments).

    Also known: save=True, before=f(p) to change the job, script="X/Y/Z plot" with script_args=[...],
    others={"Title": [...]} for the panels of other scripts. Everything else goes to the host's processing class.
    """
    return _make("txt2img", panel, {**BASE, **settings})


def img2img(image: Any, panel: dict[str, Any] | list[Any] | None = None, **settings: Any) -> Made:
    """Make pictures from a PIL image (or a list of them); `mask` as in the API."""
    images = image if isinstance(image, list) else [image]
    base = {"denoising_strength": 0.6, "inpainting_fill": 1, "inpaint_full_res": False, "init_images": images}
    return _make("img2img", panel, {**BASE, **base, **settings})


def _make(tab: str, panel: Any, settings: dict[str, Any]) -> Made:
    import torch
    from modules import processing, shared

    save, before = settings.pop("save", False), settings.pop("before", None)
    selected, values = settings.pop("script", ""), settings.pop("script_args", None)
    given = {**settings.pop("others", {})}
    if panel is not None:
        given[TITLE] = panel if isinstance(panel, list) else [panel]
    flags: dict[str, Any] = {"do_not_save_samples": not save, "do_not_save_grid": not save}
    names = {"txt2img": "StableDiffusionProcessingTxt2Img", "img2img": "StableDiffusionProcessingImg2Img"}
    if tab == "txt2img" and hasattr(processing.StableDiffusionProcessingTxt2Img, "hr_additional_modules"):
        flags["hr_additional_modules"] = ["Use same choices"]  # what its panel gives; None breaks its hires pass
    p = getattr(processing, names[tab])(sd_model=shared.sd_model, **{**flags, **settings})
    p.is_api, p.scripts = True, runner(tab)
    p.outpath_samples, p.outpath_grids = str(data / "outputs" / "samples"), str(data / "outputs" / "grids")
    flat = arguments(tab, given, selected, values)
    start = _log.stat().st_size
    # A picture to begin from is encoded with random numbers that no seed of the job decides.
    torch.manual_seed(0)
    if before is not None:
        before(p)
    shared.state.begin(job=f"scripts_{tab}")
    try:
        done = _run(p, tab, flat, selected)
    finally:
        shared.state.end()
        shared.total_tqdm.clear()
        p.close()
    first = done.index_of_first_image
    return Made(done, p, log(start), done.images[first:], done.infotexts[first:])


def _run(p: Any, tab: str, flat: list[Any], selected: str) -> Any:
    from modules import processing

    if not selected:
        p.script_args = tuple(flat)
        return processing.process_images(p)
    p.script_args = flat
    return runner(tab).run(p, *flat)


@contextlib.contextmanager
def stop_at(calls: int, *, how: str = "interrupt") -> Iterator[list[int]]:
    """Interrupt the job at the `calls`-th call of the network; gives the list of the calls seen.

    `how`: "interrupt", "skip", or "stop_generating" (once the image in work is finished), as the host's state has them.
    """
    from modules import script_callbacks, shared

    seen: list[int] = []

    def count(params: Any) -> None:
        seen.append(params.sampling_step)
        if len(seen) == calls:
            getattr(shared.state, how)()

    script_callbacks.on_cfg_denoiser(count)
    try:
        yield seen
    finally:
        script_callbacks.remove_callbacks_for_function(count)


def client() -> Any:
    """Return a client for the app with the host's own API and the routes of all extensions, made at the first call."""
    global _client
    if _client is None:
        from fastapi import FastAPI
        from modules import script_callbacks, shared
        from modules.api.api import Api
        from modules.call_queue import queue_lock
        from starlette.testclient import TestClient

        app = FastAPI()
        Api(app, queue_lock)
        script_callbacks.app_started_callback(shared.demo, app)
        _client = TestClient(app)
    return _client


def in_thread(call: Any, *args: Any) -> Any:
    """Run `call` in another thread, as the API does, and return what it gave; an exception comes through."""
    box: dict[str, Any] = {}

    def work() -> None:
        try:
            box["value"] = call(*args)
        except BaseException as error:
            box["error"] = error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if "error" in box:
        raise box["error"]
    return box["value"]
