"""The grid of a comparison: what stands where, colours within a row, keys, the large view, and sizes without end."""

from __future__ import annotations

from typing import Any

import pytest
from web_harness import Reply, StubPage
from web_harness.samples import HOSTILE, file_of
from web_harness.study_samples import PROMPTS, SETTINGS, cell, cells, compare, crossed, header, large, study

LIB = "/extensions/hps-nodes/lib/"
IMAGES_AT_MOST = 300


def begin(
    page: StubPage, width: int = 900, height: int = 640, kind: str = "HPS_CompareSettings", node: int = 1
) -> None:
    page.set_viewport_size({"width": 1400, "height": 800})
    page.start()
    page.add_node(id=node, type=kind, size=[width, height])


def shown(page: StubPage, data: dict[str, Any], **size: Any) -> None:
    begin(page, **size)
    page.executed("1", {"hps": [data]})
    page.locator(".hps-spot").first.wait_for()


def spot(page: StubPage, row: int, column: int) -> Any:
    return page.locator(f".hps-spot[data-place='{row},{column}']")


def scores(page: StubPage, row: int) -> list[str]:
    return [spot(page, row, column).locator(".hps-spot-score").inner_text() for column in range(len(SETTINGS))]


def heads(page: StubPage) -> list[str]:
    return [text.replace("\n", " ") for text in page.locator(".hps-column").all_inner_texts()]


def place(page: StubPage) -> str:
    return str(page.evaluate("() => document.activeElement.dataset.place"))


# --- what stands where -----------------------------------------------------------------------------------------------


def test_rows_are_prompts_with_seeds_and_columns_settings(stub_page: StubPage) -> None:
    shown(stub_page, study())
    rows = [text.replace("\n", " ") for text in stub_page.locator(".hps-line-head").all_inner_texts()]
    assert rows[:3] == [f"1. {PROMPTS[0]} seed 100", f"1. {PROMPTS[0]} seed 101", f"2. {PROMPTS[1]} seed 100"]
    assert heads(stub_page) == [
        "euler reference",
        "heun +0.50 no evidence",
        "dpmpp_2m +1.00 leaning better",
        "uni_pc +1.50 clear better",
    ]
    assert scores(stub_page, 0) == ["23.90", "24.50", "25.10", "25.45"]
    place = f"best of this prompt and seed, {PROMPTS[1]}, seed 100"
    name = spot(stub_page, 2, 3).get_attribute("aria-label")
    assert name == f"uni_pc, score 28.45, rank 1 of 4 settings, +1.0 sd, {place}"
    grid = stub_page.locator("[role=grid]")
    assert (grid.get_attribute("aria-rowcount"), grid.get_attribute("aria-colcount")) == ("5", "5")
    assert stub_page.locator("[role=grid] [role=row] [role=gridcell]").count() == 16


def test_colours_compare_within_a_row_and_the_best_has_a_sign(stub_page: StubPage) -> None:
    found = [cell(s, p, 0, 10.0 * p + value) for p in range(2) for s, value in enumerate((1.0, 2.0, 3.0, 10.0))]
    shown(stub_page, study(cells=found, seeds=["1"], total=8, done=8))
    for row in range(2):
        tints = [spot(stub_page, row, column).get_attribute("data-z") for column in range(4)]
        assert tints == ["-1", "-1", "0", "3"], "20 points between the prompts do not count"
        assert stub_page.locator(f".hps-spot-best[data-place='{row},3'] .hps-spot-mark:visible").count() == 1
    assert stub_page.locator(".hps-spot-mark:visible").count() == 2


@pytest.mark.parametrize(
    ("values", "tints", "best"),
    [
        ((1.0, 1.0, 1.0, 1.0), ["0", "0", "0", "0"], 0),
        ((1.0, None, None, None), ["", "", "", ""], 0),
        ((2.0, 2.0, 1.0, None), ["1", "1", "-2", ""], 2),
    ],
)
def test_rows_that_say_little(stub_page: StubPage, values: Any, tints: list[str], best: int) -> None:
    found = [cell(s, 0, 0) | {"score": value} for s, value in enumerate(values)]
    shown(stub_page, study(cells=found, prompts=["a"], seeds=["1"]))
    assert [spot(stub_page, 0, column).get_attribute("data-z") for column in range(4)] == tints
    assert stub_page.locator(".hps-spot-best").count() == best


def test_a_missing_cell_says_so(stub_page: StubPage) -> None:
    shown(stub_page, study(cells=cells(4, 2, 2)[1:]))
    empty = spot(stub_page, 0, 0)
    assert empty.inner_text() == "missing" and "hps-spot-empty" in (empty.get_attribute("class") or "")


