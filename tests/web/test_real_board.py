"""The leaderboard in the real interface: rows, order, filters, workflows, settings, and prompts that look like code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from comfy_harness import Server
from web_harness import UI, fresh_seed, graph_of
from web_harness.raw import send

if TYPE_CHECKING:
    from playwright.sync_api import Locator

SEARCH = "HPS_BestOfNSimple"
CODE = (
    """<img src=x onerror="window.hpsXss=1"><script>window.hpsXss=2</script>'"&lt;b&gt;</td><b id=hps-bold>= {{7*7}}"""
)
ROWS = ".hps-board tbody tr[data-id]"


def run_search(ui: UI, n: int = 6, **values: Any) -> list[str]:
    """Run a search that nobody has run; return its seeds."""
    seed = fresh_seed()
    ui.load("best_of_8", **{f"{SEARCH}__{name}": value for name, value in {"n": n, "seed": seed, **values}.items()})
    assert ui.run() == "success"
    return [str(seed + k) for k in range(n)]


def seeds(ui: UI) -> list[str]:
    """Return the seeds of the rows, from top to bottom."""
    return [text.removeprefix("seed ") for text in ui.page.locator(f"{ROWS} .hps-row-seed").all_inner_texts()]


def scores(ui: UI) -> list[float]:
    """Return the scores of the rows, from top to bottom."""
    return [float(text) for text in ui.page.locator(f"{ROWS} .hps-col-dated .hps-value").all_inner_texts()]


def narrow(ui: UI, words: str) -> None:
    """Type words into the search box of the filters."""
    ui.page.locator(".hps-filters input[type=search]").fill(words)


def choice(ui: UI, name: str) -> Locator:
    """Return the box of a filter."""
    return ui.page.locator(f".hps-field:has(> span:text-is('{name}')) select")


def total(server: Server) -> int:
    """Return the number of rows of the ledger."""
    return int(server.get("/hps/v1/ledger/summary")["rows"])


@pytest.fixture
def clean(ui: UI) -> UI:
    """The page with an empty ledger, loaded anew: it forgets filters, order and what earlier tests have left open."""
    assert ui.server.post("/hps/v1/ledger/purge", {"confirm": True, "before": None})["v"] == 1
    ui.reload()
    assert total(ui.server) == 0
    return ui


@pytest.fixture
def board(clean: UI) -> Iterator[Locator]:
    """The leaderboard, after a search has run into an empty ledger."""
    ui = clean
    run_search(ui)
    panel = ui.open_board()
    ui.page.locator(ROWS).first.wait_for()
    yield panel
    ui.close_board()


@pytest.mark.renderers
def test_rows_appear_when_a_run_has_ended(ui: UI, board: Locator) -> None:
    ui.page.locator(".hps-filters summary").first.click()
    choice(ui, "Sort by").select_option("time")
    new = run_search(ui, 4)
    ui.until(lambda: set(new) <= set(seeds(ui)))
    choice(ui, "Sort by").select_option("score")
    ui.until(lambda: scores(ui) == sorted(scores(ui), reverse=True))
    images = ui.page.locator(f"{ROWS} img")
    ui.until(lambda: images.first.evaluate("img => img.complete && img.naturalWidth > 0"))


def test_a_header_sorts(ui: UI, board: Locator) -> None:
    head = board.locator("th[aria-sort]").filter(has_text="Score")
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").click()
    ui.until(lambda: head.get_attribute("aria-sort") == "ascending")
    ui.until(lambda: scores(ui) == sorted(scores(ui)))
    head.get_by_role("button").click()
    ui.until(lambda: head.get_attribute("aria-sort") == "descending")
    ui.until(lambda: scores(ui) == sorted(scores(ui), reverse=True))
    assert len(set(scores(ui))) > 1


def test_filters_narrow_the_list(ui: UI, board: Locator) -> None:
    run_search(ui, 3, sampler_name="heun")
    ui.page.locator(".hps-filters summary").first.click()
    choice(ui, "Sampler").select_option("heun")
    ui.until(lambda: len(seeds(ui)) == 3)
    assert all("heun" in text for text in ui.page.locator(ROWS).all_inner_texts())
    choice(ui, "Sampler").select_option("")
    ui.until(lambda: len(seeds(ui)) > 3)
    narrow(ui, "no prompt says this")
    ui.page.get_by_role("button", name="Clear the filters").click()
    ui.until(lambda: len(seeds(ui)) > 3)


