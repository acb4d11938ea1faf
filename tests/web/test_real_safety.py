"""The routes of a real server against what a hostile page or client would send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from comfy_harness import Server
from web_harness.raw import RawAnswer, send

JSON = {"Content-Type": "application/json"}
POSTS = ["/hps/v1/picks", "/hps/v1/ledger/purge"]
GETS = ["ledger/rows", "ledger/facets", "ledger/summary", "ledger/compare", "ledger/export", "picks/agreement"]
GETS = [f"/hps/v1/{path}" for path in [*GETS, "picks/next", "snapshot"]]
HUGE = 100 * 2**20
TRAVERSALS = [
    "..", "../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%5c..%5cwin.ini",
    "%252e%252e%252fetc%252fpasswd", "/etc/passwd", "%2fetc%2fpasswd", "C:%5Cwindows", "1%00.png", "1/../../2",
    "-1", "0", "1.5", "1e3", "true", "%F0%9F%98%80", "9" * 400, "18446744073709551616", "'%20OR%201=1--",
]  # fmt: skip


def post(server: Server, path: str, value: Any, **headers: str) -> RawAnswer:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return send(server.url, "POST", path, {**JSON, **named}, json.dumps(value).encode())


def refused(answer: RawAnswer, status: int) -> None:
    assert answer.status == status, (answer.status, answer.body[:300])
    assert len(answer.json["error"]) > 15, "an error says what happened"


def megabytes(chunked: bool = False) -> Iterator[bytes]:
    part = b" " * 2**20
    for _ in range(HUGE // len(part)):
        yield b"%x\r\n%s\r\n" % (len(part), part) if chunked else part
    if chunked:
        yield b"0\r\n\r\n"


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_body_of_100_mb_is_refused_before_it_is_read(server: Server, path: str, prefix: str) -> None:
    answer = send(server.url, "POST", prefix + path, {**JSON, "Content-Length": str(HUGE)}, megabytes())
    refused(answer, 413)
    assert answer.seconds < 3 and answer.sent < 20 * 2**20, (answer.seconds, answer.sent)


@pytest.mark.parametrize("path", POSTS)
def test_a_body_without_a_length_is_cut_off(server: Server, path: str) -> None:
    answer = send(server.url, "POST", path, {**JSON, "Transfer-Encoding": "chunked"}, megabytes(chunked=True))
    refused(answer, 413)
    assert answer.seconds < 3 and answer.sent < 20 * 2**20, (answer.seconds, answer.sent)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_bodies_that_a_form_of_another_site_can_send_are_refused(server: Server, path: str, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    refused(send(server.url, "POST", path, headers, b'{"confirm": true}'), 415)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"])
def test_a_foreign_origin_is_refused(server: Server, path: str, origin: str) -> None:
    assert post(server, path, {"confirm": True}, Origin=origin).status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site"])
@pytest.mark.parametrize("path", POSTS)
def test_what_the_browser_calls_another_site_is_refused(server: Server, path: str, site: str) -> None:
    assert post(server, path, {"confirm": True}, Sec_Fetch_Site=site, Origin=server.url).status == 403


@pytest.mark.parametrize("path", GETS)
def test_pages_of_other_sites_may_not_read(server: Server, path: str) -> None:
    assert send(server.url, "GET", path, {"Sec-Fetch-Site": "cross-site"}).status == 403
    answer = send(server.url, "GET", path, {"Sec-Fetch-Site": "same-origin"})
    assert answer.status in (200, 400) and "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 60000, b"NaN", b"1e999"])
def test_what_is_no_json_object_is_refused(server: Server, path: str, body: bytes) -> None:
    refused(send(server.url, "POST", path, JSON, body), 400)


@pytest.mark.parametrize(
    "pick",
    [
        {"shown": [1, 2], "chosen": True, "outcome": "pick", "kind": "pair"},
        {"shown": [True, 2], "chosen": 2, "outcome": "pick", "kind": "pair"},
        {"shown": ["1", "x"], "chosen": None, "outcome": "tie", "kind": "pair"},
        {"shown": [1, 2], "chosen": 3, "outcome": "pick", "kind": "pair"},
        {"shown": [1, 1], "chosen": 1, "outcome": "pick", "kind": "pair"},
        {"shown": [1, 2], "chosen": 1, "outcome": "tie", "kind": "pair"},
        {"shown": [1, 2], "chosen": None, "outcome": "pick", "kind": "pair"},
        {"shown": [1], "chosen": 1, "outcome": "pick", "kind": "pair"},
        {"shown": list(range(1, 1000)), "chosen": 1, "outcome": "pick", "kind": "grid"},
        {"shown": [1, 2], "chosen": 1, "outcome": "won", "kind": "pair"},
        {"shown": [1, 2], "chosen": 1, "outcome": "pick", "kind": ["pair"]},
        {"shown": [1, 2], "chosen": 1, "outcome": "pick", "kind": "pair", "seconds": -1},
        {"shown": [1, 2], "chosen": 1, "outcome": "pick", "kind": "pair", "seconds": "1"},
        {"shown": [1, 10**30], "chosen": 1, "outcome": "pick", "kind": "pair"},
        {"shown": {"0": 1, "1": 2}, "chosen": 1, "outcome": "pick", "kind": "pair"},
    ],
)
def test_picks_that_make_no_sense_are_refused(server: Server, pick: dict[str, Any]) -> None:
    refused(post(server, "/hps/v1/picks", pick), 400)


def test_a_pick_among_rows_that_are_not_there_is_refused(server: Server) -> None:
    pick = {"shown": [2**40, 2**40 + 1], "chosen": 2**40, "outcome": "pick", "kind": "pair"}
    refused(post(server, "/hps/v1/picks", pick), 404)


@pytest.mark.parametrize("body", [{}, {"confirm": 1}, {"confirm": "true"}, {"confirm": True, "before": "x"}])
def test_nothing_is_purged_without_a_clear_word(server: Server, body: dict[str, Any]) -> None:
    refused(post(server, "/hps/v1/ledger/purge", body), 400)


@pytest.mark.parametrize("value", TRAVERSALS)
@pytest.mark.parametrize("path", ["/hps/v1/ledger/image/", "/api/hps/v1/ledger/workflow/"])
def test_a_row_is_named_by_a_number_only(server: Server, path: str, value: str) -> None:
    answer = send(server.url, "GET", path + value)
    assert 400 <= answer.status < 500, (answer.status, answer.body[:200])
    assert b"root:" not in answer.body and b"Traceback" not in answer.body


@pytest.mark.parametrize("value", TRAVERSALS)
@pytest.mark.parametrize("name", ["prompt", "limit", "offset", "sort", "order"])
def test_numbers_and_words_of_a_query_are_checked(server: Server, name: str, value: str) -> None:
    answer = send(server.url, "GET", f"/hps/v1/ledger/rows?{name}={value}")
    harmless = name == "offset" and value == "0"
    assert harmless or answer.status == 400, (answer.status, answer.body[:200])


@pytest.mark.parametrize("query", ["size=..%2f", "size=huge", "by=1;drop", "format=..%2fxlsx"])
def test_choices_of_a_query_are_checked(server: Server, query: str) -> None:
    path = {"s": "image/1", "b": "compare", "f": "export"}[query[0]]
    answer = send(server.url, "GET", f"/hps/v1/ledger/{path}?{query}")
    assert 400 <= answer.status < 500


@pytest.mark.parametrize("name", ["model", "sampler", "scheduler", "scorer", "search"])
def test_filters_are_values_and_never_part_of_the_query(server: Server, name: str) -> None:
    for value in ("%27%20OR%201=1--", "%25", "_", "%5C", "%00", "a%22;DROP%20TABLE%20rows;--"):
        answer = send(server.url, "GET", f"/hps/v1/ledger/rows?{name}={value}")
        assert answer.status in (200, 400)
        if answer.status == 200:
            assert answer.json["rows"] == []
    assert send(server.url, "GET", f"/hps/v1/ledger/rows?{name}={'a' * 7000}").status in (200, 400, 414)


@pytest.mark.parametrize("path", [*GETS, *POSTS])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_do_nothing(server: Server, path: str, method: str) -> None:
    assert send(server.url, method, path, JSON, b"{}").status == 405


@pytest.mark.parametrize("path", POSTS)
def test_what_changes_something_is_never_a_get(server: Server, path: str) -> None:
    assert send(server.url, "GET", path).status in (404, 405)
