"""The routes of a real ComfyUI server: what they answer, and whom they refuse."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from comfy_harness import Server, to_api

EXAMPLES = Path(__file__).resolve().parents[2] / "example_workflows"
WRITING = [("/hps/v1/ledger/purge", {"confirm": True}), ("/hps/v1/picks", {"shown": [1, 2], "outcome": "tie"})]
READING = [
    "ledger/rows",
    "ledger/facets",
    "ledger/summary",
    "ledger/compare",
    "picks/next",
    "picks/agreement",
    "snapshot",
]


def ask(
    server: Server, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Send a request as it is, headers included, and return status, headers and body."""
    place = urlsplit(server.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def post(server: Server, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    given = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    status, _, data = ask(server, "POST", path, json.dumps(body).encode(), given)
    return status, json.loads(data or b"null")


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[Server]:
    """A server that has run best of 8 once."""
    post(server, "/hps/v1/ledger/purge", {"confirm": True})
    workflow = json.loads((EXAMPLES / "best_of_8.json").read_text("utf-8"))
    graph = to_api(workflow, server.get("/object_info"))
    history = server.run(graph, extra_pnginfo={"workflow": workflow})
    assert history.status == "success", history.error
    yield server
    server.free()  # newer hosts leave cached nodes out of the history, and other tests look there


def rows(server: Server, query: str = "") -> list[dict[str, Any]]:
    return list(server.get(f"/hps/v1/ledger/rows?{query}")["rows"])


def test_a_run_is_in_the_ledger_with_its_settings(filled: Server) -> None:
    found = rows(filled, "sort=score")
    assert len(found) == 8 and [row["score"] for row in found] == sorted((row["score"] for row in found), reverse=True)
    best = found[0]
    assert best["seed"].isdigit() and len({row["seed"] for row in found}) == 8
    assert best["sampler"] and best["scheduler"] and best["steps"] > 0 and best["cfg"] > 0
    assert best["group"]["n"] == 8 and best["standing"] > 0 > found[-1]["standing"]
    assert best["file"].endswith(".png"), "the saved winner is not known"
    assert best["thumbnail"] and best["workflow"]


def test_the_same_run_again_adds_nothing(filled: Server) -> None:
    filled.free()
    workflow = json.loads((EXAMPLES / "best_of_8.json").read_text("utf-8"))
    graph = to_api(workflow, filled.get("/object_info"))
    assert filled.run(graph, extra_pnginfo={"workflow": workflow}).status == "success"
    assert len(rows(filled)) == 8


def test_the_workflow_of_a_row_comes_back(filled: Server) -> None:
    answer = filled.get(f"/hps/v1/ledger/workflow/{rows(filled)[0]['id']}")
    assert answer["kind"] == "workflow"
    assert answer["graph"] == json.loads((EXAMPLES / "best_of_8.json").read_text("utf-8"))


def test_pictures_come_small_and_large(filled: Server) -> None:
    for row in rows(filled):
        status, headers, small = ask(filled, "GET", f"/hps/v1/ledger/image/{row['id']}?size=thumb")
        assert (status, headers["content-type"], small[:4]) == (200, "image/webp", b"RIFF")
        assert headers["x-content-type-options"] == "nosniff" and "private" in headers["cache-control"]
        status, headers, large = ask(filled, "GET", f"/hps/v1/ledger/image/{row['id']}?size=full")
        wanted = "image/png" if row["file"] else "image/jpeg"
        assert (status, headers["content-type"]) == (200, wanted) and large[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")


def test_filters_and_paging(filled: Server) -> None:
    facets = filled.get("/hps/v1/ledger/facets")
    prompt = facets["prompts"][0]
    assert prompt["n"] == 8 and facets["samplers"][0]["n"] == 8
    assert len(rows(filled, f"prompt={prompt['id']}")) == 8 and rows(filled, "prompt=999999") == []
    assert rows(filled, "sampler=no+such+sampler") == [] and len(rows(filled, "limit=3")) == 3
    page = [row["id"] for start in (0, 3, 6) for row in rows(filled, f"limit=3&offset={start}&sort=seed&order=asc")]
    assert page == [row["id"] for row in rows(filled, "sort=seed&order=asc")]
    assert filled.get("/hps/v1/ledger/compare?by=sampler")["settings"][0]["n"] == 8


def test_export(filled: Server) -> None:
    status, headers, data = ask(filled, "GET", "/hps/v1/ledger/export?format=csv")
    assert status == 200 and "attachment" in headers["content-disposition"] and len(data.splitlines()) == 9
    _, _, data = ask(filled, "GET", "/hps/v1/ledger/export?format=jsonl")
    assert {json.loads(line)["seed"] for line in data.splitlines()} == {row["seed"] for row in rows(filled)}


def test_blind_picks_and_agreement(filled: Server) -> None:
    scores = {row["id"]: row["score"] for row in rows(filled)}
    before = filled.get("/hps/v1/picks/agreement")
    seen = set()
    for _ in range(6):
        pair = filled.get("/hps/v1/picks/next")["pair"]
        assert set(pair) == {"ids", "size", "prompt", "width", "height"}, "the pair says more than it may"
        assert pair["size"] == "full"
        better = max(pair["ids"], key=scores.__getitem__)
        body = {"shown": pair["ids"], "chosen": better, "outcome": "pick", "kind": "pair", "seconds": 1.5}
        status, answer = post(filled, "/hps/v1/picks", body)
        assert status == 200 and {entry["id"] for entry in answer["reveal"]} == set(pair["ids"])
        seen.add(frozenset(pair["ids"]))
    assert len(seen) == 6, "a pair was asked twice"
    after = filled.get("/hps/v1/picks/agreement")
    assert (after["n"] - before["n"], after["agree"] - before["agree"]) == (6, 6) and after["low"] < after[
        "rate"
    ] == 1.0
    assert not after["enough"]


@pytest.mark.parametrize(
    "body",
    [
        {"shown": [1], "chosen": 1, "outcome": "pick", "kind": "pair"},
        {"shown": [1, 1], "chosen": 1, "outcome": "pick", "kind": "pair"},
        {"shown": [1, 2], "chosen": 3, "outcome": "pick", "kind": "pair"},
        {"shown": [1, 2], "chosen": True, "outcome": "pick", "kind": "pair"},
        {"shown": [True, 2], "chosen": None, "outcome": "tie", "kind": "pair"},
        {"shown": [1, 2], "chosen": 1, "outcome": "tie", "kind": "pair"},
        {"shown": [1, 2], "outcome": "pick", "kind": "pair"},
        {"shown": "12", "outcome": "tie", "kind": "pair"},
        {"shown": [1, 2], "outcome": "maybe", "kind": "pair"},
        {"shown": [1, 2], "outcome": "tie", "kind": "pair", "seconds": -1},
        {"shown": [1, 2], "outcome": "tie", "kind": "pair", "seconds": "9"},
        {"shown": [2**60, 2], "outcome": "tie", "kind": "pair"},
        {"shown": list(range(1, 100)), "outcome": "tie", "kind": "grid"},
        [],
    ],
)
def test_senseless_picks_are_refused(filled: Server, body: Any) -> None:
    before = filled.get("/hps/v1/ledger/summary")["picks"]
    status, answer = post(filled, "/hps/v1/picks", body)
    assert status == 400 and answer["error"]
    assert filled.get("/hps/v1/ledger/summary")["picks"] == before


def test_a_pick_among_rows_that_are_gone(filled: Server) -> None:
    body = {"shown": [10**9, 10**9 + 1], "chosen": None, "outcome": "tie", "kind": "pair"}
    status, answer = post(filled, "/hps/v1/picks", body)
    assert status == 404 and "ledger" in answer["error"]


# --- whom they refuse ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_pages_of_other_sites_are_refused(filled: Server, headers: dict[str, str]) -> None:
    for path in READING:
        assert ask(filled, "GET", f"/hps/v1/{path}", headers=headers)[0] == 403, path
    for path, body in WRITING:
        status, _, _ = ask(
            filled, "POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"} | headers
        )
        assert status == 403, path
    assert len(rows(filled)) == 8


def test_a_foreign_page_is_refused_for_an_address_in_the_network(filled: Server) -> None:
    headers = {"Host": "192.168.0.7:8188", "Origin": "http://evil.example", "Content-Type": "application/json"}
    assert ask(filled, "POST", "/hps/v1/ledger/purge", b'{"confirm": true}', headers)[0] == 403
    own = {"Host": "192.168.0.7:8188", "Origin": "http://192.168.0.7:8188"}
    assert ask(filled, "GET", "/hps/v1/ledger/summary", headers=own)[0] == 200


def test_other_types_than_json_are_refused(filled: Server) -> None:
    for path, body in WRITING:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            status, _, data = ask(filled, "POST", path, json.dumps(body).encode(), {"Content-Type": kind})
            assert status == 415 and b"json" in data, (path, kind)
    assert len(rows(filled)) == 8


def test_reading_never_writes(filled: Server) -> None:
    for path, _ in WRITING:
        assert ask(filled, "GET", path)[0] in (404, 405)
    assert len(rows(filled)) == 8


def test_a_huge_body_is_refused_at_once(filled: Server) -> None:
    start = time.monotonic()
    headers = {"Content-Type": "application/json", "Content-Length": str(100 << 20)}
    place = urlsplit(filled.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
    connection.putrequest("POST", "/hps/v1/picks")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 413  # without one byte of the body
    connection.close()
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
    chunks = (b"x" * 65_536 for _ in range(1600))
    try:
        connection.request("POST", "/hps/v1/picks", chunks, {"Content-Type": "application/json"}, encode_chunked=True)
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        status = 413  # the server hung up in the middle, as it should
    assert status == 413 and time.monotonic() - start < 20
    connection.close()
    assert filled.get("/hps/v1/ledger/summary")["enabled"] is True


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 30_000, b"\xff\xfe", b"null", b'"x"'])
def test_bodies_that_are_no_object_are_refused(filled: Server, body: bytes) -> None:
    status, _, data = ask(filled, "POST", "/hps/v1/picks", body, {"Content-Type": "application/json"})
    assert status == 400 and json.loads(data)["error"]


@pytest.mark.parametrize(
    "path",
    [
        "ledger/image/..%2f..%2fserver.log",
        "ledger/image/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "ledger/image/1%00",
        "ledger/image/-1",
        "ledger/image/0",
        "ledger/image/1e3",
        "ledger/image/99999999999999999999",
        "ledger/image/1?size=../../x",
        "ledger/workflow/..%5c..%5cx",
        "ledger/rows?sort=score;drop table",
        "ledger/rows?sort=prompt)--",
        "ledger/rows?order=down",
        "ledger/rows?limit=100000",
        "ledger/rows?limit=-1",
        "ledger/rows?offset=x",
        "ledger/rows?prompt=1%20or%201",
        "ledger/rows?search=" + "x" * 3000,
        "ledger/compare?by=prompt",
        "ledger/export?format=../x",
        "picks/next?prompt=abc",
    ],
)
def test_paths_and_parameters_are_checked(filled: Server, path: str) -> None:
    status, _, data = ask(filled, "GET", f"/hps/v1/{path.replace(' ', '%20')}")
    assert 400 <= status < 500, (path, status)
    assert b"Traceback" not in data and b"root:" not in data


def test_a_search_is_a_text_and_nothing_else(filled: Server) -> None:
    for text in ("%25", "_", "%27%20or%20%271%27=%271", "%5c", '"', "%00"):
        assert rows(filled, f"search={text}") == [], text


def test_purge_wants_a_confirmation_and_obeys_the_time(filled: Server) -> None:
    for body in (
        {},
        {"confirm": "yes"},
        {"confirm": 1},
        {"confirm": True, "before": "now"},
        {"confirm": True, "before": True},
    ):
        assert post(filled, "/hps/v1/ledger/purge", body)[0] == 400, body
    assert post(filled, "/hps/v1/ledger/purge", {"confirm": True, "before": 1.0})[1]["deleted"] == 0
    assert len(rows(filled)) == 8


def test_results_out_of_the_hosts_cache_can_be_asked_for(filled: Server) -> None:
    workflow = json.loads((EXAMPLES / "best_of_8.json").read_text("utf-8"))
    graph = {f"9{key}": node for key, node in to_api(workflow, filled.get("/object_info")).items()}
    for node in graph.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][name] = [f"9{value[0]}", value[1]]
    prompt = filled.queue(graph)
    assert filled.wait(prompt).status == "success"
    nodes = filled.get(f"/hps/v1/shown?prompt={prompt}")["nodes"]
    assert len(nodes["96"][0]["items"]) == 8, "the node's result is not known under its new id"
    assert ask(filled, "GET", "/hps/v1/shown?prompt=nothing")[0] == 404 == ask(filled, "GET", "/hps/v1/shown")[0]


def test_the_state_of_a_tab_is_for_that_tab(filled: Server) -> None:
    assert filled.get("/hps/v1/snapshot?client=tests")["nodes"]
    assert filled.get("/hps/v1/snapshot?client=")["nodes"] == {} == filled.get("/hps/v1/snapshot")["nodes"]
    assert filled.get("/hps/v1/snapshot?client=another")["nodes"] == {}
