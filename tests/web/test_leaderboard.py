"""The leaderboard of the sidebar: what it asks and shows, by which order, and ten thousand rows."""

from __future__ import annotations

from typing import Any

import pytest
from web._ledger import (
    HOSTILE,
    NOW,
    PROMPTS,
    ROWS,
    choice,
    facets,
    ids,
    last,
    open_sidebar,
    opened,
    row,
    serve,
    settled,
)
from web_harness import StubPage

# --- what is shown ---------------------------------------------------------------------------------------------------


def test_the_latest_prompt_by_score(stub_page: StubPage) -> None:
    rows = [row(number) for number in (3, 1, 2)] + [row(9, prompt=1)]
    opened(stub_page, rows, *PROMPTS[:2])
    assert last(stub_page) == {"prompt": "1", "sort": "score", "order": "desc", "limit": "50", "offset": "0"}
    assert ids(stub_page) == [1, 2, 3]
    first = stub_page.locator("tbody tr").first
    sentence = "2.0 standard deviations above the average of the 8 pictures of this prompt by this scorer"
    told = first.get_by_role("img", name=sentence)
    assert told.get_attribute("title") == sentence
    for text in ("29.99", "+2.0 sd", "of 8", "seed 1001", "euler", "steps\u00a020 · cfg\u00a07", "sdxl"):
        assert text in first.inner_text()
    assert stub_page.locator("th").count() == 4
    sorts = stub_page.locator("th").evaluate_all("(heads) => heads.map((head) => head.getAttribute('aria-sort'))")
    assert sorts == [None, "descending", "none", None]
    assert stub_page.locator(".hps-notice").is_hidden()


@pytest.mark.parametrize(("width", "columns"), [(240, 3), (300, 4), (600, 6), (800, 7)])
def test_columns_follow_the_width(stub_page: StubPage, width: int, columns: int) -> None:
    opened(stub_page, [row(1), row(2)], width=width)
    assert stub_page.locator("thead th").count() == columns
    assert stub_page.locator("tbody tr").first.locator("td").count() == columns
    inside = "(list) => list.scrollWidth <= list.clientWidth"
    assert stub_page.locator(".hps-board-scroll").evaluate(inside), "nothing sticks out"


def test_a_dragged_edge_changes_the_columns(stub_page: StubPage) -> None:
    opened(stub_page, [row(1)])
    stub_page.locator("tbody tr .hps-link").first.focus()
    stub_page.add_style_tag(content="#sidebar { width: 640px !important }")
    stub_page.locator("thead th").nth(5).wait_for()
    assert stub_page.evaluate("() => document.activeElement.closest('tr')?.dataset.id") == "1"


def test_several_prompts_go_by_their_standing(stub_page: StubPage) -> None:
    lonely = row(3, 1, standing=None, group={"n": 1, "mean": 1, "sd": 0})
    rows = [row(1, 0, standing=-1.0), row(2, 1, standing=1.5), lonely]
    opened(stub_page, rows, *PROMPTS[:2])
    choice(stub_page, "Prompt").select_option("")
    stub_page.locator(".hps-board.hps-mixed").wait_for()
    settled(stub_page)
    assert last(stub_page)["sort"] == "standing" and "prompt" not in last(stub_page)
    assert ids(stub_page)[-2:] == [2, 1]
    assert "different prompts do not compare" in stub_page.locator(".hps-notice").inner_text()
    assert PROMPTS[1] in stub_page.locator("tr[data-id='2']").inner_text(), "the prompt is told where there are several"
    alone = stub_page.locator("tr[data-id='3'] .hps-col-standing")
    assert alone.inner_text().split() == ["\u2013", "of", "1"]
    grey = "(id) => getComputedStyle(document.querySelector(`tr[data-id='${id}'] .hps-number .hps-value`)).fontWeight"
    assert stub_page.evaluate(grey, 1) == "400", "a raw score does not stand out"


def test_several_scorers_go_by_their_standing(stub_page: StubPage) -> None:
    opened(stub_page, [row(1), row(2, scorer="pickscore", fingerprint="f2", score=21.0)])
    assert [asked.query["sort"] for asked in stub_page.asked_for(ROWS)] == ["score", "standing"]
    assert "different scorers do not compare" in stub_page.locator(".hps-notice").inner_text()
    assert "pickscore" in stub_page.locator("tr[data-id='2']").inner_text()


def test_a_choice_of_order_is_respected(stub_page: StubPage) -> None:
    opened(stub_page, [row(1, standing=-2.0), row(2, prompt=1)], *PROMPTS[:2])
    choice(stub_page, "Prompt").select_option("")
    stub_page.locator(".hps-board.hps-mixed").wait_for()
    stub_page.get_by_role("button", name="Score").click()
    stub_page.locator("th[aria-sort=descending] [data-sort=score]").wait_for()
    assert last(stub_page)["sort"] == "score" and stub_page.locator(".hps-notice").is_visible()
    stub_page.get_by_role("button", name="Score").click()
    stub_page.locator("th[aria-sort=ascending] [data-sort=score]").wait_for()
    assert last(stub_page)["order"] == "asc" and ids(stub_page) == [2, 1]
    assert stub_page.evaluate("() => document.activeElement.dataset.sort") == "score", "the focus stays on the header"


