"""The pack in the pages of the real hosts, used with mouse and keyboard in Chromium: the ways that a person goes.

HPS_WEBUI_SHOTS: a folder that gets pictures of what was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from web_harness import chromium, why_not
from webui_harness import Server
from webui_harness.browser import WebPage

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "")
HOSTILE = "a red circle <img src=x onerror=alert(1)>"
PANEL = "script_{}_hps_"
COMPARE = "script_txt2img_hps_compare_settings_"


@pytest.fixture(scope="module")
def ui(server: Server) -> Iterator[WebPage]:
    with chromium() as browser:
        page = WebPage(browser, server)
        for name, value in (("steps", 2), ("width", 64), ("height", 64), ("seed", 7)):
            page.write(f"txt2img_{name}", value)
        page.unfold("script_txt2img_hps_panel")
        page.choose("script_txt2img_hps_scorer", "hps-tiny-shapes")
        yield page


def panel(ui: WebPage, tab: str = "txt2img", **values: object) -> None:
    """Set options of the panel; the mode comes first, for it shows the others."""
    for name, value in values.items():
        element = PANEL.format(tab) + name
        if name in ("mode", "scorer", "stop", "noise_file"):
            ui.choose(element, str(value))
        else:
            ui.write(element, value)


def files(ui: WebPage, pattern: str) -> list[Path]:
    return sorted((ui.server.data / "outputs").rglob(pattern))


def test_the_panel_shows_what_a_mode_needs_and_what_a_scorer_lacks(ui: WebPage) -> None:
    ui.open("txt2img")
    panel(ui, scorer="hps-v2.1", mode="Best of N: judge finished")
    ui.says("script_txt2img_hps_missing", "Press Download in the tab HPS > Models")
    assert ui["script_txt2img_hps_candidates"].is_visible()
    assert not ui["script_txt2img_hps_noise_file"].is_visible()
    title = ui["script_txt2img_hps_panel"].locator(".label-wrap").first
    assert title.inner_text().startswith("HPS: Best of N: judge finished images")
    assert "not on this machine" in ui.generate() and len(files(ui, "*.png")) == 1  # a plain image, and why
    panel(ui, scorer="hps-tiny-shapes", mode="Noise search")
    ui.until(lambda: not ui["script_txt2img_hps_missing"].is_visible())
    assert not ui["script_txt2img_hps_candidates"].is_visible() and ui["script_txt2img_hps_noise_file"].is_visible()
    panel(ui, mode="Off")
    ui.until(lambda: title.inner_text().split("\n")[0].strip() == "HPS")
    assert not ui["script_txt2img_hps_noise_file"].is_visible()


def test_best_of_n_keeps_the_best_and_a_hostile_prompt_stays_text(ui: WebPage) -> None:
    before = len(files(ui, "*.png"))
    ui.open("txt2img")
    ui.write("txt2img_prompt", HOSTILE)
    panel(ui, mode="Best of N: judge finished", candidates=3, keep=1)
    said = ui.generate()
    assert "best of 3 by hps-tiny-shapes" in said and "not kept" in said
    assert len(files(ui, "*.png")) == before + 1
    assert HOSTILE in ui["html_info_txt2img"].inner_text()
    assert ui["html_info_txt2img"].locator("img").count() == 0
    ui.picture("best-of-n")


def test_an_image_to_begin_from_and_a_mask(ui: WebPage, tmp_path: Path) -> None:
    start, mask = tmp_path / "start.png", tmp_path / "mask.png"
    draw(start, "blue", "red")
    draw(mask, "black", "white")
    ui.open("img2img")
    for name, value in (("steps", 2), ("width", 64), ("height", 64), ("seed", 7)):
        ui.write(f"img2img_{name}", value)
    ui.write("img2img_prompt", "a red circle")
    ui.open("img2img", "Inpaint upload", "mode_img2img")
    ui.upload("img_inpaint_base", start)
    ui.upload("img_inpaint_mask", mask)
    ui.unfold("script_img2img_hps_panel")
    panel(ui, "img2img", scorer="hps-tiny-shapes", mode="Best of N: judge before", candidates=3, keep=2)
    assert "best of 3 by hps-tiny-shapes" in ui.generate("img2img")
    kept = files(ui, "img2img-images/*/*.png")
    assert len(kept) == 2 and all(corner(path) == (0, 0, 255) for path in kept)  # outside of the mask nothing changed
    ui.picture("inpaint")


def test_an_optimised_noise_is_found_again(ui: WebPage) -> None:
    ui.open("txt2img")
    ui.write("txt2img_prompt", "a red circle")
    panel(ui, mode="Noise search", iterations=1, population=2, screen=2)
    found = ui.generate()
    score = found.split("hps-tiny-shapes: ")[1].split()[0]
    [noise] = files(ui, "*.hps-noise.safetensors")
    panel(ui, mode="Score every image", noise_file=noise.name)
    assert f"hps-tiny-shapes: {score}" in ui.generate()
    ui.write("script_txt2img_hps_noise_file", "nothing.png")
    assert "There is no noise file" in ui.generate()
    ui.open("PNG Info")
    ui.upload("pnginfo_image", noise.with_name(noise.name.replace(".hps-noise.safetensors", ".png")))
    ui.page.locator("#tab_pnginfo button").filter(has_text="txt2img").first.click()
    ui.says("script_txt2img_hps_pasted", "its file is chosen below")
    chosen = ui.server.data / "outputs" / ui.value("script_txt2img_hps_noise_file")
    assert chosen.read_bytes() == noise.read_bytes()  # that file, or its copy beside an image that was made from it
    ui.write("script_txt2img_hps_noise_file", "")


def test_a_plot_has_our_axes_and_leaves_a_table(ui: WebPage) -> None:
    ui.open("txt2img")
    panel(ui, mode="Score every image")
    ui.choose("script_list", "X/Y/Z plot")
    ui.choose("script_txt2img_xyz_plot_x_type", "[HPS] Candidates")
    ui.write("script_txt2img_xyz_plot_x_values", "1, 2")
    panel(ui, mode="Best of N: judge finished")
    assert "hps-tiny-shapes" in ui.generate()
    assert files(ui, "txt2img-grids/*/*.csv") and files(ui, "txt2img-grids/*/*.html")
    ui.picture("plot")


def test_settings_are_compared_and_the_report_is_opened_in_the_tab(ui: WebPage) -> None:
    ui.open("txt2img")
    panel(ui, mode="Off")
    ui.choose("script_list", "HPS compare settings")
    ui.write(f"{COMPARE}x_values", "1, 2")
    ui.choose(f"{COMPARE}y", "CFG Scale")
    ui.write(f"{COMPARE}y_values", "2, 8")
    ui.write(f"{COMPARE}prompts", "a red circle")
    ui.write(f"{COMPARE}seeds", 2)
    ui.choose(f"{COMPARE}scorer", "hps-tiny-shapes")
    ui.write(f"{COMPARE}name", "steps and CFG")
    assert "report.html" in ui.generate()
    ui.picture("compare-script")
    ui.choose("script_list", "None")
    ui.open("HPS", "Compare")
    ui["hps_compare_origin"].locator("label").nth(1).click()
    ui.until(lambda: "steps and CFG" in ui.value("hps_compare_made"), "the comparison in the list")
    ui["hps_compare_run"].click()
    ui.says("hps_compare_verdict", "CFG Scale 8")
    ui["hps_compare_report"].click()
    ui.says("hps_compare_status", "The report is saved as")
    frame = ui.page.frame_locator("#hps_compare_verdict iframe")
    ui.until(lambda: "steps and CFG" in frame.locator("body").inner_text(), "the report in its frame")
    ui.picture("compare-report")


def test_extras_score_one_image_and_a_folder(ui: WebPage, tmp_path: Path) -> None:
    ui.open("Extras")
    ui.upload("extras_image", files(ui, "img2img-images/*/*.png")[0])
    ui.unfold("extras_hps")
    ui.says("extras_hps_missing", "not on this machine")
    ui.choose("extras_hps_scorer", "hps-tiny-shapes")
    ui["extras_generate"].click()
    ui.says("html_info_x_extras" if ui.server.host.kind == "a1111" else "tab_extras", "HPS score: ")
    ui.picture("extras")
    ui.open("Extras", "Batch from Directory", "mode_extras")
    ui.write("extras_batch_input_dir", files(ui, "img2img-images/*/*.png")[0].parent)
    ui.write("extras_batch_output_dir", tmp_path)
    ui.choose("extras_hps_below", "move its file")
    ui.write("extras_hps_least", 1000)
    ui["extras_generate"].click()
    ui.until(lambda: len(list((tmp_path / "hps-below").glob("*.png"))) == 2, "both images aside")
    assert len(list(tmp_path.glob("hps-scores-*.csv"))) == 1
    ui["extras_hps-visible-checkbox"].click()


def test_the_leaderboard_shows_what_is_new_and_a_row_is_chosen_by_mouse_and_keyboard(ui: WebPage) -> None:
    ui.open("HPS", "Leaderboard")
    rows = ui["hps_board_rows"].locator("tr[data-row]")
    ui.until(lambda: rows.count() > 3, "rows without a press of a button")
    assert ui["hps_board_rows"].locator("td img[src^='data:']").count() and not ui.too_wide("hps_board")
    ui.write("hps_board_search", "onerror")
    ui["hps_board_show"].click()
    ui.says("hps_board_status", "of 3")
    assert ui["hps_board_rows"].locator("img[src='x']").count() == 0
    rows.nth(1).click()
    ui.until(lambda: HOSTILE in ui.value("hps_board_infotext"), "the text of the row")
    assert ui.value("hps_board_row").startswith("2: ")
    ui.picture("leaderboard")
    ui["hps_board_drop"].click()
    ui.says("hps_board_status", "Delete row 2")
    ui["hps_board_no_one"].click()
    ui.until(lambda: not ui["hps_board_really_one"].is_visible())
    ui["hps_board_drop"].click()
    ui["hps_board_really_one"].click()
    ui.says("hps_board_status", "of 2")
    ui.until(lambda: rows.count() == 2, "the table without the row")
    ui.page.wait_for_timeout(500)
    rows.first.focus()
    ui.page.keyboard.press("Enter")
    ui.until(lambda: ui.value("hps_board_row").startswith("1: "), "the first row by keyboard")
    ui["hps_board_txt2img"].click()
    ui.until(lambda: ui.value("txt2img_prompt") == HOSTILE, "the prompt in txt2img")


def test_files_are_scored_and_mistakes_are_told(ui: WebPage) -> None:
    ui.open("HPS", "Score files")
    ui["hps_files_run"].click()
    ui.says("hps_files_status", "Name a folder, or upload images")
    ui.write("hps_files_folder", "/nowhere/at/all")
    ui["hps_files_run"].click()
    ui.says("hps_files_status", "is no folder of the machine")
    folder = files(ui, "img2img-images/*/*.png")[0].parent
    ui.write("hps_files_folder", folder)
    ui["hps_files_run"].click()
    ui.says("hps_files_status", "not on this machine")
    ui.choose("hps_files_scorer", "hps-tiny-shapes")
    ui.choose("hps_files_action", "copy the best")
    ui.says("hps_files_run", "Score, then copy the best of each prompt")
    ui["hps_files_run"].click()
    ui.says("hps_files_status", "1 file is copied to best")
    assert len(list((folder / "best").glob("*.png"))) == 1 and not ui.too_wide("hps_files")
    ui.picture("files")
    ui.choose("hps_files_action", "nothing")
    ui.write("hps_files_folder", "")
    ui.upload("hps_files_uploads", files(ui, "img2img-images/*/*.png")[0])
    ui["hps_files_run"].click()
    ui.says("hps_files_status", "1 of 1 files are scored")


def test_a_download_that_cannot_be_is_told_with_what_to_do(ui: WebPage) -> None:
    ui.open("HPS", "Models")
    ui.until(lambda: ui.value("hps_models_name").startswith("HPS v2.1"), "the panel's scorer to download")
    ui["hps_models_download"].click()
    assert "cannot be reached" in ui.says("hps_models_status", "by other means")
    assert not ui["hps_models_stop"].is_visible()
    ui.picture("models")


def test_narrow_windows(ui: WebPage) -> None:
    ui.page.set_viewport_size({"width": 480, "height": 900})
    try:
        for part, name in (
            ("Leaderboard", "board"),
            ("Compare", "compare"),
            ("Score files", "files"),
            ("Models", "models"),
        ):
            ui.open("HPS", part)
            ui.page.wait_for_timeout(800)
            assert not ui.too_wide(f"hps_{name}"), part
        ui.open("txt2img")
        assert not ui.too_wide("script_txt2img_hps_panel")
    finally:
        ui.page.set_viewport_size({"width": 1400, "height": 1000})


CONTRAST = """() => {
    const light = (text) => {
        const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
            .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (node) => {
        for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (!/^rgba\\(.*, 0\\)$|transparent/.test(colour)) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const own = gradioApp().querySelectorAll("[class^=hps-], [class^=hps-] td, [class^=hps-] th, [class^=hps-] small");
    return [...own].filter((node) => node.offsetParent && node.innerText?.trim()).map((node) => {
        const pair = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => b - a);
        return [(pair[0] + 0.05) / (pair[1] + 0.05), node.className + ": " + node.innerText.slice(0, 40)];
    });
}"""
"""The contrast of every visible text that is marked as ours, as WCAG computes it: [ratio, what]."""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_our_texts_can_be_read_in_both_themes(ui: WebPage, theme: str) -> None:
    before = ui.page.evaluate("document.body.classList.contains('dark')")
    ui.page.evaluate(f"document.body.classList.toggle('dark', {str(theme == 'dark').lower()})")
    try:
        for part in ("Leaderboard", "Models"):
            ui.open("HPS", part)
            ui.page.wait_for_timeout(800)
            found = ui.page.evaluate(CONTRAST)
            assert found and not [row for row in found if row[0] < 4.5], (part, sorted(found)[:5])
            ui.picture(f"{part}-{theme}".lower())
    finally:
        ui.page.evaluate(f"document.body.classList.toggle('dark', {str(before).lower()})")


def test_the_page_had_no_trouble_with_us(ui: WebPage) -> None:
    assert not ui.errors


def draw(path: Path, ground: str, disc: str) -> None:
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (64, 64), ground)
    ImageDraw.Draw(picture).ellipse((20, 20, 44, 44), fill=disc)
    picture.save(path)


def corner(path: Path) -> tuple[int, ...]:
    from PIL import Image

    with Image.open(path) as picture:
        return tuple(picture.convert("RGB").getpixel((1, 1)))
