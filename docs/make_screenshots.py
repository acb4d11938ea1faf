"""Photographs the interface for the docs: runs example workflows in a real ComfyUI, in a real browser.

    python docs/make_screenshots.py [name ...]

Writes docs/img/ui-<name>.png. Needs playwright, Chromium and ComfyUI (COMFYUI_PATH with the one of the classic
pictures first; the last of them is used for Nodes 2.0). Quantised to 256 colours: each file stays below 300 kB.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tests")]
os.environ["HPS_WEB_MATRIX"] = "all"

from PIL import Image  # noqa: E402
from web_harness import UI, Farm, Place, chromium, places  # noqa: E402
from web_harness.study_graph import NODE as COMPARE  # noqa: E402
from web_harness.study_graph import PROMPTS, compare_graph  # noqa: E402

LARGEST = 300_000
SEARCH, NOISE = "HPS_BestOfNSimple", "HPS_OptimizeNoiseSimple"
Clip = dict[str, float]


def save(ui: UI, name: str, clip: Clip) -> None:
    """Write one picture, with as many colours as its size allows."""
    data = ui.page.screenshot(clip=clip)
    image = Image.open(BytesIO(data)).convert("RGB")
    path = REPO / "docs" / "img" / f"ui-{name}.png"
    path.parent.mkdir(exist_ok=True)
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    if path.stat().st_size >= LARGEST:
        sys.exit(f"{path.name} is larger than {LARGEST} bytes: clip it closer")
    sys.stdout.write(f"{path.relative_to(REPO)}: {image.width}x{image.height}, {path.stat().st_size} bytes\n")


def around(ui: UI, selector: str, margin: float = 24, top: float | None = None) -> Clip:
    """Return the part of the page around the first element that can be seen; `top` keeps more above it."""
    box = ui.page.locator(selector).first.bounding_box()
    assert box is not None, selector
    above = margin if top is None else top
    return {
        "x": max(0, box["x"] - margin),
        "y": max(0, box["y"] - above),
        "width": box["width"] + 2 * margin,
        "height": box["height"] + above + margin,
    }


def tidy(ui: UI) -> None:
    """Take away what is not the pack's: the map, toasts, the pointer."""
    ui.setting("Comfy.Minimap.Visible", False)
    ui.page.mouse.move(5, 450)
    ui.page.wait_for_timeout(5500)  # toasts of the host go by themselves


def searched(ui: UI, width: int = 460, **values: object) -> None:
    """Run the search of the example on a node wide enough for names and figures."""
    ui.load("best_of_8", "best_of_8", **{f"{SEARCH}__{name}": value for name, value in values.items()})
    ui.page.evaluate("([type, w]) => { const n = hpsTest.node(type); n.setSize([w, n.size[1]]) }", [SEARCH, width])
    ui.run(120)
    ui.focus(SEARCH)
    ui.cells().first.wait_for()


def widen(ui: UI, pixels: float) -> None:
    """Drag the edge of the sidebar."""
    box = ui.page.locator(".p-splitter-gutter:visible").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, 300
    ui.page.mouse.move(x, y)
    ui.page.mouse.down()
    ui.page.mouse.move(x + pixels, y, steps=8)
    ui.page.mouse.up()
    ui.page.wait_for_timeout(400)


def gallery(ui: UI) -> None:
    """The ranked gallery after a search, with one cell chosen."""
    searched(ui)
    ui.cells().nth(1).click()
    tidy(ui)
    save(ui, "gallery", around(ui, ".hps-node:visible", 18, 150))


def light(ui: UI) -> None:
    """Gallery and leaderboard in the light theme."""
    ui.theme("light")
    searched(ui, seed=21)
    ui.open_board()
    ui.page.locator(".hps-board tbody tr").first.wait_for()
    tidy(ui)
    ui.focus(SEARCH)
    save(ui, "light-theme", {"x": 0, "y": 0, "width": 1240, "height": 900})
    ui.close_board()
    ui.theme("dark")


def chart(ui: UI) -> None:
    """The curve of a noise optimisation, with its stop reason."""
    ui.load("optimize_noise", "optimize_noise", HPS_OptimizeNoiseSimple__iterations=40)
    ui.page.evaluate("(type) => { const n = hpsTest.node(type); n.setSize([480, n.size[1]]) }", NOISE)
    ui.run(120)
    ui.focus(NOISE)
    ui.page.locator("svg.hps-chart:visible").wait_for()
    tidy(ui)
    save(ui, "chart", around(ui, ".hps-node:visible", 18, 60))