def test_hostile_text_is_only_text(stub_page: StubPage) -> None:
    bad = dict.fromkeys(("prompt", "model", "sampler", "seed", "scorer"), HOSTILE) | {"loras": [[HOSTILE, 1]]}
    rows = [row(1) | bad, row(2, prompt_id=2, fingerprint="f2") | bad]
    serve(stub_page, rows)
    stub_page.hps_route("/hps/v1/ledger/facets", facets(HOSTILE))
    stub_page.hps_route(ROWS, {"v": 1, "rows": rows, "total": 2})
    open_sidebar(stub_page)
    stub_page.locator("tbody tr").nth(1).wait_for()
    stub_page.locator(".hps-pic").first.click()
    stub_page.locator(".hps-large dd").first.wait_for()
    assert stub_page.evaluate("() => window.hacked") is None
    assert stub_page.locator(".hps-side script").count() == 0
    assert HOSTILE in stub_page.locator(".hps-large").evaluate("(card) => card.textContent")


# --- asking ----------------------------------------------------------------------------------------------------------


def test_filters_reach_the_server_and_typing_waits(stub_page: StubPage) -> None:
    opened(stub_page, [row(1), row(2, sampler="uni_pc"), row(3, prompt=1)], *PROMPTS[:2])
    stub_page.get_by_text("Filter and sort").click()
    choice(stub_page, "Sampler").select_option("uni_pc")
    stub_page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 1")
    assert ids(stub_page) == [2]
    choice(stub_page, "Sampler").select_option("")
    before = len(stub_page.asked_for(ROWS))
    stub_page.get_by_label("Search in prompts").press_sequentially("sailor", delay=20)
    stub_page.wait_for_function("() => document.querySelector('tbody tr')?.dataset.id === '3'")
    found = [asked.query.get("search") for asked in stub_page.asked_for(ROWS)[before:]]
    assert found[-1] == "sailor" and len([one for one in found if one]) == 1, "one request for one word"
    stub_page.get_by_label("Search in prompts").fill("")
    stub_page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 2")
    assert last(stub_page)["prompt"] == "1", "back to the prompt that was chosen before"


def test_nothing_found_can_be_cleared(stub_page: StubPage) -> None:
    opened(stub_page, [row(1)])
    stub_page.get_by_label("Search in prompts").fill("zebra")
    stub_page.get_by_text("No picture matches").wait_for()
    assert stub_page.locator(".hps-board-scroll").is_hidden()
    stub_page.get_by_role("button", name="Clear the filters").click()
    stub_page.locator("tbody tr").wait_for()
    assert stub_page.get_by_label("Search in prompts").input_value() == ""


def test_a_late_answer_does_not_replace_a_newer_one(stub_page: StubPage) -> None:
    rows = [row(1, sampler="slow"), row(2, sampler="fast")]
    opened(stub_page, rows)
    stub_page.evaluate(
        """() => {
            const { api } = comfyAPI.api, ask = api.fetchApi.bind(api);
            // An answer that comes late although it was called off: some hosts do not pass the signal on.
            api.fetchApi = async (route, options) => {
                const answer = await ask(route, { ...options, signal: undefined });
                if (route.includes("sampler=slow")) await new Promise((resolve) => setTimeout(resolve, 400));
                return answer;
            };
        }"""
    )
    samplers = [{"value": value, "n": 1, "time": NOW} for value in ("slow", "fast")]
    stub_page.hps_route("/hps/v1/ledger/facets", facets(PROMPTS[0], samplers=samplers))
    stub_page.send("execution_success", {})
    stub_page.get_by_text("Filter and sort").click()
    stub_page.locator("option[value=slow]").wait_for(state="attached")
    choice(stub_page, "Sampler").select_option("slow")
    choice(stub_page, "Sampler").select_option("fast")
    stub_page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 1")
    stub_page.wait_for_timeout(600)
    assert ids(stub_page) == [2]


def test_ten_thousand_rows_stay_small_and_quick(stub_page: StubPage) -> None:
    rows = [row(number, prompt=number % 3) for number in range(1, 10_001)]
    ordered = sorted(rows, key=lambda each: -each["standing"])
    serve(stub_page, rows, *PROMPTS)
    stub_page.hps_route(
        ROWS,
        lambda asked: {
            "v": 1,
            "rows": ordered[int(asked.query["offset"]) :][: int(asked.query["limit"])],
            "total": 10_000,
        },
    )
    open_sidebar(stub_page)
    choice(stub_page, "Prompt").select_option("")
    stub_page.get_by_text("50 of 10,000").wait_for()
    for shown in range(100, 401, 50):
        stub_page.get_by_role("button", name="Show more").click()
        stub_page.get_by_text(f"{shown} of 10,000").wait_for()
    assert stub_page.get_by_role("button", name="Show more").is_hidden()
    assert "narrow the filters" in stub_page.locator(".hps-board-foot").inner_text()
    assert stub_page.locator("tbody tr").count() == 400 == len(set(ids(stub_page)))
    assert all(int(asked.query["limit"]) <= 200 for asked in stub_page.asked_for(ROWS))
    assert stub_page.evaluate("() => document.activeElement.dataset.id") == str(ordered[350]["id"])
    # Nothing of it can be one task above 100 ms when all of it together is less.
    assert min(_busy(stub_page, ordered) for _ in range(3)) < 100


def _busy(page: StubPage, rows: list[dict[str, Any]]) -> float:
    """Milliseconds of the page's processor time while 400 rows are shown again, each with another standing."""
    for each in rows:
        each["standing"] += 0.2
    session = page.context.new_cdp_session(page.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = _spent(session)
    text = f"{rows[399]['standing']:+.1f}".replace("-", "\u2212")
    page.send("execution_success", {})
    page.wait_for_function(
        "([id, text]) => document.querySelector(`tr[data-id='${id}'] .hps-col-standing`).textContent.startsWith(text)",
        arg=[rows[399]["id"], text],
    )
    page.wait_for_timeout(200)
    spent = _spent(session) - before
    session.detach()
    return spent


def _spent(session: Any) -> float:
    found = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return 1000 * sum(float(found[name]) for name in ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration"))
