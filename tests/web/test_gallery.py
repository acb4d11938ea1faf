"""The gallery of a node: order, marks, choice by mouse and keyboard, seeds, picks by hand, a running search."""

from __future__ import annotations

import pytest
from web_harness import Asked, Reply, StubPage, picture
from web_harness.samples import HOSTILE, TOKEN, item, pool, search

SCORES = [25.0, 27.5, 26.25, 24.0]


def shown(page: StubPage, node: int = 1, of: str = "HPS_Score", **data: object) -> None:
    page.start()
    page.add_node(id=node, type=of, size=[400, 60], widgets=[{"type": "text", "name": "pick", "value": ""}])
    page.executed(str(node), {"hps": [pool(SCORES) | data]})


def ranks(page: StubPage) -> list[str]:
    return [cell.get_attribute("data-index") or "" for cell in page.locator(".hps-cell").all()]


def pick_of(page: StubPage, node: int = 1) -> str:
    return str(page.evaluate("(id) => app.graph.getNodeById(id).widgets[0].value", node))


def test_best_first_with_names_that_say_all(stub_page: StubPage) -> None:
    shown(stub_page)
    assert ranks(stub_page) == ["1", "2", "0", "3"]
    first = stub_page.locator(".hps-cell").first
    assert first.get_attribute("aria-label") == "Rank 1, score 27.50, seed 101, kept"
    assert stub_page.get_by_role("option", name="Rank 4, score 24.00, seed 103").count() == 1
    assert stub_page.locator("[role=listbox] > [role=option]").count() == 4


def test_the_kept_one_is_marked_by_more_than_colour(stub_page: StubPage) -> None:
    shown(stub_page)
    kept = stub_page.locator(".hps-kept")
    assert kept.count() == 1
    assert kept.locator(".hps-mark").inner_text() == "★"
    assert stub_page.locator(".hps-cell .hps-mark:visible").count() == 1
    assert "kept" in stub_page.locator(".hps-chosen").inner_text()


def test_margin_and_chance_stand_in_words(stub_page: StubPage) -> None:
    shown(stub_page)
    words = stub_page.locator(".hps-chosen").inner_text()
    assert "+1.25 to the next; preferred to the next in 78 of 100 cases, says the scorer" in words
    assert "78 of 100 cases, says the scorer" in (stub_page.locator(".hps-cell").first.get_attribute("title") or "")


@pytest.mark.parametrize(("win", "words"), [(0.999, "> 99"), (0.001, "< 1"), (0.5, "50")])
def test_no_scorer_is_ever_certain(stub_page: StubPage, win: float, words: str) -> None:
    shown(stub_page, items=[item(0, 2.0, 1, win=win, margin=1.0), item(1, 1.0, 2)])
    assert f"in {words} of 100" in stub_page.locator(".hps-chosen").inner_text()


def test_unusable_images_have_no_score(stub_page: StubPage) -> None:
    shown(stub_page, items=[item(0, 2.0, 1), item(1, None, 2)])
    assert stub_page.locator(".hps-cell").nth(1).get_attribute("aria-label") == "Rank 2, no score, seed 101"


def test_arrows_move_one_focus_and_enter_chooses(stub_page: StubPage) -> None:
    shown(stub_page)
    assert stub_page.locator(".hps-cell[tabindex='0']").count() == 1
    stub_page.locator(".hps-cell").first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "Enter"):
        stub_page.keyboard.press(key)
    focused = "() => document.activeElement.dataset.index"
    assert stub_page.evaluate(focused) == "2"
    assert stub_page.locator("[aria-selected=true]").get_attribute("data-index") == "2"
    assert stub_page.locator(".hps-chosen b").inner_text().startswith("#2")
    stub_page.keyboard.press("End")
    assert stub_page.evaluate(focused) == "3"
    assert stub_page.locator(".hps-cell[tabindex='0']").get_attribute("data-index") == "3"


