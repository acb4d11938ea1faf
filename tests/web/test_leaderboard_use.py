"""The leaderboard in use: it stays in place, does what is asked by mouse and by keys, and says what went wrong."""

from __future__ import annotations

from typing import Any

import pytest
from web._ledger import HOSTILE, PROMPTS, ROWS, choice, facets, open_sidebar, opened, page_of, row, serve, summary
from web_harness import Asked, Reply, StubPage

# --- staying in place ------------------------------------------------------------------------------------------------


def test_a_finished_run_is_seen_without_moving_anything(stub_page: StubPage) -> None:
    rows = [row(number) for number in range(10, 50)]
    opened(stub_page, rows)
    seen = stub_page.locator("tr[data-id='30']")
    seen.scroll_into_view_if_needed()
    seen.locator("[data-act=seed]").focus()
    before = seen.bounding_box()
    stub_page.evaluate("() => { document.querySelector(\"tr[data-id='30']\").mark = 1 }")
    rows += [row(number) for number in range(1, 10)]
    for _ in range(20):
        stub_page.send("execution_success", {})
    stub_page.locator("tr[data-id='1']").wait_for(state="attached")
    after = seen.bounding_box()
    assert before and after and abs(before["y"] - after["y"]) < 1.5
    focused = "() => [document.activeElement.dataset.act, document.activeElement.closest('tr').mark]"
    assert stub_page.evaluate(focused) == ["seed", 1]
    assert len(stub_page.asked_for("/hps/v1/ledger/summary")) == 2, "twenty events, one request"


def test_a_page_in_the_background_asks_when_it_is_seen_again(stub_page: StubPage) -> None:
    rows = [row(1)]
    opened(stub_page, rows)
    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    stub_page.evaluate(hide, True)
    asked = len(stub_page.asked)
    rows.append(row(2))
    stub_page.send("execution_success", {})
    stub_page.wait_for_timeout(700)
    assert len(stub_page.asked) == asked
    stub_page.evaluate(hide, False)
    stub_page.locator("tr[data-id='2']").wait_for()


def test_a_closed_tab_asks_no_more_and_opens_as_it_was(stub_page: StubPage) -> None:
    opened(stub_page, [row(1), row(2, prompt=1)], *PROMPTS[:2])
    choice(stub_page, "Prompt").select_option("2")
    stub_page.locator("tr[data-id='2']").wait_for()
    stub_page.open_tab("hps")
    assert stub_page.locator(".hps-side").count() == 0
    asked = len(stub_page.asked)
    stub_page.send("execution_success", {})
    stub_page.wait_for_timeout(600)
    assert len(stub_page.asked) == asked
    stub_page.open_tab("hps")
    stub_page.locator("tr[data-id='2']").wait_for()
    assert choice(stub_page, "Prompt").input_value() == "2"


def test_rendering_again_changes_nothing(stub_page: StubPage) -> None:
    opened(stub_page, [row(1)])
    stub_page.evaluate(
        """() => {
            document.querySelector(".hps-sidebar").mark = 1;
            app.extensionManager.openTab.render(document.querySelector(".sidebar-content-container"));
        }"""
    )
    assert stub_page.locator(".hps-sidebar").evaluate_all("(all) => all.map((each) => each.mark)") == [1]


def test_a_tab_that_the_host_took_away_silently_stops(stub_page: StubPage) -> None:
    opened(stub_page, [row(1)])
    stub_page.evaluate("() => document.querySelector('.hps-sidebar').remove()")
    asked = len(stub_page.asked)
    stub_page.send("execution_success", {})
    stub_page.wait_for_timeout(600)
    assert len(stub_page.asked) == asked


def test_another_packs_tab_in_the_same_place(stub_page: StubPage) -> None:
    opened(stub_page, [row(1)])
    stub_page.evaluate("() => document.querySelector('.sidebar-content-container').append('another pack')")
    stub_page.locator(".hps-sidebar").wait_for(state="detached")
    assert stub_page.locator(".sidebar-content-container").inner_text() == "another pack"
    stub_page.evaluate(
        "() => app.extensionManager.openTab.render(document.querySelector('.sidebar-content-container'))"
    )
    stub_page.locator("tbody tr").wait_for()
    assert stub_page.locator(".hps-sidebar").count() == 1


# --- doing -----------------------------------------------------------------------------------------------------------


