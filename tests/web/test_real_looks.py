"""Themes, keyboard, names for screen readers, and no way out: the real interface as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from web_harness import UI, fresh_seed

SEARCH = "HPS_BestOfNSimple"
CONTRAST = """(selectors) => {
    const parse = (text) => {
        const parts = text.match(/[\\d.]+/g).map(Number);
        return text.startsWith("color(") ? [...parts.slice(0, 3).map((v) => v * 255), parts[3] ?? 1]
            : [parts[0], parts[1], parts[2], parts[3] ?? 1];
    };
    const canvasColour = () => {
        const probe = document.createElement("span");
        probe.style.color = LiteGraph.NODE_DEFAULT_BGCOLOR;
        document.body.append(probe);
        const found = getComputedStyle(probe).color;
        probe.remove();
        return found;
    };
    const over = (top, below) => top.slice(0, 3).map((value, k) => value * top[3] + below[k] * (1 - top[3]));
    const light = (rgb) => rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
    const ground = (element) => {
        const layers = [];
        for (let each = element; each; each = each.parentElement) {
            const colour = parse(getComputedStyle(each).backgroundColor);
            layers.push(colour);
            if (colour[3] === 1) break;
        }
        if (element.closest(".hps-node") && !LiteGraph.vueNodesMode) {
            layers.splice(layers.length - 1, 1, parse(canvasColour()));  // the classic canvas draws the node itself
        }
        return layers.reverse().reduce((below, top) => over(top, below), [32, 32, 32]);
    };
    return selectors.flatMap((selector) => [...document.querySelectorAll(selector)]
        .filter((element) => element.checkVisibility?.() !== false && element.textContent.trim())
        .slice(0, 3).map((element) => {
            const below = ground(element), text = over(parse(getComputedStyle(element).color), below);
            const [low, high] = [light(below), light(text)].sort((a, b) => a - b);
            return [selector, element.textContent.trim().slice(0, 40), (high + 0.05) / (low + 0.05)];
        }));
}"""
TEXTS = [
    ".hps-status", ".hps-badge", ".hps-caption", ".hps-chosen", ".hps-button", ".hps-warnings",
    ".hps-board th", ".hps-value", ".hps-small", ".hps-link", ".hps-remark", ".hps-tab", ".hps-field span",
]  # fmt: skip


def searched(ui: UI) -> None:
    """Run a small search and look at it."""
    ui.load("best_of_8", HPS_BestOfNSimple__n=4, HPS_BestOfNSimple__seed=fresh_seed())
    assert ui.run() == "success"
    ui.focus(SEARCH)
    ui.cells().first.wait_for()


@pytest.mark.renderers
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_text_can_be_read_in_both_themes(ui: UI, theme: str, tmp_path: Path) -> None:
    ui.theme(theme)
    try:
        searched(ui)
        ui.open_board()
        ui.page.locator(".hps-board tbody tr[data-id]").first.wait_for()
        ui.page.wait_for_timeout(300)
        ui.page.screenshot(path=tmp_path / f"{theme}.png")
        found = ui.page.evaluate(CONTRAST, TEXTS)
        assert len({selector for selector, _, _ in found}) >= 9
        dim = [entry for entry in found if entry[2] < 4.5]
        assert not dim, f"less than 4.5 to 1 in the {theme} theme: {dim}"
    finally:
        ui.close_board()
        ui.theme("dark")


@pytest.mark.renderers
def test_the_gallery_works_by_keyboard_alone(ui: UI) -> None:
    searched(ui)
    ui.cells().first.focus()
    ui.page.keyboard.press("ArrowRight")
    assert ui.page.evaluate("() => document.activeElement.dataset.rank") == "2"
    ui.page.keyboard.press("Enter")
    assert ui.cells().nth(1).get_attribute("aria-selected") == "true"
    ui.page.keyboard.press("End")
    assert ui.page.evaluate("() => document.activeElement.dataset.rank") == "4"
    ui.page.keyboard.press("Home")
    ui.page.keyboard.press("o")
    ui.page.get_by_role("dialog", name="Large view").wait_for()
    ui.page.keyboard.press("Escape")
    assert ui.page.evaluate("() => document.activeElement.dataset.rank") == "1", "the focus comes back"
    ui.page.keyboard.press("Tab")
    names = []
    for _ in range(4):
        names.append(ui.page.evaluate("() => document.activeElement.textContent"))
        ui.page.keyboard.press("Tab")
    assert {"Copy seed", "Large"} <= set(names)


@pytest.mark.renderers
def test_plain_keys_in_the_gallery_never_reach_the_graph(ui: UI) -> None:
    searched(ui)
    nodes = ui.count()
    for key in ("Delete", "Backspace", "m", "b", "q", "r", "p", "c", "h", ".", "Space"):
        ui.cells().first.focus()
        ui.page.keyboard.press(key)
    assert ui.count() == nodes
    assert ui.page.evaluate("(type) => hpsTest.node(type).mode", SEARCH) == 0, "neither muted nor bypassed"
    ui.page.keyboard.press("Escape")


@pytest.mark.renderers
def test_roles_and_names(ui: UI) -> None:
    searched(ui)
    assert ui.page.get_by_role("listbox").count() == 1
    options = ui.page.get_by_role("option")
    assert options.count() >= 4
    first = ui.cells().first.get_attribute("aria-label") or ""
    assert "1" in first and "score" in first.lower() and "seed" in first.lower()
    ui.open_board()
    ui.page.locator(".hps-board tbody tr[data-id]").first.wait_for()
    assert ui.page.get_by_role("tab", name="Leaderboard").get_attribute("aria-selected") == "true"
    assert ui.page.get_by_role("table", name="Scored pictures").count() == 1
    assert ui.page.get_by_role("columnheader", name="Score").get_attribute("aria-sort") == "descending"
    nameless = ui.page.evaluate(
        """() => [...document.querySelectorAll('.hps-root button, .hps-root select, .hps-root input, .hps-root a')]
            .filter((each) => each.checkVisibility() && !(each.getAttribute('aria-label') || each.textContent.trim()
                || each.title || each.labels?.length)).map((each) => each.className)"""
    )
    assert nameless == []
    ui.close_board()


def test_the_leaderboard_works_by_keyboard_alone(ui: UI) -> None:
    # Rows of other tests may have no seed to copy.
    assert ui.server.post("/hps/v1/ledger/purge", {"confirm": True, "before": None})["v"] == 1
    ui.reload()
    searched(ui)
    ui.open_board()
    rows = ui.page.locator(".hps-board tbody tr[data-id]")
    rows.nth(1).wait_for()
    rows.first.focus()
    ui.page.keyboard.press("ArrowDown")
    focused = "() => document.activeElement.closest('tr')?.dataset.id"
    assert ui.page.evaluate(focused) == rows.nth(1).get_attribute("data-id")
    ui.page.keyboard.press("c")
    seed = rows.nth(1).locator(".hps-row-seed").inner_text().removeprefix("seed ")
    ui.until(lambda: ui.page.evaluate("() => navigator.clipboard.readText()") == seed)
    ui.page.keyboard.press("o")
    ui.page.locator(".hps-float").wait_for()
    ui.page.keyboard.press("Escape")
    ui.until(lambda: ui.page.locator(".hps-float").count() == 0)
    nodes = ui.count()
    rows.first.focus()
    ui.page.keyboard.press("Delete")
    assert ui.count() == nodes
    ui.close_board()


def test_settings_are_in_the_hosts_dialog_and_survive(ui: UI) -> None:
    ids = ui.page.evaluate(
        "() => Object.keys(app.ui.settings.settingsLookup ?? {}).filter((id) => id.startsWith('HPS.'))"
    )
    wanted = ["HPS.Gallery.Badges", "HPS.Gallery.Decimals", "HPS.Ledger.Enabled", "HPS.Ledger.MaxMegabytes"]
    assert set(wanted) <= set(ids)
    ui.setting("HPS.Ledger.MaxMegabytes", 64)
    stored = ui.server.base / "user/default/comfy.settings.json"
    ui.until(lambda: json.loads(stored.read_text()).get("HPS.Ledger.MaxMegabytes") == 64)
    summary: dict[str, Any] = ui.server.get("/hps/v1/ledger/summary")
    assert summary["max_bytes"] == 64 * 2**20
    ui.setting("HPS.Ledger.MaxMegabytes", 256)
