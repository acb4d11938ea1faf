"""What the nodes have shown comes back: after a reload, after undo, after another workflow; also inside a subgraph."""

from __future__ import annotations

import pytest
from web_harness import UI, fresh_seed

SEARCH = "HPS_BestOfNSimple"


def found(ui: UI) -> list[str]:
    """Run a small search and return the order of its cells."""
    ui.load("best_of_8", HPS_BestOfNSimple__n=4, HPS_BestOfNSimple__seed=fresh_seed())
    assert ui.run() == "success"
    return order(ui)


def order(ui: UI) -> list[str]:
    """Return the images of the cells that can be seen, by number, best first."""
    ui.focus(SEARCH)
    ui.until(lambda: ui.cells().count() == 4)
    return list(ui.cells().evaluate_all("cells => cells.map((cell) => cell.dataset.index)"))


@pytest.mark.renderers
def test_the_gallery_comes_back_after_a_reload(ui: UI) -> None:
    ui.setting("Comfy.Workflow.Persist", True)
    try:
        before = found(ui)
        ui.page.wait_for_timeout(1500)  # the host saves the workflow after a pause
        ui.reload()
        ui.until(lambda: ui.has(SEARCH))
        assert order(ui) == before
        assert ui.page.locator(".hps-cell.hps-kept:visible").count() == 1
    finally:
        ui.setting("Comfy.Workflow.Persist", False)


def test_a_run_goes_on_being_shown_after_a_reload(ui: UI) -> None:
    ui.setting("Comfy.Workflow.Persist", True)
    try:
        ui.load("best_of_8", HPS_BestOfNSimple__n=600, HPS_BestOfNSimple__chunk=4, HPS_BestOfNSimple__seed=fresh_seed())
        ui.start()
        ui.focus(SEARCH)
        ui.until(lambda: ui.cells().count() >= 4, 30)
        ui.page.wait_for_timeout(1500)
        ui.reload()
        ui.until(lambda: ui.has(SEARCH))
        ui.focus(SEARCH)
        ui.until(lambda: ui.cells().count() == 16, 30)
        words = ui.page.locator(".hps-status:visible").inner_text()
        ui.until(lambda: ui.page.locator(".hps-status:visible").inner_text() != words, 30)
    finally:
        ui.server.interrupt()
        ui.setting("Comfy.Workflow.Persist", False)
        ui.until(lambda: not ui.server.get("/queue")["queue_running"], 30)


@pytest.mark.renderers
def test_the_gallery_comes_back_after_undo(ui: UI) -> None:
    before = found(ui)
    ui.set(SEARCH, "steps", 9)
    ui.page.evaluate(
        """() => { const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
                   (tracker.captureCanvasState ?? tracker.checkState).call(tracker) }"""
    )
    ui.command("Comfy.Undo")
    ui.until(lambda: ui.get(SEARCH, "steps") == 8)
    assert order(ui) == before


@pytest.mark.renderers
def test_the_gallery_comes_back_after_another_workflow(ui: UI) -> None:
    before = found(ui)
    ui.load("optimize_noise", "other")
    ui.until(lambda: ui.page.locator(".hps-cell:visible").count() == 0)
    ui.command("Workspace.PreviousOpenedWorkflow")
    ui.until(lambda: ui.has(SEARCH))
    assert order(ui) == before


@pytest.mark.renderers
def test_a_run_in_another_workflow_is_there_on_return(ui: UI) -> None:
    ui.load("best_of_8", "first", HPS_BestOfNSimple__n=4, HPS_BestOfNSimple__seed=fresh_seed())
    ui.start()
    ui.load("optimize_noise", "second")
    ui.ended()
    ui.command("Workspace.PreviousOpenedWorkflow")
    ui.until(lambda: ui.has(SEARCH))
    assert len(order(ui)) == 4


@pytest.mark.renderers
def test_a_gallery_inside_a_subgraph(ui: UI) -> None:
    ui.load("best_of_8", HPS_BestOfNSimple__n=4, HPS_BestOfNSimple__seed=fresh_seed())
    ui.page.evaluate(
        """(type) => {
            const { subgraph, node } = hpsTest.root().convertToSubgraph(new Set([hpsTest.node(type)]));
            window.hpsOuter = node;
        }""",
        SEARCH,
    )
    assert ui.run() == "success"
    ui.page.evaluate("() => app.canvas.openSubgraph(hpsOuter.subgraph, hpsOuter)")
    assert len(order(ui)) == 4
    ui.set(SEARCH, "seed", fresh_seed())
    assert ui.run() == "success"
    assert len(order(ui)) == 4
    ui.cells().nth(1).click()
    assert ui.cells().nth(1).get_attribute("aria-selected") == "true"


@pytest.mark.renderers
def test_a_copied_node_has_a_gallery_of_its_own(ui: UI) -> None:
    found(ui)
    ui.page.evaluate(
        """(type) => { app.canvas.copyToClipboard(new Set([hpsTest.node(type)]));
                       app.canvas.pasteFromClipboard({ position: [-600, 100] }) }""",
        SEARCH,
    )
    ui.until(lambda: ui.page.locator(".hps-node").count() == 2)
    assert ui.page.locator(".hps-cell").count() == 4
