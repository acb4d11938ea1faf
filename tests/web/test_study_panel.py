"""A comparison on its node: progress, verdict, standings, copying; coming back; several nodes."""

from __future__ import annotations

from typing import Any

import pytest
from web_harness import StubPage
from web_harness.study_samples import PROMPTS, SETTINGS, cell, cells, compare, comparison, header, large, study

LIB = "/extensions/hps-nodes/lib/"


def begin(page: StubPage, kind: str = "HPS_CompareSettings", node: int = 1, width: int = 820) -> None:
    page.set_viewport_size({"width": 1400, "height": 800})
    page.start()
    page.add_node(id=node, type=kind, size=[width, 640])


def ended(page: StubPage, **more: Any) -> None:
    begin(page)
    page.executed("1", {"hps": [study(**more)]})
    page.locator(".hps-spot").first.wait_for()


def status(page: StubPage) -> str:
    return str(page.locator(".hps-status").inner_text())


def table(page: StubPage) -> list[list[str]]:
    page.get_by_role("tab", name="Settings").click()
    script = "rows => rows.map((row) => [...row.children].map((cell) => cell.innerText.trim()))"
    return list(page.locator(".hps-standings tbody tr").evaluate_all(script))


# --- how far it is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"eta": 42.4}, "7 of 16 images · about 42 s left"),
        ({"eta": 200.0, "reused": 3}, "7 of 16 images · 3 of them from before · about 3 min left"),
        ({"eta": 8000.0}, "7 of 16 images · about 2 h 13 min left"),
        ({"eta": None}, "7 of 16 images"),
    ],
)
def test_progress_in_words_and_as_a_bar(stub_page: StubPage, counts: dict[str, Any], words: str) -> None:
    begin(stub_page)
    stub_page.send("hps.compare", compare("1", cells(4, 2, 2, 7), 7, **counts))
    stub_page.locator(".hps-spot img").first.wait_for()
    assert status(stub_page) == words
    bar = stub_page.locator("[role=progressbar]")
    assert (bar.get_attribute("aria-valuenow"), bar.get_attribute("aria-valuemax")) == ("7", "16")
    assert stub_page.locator(".hps-running").count() == 1
    stub_page.executed("1", {"hps": [study()]})
    assert not bar.is_visible() and stub_page.locator(".hps-running").count() == 0


def test_the_end_says_the_verdict_first(stub_page: StubPage) -> None:
    ended(stub_page)
    assert status(stub_page) == "HPS v2.1 · 16 images · 3 of them from before"
    assert stub_page.locator(".hps-headline").inner_text().startswith("uni_pc is clearly better than euler")
    assert stub_page.locator(".hps-warnings").inner_text() == "⚠ Two prompts say little about others."
    assert stub_page.evaluate("() => app.graph.getNodeById(1).badges.map((badge) => badge().text)") == ["HPS v2.1"]


def test_a_long_verdict_is_there_in_full(stub_page: StubPage) -> None:
    ended(
        stub_page, headline="b, 4.5 steps is better than a: +1.0. It was picked after looking. " + "More words. " * 60
    )
    headline = stub_page.locator(".hps-headline")
    assert headline.locator("b").inner_text() == "b, 4.5 steps is better than a: +1.0."
    assert headline.evaluate("(e) => e.scrollHeight > e.clientHeight")
    assert headline.bounding_box()["height"] < 80
    more = stub_page.get_by_role("button", name="more", exact=True)
    size = stub_page.evaluate("() => [...app.graph.getNodeById(1).size]")
    more.click()
    assert headline.bounding_box()["height"] > 100
    assert headline.evaluate("(e) => getComputedStyle(e).overflowY") == "auto", "what still has no room scrolls"
    assert stub_page.evaluate("() => [...app.graph.getNodeById(1).size]") == size, "the node keeps its size"
    stub_page.get_by_role("button", name="less").click()
    assert headline.bounding_box()["height"] < 80


