"""Checks of what the nodes give the interface: ranked items with pictures, live state, picks by hand, recorded rows."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_inside import Graph, Run, base, images, pack, server
from PIL import Image

WORKFLOW = {"id": "w-1", "nodes": []}


def fresh_ledger() -> Any:
    """Return the host's ledger, emptied."""
    recording = pack("nodes.recording")
    ledger = recording.opened(pack("nodes.settings").ledger_settings())
    ledger.purge()
    return ledger


def rows() -> list[Any]:
    return list(pack("nodes.recording").the_ledger().rows().rows)


class Fixed:
    """Scorer whose scores are given."""

    def __init__(self, values: list[float], logit_scale: float | None = 100.0) -> None:
        types = pack("hpskit.types")
        self.values, self.types = values, types
        self.info = types.ScorerInfo("fixed", "Fixed", "fake", "1", "none", "float32", logit_scale=logit_scale)

    def score(self, given: Any, prompts: Any) -> Any:
        texts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
        return self.types.Scores(
            torch.tensor(self.values[: len(given)]), self.info, texts * (1 if len(texts) > 1 else len(given))
        )


def score(
    values: list[float], batch: Any = None, prompt: str = "a red circle", **more: Any
) -> tuple[Run, dict[str, Any]]:
    graph = Graph()
    batch = images(len(values)) if batch is None else batch
    node = graph.node(
        "HPS_Score",
        scorer=graph.give(Fixed(values)),
        prompt=prompt,
        images=graph.give(batch),
        clean_prompt=True,
        match_saved_file=True,
    )
    run = graph.run(node[2], node[0], extra_pnginfo={"workflow": WORKFLOW}, **more)
    assert run.ok, run.error
    return run, run.ui[node.id]["hps"][0]


def check_items_are_ranked_with_lead_and_pictures() -> None:
    fresh_ledger()
    batch = images(3)
    _, data = score([1.0, 3.0, 2.5], batch)
    assert (data["v"], data["kind"], data["kept"], data["picked"]) == (1, "pool", [], False)
    items = data["items"]
    assert [item["index"] for item in items] == [1, 2, 0] and [item["rank"] for item in items] == [1, 2, 3]
    assert [item["best"] for item in items] == [True, False, False] and not any(item["kept"] for item in items)
    assert items[0]["margin"] == 0.5 and items[2]["margin"] is None
    assert abs(items[0]["win"] - 1 / (1 + 2.718281828**-0.5)) < 1e-6 and items[2]["win"] is None
    for item in items:
        full, thumb = (
            Path(folder_paths.get_temp_directory()) / item[name]["subfolder"] / item[name]["filename"]
            for name in ("image", "thumb")
        )
        with Image.open(full) as picture:
            assert picture.size == (64, 64)
            seen = torch.tensor(list(picture.getdata())).view(64, 64, 3) / 255
        assert (seen - batch[item["index"]]).abs().mean() < 0.03  # the right image, but for JPEG
        assert thumb.stat().st_size < 64 << 10
    json.dumps(data, allow_nan=False)


def check_a_score_that_is_not_finite_breaks_nothing() -> None:
    fresh_ledger()
    _, data = score([float("nan"), 2.0])
    assert [item["score"] for item in data["items"]] == [2.0, None] and data["items"][0]["margin"] is None
    json.dumps(data, allow_nan=False)
    assert [row.score for row in rows()] == [2.0]


def check_rows_hold_what_the_graph_says() -> None:
    fresh_ledger()
    _, data = score([1.0, 2.0], prompt="a red circle <lora:x:1>")
    found = sorted(rows(), key=lambda row: row.score)
    assert [row.prompt for row in found] == ["a red circle"] * 2
    assert [row.id for row in found] == [item["entry"] for item in reversed(data["items"])]
    assert (found[0].width, found[0].height, found[0].source, found[0].scorer) == (64, 64, "comfyui", "fixed")
    ledger = pack("nodes.recording").the_ledger()
    assert ledger.workflow(found[0].id) == ("workflow", WORKFLOW)
    assert ledger.thumbnail(found[0].id)[:4] == b"RIFF"
    score([1.0, 2.0], prompt="a red circle <lora:x:1>")
    assert len(rows()) == 2, "the same images were written twice"


