"""HPS_CompareSettings in the host's executor: outputs, events, rows of the ledger, what is refused and what is said."""

from __future__ import annotations

import math
from typing import Any

from comfy_inside import Graph, Run, pack, server

STUDY, GRID, TABLE, VERDICT, BEST = range(5)
DEFAULTS = {
    "prompts": "a red circle\na blue square",
    "negative_text": "",
    "samplers": "euler, heun",
    "schedulers": "simple",
    "steps": "2, 4",
    "cfgs": "2",
    "shifts": "",
    "loras": "",
    "checkpoints": "",
    "prompt_variants": "",
    "reference": "",
    "first_seed": 7,
    "seeds_per_prompt": 3,
    "denoise": 1.0,
    "clean_prompt": True,
    "match_saved_file": True,
    "chunk": 0,
    "exact": False,
    "cell_size": 64,
    "max_seconds": 0.0,
}


def embedded(**changed: Any) -> tuple[Graph, Any]:
    """Return a graph that compares on the shipped miniature."""
    graph = Graph()
    loader = graph.node("HPS_LoadEmbedded", prompt="a red circle")
    scorer = graph.node("HPS_LoadScorer", scorer="hps-tiny-shapes (miniature for trials: judges coloured shapes only)",
                        mode="reference", dtype="auto", download=False)  # fmt: skip
    latent = graph.node("EmptySD3LatentImage", width=128, height=128, batch_size=1)
    links = {"model": loader[0], "vae": loader[2], "scorer": scorer[0], "latent_image": latent[0], "clip": loader[1]}
    return graph, graph.node("HPS_CompareSettings", **{**links, **DEFAULTS, **changed})


def forget() -> None:
    """Empty the ledger: keys of other checks may be the same."""
    ledger = pack("nodes.recording").the_ledger()
    assert ledger is not None
    ledger.purge()


def run(graph: Graph, node: Any) -> Run:
    done = graph.run(*(node[k] for k in range(5)))
    assert done.ok, done.error
    return done


def check_a_comparison_hands_on_study_grid_table_and_verdict() -> None:
    forget()
    graph, node = embedded()
    done = run(graph, node)
    result = done[STUDY][0]
    study, analysis = result.study, result.analysis
    assert [axis.name for axis in study.axes] == ["sampler", "steps"] and len(study.settings) == 4
    assert len(study.cells) == study.size == 4 * 2 * 3 and study.seeds == ("7", "8", "9")
    assert all(math.isfinite(cell.score) and cell.thumbnail and cell.entry for cell in study.cells)
    assert all(cell.width == cell.height == 256 and cell.contrast and cell.saturation for cell in study.cells)
    grid = done[GRID][0]
    assert grid.ndim == 4 and grid.shape[0] == 1 and grid.shape[3] == 3 and 0 <= grid.min() and grid.max() <= 1
    assert done[VERDICT] == [analysis.headline] and study.settings[analysis.order[0]].label == done[BEST][0]
    assert analysis.headline.split(".")[0] in " ".join(done[TABLE][0].split())
    print(done[TABLE][0])
    print(study.notes, study.facts)
