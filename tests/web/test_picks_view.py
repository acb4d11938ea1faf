"""Around a blind pick: lost pictures and other trouble, agreement, prompts, keys, the floating card and the grid."""

from __future__ import annotations

from typing import Any

import pytest
from web._ledger import (
    HOSTILE,
    NEXT,
    PROMPTS,
    SEND,
    agreement,
    asking,
    facets,
    open_sidebar,
    pair,
    picks_opened,
    revealed,
    row,
    sent,
    serve,
    summary,
)
from web_harness import Reply, StubPage, picture

# --- trouble ---------------------------------------------------------------------------------------------------------


def test_a_pair_with_a_lost_picture_is_skipped_with_a_note(stub_page: StubPage) -> None:
    answers = [pair(1, 13), pair(3, 4)]
    serve(stub_page, [row(1)])
    stub_page.hps_route(NEXT, lambda _: answers.pop(0) if len(answers) > 1 else answers[0])
    stub_page.hps_route(
        "/hps/v1/ledger/image/*", lambda asked: Reply("", 404) if asked.path.endswith("/13") else picture(asked.path)
    )
    open_sidebar(stub_page)
    stub_page.get_by_role("tab", name="Blind picks").click()
    asking(stub_page)
    assert sent(stub_page) == [{"shown": [1, 13], "chosen": None, "outcome": "skip", "kind": "pair", "seconds": None}]
    assert "skipped" in stub_page.locator(".hps-verdict").inner_text()


def test_when_no_picture_can_be_had_it_stops(stub_page: StubPage) -> None:
    serve(stub_page, [row(1)])
    stub_page.hps_route("/hps/v1/ledger/image/*", Reply("", 404))
    open_sidebar(stub_page)
    stub_page.get_by_role("tab", name="Blind picks").click()
    stub_page.get_by_role("alert").get_by_text("could not be loaded").wait_for()
    assert len(sent(stub_page)) == 5
    assert stub_page.get_by_role("button", name="Refresh").count() == 1


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ({"v": 1, "pair": None}, "No pair is left to judge"),
        (Reply({"error": "Several people share this server."}, 403), "Recording is off"),
        (Reply("", 500), "This did not work"),
    ],
)
def test_states_have_a_remedy(stub_page: StubPage, answer: Any, title: str) -> None:
    serve(stub_page, [row(1)])
    stub_page.hps_route(NEXT, answer)
    open_sidebar(stub_page)
    stub_page.get_by_role("tab", name="Blind picks").click()
    stub_page.get_by_text(title).wait_for()
    assert stub_page.locator(".hps-picks").is_hidden()
    stub_page.hps_route(NEXT, pair(1, 2))
    stub_page.get_by_role("button", name="Refresh").click()
    asking(stub_page)


def test_a_finished_run_brings_new_pairs_and_leaves_a_question_alone(stub_page: StubPage) -> None:
    picks_opened(stub_page, pair(1, 2))
    stub_page.evaluate("() => { document.querySelector('.hps-choice').mark = 1 }")
    stub_page.send("execution_success", {})
    stub_page.wait_for_timeout(700)
    assert stub_page.evaluate("() => document.querySelector('.hps-choice').mark") == 1
    stub_page.hps_route(NEXT, {"v": 1, "pair": None})
    stub_page.locator(".hps-skip").click()
    stub_page.get_by_text("No pair is left").wait_for()
    stub_page.hps_route(NEXT, pair(5, 6))
    stub_page.send("execution_success", {})
    asking(stub_page)


# --- recording is off ------------------------------------------------------------------------------------------------

SUMMARY = "/hps/v1/ledger/summary"
TITLE = "Recording is off, so picks would not be kept."


