"""A running search in the real interface: the chart moves, a cancel keeps what is drawn, a closed page harms none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from comfy_harness import Server
from web_harness import UI, fresh_seed

SEARCH, NOISE = "HPS_BestOfNSimple", "HPS_OptimizeNoiseSimple"
POINTS = """() => [...document.querySelectorAll('svg.hps-chart .hps-line-best')]
    .map((line) => (line.getAttribute('points') ?? '').trim().split(/\\s+/).filter(Boolean).length)
    .reduce((most, n) => Math.max(most, n), 0)"""


def points(ui: UI) -> int:
    """Return how many points the line of the best scores has."""
    return int(ui.page.evaluate(POINTS))


def begin(ui: UI, workflow: str, node: str, **values: Any) -> None:
    """Start a workflow, and look at the node."""
    ui.load(workflow, **{f"{node}__seed": fresh_seed()}, **{f"{node}__{name}": value for name, value in values.items()})
    ui.start()
    ui.focus(node)


@pytest.mark.renderers
def test_the_chart_moves_and_shows_why_it_stopped(ui: UI) -> None:
    begin(ui, "optimize_noise", NOISE, iterations=24)
    seen = set()

    def moved() -> bool:
        seen.add(points(ui))
        return not ui.running()

    ui.until(moved, 60)
    assert ui.ended() == "success"
    assert len(seen - {0}) >= 3, f"the chart was redrawn while it ran: {sorted(seen)}"
    ui.until(lambda: points(ui) >= 24)
    ui.until(lambda: len(ui.page.locator(".hps-reason:visible").first.inner_text()) > 5)
    labels = [parts[-1] for parts in ui.ranking()]
    assert labels == ["result", "start"]
    chart = ui.page.locator("svg.hps-chart:visible")
    assert chart.get_attribute("role") == "img" and "best" in (chart.get_attribute("aria-label") or "")


@pytest.mark.renderers
def test_candidates_appear_while_the_search_runs(ui: UI) -> None:
    begin(ui, "best_of_8", SEARCH, n=40, chunk=4)
    ui.until(lambda: ui.cells().count() > 0, 30)
    assert ui.running(), "cells were shown before the end"
    assert ui.ended(90) == "success"
    assert ui.page.locator(".hps-cell.hps-kept:visible").count() == 1


@pytest.mark.renderers
def test_a_cancel_keeps_what_was_drawn(ui: UI) -> None:
    begin(ui, "best_of_8", SEARCH, n=4096, chunk=8)
    ui.until(lambda: ui.cells().count() >= 8, 30)
    ui.server.interrupt()
    assert ui.ended(30) == "interrupted"
    ui.page.wait_for_timeout(300)
    assert ui.cells().count() >= 8
    assert ui.page.locator(".hps-node.hps-running").count() == 0
    ui.until(lambda: "interrupted" in ui.page.locator(".hps-status:visible").inner_text())
    ui.set(SEARCH, "n", 2)
    assert ui.run() == "success"
    assert ui.cells().count() == 2, "the next run starts anew"


def test_a_cancelled_chart_stays(ui: UI) -> None:
    begin(ui, "optimize_noise", NOISE, iterations=500)
    ui.until(lambda: points(ui) >= 8, 30)
    ui.server.interrupt()
    assert ui.ended(30) == "interrupted"
    kept = points(ui)
    ui.page.wait_for_timeout(500)
    assert points(ui) >= min(8, kept) > 0


def running(server: Server) -> list[str]:
    """Return the ids of the prompts that the server works on."""
    return [entry[1] for entry in server.get("/queue")["queue_running"]]


def test_a_page_that_closes_harms_no_run(ui: UI, another: Callable[[], UI], server: Server) -> None:
    leaver, start = another(), server.logged()
    # It ends by the clock, so that it lasts on a fast machine, too.
    begin(leaver, "best_of_8", SEARCH, n=4096, chunk=4, max_seconds=8.0)
    seed = leaver.get(SEARCH, "seed")
    prompt = leaver.prompt()
    leaver.until(lambda: prompt in running(server), 30)
    leaver.until(lambda: leaver.cells().count() > 0, 30)
    assert prompt in running(server), "the run was over before the page was closed"
    leaver.page.close()
    assert prompt in running(server), "the run went on when the page was closed"
    history = server.wait(prompt, 90)
    assert history.status == "success"
    assert any(output.get("hps", [{}])[0].get("seeds", [])[:1] == [str(seed)] for output in history.outputs.values())
    assert "Traceback" not in server.log_since(start)


@pytest.mark.renderers
def test_events_reach_only_the_page_that_queued(ui: UI, another: Callable[[], UI]) -> None:
    other = another()
    script = """() => { window.heard = [];
        for (const name of ["hps.candidate", "hps.optimize", "hps.notice", "executed"]) {
            comfyAPI.api.api.addEventListener(name, (event) => heard.push(name)) } }"""
    for page in (ui, other):
        page.load(
            "best_of_8", HPS_BestOfNSimple__n=24, HPS_BestOfNSimple__chunk=4, HPS_BestOfNSimple__seed=fresh_seed()
        )
        page.page.evaluate(script)
    assert ui.run() == "success"
    ui.focus(SEARCH)
    assert "hps.candidate" in ui.page.evaluate("() => heard")
    assert ui.cells().count() == 16
    assert other.page.evaluate("() => heard") == []
    assert other.page.locator(".hps-cell").count() == 0
    assert not other.watch.problems
