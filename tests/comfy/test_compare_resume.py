"""A comparison of 3 samplers x 4 step counts in a real server, stopped in the middle and killed, and run again."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from comfy_harness import Host, Server, make_base, to_api

EXAMPLE = Path(__file__).resolve().parents[2] / "example_workflows" / "compare_settings.json"
pytestmark = pytest.mark.host


def graph_for(server: Server, first_seed: int) -> dict[str, Any]:
    """Return the example with two seeds a prompt: 12 settings x 3 prompts x 2 seeds."""
    graph = to_api(json.loads(EXAMPLE.read_text("utf-8")), server.get("/object_info"))
    node = next(node for node in graph.values() if node["class_type"] == "HPS_CompareSettings")
    node["inputs"] |= {"first_seed": first_seed, "seeds_per_prompt": 2, "chunk": 2}
    return graph


def rows(server: Server) -> int:
    return int(server.get("/hps/v1/ledger/summary")["rows"])


def await_rows(server: Server, number: int) -> None:
    deadline = time.monotonic() + 120
    while rows(server) < number:
        assert time.monotonic() < deadline, "no image was recorded"
        time.sleep(0.02)


def study_of(history: Any) -> dict[str, Any]:
    assert history.status == "success", history.error
    return next(found for out in history.outputs.values() for found in out.get("hps", ()) if found["kind"] == "study")


def scores_of(study: dict[str, Any]) -> dict[tuple[int, int, int], float]:
    return {(cell["s"], cell["p"], cell["k"]): cell["score"] for cell in study["cells"]}


def test_interrupted_and_killed_and_run_again(host: Host, tmp_path: Path) -> None:
    base, log = make_base(tmp_path / "base"), tmp_path / "server.log"
    with Server(host, base, log) as server:
        prompt = server.queue(graph_for(server, 1))
        await_rows(server, 6)
        server.interrupt()
        assert server.wait(prompt).interrupted
        first = rows(server)
        assert 6 <= first < 72
        server.queue(graph_for(server, 1))
        await_rows(server, first + 6)
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGKILL)
        server._process.wait()
    with Server(host, base, log) as server:
        second = rows(server)
        assert first + 6 <= second < 72
        resumed = study_of(server.run(graph_for(server, 1)))
        assert resumed["reused"] == second, "what the killed server had recorded is not sampled again"
        assert resumed["done"] == resumed["total"] == 72 and rows(server) == 72
        server.post("/hps/v1/ledger/purge", {"confirm": True})
        server.free()
        whole = study_of(server.run(graph_for(server, 1)))
        assert whole["reused"] == 0 and scores_of(whole) == pytest.approx(scores_of(resumed), abs=1e-4)
        assert whole["headline"] == resumed["headline"] and whole["order"] == resumed["order"]