def test_without_recording_no_pair_is_shown(stub_page: StubPage) -> None:
    serve(stub_page, [row(1), row(2)])
    stub_page.hps_route(SUMMARY, summary(2, enabled=False, reason="HPS_LEDGER is set to off."))
    stub_page.evaluate("() => app.extensionManager.commands.push({ id: 'Comfy.ShowSettingsDialog', function() {} })")
    open_sidebar(stub_page)
    stub_page.get_by_role("tab", name="Blind picks").click()
    stub_page.get_by_text(TITLE).wait_for()
    assert "HPS_LEDGER is set to off." in stub_page.locator(".hps-state").inner_text()
    assert stub_page.locator(".hps-picks").is_hidden() and not stub_page.asked_for(NEXT)
    stub_page.get_by_role("button", name="Open settings").click()
    assert stub_page.evaluate("() => app.extensionManager.executed") == ["Comfy.ShowSettingsDialog"]
    stub_page.hps_route(SUMMARY, summary(2))
    stub_page.get_by_role("button", name="Refresh").click()
    asking(stub_page)


def test_the_setting_is_heard_while_a_pair_stands(stub_page: StubPage) -> None:
    picks_opened(stub_page)
    off = "(on) => app.extensionManager.setting.set('HPS.Ledger.Enabled', on)"
    stub_page.hps_route(SUMMARY, summary(2, enabled=False, reason="Recording is switched off."))
    stub_page.evaluate(off, False)
    stub_page.get_by_text(TITLE).wait_for()
    assert "switched off" not in stub_page.locator(".hps-state").inner_text(), "said once"
    stub_page.hps_route(SUMMARY, summary(2))
    stub_page.evaluate(off, True)
    asking(stub_page)


def test_a_pick_that_is_refused_ends_the_questions(stub_page: StubPage) -> None:
    picks_opened(stub_page)
    stub_page.hps_route(SEND, Reply({"error": "Several people share this server."}, 403))
    stub_page.locator(".hps-choice").first.click()
    stub_page.get_by_text(TITLE).wait_for()
    assert "Several people" in stub_page.locator(".hps-state").inner_text()
    assert stub_page.locator(".hps-picks").is_hidden()


# --- focus -----------------------------------------------------------------------------------------------------------

IN_CARD = "() => document.activeElement.classList.contains('hps-picks')"


def test_keys_work_once_the_view_was_opened(stub_page: StubPage) -> None:
    picks_opened(stub_page)
    assert stub_page.evaluate(IN_CARD)
    stub_page.keyboard.press("1")
    revealed(stub_page)
    assert len(sent(stub_page)) == 1


def test_the_focus_is_not_taken_from_where_the_person_went(stub_page: StubPage) -> None:
    serve(stub_page, [row(1), row(2)])
    open_sidebar(stub_page)
    stub_page.delay(NEXT, 300)
    stub_page.evaluate(
        "() => { document.body.append(Object.assign(document.createElement('textarea'), {id: 'note'})) }"
    )
    stub_page.get_by_role("tab", name="Blind picks").click()
    stub_page.locator("#note").focus()
    asking(stub_page)
    assert stub_page.evaluate("() => document.activeElement.id") == "note"


def test_arrow_keys_on_the_tabs_leave_the_focus_there(stub_page: StubPage) -> None:
    serve(stub_page, [row(1), row(2)])
    open_sidebar(stub_page)
    stub_page.get_by_role("tab", name="Leaderboard").focus()
    stub_page.keyboard.press("ArrowRight")
    asking(stub_page)
    assert stub_page.evaluate("() => document.activeElement.role") == "tab"


# --- around it -------------------------------------------------------------------------------------------------------


def test_agreement_waits_for_enough_picks(stub_page: StubPage) -> None:
    picks_opened(stub_page, pair(1, 2))
    assert "3 of 15 picks: not enough yet" in stub_page.locator(".hps-agreement").inner_text()
    assert stub_page.locator(".hps-agreement progress").get_attribute("value") == "3"
    stub_page.hps_route("/hps/v1/picks/agreement", agreement(20, rate=0.65, low=0.433, high=0.819))
    stub_page.locator(".hps-choice").first.click()
    stub_page.get_by_text("You and the scorer agree in 65% of 20 picks (95% interval 43% to 82%").wait_for()
    stub_page.hps_route("/hps/v1/picks/agreement", agreement(20, prompts=1, enough=False))
    stub_page.get_by_role("button", name="Next").click()
    asking(stub_page)
    stub_page.locator(".hps-choice").first.click()
    stub_page.get_by_text("20 picks, but too few prompts (1 of 5)").wait_for()


