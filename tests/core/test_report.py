from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import math
import os
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpskit import report
from hpskit.errors import OutputError
from hpskit.report import (
    Chart,
    Column,
    Facts,
    Figure,
    Gallery,
    Headline,
    Line,
    Note,
    Pair,
    Picture,
    Report,
    Table,
    Text,
    chart,
    markup,
    page,
)

EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&lt;"


class Elements(HTMLParser):
    """Collects the elements, their attributes and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.stack: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if not self.stack or self.stack[-1] not in {"style", "script"}:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return "".join(self.words)


def read(*sections: report.Section, **fields: str) -> Elements:
    return Elements(report.render(Report(fields.pop("title", "A title"), sections=sections, **fields)))


def full(text: str = "text", image: object = "missing.png") -> Report:
    picture = Picture(image, text, 1, 28.4, 7, True)
    return Report(
        text,
        text,
        (
            Headline((Figure(text, text, text),)),
            Note(text),
            Text(text, text),
            Table((text, Column(text)), ((text, 1.0), (text, None)), text, text, frozenset({0})),
            Gallery((picture,), text, text),
            Pair(picture, picture, text, text),
            Chart((Line(text, ((1, 2.0), (2, 3.0))),), text, text, text, text),
            Facts(((text, text),), text),
        ),
        text,
    )


@pytest.fixture
def pil():
    return pytest.importorskip("PIL.Image")


# ---- safety ----------------------------------------------------------------------------------------------------------


def test_nothing_typed_becomes_markup(pil):
    plain, evil = (Elements(report.render(full(text, pil.new("RGB", (8, 8))))) for text in ("text", EVIL))
    assert [tag for tag, _ in plain.tags] == [tag for tag, _ in evil.tags]
    assert [sorted(attributes) for _, attributes in plain.tags] == [sorted(attributes) for _, attributes in evil.tags]
    assert evil.text.count(EVIL) == plain.text.count("text") > 15
    assert EVIL in evil.all("img")[0]["alt"]


@given(st.text())
def test_text_comes_back_as_it_was_typed(words):
    shown = Elements(f"<p>{markup.text(words)}</p>").text
    assert shown == re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "\N{REPLACEMENT CHARACTER}", words).replace(
        "\r\n", "\n"
    ) or ("\r" in words)


def test_file_names_that_are_no_text_can_be_written(tmp_path):
    path = report.write_report(tmp_path / "r.html", Report("a\udcff.png"))
    assert "a?.png" in path.read_text(encoding="utf-8")


def test_the_page_fetches_nothing_and_allows_only_its_own_script(pil):
    html = report.render(full(EVIL, pil.new("RGB", (8, 8))))
    elements = Elements(html)
    assert not elements.all("link") and not elements.all("iframe")
    for _, attributes in elements.tags:
        assert not any(name.startswith("on") or name in {"style", "href", "srcset"} for name in attributes)
        assert attributes.get("src", "data:image/").startswith("data:image/")
    [policy] = [m["content"] for m in elements.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    for name in ("style", "script"):
        [inside] = re.findall(f"<{name}>(.*?)</{name}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
        assert "http:" not in inside and "https:" not in inside and "url(" not in inside


def test_the_script_never_reads_text_as_markup():
    script = page._asset("script.js")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|Function\(|fetch|XMLHttp", script
    )


def test_what_may_be_wider_than_the_window_has_a_name_and_can_be_reached():
    line, cells = Line("l", ((1, 1.0), (2, 2.0))), (("a",), (("b",),))
    elements = read(Table(*cells, title="T"), Table(*cells), Chart((line,), "x", "y", "C"))
    fields = [one for one in elements.all("div") if "scroll" in (one.get("class") or "").split()]
    assert [one["aria-label"] for one in fields] == ["T", "Table", "C"]
    assert all(one["tabindex"] == "0" and one["role"] == "region" for one in fields)


# ---- sections --------------------------------------------------------------------------------------------------------


def test_every_section_shows_all_its_words(pil):
    words = {f"w{i}z" for i in range(30)}
    left = sorted(words)

    def w() -> str:
        return left.pop()

    image = pil.new("RGB", (8, 8))
    elements = read(
        Headline((Figure(w(), w(), w()),)),
        Note(w()),
        Text(f"{w()}\n\n{w()}", w()),
        Table((w(), Column(w())), ((w(), w()),), w(), w()),
        Gallery((Picture(image, w()),), w(), w()),
        Pair(Picture(image, w()), Picture(image, w()), w(), w()),
        Chart((Line(w(), ((1, 1.0),)),), w(), w(), w(), w()),
        Facts(((w(), w()),), w()),
        intro=w(),
        footer=w(),
    )
    assert words - set(left) <= set(re.findall(r"w\d+z", elements.text))
    assert len(left) == 0


def test_the_note_says_what_compares():
    assert "Only images of one prompt compare" in read(Note()).text


def test_sections_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Text("a").body = "b"


def test_paragraphs_are_split_at_empty_lines():
    assert len(read(Text("one\n\n\n\ntwo\nstill two")).all("p")) == 3  # with the footer's


def test_a_table_sorts_by_value_and_sets_numbers_right():
    rows = (("b", 2, 28.123, None), ("a", 10, math.nan, None))
    elements = read(Table(("name", "n", Column("score", 2), Column("none", mono=True)), rows, marked=frozenset({1})))
    heads, cells = elements.all("th"), elements.all("td")
    assert [head.get("class") for head in heads] == [None, "number", "number", None]
    assert [cell["data-sort"] for cell in cells] == ["b", "2", "28.123", "", "a", "10", "", ""]
    assert elements.all("tr")[2]["class"] == "marked" and "class" not in elements.all("tr")[1]
    assert len(elements.all("button")) == 5  # four columns and the theme
    assert "28.12" in elements.words and elements.words.count(page.DASH) == 3


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (3, None, "3"),
        (3.0, None, "3"),
        (0.12345, None, "0.123"),
        (2.5, 0, "2"),
        (1, 2, "1.00"),
        (-0.5, 1, "-0.5"),
        (None, 2, page.DASH),
        (math.nan, None, page.DASH),
        (math.inf, None, "inf"),
        (2**64 - 1, None, "18446744073709551615"),
    ],
)
def test_numbers(value, digits, shown):
    assert page.number(value, digits) == shown


def test_a_gallery_shows_rank_score_seed_and_the_winner(pil):
    image = pil.new("RGB", (8, 8))
    elements = read(Gallery((Picture(image, "", 1, 28.456, 2**40, True), Picture(image, "x", 2, 27.0, 5))))
    assert [figure["class"] for figure in elements.all("figure")] == ["card winner", "card"]
    for words in ("#1", "28.46", f"seed {2**40}", "Best", "#2", "27.00", "seed 5"):
        assert words in elements.words
    assert elements.words.count("Best") == 1
    assert elements.all("img")[1]["alt"] == "x, rank 2, score 27.00, seed 5"


# ---- pictures --------------------------------------------------------------------------------------------------------


def decoded(elements: Elements, pil, i: int = 0):
    address = elements.all("img")[i]["src"]
    return pil.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")


def test_pictures_may_be_files_tensors_or_pil(pil, tmp_path):
    torch = pytest.importorskip("torch")
    image = pil.new("RGB", (20, 10), (255, 0, 0))
    image.save(tmp_path / "red.png")
    tensor = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, 10, 20)
    sources = (image, tmp_path / "red.png", str(tmp_path / "red.png"), tensor, tensor[None])
    elements = read(Gallery([Picture(source) for source in sources]))
    for i in range(len(sources)):
        shown = decoded(elements, pil, i)
        assert shown.size == (20, 10) and shown.getpixel((3, 3)) == (255, 0, 0)
        assert elements.all("img")[i]["class"] == "small"


def test_large_pictures_are_made_small_enough_to_pass_on(pil):
    noise = pil.effect_noise((2000, 1500), 80).convert("RGB")
    elements = read(Gallery((Picture(noise),)))
    assert decoded(elements, pil).size == (512, 384)
    assert "class" not in elements.all("img")[0]
    assert len(elements.all("img")[0]["src"]) < 300_000


def test_without_webp_there_is_still_a_picture(pil, monkeypatch):
    from PIL import Image

    real = Image.Image.save

    def save(self, out, kind, **options):
        if kind == "WEBP":
            raise KeyError(kind)
        real(self, out, kind, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    small, large = (read(Gallery((Picture(pil.new("RGB", (n, n), "blue")),))) for n in (20, 400))
    assert small.all("img")[0]["src"].startswith("data:image/png;")
    assert large.all("img")[0]["src"].startswith("data:image/jpeg;")
    assert decoded(small, pil).getpixel((1, 1)) == (0, 0, 255)


def test_a_picture_that_cannot_be_read_leaves_the_rest(pil, tmp_path, caplog):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    gone = Picture(tmp_path / "gone.png", score=1.0)
    elements = read(Gallery((Picture(tmp_path / "broken.png"), gone, Picture(pil.new("RGB", (4, 4))))))
    assert len(elements.all("img")) == 1 and len(elements.all("figure")) == 3
    assert elements.text.count("This picture could not be read.") == 2
    assert "broken.png" in caplog.text and "gone.png" in caplog.text


# ---- charts ----------------------------------------------------------------------------------------------------------


def drawn(*lines: Line) -> Elements:
    return Elements(chart.draw(Chart(lines, "candidates", "score")))


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)]


def test_a_chart_draws_every_point_to_scale():
    elements = drawn(
        Line("best", [(n, 20 + n) for n in range(1, 9)]), Line("expected", ((1, 21), (8, 28)), dashed=True)
    )
    dashed, solid = elements.all("path")  # the first line lies on top
    assert solid["class"] == "line c0" and dashed["class"] == "line c1 dashed"
    places = points(solid["d"])
    assert len(places) == 8 and len(elements.all("circle")) == 8
    steps = {(round(b[0] - a[0], 0), round(b[1] - a[1], 0)) for a, b in pairwise(places)}
    assert len({x for x, _ in steps}) == 1 and all(y < 0 for _, y in steps), "equal steps to the right, rising"
    assert points(dashed["d"])[0] == places[0] and points(dashed["d"])[1] == places[-1]
    assert {"candidates", "score", "1", "8"} <= set(elements.words)


def test_values_can_be_read_out_at_every_x():
    elements = drawn(Line("best", ((1, 20.5), (4, 22.25))), Line("expected", ((4, 21.5),), dashed=True))
    assert [w for w in elements.words if "\n" in w] == [
        "candidates 1\nbest: 20.5",
        "candidates 4\nbest: 22.25\nexpected: 21.5",
    ]
    widths = [float(strip["width"]) for strip in elements.all("rect")]
    assert sum(widths) == pytest.approx(chart.WIDTH - chart.LEFT - chart.RIGHT, abs=0.5)


def test_gaps_single_points_and_nothing():
    [path] = drawn(Line("a", ((1, 1.0), (2, math.nan), (3, 3.0), (4, math.inf), (5, 2.0)))).all("path")
    assert path["d"].count("M") == 3 and path["d"].count("L") == 0
    [path] = drawn(Line("a", ((3, 7.0),))).all("path")
    assert len(points(path["d"])) == 1
    assert "nothing to draw" in drawn(Line("a", ((1, math.nan),))).text
    assert "nothing to draw" in drawn().text


@given(
    st.floats(-1e6, 1e6),
    st.floats(0, 1e6),
    st.integers(2, 12),
)
def test_ticks_cover_the_range_with_few_round_values(low, extent, most):
    high = low + extent
    values = chart.ticks(low, high, most)
    step = values[1] - values[0]
    assert values == sorted(values) and 2 <= len(values) <= most + 3
    if extent > 1e-2:
        assert values[0] <= low + step * 1e-6 and values[-1] >= high - step * 1e-6
        assert values[0] > low - step * 1.001 and values[-1] < high + step * 1.001


@given(st.integers(-50, 50), st.integers(1, 3000))
def test_whole_ticks_are_whole_and_inside(low, extent):
    values = chart.ticks(low, low + extent, 9, whole=True)
    assert values[0] == low and values[-1] <= low + extent and len(values) <= 12
    assert all(value == int(value) for value in values)


# ---- the file --------------------------------------------------------------------------------------------------------


def test_a_report_is_written_whole_and_for_all_to_read(tmp_path):
    path = report.write_report(tmp_path / "new" / "r.html", full())
    assert path.read_text(encoding="utf-8") == report.render(full())
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o644
    report.write_report(path, Report("second"))
    assert "second" in path.read_text(encoding="utf-8")


def test_equal_reports_are_equal_files(pil):
    image = pil.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 20)
    assert report.render(full("a", image)) == report.render(full("a", image))


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    path = report.write_report(tmp_path / "r.html", Report("old"))

    def full_disk(*names: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page.os, "replace", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        report.write_report(path, Report("new"))
    assert "old" in path.read_text(encoding="utf-8") and [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="another folder"):
        report.write_report(tmp_path / "file" / "r.html", Report("x"))


@pytest.mark.skipif(os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may write anywhere")
def test_a_read_only_folder_is_an_output_error(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="another folder"):
        report.write_report(folder / "r.html", Report("x"))


def test_the_report_needs_no_torch_until_there_is_a_picture():
    import subprocess
    import sys
    from pathlib import Path

    code = (
        "import sys, hpskit.report as r; r.render(r.Report('x', sections=[r.Note()])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(report.__file__).parents[2]).returncode == 0
