"""The prompt inside a node graph: ComfyUI's API JSON, walked upstream from the node that saved the picture.

No list of node classes: a sampler is whatever has a `positive` input and a latent or seed, or a guider; its text is
whatever strings lie upstream of it on that side. So reroutes, concatenations, SDXL, SD3 and Flux encoders, ControlNet
and packs that did not exist yet when this was written are read alike. Graphs come from strangers' files: work, depth
and text length are bounded, and cycles end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 200
MAX_TEXT: Final = 50_000
_NO_TEXT: Final = frozenset(
    {
        *("clip", "model", "vae", "control_net", "controlnet", "image", "images", "mask", "pixels", "latent", "lora"),
        *("latent_image", "samples", "style_model", "clip_vision", "clip_vision_output"),
        *("noise", "sigmas", "sampler", "guider"),
    }
)
_TEXT_NAMES: Final = ("text", "prompt", "string", "positive", "negative", "caption", "value", "wildcard", "t5", "clip_")
_NOT_TEXT: Final = ("name", "mode", "type", "format", "path", "file", "delimiter", "separator", "device", "language")
_JOINED: Final = ("text", "string", "prompt", "conditioning")
_OTHER_SIDE: Final = {"positive": "negative", "negative": "positive"}
_SCALARS: Final[Mapping[str, tuple[str, ...]]] = {
    "seed": ("seed", "noise_seed", "value", "int", "number"),
    "steps": ("steps", "value", "int", "number"),
    "cfg": ("cfg", "guidance", "cfg_conds", "value", "float", "number"),
    "sampler": ("sampler_name", "value", "string"),
    "model": ("ckpt_name", "unet_name", "model_name", "value"),
    "scheduler": ("scheduler", "value", "string"),
    "denoise": ("denoise", "value", "float", "number"),
}
_ROADS: Final[Mapping[str, tuple[str, ...]]] = {
    "seed": ("noise",),
    "steps": ("sigmas",),
    "cfg": ("guider", "positive", "conditioning"),
    "sampler": ("sampler",),
    "model": ("model", "guider"),
    "scheduler": ("sigmas",),
    "denoise": ("sigmas",),
}


class Graph:
    """The nodes by id, with memos so that a shared branch is walked once."""

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self.inputs: dict[str, Mapping[str, Any]] = {}
        for name, node in list(nodes.items())[:MAX_NODES]:
            if not isinstance(node, dict) or not isinstance(node.get("inputs"), dict):
                continue
            if "ZeroOut" not in str(node.get("class_type")):  # whose text says what the sampler does not get
                self.inputs[str(name)] = node["inputs"]
        self.texts: dict[tuple[str, str], str] = {}

    def link(self, value: Any) -> str | None:
        """Return the id of the node that an input comes from."""
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)):
            name = str(value[0])
            return name if name in self.inputs else None
        return None

    def sources(self, node: str) -> Iterable[tuple[str, str]]:
        """Yield (input name, node id) of the links into a node."""
        for name, value in self.inputs[node].items():
            source = self.link(value)
            if source is not None:
                yield name, source


def read(nodes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return both prompts, the settings and the id of the sampler of an API graph; None when no prompt is in it.

    Keys: positive, negative, seed, steps, cfg, sampler, model, scheduler, denoise, sampler_node.
    """
    graph = Graph(nodes)
    sampler = _sampler(graph)
    if sampler is None:
        return None
    positive = side_text(graph, sampler, "positive")
    if not positive:
        return None
    found = {kind: scalar(graph, sampler, kind) for kind in _SCALARS}
    sides = {"positive": positive, "negative": side_text(graph, sampler, "negative")}
    return sides | found | {"sampler_node": sampler}


def _sampler(graph: Graph) -> str | None:
    """Return the sampler nearest to an output: breadth first, upstream from the nodes that nobody reads."""
    read_by_others = {source for node in graph.inputs for _, source in graph.sources(node)}
    level = [node for node in graph.inputs if node not in read_by_others]
    seen = set(level)
    while level:
        found = [node for node in level if is_sampler(graph, node)]
        if found:
            return found[0]
        level = list(dict.fromkeys(source for node in level for _, source in graph.sources(node) if source not in seen))
        seen.update(level)
    return None


