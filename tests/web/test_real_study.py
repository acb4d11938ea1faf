"""A comparison of settings in the real interface: it fills while it runs, comes back after a reload, is used."""

from __future__ import annotations

from typing import Any

import pytest
from web_harness import UI, fresh_seed
from web_harness.study_graph import NODE, PROMPTS, compare_graph

TINY = "hps-tiny-shapes (miniature for trials: judges coloured shapes only)"


def load(ui: UI, **values: Any) -> None:
    """Load the workflow with two samplers, two prompts and two seeds that no test has used."""
    ui.load(compare_graph(), "compare")
    ui.set("HPS_LoadScorer", "scorer", TINY)
    given = {"prompts": "\n".join(PROMPTS), "samplers": "euler, heun", "steps": "2", "cfgs": "2"}
    given |= {"first_seed": fresh_seed(), "seeds_per_prompt": 2, **values}
    for name, value in given.items():
        ui.set(NODE, name, value)
    ui.focus(NODE)


def pictures(ui: UI) -> int:
    return int(ui.page.locator(".hps-spot img[src]:visible").count())


def whole(ui: UI) -> bool:
    script = "() => document.querySelectorAll('.hps-spot:not(.hps-spot-empty)').length"
    return int(ui.page.evaluate(script)) == 8


@pytest.mark.renderers
def test_the_grid_fills_while_it_runs_and_ends_with_a_verdict(ui: UI) -> None:
    load(ui, seeds_per_prompt=8)
    size = "(type) => [...hpsTest.node(type).size]"
    ui.start()
    ui.until(lambda: pictures(ui) > 0, 60)
    assert ui.running(), "pictures were shown before the end"
    ui.until(lambda: " of 32 images" in ui.page.locator(".hps-status:visible").first.inner_text())
    before = ui.page.evaluate(size, NODE)
    assert ui.ended(120) == "success"
    ui.until(lambda: "32 images" in ui.page.locator(".hps-status:visible").first.inner_text())
    ui.page.locator(".hps-headline:visible").wait_for()
    assert ui.page.locator(".hps-chip:visible").count() == 2, "a reference and a verdict"
    assert ui.page.evaluate(size, NODE) == before, "the node grew at the end"
    found = ui.outputs(NODE)["hps"][0]
    heads = [text.split("\n") for text in ui.page.locator(".hps-column:visible").all_inner_texts()]
    assert [head[0] for head in heads] == found["settings"] and heads[0][1] == "reference"


@pytest.mark.renderers
def test_a_reload_in_mid_run_goes_on(ui: UI) -> None:
    load(ui, seeds_per_prompt=12)
    ui.start()
    ui.until(lambda: pictures(ui) > 1, 60)
    graph = ui.page.evaluate("() => hpsTest.root().serialize()")
    ui.watch.allow("Unknown message type hps.compare")  # the host, while it loads and no extension listens yet
    ui.reload()
    ui.page.evaluate("async (graph) => { await app.loadGraphData(graph, true, true, 'again') }", graph)
    ui.focus(NODE)
    ui.until(lambda: pictures(ui) > 1, 30)
    ui.until(lambda: "48 images" in ui.page.locator(".hps-status:visible").first.inner_text(), 120)
    ui.page.locator(".hps-headline:visible").wait_for()


@pytest.mark.renderers
def test_a_second_run_uses_what_is_there_and_the_grid_is_used(ui: UI) -> None:
    load(ui)
    assert ui.run(120) == "success"
    ui.until(lambda: whole(ui))
    ui.set(NODE, "samplers", "euler, heun, dpmpp_2m")
    assert ui.run(120) == "success"
    ui.until(lambda: "8 of them from before" in ui.page.locator(".hps-status:visible").first.inner_text())
    ui.focus(NODE)
    ui.page.locator(".hps-spot[data-place='0,1']:visible").click()
    viewer = ui.page.locator(".hps-viewer")
    viewer.wait_for()
    for key, label in (("ArrowRight", "dpmpp_2m"), ("ArrowLeft", "heun")):
        ui.page.keyboard.press(key)
        assert label in viewer.locator(".hps-facts").inner_text()
    ui.page.keyboard.press("Escape")
    assert ui.page.evaluate("() => document.activeElement.dataset.place") == "0,1"
    ui.page.keyboard.press("Delete")
    assert ui.has(NODE), "Delete in the grid deletes the node"
    ui.page.get_by_role("tab", name="Settings").click()
    assert ui.page.locator(".hps-standings tbody tr:visible").count() == 3