@pytest.mark.parametrize("odd", [{"s": 9}, {"p": -1}, {"k": 1.5}, {"s": None}, {"s": "0"}])
def test_cells_of_nowhere_are_left_out(stub_page: StubPage, odd: dict[str, Any]) -> None:
    shown(stub_page, study(cells=[*cells(4, 2, 2), cell(0, 0, 0, 99.0) | odd, None]))
    assert scores(stub_page, 0) == ["23.90", "24.50", "25.10", "25.45"]


def test_names_and_prompts_are_text(stub_page: StubPage) -> None:
    head = header([HOSTILE, "b"], [HOSTILE, "c"], 1) | {"scorer": HOSTILE}
    said = {"headline": HOSTILE, "warnings": [HOSTILE], "comparisons": [], "order": [], "standings": []}
    shown(stub_page, study(**head, cells=cells(2, 2, 1), **said))
    assert stub_page.locator(".hps-column-title").first.inner_text() == HOSTILE
    assert stub_page.locator(".hps-headline").inner_text() == HOSTILE
    spot(stub_page, 0, 0).click()
    assert stub_page.evaluate("() => window.hacked") is None


def test_two_axes_stand_across_and_down(stub_page: StubPage) -> None:
    shown(stub_page, crossed())
    assert heads(stub_page) == ["sampler0", "sampler1", "sampler2"]
    assert stub_page.locator(".hps-line-head").all_inner_texts() == ["4", "8", "12", "16"]
    assert stub_page.locator(".hps-corner").inner_text().split("\n") == ["sampler →", "steps ↓"]
    assert (spot(stub_page, 1, 2).get_attribute("aria-label") or "").startswith("sampler2, 8 steps, score")
    stub_page.get_by_role("button", name="X/Y").click()
    assert len(heads(stub_page)) >= 8 and heads(stub_page)[1].startswith("sampler0, 8 steps")
    assert stub_page.locator(".hps-line-head").all_inner_texts() == ["seed 100"]


def test_several_rows_of_two_axes_begin_with_columns_of_settings(stub_page: StubPage) -> None:
    shown(stub_page, crossed(blocks=2), width=1300)
    assert heads(stub_page)[1].startswith("sampler0, 8 steps")
    cross = stub_page.get_by_role("button", name="X/Y")
    assert cross.get_attribute("aria-pressed") == "false"
    cross.click()
    assert cross.get_attribute("aria-pressed") == "true"
    rows = [text.replace("\n", " ") for text in stub_page.locator(".hps-line-head").all_inner_texts()]
    assert rows[0] == "4 seed 100"
    stub_page.locator(".hps-sheet").evaluate("(e) => e.scrollTo(0, 9999)")
    stub_page.locator(".hps-line-head", has_text="seed 101").first.wait_for()


def test_axes_that_do_not_make_the_settings_leave_columns_of_settings(stub_page: StubPage) -> None:
    data = crossed()
    shown(stub_page, data | {"axes": [{"name": "a", "values": ["1", "2"]}, {"name": "b", "values": ["3", "4"]}]})
    assert len(heads(stub_page)) > 4
    assert not stub_page.get_by_role("button", name="X/Y").is_visible()


def test_best_first_moves_columns_with_their_pictures(stub_page: StubPage) -> None:
    shown(stub_page, study())
    stub_page.get_by_role("button", name="Best first").click()
    assert [text.split(" ")[0] for text in heads(stub_page)] == ["uni_pc", "dpmpp_2m", "heun", "euler"]
    assert scores(stub_page, 0) == ["25.45", "25.10", "24.50", "23.90"]
    assert "filename=3-0-0.webp" in (spot(stub_page, 0, 0).locator("img").get_attribute("src") or "")


# --- keys and pointer ------------------------------------------------------------------------------------------------


def test_one_stop_for_the_tab_key_and_arrows_inside(stub_page: StubPage) -> None:
    shown(stub_page, study())
    assert stub_page.locator(".hps-sheet [tabindex='0']").count() == 1
    spot(stub_page, 0, 0).focus()
    moves = {"ArrowRight": "0,1", "ArrowDown": "1,1", "End": "1,3", "Home": "1,0", "Control+End": "3,3"}
    for key, where in [*moves.items(), ("ArrowDown", "3,3"), ("Control+Home", "0,0"), ("ArrowUp", "-1,0")]:
        stub_page.keyboard.press(key)
        assert place(stub_page) == where, key
    assert stub_page.locator(".hps-sheet [tabindex='0']").count() == 1
    assert stub_page.locator(".hps-subject").inner_text().startswith("euler\nThe reference")
    stub_page.keyboard.press("ArrowDown")
    assert stub_page.locator(".hps-subject").inner_text().startswith("euler · 23.90 · rank 4 of 4 settings")