def test_a_workflow_opens_in_a_tab_of_its_own(stub_page: StubPage) -> None:
    stub_page.hps_route("/hps/v1/ledger/workflow/1", {"v": 1, "kind": "workflow", "graph": {"nodes": []}})
    stub_page.hps_route("/hps/v1/ledger/workflow/2", {"v": 1, "kind": "prompt", "graph": {"1": {}}})
    opened(stub_page, [row(1), row(2), row(3, workflow=False)])
    for number in (1, 2):
        stub_page.locator(f"tr[data-id='{number}'] [data-act=workflow]").click()
    stub_page.wait_for_function("() => app.loaded.length + app.loadedApi.length === 2")
    assert stub_page.evaluate("() => [app.loaded, app.loadedApi]") == [
        [[{"nodes": []}, True, True, "seed 1001 - a red fox asleep in fresh"]],
        [[{"1": {}}, "seed 1002 - a red fox asleep in fresh"]],
    ]
    assert stub_page.locator("tr[data-id='3'] [data-act=workflow]").count() == 0
    assert not stub_page.evaluate("() => app.extensionManager.dialogs.length")


def test_a_lost_workflow_says_so(stub_page: StubPage) -> None:
    stub_page.hps_route("/hps/v1/ledger/workflow/1", Reply({"error": "No workflow was stored with this row."}, 404))
    opened(stub_page, [row(1)])
    stub_page.locator("[data-act=workflow]").click()
    stub_page.wait_for_function("() => app.extensionManager.toasts.length === 1")
    [toast] = stub_page.toasts
    assert toast["severity"] == "error" and toast["detail"] == "No workflow was stored with this row."


def test_seeds_are_copied_whole(stub_page: StubPage) -> None:
    opened(stub_page, [row(1, seed="18446744073709551615"), row(2, seed="6"), row(3, seed=None), row(4, seed="6")])
    stub_page.locator("tr[data-id='1'] [data-act=seed]").click()
    stub_page.get_by_role("button", name="Copy the seeds shown").click()
    stub_page.wait_for_function("() => window.stubCopied.length === 2")
    assert stub_page.copied == ["18446744073709551615", "18446744073709551615, 6"]


def test_the_large_view_steps_through_the_rows(stub_page: StubPage) -> None:
    opened(stub_page, [row(1), row(2)])
    stub_page.locator("tr[data-id='1'] .hps-pic").click()
    card = stub_page.locator(".hps-large")
    assert card.get_attribute("role") == "dialog" and card.get_attribute("aria-modal") is None
    stub_page.keyboard.press("ArrowRight")
    stub_page.locator(".hps-large img[src*='/image/2?size=full']").wait_for()
    stub_page.keyboard.press("Escape")
    assert card.count() == 0
    assert stub_page.evaluate("() => document.activeElement.dataset.act") == "large", "the focus goes back"


def test_a_picture_that_is_gone_is_told(stub_page: StubPage) -> None:
    serve(stub_page, [row(1)])
    stub_page.hps_route("/hps/v1/ledger/image/*", Reply({"error": "gone"}, 404))
    open_sidebar(stub_page)
    stub_page.get_by_text("no picture", exact=True).click()
    stub_page.get_by_text("The picture is gone").wait_for()


def test_the_keyboard_alone(stub_page: StubPage) -> None:
    stub_page.hps_route("/hps/v1/ledger/workflow/2", {"v": 1, "kind": "workflow", "graph": {}})
    opened(stub_page, [row(number) for number in range(1, 6)])
    stub_page.evaluate("() => { window.leaked = []; window.addEventListener('keydown', (e) => leaked.push(e.key)) }")
    stub_page.get_by_role("tab", name="Leaderboard").focus()
    for _ in range(30):
        stub_page.keyboard.press("Tab")
        if stub_page.evaluate("() => document.activeElement.tagName") == "TR":
            break
    assert stub_page.evaluate("() => document.activeElement.dataset.id") == "1", "one row is in the order of Tab"
    for key, expected in (("ArrowDown", "2"), ("End", "5"), ("ArrowDown", "5"), ("Home", "1"), ("ArrowDown", "2")):
        stub_page.keyboard.press(key)
        assert stub_page.evaluate("() => document.activeElement.dataset.id") == expected
    assert stub_page.locator("tr[aria-current=true]").get_attribute("data-id") == "2"
    stub_page.keyboard.press("c")
    stub_page.keyboard.press("Enter")
    stub_page.wait_for_function("() => app.loaded.length === 1 && window.stubCopied.length === 1")
    assert stub_page.copied == ["1002"]
    stub_page.keyboard.press("Delete")
    stub_page.keyboard.press("r")
    leaked = stub_page.evaluate("() => window.leaked")
    assert not {"Delete", "r", "c", "Enter"} & set(leaked), "bare keys are kept from the graph"
    stub_page.keyboard.press("Control+Enter")
    assert "Enter" in stub_page.evaluate("() => window.leaked"), "keys with Ctrl are the host's"