def test_delete_stays_inside(stub_page: StubPage) -> None:
    shown(stub_page)
    stub_page.evaluate("() => { window.keys = []; window.addEventListener('keydown', (e) => keys.push(e.key)) }")
    stub_page.locator(".hps-cell").first.focus()
    stub_page.keyboard.press("Delete")
    stub_page.keyboard.press("Control+a")
    assert stub_page.evaluate("() => keys") == ["Control", "a"]


def test_picks_by_hand_keep_the_order_of_clicks(stub_page: StubPage) -> None:
    shown(stub_page, of="HPS_Select")
    for index in (2, 0, 3, 0):
        stub_page.locator(f".hps-cell[data-index='{index}']").click()
    assert pick_of(stub_page) == f"2,3@{TOKEN}"
    assert stub_page.locator(".hps-cell[data-index='3'] .hps-mark").inner_text() == "✓2"
    assert stub_page.locator("[aria-selected=true]").count() == 2
    assert "picked as number 1" in (stub_page.locator(".hps-cell[data-index='2']").get_attribute("aria-label") or "")
    assert "By hand: #2, #4. Run again to apply." in stub_page.locator(".hps-by-hand").inner_text()
    stub_page.locator(".hps-rule").click()
    assert pick_of(stub_page) == ""
    assert stub_page.locator("[aria-selected=true]").count() == 0
    assert not stub_page.locator(".hps-rule").is_visible()


def test_a_pick_that_was_applied_says_so(stub_page: StubPage) -> None:
    shown(stub_page, of="HPS_Select", kept=[2, 0], picked=True)
    for index in (2, 0):
        stub_page.locator(f".hps-cell[data-index='{index}']").click()
    assert stub_page.locator(".hps-by-hand").inner_text().startswith("By hand: #2, #3\n")


def test_a_pick_of_another_batch_does_not_show(stub_page: StubPage) -> None:
    shown(stub_page, of="HPS_Select")
    stub_page.locator(".hps-cell[data-index='2']").click()
    stub_page.executed("1", {"hps": [pool(SCORES) | {"run": "other", "token": "00000000"}]})
    assert stub_page.locator("[aria-selected=true]").count() == 0
    stub_page.locator(".hps-cell[data-index='0']").click()
    assert pick_of(stub_page) == "0@00000000"


def test_a_double_click_on_select_opens_and_leaves_the_pick(stub_page: StubPage) -> None:
    shown(stub_page, of="HPS_Select")
    stub_page.locator(".hps-cell[data-index='2']").dblclick()
    assert stub_page.locator(".hps-viewer").count() == 1
    assert pick_of(stub_page) == ""


def test_copies_the_seed_of_the_chosen_one(stub_page: StubPage) -> None:
    shown(stub_page, items=[item(0, 2.0, 1), item(1, 1.0, 2, seed="18446744073709551615")])
    stub_page.locator(".hps-cell").nth(1).click()
    stub_page.locator(".hps-copy").click()
    stub_page.wait_for_function("() => window.stubCopied.length")
    assert stub_page.copied == ["18446744073709551615"]
    assert stub_page.toasts[-1]["severity"] == "success"


def seeds(page: StubPage) -> None:
    control = {"type": "combo", "name": "control_after_generate", "value": "randomize"}
    page.add_node(id=7, type="KSampler", widgets=[{"type": "number", "name": "seed", "value": 3}, control])
    page.add_node(id=8, type="Other", title=HOSTILE, widgets=[{"type": "number", "name": "noise_seed", "value": 4}])
    page.add_node(id=9, type="Text", widgets=[{"type": "text", "name": "seed", "value": "x"}])


def test_sends_the_seed_to_a_widget_and_holds_it(stub_page: StubPage) -> None:
    shown(stub_page)
    seeds(stub_page)
    stub_page.locator(".hps-send").click()
    entries = stub_page.locator("[role=menu] [role=menuitem]")
    assert entries.count() == 2 and HOSTILE in entries.nth(1).inner_text()
    stub_page.keyboard.press("ArrowDown")
    stub_page.keyboard.press("ArrowDown")
    stub_page.keyboard.press("Enter")
    values = "() => app.graph.getNodeById(7).widgets.map((w) => w.value)"
    assert stub_page.evaluate(values) == [101, "fixed"]
    assert stub_page.locator("[role=menu]").count() == 0
    assert stub_page.evaluate("() => document.activeElement.className").split()[-1] == "hps-send"
    assert stub_page.evaluate("() => window.hacked") is None


