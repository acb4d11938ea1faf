"""The ranked gallery in the real interface: what it shows after a run, and what a click does."""

from __future__ import annotations

from typing import Any

import pytest
from web_harness import UI, fresh_seed, graph_of

SEARCH = "HPS_BestOfNSimple"


def shown(ui: UI, node: str) -> dict[str, Any]:
    """Return what the node told about its last run."""
    data: dict[str, Any] = ui.outputs(node)["hps"][0]
    return data


def search(ui: UI, **values: Any) -> dict[str, Any]:
    """Run the search of the example and return what it told."""
    chosen = {"seed": fresh_seed(), **values}
    ui.load("best_of_8", **{f"{SEARCH}__{name}": value for name, value in chosen.items()})
    assert ui.run() == "success"
    ui.focus(SEARCH)
    ui.cells().first.wait_for()
    return shown(ui, SEARCH)


def with_seed_target() -> dict[str, Any]:
    """Return the example with a KSampler beside it that nothing uses, as a place for a seed."""
    graph = graph_of("best_of_8")
    sampler = next(node for node in graph_of("score_a_batch")["nodes"] if node["type"] == "KSampler")
    sampler |= {"id": 90, "pos": [1900, 100]}
    for entry in sampler["inputs"]:
        entry["link"] = None
    for output in sampler["outputs"]:
        output["links"] = None
    return graph | {"nodes": [*graph["nodes"], sampler], "last_node_id": 90}


@pytest.mark.renderers
def test_cells_are_ranked_with_badges_and_a_winner(ui: UI) -> None:
    data = search(ui)
    assert ui.cells().count() == 8
    order = sorted(range(8), key=lambda i: -data["scores"][i])
    assert [item["index"] for item in data["items"]] == order
    assert ui.cells().evaluate_all("cells => cells.map((cell) => Number(cell.dataset.index))") == order
    assert [parts[0] for parts in ui.ranking()] == [f"#{k}" for k in range(1, 9)]
    [kept] = ui.page.locator(".hps-cell.hps-kept:visible").evaluate_all("cells => cells.map((c) => c.dataset.index)")
    assert int(kept) == order[0]
    pictures = ui.page.locator(".hps-cell img:visible")
    ui.until(lambda: pictures.evaluate_all("all => all.every((img) => img.naturalWidth > 0)"))


@pytest.mark.renderers
def test_scores_stand_on_cells_that_are_large_enough(ui: UI) -> None:
    data = search(ui, n=3)
    assert ui.ranking() == [[f"#{item['rank']}", f"{item['score']:.3f}"] for item in data["items"]]
    ui.setting("HPS.Gallery.Decimals", 5)
    ui.until(lambda: [parts[1] for parts in ui.ranking()] == [f"{item['score']:.5f}" for item in data["items"]])
    ui.setting("HPS.Gallery.Badges", False)
    ui.until(lambda: ui.page.locator(".hps-badge:visible").count() == 0)
    ui.setting("HPS.Gallery.Badges", True)
    ui.setting("HPS.Gallery.Decimals", 3)


@pytest.mark.renderers
def test_the_host_shows_no_second_copy(ui: UI) -> None:
    search(ui, n=2)
    assert ui.page.locator(".hps-node:visible").count() == 1
    node = ui.page.evaluate("(type) => String(hpsTest.node(type).id)", SEARCH)
    assert ui.page.locator(f"[data-node-id='{node}'] .image-preview").count() == 0


@pytest.mark.renderers
def test_a_click_selects_a_cell_and_shows_its_words(ui: UI) -> None:
    data = search(ui, n=4)
    ui.cells().nth(2).click()
    third = data["items"][2]
    assert ui.cells().nth(2).get_attribute("aria-selected") == "true"
    assert ui.cells().nth(0).get_attribute("aria-selected") == "false"
    words = ui.page.locator(".hps-chosen:visible").inner_text()
    assert "#3" in words and f"{third['score']:.3f}" in words and f"seed {third['seed']}" in words


@pytest.mark.renderers
def test_the_seed_is_copied_exactly(ui: UI) -> None:
    search(ui, n=4, seed=2**53 - 5)
    ui.cells().nth(1).click()
    seed = shown(ui, SEARCH)["items"][1]["seed"]
    ui.page.locator(".hps-copy:visible").click()
    ui.until(lambda: ui.page.evaluate("() => navigator.clipboard.readText()") == seed)
    assert int(seed) >= 2**53 - 5


