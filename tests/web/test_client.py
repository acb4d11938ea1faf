"""web/lib/client.js: addresses, errors with a remedy, no repeats, and giving up."""

from __future__ import annotations

from typing import Any

import pytest
from web_harness import Reply, StubPage

CALL = """async ([name, args]) => {
    const client = await import("/extensions/hps-nodes/lib/client.js");
    try { return { value: await client[name](...args) } }
    catch (error) { return { name: error.name, kind: error.kind, status: error.status, message: error.message } }
}"""


def call(page: StubPage, name: str, *args: Any) -> dict[str, Any]:
    return dict(page.evaluate(CALL, [name, list(args)]))


def test_rows_are_asked_with_what_is_set_only(stub_page: StubPage) -> None:
    stub_page.hps_route("/hps/v1/ledger/rows", {"v": 1, "rows": [], "total": 0})
    filters = {"prompt": "", "model": "a&b=c", "search": "50% <b>", "sort": "score", "order": "asc", "limit": 50}
    assert call(stub_page, "fetchRows", filters)["value"] == {"v": 1, "rows": [], "total": 0}
    [asked] = stub_page.asked_for("/hps/v1/ledger/rows")
    assert asked.query == {"model": "a&b=c", "search": "50% <b>", "sort": "score", "order": "asc", "limit": "50"}


@pytest.mark.parametrize(
    ("name", "args", "path", "body"),
    [
        ("purge", [None], "/hps/v1/ledger/purge", {"confirm": True, "before": None}),
        ("sendPick", [{"shown": [2, 1], "chosen": 1}], "/hps/v1/picks", {"shown": [2, 1], "chosen": 1}),
    ],
)
def test_what_writes_is_a_post_with_json(stub_page: StubPage, name: str, args: list[Any], path: str, body: Any) -> None:
    stub_page.hps_route(path, {"v": 1})
    call(stub_page, name, *args)
    [asked] = stub_page.asked_for(path, "POST")
    assert asked.headers["content-type"] == "application/json" and asked.json == body


@pytest.mark.parametrize(
    ("status", "kind", "remedy"),
    [
        (400, "request", "reload this page"),
        (403, "refused", "Open ComfyUI at the address"),
        (404, "missing", "press Refresh"),
        (413, "large", "Choose fewer"),
        (415, "request", "Restart ComfyUI"),
        (500, "server", "log says why"),
        (502, "server", "press Refresh"),
    ],
)
def test_a_status_becomes_words_with_a_remedy(stub_page: StubPage, status: int, kind: str, remedy: str) -> None:
    stub_page.hps_route("/hps/v1/ledger/facets", Reply("<h1>proxy</h1>", status, "text/html"))
    error = call(stub_page, "fetchFacets")
    assert (error["name"], error["kind"], error["status"]) == ("RouteError", kind, status)
    assert remedy in error["message"] and "proxy" not in error["message"]
    assert len(stub_page.asked_for("/hps/v1/ledger/facets")) == 1, "it is not tried again"


def test_what_the_server_says_comes_first(stub_page: StubPage) -> None:
    stub_page.hps_route("/hps/v1/ledger/facets", Reply({"error": "The ledger is off: several people."}, 403))
    assert call(stub_page, "fetchFacets")["message"] == "The ledger is off: several people."


@pytest.mark.parametrize("answer", [Reply("<html>log in</html>", 200, "text/html"), {"v": 2, "rows": []}, [1], {}])
def test_an_answer_of_another_version_is_an_error(stub_page: StubPage, answer: Any) -> None:
    stub_page.hps_route("/hps/v1/ledger/facets", answer)
    assert call(stub_page, "fetchFacets")["kind"] == "answer"


def test_a_server_that_is_gone(stub_page: StubPage) -> None:
    stub_page.evaluate("() => { comfyAPI.api.api.fetchApi = async () => { throw new TypeError('Failed to fetch') } }")
    error = call(stub_page, "fetchSummary")
    assert error["kind"] == "gone" and "still runs" in error["message"]


def test_a_server_that_is_slow_is_given_up(stub_page: StubPage) -> None:
    stub_page.clock.install()
    stub_page.evaluate(
        """() => {
            comfyAPI.api.api.fetchApi = (route, { signal }) => new Promise((resolve, reject) =>
                signal.addEventListener("abort", () => reject(signal.reason)));
            window.answer = import("/extensions/hps-nodes/lib/client.js")
                .then((client) => client.fetchSummary()).catch((error) => error.kind);
        }"""
    )
    stub_page.wait_for_timeout(100)
    stub_page.clock.run_for(21_000)
    assert stub_page.evaluate("() => window.answer") == "slow"


def test_an_abort_is_no_trouble(stub_page: StubPage) -> None:
    stub_page.delay("/hps/v1/ledger/facets", 60_000)
    result = stub_page.evaluate(
        """async () => {
            const client = await import("/extensions/hps-nodes/lib/client.js");
            const stop = new AbortController();
            const asked = client.fetchFacets(stop.signal);
            stop.abort();
            const late = client.fetchFacets(stop.signal);
            const seen = [];
            for (const each of [asked, late]) await each.catch((error) => seen.push(client.isAbort(error)));
            return seen;
        }"""
    )
    assert result == [True, True] and not stub_page.asked_for("/hps/v1/ledger/facets")


@pytest.mark.parametrize("bad", ["1", "../../etc/passwd", -1, 1.5, None])
def test_only_row_numbers_become_addresses(stub_page: StubPage, bad: Any) -> None:
    assert call(stub_page, "imageUrl", bad)["name"] == "RangeError"
    assert call(stub_page, "imageUrl", 7, "full")["value"] == "/api/hps/v1/ledger/image/7?size=full"


def test_explain_has_words_for_anything(stub_page: StubPage) -> None:
    assert "reload" in call(stub_page, "explain", "odd")["value"].lower()