def test_a_seed_widget_that_is_wired_is_not_offered(stub_page: StubPage) -> None:
    shown(stub_page)
    inputs = [{"name": "seed", "widget": {"name": "seed"}, "link": 5}]
    stub_page.add_node(id=7, type="K", widgets=[{"type": "number", "name": "seed", "value": 3}], inputs=inputs)
    stub_page.locator(".hps-send").click()
    assert "No node of this workflow has a seed" in stub_page.locator("[role=menu]").inner_text()


def test_seed_widgets_in_subgraphs_are_offered_once(stub_page: StubPage) -> None:
    shown(stub_page)
    stub_page.evaluate(
        """() => {
            const widgets = [{ type: "number", name: "seed", value: 1 }];
            const graph = new StubGraph();
            graph.nodes.push(new StubNode({ id: 3, type: "KSampler", widgets }));
            for (const id of [5, 6]) {
                const outer = new StubNode({ id, type: "Sub", title: "Sub" });
                outer.subgraph = graph;
                app.graph.add(outer);
            }
        }"""
    )
    stub_page.locator(".hps-send").click()
    assert stub_page.locator("[role=menuitem] > span").all_inner_texts() == ["Sub / KSampler (3): seed"]


def test_a_seed_too_large_for_a_widget_can_only_be_copied(stub_page: StubPage) -> None:
    shown(stub_page, items=[item(0, 2.0, 1, seed="9007199254740993")])
    seeds(stub_page)
    stub_page.locator(".hps-send").click()
    assert "2^53" in stub_page.locator("[role=menu]").inner_text()
    stub_page.locator("[role=menuitem]").click()
    stub_page.wait_for_function("() => window.stubCopied.length")
    assert stub_page.copied == ["9007199254740993"]
    assert stub_page.evaluate("() => app.graph.getNodeById(7).widgets[0].value") == 3


def test_escape_closes_the_menu(stub_page: StubPage) -> None:
    shown(stub_page)
    stub_page.locator(".hps-send").click()
    stub_page.keyboard.press("Escape")
    assert stub_page.locator("[role=menu]").count() == 0


def test_many_images_show_the_best_sixteen_then_all(stub_page: StubPage) -> None:
    shown(stub_page, **pool([k / 10 for k in range(64)]))
    assert stub_page.locator(".hps-cell").count() == 16
    badge = stub_page.locator(".hps-badge").first
    assert badge.inner_text() == "#1"
    stub_page.get_by_role("button", name="Show all 64").click()
    assert stub_page.locator(".hps-cell").count() == 64
    assert stub_page.locator(".hps-cell").last.get_attribute("aria-label") == "Rank 64, score 0.00, seed 100"
    box = stub_page.locator(".hps-node").bounding_box()
    frame = stub_page.locator("[data-node='1']").bounding_box()
    assert box is not None and frame is not None and box["height"] <= frame["height"]


def test_all_of_it_lies_within_a_fresh_node(stub_page: StubPage) -> None:
    shown(stub_page, warnings=["the prompts differ", "3 of 4 prompts are too long"])
    frame = stub_page.locator("[data-node='1']").bounding_box()
    assert frame is not None
    for part in (".hps-cell", ".hps-button:visible", ".hps-warnings", ".hps-chosen"):
        for element in stub_page.locator(part).all():
            box = element.bounding_box()
            assert box is not None and box["y"] + box["height"] <= frame["y"] + frame["height"] + 0.5
            assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 0.5