def check_the_switch_in_the_settings_is_obeyed() -> None:
    fresh_ledger()
    path = base / "user" / "default" / "comfy.settings.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"HPS.Ledger.Enabled": False}))
    try:
        _, data = score([1.0, 2.0])
        assert data["items"][0]["entry"] is None and data["items"][0]["image"] is not None
    finally:
        path.unlink()
    assert rows() == []
    for text in ("", "[1]", '{"HPS.Ledger.Enabled": "no", "HPS.Ledger.MaxMegabytes": true}', "{", "[" * 100_000):
        pack("nodes.settings")._last.clear()
        path.write_text(text)
        chosen = pack("nodes.settings").ledger_settings()
        assert chosen.enabled and chosen.max_bytes == 256 << 20, text[:20]
    path.write_text(json.dumps({"HPS.Ledger.Enabled": False, "HPS.Ledger.MaxMegabytes": 4096}))
    for text in (None, "", '{"HPS.Led'):  # as the host leaves it while it writes
        if text is not None:
            path.write_text(text)
        chosen = pack("nodes.settings").ledger_settings()
        assert not chosen.enabled and chosen.max_bytes == 4096 << 20, text
    for size, bytes_ in ((1, 16 << 20), (10**9, 4096 << 20), (20, 20 << 20)):
        path.write_text(json.dumps({"HPS.Ledger.MaxMegabytes": size}))
        assert pack("nodes.settings").ledger_settings().max_bytes == bytes_
    path.unlink()


def check_a_ledger_that_fails_stops_nothing() -> None:
    recording, errors = pack("nodes.recording"), pack("hpskit.errors")
    ledger = fresh_ledger()

    def full(entries: Any) -> Any:
        raise errors.LedgerFull("The disk is full. Make room.")

    ledger.add = full
    recording._warned.clear()
    try:
        for _ in range(2):
            run, data = score([1.0, 2.0])
            assert data["items"][0]["entry"] is None and data["items"][0]["image"]
    finally:
        del ledger.add
    notices = [event for event in run.events if event[0] == "hps.notice"]
    assert not notices and "The disk is full. Make room." in recording._warned  # told once, in the first run


