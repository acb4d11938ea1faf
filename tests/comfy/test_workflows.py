"""The example workflows run as they are in a real server, and together they use every node."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from comfy_harness import Server, to_api

REPO = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((REPO / "example_workflows").glob("*.json"))
IDS = json.loads((REPO / "tests/golden/node_ids.json").read_text())
pytestmark = pytest.mark.host


@pytest.fixture(scope="session")
def object_info(server: Server) -> Any:
    return server.get("/object_info")


def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _saved_noise(server: Server, object_info: Any, workflow: dict[str, Any]) -> None:
    """Run the workflow that saves the noise which this one loads, if it has not run yet."""
    files = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "HPS_LoadNoise"]
    if any(not (server.base / "output/noise" / name.removesuffix(" [output]")).exists() for name in files):
        before = to_api(_load(REPO / "example_workflows/optimize_noise.json"), object_info)
        assert server.run(before).status == "success"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_runs_as_it_is(server: Server, object_info: Any, path: Path) -> None:
    workflow = _load(path)
    _saved_noise(server, object_info, workflow)
    history = server.run(to_api(workflow, object_info), extra_pnginfo={"workflow": workflow})
    assert history.status == "success", history.error
    shown = [image for output in history.outputs.values() for image in output.get("images", ())]
    assert shown, "a workflow shows at least one picture"
    folders = {"output": server.base / "output", "temp": server.base / "temp"}
    assert all(
        (folders[image["type"]] / image["subfolder"] / image["filename"]).stat().st_size > 500 for image in shown
    )
    tables = [table for output in history.outputs.values() for table in output.get("hps", ())]
    scores = [found for table in tables if (found := _scores(table))]
    assert scores and all(min(found) < max(found) or len(found) == 1 for found in scores)
    files = [file for table in tables for file in table.get("files", ())]
    assert all((server.base / "output" / file["subfolder"] / file["filename"]).stat().st_size > 200 for file in files)


def _scores(table: dict[str, Any]) -> list[float]:
    """Return the scores that a node shows; a report shows none."""
    return table["scores"] if "scores" in table else [cell["score"] for cell in table.get("cells", ())]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_links_and_picture_of_a_workflow(path: Path) -> None:
    workflow = _load(path)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for link, source, slot, target, entry, kind in workflow["links"]:
        assert link in nodes[source]["outputs"][slot]["links"] and nodes[target]["inputs"][entry]["link"] == link
        assert nodes[source]["outputs"][slot]["type"] == kind
    assert path.with_suffix(".jpg").read_bytes()[:3] == b"\xff\xd8\xff"


def test_every_node_stands_in_an_example() -> None:
    used = {node["type"] for path in WORKFLOWS for node in _load(path)["nodes"]}
    assert set(IDS) <= used, set(IDS) - used


def test_the_first_workflow_saves_the_best_three_with_their_scores(server: Server, object_info: Any) -> None:
    folder = server.base / "output" / "three"
    graph = to_api(_load(REPO / "example_workflows/score_a_batch.json"), object_info)
    save = next(node for node in graph.values() if node["class_type"] == "HPS_SaveScored")
    save["inputs"]["filename_prefix"] = "three/%rank%_%hps%"
    history = server.run(graph)
    scores = next(output["hps"][0]["scores"] for output in history.outputs.values() if "hps" in output)
    best = sorted(scores, reverse=True)[:3]
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{rank:02d}_{score:.3f}_00001_.png" for rank, score in enumerate(best, 1)]


def test_an_error_of_a_node_reaches_the_person_unchanged(server: Server, object_info: Any) -> None:
    graph = to_api(_load(REPO / "example_workflows/score_a_batch.json"), object_info)
    for node in graph.values():
        if node["class_type"] == "HPS_LoadScorer":
            node["inputs"]["scorer"] = "hps-v2.1"
    history = server.run(graph)
    assert history.status == "error" and "hps models get hps-v2.1" in history.error
    assert str(server.base / "models" / "reward_models") in history.error


def test_help_pages_are_served(server: Server) -> None:
    for node_id in IDS:
        assert server.get(f"/extensions/hps-nodes/docs/{node_id}.md").startswith("# HPS ")


def test_the_example_workflows_are_offered(server: Server) -> None:
    offered = server.get("/workflow_templates")["hps-nodes"]
    assert set(offered) == {path.stem for path in WORKFLOWS}


def _loads(server: Server) -> int:
    return server.log.read_text(errors="replace").count("Requested to load ClipNetwork")


def test_the_scorer_stays_loaded_until_free_returns_it(server: Server, object_info: Any) -> None:
    graph = to_api(_load(REPO / "example_workflows/score_a_batch.json"), object_info)
    sampler = next(node for node in graph.values() if node["class_type"] == "KSampler")
    counts = []
    for seed, free in ((101, True), (102, False), (103, True)):
        if free:
            server.free()
            time.sleep(1.5)  # the queue's thread obeys between two prompts
        sampler["inputs"]["seed"] = seed
        before = _loads(server)
        assert server.run(graph).status == "success"
        counts.append(_loads(server) - before)
    assert counts == [1, 0, 1]


def test_an_interrupt_ends_a_running_search_and_leaves_the_queue_clean(server: Server, object_info: Any) -> None:
    graph = to_api(_load(REPO / "example_workflows/best_of_8.json"), object_info)
    search = next(node for node in graph.values() if node["class_type"] == "HPS_BestOfNSimple")
    search["inputs"] |= {"n": 4096, "seed": 7}
    prompt_id = server.queue(graph)
    while not server.get("/queue")["queue_running"]:
        time.sleep(0.05)
    time.sleep(2)
    server.interrupt()
    history = server.wait(prompt_id, 30)
    assert history.interrupted
    assert server.get("/queue") == {"queue_running": [], "queue_pending": []}
    search["inputs"]["n"] = 2
    assert server.run(graph).status == "success"
