"""The stand-in for the host behaves as the host was measured to, and the harness notices what it has to notice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from web_harness import Reply, StubPage

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_requests_are_answered_by_value_and_by_function(stub_page: StubPage) -> None:
    stub_page.hps_route("/hps/v1/ledger/rows", {"rows": []})
    stub_page.hps_route("/hps/v1/ledger/image/*", lambda asked: Reply({"error": asked.path[-1]}, 404))
    rows, status, error = stub_page.evaluate(
        """async () => {
            const { api } = await import("/scripts/api.js");
            const rows = await (await api.fetchApi("/hps/v1/ledger/rows?sort=score")).json();
            const image = await fetch(api.apiURL("/hps/v1/ledger/image/7?size=thumb"));
            return [rows, image.status, (await image.json()).error];
        }"""
    )
    assert (rows, status, error) == ({"rows": []}, 404, "7")
    assert [asked.query for asked in stub_page.asked_for("/hps/v1/ledger/*")] == [{"sort": "score"}, {"size": "thumb"}]


def test_a_posted_body_arrives(stub_page: StubPage) -> None:
    stub_page.hps_route("/hps/v1/picks", lambda asked: {"echo": asked.json})
    script = """async () => (await (await comfyAPI.api.api.fetchApi("/hps/v1/picks", {
        method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({chosen: 3}) })).json())"""
    assert stub_page.evaluate(script) == {"echo": {"chosen": 3}}
    [asked] = stub_page.asked_for("/hps/v1/picks", "POST")
    assert asked.headers["content-type"] == "application/json" and asked.headers["comfy-user"] == "default"


def test_the_newest_route_wins(stub_page: StubPage) -> None:
    for value in (1, 2):
        stub_page.hps_route("/hps/v1/ledger/summary", {"rows": value})
    script = "async () => (await (await comfyAPI.api.api.fetchApi('/hps/v1/ledger/summary')).json()).rows"
    assert stub_page.evaluate(script) == 2


def test_a_delayed_request_can_be_aborted(stub_page: StubPage) -> None:
    stub_page.delay("/hps/v1/ledger/rows", 60_000)
    script = """async () => {
        const stop = new AbortController();
        setTimeout(() => stop.abort(), 20);
        try { await comfyAPI.api.api.fetchApi("/hps/v1/ledger/rows", { signal: stop.signal }) }
        catch (error) { return error.name } }"""
    assert stub_page.evaluate(script) == "AbortError"


def test_view_answers_with_a_picture(stub_page: StubPage) -> None:
    script = """async (names) => Promise.all(names.map(async (name) => {
        const image = new Image(); image.src = comfyAPI.api.api.apiURL("/view?filename=" + name);
        await image.decode(); return image.naturalWidth; }))"""
    assert stub_page.evaluate(script, ["a.webp", "b.webp"]) == [64, 64]


def test_executed_reaches_the_node_and_one_in_a_subgraph(stub_page: StubPage) -> None:
    stub_page.add_node(id=5, type="HPS_Score")
    stub_page.evaluate(
        """() => {
            const outer = app.graph.getNodeById(5), inner = new StubNode({ id: 3 });
            outer.subgraph = new StubGraph();
            outer.subgraph.nodes.push(inner);
            window.got = [];
            outer.onExecuted = (output) => got.push(["5", output]);
            inner.onExecuted = (output) => got.push(["5:3", output]);
        }"""
    )
    stub_page.executed("5", {"text": ["a"]})
    stub_page.executed("5:3", {"text": ["b"]})
    assert stub_page.evaluate("() => window.got") == [["5", {"text": ["a"]}], ["5:3", {"text": ["b"]}]]
    assert stub_page.evaluate("() => Object.keys(app.nodeOutputs)") == ["5", "5:3"]


def test_ids_are_compared_strictly_as_in_the_host(stub_page: StubPage) -> None:
    stub_page.add_node(id=5)
    assert stub_page.evaluate("() => [app.graph.getNodeById('5'), app.graph.getNodeById(5)?.id]") == [None, 5]


def test_dom_widgets_stand_in_the_document_until_the_node_goes(stub_page: StubPage) -> None:
    stub_page.add_node(id=1, size=[400, 200])
    stub_page.evaluate(
        """() => {
            const element = document.createElement("div");
            element.textContent = "gallery";
            app.graph.getNodeById(1).addDOMWidget("hps", "HPS", element, { serialize: false });
        }"""
    )
    box = stub_page.locator("[data-node='1'] > .dom-widget").bounding_box()
    assert box is not None and (box["width"], box["height"]) == (400, 200)
    stub_page.evaluate("() => app.graph.remove(app.graph.getNodeById(1))")
    assert stub_page.locator(".dom-widget").count() == 0


def test_hooks_settings_and_commands_of_an_extension(stub_page: StubPage) -> None:
    stub_page.evaluate(
        """async () => {
            window.seen = [];
            app.registerExtension({
                name: "x",
                settings: [{ id: "X.On", type: "boolean", defaultValue: true, onChange: (now) => seen.push(now) }],
                commands: [{ id: "X.Do", function: () => seen.push("did") }],
                setup: () => seen.push("setup"),
                nodeCreated: (node) => seen.push(node.comfyClass),
            });
            await app.invoke("setup");
            await app.extensionManager.command.execute("X.Do");
            await app.extensionManager.setting.set("X.On", false);
        }"""
    )
    stub_page.add_node(type="HPS_Select")
    assert stub_page.evaluate("() => seen") == [True, "setup", "did", False, "HPS_Select"]
    assert stub_page.evaluate("() => app.extensionManager.setting.get('X.On')") is False


def test_registering_twice_fails_as_in_the_host(stub_page: StubPage) -> None:
    script = """() => { app.registerExtension({ name: "x" });
        try { app.registerExtension({ name: "x" }) } catch (error) { return error.message } }"""
    assert "already registered" in stub_page.evaluate(script)


def test_the_sidebar_renders_and_destroys_a_tab(stub_page: StubPage) -> None:
    stub_page.evaluate(
        """() => { window.calls = [];
            app.extensionManager.registerSidebarTab({ id: "hps", title: "HPS", type: "custom",
                render: (place) => { calls.push("render"); place.textContent = "board" },
                destroy: () => calls.push("destroy") }) }"""
    )
    stub_page.open_tab("hps")
    assert stub_page.locator("#sidebar").inner_text() == "board"
    stub_page.evaluate("() => app.extensionManager.command.execute('Workspace.ToggleSidebarTab.hps')")
    assert stub_page.evaluate("() => calls") == ["render", "destroy"]
    assert stub_page.locator("#sidebar").inner_text() == ""


def test_copies_are_seen_without_a_clipboard(stub_page: StubPage) -> None:
    script = """() => { const field = document.createElement("textarea"); field.value = "9007199254740993";
        document.body.append(field); field.select(); document.execCommand("copy"); field.remove();
        return [window.isSecureContext, Boolean(navigator.clipboard)] }"""
    assert stub_page.evaluate(script) == [False, False]
    assert stub_page.copied == ["9007199254740993"]


def test_a_wrong_severity_of_a_toast_is_an_error(stub_page: StubPage) -> None:
    script = """() => { app.extensionManager.toast.add({ severity: "warn", summary: "s", detail: "d" });
        try { app.extensionManager.toast.add({ severity: "warning" }) } catch (error) { return error.message } }"""
    assert "severity" in stub_page.evaluate(script)
    assert [toast["summary"] for toast in stub_page.toasts] == ["s"]


def test_dialogs_get_the_answers_of_the_test(stub_page: StubPage) -> None:
    script = """async () => { const { dialog, answers } = app.extensionManager; answers.push(true);
        const ask = () => dialog.confirm({ title: "t", message: "m" });
        return [await ask(), await ask()] }"""
    assert stub_page.evaluate(script) == [True, None]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("() => { setTimeout(() => { throw new Error('torn') }) }", "uncaught: .*torn"),
        ("() => { console.error('odd') }", "console: odd"),
        ("() => { fetch('http://example.org/x.js').catch(() => 0) }", "another host: http://example.org/x.js"),
        ("() => { fetch('http://127.0.0.1:1/').catch(() => 0) }", "another host: http://127.0.0.1:1/"),
        ("() => { fetch('/api/hps/v1/unheard') }", "no answer for GET /hps/v1/unheard"),
    ],
)
def test_problems_are_noticed(browser: Browser, script: str, problem: str) -> None:
    page = StubPage(browser)
    page.evaluate(script)
    deadline = time.monotonic() + 3
    while not page.problems and time.monotonic() < deadline:
        page.wait_for_timeout(10)
    assert len(page.problems) == 1
    page.allow(problem)
    assert page.problems == []
    page.close()


def test_files_outside_of_web_are_not_served(stub_page: StubPage) -> None:
    script = "async (path) => (await fetch(path)).status"
    assert stub_page.evaluate(script, "/extensions/hps-nodes/docs/HPS_Score.md") == 200
    assert stub_page.evaluate(script, "/extensions/hps-nodes/%2e%2e%2fpyproject.toml") == 404


def test_the_theme_changes_the_hosts_colours(stub_page: StubPage) -> None:
    colours = []
    for name in ("dark", "light"):
        stub_page.theme(name)
        colours.append(stub_page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(32, 32, 32)", "rgb(240, 240, 240)"]