def test_a_pointer_reads_and_a_click_opens_the_row_large(stub_page: StubPage) -> None:
    shown(stub_page, study())
    spot(stub_page, 2, 1).hover()
    assert stub_page.locator(".hps-subject").inner_text().split("\n") == [
        "heun · 27.50 · rank 3 of 4 settings, −0.3 sd",
        f"seed 100 · {PROMPTS[1]}",
    ]
    spot(stub_page, 2, 1).click()
    viewer = stub_page.locator(".hps-viewer")
    facts = viewer.locator(".hps-facts").inner_text()
    assert "heun" in facts and PROMPTS[1] in facts and "+0.50 against euler" in facts
    stub_page.keyboard.press("ArrowRight")
    assert "filename=2-1-0.jpg" in (viewer.locator("img").get_attribute("src") or "")
    stub_page.keyboard.press("ArrowDown")
    assert "filename=2-1-1.jpg" in (viewer.locator("img").get_attribute("src") or "")
    stub_page.keyboard.press("c")
    assert [text.split(" ·")[0] for text in viewer.locator("figcaption").all_inner_texts()] == ["euler", "dpmpp_2m"]
    stub_page.keyboard.press("Escape")
    assert viewer.count() == 0 and place(stub_page) == "3,2", "the grid goes on where the large view was left"


def test_a_finger_reads_first_and_opens_then(stub_page: StubPage) -> None:
    shown(stub_page, study())
    tap = """(at) => document.querySelector(`.hps-spot[data-place='${at}']`)
        .dispatchEvent(new PointerEvent("click", { bubbles: true, pointerType: "touch" }))"""
    stub_page.evaluate(tap, "0,1")
    assert stub_page.locator(".hps-viewer").count() == 0
    assert stub_page.locator(".hps-subject").inner_text().startswith("heun · 24.50")
    stub_page.evaluate(tap, "0,2")
    assert stub_page.locator(".hps-viewer").count() == 0
    stub_page.evaluate(tap, "0,2")
    assert stub_page.locator(".hps-viewer").count() == 1


def test_enter_opens_and_delete_stays_inside(stub_page: StubPage) -> None:
    shown(stub_page, study())
    stub_page.evaluate("() => { window.keys = []; window.addEventListener('keydown', (e) => keys.push(e.key)) }")
    spot(stub_page, 0, 0).focus()
    stub_page.keyboard.press("Delete")
    assert stub_page.evaluate("() => keys") == []
    stub_page.keyboard.press("Enter")
    assert stub_page.locator(".hps-viewer").count() == 1


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_pictures_grow_and_shrink_down_to_scores_alone(stub_page: StubPage) -> None:
    shown(stub_page, study())
    size = "() => document.querySelector('.hps-spot').getBoundingClientRect().width"
    before = stub_page.evaluate(size)
    stub_page.get_by_role("button", name="Larger pictures").click()
    assert stub_page.evaluate(size) > before
    smaller = stub_page.get_by_role("button", name="Smaller pictures")
    while smaller.is_enabled():
        smaller.click()
    assert stub_page.locator(".hps-spot img:visible").count() == 0
    assert scores(stub_page, 3) == ["27.75", "28.10", "28.70", "29.30"]
    spot(stub_page, 0, 0).focus()
    stub_page.keyboard.press("+")
    assert stub_page.locator(".hps-spot img:visible").count() == 16


def test_without_pictures_there_are_scores(stub_page: StubPage) -> None:
    found = [each | {"image": None, "thumb": None} for each in cells(4, 2, 2)]
    shown(stub_page, study(cells=found))
    assert scores(stub_page, 0)[0] == "23.90"
    assert stub_page.locator(".hps-spot img:visible").count() == 0


def test_a_large_grid_keeps_the_page_small_and_the_keys_at_work(stub_page: StubPage) -> None:
    shown(stub_page, large())
    sheet = stub_page.locator(".hps-sheet")
    assert sheet.get_attribute("aria-colcount") == "201"
    assert sheet.evaluate("(e) => e.scrollWidth") > 200 * 60
    spot(stub_page, 0, 0).focus()
    for x, y in [(0, 0), (4000, 800), (9000, 1500), (16000, 2500)]:
        sheet.evaluate("(e, [x, y]) => e.scrollTo(x, y)", [x, y])
        stub_page.wait_for_timeout(60)
        assert 0 < stub_page.locator("img").count() <= IMAGES_AT_MOST
        box, head = sheet.bounding_box(), stub_page.locator(".hps-column").first.bounding_box()
        assert abs(head["y"] - box["y"]) < 3, "the heads stay in sight"
        assert abs(stub_page.locator(".hps-line-head").first.bounding_box()["x"] - box["x"]) < 3
    assert stub_page.evaluate("() => document.activeElement.className") == "hps-sheet", "the keys are not lost"
    stub_page.keyboard.press("ArrowRight")
    assert place(stub_page) == "0,1" and spot(stub_page, 0, 1).is_visible()


