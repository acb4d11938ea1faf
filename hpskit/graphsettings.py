"""What made the images that reach one node of a graph: the settings of their sampler, and a seed only when it is sound.

A seed is what people copy to make an image again, so a wrong one is worse than none. It counts only where one sampler
made the images, added the noise itself, began with nobody else's latent, and nothing between it and the node may have
taken one image out of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from .promptgraph import MAX_DEPTH, MAX_TEXT, Graph, is_sampler, scalar, side_text

_KINDS: Final = ("seed", "steps", "cfg", "sampler", "model", "scheduler", "denoise")
_BLANK: Final[Mapping[str, Any]] = {
    "positive": "",
    "negative": "",
    "loras": [],
    "sampler_node": "",
    "sampler_class": "",
}
_SIDE_ROADS: Final = frozenset(
    {"model", "positive", "negative", "clip", "vae", "guider", "sampler", "sigmas", "conditioning", "control_net"}
)
"""Inputs of a sampler over which no other sampler's image comes."""
_CHOOSING: Final = ("batch", "select", "pick", "split", "index", "filter", "choose", "random", "frame", "latentcut")
"""Parts of the names of nodes that may hand on one image of several."""
_FOREIGN_NOISE: Final = "HPS_"
"""This pack's nodes give noises of their own choice."""


def read_at(nodes: Mapping[str, Any], node: str) -> dict[str, Any] | None:
    """Return the settings of the sampler that is node `node`, or whose images reach it; None without one.

    Keys: positive, negative, seed, steps, cfg, sampler, model, scheduler, denoise, "loras": [(name, strength)] from the
    loader to the sampler, "sampler_node", "sampler_class" and "guided" (whether a node named like reward guidance
    changes the model). Where several samplers' images reach the node, only what they have in common is told.
    """
    graph = Graph(nodes)
    if node not in graph.inputs:
        return None
    samplers, between = _first_samplers(graph, node)
    if not samplers:
        return None
    found = [_settings(graph, nodes, sampler) for sampler in samplers]
    merged = {name: value if all(one[name] == value for one in found) else None for name, value in found[0].items()}
    merged = {name: _BLANK.get(name) if value is None else value for name, value in merged.items()}
    sound = len(samplers) == 1 and _is_sound(graph, nodes, samplers[0], between)
    return merged | {"seed": merged["seed"] if sound else None}


def loras_at(nodes: Mapping[str, Any], sampler: str) -> tuple[tuple[str, float], ...]:
    """Return name and strength of the LoRAs between the loader and the sampler that is node `sampler`."""
    graph = Graph(nodes)
    if sampler not in graph.inputs:
        return ()
    return tuple(lora for name in reversed(_model_road(graph, sampler)) for lora in _loras_of(graph.inputs[name]))


def _settings(graph: Graph, nodes: Mapping[str, Any], sampler: str) -> dict[str, Any]:
    sides = {side: side_text(graph, sampler, side) for side in ("positive", "negative")}
    scalars = {kind: scalar(graph, sampler, kind) for kind in _KINDS}
    road = _model_road(graph, sampler)
    loras = [lora for name in reversed(road) for lora in _loras_of(graph.inputs[name])]
    guided = any(_class(nodes, name) == "HPS_RewardGuidance" for name in road)
    place = {"sampler_node": sampler, "sampler_class": _class(nodes, sampler), "guided": guided}
    return sides | scalars | {"loras": loras} | place


def _first_samplers(graph: Graph, node: str) -> tuple[list[str], list[str]]:
    """Return the samplers that are met first on every road upstream, and the nodes on the way."""
    if is_sampler(graph, node):
        return [node], []
    found, between = list[str](), list[str]()
    waiting, seen = [node], {node}
    while waiting:
        for _, source in graph.sources(waiting.pop(0)):
            if source in seen:
                continue
            seen.add(source)
            if is_sampler(graph, source):
                found.append(source)
            else:
                between.append(source)
                waiting.append(source)
    return found, between


def _is_sound(graph: Graph, nodes: Mapping[str, Any], sampler: str, between: Iterable[str]) -> bool:
    """Tell whether the seed of the one sampler makes the image that reaches the node."""
    if str(graph.inputs[sampler].get("add_noise", "enable")).lower() in ("disable", "false"):
        return False
    if any(part in _class(nodes, name).lower() for name in between for part in _CHOOSING):
        return False
    begun_with = _upstream(graph, [source for name, source in graph.sources(sampler) if name not in _SIDE_ROADS])
    return not any(is_sampler(graph, name) or _class(nodes, name).startswith(_FOREIGN_NOISE) for name in begun_with)


def _upstream(graph: Graph, waiting: list[str]) -> set[str]:
    seen = set(waiting)
    while waiting:
        for _, source in graph.sources(waiting.pop()):
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    return seen


def _class(nodes: Mapping[str, Any], name: str) -> str:
    return str(nodes[name].get("class_type", ""))


def _model_road(graph: Graph, sampler: str) -> list[str]:
    """Return the nodes that the sampler's model comes through, the sampler first."""
    waiting, seen, road = [(sampler, 0)], {sampler}, list[str]()
    while waiting:
        node, depth = waiting.pop(0)
        road.append(node)
        for name in ("model", "guider") if depth < MAX_DEPTH else ():
            source = graph.link(graph.inputs[node].get(name))
            if source is not None and source not in seen:
                seen.add(source)
                waiting.append((source, depth + 1))
    return road


def _loras_of(inputs: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Read the stock loader (lora_name, strength_model) and stacks of {"on", "lora", "strength"}."""
    entries = [(inputs.get("lora_name"), inputs.get("strength_model", 1.0), True)]
    for value in inputs.values():
        if isinstance(value, dict):
            entries.append((value.get("lora"), value.get("strength", 1.0), value.get("on", True)))
    return [
        (name[:MAX_TEXT], float(strength))
        for name, strength, on in entries
        if isinstance(name, str) and isinstance(strength, (int, float)) and strength and on
    ]