def test_notes_that_are_cut_say_how_many(stub_page: StubPage) -> None:
    ended(stub_page, warnings=[f"Note {n} is a sentence. " + "More of it. " * 20 for n in range(4)])
    notes = stub_page.locator(".hps-warnings")
    more = stub_page.get_by_role("button", name="more (3)")
    assert more.get_attribute("aria-expanded") == "false" and notes.bounding_box()["height"] < 50
    more.click()
    assert notes.evaluate("(e) => e.scrollHeight <= e.clientHeight + 1"), "all of it can be seen"
    assert stub_page.get_by_role("button", name="less").get_attribute("aria-expanded") == "true"
    buttons, panel = (stub_page.locator(name).bounding_box() for name in (".hps-bar", ".hps-node"))
    assert buttons["y"] + buttons["height"] <= panel["y"] + panel["height"], "nothing is pushed out of the node"


def test_notes_take_the_room_below_the_standings(stub_page: StubPage) -> None:
    ended(stub_page, warnings=[f"Note {n}. " + "More of it. " * 8 for n in range(4)])
    stub_page.get_by_role("tab", name="Settings").click()
    notes = stub_page.locator(".hps-warnings")
    stub_page.wait_for_function("() => document.querySelector('.hps-fold .hps-warnings').clientHeight > 100")
    assert notes.evaluate("(e) => e.scrollHeight <= e.clientHeight + 1")
    assert stub_page.get_by_role("button", name="more").count() == 0


def test_short_words_have_no_button(stub_page: StubPage) -> None:
    ended(stub_page)
    assert stub_page.locator(".hps-unfold:visible").count() == 0


def test_settings_that_are_all_alike_have_no_signs(stub_page: StubPage) -> None:
    ended(stub_page, contenders=[3, 2, 1, 0])
    assert [row[0] for row in table(stub_page)] == ["1 ★", "2", "3", "4"]


def test_what_rounds_to_nothing_has_no_sign(stub_page: StubPage) -> None:
    ended(stub_page, comparisons=[comparison("heun", -0.001, "no evidence")])
    assert next(row for row in table(stub_page) if row[1] == "heun")[2] == "0.00"


def test_the_node_does_not_change_its_size_between_run_and_end(stub_page: StubPage) -> None:
    begin(stub_page)
    stub_page.send("hps.compare", compare("1", cells(4, 2, 2, 1), 1))
    stub_page.locator(".hps-spot img").first.wait_for()
    size = "() => [...app.graph.getNodeById(1).size]"
    before = stub_page.evaluate(size)
    stub_page.send("hps.compare", compare("1", cells(4, 2, 2), 16))
    stub_page.executed("1", {"hps": [study()]})
    assert stub_page.evaluate(size) == before
    stub_page.locator(".hps-spot").first.hover()
    stub_page.get_by_role("tab", name="Settings").click()
    assert stub_page.evaluate(size) == before


def test_an_interrupted_run_keeps_what_was_made(stub_page: StubPage) -> None:
    begin(stub_page)
    stub_page.send("hps.compare", compare("1", cells(4, 2, 2, 7), 7))
    stub_page.locator(".hps-spot img").first.wait_for()
    stub_page.send("execution_interrupted", {})
    assert status(stub_page) == "HPS v2.1 · 7 of 16 images · stopped; queue again to go on"
    assert stub_page.locator(".hps-spot img[src]").count() == 7
    assert not stub_page.locator("[role=progressbar]").is_visible()
    assert "missing" in (stub_page.locator(".hps-spot-empty").first.get_attribute("aria-label") or "")


# --- standings -------------------------------------------------------------------------------------------------------


def test_standings_come_best_first_with_all_figures(stub_page: StubPage) -> None:
    ended(stub_page)
    rows = table(stub_page)
    assert [row[1] for row in rows] == ["uni_pc", "dpmpp_2m", "heun", "euler"]
    assert rows[0] == ["1 ★", "uni_pc", "+1.50", "", "clear better", "75%", "+0.75", "+60"]
    assert rows[1][0] == "2 ≈", "one that the images do not put clearly below the first"
    assert rows[2] == ["3", "heun", "+0.50", "", "no evidence", "75%", "−0.25", "−20"]
    assert rows[3] == ["4", "euler", "–", "", "reference", "–", "−0.75", "−60"]
    heads = stub_page.locator(".hps-standings thead th").all_inner_texts()
    assert [" ".join(head.split()) for head in heads] == [
        "#",
        "Setting",
        "To the reference points",
        "Interval points",
        "Verdict",
        "Wins",
        "Relative points",
        "Elo",
    ]
    title = stub_page.locator(".hps-standings tbody tr").nth(1).get_attribute("title") or ""
    assert "+1.00 against euler (+0.70 to +1.30)" in title and "p = 0.030 after correction" in title
    assert "higher in 75% of 4 pairs" in title and "differences of 0.40 and more" in title
    assert "may be the best" in title