def is_sampler(graph: Graph, node: str) -> bool:
    """Tell a sampler from a node that only passes conditionings on (ControlNet has no latent)."""
    names = graph.inputs[node].keys()
    if "guider" in names:
        return True
    return "positive" in names and any("latent" in name or "seed" in name or name == "samples" for name in names)


def side_text(graph: Graph, sampler: str, side: str) -> str:
    """Return the text on the "positive" or "negative" side of a sampler; "" when there is none."""
    inputs = graph.inputs[sampler]
    value = inputs.get(side)
    if value is None:
        guider = graph.link(inputs.get("guider"))
        if guider is None:
            return ""
        inputs = graph.inputs[guider]
        value = inputs.get(side, inputs.get("conditioning") if side == "positive" else None)
    if isinstance(value, str):
        return value.strip()
    source = graph.link(value)
    return _text(graph, source, side, 0).strip() if source is not None else ""


def _text(graph: Graph, node: str, side: str, depth: int) -> str:
    """Return the text that flows out of a node on one side of the sampler."""
    key = (node, side)
    if key in graph.texts or depth > MAX_DEPTH:
        return graph.texts.get(key, "")
    graph.texts[key] = ""  # a cycle reads this and ends
    own: list[tuple[str, str]] = []
    for name, value in graph.inputs[node].items():
        text = _input_text(graph, name, value, side, depth)
        if text.strip():
            own.append((name, text))
    graph.texts[key] = _merge(graph.inputs[node], own)[:MAX_TEXT]
    return graph.texts[key]


def _input_text(graph: Graph, name: str, value: Any, side: str, depth: int) -> str:
    plain = name.lower()
    if plain == _OTHER_SIDE[side] or plain in _NO_TEXT:
        return ""
    if isinstance(value, str):
        wanted = any(part in plain for part in _TEXT_NAMES) and not any(part in plain for part in _NOT_TEXT)
        return value[:MAX_TEXT] if wanted else ""
    source = graph.link(value)
    return "" if source is None else _text(graph, source, side, depth + 1)


def _merge(inputs: Mapping[str, Any], own: list[tuple[str, str]]) -> str:
    """Join the numbered texts of a concatenation; of an encoder's several texts (SDXL, SD3, Flux) take the longest."""
    texts = list(dict.fromkeys(text for _, text in own))
    if len(texts) < 2:
        return "".join(texts)
    if all(_is_numbered(name) for name, _ in own):
        given = (inputs.get(name) for name in ("delimiter", "separator"))
        separator = next((value for value in given if isinstance(value, str)), ", ")
        return separator.replace("\\n", "\n").join(texts)
    return max(texts, key=len)


def _is_numbered(name: str) -> bool:
    """Tell text_a, string1, conditioning_to (parts of a whole) from text_g, clip_l, t5xxl (one text, said twice)."""
    plain = name.lower()
    stem = next((part for part in _JOINED if plain.startswith(part)), None)
    if stem is None:
        return False
    tail = plain[len(stem) :].strip("_")
    return tail.isdigit() or tail in ("a", "b", "c", "d", "to", "from")


def scalar(graph: Graph, sampler: str, kind: str) -> str | int | float | None:
    """Return a setting of the sampler: its own input, or the one of the node that its input comes from."""
    waiting = [(sampler, 0)]
    seen = {sampler}
    while waiting:
        node, depth = waiting.pop(0)
        inputs = graph.inputs[node]
        for name in _SCALARS[kind][: None if depth else 2]:
            if isinstance(inputs.get(name), (int, float, str)) and not isinstance(inputs[name], bool):
                value: str | int | float = inputs[name]
                return value
        roads = (*_SCALARS[kind], *_ROADS[kind]) if depth < MAX_DEPTH else ()
        for name in roads:
            source = graph.link(inputs.get(name))
            if source is not None and source not in seen:
                seen.add(source)
                waiting.append((source, depth + 1))
    return None
