"""Blind picks: nothing leaks before the answer, and no answer counts twice."""

from __future__ import annotations

from typing import Any

import pytest
from web._ledger import (
    NEXT,
    SEND,
    asking,
    open_sidebar,
    pair,
    picks_opened,
    reveal,
    revealed,
    row,
    sent,
    serve,
)
from web_harness import Asked, Reply, StubPage

# --- one answer ------------------------------------------------------------------------------------------------------


def test_a_click_answers_and_then_the_scorer_speaks(stub_page: StubPage) -> None:
    picks_opened(stub_page, pair(700, 300))
    stub_page.locator(".hps-choice[data-side='2']").click()
    revealed(stub_page)
    [answer] = sent(stub_page)
    seconds = answer.pop("seconds")
    assert answer == {"shown": [700, 300], "chosen": 300, "outcome": "pick", "kind": "pair"} and 0 < seconds < 60
    verdict = stub_page.locator(".hps-verdict")
    assert verdict.inner_text() == "The scorer would have chosen Picture 1, by 40.00."
    assert verdict.get_attribute("role") == "status", "a screen reader hears it when it has time"
    results = stub_page.locator(".hps-result").all_inner_texts()
    assert "70.00" in results[0] and "seed 9700" in results[0] and "the scorer's" in results[0]
    assert "your pick" in results[1]


def test_scores_of_two_scorers_are_not_compared(stub_page: StubPage) -> None:
    def other(asked: Asked) -> dict[str, Any]:
        answer = reveal(asked)
        answer["reveal"][0]["fingerprint"] = "another"
        return answer

    picks_opened(stub_page, pair(700, 300))
    stub_page.hps_route(SEND, other)
    stub_page.locator(".hps-choice[data-side='2']").click()
    revealed(stub_page)
    assert "scores do not compare" in stub_page.locator(".hps-verdict").inner_text()
    assert stub_page.locator(".hps-theirs").count() == 0


@pytest.mark.parametrize(
    ("key", "outcome", "chosen", "words"),
    [
        ("1", "pick", 300, "would have chosen Picture 2"),
        ("2", "pick", 700, "The scorer agrees: Picture 2"),
        ("0", "tie", None, "The scorer prefers Picture 2"),
    ],
)
def test_keys_answer(stub_page: StubPage, key: str, outcome: str, chosen: int | None, words: str) -> None:
    picks_opened(stub_page, pair(300, 700))
    stub_page.locator(".hps-picks").focus()
    stub_page.keyboard.press(key)
    revealed(stub_page)
    [answer] = sent(stub_page)
    assert (answer["outcome"], answer["chosen"]) == (outcome, chosen)
    assert words in stub_page.locator(".hps-verdict").inner_text()


def test_a_skip_goes_on_without_a_word(stub_page: StubPage) -> None:
    picks_opened(stub_page)
    before = stub_page.locator(".hps-choice img").first.get_attribute("src")
    stub_page.locator(".hps-picks").focus()
    stub_page.keyboard.press("s")
    stub_page.wait_for_function(
        "(src) => document.querySelector('.hps-choice img').getAttribute('src') !== src", arg=before
    )
    assert sent(stub_page)[0]["outcome"] == "skip" and stub_page.locator(".hps-result").count() == 0
    assert stub_page.evaluate("() => document.activeElement.className") == "hps-picks", "the keyboard stays in the card"


def test_twenty_picks_by_the_keyboard_alone(stub_page: StubPage) -> None:
    picks_opened(stub_page)
    stub_page.get_by_role("tab", name="Blind picks").focus()
    for _ in range(12):
        stub_page.keyboard.press("Tab")
        if stub_page.evaluate("() => document.activeElement.closest('.hps-picks') !== null"):
            break
    for number in range(20):
        asking(stub_page)
        stub_page.keyboard.press("12"[number % 2])
        revealed(stub_page)
        stub_page.keyboard.press("n")
    answers = sent(stub_page)
    assert len(answers) == 20 == len({tuple(each["shown"]) for each in answers})
    assert all(each["chosen"] == each["shown"][at % 2] for at, each in enumerate(answers))
    agreement = stub_page.locator(".hps-agreement", has_text="20 since this page was opened")
    agreement.wait_for()  # it is asked for anew after every answer


def test_the_next_pair_comes_by_itself_unless_told_not_to(stub_page: StubPage) -> None:
    picks_opened(stub_page)
    stub_page.locator(".hps-choice").first.click()
    revealed(stub_page)
    asking(stub_page)
    stub_page.locator(".hps-choice").first.click()
    revealed(stub_page)
    stub_page.get_by_label("Next one automatically").uncheck()
    stub_page.wait_for_timeout(2800)
    revealed(stub_page)
    stub_page.get_by_role("button", name="Next").click()
    asking(stub_page)


# --- blind -----------------------------------------------------------------------------------------------------------


def test_nothing_leaks_before_the_answer(stub_page: StubPage) -> None:
    picks_opened(stub_page, pair(700, 300))
    page = stub_page.locator(".hps-side").evaluate("(side) => side.outerHTML")
    for secret in ("70.0", "30.0", "9700", "9300", "euler", "m.safetensors", "2.1"):
        assert secret not in page, secret
    names = stub_page.locator(".hps-choice").evaluate_all("(all) => all.map((each) => each.ariaLabel)")
    assert names == ["Picture 1", "Picture 2"]
    assert stub_page.locator(".hps-choice img").evaluate_all("(all) => all.map((each) => each.alt + each.title)") == [
        "",
        "",
    ]
    assert not stub_page.asked_for(SEND) and not stub_page.asked_for("/hps/v1/ledger/workflow/*")


