"""HPS_OptimizeNoise and HPS_OptimizeNoiseSimple as graphs through the host's executor."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from comfy_inside import Graph, Run, pack


def _load_sibling(name: str) -> Any:
    path = Path(__file__).with_name(f"{name}.py")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


NOISE, LATENT, IMAGE, START, CURVE, TABLE, REPORT = range(7)
GRADIENT = ("geodesic (gradient)", "reno (gradient)")
SEARCH = ("sphere search", "subspace search", "zero-order search")
SETTINGS = {"steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
PLAN = {
    "method": GRADIENT[0], "iterations": 3, "max_seconds": 0.0, "screen": 2, "starts": 1, "population": 3,
    "max_drift": 60.0, "target": 0.0, "clean_prompt": True, "match_saved_file": True, "checkpointing": "auto",
    "on_cancel": "stop the queue",
}  # fmt: skip


def catch(graph: Graph, node: Any, *outputs: int) -> Run:
    run = graph.run(*(node[k] for k in outputs))
    assert run.ok, run.error
    return run


def miniature(**changed: Any) -> tuple[Graph, Any, dict[str, Any], Any]:
    """Return a graph with the simple node on the shipped miniatures, its sampler's links, and the loader."""
    graph = Graph()
    loaded = graph.node("HPS_LoadEmbedded", prompt=pack("hpskit.embedded").EXAMPLE_PROMPTS[0])
    choice = pack("nodes.host").TINY_CHOICE
    scorer = graph.node("HPS_LoadScorer", scorer=choice, mode="auto", dtype="auto", download=False, backbone="auto")
    positive = graph.node("CLIPTextEncode", clip=loaded[1], text=loaded[3])
    negative = graph.node("CLIPTextEncode", clip=loaded[1], text="")
    latent = graph.node("EmptySD3LatentImage", width=64, height=64, batch_size=1)
    links = {"model": loaded[0], "positive": positive[0], "negative": negative[0], "latent_image": latent[0]}
    sampled = {"steps": 4, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    plan = {**PLAN, "prompt": loaded[3], "vae": loaded[2], "scorer": scorer[0]}
    node = graph.node("HPS_OptimizeNoiseSimple", seed=40, **{**links, **sampled, **plan, **changed})
    return graph, node, links, loaded


def check_the_miniature_improves_with_every_method() -> Any:
    made = {}
    for method in (*GRADIENT, *SEARCH):
        graph, node, _, _ = miniature(method=method, iterations=6, screen=4)
        run = catch(graph, node, TABLE, REPORT)
        start, best = run[0][0].scores.tolist()
        made[method] = (start, best, run[1][0])
    return made
