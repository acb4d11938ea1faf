"""The large view: ranks by arrows, side by side, focus that stays inside and comes back, keys that stay inside."""

from __future__ import annotations

from web_harness import Asked, Reply, StubPage
from web_harness.samples import item, pool, search


def opened(page: StubPage, index: int = 2, **data: object) -> None:
    page.start()
    page.add_node(id=1, type="HPS_Score", size=[400, 60])
    page.executed("1", {"hps": [pool([25.0, 27.5, 26.25, 24.0]) | data]})
    page.locator(f".hps-cell[data-index='{index}']").dblclick()


def facts(page: StubPage) -> str:
    return str(page.locator(".hps-facts").inner_text())


def sources(page: StubPage) -> list[str]:
    names = page.evaluate("() => [...document.querySelectorAll('.hps-stage img')].map((image) => image.src)")
    return [name.split("filename=")[1].split("&")[0] for name in names]


def test_shows_the_full_picture_and_what_is_known(stub_page: StubPage) -> None:
    opened(stub_page)
    assert sources(stub_page) == ["2.jpg"]
    assert stub_page.locator(".hps-place").inner_text() == "2 of 4"
    for words in ("26.25 (HPS v2.1)", "+1.25 to the next", "78 of 100 cases, says the scorer", "102", "a cat"):
        assert words in facts(stub_page)


def test_arrows_go_through_the_ranks_and_stop_at_the_ends(stub_page: StubPage) -> None:
    opened(stub_page)
    seen = []
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight", "End", "ArrowRight", "Home"):
        stub_page.keyboard.press(key)
        seen.append(sources(stub_page)[0])
    assert seen == ["1.jpg", "1.jpg", "2.jpg", "3.jpg", "3.jpg", "1.jpg"]
    assert stub_page.locator(".hps-previous").is_disabled()


def test_c_puts_the_best_and_the_chosen_side_by_side(stub_page: StubPage) -> None:
    opened(stub_page, index=3)
    stub_page.keyboard.press("c")
    assert sources(stub_page) == ["1.jpg", "3.jpg"]
    assert stub_page.locator("figcaption").all_inner_texts() == ["#1 · 27.50 · kept", "#4 · 24.00"]
    assert "3.50 below the best" in facts(stub_page) and "to the next" not in facts(stub_page)
    stub_page.keyboard.press("Home")
    assert sources(stub_page) == ["1.jpg", "2.jpg"], "the best is shown beside the second"
    stub_page.keyboard.press("c")
    assert sources(stub_page) == ["1.jpg"]


def test_a_single_image_has_nothing_beside_it(stub_page: StubPage) -> None:
    opened(stub_page, index=0, items=[item(0, 1.0, 1)])
    stub_page.keyboard.press("c")
    assert sources(stub_page) == ["0.jpg"]
    assert stub_page.locator(".hps-both").first.is_disabled()


def test_the_focus_stays_inside_and_comes_back(stub_page: StubPage) -> None:
    opened(stub_page)
    inside = "() => document.querySelector('.hps-viewer').contains(document.activeElement)"
    seen = set()
    for key in ["Tab"] * 8 + ["Shift+Tab"] * 8:
        stub_page.keyboard.press(key)
        assert stub_page.evaluate(inside)
        seen.add(stub_page.evaluate("() => document.activeElement.className"))
    assert len(seen) == 6, "every button and the picture can be reached"
    stub_page.keyboard.press("Escape")
    assert stub_page.locator(".hps-viewer").count() == 0
    assert stub_page.evaluate("() => document.activeElement.dataset.index") == "2"


def test_it_says_that_it_is_modal_and_what_it_shows(stub_page: StubPage) -> None:
    opened(stub_page)
    dialog = stub_page.get_by_role("dialog", name="Large view")
    assert dialog.get_attribute("aria-modal") == "true"
    assert stub_page.locator(".hps-stage").get_attribute("aria-label") == "Rank 2, score 26.25, seed 102"


def test_keys_do_not_reach_the_graph(stub_page: StubPage) -> None:
    opened(stub_page)
    stub_page.evaluate("() => { window.keys = []; window.addEventListener('keydown', (e) => keys.push(e.key)) }")
    for key in ("Delete", "ArrowRight", "c", "Control+Enter", "Escape"):
        stub_page.keyboard.press(key)
    assert stub_page.evaluate("() => keys") == []


def test_a_click_beside_the_picture_closes(stub_page: StubPage) -> None:
    opened(stub_page)
    stub_page.mouse.click(500, 660)
    assert stub_page.locator(".hps-viewer").count() == 1, "a click on the facts does not"
    stub_page.locator(".hps-stage").dispatch_event("click")
    assert stub_page.locator(".hps-viewer").count() == 0


def test_a_lost_picture_says_why_and_what_to_do(stub_page: StubPage) -> None:
    stub_page.hps_route("/view", lambda asked: Reply("gone", 404, "text/plain"))
    stub_page.allow("404")
    opened(stub_page)
    stub_page.locator(".hps-stage .hps-menu-note").wait_for()
    assert "Run again" in stub_page.locator(".hps-stage").inner_text()


def test_a_running_search_goes_on_behind_it(stub_page: StubPage) -> None:
    stub_page.start()
    stub_page.add_node(id=1, type="HPS_BestOfN", size=[400, 60])
    stub_page.send("hps.candidate", search("1", [(0, 26.0), (1, 25.0)], 0, 2))
    stub_page.locator(".hps-cell[data-index='0']").dblclick()
    stub_page.send("hps.candidate", search("1", [(2, 27.0)], 2, 3))
    assert stub_page.locator(".hps-place").inner_text() == "2 of 3"
    assert sources(stub_page) == ["0.jpg"]
    stub_page.send("hps.candidate", search("1", [(0, 20.0)], 0, 1) | {"run": "next"})
    assert stub_page.locator(".hps-viewer").count() == 0, "another run has other images"


def test_removing_the_node_closes_it(stub_page: StubPage) -> None:
    opened(stub_page)
    stub_page.evaluate("() => app.graph.remove(app.graph.getNodeById(1))")
    assert stub_page.locator(".hps-viewer").count() == 0


def test_only_the_picture_that_is_shown_is_loaded(stub_page: StubPage) -> None:
    asked: list[str] = []

    def view(request: Asked) -> Reply:
        asked.append(request.query["filename"])
        return Reply(b"", 200, "image/png")

    stub_page.hps_route("/view", view)
    opened(stub_page)
    stub_page.locator(".hps-stage").wait_for()
    stub_page.wait_for_timeout(50)
    assert [name for name in asked if name.endswith(".jpg")] == ["2.jpg"]


def test_copying_shows_on_the_button(stub_page: StubPage) -> None:
    opened(stub_page)
    stub_page.locator(".hps-viewer .hps-copy").click()
    stub_page.get_by_role("button", name="Seed copied").wait_for()
    assert stub_page.copied == ["102"]
    stub_page.locator(".hps-viewer").get_by_role("button", name="Copy seed").wait_for()