def test_without_pictures_there_is_a_table(stub_page: StubPage) -> None:
    shown(stub_page, items=[])
    rows = stub_page.locator(".hps-row.hps-cell")
    assert [row.locator("span").all_text_contents() for row in rows.all()] == [
        ["#1 ★", "27.50", "+1.25", "101"], ["#2", "26.25", "+1.25", "102"],
        ["#3", "25.00", "+1.00", "100"], ["#4", "24.00", "", "103"],
    ]  # fmt: skip
    rows.nth(2).click()
    assert stub_page.locator(".hps-chosen b").inner_text().startswith("#3")
    assert stub_page.locator(".hps-open-large").is_hidden()


def test_warnings_are_shown(stub_page: StubPage) -> None:
    shown(stub_page, warnings=["the prompts differ", HOSTILE])
    assert HOSTILE in stub_page.locator(".hps-warnings").inner_text()
    assert stub_page.evaluate("() => window.hacked") is None


def test_a_prompt_of_markup_stays_text(stub_page: StubPage) -> None:
    shown(stub_page, prompts=[HOSTILE])
    assert HOSTILE in stub_page.locator(".hps-status").inner_text()
    stub_page.locator(".hps-open-large").click()
    assert HOSTILE in stub_page.locator(".hps-facts").inner_text()
    assert stub_page.evaluate("() => window.hacked") is None


def test_settings_change_what_stands_on_the_pictures(stub_page: StubPage) -> None:
    shown(stub_page, **pool([1.0, 2.0]))
    assert stub_page.locator(".hps-badge").first.inner_text() == "#1 2.00"
    stub_page.evaluate("() => app.extensionManager.setting.set('HPS.Gallery.Decimals', 5)")
    stub_page.get_by_text("2.00000").first.wait_for()
    stub_page.evaluate("() => app.extensionManager.setting.set('HPS.Gallery.Badges', false)")
    stub_page.locator(".hps-badge").first.wait_for(state="hidden")


def test_results_of_a_list_can_be_paged(stub_page: StubPage) -> None:
    stub_page.start()
    stub_page.add_node(id=1, type="HPS_BestOfN", size=[400, 60])
    stub_page.executed("1", {"hps": [pool([1.0, 2.0], run="a"), pool([3.0], run="b")]})
    assert stub_page.locator(".hps-pager").inner_text().split() == ["‹", "1", "of", "2", "›"]
    stub_page.get_by_role("button", name="Next result").click()
    assert stub_page.locator(".hps-cell").count() == 1
    assert stub_page.get_by_role("button", name="Next result").is_disabled()


def test_a_missing_picture_leaves_the_rest_usable(stub_page: StubPage) -> None:
    def view(asked: Asked) -> object:
        name = asked.query["filename"]
        return Reply("gone", 404, "text/plain") if name.startswith("1.") else picture(name)

    stub_page.hps_route("/view", view)
    stub_page.allow("404")
    shown(stub_page)
    stub_page.locator(".hps-missing").wait_for(state="attached")
    assert stub_page.locator(".hps-cell").count() == 4


# --- a search that goes on -------------------------------------------------------------------------------------------


def searching(page: StubPage) -> None:
    page.start()
    page.add_node(id=1, type="HPS_BestOfN", size=[400, 60])
    page.send("hps.candidate", search("1", [(0, 26.0), (1, 25.0)], 0, 2, expected_gain=0.25))


def test_candidates_arrive_and_find_their_place(stub_page: StubPage) -> None:
    searching(stub_page)
    assert ranks(stub_page) == ["0", "1"]
    first = stub_page.evaluate_handle("() => document.querySelector(\".hps-cell[data-index='0'] img\")")
    stub_page.send("hps.candidate", search("1", [(2, 27.0), (3, None), (4, 25.5)], 2, 5, expected_gain=0.05))
    assert ranks(stub_page) == ["2", "0", "4", "1", "3"]
    status = stub_page.locator(".hps-status").inner_text()
    assert status == "5 of 8 · best 27.00 · next ones should add about 0.050"
    assert stub_page.locator(".hps-leading").get_attribute("data-index") == "2"
    assert first.evaluate("(image) => image.isConnected"), "the picture was built anew and would flicker"