def test_a_prompt_can_be_chosen_and_is_only_text(stub_page: StubPage) -> None:
    serve(stub_page, [row(1)])
    stub_page.hps_route("/hps/v1/ledger/facets", facets(PROMPTS[0], HOSTILE))
    stub_page.hps_route(NEXT, lambda asked: pair(1, 2, HOSTILE) if asked.query.get("prompt") == "2" else pair(3, 4))
    open_sidebar(stub_page)
    stub_page.get_by_role("tab", name="Blind picks").click()
    asking(stub_page)
    stub_page.get_by_role("combobox", name="Prompt").select_option("2")
    stub_page.locator(".hps-prompt", has_text=HOSTILE).wait_for()
    asking(stub_page)
    assert "/image/1" in (stub_page.locator(".hps-choice img").first.get_attribute("src") or "")
    assert stub_page.evaluate("() => window.hacked") is None


def test_keys_are_the_cards_only_while_it_has_the_focus(stub_page: StubPage) -> None:
    picks_opened(stub_page)
    stub_page.evaluate(
        """() => {
            window.leaked = [];
            window.addEventListener("keydown", (event) => leaked.push(event.key));
            document.activeElement.blur();
        }"""
    )
    for key in ("1", "0", "s"):
        stub_page.keyboard.press(key)
    assert stub_page.evaluate("() => window.leaked") == ["1", "0", "s"] and not sent(stub_page)
    stub_page.locator(".hps-picks").focus()
    stub_page.keyboard.press("Control+1")
    stub_page.keyboard.press("Delete")
    assert stub_page.evaluate("() => window.leaked.slice(3)") == ["Control", "1"] and not sent(stub_page)
    stub_page.keyboard.press("Escape")
    assert stub_page.evaluate("() => document.activeElement.role") == "tab", "Esc leaves the card"


# --- cards that float ------------------------------------------------------------------------------------------------

GRID = """async ([entries, prompt]) => {
    (await import("/extensions/hps-nodes/lib/picks.js")).startBlindGrid(entries, prompt);
}"""


def grid(page: StubPage, entries: list[int], prompt: str = "") -> None:
    serve(page, [row(1)])
    page.start()
    page.evaluate(GRID, [entries, prompt])


def test_the_pair_can_float_and_come_back(stub_page: StubPage) -> None:
    picks_opened(stub_page, pair(1, 2))
    stub_page.get_by_role("button", name="Larger").click()
    card = stub_page.get_by_role("dialog", name="Blind pick")
    assert card.get_attribute("aria-modal") is None and card.locator(".hps-choice").count() == 2
    stub_page.keyboard.press("2")
    revealed(stub_page)
    stub_page.keyboard.press("Escape")
    assert card.count() == 0 and stub_page.locator("#sidebar .hps-choice").count() == 2
    stub_page.get_by_role("button", name="Larger").click()
    stub_page.open_tab("hps")
    assert stub_page.locator(".hps-picks").count() == 0, "it goes with its view"


@pytest.mark.parametrize("n", [3, 6, 9])
def test_a_grid_is_shuffled_and_answered_once(stub_page: StubPage, n: int) -> None:
    entries = list(range(101, 101 + n))
    grid(stub_page, entries, HOSTILE)
    asking(stub_page)
    assert stub_page.locator(".hps-choice").count() == n
    assert stub_page.locator(".hps-picks").evaluate("(card) => card === document.activeElement")
    html = stub_page.locator(".hps-float").evaluate("(card) => card.outerHTML")
    assert "9101" not in html and "10.1" not in html and stub_page.evaluate("() => window.hacked") is None
    stub_page.keyboard.press(str(n))
    stub_page.keyboard.press("1")
    revealed(stub_page)
    [answer] = sent(stub_page)
    assert sorted(answer["shown"]) == entries and answer["chosen"] == answer["shown"][-1] and answer["kind"] == "grid"
    order = [int(src.split("/image/")[1].split("?")[0]) for src in _sources(stub_page)]
    assert order == answer["shown"]
    assert stub_page.get_by_label("Next one automatically").is_hidden()
    rank = 1 + sum(one > answer["chosen"] for one in entries)
    verdict = stub_page.locator(".hps-verdict").inner_text()
    assert ("The scorer agrees" in verdict) if rank == 1 else (f"number {rank} of {n}" in verdict)
    stub_page.keyboard.press("Escape")
    assert stub_page.locator(".hps-float").count() == 0


