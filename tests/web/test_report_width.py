"""Reports in a window: what fits, and how one sees and reaches what does not."""

from __future__ import annotations

import io

import pytest
from core import _study as made

from hpskit.report import render
from hpskit.study import Axis, analyse, study_report

TOO_WIDE = "e => e.scrollWidth > e.clientWidth"
REACH_ENDS = "(e, end) => { e.scrollLeft = end ? e.scrollWidth : 0; }"


@pytest.fixture(params=["light", "dark"])
def opened(browser, request):
    axes = (Axis("Sampler", ("Euler", "DPM++ 2M Karras", "Heun")), Axis("CFG", ("4", "8")))
    labels = [f"{name}, {cfg} CFG Scale, of-a-long-name-{name}" for name in axes[0].values for cfg in axes[1].values]
    study = made.study(axes=axes, labels=labels, prompts=3, seeds=3)
    page = browser.new_page(color_scheme=request.param)
    page.set_content(render(study_report(study, analyse(study))))
    yield page
    page.close()


def settings(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    return page.get_by_role("region", name="Settings", exact=True)


def edges(region):
    """Return how much darker the edges of a region are than its middle: left and right, near its lower end."""
    from PIL import Image

    shot = Image.open(io.BytesIO(region.screenshot())).convert("L")
    row = shot.height - 16
    counts = shot.crop((shot.width // 4, row, 3 * shot.width // 4, row + 4)).histogram()
    middle = counts.index(max(counts))  # the ground, not the letters on it
    return [middle - shot.getpixel((x, row)) for x in (3, shot.width - 4)]


def test_the_settings_fit_a_window_of_1000_pixels(opened):
    region = settings(opened, 1000)
    assert not region.evaluate(TOO_WIDE)
    assert region.get_by_role("columnheader").last.inner_text().split()[:2] == ["p", "adjusted"]
    assert max(edges(region)) <= 3  # no shadow where nothing is cut off


def test_a_shadow_stands_where_a_table_is_cut_off(opened):
    region = settings(opened, 600)
    assert region.evaluate(TOO_WIDE)
    left, right = edges(region)
    assert left <= 3 and right >= 12
    region.evaluate(REACH_ENDS, True)
    left, right = edges(region)
    assert left >= 12 and right <= 3


def test_the_keyboard_scrolls_a_table(opened):
    region = settings(opened, 600)
    region.focus()
    opened.keyboard.press("ArrowRight")
    opened.wait_for_function("e => e.scrollLeft > 0", arg=region.element_handle(), timeout=5000)