def test_pictures_appear_together(stub_page: StubPage) -> None:
    serve(stub_page, [row(1)])
    stub_page.hps_route(NEXT, pair(1, 2))
    open_sidebar(stub_page)
    stub_page.evaluate(
        """() => {
            // The second picture takes its time.
            const decode = HTMLImageElement.prototype.decode;
            HTMLImageElement.prototype.decode = async function () {
                await decode.call(this);
                if (this.src.includes("/image/2")) await new Promise((resolve) => setTimeout(resolve, 400));
            };
        }"""
    )
    stub_page.get_by_role("tab", name="Blind picks").click()
    stub_page.wait_for_timeout(250)
    assert stub_page.locator(".hps-choice").count() == 0
    asking(stub_page)
    assert stub_page.locator(".hps-choice img").evaluate_all("(all) => all.every((each) => each.complete)")


def test_the_next_pair_is_loaded_ahead_and_never_the_same_one(stub_page: StubPage) -> None:
    answers = [pair(1, 2), pair(2, 1), pair(3, 4), pair(5, 6)]
    picks_opened(stub_page, lambda _: answers.pop(0) if len(answers) > 1 else answers[0])
    stub_page.wait_for_timeout(150)
    assert len(stub_page.asked_for(NEXT)) == 2, "one ahead"
    stub_page.locator(".hps-choice").first.click()
    revealed(stub_page)
    stub_page.get_by_role("button", name="Next").click()
    asking(stub_page)
    assert "/image/3" in (stub_page.locator(".hps-choice img").first.get_attribute("src") or ""), "2 and 1 were judged"


# --- not twice -------------------------------------------------------------------------------------------------------


def test_a_double_click_counts_once(stub_page: StubPage) -> None:
    picks_opened(stub_page)
    stub_page.evaluate(
        """() => {
            const [one, two] = document.querySelectorAll(".hps-choice");
            const others = document.querySelectorAll(".hps-tie, .hps-skip");
            for (const each of [one, one, two, ...others]) each.click();
        }"""
    )
    revealed(stub_page)
    stub_page.keyboard.press("1")
    stub_page.keyboard.press("0")
    stub_page.wait_for_timeout(100)
    assert len(sent(stub_page)) == 1


def test_a_held_key_counts_once_and_a_click_upon_a_new_pair_not_at_all(stub_page: StubPage) -> None:
    picks_opened(stub_page)
    stub_page.locator(".hps-picks").focus()
    for _ in range(5):
        stub_page.keyboard.down("1")
    stub_page.keyboard.up("1")
    revealed(stub_page)
    assert len(sent(stub_page)) == 1
    stub_page.evaluate(
        """() => {
            const card = document.querySelector(".hps-picks");
            const early = () => card.dataset.state === "opening" && document.querySelector(".hps-choice").click();
            new MutationObserver(early).observe(card, { attributes: true });
        }"""
    )
    stub_page.keyboard.press("n")
    asking(stub_page)
    assert len(sent(stub_page)) == 1, "pictures that came this instant were not judged"


def test_a_late_answer_after_closing_is_dropped(stub_page: StubPage) -> None:
    picks_opened(stub_page)
    stub_page.delay(SEND, 300)
    stub_page.locator(".hps-choice").first.click()
    stub_page.get_by_role("tab", name="Leaderboard").click()
    stub_page.wait_for_timeout(500)
    assert stub_page.locator(".hps-picks, .hps-result").count() == 0
    stub_page.get_by_role("tab", name="Blind picks").click()
    asking(stub_page)
    assert len(sent(stub_page)) == 1 and stub_page.locator(".hps-result").count() == 0


def test_an_answer_that_may_have_arrived_is_not_sent_again(stub_page: StubPage) -> None:
    picks_opened(stub_page)
    stub_page.evaluate(
        """() => {
            const { api } = comfyAPI.api, ask = api.fetchApi.bind(api);
            api.fetchApi = async (route, options) => {
                const answer = await ask(route, options);
                if (options?.method === "POST") throw new TypeError("Failed to fetch");
                return answer;
            };
        }"""
    )
    stub_page.locator(".hps-choice").first.click()
    stub_page.get_by_text("may not have been counted").wait_for()
    stub_page.locator(".hps-choice").first.click(force=True)
    stub_page.wait_for_timeout(100)
    assert len(sent(stub_page)) == 1
    stub_page.get_by_role("button", name="Next").click()
    asking(stub_page)


def test_an_answer_that_was_refused_can_be_given_again(stub_page: StubPage) -> None:
    picks_opened(stub_page)
    stub_page.hps_route(SEND, Reply({"error": "The disk is full: free some space."}, 500))
    stub_page.locator(".hps-choice").first.click()
    stub_page.get_by_text("Your answer was not counted. The disk is full: free some space.").wait_for()
    stub_page.hps_route(SEND, reveal)
    stub_page.locator(".hps-choice").first.click()
    revealed(stub_page)
