"""From events to nodes: only known ones, of the open workflow; coming back after a reload, undo or another tab."""

from __future__ import annotations

from typing import Any

import pytest
from web_harness import Reply, StubPage
from web_harness.samples import noise, point, pool, search

LIB = "/extensions/hps-nodes/lib/"
SUBGRAPH = """() => {
    const inner = new StubNode({ id: 3, type: "HPS_Score", size: [400, 300] });
    const outer = new StubNode({ id: 5, type: "Sub" });
    outer.subgraph = new StubGraph();
    outer.subgraph.id = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
    outer.subgraph.add(inner);
    app.graph.add(outer);
    app.graph.subgraphs = new Map([[outer.subgraph.id, outer.subgraph]]);
    return app.invoke("nodeCreated", inner);
}"""


def with_node(page: StubPage, kind: str = "HPS_BestOfN", node: int = 1) -> None:
    page.start()
    page.add_node(id=node, type=kind, size=[400, 60])


def cells(page: StubPage) -> int:
    return int(page.locator(".hps-cell").count())


def test_only_nodes_of_the_pack_get_a_panel(stub_page: StubPage) -> None:
    stub_page.start()
    for node, kind in enumerate(("KSampler", "HPS_LoadScorer", "HPS_Score", "HPS_RewardGuidance")):
        stub_page.add_node(id=node, type=kind)
    assert stub_page.locator(".hps-node").count() == 2


def test_the_widget_is_the_last_and_is_not_saved(stub_page: StubPage) -> None:
    with_node(stub_page, "HPS_Select")
    widget = "(what) => { const all = app.graph.getNodeById(1).widgets; return all[all.length - 1][what] }"
    assert stub_page.evaluate(widget, "name") == "hps_panel"
    assert stub_page.evaluate(widget, "serialize") is False
    assert stub_page.evaluate("() => app.graph.getNodeById(1).widgets.at(-1).options.serialize") is False
    assert stub_page.evaluate("() => app.graph.getNodeById(1).hideOutputImages") is True


@pytest.mark.parametrize(
    "event",
    [None, {}, {"node": "99"}, {"node": "1:2:3"}, {"node": "2"}, {"node": None}, {"node": "1", "candidates": None}],
)
def test_odd_events_are_no_error(stub_page: StubPage, event: Any) -> None:
    with_node(stub_page)
    stub_page.add_node(id=2, type="KSampler")
    for name in ("hps.candidate", "hps.optimize", "hps.steer", "hps.notice", "execution_error", "executed"):
        if not (name == "executed" and event is None):
            stub_page.send(name, event)
    assert cells(stub_page) == 0


def test_events_reach_nodes_by_number_and_by_text(stub_page: StubPage) -> None:
    stub_page.start()
    stub_page.evaluate("() => app.addNode({ id: '7', type: 'HPS_BestOfN', size: [400, 60] })")
    stub_page.send("hps.candidate", search("7", [(0, 1.0)], 0, 1))
    assert cells(stub_page) == 1


def test_results_reach_a_node_in_a_subgraph_after_a_run_and_after_undo(stub_page: StubPage) -> None:
    stub_page.start()
    stub_page.evaluate(SUBGRAPH)
    count = "() => app.graph.getNodeById(5).subgraph.getNodeById(3).frame.querySelectorAll('.hps-cell').length"
    stub_page.executed("5:3", {"hps": [pool([1.0, 2.0])]})
    assert stub_page.evaluate(count) == 2
    restored = {"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee:3": {"hps": [pool([1.0, 2.0, 3.0], run="old")]}}
    stub_page.evaluate("(outputs) => app.invoke('onNodeOutputsUpdated', outputs)", restored)
    assert stub_page.evaluate(count) == 3


def test_outputs_come_back_after_undo(stub_page: StubPage) -> None:
    with_node(stub_page, "HPS_Score")
    stub_page.evaluate("(o) => app.invoke('onNodeOutputsUpdated', o)", {"1": {"hps": [pool([1.0, 2.0])]}, "8": {}})
    assert cells(stub_page) == 2


def test_the_same_result_told_again_keeps_the_choice(stub_page: StubPage) -> None:
    with_node(stub_page, "HPS_Score")
    output = {"hps": [pool([1.0, 2.0])]}
    stub_page.executed("1", output)
    stub_page.locator(".hps-cell").nth(1).click()
    stub_page.executed("1", output)
    assert stub_page.locator("[aria-selected=true]").get_attribute("data-index") == "0"


def test_events_of_another_workflow_wait_until_it_is_open(stub_page: StubPage) -> None:
    with_node(stub_page)
    stub_page.send("hps.candidate", search("1", [(0, 1.0)], 0, 1) | {"workflow": "elsewhere"})
    stub_page.send("hps.candidate", search("1", [(1, 2.0)], 1, 2) | {"workflow": "elsewhere"})
    assert cells(stub_page) == 0
    stub_page.evaluate("() => { app.graph.id = 'elsewhere'; return app.invoke('afterConfigureGraph') }")
    assert cells(stub_page) == 2


