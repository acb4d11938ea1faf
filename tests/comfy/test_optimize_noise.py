"""HPS Optimize Noise, both variants, and the files of noises, inside a real ComfyUI."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from comfy_harness import History, Server, checks, to_api

test_results = checks("optimize_noise")
test_wired = checks("optimize_noise_wired")
test_stops = checks("optimize_noise_stops")
test_files = checks("noise_files")
REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def endless(server: Server) -> dict[str, Any]:
    """The example workflow as a graph, with far more iterations than anybody waits for."""
    workflow = json.loads((REPO / "example_workflows/optimize_noise.json").read_text(encoding="utf-8"))
    graph: dict[str, Any] = to_api(workflow, server.get("/object_info"))
    node = next(node for node in graph.values() if node["class_type"] == "HPS_OptimizeNoiseSimple")
    node["inputs"] |= {"iterations": 10000}
    return graph


def _interrupt_running(server: Server, graph: dict[str, Any], seconds: float) -> History:
    prompt_id = server.queue(graph)
    while not server.get("/queue")["queue_running"]:
        time.sleep(0.05)
    time.sleep(seconds)
    server.interrupt()
    began = time.monotonic()
    history = server.wait(prompt_id, 60)
    assert time.monotonic() - began < 20
    return history


@pytest.mark.host
@pytest.mark.parametrize("method", ["geodesic (gradient)", "sphere search"])
def test_an_interrupt_over_http_leaves_the_queue_empty(server: Server, endless: dict[str, Any], method: str) -> None:
    node = next(node for node in endless.values() if node["class_type"] == "HPS_OptimizeNoiseSimple")
    node["inputs"] |= {"method": method, "seed": len(method)}
    history = _interrupt_running(server, endless, 6)
    assert history.interrupted
    assert server.get("/queue") == {"queue_running": [], "queue_pending": []}
    node["inputs"]["iterations"] = 1
    assert server.run(endless).status == "success"


@pytest.mark.host
def test_a_cancel_over_http_that_keeps_the_best_finishes_the_workflow(server: Server, endless: dict[str, Any]) -> None:
    key, node = next((k, n) for k, n in endless.items() if n["class_type"] == "HPS_OptimizeNoiseSimple")
    node["inputs"] |= {"on_cancel": "keep the best so far", "seed": 99}
    history = _interrupt_running(server, endless, 15)
    assert history.status == "success", history.error
    assert history.outputs[key]["hps"][0]["stopped"] == "cancelled"
    assert [entry for entry in history.outputs.values() if "hps_files" in entry], "the noise is saved"