@pytest.mark.parametrize(
    ("difference", "verdict", "words", "up"),
    [
        (1.5, "clear", "clear better", "up"),
        (-1.5, "clear", "clear worse", "down"),
        (0.5, "leaning", "leaning better", "up"),
        (-0.5, "leaning", "leaning worse", "down"),
        (-0.5, "no evidence", "no evidence", "down"),
        (0.0, "leaning", "leaning", ""),
        (0.5, "of tomorrow", "of tomorrow", "up"),
    ],
)
def test_a_verdict_says_its_direction(
    stub_page: StubPage, difference: float, verdict: str, words: str, up: str
) -> None:
    ended(stub_page, comparisons=[comparison("heun", difference, verdict)])
    chip = stub_page.locator(".hps-column").nth(1).locator(".hps-chip")
    assert (chip.inner_text(), chip.get_attribute("data-up") or "") == (words, up)
    assert next(row for row in table(stub_page) if row[1] == "heun")[4] == words


@pytest.mark.parametrize(("width", "hidden"), [(900, []), (600, ["Elo"]), (440, ["Wins", "Relative", "Elo"])])
def test_standings_fit_a_node_of_any_width(stub_page: StubPage, width: int, hidden: list[str]) -> None:
    begin(stub_page)
    labels = ["euler, 4 steps", "dpmpp_2m, 8 steps", "heun, 12 steps", "uni_pc, 16 steps"]
    said = [comparison(label, -1.25, "leaning") for label in labels[1:]]
    stub_page.executed("1", {"hps": [study(settings=labels, comparisons=said)]})
    stub_page.locator(".hps-spot").first.wait_for()
    stub_page.evaluate("(width) => app.graph.getNodeById(1).setSize([width, 640])", width)
    stub_page.get_by_role("tab", name="Settings").click()
    box = stub_page.locator(".hps-standings-box")
    stub_page.wait_for_function(
        "(width) => document.querySelector('.hps-standings-box').clientWidth < width", arg=width
    )
    assert box.evaluate("(e) => e.scrollWidth <= e.clientWidth"), "no column is cut"
    heads = stub_page.locator(".hps-standings thead th")
    unseen = [heads.nth(n).text_content() or "" for n in range(heads.count()) if not heads.nth(n).is_visible()]
    assert [text.removesuffix("points") for text in unseen] == hidden
    chip = stub_page.locator(".hps-standings .hps-chip-leaning").first
    assert chip.evaluate("(e) => e.scrollWidth <= e.clientWidth"), "the verdict can be read"


def test_hints_speak_of_what_is_there(stub_page: StubPage) -> None:
    bare = [each | {"image": None, "thumb": None} for each in cells(4, 2, 2)]
    ended(stub_page, cells=bare)
    words = stub_page.locator(".hps-subject")
    assert words.inner_text().strip() == "Point at a score or a column to read about it."
    stub_page.get_by_role("tab", name="Settings").click()
    assert words.inner_text().strip() == "Choose a row to read about it."
    stub_page.get_by_role("tab", name="Grid").click()
    stub_page.executed("1", {"hps": [study(run="with pictures")]})
    assert words.inner_text().strip() == "Point at a picture or a column to read about it."


def test_intervals_share_one_scale(stub_page: StubPage) -> None:
    ended(stub_page)
    table(stub_page)
    script = "all => all.map((line) => ['x1', 'x2'].map((name) => Number(line.getAttribute(name))))"
    low, high = zip(*stub_page.locator(".hps-interval").evaluate_all(script), strict=True)
    assert low[0] > low[1] > low[2] and max(high) <= 120
    assert len({round(b - a, 0) for a, b in zip(low, high, strict=True)}) == 1, "equally wide intervals are drawn so"
    zeros = stub_page.locator(".hps-zero").evaluate_all("all => all.map((line) => line.getAttribute('x1'))")
    assert len(set(zeros)) == 1 and float(zeros[0]) <= min(low)
    words = stub_page.locator(".hps-bar-drawing").first.get_attribute("aria-label")
    assert words == "+1.50, interval 1.20 to 1.80"