def check_pictures_that_cannot_be_written_stop_nothing() -> None:
    fresh_ledger()
    pictures = pack("nodes.pictures")
    original = pictures._write

    def failing(name: str, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    pictures._write = failing
    try:
        run, data = score([1.0, 2.0])
    finally:
        pictures._write = original
    assert [item["image"] for item in data["items"]] == [None, None] and len(run[0]) == 1


def select(table: Any, **inputs: Any) -> tuple[Run, dict[str, Any]]:
    graph = Graph()
    options = {"rule": "auto", "top_k": 1, "threshold": "off", "value": 0.0, "when_empty": "best"} | inputs
    node = graph.node("HPS_Select", score_table=graph.give(table), **options)
    run = graph.run(node[5], node[8], node[9], node[6])
    return run, run.ui.get(node.id, {}).get("hps", [{}])[0]


def check_a_pick_by_hand_overrides_the_rule() -> None:
    run, data = score([1.0, 3.0, 2.0])
    table = run[0][0]
    ruled, shown = select(table)
    assert ruled[0] == ["1"] and (shown["kept"], shown["picked"]) == ([1], False)
    assert [item["image"] for item in shown["items"]] == [item["image"] for item in data["items"]], (
        "pictures made twice"
    )
    assert shown["token"] == data["token"]
    for text in ("2,0", " 2 , 0 ", "2;0", f"2,0@{data['token']}", "2 0 2"):
        run, shown = select(table, pick=text)
        assert run[0] == ["2,0"] and run[1] == ["1"], text
        assert "by hand" in run[2][0] and (shown["kept"], shown["picked"]) == ([2, 0], True)
        assert run[3][0].pictures[0] == table.pictures[2], "pictures do not follow"


def check_a_pick_among_other_images_does_not_count() -> None:
    first, _ = score([1.0, 3.0, 2.0])
    other, _ = score([1.0, 3.0, 2.0], images(3, seed=5))
    stale = f"2@{pack('nodes.shown').token(first[0][0])}"
    run, shown = select(other[0][0], pick=stale)
    assert run.ok and run[0] == ["1"] and not shown["picked"] and "other images" in run[2][0]


def check_senseless_picks_are_refused() -> None:
    run, _ = score([1.0, 3.0])
    for text in (
        "2",
        "first",
        ",0",
        "-1",
        "0" + "  0" * 5000 + "x",
        "1" + " " * 31000 + "x",
        "9" * 31000,
        "0 " * 20000,
        "0@xyz",
        "99999999999999999999",
    ):
        answer, _ = select(run[0][0], pick=text)
        assert not answer.ok and answer.error_type.endswith("SelectionError") and "ick" in answer.error, text


def check_saved_files_are_found_from_their_rows() -> None:
    fresh_ledger()
    graph = Graph()
    scored = graph.node(
        "HPS_Score",
        scorer=graph.give(Fixed([1.0, 2.0])),
        prompt="x",
        images=graph.give(images(2)),
        clean_prompt=True,
        match_saved_file=True,
    )
    saved = graph.node(
        "HPS_SaveScored",
        images=scored[0],
        score_table=scored[2],
        filename_prefix="deep/er/%hps%",
        format="PNG",
        quality=95,
    )
    run = graph.run(saved[1])
    assert run.ok, run.error
    root = Path(folder_paths.get_output_directory())
    assert sorted(row.file for row in rows()) == sorted(Path(path).relative_to(root).as_posix() for path in run[0])
    routes = pack("nodes.routes")
    assert all(routes._saved_file(row.file) for row in rows())
    for name in ("../secret.png", "/etc/passwd", "deep/../../x.png", "a\0b.png", "", "deep"):
        assert routes._saved_file(name) is None, name


def check_the_ledger_lies_where_no_route_reaches() -> None:
    fresh_ledger()
    score([1.0])
    path = base / "user" / "__hps" / "ledger.sqlite3"
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def check_state_is_kept_for_a_page_that_loads_again() -> None:
    recall = pack("nodes.recall")
    memory, place = recall.Memory(), recall.Place("tab", "w", "p1")
    memory.event(place, "hps.optimize", {"node": "5", "run": "a", "points": [1], "done": 0.1, "image": {"f": 1}})
    memory.event(place, "hps.optimize", {"node": "5", "run": "a", "points": [2, 3], "done": 0.5, "image": None})
    (state,) = memory.of("tab").values()
    assert (state["node"], state["workflow"]) == ("5", "w")
    assert state["data"]["points"] == [1, 2, 3] and state["data"]["done"] == 0.5 and state["data"]["image"] == {"f": 1}
    memory.event(place, "hps.optimize", {"node": "5", "run": "b", "points": [9]})
    memory.end(place, "5", {"item": 1})
    memory.end(place, "5", {"item": 2})
    (state,) = memory.of("tab").values()
    assert state["data"]["points"] == [9] and state["hps"] == [{"item": 1}, {"item": 2}] and memory.of("other") == {}
    memory.event(recall.Place("tab", "other workflow", "p2"), "hps.optimize", {"node": "5", "run": "b", "points": [7]})
    first, second = memory.of("tab").values()
    assert first["hps"] and not second["hps"] and second["data"]["points"] == [7], "one workflow hides another"
    memory.event(recall.Place("tab", "w", "p3"), "hps.optimize", {"node": "5", "run": "c", "points": [8]})
    assert memory.of("tab")["w 5"]["hps"] == [], "results of an earlier run hide the one that goes on"
    grid = recall.Place("tab", "w", "p4")
    cells = [{"s": s, "p": 0, "k": 0, "score": None} for s in range(3)]
    memory.event(grid, "hps.compare", {"node": "6", "run": "a", "cells": cells[:2], "done": 2})
    memory.event(grid, "hps.compare", {"node": "6", "run": "a", "cells": [cells[2], {**cells[0], "score": 1.0}]})
    kept = memory.of("tab")["w 6"]["data"]["cells"]
    assert [(cell["s"], cell["score"]) for cell in kept] == [(0, 1.0), (1, None), (2, None)], "a cell stands twice"
    for k in range(3 * recall.MOST_CLIENTS):
        data = {"node": "1", "candidates": [0] * recall.MOST_ITEMS * 2}
        memory.event(recall.Place(f"tab {k}"), "hps.candidate", data)
    assert len(memory.clients) == recall.MOST_CLIENTS
    score([1.0, 2.0])
    kept = recall.MEMORY.of(server.client_id)
    assert any(hps["kind"] == "pool" for state in kept.values() for hps in state["hps"])


def check_results_are_known_by_their_inputs() -> None:
    recall = pack("nodes.recall")

    def graph(value: int, shift: int = 0) -> dict[str, Any]:
        source, node = str(1 + shift), str(2 + shift)
        made = {source: {"class_type": "Source", "inputs": {"x": value}}}
        return made | {node: {"class_type": "HPS_Score", "inputs": {"images": [source, 0], "prompt": "a"}}}

    same = recall.signature(graph(1), "2")
    assert same == recall.signature(graph(1, 5), "7") != recall.signature(graph(2), "2") and same
    memory = recall.Memory()
    memory.keep(same, "p1", {"item": 1})
    memory.keep(same, "p1", {"item": 2})
    assert memory.given(graph(1, 9)) == {"11": [{"item": 1}, {"item": 2}]} and memory.given(graph(3)) == {}
    memory.keep(same, "p2", {"item": 3})
    assert memory.given(graph(1)) == {"2": [{"item": 3}]}
    deep = {str(k): {"class_type": "Step", "inputs": {"a": [str(k + 1), 0], "b": [str(k + 1), 0]}} for k in range(400)}
    assert recall.signature(deep, "0")
    circle = {"1": {"class_type": "A", "inputs": {"x": ["1", 0]}}}
    assert recall.signature(circle, "1")