def test_a_large_grid_is_drawn_fast(stub_page: StubPage) -> None:
    shown(stub_page, large())
    script = """async () => {
        const sheet = document.querySelector(".hps-sheet");
        const frame = () => new Promise(requestAnimationFrame);
        const start = performance.now();
        for (let step = 0; step < 40; step++) { sheet.scrollTo(step * 150, step * 40); await frame(); }
        return (performance.now() - start) / 40;
    }"""
    assert stub_page.evaluate(script) < 100, "milliseconds a frame, on a slow machine"


def test_odd_shapes_of_pictures_set_the_height(stub_page: StubPage) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="200"></svg>'
    stub_page.hps_route("/view", lambda asked: Reply(svg, 200, "image/svg+xml"))
    shown(stub_page, study())
    stub_page.wait_for_function(
        """() => { const { width, height } = document.querySelector(".hps-frame").getBoundingClientRect();
            return height > 1.7 * width }"""
    )


def test_a_lost_picture_leaves_its_score(stub_page: StubPage) -> None:
    stub_page.hps_route("/view", lambda asked: Reply({"error": "gone"}, 404))
    stub_page.allow("404")
    shown(stub_page, study())
    stub_page.locator(".hps-thumb.hps-missing").first.wait_for(state="attached")
    assert scores(stub_page, 0)[0] == "23.90"


# --- while it runs ---------------------------------------------------------------------------------------------------


def test_cells_come_one_by_one_and_stay_in_the_page(stub_page: StubPage) -> None:
    begin(stub_page)
    stub_page.send("hps.compare", compare("1", cells(4, 2, 2)[:2], 2))
    spot(stub_page, 0, 0).locator("img").wait_for()
    stub_page.evaluate("() => { document.querySelector(\".hps-spot[data-place='0,0'] img\").mine = true }")
    stub_page.send("hps.compare", compare("1", cells(4, 2, 2)[2:6], 6))
    stub_page.wait_for_function("() => document.querySelectorAll('.hps-spot img[src]').length === 6")
    assert stub_page.evaluate("() => document.querySelector(\".hps-spot[data-place='0,0'] img\").mine") is True
    assert scores(stub_page, 0) == ["23.90", "24.50", "25.10", "25.45"]
    assert scores(stub_page, 2) == ["", "", "", ""], "what is to come is blank"
    assert "not made yet" in (spot(stub_page, 2, 0).get_attribute("aria-label") or "")
    stub_page.send("hps.compare", compare("1", [cell(0, 0, 0, 30.0, thumb=file_of("new.webp"))], 6))
    stub_page.wait_for_function("() => document.querySelectorAll('.hps-spot-best')[0].dataset.place === '0,0'")
    assert "new.webp" in (spot(stub_page, 0, 0).locator("img").get_attribute("src") or "")


def test_running_differences_are_of_complete_rows(stub_page: StubPage) -> None:
    begin(stub_page)
    first = [cell(s, 0, 0, score) for s, score in enumerate((10.0, 11.0, 12.0))]
    stub_page.send("hps.compare", compare("1", first, 3))
    stub_page.locator(".hps-running-figure").first.wait_for()
    assert heads(stub_page)[1:] == ["heun +1.00", "dpmpp_2m +2.00", "uni_pc –"], (
        "no row is complete: what pairs there are"
    )
    second = [cell(3, 0, 0, 13.0), cell(0, 0, 1, 10.0), cell(1, 0, 1, 50.0)]
    stub_page.send("hps.compare", compare("1", second, 6))
    stub_page.wait_for_function("() => document.querySelectorAll('.hps-spot img[src]').length === 6")
    assert heads(stub_page)[1:] == ["heun +1.00", "dpmpp_2m +2.00", "uni_pc +3.00"], "the second row is not complete"
    third = [cell(2, 0, 1, 12.0), cell(3, 0, 1, 13.0), *(cell(s, 1, 0, 10.0) for s in range(4))]
    stub_page.send("hps.compare", compare("1", third, 12))
    stub_page.wait_for_function("() => document.querySelectorAll('.hps-spot img[src]').length === 12")
    assert heads(stub_page)[1] == "heun +10.25", "(1 + 40) / 2 of one prompt and 0 of the other: prompts count the same"