def test_a_search_comes_back_when_its_workflow_is_opened_again(stub_page: StubPage) -> None:
    with_node(stub_page)
    stub_page.send("hps.candidate", search("1", [(0, 1.0), (1, 2.0)], 1, 2))
    stub_page.evaluate("() => app.graph.remove(app.graph.getNodeById(1))")
    assert cells(stub_page) == 0
    stub_page.add_node(id=1, type="HPS_BestOfN", size=[400, 60])
    stub_page.evaluate("() => app.invoke('afterConfigureGraph')")
    assert cells(stub_page) == 2
    stub_page.send("hps.candidate", search("1", [(2, 3.0)], 2, 3))
    assert cells(stub_page) == 3


# --- after a page reload ---------------------------------------------------------------------------------------------


def snapshot(page: StubPage, **nodes: dict[str, Any]) -> None:
    base = {"workflow": "stub-graph", "event": None, "data": None, "hps": None}
    page.hps_route("/hps/v1/snapshot", {"v": 1, "nodes": {key[1:]: base | value for key, value in nodes.items()}})


def load_again(page: StubPage) -> None:
    page.evaluate("async (lib) => (await import(lib + 'live.js')).loadSnapshot()", LIB)


def test_a_running_search_comes_back_and_goes_on(stub_page: StubPage) -> None:
    told = search("1", [(0, 1.0), (1, 2.0)], 1, 2)
    snapshot(stub_page, _1={"event": "hps.candidate", "data": told})
    with_node(stub_page)
    load_again(stub_page)
    assert cells(stub_page) == 2
    [*_, asked] = stub_page.asked_for("/hps/v1/snapshot")
    assert asked.query["client"]
    stub_page.send("hps.candidate", search("1", [(2, 3.0)], 2, 3))
    assert cells(stub_page) == 3


def test_a_curve_comes_back_without_doubled_points(stub_page: StubPage) -> None:
    told = noise("1", [point(1, 1.0, 1.0), point(2, 2.0, 2.0)])
    snapshot(stub_page, _1={"event": "hps.optimize", "data": told})
    with_node(stub_page, "HPS_OptimizeNoise")
    stub_page.send("hps.optimize", noise("1", [point(2, 2.0, 2.0), point(3, 3.0, 3.0)]))
    load_again(stub_page)
    stub_page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    points = stub_page.locator("svg.hps-chart .hps-line-best").get_attribute("points") or ""
    assert len(points.split()) == 3


def test_a_result_comes_back(stub_page: StubPage) -> None:
    snapshot(stub_page, _1={"hps": pool([1.0, 2.0])})
    with_node(stub_page, "HPS_Score")
    load_again(stub_page)
    assert cells(stub_page) == 2
    assert stub_page.locator(".hps-kept").count() == 1


def test_what_another_workflow_told_stays_away(stub_page: StubPage) -> None:
    snapshot(stub_page, _1={"workflow": "elsewhere", "hps": pool([1.0, 2.0])})
    with_node(stub_page, "HPS_Score")
    load_again(stub_page)
    assert cells(stub_page) == 0


def test_without_the_route_nothing_breaks(stub_page: StubPage) -> None:
    stub_page.hps_route("/hps/v1/snapshot", lambda asked: "this is no snapshot")
    stub_page.allow("could not be asked for")
    with_node(stub_page)
    load_again(stub_page)
    stub_page.send("hps.candidate", search("1", [(0, 1.0)], 0, 1))
    assert cells(stub_page) == 1


# --- out of the host's cache -----------------------------------------------------------------------------------------


def test_results_out_of_the_cache_are_asked_for(stub_page: StubPage) -> None:
    stub_page.hps_route("/hps/v1/shown", {"v": 1, "nodes": {"1": pool([1.0, 2.0]), "2": pool([1.0, 2.0, 3.0])}})
    with_node(stub_page)
    stub_page.add_node(id=2, type="HPS_Score", size=[400, 60])
    stub_page.send("execution_cached", {"nodes": ["1", "3"], "prompt_id": "p&q"})
    stub_page.locator(".hps-cell").first.wait_for()
    assert cells(stub_page) == 2, "only what came out of the cache"
    [asked] = stub_page.asked_for("/hps/v1/shown")
    assert asked.query == {"prompt": "p&q"}