def test_the_leader_is_first_even_where_another_rule_ranks(stub_page: StubPage) -> None:
    searching(stub_page)
    stub_page.send("hps.candidate", search("1", [(2, 24.0)], 2, 3))
    assert ranks(stub_page)[0] == "2"


def test_the_focus_stays_while_cells_move(stub_page: StubPage) -> None:
    searching(stub_page)
    stub_page.locator(".hps-cell[data-index='1']").focus()
    stub_page.send("hps.candidate", search("1", [(2, 27.0)], 2, 3))
    assert stub_page.evaluate("() => document.activeElement.dataset.index") == "1"


def test_the_result_takes_the_place_of_the_search(stub_page: StubPage) -> None:
    searching(stub_page)
    assert stub_page.locator(".hps-running").count() == 1
    stub_page.executed("1", {"hps": [pool(SCORES, run="s", stopped="target", seconds=12.3)]})
    assert stub_page.locator(".hps-running").count() == 0
    status = stub_page.locator(".hps-status").inner_text()
    assert "4 images · 12.3 s · stopped early: the target is reached" in status
    assert stub_page.locator(".hps-kept").get_attribute("data-index") == "1"


def test_compare_blind_needs_rows_of_the_ledger(stub_page: StubPage) -> None:
    shown(stub_page)
    assert stub_page.locator(".hps-blind").is_visible()
    stub_page.executed("1", {"hps": [pool(SCORES, run="x", items=[item(0, 2.0, 1), item(1, 1.0, 2)])]})
    assert stub_page.locator(".hps-blind").is_hidden()


def test_compare_blind_hands_over_the_rows(stub_page: StubPage) -> None:
    stub_page.hps_route("/hps/v1/ledger/image/*", lambda asked: picture(asked.path))
    shown(stub_page)
    stub_page.locator(".hps-blind").click()
    stub_page.locator(".hps-pick-float .hps-choice").first.wait_for()
    asked = {each.path.rsplit("/", 1)[1] for each in stub_page.asked_for("/hps/v1/ledger/image/*")}
    assert asked == {"1", "2", "3", "4"}


# --- what the words and marks are about ------------------------------------------------------------------------------


def test_a_pick_from_other_images_is_said_to_be_one(stub_page: StubPage) -> None:
    shown(stub_page, of="HPS_Select")
    stub_page.locator(".hps-cell[data-index='2']").click()
    stub_page.executed("1", {"hps": [pool(SCORES) | {"run": "other", "token": "00000000"}]})
    assert stub_page.locator(".hps-by-hand span").inner_text() == (
        "Your pick belonged to other images, so the rule chose. Click images to choose again."
    )
    stub_page.locator(".hps-cell[data-index='0']").click()
    assert "By hand: #3. Run again" in stub_page.locator(".hps-by-hand").inner_text()


def test_applied_picks_look_like_all_that_is_kept(stub_page: StubPage) -> None:
    shown(stub_page, of="HPS_Select")
    for index in (2, 0):
        stub_page.locator(f".hps-cell[data-index='{index}']").click()
    assert stub_page.locator(".hps-picked").count() == 2
    stub_page.executed("1", {"hps": [pool(SCORES, kept=[2, 0], picked=True, run="again")]})
    assert stub_page.locator(".hps-picked").count() == 0
    assert stub_page.locator(".hps-kept .hps-mark").all_inner_texts() == ["★", "★"]


def test_arrows_show_an_image_without_picking_it(stub_page: StubPage) -> None:
    shown(stub_page, of="HPS_Select")
    stub_page.locator(".hps-cell").first.focus()
    stub_page.keyboard.press("ArrowRight")
    assert stub_page.locator(".hps-chosen b").inner_text().startswith("#2")
    stub_page.locator(".hps-copy").click()
    stub_page.wait_for_function("() => window.stubCopied.length")
    assert stub_page.copied == ["102"] and pick_of(stub_page) == ""


