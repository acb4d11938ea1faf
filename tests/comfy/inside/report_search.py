"""Checks of HPS_Report behind the searches: what a search knows of itself reaches its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_inside import Graph, Run, pack, sibling, tmp

parts = sibling("optimize_noise_parts")
SWITCHES = {"title": "", "csv": True, "json": True, "grid": True}
STOPS = {"target": 0.0, "min_gain": 0.0, "max_seconds": 0.0}
JUDGE = {"keep": 2, "clean_prompt": True, "match_saved_file": True, "chunk": 0, "exact": False, **STOPS}


def best_of(n: int, **changed: Any) -> tuple[Graph, Any]:
    """Return a graph with a best of n on the shipped miniatures."""
    graph = Graph()
    loaded = graph.node("HPS_LoadEmbedded", prompt=pack("hpskit.embedded").EXAMPLE_PROMPTS[0])
    choice = pack("nodes.host").TINY_CHOICE
    scorer = graph.node("HPS_LoadScorer", scorer=choice, mode="auto", dtype="auto", download=False, backbone="auto")
    sampled = {
        "seed": 2**63 + 5,
        "steps": 4,
        "cfg": 2.5,
        "sampler_name": "euler",
        "scheduler": "simple",
        "denoise": 1.0,
    }
    node = graph.node(
        "HPS_BestOfNSimple",
        model=loaded[0],
        positive=graph.node("CLIPTextEncode", clip=loaded[1], text=loaded[3])[0],
        negative=graph.node("CLIPTextEncode", clip=loaded[1], text="blurry")[0],
        latent_image=graph.node("EmptySD3LatentImage", width=64, height=64, batch_size=1)[0],
        vae=loaded[2],
        scorer=scorer[0],
        prompt=loaded[3],
        n=n,
        **{**sampled, **JUDGE, **changed},
    )
    return graph, node


def text_of(run: Run, graph: Graph) -> str:
    assert run.ok, run.error
    words: str = sibling("report").words(Path(run[0][0]).read_text(encoding="utf-8"))
    return words


def report(graph: Graph, table: Any) -> Run:
    node = graph.node("HPS_Report", score_table=table, filename_prefix=f"{tmp().name}/x", **SWITCHES)
    return graph.run(node[0], node[1])


def check_a_best_of_n_tells_how_it_went() -> None:
    graph, node = best_of(6)
    run = report(graph, node[5])
    text = text_of(run, graph)
    assert "Best of 6: " in text and "All candidates were sampled." in text and "Without and with" in text
    assert "euler" in text and "simple" in text and "2.5" in text and "blurry" in text, "the settings of the graph"
    assert str(2**63 + 5) in text and "rank of the first seed" in text and "nats" in text
    html = Path(run[0][0]).read_text(encoding="utf-8")
    assert len(sibling("report").shown(html)) in (6, 8), "every candidate, and the pair unless the first won"


def check_an_early_stop_is_told() -> None:
    graph, node = best_of(12, target=0.001, chunk=4)
    text = text_of(report(graph, node[5]), graph)
    assert "Stopped early: the target is reached. 12 were asked for." in text


def check_the_kept_table_makes_no_claim_about_the_pool() -> None:
    graph, node = best_of(4)
    text = text_of(report(graph, node[4]), graph)
    assert "2 scored images" in text and "All candidates" not in text
    assert "what was kept of a search" in text and "what was kept" not in text_of(report(graph, node[5]), graph)


def check_an_optimised_noise_brings_its_curve() -> None:
    graph, node, _, _ = parts.miniature(method="sphere search", iterations=3, screen=2)
    watching = pack("nodes.host").JUDGE_CHOICE
    held = graph.node("HPS_LoadScorer", scorer=watching, mode="auto", dtype="auto", download=False, backbone="auto")
    graph.nodes[node.id]["inputs"]["held_out"] = held[0]
    run = graph.run(node[5])
    trace = run[0][0].search
    assert trace.optimised and trace.curve[-1].best >= trace.curve[0].best and trace.held_out.id == "hps-tiny-judge"
    again = report(graph, node[5])
    text = text_of(again, graph)
    assert "Before and after" in text and "On the way" in text and "The scorer that only watches" in text
    assert "made to please this very scorer" in text and "Noise health" in text and "sphere search" in text
    folder = Path(again[0][0]).parent
    assert sorted(path.suffix for path in folder.iterdir()) == [".csv", ".html", ".json", ".png"]


def check_no_tensor_travels_with_a_table() -> None:
    import torch

    graph, node = best_of(3)
    table = graph.run(node[5])[0][0]
    seen, waiting = set[int](), [table.search]
    while waiting:
        value = waiting.pop()
        assert not isinstance(value, torch.Tensor)
        if id(value) not in seen:
            seen.add(id(value))
            waiting += list(value) if isinstance(value, tuple) else list(getattr(value, "__dict__", {}).values())
