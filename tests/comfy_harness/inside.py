"""Helpers for checks that run inside the host's Python; imported there as `comfy_inside`.

Graph       builds and executes a graph through ComfyUI's own executor (validation, caching, inference mode, progress)
pack(name)  a module of the pack as the host imported it, e.g. pack("nodes.host"), pack("hpskit.errors")
tmp()       a fresh temporary folder;  base: the host's base directory (models/, output/, ...)
images()    varied test images [n, h, w, 3];  BLOCKED marks an output that was blocked by an ExecutionBlocker
checkpoint(name) writes a tiny random CLIP in the layout of HPS v2 to models/reward_models and returns its path
free()      what the /free button does;  loaded() the modules counted in the host's memory management
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import inspect
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

base: Path
_executor: Any = None
_pack_name = ""
before: dict[str, Any] = {}
"""snapshot() of the host before the pack was loaded."""
after: dict[str, Any] = {}
"""snapshot() right after."""
_store: dict[str, Any] = {}
_caught: dict[str, list[Any]] = {}


class _Blocked:
    def __repr__(self) -> str:
        return "BLOCKED"


BLOCKED = _Blocked()


class _Any(str):
    """Socket type that connects to everything, in the way every host version accepts."""

    def __ne__(self, other: object) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


ANY = _Any("*")


class _Give:
    """Node that hands a Python object to the graph."""

    RETURN_TYPES = (ANY,)
    FUNCTION = "run"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"key": ("STRING", {})}}

    def run(self, key: str) -> tuple[Any]:
        return (_store[key],)


class _GiveList(_Give):
    """Node that hands a list to the graph as an output list (one item per downstream execution)."""

    OUTPUT_IS_LIST = (True,)


class _Catch:
    """Output node that keeps what arrives at it, as the list the host passes on."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    CATEGORY = "tests"
    OUTPUT_NODE = True
    INPUT_IS_LIST = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"key": ("STRING", {}), "value": (ANY, {})}}

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:
        return float("nan")

    def run(self, key: list[str], value: list[Any]) -> tuple[()]:
        _caught[key[0]] = value
        return ()


class _ServerStub:
    """The few attributes of PromptServer that the executor uses; keeps every event."""

    client_id = "tests"
    last_node_id = None
    last_prompt_id = None

    def __init__(self) -> None:
        self.sockets_metadata: dict[str, Any] = {}
        self.events: list[tuple[str, Any]] = []
        self.listener: Any = None

    def send_sync(self, event: str, data: Any, sid: str | None = None) -> None:
        self.events.append((str(event), data))
        if self.listener is not None:
            self.listener(str(event), data)

    def send_progress_text(self, *args: Any, **kwargs: Any) -> None:
        self.events.append(("progress_text", args))


server = _ServerStub()


@dataclass
class Run:
    """Result of Graph.run: `run[i]` is the list of values that arrived from the i-th requested link."""

    ok: bool
    values: list[Any]
    ui: dict[str, Any] = field(default_factory=dict)
    """ui dictionary by node id."""
    error: str = ""
    """Message that the person would see; of the failing node, or of the validation."""
    error_type: str = ""
    interrupted: bool = False
    events: list[tuple[str, Any]] = field(default_factory=list)

    def __getitem__(self, index: int) -> Any:
        return self.values[index]


@dataclass(frozen=True)
class Node:
    """A node of a Graph; `node[i]` links its i-th output."""

    id: str

    def __getitem__(self, slot: int) -> list[Any]:
        return [self.id, slot]


class Graph:
    """A graph in API format, built link by link."""

    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}

    def node(self, class_type: str, **inputs: Any) -> Node:
        """Add a node; inputs are plain values or links (`other[0]`)."""
        name = str(len(self.nodes) + 1)
        self.nodes[name] = {"class_type": class_type, "inputs": inputs}
        return Node(name)

    def give(self, value: Any) -> list[Any]:
        """Return a link that carries the Python object `value`."""
        return self._given("TEST_Give", value)

    def give_list(self, values: list[Any]) -> list[Any]:
        """Return a link that carries `values` as an output list."""
        return self._given("TEST_GiveList", values)

    def _given(self, class_type: str, value: Any) -> list[Any]:
        key = f"value{len(_store)}"
        _store[key] = value
        return self.node(class_type, key=key)[0]

    def run(self, *links: list[Any], extra_pnginfo: dict[str, Any] | None = None) -> Run:
        """Execute the graph and catch what flows out of `links`."""
        keys = [self.node("TEST_Catch", key="", value=link).id for link in links]
        for key in keys:
            self.nodes[key]["inputs"]["key"] = f"{key}-{id(self)}"
        run = execute(self.nodes, extra_pnginfo)
        run.values = [_caught.pop(f"{key}-{id(self)}", BLOCKED) for key in keys]
        for key in keys:
            del self.nodes[key]
        return run


def execute(nodes_: dict[str, Any], extra_pnginfo: dict[str, Any] | None = None) -> Run:
    """Validate and execute a graph in API format with the host's executor."""
    import execution

    server.events.clear()
    graph = {key: {**node, "inputs": dict(node["inputs"])} for key, node in nodes_.items()}
    arguments = ("test", graph, None)[: len(inspect.signature(execution.validate_prompt).parameters)]
    answer = execution.validate_prompt(*arguments)
    valid = asyncio.run(answer) if inspect.iscoroutine(answer) else answer
    if not valid[0]:
        return Run(False, [], error=str(valid[1]) + str(valid[3]), error_type="validation")
    extra = {"client_id": "tests"} | ({"extra_pnginfo": extra_pnginfo} if extra_pnginfo else {})
    _executor.execute(graph, "test", extra, valid[2])
    return _outcome()