def test_a_run_of_another_workflow_shows_nothing_here_and_its_result_there(stub_page: StubPage) -> None:
    stub_page.hps_route("/hps/v1/shown", {"v": 1, "workflow": "elsewhere", "nodes": {"1": [pool([5.0])]}})
    with_node(stub_page)
    with stub_page.expect_response("**/hps/v1/shown**"):
        stub_page.send("execution_start", {"prompt_id": "p"})
    stub_page.wait_for_timeout(50)
    stub_page.executed(1, {"hps": [pool([1.0, 2.0, 3.0])]})
    stub_page.send("execution_success", {"prompt_id": "p"})
    stub_page.wait_for_timeout(100)
    assert cells(stub_page) == 0, "shown in a workflow that did not run"
    stub_page.evaluate("() => { app.graph.id = 'elsewhere'; return app.invoke('afterConfigureGraph') }")
    assert cells(stub_page) == 3
    assert stub_page.locator(".hps-running").count() == 0


def test_nothing_is_asked_when_no_panel_is_concerned(stub_page: StubPage) -> None:
    with_node(stub_page)
    for nodes in ([], ["3"], None):
        stub_page.send("execution_cached", {"nodes": nodes, "prompt_id": "p"})
    stub_page.send("execution_cached", {"nodes": ["1"]})
    assert stub_page.asked_for("/hps/v1/shown") == []


def test_a_server_that_forgot_is_no_error(stub_page: StubPage) -> None:
    stub_page.hps_route("/hps/v1/shown", lambda asked: Reply({"error": "The server does not know this run."}, 404))
    stub_page.allow("404")
    with_node(stub_page)
    with stub_page.expect_response("**/hps/v1/shown**"):
        stub_page.send("execution_cached", {"nodes": ["1"], "prompt_id": "p"})
    assert cells(stub_page) == 0 and stub_page.toasts == []


# --- messages --------------------------------------------------------------------------------------------------------


def test_notices_become_toasts_unless_switched_off(stub_page: StubPage) -> None:
    stub_page.start()
    stub_page.send("hps.notice", {"severity": "warn", "summary": "The ledger is full", "detail": "Purge it."})
    stub_page.send("hps.notice", {"severity": "odd", "summary": "s", "detail": "d"})
    assert [(toast["severity"], toast["summary"], toast["detail"]) for toast in stub_page.toasts] == [
        ("warn", "The ledger is full", "Purge it."),
        ("info", "s", "d"),
    ]
    stub_page.evaluate("() => { app.extensionManager.setting.values['HPS.Notices'] = false }")
    stub_page.send("hps.notice", {"severity": "warn", "summary": "again", "detail": ""})
    assert len(stub_page.toasts) == 2


def test_an_error_of_a_node_says_what_happened_and_what_to_do(stub_page: StubPage) -> None:
    with_node(stub_page)
    message = "The prompt is empty, so the scorer has nothing to compare.  Write one. See v2.1."
    stub_page.send("hps.candidate", search("1", [(0, 1.0)], 0, 1))
    stub_page.send("execution_error", {"node_type": "HPS_Score", "exception_message": message, "node_id": "1"})
    [toast] = stub_page.toasts
    assert toast["severity"] == "error"
    assert toast["summary"] == "The prompt is empty, so the scorer has nothing to compare."
    assert toast["detail"] == "Write one. See v2.1."
    assert stub_page.locator(".hps-running").count() == 0
    assert "stopped by an error" in stub_page.locator(".hps-status").inner_text()


def test_errors_of_other_nodes_are_left_to_the_host(stub_page: StubPage) -> None:
    with_node(stub_page)
    stub_page.send("execution_error", {"node_type": "KSampler", "exception_message": "x", "node_id": "1"})
    assert stub_page.toasts == []


@pytest.mark.parametrize(
    ("message", "first", "rest"),
    [
        ("", "", ""),
        ("One sentence only", "One sentence only", ""),
        ("Version 2.1 is old. Update it.", "Version 2.1 is old.", "Update it."),
        ("It failed!\n\nTry again.", "It failed!", "Try again."),
        ("x" * 5000, "x" * 199 + "…", ""),
    ],
)
def test_first_sentence_and_the_rest(stub_page: StubPage, message: str, first: str, rest: str) -> None:
    script = "async ([lib, text]) => (await import(lib + 'live.js')).sentences(text)"
    assert stub_page.evaluate(script, [LIB, message]) == {"first": first, "rest": rest}


def test_an_interrupt_ends_the_running_state(stub_page: StubPage) -> None:
    with_node(stub_page)
    stub_page.send("hps.candidate", search("1", [(0, 1.0)], 0, 1))
    stub_page.send("execution_interrupted", {})
    assert stub_page.locator(".hps-running").count() == 0
    assert stub_page.locator(".hps-status").inner_text().endswith("interrupted")
    assert cells(stub_page) == 1, "what was found stays"


# --- living with the graph -------------------------------------------------------------------------------------------