@pytest.mark.renderers
def test_the_seed_is_sent_to_a_widget_and_held_there(ui: UI) -> None:
    ui.load(with_seed_target(), HPS_BestOfNSimple__n=4, HPS_BestOfNSimple__seed=fresh_seed())
    assert ui.run() == "success"
    ui.focus(SEARCH)
    ui.cells().nth(1).click()
    seed = shown(ui, SEARCH)["items"][1]["seed"]
    ui.page.locator(".hps-send:visible").click()
    ui.page.get_by_role("menuitem").filter(has_text="(90)").click()
    assert str(ui.get("KSampler", "seed")) == seed
    assert ui.get("KSampler", "control_after_generate") == "fixed"
    assert ui.page.locator(".hps-menu").count() == 0


@pytest.mark.renderers
def test_a_pick_changes_what_select_hands_on(ui: UI) -> None:
    ui.load("score_a_batch", KSampler__seed=fresh_seed())
    assert ui.run() == "success"
    by_rule = shown(ui, "HPS_Select")
    assert by_rule["picked"] is False and ui.get("HPS_Select", "pick") == ""
    ui.focus("HPS_Select")
    cells = ui.page.locator(".hps-node:visible").filter(has_text="by hand").locator(".hps-cell")
    wanted = [by_rule["items"][place]["index"] for place in (6, 4)]
    cells.nth(6).click()
    cells.nth(4).click()
    assert ui.get("HPS_Select", "pick").split("@")[0].replace(" ", "") == ",".join(map(str, wanted))
    assert ui.run() == "success"
    by_hand = shown(ui, "HPS_Select")
    assert by_hand["picked"] is True and by_hand["kept"] == wanted
    assert len(ui.outputs("HPS_SaveScored")["images"]) == 2
    ui.page.locator(".hps-rule:visible").click()
    assert ui.get("HPS_Select", "pick").split("@")[0] == ""
    assert ui.run() == "success"
    assert shown(ui, "HPS_Select")["kept"] == by_rule["kept"]


def test_many_images_show_the_best_and_then_all(ui: UI) -> None:
    search(ui, n=24)
    assert ui.cells().count() == 16
    ui.page.locator(".hps-more:visible").click()
    assert ui.cells().count() == 24


def test_the_large_view_opens_walks_and_closes(ui: UI) -> None:
    data = search(ui, n=3)
    ui.cells().nth(1).dblclick()
    view = ui.page.get_by_role("dialog", name="Large view")
    view.wait_for()
    assert f"{data['items'][1]['score']:.3f}" in view.inner_text()
    ui.page.keyboard.press("ArrowRight")
    assert f"{data['items'][2]['score']:.3f}" in view.inner_text()
    ui.page.keyboard.press("c")
    assert view.locator("img").count() == 2
    ui.page.keyboard.press("Escape")
    assert ui.page.locator(".hps-viewer").count() == 0
    assert ui.count() == 9, "no key reached the graph"


def test_removing_the_node_removes_its_gallery(ui: UI) -> None:
    search(ui, n=2)
    ui.page.evaluate("(type) => hpsTest.root().remove(hpsTest.node(type))", SEARCH)
    ui.until(lambda: ui.page.locator(".hps-node").count() == 0)


def test_the_panel_leaves_saved_widgets_alone(ui: UI) -> None:
    before = next(node for node in graph_of("best_of_8")["nodes"] if node["type"] == SEARCH)["widgets_values"]
    search(ui, seed=before[0])
    script = "(type) => hpsTest.node(type).serialize().widgets_values"
    assert ui.page.evaluate(script, SEARCH) == before


def test_the_wheel_over_the_gallery_zooms_the_canvas(ui: UI) -> None:
    search(ui, n=2)
    before = ui.page.evaluate("() => app.canvas.ds.scale")
    ui.page.locator(".hps-status:visible").hover()
    ui.page.mouse.wheel(0, -200)
    ui.until(lambda: ui.page.evaluate("() => app.canvas.ds.scale") > before, 5)
