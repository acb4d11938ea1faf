"""Graphs with the noise optimisers on tiny networks and on the shipped miniatures, for the checks beside this file."""

from __future__ import annotations

from typing import Any

import torch
from comfy_inside import Graph, Run, pack, sibling

tiny = sibling("best_of_n_tiny")
NOISE, LATENT, IMAGE, START, CURVE, TABLE, REPORT = range(7)
GRADIENT = ("geodesic (gradient)", "reno (gradient)")
SEARCH = ("sphere search", "subspace search", "zero-order search")
STOP, KEEP = "stop the queue", "keep the best so far"
PLAN = {
    "method": GRADIENT[0], "iterations": 3, "max_seconds": 0.0, "screen": 2, "starts": 1, "population": 3,
    "max_drift": 60.0, "target": 0.0, "clean_prompt": True, "match_saved_file": True, "checkpointing": "auto",
    "on_cancel": STOP,
}  # fmt: skip
LINKS = ("noise", "guider", "sampler", "sigmas", "latent_image")


def redness(name: str = "fake") -> Any:
    """Return a differentiable scorer without a network."""
    return pack("hpskit.scorers.fake").FakeScorer(name)


def catch(graph: Graph, node: Any, *outputs: int) -> Run:
    """Run a graph that must succeed, and catch these outputs of a node."""
    run = graph.run(*(node[k] for k in outputs))
    assert run.ok, run.error
    return run


class Wired:
    """A graph around the advanced node on a tiny network, and the stock nodes with the same inputs."""

    def __init__(self, kind: str = "sd3", **changed: Any) -> None:
        self.graph, self.kind = Graph(), kind
        self.loader = self.graph.node("CheckpointLoaderSimple", ckpt_name=tiny.checkpoint(kind))
        self.vae = self.loader[2]
        settings = {"sampler": "euler", "steps": 2, "denoise": 1.0, "cfg": 2.0, "seed": 200, "latent": None}
        settings |= {name: changed.pop(name) for name in list(changed) if name in settings}
        links = {"model": changed.pop("model", self.loader[0]), "positive": changed.pop("positive", None)}
        self.links = self._links(settings, **links) | {k: changed.pop(k) for k in LINKS if k in changed}
        given = {"scorer": self.graph.give(redness()), "vae": self.vae, "prompt": "a (red:1.2) fox"}
        self.node = self.graph.node("HPS_OptimizeNoise", **{**self.links, **PLAN, **given, **changed})

    def _links(self, settings: dict[str, Any], model: Any, positive: Any) -> dict[str, Any]:
        give, node = self.graph.give, self.graph.node
        positive = give(tiny.conditioning(self.kind, 1)) if positive is None else positive
        latent = tiny.latent(self.kind) if settings["latent"] is None else settings["latent"]
        schedule = {"scheduler": "normal", "steps": settings["steps"], "denoise": settings["denoise"]}
        guided = {"positive": positive, "negative": give(tiny.conditioning(self.kind, 2)), "cfg": settings["cfg"]}
        return {
            "noise": node("RandomNoise", noise_seed=settings["seed"])[0],
            "guider": node("CFGGuider", model=model, **guided)[0],
            "sampler": node("KSamplerSelect", sampler_name=settings["sampler"])[0],
            "sigmas": node("BasicScheduler", model=model, **schedule)[0],
            "latent_image": give(latent),
        }

    def stock(self, noise: Any = None) -> Any:
        """Return a SamplerCustomAdvanced with the same inputs, from this noise or from the given one."""
        return self.graph.node("SamplerCustomAdvanced", **{**self.links, "noise": noise or self.links["noise"]})

    def decoded(self, sampled: Any) -> Any:
        """Return a VAEDecode of it."""
        return self.graph.node("VAEDecode", samples=sampled[0], vae=self.vae)

    def run(self, *outputs: int) -> Run:
        """Run, and catch these outputs of the optimiser."""
        return catch(self.graph, self.node, *outputs)


def expect_remade(wired: Wired) -> Run:
    """Check that stock nodes make the reported images of the returned noise and of the given one, bit for bit."""
    best, start = wired.stock(wired.node[NOISE]), wired.stock()
    links = (wired.node[LATENT], wired.node[IMAGE], wired.node[START], wired.node[TABLE], wired.node[REPORT])
    links += (best[0], wired.decoded(best)[0], wired.decoded(start)[0])
    run = wired.graph.run(*links)
    assert run.ok, run.error
    latent, image, start_image, table, report, again, again_image, first_image = (run[k][0] for k in range(8))
    assert torch.equal(latent["samples"], again["samples"]), tiny.difference(latent["samples"], again["samples"])
    assert torch.equal(image, again_image) and torch.equal(start_image, first_image)
    before, after = table.scores.tolist()
    assert after > before, report
    return run


def miniature(**changed: Any) -> tuple[Graph, Any, dict[str, Any], Any]:
    """Return a graph with the simple node on the shipped miniatures, its sampler's inputs, and the loader."""
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
    return graph, node, {**links, **sampled, "seed": 40}, loaded