def test_roles_and_names(stub_page: StubPage) -> None:
    opened(stub_page, [row(1)])
    assert stub_page.get_by_role("tablist").get_by_role("tab").count() == 2
    tab = stub_page.get_by_role("tab", name="Leaderboard")
    assert tab.get_attribute("aria-selected") == "true" and tab.get_attribute("aria-controls") == "hps-view"
    assert stub_page.locator("#hps-view").get_attribute("role") == "tabpanel"
    assert stub_page.get_by_role("table", name="Scored pictures").count() == 1
    assert stub_page.get_by_role("button", name="Copy seed 1001").count() == 1
    nameless = """() => [...document.querySelectorAll(".hps-side :is(button, input, select, a)")]
        .filter((each) => !(each.textContent.trim() || each.ariaLabel || each.labels?.[0]?.textContent)).length"""
    assert stub_page.evaluate(nameless) == 0
    tab.focus()
    stub_page.keyboard.press("ArrowRight")
    assert stub_page.evaluate("() => document.activeElement.textContent") == "Blind picks"
    assert stub_page.locator("table").count() == 0, "no scores stand beside a blind pick"


# --- ledger, comparison, states --------------------------------------------------------------------------------------


def test_settings_side_by_side(stub_page: StubPage) -> None:
    opened(stub_page, [row(1)])
    assert not stub_page.asked_for("/hps/v1/ledger/compare"), "not before somebody looks"
    known = {"mean": None, "groups": 2, "n": 8}
    settings = [
        known | {"value": "uni_pc", "gain": 0.254, "sd": 0.5, "wins": 5, "pairs": 8},
        known | {"value": HOSTILE, "gain": None, "sd": None, "wins": 0, "pairs": 0},
    ]
    stub_page.hps_route("/hps/v1/ledger/compare", {"v": 1, "by": "sampler", "settings": settings})
    stub_page.get_by_text("Compare settings").click()
    stub_page.locator(".hps-compare tbody tr").nth(1).wait_for()
    first = stub_page.locator(".hps-compare tbody tr").first
    assert first.inner_text().split("\t") == ["uni_pc", "+0.25", "5 of 8", "8"]
    assert "not a test" in stub_page.locator(".hps-fold-body").inner_text()
    assert stub_page.asked_for("/hps/v1/ledger/compare")[-1].query == {"by": "sampler", "prompt": "1"}
    stub_page.get_by_label("What to compare").select_option("cfg")
    stub_page.wait_for_timeout(100)
    assert stub_page.asked_for("/hps/v1/ledger/compare")[-1].query["by"] == "cfg"


def test_size_and_export(stub_page: StubPage) -> None:
    opened(stub_page, [row(1)])
    assert "Recorded pictures: 1, 1.0 MB of 256 MB" in stub_page.locator("summary").last.inner_text()
    stub_page.locator("summary").last.click()
    link = stub_page.get_by_role("link", name="JSONL")
    link.evaluate("(a) => a.addEventListener('click', (event) => event.preventDefault())")
    link.click()
    assert link.get_attribute("href") == "/api/hps/v1/ledger/export?format=jsonl&prompt=1"