def test_the_adjusted_interval_goes_with_the_verdict(stub_page: StubPage) -> None:
    said = comparison("heun", 0.5, "leaning", adjusted_low=-0.25, adjusted_high=1.25)
    ended(stub_page, comparisons=[said])
    table(stub_page)
    assert "(−0.25 to +1.25)" in (stub_page.locator("tr[data-setting='1']").get_attribute("title") or "")


def test_figures_that_are_not_known_are_dashes(stub_page: StubPage) -> None:
    nothing = dict.fromkeys(("difference", "low", "high", "p", "p_adjusted", "wins", "detectable"))
    said = [comparison(label, 0.0, "no evidence") | nothing for label in SETTINGS[1:]]
    ended(stub_page, comparisons=said, standings=[{"setting": 0, "relative": None, "z": None, "elo": None}])
    row = next(row for row in table(stub_page) if row[1] == "heun")
    assert row[2] == "–" and row[5] == "–" and "NaN" not in stub_page.locator(".hps-standings").inner_text()
    assert stub_page.locator(".hps-interval").count() == 0


def test_standings_while_it_runs(stub_page: StubPage) -> None:
    begin(stub_page)
    stub_page.send("hps.compare", compare("1", cells(4, 2, 2, 4), 4))
    stub_page.locator(".hps-spot img").first.wait_for()
    rows = table(stub_page)
    assert [row[1] for row in rows] == ["uni_pc", "dpmpp_2m", "heun", "euler"]
    assert rows[0][2] == "+1.55" and len(rows[0]) == 7, "no Elo yet"


def test_many_settings_come_in_parts(stub_page: StubPage) -> None:
    begin(stub_page)
    stub_page.executed("1", {"hps": [large()]})
    assert len(table(stub_page)) == 50
    stub_page.get_by_role("button", name="Show all 200").click()
    assert stub_page.locator(".hps-standings tbody tr").count() == 200


def test_the_table_is_used_with_the_keys(stub_page: StubPage) -> None:
    ended(stub_page)
    tab = stub_page.get_by_role("tab", name="Grid")
    tab.focus()
    stub_page.keyboard.press("ArrowRight")
    assert stub_page.get_by_role("tab", name="Settings").get_attribute("aria-selected") == "true"
    stub_page.locator("tr[tabindex='0']").focus()
    stub_page.keyboard.press("ArrowDown")
    assert stub_page.locator(".hps-subject").inner_text().startswith("dpmpp_2m\n+1.00 against euler")
    stub_page.get_by_role("button", name="Copy setting").click()
    assert stub_page.copied == ["dpmpp_2m"]


# --- copying ---------------------------------------------------------------------------------------------------------


def test_seed_setting_and_values_are_copied(stub_page: StubPage) -> None:
    ended(stub_page)
    for name in ("Copy seed", "Copy setting", "Copy values", "Large"):
        assert stub_page.get_by_role("button", name=name, exact=True).is_disabled(), "nothing is chosen yet"
    stub_page.locator(".hps-spot[data-place='1,2']").focus()
    for name in ("Copy seed", "Copy setting", "Copy values"):
        stub_page.get_by_role("button", name=name).click()
    assert stub_page.copied == ["101", "dpmpp_2m", "sampler: dpmpp_2m"]
    stub_page.locator(".hps-column[data-place='-1,3']").click()
    assert stub_page.get_by_role("button", name="Copy seed").is_disabled(), "a column has no seed"
    assert "clear better · p = 0.030 after correction" in stub_page.locator(".hps-subject").inner_text()


def test_images_that_were_handed_in_have_names_and_no_seeds(stub_page: StubPage) -> None:
    begin(stub_page, "HPS_CompareImages")
    data = study(seeds=["row one", "row two"], axes=[])
    stub_page.executed("1", {"hps": [data]})
    stub_page.locator(".hps-spot[data-place='1,2']").focus()
    assert stub_page.get_by_role("button", name="Copy seed").is_disabled()
    assert not stub_page.get_by_role("button", name="Copy values").is_visible()
    assert stub_page.locator(".hps-subject").inner_text().split("\n")[1] == f"row two · {PROMPTS[0]}"


# --- coming back -----------------------------------------------------------------------------------------------------