def _sources(page: StubPage) -> list[str]:
    return list(page.locator(".hps-choice img").evaluate_all("(all) => all.map((each) => each.src)"))


def test_shuffling_favours_no_place(stub_page: StubPage) -> None:
    counts = stub_page.evaluate(
        """async () => {
            const { shuffled } = await import("/extensions/hps-nodes/lib/pick_grid.js");
            const counts = [0, 1, 2, 3].map(() => [0, 0, 0, 0]);
            for (let round = 0; round < 4000; round += 1) {
                shuffled([0, 1, 2, 3]).forEach((value, at) => counts[value][at]++);
            }
            return counts;
        }"""
    )
    # Binomial with mean 1000 and sd 27: seven of them.
    assert all(abs(count - 1000) < 190 for line in counts for count in line)


def test_nine_of_many_are_drawn_and_two_are_a_pair(stub_page: StubPage) -> None:
    grid(stub_page, list(range(1, 31)))
    asking(stub_page)
    assert stub_page.locator(".hps-choice").count() == 9
    assert "9 of 30 pictures, drawn at random" in stub_page.locator(".hps-verdict").inner_text()
    stub_page.evaluate(GRID, [[5, 6, 6], ""])
    stub_page.wait_for_function("() => document.querySelectorAll('.hps-choice').length === 2")
    assert stub_page.locator(".hps-float").count() == 1, "one card at a time"
    asking(stub_page)
    stub_page.keyboard.press("1")
    revealed(stub_page)
    assert sent(stub_page)[0]["kind"] == "pair"


def test_a_grid_without_pictures_says_why(stub_page: StubPage) -> None:
    grid(stub_page, [4])
    stub_page.wait_for_function("() => app.extensionManager.toasts.length === 1")
    stub_page.hps_route("/hps/v1/ledger/image/*", Reply("", 404))
    stub_page.evaluate(GRID, [[1, 2, 3], ""])
    stub_page.wait_for_function("() => app.extensionManager.toasts.length === 2")
    assert [toast["severity"] for toast in stub_page.toasts] == ["warn", "warn"]
    assert stub_page.locator(".hps-float").count() == 0


def test_a_card_moves_by_hand_and_by_keys_and_stays_within_reach(stub_page: StubPage) -> None:
    grid(stub_page, [1, 2, 3])
    asking(stub_page)
    handle = stub_page.locator(".hps-float-handle")
    before = handle.bounding_box()
    assert before
    handle.focus()
    stub_page.keyboard.press("ArrowRight")
    stub_page.keyboard.press("ArrowDown")
    moved = handle.bounding_box()
    assert moved and (moved["x"] - before["x"], moved["y"] - before["y"]) == (16, 16)
    stub_page.mouse.move(moved["x"] + 20, moved["y"] + 10)
    stub_page.mouse.down()
    stub_page.mouse.move(-500, 5000, steps=4)
    stub_page.mouse.up()
    stub_page.mouse.move(400, 100)
    after = handle.bounding_box()
    assert after and after["x"] >= 8 and after["y"] < 700 - 30


def test_time_in_the_background_does_not_count(stub_page: StubPage) -> None:
    """The answer's time is left out when the page was in the background: nobody looked for that long."""
    grid(stub_page, [1, 2, 3])
    asking(stub_page)
    stub_page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    stub_page.keyboard.press("1")
    revealed(stub_page)
    assert sent(stub_page)[0]["seconds"] is None