@pytest.mark.parametrize(("answer", "days"), [(True, 30), (True, None), (False, 30)])
def test_deleting_is_asked_about(stub_page: StubPage, answer: bool, days: int | None) -> None:
    stub_page.hps_route("/hps/v1/ledger/purge", {"v": 1, "deleted": 1})
    opened(stub_page, [row(1)])
    stub_page.locator("summary").last.click()
    stub_page.get_by_label("Which records to delete").select_option(str(days or ""))
    stub_page.evaluate("(answer) => app.extensionManager.answers.push(answer)", answer)
    stub_page.get_by_role("button", name="Delete").click()
    stub_page.wait_for_timeout(200)
    [dialog] = stub_page.evaluate("() => app.extensionManager.dialogs")
    assert dialog["type"] == "delete" and "Recorded pictures" in dialog["message"]
    assert ("older than 30 days" if days else "everything") in dialog["message"]
    if answer:
        assert stub_page.toasts[-1]["summary"] == "Recorded pictures deleted: 1"
    sent = [asked.json for asked in stub_page.asked_for("/hps/v1/ledger/purge", "POST")]
    assert len(sent) == int(answer)
    for body in sent:
        assert body["confirm"] is True
        now = stub_page.evaluate("() => Date.now() / 1000")
        assert body["before"] is None if days is None else abs(now - 30 * 86400 - body["before"]) < 60


def test_an_empty_ledger_says_how_to_fill_it(stub_page: StubPage) -> None:
    serve(stub_page, [])
    stub_page.hps_route("/hps/v1/ledger/facets", facets(prompts=[]))
    open_sidebar(stub_page)
    stub_page.get_by_text("No scored pictures yet").wait_for()
    assert "HPS Score" in stub_page.locator(".hps-state").inner_text()
    assert stub_page.locator(".hps-filters").is_hidden()


def test_a_ledger_that_is_off(stub_page: StubPage) -> None:
    serve(stub_page, [])
    off = {"v": 1, "enabled": False, "reason": "Several people share this server."}
    stub_page.hps_route("/hps/v1/ledger/summary", off)
    stub_page.evaluate(
        """() => app.extensionManager.commands.push({ id: "Comfy.ShowSettingsDialog", function: () => {} })"""
    )
    open_sidebar(stub_page)
    stub_page.get_by_text("Recording is off").wait_for()
    assert "Several people share this server." in stub_page.locator(".hps-state").inner_text()
    assert not stub_page.asked_for(ROWS), "what is refused is not asked"
    stub_page.get_by_role("button", name="Open settings").click()
    assert stub_page.evaluate("() => app.extensionManager.executed") == ["Comfy.ShowSettingsDialog"]


def test_old_rows_stay_to_be_seen_when_it_is_off(stub_page: StubPage) -> None:
    serve(stub_page, [row(1)])
    stub_page.hps_route("/hps/v1/ledger/summary", summary(1, enabled=False, reason="Switched off in the settings."))
    open_sidebar(stub_page)
    stub_page.locator("tbody tr").wait_for()
    notice = stub_page.locator(".hps-notice")
    assert notice.inner_text().split("\n")[0] == "Recording is off: new pictures are not listed here."
    assert "Switched off" not in notice.inner_text(), "said once"
    assert notice.get_by_role("button", name="Open settings").count() == 1


@pytest.mark.parametrize("path", ["/hps/v1/ledger/summary", "/hps/v1/ledger/facets", ROWS])
def test_trouble_at_first_can_be_tried_again(stub_page: StubPage, path: str) -> None:
    serve(stub_page, [row(1)])
    trouble: list[Any] = [Reply({"error": "The disk is full: free some space."}, 500)]
    good = {
        "/hps/v1/ledger/summary": lambda _: summary(1),
        "/hps/v1/ledger/facets": lambda _: facets(PROMPTS[0]),
        ROWS: lambda asked: page_of([row(1)], asked),
    }[path]

    def answer(asked: Asked) -> Any:
        return trouble.pop() if trouble else good(asked)

    stub_page.hps_route(path, answer)
    open_sidebar(stub_page)
    stub_page.get_by_role("alert").get_by_text("The disk is full: free some space.").wait_for()
    stub_page.wait_for_timeout(500)
    assert len(stub_page.asked_for(path)) == 1, "nothing is tried again by itself"
    stub_page.get_by_role("button", name="Refresh").click()
    stub_page.locator("tbody tr").wait_for()
    assert stub_page.get_by_role("alert").count() == 0


def test_trouble_later_leaves_the_rows(stub_page: StubPage) -> None:
    opened(stub_page, [row(1)])
    stub_page.hps_route("/hps/v1/ledger/summary", Reply("", 502))
    stub_page.send("execution_success", {})
    stub_page.get_by_role("alert").wait_for()
    assert stub_page.locator("tbody tr").is_visible()
    stub_page.hps_route("/hps/v1/ledger/summary", summary(1))
    stub_page.get_by_role("button", name="Refresh").click()
    stub_page.get_by_role("alert").wait_for(state="detached")