def test_where_all_is_handed_on_the_first_is_the_best_not_kept(stub_page: StubPage) -> None:
    shown(stub_page, **pool(SCORES, kept=[], best=1))
    first = stub_page.locator(".hps-cell").first
    assert first.get_attribute("aria-label") == "Rank 1, score 27.50, seed 101, best"
    assert first.locator(".hps-mark").inner_text() == "★"
    assert stub_page.locator(".hps-cell .hps-mark:visible").count() == 1
    assert stub_page.locator(".hps-chosen b").inner_text() == "#1 · 27.50 · best"


def test_an_optimised_scorer_is_no_judge_of_its_result(stub_page: StubPage) -> None:
    stub_page.start()
    stub_page.add_node(id=1, type="HPS_OptimizeNoise", size=[400, 60])
    items = [item(1, 27.5, 1, label="result", margin=1.766, win=0.83, kept=True), item(0, 25.734, 2, label="start")]
    stub_page.executed("1", {"hps": [pool([25.734, 27.5], kind="search", items=items)]})
    assert "+1.77 over the start, by the scorer that was optimised" in stub_page.locator(".hps-chosen").inner_text()
    stub_page.locator(".hps-open-large").click()
    for words in (stub_page.locator(".hps-node").inner_text(), stub_page.locator(".hps-facts").inner_text()):
        assert "of 100" not in words


def test_the_chosen_cell_stays_marked_when_a_button_has_the_focus(stub_page: StubPage) -> None:
    shown(stub_page)
    cell = stub_page.locator(".hps-cell[data-index='0']")
    cell.click()
    stub_page.locator(".hps-copy").click()
    ring = "(cell) => getComputedStyle(cell.querySelector('.hps-frame'), '::after').borderTopStyle"
    assert cell.evaluate(ring) == "solid"
    assert stub_page.locator(".hps-cell").first.evaluate(ring) == "none"


def test_an_image_of_a_batch_says_why_it_has_no_seed(stub_page: StubPage) -> None:
    shown(stub_page, items=[item(0, 2.0, 1, seed=None), item(4, 1.0, 2, seed=None)])
    stub_page.locator(".hps-cell").nth(1).click()
    assert stub_page.locator(".hps-seed").inner_text() == "seed of the batch; image 4 alone has none"
    assert stub_page.locator(".hps-copy").is_hidden()


@pytest.mark.parametrize(("gain", "words"), [(1.070, "1.1"), (0.251, "0.25"), (12.3, "12"), (0.0004, "0.00")])
def test_an_expectation_has_no_more_digits_than_it_deserves(stub_page: StubPage, gain: float, words: str) -> None:
    stub_page.start()
    stub_page.add_node(id=1, type="HPS_BestOfN", size=[400, 60])
    stub_page.send("hps.candidate", search("1", [(0, 26.0)], 0, 1, expected_gain=gain))
    assert stub_page.locator(".hps-status").inner_text().endswith(f"next ones should add about {words}")


def test_a_floating_card_lies_whole_below_the_bars_of_the_host(stub_page: StubPage) -> None:
    stub_page.hps_route("/hps/v1/ledger/image/*", lambda asked: picture(asked.path))
    shown(stub_page, **pool([k / 10 for k in range(9)]))
    stub_page.evaluate(
        """() => {
            const bar = document.createElement("div");
            bar.className = "comfyui-body-top";
            bar.style.cssText = "position: fixed; inset: 0 0 auto; height: 97px; z-index: 1001";
            document.body.append(bar);
        }"""
    )
    stub_page.set_viewport_size({"width": 1280, "height": 720})
    stub_page.locator(".hps-blind").click(force=True)
    stub_page.locator(".hps-pick-float .hps-choice").last.wait_for()
    card = stub_page.locator(".hps-float").bounding_box()
    skip = stub_page.locator(".hps-float .hps-skip").bounding_box()
    assert card is not None and card["y"] >= 97 and card["y"] + card["height"] <= 720
    assert skip is not None and skip["y"] + skip["height"] <= card["y"] + card["height"]