@pytest.mark.renderers
def test_the_workflow_of_a_row_is_loaded(ui: UI, board: Locator) -> None:
    ui.load("optimize_noise")
    before = ui.count()
    seed = seeds(ui)[0]
    ui.page.locator(ROWS).first.locator("[data-act=workflow]").click()
    ui.until(lambda: ui.has(SEARCH))
    assert ui.count() == len(graph_of("best_of_8")["nodes"]) != before
    assert ui.page.get_by_role("dialog").count() == 0, "it opens beside the other: nothing is asked"
    name = "() => app.extensionManager.workflow.activeWorkflow.filename"
    ui.until(lambda: f"seed {seed} - "[:40].strip(" -") in str(ui.page.evaluate(name)))


def test_a_seed_is_copied_from_a_row(ui: UI, board: Locator) -> None:
    seed = seeds(ui)[0]
    ui.page.locator(ROWS).first.locator(".hps-row-seed").click()
    ui.until(lambda: ui.page.evaluate("() => navigator.clipboard.readText()") == seed)


def test_switched_off_nothing_is_recorded(ui: UI, board: Locator, server: Server) -> None:
    before = total(server)
    ui.setting("HPS.Ledger.Enabled", False)
    try:
        run_search(ui)
        assert total(server) == before
        assert server.get("/hps/v1/ledger/summary")["enabled"] is False
        ui.until(lambda: "off" in ui.page.locator(".hps-notice:visible").inner_text())
        ui.focus(SEARCH)
        assert ui.cells().count() == 6, "the gallery works without a ledger"
    finally:
        ui.setting("HPS.Ledger.Enabled", True)
    run_search(ui)
    assert total(server) == before + 6


def test_the_export_holds_what_the_filters_leave(ui: UI, board: Locator) -> None:
    run_search(ui, 2, scheduler="karras")
    answer = send(ui.server.url, "GET", "/hps/v1/ledger/export?format=jsonl&scheduler=karras")
    assert answer.headers["content-disposition"].startswith("attachment")
    rows = [json.loads(line) for line in answer.body.decode().splitlines()]
    assert len(rows) == 2 and {row["scheduler"] for row in rows} == {"karras"}


def coded() -> dict[str, Any]:
    """Return a workflow whose prompt looks like code."""
    graph = graph_of("best_of_8")
    node = next(node for node in graph["nodes"] if node["type"] == SEARCH)
    entry = next(entry for entry in node["inputs"] if entry["name"] == "prompt")
    link, entry["link"] = entry["link"], None
    graph["links"] = [each for each in graph["links"] if each[0] != link]
    for other in graph["nodes"]:
        for output in other.get("outputs") or []:
            output["links"] = [each for each in output["links"] or [] if each != link]
    return graph


@pytest.mark.renderers
def test_a_prompt_made_of_code_is_only_ever_text(clean: UI) -> None:
    ui = clean
    asked: list[str] = []
    ui.page.on("request", lambda request: asked.append(request.url))
    ui.load(coded(), HPS_BestOfNSimple__prompt=CODE, HPS_BestOfNSimple__n=3, HPS_BestOfNSimple__seed=fresh_seed())
    assert ui.run() == "success"
    ui.focus(SEARCH)
    ui.cells().first.hover()
    ui.cells().first.dblclick()
    ui.page.get_by_role("dialog", name="Large view").wait_for()
    assert CODE in ui.page.locator(".hps-viewer").inner_text()
    ui.page.keyboard.press("Escape")
    ui.open_board()
    narrow(ui, "<script>window.hpsXss")
    ui.until(lambda: ui.page.locator(ROWS).count() >= 3)
    ui.page.locator(ROWS).first.locator("[data-act=large]").click()
    ui.page.locator(".hps-float").wait_for()
    ui.page.keyboard.press("Escape")
    ui.page.locator(".hps-filters input[type=search]").fill("")
    ui.page.get_by_role("tab", name="Blind picks").click()
    choice(ui, "Prompt").select_option(label=" ".join(CODE.split())[:89] + "\u2026")
    ui.until(lambda: ui.page.locator(".hps-prompt").inner_text() == CODE)
    choice(ui, "Prompt").select_option("")
    ui.page.get_by_role("tab", name="Leaderboard").click()
    ui.close_board()
    bad = "#hps-bold, [onerror], [src='x'], .hps-root script, .hps-sidebar script"
    assert ui.page.locator(bad).count() == 0
    assert ui.page.evaluate("() => window.hpsXss ?? null") is None
    assert not [url for url in asked if url.rstrip("/").endswith("/x")]