def test_wheel_and_middle_button_reach_the_canvas(stub_page: StubPage) -> None:
    with_node(stub_page, "HPS_Score")
    stub_page.executed("1", {"hps": [pool([1.0, 2.0])]})
    stub_page.locator(".hps-status").hover()
    stub_page.mouse.wheel(0, 100)
    stub_page.mouse.down(button="middle")
    stub_page.mouse.move(300, 300)
    stub_page.mouse.up(button="middle")
    stub_page.wait_for_function("() => app.canvas.forwarded.length >= 2")
    kinds = stub_page.evaluate("() => app.canvas.forwarded.map((event) => event.type ?? event[0] ?? event)")
    assert any("wheel" in str(kind).lower() for kind in kinds)
    assert any("down" in str(kind).lower() for kind in kinds)


def test_a_removed_node_leaves_nothing(stub_page: StubPage) -> None:
    with_node(stub_page, "HPS_Score")
    stub_page.executed("1", {"hps": [pool([1.0, 2.0])]})
    stub_page.locator(".hps-send").click()
    stub_page.evaluate("() => app.graph.remove(app.graph.getNodeById(1))")
    assert stub_page.locator(".hps-root").count() == 0
    stub_page.send("hps.candidate", search("1", [(0, 1.0)], 0, 1))


def test_two_nodes_show_each_its_own(stub_page: StubPage) -> None:
    with_node(stub_page, "HPS_Select", 1)
    stub_page.add_node(id=2, type="HPS_Select", size=[400, 60], widgets=[{"name": "pick", "value": ""}])
    stub_page.executed("1", {"hps": [pool([1.0, 2.0])]})
    stub_page.executed("2", {"hps": [pool([1.0, 2.0, 3.0])]})
    stub_page.locator("[data-node='2'] .hps-cell").first.click()
    assert stub_page.locator("[data-node='1'] [aria-selected=true]").count() == 0
    assert stub_page.locator("[data-node='1'] .hps-cell").count() == 2


def test_the_node_grows_for_its_panel_once(stub_page: StubPage) -> None:
    with_node(stub_page, "HPS_Score")
    height = "() => app.graph.getNodeById(1).size[1]"
    before = stub_page.evaluate(height)
    stub_page.executed("1", {"hps": [pool([1.0, 2.0])]})
    grown = stub_page.evaluate(height)
    assert grown >= before + 200
    stub_page.executed("1", {"hps": [pool([1.0, 2.0], run="next")]})
    assert stub_page.evaluate(height) == grown


def test_the_hosts_last_preview_gives_way_to_the_gallery(stub_page: StubPage) -> None:
    with_node(stub_page)
    stub_page.evaluate(
        """() => { const frame = app.graph.getNodeById(1).frame; frame.dataset.testid = "node-body-1";
            const image = document.createElement("img"); image.src = URL.createObjectURL(new Blob(["x"]));
            image.style.cssText = "width: 20px; height: 20px"; frame.append(image) }"""
    )
    preview = stub_page.locator("img[src^='blob:']")
    assert preview.is_visible()
    stub_page.executed("1", {"hps": [pool([1.0, 2.0])]})
    assert preview.is_hidden()
    stub_page.send("executing", "1")
    assert preview.is_visible()


def test_the_scorer_is_named_on_the_node(stub_page: StubPage) -> None:
    with_node(stub_page, "HPS_Score")
    for run in ("a", "b"):
        stub_page.executed("1", {"hps": [pool([1.0, 2.0], run=run)]})
    assert stub_page.evaluate("() => app.graph.getNodeById(1).badges.map((badge) => badge().text)") == ["HPS v2.1"]


def test_words_come_in_the_language_of_the_interface(stub_page: StubPage) -> None:
    stub_page.hps_route("/i18n", {"fr": {"hps": {"gallery": {"copySeed": "Copier le seed", "large": ""}}}})
    stub_page.evaluate("() => { app.extensionManager.setting.values['Comfy.Locale'] = 'fr' }")
    with_node(stub_page, "HPS_Score")
    stub_page.executed("1", {"hps": [pool([1.0, 2.0])]})
    assert stub_page.locator(".hps-bar button:visible").all_inner_texts()[:3] == [
        "Copier le seed",
        "Seed to…",
        "Large",
    ]


def test_every_module_is_harmless_when_it_is_loaded_alone(stub_page: StubPage) -> None:
    before = stub_page.evaluate("() => document.body.childElementCount")
    names = ["actions", "cells", "chart", "curve", "dom", "gallery", "host", "layout", "live", "panel", "ranking"]
    script = "async (urls) => { for (const url of urls) await import(url) }"
    stub_page.evaluate(script, [f"{LIB}{name}.js" for name in [*names, "viewer"]])
    assert stub_page.evaluate("() => document.body.childElementCount") == before
    assert stub_page.evaluate("() => app.extensions.length") == 0