def compare(ui: UI) -> None:
    """A comparison of six settings: the grid with its verdict, then the standings."""
    ui.load(compare_graph((760, 1260)), "compare settings")
    ui.set("HPS_LoadScorer", "scorer", "hps-tiny-shapes (miniature for trials: judges coloured shapes only)")
    given = {"prompts": "\n".join(PROMPTS), "samplers": "euler, heun, dpmpp_2m", "steps": "2, 4", "cfgs": "2", "schedulers": "simple"}
    for name, value in {**given, "first_seed": 7, "seeds_per_prompt": 8}.items():
        ui.set(COMPARE, name, value)
    ui.run(300)
    ui.focus(COMPARE)
    ui.page.locator(".hps-headline:visible").wait_for()
    tidy(ui)
    ui.page.locator(".hps-spot[data-place='1,3']:visible").hover()
    save(ui, "compare", around(ui, ".hps-node:visible", 18))
    ui.page.get_by_role("tab", name="Settings").click()
    ui.page.locator("tr[data-setting='1']").click()
    save(ui, "standings", around(ui, ".hps-node:visible", 18))


def leaderboard(ui: UI) -> None:
    """The leaderboard beside a workflow."""
    searched(ui, seed=31, sampler_name="heun")
    searched(ui, seed=31)
    ui.open_board()
    ui.page.locator(".hps-board tbody tr").first.wait_for()
    tidy(ui)
    ui.focus(SEARCH)
    save(ui, "overview", {"x": 0, "y": 0, "width": 1240, "height": 900})
    widen(ui, 520)
    ui.page.locator(".hps-filters summary").click()
    ui.page.wait_for_timeout(400)
    save(ui, "leaderboard", around(ui, ".hps-sidebar", 2))
    widen(ui, -520)
    ui.close_board()


def picks(ui: UI) -> None:
    """A blind pick, after the answer."""
    searched(ui, seed=41)
    ui.open_board()
    ui.page.get_by_role("tab", name="Blind picks").click()
    card = ui.page.locator(".hps-picks")
    for _ in range(16):
        ui.page.locator(".hps-picks[data-state=asking]").wait_for()
        card.focus()
        ui.page.keyboard.press("1")
        ui.page.locator(".hps-picks[data-state=revealed]").wait_for()
        ui.page.keyboard.press("n")
    tidy(ui)
    if ui.page.locator(".hps-auto").is_visible():
        ui.page.locator(".hps-auto input").set_checked(False, force=True)
    card.focus()
    ui.page.keyboard.press("1")
    ui.page.locator(".hps-picks[data-state=revealed]").wait_for()
    save(ui, "picks", around(ui, ".hps-sidebar", 4))
    ui.page.get_by_role("tab", name="Leaderboard").click()
    ui.close_board()


def nodes_2(ui: UI) -> None:
    """Select with a pick by hand, and the search, in Nodes 2.0."""
    searched(ui)
    ui.cells().nth(2).click()
    tidy(ui)
    save(ui, "nodes-2", around(ui, ".hps-node:visible", 22, 190))


CLASSIC: dict[str, Callable[[UI], None]] = {
    "gallery": gallery, "chart": chart, "compare": compare, "leaderboard": leaderboard, "picks": picks,
    "light-theme": light,
}  # fmt: skip


def main(names: list[str]) -> None:
    """Make the pictures of these names, or all."""
    found, reason = places(True)
    if not found:
        sys.exit(reason)
    classic = next(place for place in found if not place.vue)
    vue = [place for place in found if place.vue][-1:]
    farm = Farm(Path(tempfile.mkdtemp(prefix="hps-screenshots-")))
    try:
        with chromium() as browser:
            for place, parts in [(classic, CLASSIC), *[(place, {"nodes-2": nodes_2}) for place in vue]]:
                _photograph(browser, farm, place, {k: v for k, v in parts.items() if not names or k in names})
    finally:
        farm.close()


def _photograph(browser: object, farm: Farm, place: Place, parts: dict[str, Callable[[UI], None]]) -> None:
    if parts:
        ui = UI(browser, farm.server(place), place)  # type: ignore[arg-type]
        for part in parts.values():
            part(ui)
        ui.close()


if __name__ == "__main__":
    main(sys.argv[1:])