def test_a_reload_in_mid_run_goes_on_where_it_was(stub_page: StubPage) -> None:
    so_far = compare("1", cells(4, 2, 2, 6), 6) | {"workflow": "stub-graph"}
    kept = {"node": "1", "workflow": "stub-graph", "event": "hps.compare", "data": so_far, "hps": []}
    stub_page.hps_route("/hps/v1/snapshot", {"v": 1, "nodes": {"stub-graph 1": kept}})
    stub_page.start()
    stub_page.add_node(id=1, type="HPS_CompareSettings", size=[820, 640])
    stub_page.evaluate("() => app.invoke('afterConfigureGraph')")
    stub_page.wait_for_function("() => document.querySelectorAll('.hps-spot img[src]').length === 6")
    stub_page.send("hps.compare", compare("1", [cell(2, 0, 1), cell(0, 0, 0)], 7) | {"workflow": "stub-graph"})
    stub_page.wait_for_function("() => document.querySelectorAll('.hps-spot img[src]').length === 7")
    assert status(stub_page).startswith("7 of 16")


def test_cells_join_by_their_places(stub_page: StubPage) -> None:
    script = """async ([lib, a, b]) => {
        const { joined } = await import(lib + "live.js");
        return joined("hps.compare", joined("hps.compare", null, a), b).cells.map(({ s, score }) => [s, score]) }"""
    first = compare("1", [cell(0, 0, 0, 1.0), cell(1, 0, 0, 2.0)], 2)
    again = compare("1", [cell(1, 0, 0, 3.0), cell(2, 0, 0, 4.0)], 3)
    assert stub_page.evaluate(script, [LIB, first, again]) == [[0, 1.0], [1, 3.0], [2, 4.0]]
    other = again | {"run": "another"}
    assert stub_page.evaluate(script, [LIB, first, other]) == [[1, 3.0], [2, 4.0]]


def test_another_run_starts_anew_and_other_nodes_keep_theirs(stub_page: StubPage) -> None:
    begin(stub_page)
    stub_page.add_node(id=2, type="HPS_CompareSettings", size=[820, 640])
    stub_page.executed("1", {"hps": [study()]})
    stub_page.send("hps.compare", compare("2", cells(4, 2, 2, 3), 3))
    stub_page.send("hps.compare", compare("1", cells(4, 2, 2, 1), 1, run="d"))
    stub_page.wait_for_function(
        """() => [1, 2].every((n) =>
            document.querySelectorAll(`[data-node='${n}'] .hps-spot img[src]`).length === [1, 3][n - 1])"""
    )
    assert not stub_page.locator("[data-node='1'] .hps-headline").is_visible()


def test_events_of_another_workflow_change_nothing_here(stub_page: StubPage) -> None:
    begin(stub_page)
    stub_page.send("hps.compare", compare("1", cells(4, 2, 2, 3), 3) | {"workflow": "elsewhere"})
    stub_page.wait_for_timeout(80)
    assert stub_page.locator(".hps-spot").count() == 0


ODD = [{}, {"settings": None}, {"cells": "x"}, {"prompts": []}, {"reference": 7}, {"axes": [None]}]


@pytest.mark.parametrize("data", ODD)
def test_odd_data_is_no_error(stub_page: StubPage, data: dict[str, Any]) -> None:
    begin(stub_page)
    stub_page.send("hps.compare", {"node": "1", "run": "o", "kind": "grid", **data})
    stub_page.executed("1", {"hps": [{"v": 1, "kind": "study", "run": "p", **header(), **data}]})
    stub_page.wait_for_timeout(50)


def test_a_removed_node_leaves_nothing(stub_page: StubPage) -> None:
    ended(stub_page)
    stub_page.locator(".hps-spot").first.click()
    stub_page.evaluate("() => app.graph.remove(app.graph.getNodeById(1))")
    assert stub_page.locator(".hps-root").count() == 0


def test_words_and_motion_follow_the_person(stub_page: StubPage) -> None:
    stub_page.emulate_media(reduced_motion="reduce")
    stub_page.hps_route("/i18n", {"fr": {"hps": {"study": {"clearBetter": "net", "tabGrid": "Grille"}}}})
    stub_page.evaluate("() => { app.extensionManager.setting.values['Comfy.Locale'] = 'fr' }")
    ended(stub_page)
    assert stub_page.get_by_role("tab", name="Grille").count() == 1
    assert "net" in stub_page.locator(".hps-column").nth(3).inner_text()
    style = "() => getComputedStyle(document.querySelector('.hps-progress-fill')).transitionDuration"
    assert stub_page.evaluate(style) == "0s"
