"""Blind picks in the real interface: twenty by keyboard while a workflow runs, and what is shown of agreement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from web_harness import UI, fresh_seed

if TYPE_CHECKING:
    from playwright.sync_api import Locator

SEARCH = "HPS_BestOfNSimple"
CARD = ".hps-picks"


@pytest.fixture
def card(ui: UI) -> Iterator[Locator]:
    """The card of blind picks, with images to choose from."""
    ui.load("best_of_8", HPS_BestOfNSimple__n=12, HPS_BestOfNSimple__seed=fresh_seed())
    assert ui.run() == "success"
    ui.open_board()
    ui.page.get_by_role("tab", name="Blind picks").click()
    state(ui, "asking")
    yield ui.page.locator(CARD)
    ui.page.get_by_role("tab", name="Leaderboard").click()
    ui.close_board()


def state(ui: UI, name: str) -> None:
    """Wait until the card is in a state."""
    ui.page.locator(f"{CARD}[data-state={name}]").wait_for()


def agreement(ui: UI) -> dict[str, Any]:
    """Return what the server knows of agreement."""
    found: dict[str, Any] = ui.server.get("/hps/v1/picks/agreement")
    return found


def long_run(ui: UI) -> None:
    """Start a search that takes longer than the picks."""
    ui.set(SEARCH, "n", 4096)
    ui.set(SEARCH, "chunk", 4)
    ui.set(SEARCH, "seed", fresh_seed())
    ui.start()


def test_twenty_picks_by_keyboard_while_a_workflow_runs(ui: UI, card: Locator) -> None:
    before = agreement(ui)
    long_run(ui)
    card.focus()
    better = []
    for k in range(20):
        state(ui, "asking")
        side = 1 + k % 2
        ui.page.keyboard.press(str(side))
        state(ui, "revealed")
        liked = card.locator(".hps-choice.hps-theirs").get_attribute("data-side")
        better.append((liked, str(side)))
        ui.page.keyboard.press("n")
    assert ui.running(), "the picks did not wait for the run, nor the run for the picks"
    assert {liked for liked, _ in better} == {"1", "2"}, "the better one stood on either side"
    after = agreement(ui)
    assert after["n"] == before["n"] + 20
    assert after["agree"] - before["agree"] == sum(liked == side for liked, side in better)
    assert after["enough"] and 0 <= after["low"] <= after["rate"] <= after["high"] <= 1
    words = ui.page.locator(".hps-agreement").inner_text()
    assert "agree in" in words and f"{round(100 * after['rate'])}" in words
    assert ui.count() == 9, "no key reached the graph"


@pytest.mark.renderers
def test_a_tie_and_a_skip_are_told_apart(ui: UI, card: Locator) -> None:
    before = agreement(ui)
    card.focus()
    ui.page.keyboard.press("0")
    state(ui, "revealed")
    ui.page.keyboard.press("n")
    state(ui, "asking")
    ui.page.keyboard.press("s")
    ui.until(lambda: agreement(ui)["skips"] == before["skips"] + 1)
    after = agreement(ui)
    assert after["ties"] == before["ties"] + 1 and after["n"] == before["n"]
    state(ui, "asking")


def test_nothing_of_the_scores_is_in_the_page_before_the_answer(ui: UI, card: Locator) -> None:
    pair = ui.server.get("/hps/v1/picks/next")["pair"]
    assert set(pair) == {"ids", "size", "prompt", "width", "height"}
    html = card.evaluate("card => card.outerHTML")
    rows = {row["id"]: row for row in ui.server.get("/hps/v1/ledger/rows?limit=200")["rows"]}
    for row in rows.values():
        assert f"{row['score']:.3f}" not in html and f"seed {row['seed']}" not in html


@pytest.mark.renderers
def test_a_click_chooses_and_reveals(ui: UI, card: Locator) -> None:
    before = agreement(ui)["n"]
    card.locator(".hps-choice[data-side='2']").click()
    state(ui, "revealed")
    assert card.locator(".hps-choice.hps-yours").get_attribute("data-side") == "2"
    assert card.locator(".hps-verdict").inner_text().startswith("The scorer")
    assert agreement(ui)["n"] == before + 1


def test_the_best_of_a_gallery_is_chosen_blind(ui: UI, card: Locator) -> None:
    ui.focus(SEARCH)
    ui.page.locator(".hps-blind:visible").click()
    grid = ui.page.locator(".hps-float .hps-picks")
    grid.locator(".hps-choice").nth(1).wait_for()
    assert grid.locator(".hps-choice").count() >= 2
    ui.page.wait_for_timeout(300)
    ui.page.keyboard.press("1")
    ui.page.locator(f".hps-float {CARD}[data-state=revealed]").wait_for()
    ui.page.keyboard.press("Escape")
    ui.until(lambda: ui.page.locator(".hps-float").count() == 0)
