"""Charts as pictures: what is drawn stands where it should, in the report's colours, whatever the numbers and names."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpskit.report import Chart, Line, chart, plot

pil = pytest.importorskip("PIL")
np = pytest.importorskip("numpy")

from PIL import Image, ImageFont  # noqa: E402

STYLE = Path(plot.__file__).with_name("style.css").read_text(encoding="utf-8")
RISING = [(float(i), float(i)) for i in range(60)]


def drawn(*lines: Line, size: tuple[int, int] = (960, 480), dark: bool = False, **words: str) -> Image.Image:
    made = plot.draw_chart(
        Chart(lines, words.get("x", "n"), words.get("y", "score"), words.get("title", "")), size, dark
    )
    assert made.size == size
    assert made.mode == "RGB"
    return made


def marks(picture: Image.Image, colour: str, near: int = 60) -> np.ndarray:
    """Return [height, width] where the picture has about this colour, the legend above left out."""
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    found = np.abs(np.asarray(picture).astype(int) - wanted).sum(2) < near
    found[: picture.height // 10] = False
    return found


def rows(picture: Image.Image, colour: str) -> list[float]:
    """Return the middle of the line in each column that has it."""
    found = marks(picture, colour)
    return [float(np.flatnonzero(found[:, k]).mean()) for k in range(found.shape[1]) if found[:, k].any()]


@pytest.mark.parametrize(
    ("palette", "block"), [(plot.LIGHT, r":root \{"), (plot.DARK, r':root\[data-theme="dark"\] \{')]
)
def test_the_colours_are_those_of_the_report(palette: plot.Palette, block: str) -> None:
    [found] = re.findall(block + r"(.*?)\}", STYLE, re.DOTALL)
    style = dict(re.findall(r"--([\w-]+): (#\w+);", found))
    assert (palette.paper, palette.ink, palette.soft) == (style["card"], style["ink"], style["soft"])
    assert (palette.faint, palette.rule) == (style["faint"], style["rule"])
    assert palette.lines == tuple(style[f"c{k}"] for k in range(chart.COLOURS))


@pytest.mark.parametrize("dark", [False, True])
def test_a_rising_line_rises_straight(dark: bool) -> None:
    colour = (plot.DARK if dark else plot.LIGHT).lines[0]
    found = rows(drawn(Line("a", RISING), dark=dark), colour)
    assert len(found) > 800
    steps = np.diff(found)
    assert found[0] > 400
    assert found[-1] < 80
    assert steps.max() < 1.5
    assert steps.mean() == pytest.approx(-350 / 850, abs=0.1)


def test_each_line_has_its_own_colour_and_five_make_a_round() -> None:
    lines = [Line(f"line {k}", [(0, k), (1, k)]) for k in range(6)]
    picture = drawn(*lines)
    heights = [np.mean(rows(picture, colour)) for colour in plot.LIGHT.lines[1:]]
    assert heights == sorted(heights, reverse=True)
    both = np.flatnonzero(marks(picture, plot.LIGHT.lines[0])[:, 500])
    assert np.ptp(both) > 200, "the first and the sixth line share a colour"


def test_the_first_line_lies_on_top() -> None:
    picture = drawn(Line("a", RISING), Line("b", RISING))
    assert len(rows(picture, plot.LIGHT.lines[0])) > 800
    assert not rows(picture, plot.LIGHT.lines[1])[60:]


def test_dashes_have_gaps_and_solid_lines_none() -> None:
    flat = [(0.0, 1.0), (1.0, 1.0)]
    solid, dashed = (drawn(Line("a", flat, dashed=d)) for d in (False, True))
    whole, half = (marks(picture, plot.LIGHT.lines[0]).any(0).mean() for picture in (solid, dashed))
    assert whole > 0.85
    assert 0.3 < half / whole < 0.8


def test_points_that_are_not_finite_leave_a_gap_and_lonely_ones_are_seen() -> None:
    values = [1.0, 1.0, math.nan, 1.0, math.inf, 1.0, 1.0]
    for dashed in (False, True):
        picture = drawn(Line("a", list(enumerate(values)), dashed))
        columns = np.flatnonzero(marks(picture, plot.LIGHT.lines[0]).any(0))
        gaps = np.flatnonzero(np.diff(columns) > 60)
        assert len(gaps) == 2
        lonely = columns[gaps[0] + 1 : gaps[1] + 1]
        assert 4 <= len(lonely) <= 12


def test_edges_are_smooth() -> None:
    picture = np.asarray(drawn(Line("a", RISING)))[100:400, 200:800].reshape(-1, 3)
    assert len(np.unique(picture, axis=0)) > 30


@pytest.mark.parametrize("lines", [(), (Line("a", ()),), (Line("a", [(0, math.nan), (math.inf, 1)]),)])
def test_nothing_is_said_in_words(lines: Sequence[Line]) -> None:
    picture = drawn(*lines)
    assert not marks(picture, plot.LIGHT.lines[0], 20).any()
    assert marks(picture, plot.LIGHT.soft, 200).any()


def test_long_words_stay_inside() -> None:
    words = "one word after another " * 30
    picture = drawn(*(Line(words, RISING) for _ in range(4)), x=words, y=words, title=words, size=(640, 320))
    frame = np.ones((320, 640), bool)
    frame[3:-3, 3:-3] = False
    assert (np.asarray(picture)[frame] == 255).all()
    assert len(rows(picture, plot.LIGHT.lines[0])) > 300, "the words leave room for the lines"


def test_many_lines_do_not_push_the_plot_away() -> None:
    picture = drawn(*(Line(f"number {k} of many lines", RISING) for k in range(60)))
    assert np.ptp(rows(picture, plot.LIGHT.lines[59 % 5])) > 120


def test_equal_charts_give_equal_pictures() -> None:
    assert drawn(Line("a", RISING)).tobytes() == drawn(Line("a", RISING)).tobytes()


def test_too_small_is_an_error() -> None:
    with pytest.raises(ValueError, match="too small"):
        plot.draw_chart(Chart([Line("a", RISING)], "x", "y"), (119, 400))


def test_an_old_pillow_has_one_small_font(monkeypatch: pytest.MonkeyPatch) -> None:
    bitmap = ImageFont.load_default_imagefont() if hasattr(ImageFont, "load_default_imagefont") else None
    if bitmap is None:
        pytest.skip("this Pillow has no way to ask for the bitmap font")

    def load(*size: int) -> ImageFont.ImageFont:
        if size:
            raise TypeError
        return bitmap

    monkeypatch.setattr(ImageFont, "load_default", load)
    picture = drawn(Line("score \N{LATIN SMALL LETTER E WITH ACUTE} \N{CJK UNIFIED IDEOGRAPH-4E2D}", RISING), title="T")
    assert len(rows(picture, plot.LIGHT.lines[0])) > 800


values = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.tuples(values, values), max_size=8), max_size=7),
    st.sampled_from([(120, 120), (320, 200), (200, 500)]),
    st.text(max_size=30),
    st.booleans(),
)
def test_no_number_and_no_name_breaks_it(
    lines: list[list[tuple[float, float]]], size: tuple[int, int], name: str, dashed: bool
) -> None:
    drawn(*(Line(name, points, dashed) for points in lines), size=size, x=name, y=name, title=name)


@given(st.floats(-1e4, 1e4), st.floats(1e-5, 1e3))
def test_labels_are_true_to_the_distance_of_the_ticks(low: float, extent: float) -> None:
    ticks = chart.ticks(low, low + extent, 5)
    shown = [float(words.replace(",", "")) for words in chart.labels(ticks)]
    step = ticks[1] - ticks[0]
    assert all(abs(a - b) < step / 10 for a, b in zip(shown, ticks, strict=True))