def _outcome() -> Run:
    messages = dict(_executor.status_messages)
    failure = messages.get("execution_error", {})
    return Run(
        ok=bool(_executor.success),
        values=[],
        ui=dict(_executor.history_result["outputs"]),
        error=failure.get("exception_message", "").strip(),
        error_type=failure.get("exception_type", ""),
        interrupted="execution_interrupted" in messages,
        events=list(server.events),
    )


def boot(base_directory: Path) -> None:
    """Do what main.py does, minus the web server: parse options, import, load core nodes and the pack."""
    global base, _executor
    base = base_directory
    import comfy.options

    sys.argv = ["main.py", "--cpu", "--disable-api-nodes", "--base-directory", str(base)]
    comfy.options.enable_args_parsing(True)
    import comfy.cli_args
    import torch
    import utils.extra_config  # noqa: F401  must precede `nodes`, which makes comfy/utils.py shadow this package

    torch.set_num_threads(1)
    import server as host_server

    host_server.PromptServer.instance = server
    import nodes

    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    before.update(snapshot())
    _load_pack(nodes)
    after.update(snapshot())
    nodes.NODE_CLASS_MAPPINGS.update({"TEST_Give": _Give, "TEST_GiveList": _GiveList, "TEST_Catch": _Catch})
    _executor = new_executor()
    import comfy.utils

    comfy.utils.set_progress_bar_global_hook(_progress)


def snapshot() -> dict[str, Any]:
    """Return what a pack could change: host modules, nodes, model folders, import paths, torch's state."""
    import folder_paths
    import torch

    import nodes

    packages = ("comfy", "comfy_execution", "comfy_extras", "comfy_api", "nodes", "execution", "folder_paths", "server")
    modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in packages}
    return {
        "attributes": {
            (name, key): id(value) for name, module in modules.items() for key, value in vars(module).items()
        },
        "nodes": dict(nodes.NODE_CLASS_MAPPINGS),
        "folders": {name: (list(paths), set(kinds)) for name, (paths, kinds) in _folders(folder_paths).items()},
        "sys.path": list(sys.path),
        "torch": (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()),
        "backends": {name: getattr(torch.backends, name, None) for name in ("cuda", "cudnn", "mps")},
    }


def _folders(folder_paths: Any) -> dict[str, Any]:
    return dict(folder_paths.folder_names_and_paths)


def _progress(value: int, total: int, preview: Any, prompt_id: str | None = None, node_id: str | None = None) -> None:
    """Do what the server's hook does: check for an interrupt, send the progress, send the preview."""
    import comfy.model_management as mm

    mm.throw_exception_if_processing_interrupted()
    server.send_sync("progress", {"value": value, "max": total, "node": node_id})
    if preview is not None:
        server.send_sync("preview", preview)


def _load_pack(nodes: Any) -> None:
    global _pack_name
    path = next((base / "custom_nodes").iterdir())
    loaded = asyncio.run(nodes.load_custom_node(str(path), module_parent="custom_nodes"))
    assert loaded, "the pack did not load; see the log above"
    _pack_name = str(path).replace(".", "_x_")


def new_executor() -> Any:
    """Return a PromptExecutor with the host's classic cache."""
    import execution

    parameters = inspect.signature(execution.PromptExecutor.__init__).parameters
    options = {"cache_args": {"lru": 0, "ram": 0, "ram_inactive": 0}} if "cache_args" in parameters else {}
    return execution.PromptExecutor(server, cache_type=execution.CacheType.CLASSIC, **options)


def reset() -> None:
    """Before every check: empty caches, nothing loaded, no left-over values or listeners."""
    server.listener = None
    for file in (base / "models" / "reward_models").iterdir():
        file.unlink()
    _store.clear()
    _caught.clear()
    free()


def free() -> None:
    """Do what the queue worker does on /free: unload the models, drop the caches, collect."""
    import comfy.model_management as mm

    mm.unload_all_models()
    _executor.reset()
    _store.clear()
    gc.collect()
    mm.soft_empty_cache()


def loaded() -> list[Any]:
    """Return the modules that the host's memory management counts as loaded now."""
    import comfy.model_management as mm

    return [entry.model.model for entry in mm.current_loaded_models if entry.model is not None]


def pack(name: str) -> Any:
    """Return a module of the pack, as the host imported it."""
    return importlib.import_module(f"{_pack_name}.{name}")


def sibling(name: str) -> Any:
    """Return a module of the checks' own folder, imported once: the folder is no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "comfy/inside" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def node_class(node_id: str) -> Any:
    """Return the registered class of a node."""
    import nodes

    return nodes.NODE_CLASS_MAPPINGS[node_id]


def tmp() -> Path:
    """Return a fresh temporary folder."""
    return Path(tempfile.mkdtemp(prefix="hps-check-"))


def images(n: int = 3, height: int = 64, width: int = 64, seed: int = 0) -> Any:
    """Return random smooth images, float32 [n, height, width, 3] in 0..1, as ComfyUI passes them."""
    import torch

    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return fine.movedim(1, -1).contiguous()


def checkpoint(name: str = "HPS_v2.1_compressed.pt", seed: int = 0) -> Path:
    """Write a random CLIP (0.2 M weights beside the token table) in the layout of HPS v2 and return its path."""
    import torch
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    path = base / "models" / "reward_models" / name
    torch.manual_seed(seed)
    vision = CLIPVisionCfg(layers=2, width=64, head_width=64, patch_size=56, image_size=224)
    with torch.inference_mode(False):
        model = CLIP(32, vision, CLIPTextCfg(width=64, heads=1, layers=1))
        torch.save({"state_dict": model.state_dict()}, path)
    return path
