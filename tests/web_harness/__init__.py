"""Runs the scripts of web/ in a real browser: with a stand-in for the host, or with a real ComfyUI server.

How a component test is written (no ComfyUI, below one second)
---------------------------------------------------------------
::

    def test_a_click_toggles_the_pick(stub_page):
        stub_page.hps_route("/hps/v1/ledger/rows", {"v": 1, "rows": []})   # or a function of Asked
        stub_page.start()                                        # import web/hps.js, run init and setup
        stub_page.add_node(id=5, type="HPS_Select", widgets=[{"type": "text", "name": "pick", "value": ""}])
        stub_page.executed("5", {"hps": [DATA]})                 # what the server sends when a node has run
        stub_page.locator(".hps-cell").nth(1).click()            # any method of Playwright's Page
        assert stub_page.evaluate("() => app.graph.getNodeById(5).widgets[0].value") == "2"

One module alone::

    stub_page.evaluate("async () => { const m = await import('/extensions/hps-nodes/lib/chart.js'); ... }")

At hand in the page: app, graph, LiteGraph, LGraphBadge, StubNode, StubGraph, comfyAPI.api.api;
app.loaded, app.loadedApi, app.queued (recorded calls), app.extensions, app.nodeOutputs,
app.invoke(hook, ...values), app.addNode(options),
app.extensionManager.toasts / tabs / dialogs / answers (of the next confirm or prompt) / executed / toggleTab(id),
app.extensionManager.setting.values, app.canvas.forwarded (mouse events given on).
At hand in Python: asked, asked_for(path), delay(path, ms), send(event, detail), executed(node, output), open_tab(id),
theme("light"), toasts, copied, allow(pattern).

A test fails on uncaught errors, console errors, requests that nobody answers and requests to another host. The
pictures of /view, an empty /i18n, /hps/v1/snapshot and /hps/v1/shown are answered unless a test has its own.

How a test of the real interface is written (seconds, needs ComfyUI)
---------------------------------------------------------------------
::

    @pytest.mark.renderers                                       # in Nodes 2.0, too
    def test_the_winner_is_marked(ui):
        ui.load("best_of_8", HPS_BestOfNSimple__n=4)             # of example_workflows, with a widget changed
        assert ui.run() == "success"
        assert ui.page.locator(".hps-kept").count() == 1

Which hosts, front ends and renderers: see places.py. `ui` is one page per module, `another()` opens further ones,
`server` is comfy_harness.Server.
"""

from __future__ import annotations

from .chromium import FLAGS, chromium, executable, why_not
from .errors import Watch
from .places import Farm, Place, graph_of, places
from .stub_page import ORIGIN, PACK, Asked, Reply, StubPage, picture
from .ui import UI, fresh_seed

__all__ = [
    "FLAGS", "ORIGIN", "PACK", "UI", "Asked", "Farm", "Place", "Reply", "StubPage", "Watch", "chromium", "executable",
    "fresh_seed", "graph_of", "picture", "places", "why_not",
]  # fmt: skip
