"""The report of a study, its plot of intervals and its grid of pictures."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import re

import pytest
from core import _study as made
from PIL import Image

from hpskit.report import Chart, Facts, Field, Foot, Forest, Head, Headline, Matrix, Note, Report, Span, Table, Text
from hpskit.report import forest as forests
from hpskit.report import matrix as matrices
from hpskit.report import page as pages
from hpskit.report.pictures import inline
from hpskit.study import NO_EVIDENCE, Axis, analyse, study_report
from hpskit.study.page import MOST_CELLS, leading
from hpskit.study.page_pictures import MOST_PICTURES, MOST_SPANS

CROSS = (Axis("sampler", ("euler", "heun")), Axis("steps", ("4", "8")))
SPAN = Span("heun", 0.4, (0.2, 0.6), (0.1, 0.7), "clear", "better", 0.3)


def of(report, kind):
    return [section for section in report.sections if isinstance(section, kind)]


def drawn(*sections):
    return pages.render(Report("t", sections=sections))


# --- the report -------------------------------------------------------------------------------------------------------


def test_the_order_of_the_sections():
    study = made.study(axes=CROSS)
    by_axis = {"sampler": (made.comparison("heun", "euler"),)}
    report = study_report(study, made.analysis(study, by_axis=by_axis))
    assert [type(section) for section in report.sections] == [
        *(Headline, Note, Note, Forest, Matrix, Table, Forest, Table, Chart, Table, Facts, Text)
    ]
    assert report.title == "Samplers"
    assert report.intro == "sampler heun, steps 8 is clearly ahead."
    assert study_report(study, made.analysis(study), title="Mine").title == "Mine"


def test_the_headline_gives_best_difference_verdict_and_detectable():
    study = made.study(3)
    found = made.comparison("sampler s2", "sampler s0", 0.62, 0.2, 1.0, pairs_needed=90)
    report = study_report(study, made.analysis(study, comparisons=(made.comparison("sampler s1"), found)))
    figures = of(report, Headline)[0].figures
    assert [figure.value for figure in figures] == ["sampler s2", "+0.62", "clear: better"]
    assert figures[1].detail == "95 % interval +0.15 to +1.05"
    assert figures[2].detail == "p 0.025, wins 75 % of 8 pairs"
    open_one = dataclasses.replace(found, verdict=NO_EVIDENCE)
    figures = of(study_report(study, made.analysis(study, comparisons=(open_one,))), Headline)[0].figures
    assert figures[3].value == "0.30"
    assert figures[3].detail == "if the measured one is real, about 90 pairs would show it"
    hopeless = dataclasses.replace(open_one, detectable=math.inf)
    assert len(of(study_report(study, made.analysis(study, comparisons=(hopeless,))), Headline)[0].figures) == 3


def test_where_the_reference_is_the_best_the_next_one_is_shown():
    study = made.study(3)
    found = made.analysis(study, order=(0, 2, 1), contenders=(0, 2))
    assert leading(study, found).label == "sampler s2"
    figures = of(study_report(study, found), Headline)[0].figures
    assert figures[0].value == "sampler s0"
    assert figures[0].detail == "of 3 settings; 1 more may be the best"
    assert figures[1].label == "points, sampler s2: against sampler s0"


def test_warnings_and_notes_are_said_once():
    study = made.study(notes=("Two prompts are few.", "Made by hand."))
    note, always = of(study_report(study, made.analysis(study)), Note)
    assert note.body == "Two prompts are few.\n\nMade by hand."
    assert always == Note()


def test_three_notes_stand_before_the_pictures_and_the_others_after():
    study = made.study(notes=tuple(f"Note {n}." for n in range(6)))
    sections = study_report(study, made.analysis(study)).sections
    more = next(section for section in sections if isinstance(section, Text) and section.title == "More notes")
    assert of(study_report(study, made.analysis(study)), Note)[0].body.count("\n\n") == 2
    assert more.body.startswith("Note 2.") and more.body.endswith("Note 5.")
    assert sections.index(more) > next(n for n, section in enumerate(sections) if isinstance(section, Matrix))


def test_standings_have_every_figure():
    study = made.study(2, part_names={"pick": "PickScore"})
    standings = [dataclasses.replace(one, parts={"pick": 0.25}, contrast=0.2) for one in made.analysis(study).standings]
    table = of(study_report(study, made.analysis(study, standings=tuple(standings))), Table)[0]
    names = [column if isinstance(column, str) else column.name for column in table.columns]
    assert names == [
        *("rank", "setting", "cells", "vs mean", "z", "win rate %", "Elo", "+-", "mean rank", "p", "p adjusted"),
        *("vs mean, PickScore", "contrast"),
    ]
    first = [value if isinstance(value, str) else round(value, 4) for value in table.rows[0]]
    assert first == [1, "sampler s1", 8, 0.0, 0.0, 75.0, 17.4, 8.6859, 2.0, 0.0123, 0.0246, 0.25, 0.2]
    assert table.rows[1][1] == "sampler s0 (reference)"
    assert table.rows[1][5] is None
    assert table.marked == frozenset({0})


def test_axes_are_named_where_all_comparisons_stand_together():
    study = made.study(axes=CROSS)
    found = made.analysis(study, by_axis={"steps": (made.comparison("8", "4"),)})
    table = of(study_report(study, found), Table)[1]
    assert list(table.rows[-1][:2]) == ["steps 8", "steps 4"]


def test_curves_of_a_few_settings():
    study = made.study(9, 1, 3)
    chart = of(study_report(study, made.analysis(study)), Chart)[0]
    assert [line.name for line in chart.lines] == [f"sampler s{n}" for n in (8, 7, 6, 5, 0)]
    assert chart.lines[-1].points == [(1, 0.0), (2, 0.5), (3, 0.7)]
    assert "4 more are left out" in chart.note
    alone = dataclasses.replace(made.analysis(study), standings=made.unknown(study).standings)
    assert not of(study_report(study, alone), Chart)


def test_how_to_read_says_what_matters():
    shared = made.study()
    text = of(study_report(shared, made.analysis(shared)), Text)[0].body
    assert "from the same starting noises. So" in text
    apart = dataclasses.replace(shared, seeds_shared=False)
    assert "but not from the same starting noises" in of(study_report(apart, made.analysis(apart)), Text)[0].body
    for words in ("Only images of one prompt compare", "looks better than it is", "no evidence"):
        assert words in text


def test_large_studies_are_bounded():
    study = made.study(60, 20, 2)
    report = study_report(study, made.analysis(study))
    matrix, table = of(report, Matrix)[0], of(report, Table)[-1]
    assert sum(len(row) for row in matrix.fields) <= MOST_PICTURES
    assert len({row[0].caption for row in matrix.fields}) == len(matrix.fields)
    assert "of 60 settings (the best, the reference, the worst) and" in matrix.note
    assert len(table.rows) == MOST_CELLS
    assert f"The first 1,000 of {len(study.cells):,}" in table.note
    assert table.folded
    spans = of(report, Forest)[0]
    assert len(spans.spans) == MOST_SPANS
    assert "40 of 59" in spans.note
    assert len(pages.render(report)) < 3_000_000


@pytest.mark.parametrize("study", [
    made.study(1, 1, 1),
    made.study(2, 1, 1, pictures=False),
    made.study(3, 2, 2, missing={(0, 0, 0), (1, 1, 1)}),
    made.study(2, 1, 1, labels=[made.ODD, made.EVIL], title=made.EVIL, notes=(made.ODD,)),
    dataclasses.replace(made.study(2, 1, 1, labels=["x" * 5000, "y " * 5000]), prompts=("word\n" * 2000,)),
])  # fmt: skip
def test_odd_studies_have_a_report(study):
    for found in (made.analysis(study), made.unknown(study)):
        html = pages.render(study_report(study, found))
        html.encode("utf-8")
        assert "<script>alert" not in html and "<img src=x" not in html
        assert "nan" not in re.sub(r"<script>.*|data:[^\"]*", "", html, flags=re.S).lower().replace("finance", "")


def test_every_text_is_escaped():
    study = made.study(2, 1, 1, axes=(Axis(made.EVIL, ("a", "b")),), labels=[made.EVIL, made.EVIL + "2"])
    study = dataclasses.replace(
        study,
        title=made.EVIL,
        prompts=(made.EVIL,),
        seeds=(made.EVIL,),
        scorer=dataclasses.replace(made.SCORER, name=made.EVIL, domain=made.EVIL),
        notes=(made.EVIL,),
        facts=((made.EVIL, made.EVIL),),
        part_names={"p": made.EVIL},
        cells=tuple(dataclasses.replace(cell, parts={"p": 1.0}) for cell in study.cells),
    )
    words = {"headline": made.EVIL, "warnings": (made.EVIL + "!",)}
    found = made.analysis(study, by_axis={made.EVIL: (made.comparison(made.EVIL, made.EVIL),)}, **words)
    html = pages.render(study_report(study, found))
    assert html.count("<script>") == 1
    assert "onerror" in html and "<img src=x" not in html


def test_a_real_analysis_makes_a_report():
    study = made.study(3, 3, 3)
    report = study_report(study, analyse(study, draws=200))
    assert len(of(report, Forest)[0].spans) == 2
    assert pages.render(report).startswith("<!doctype html>")


def test_damaged_and_absent_thumbnails():
    study = made.study(2, 1, 2)
    cells = list(study.cells)
    cells[0] = dataclasses.replace(cells[0], thumbnail=made.DAMAGED)
    cells[1] = dataclasses.replace(cells[1], thumbnail=None)
    html = pages.render(study_report(dataclasses.replace(study, cells=tuple(cells)), made.analysis(study)))
    assert html.count('class="absent"') == 2
    assert html.count("<img ") == 2


def test_pictures_from_elsewhere_are_small():
    study = made.study(1, 1, 1, pictures=False)
    report = study_report(study, made.analysis(study), pictures=lambda cell: Image.new("RGB", (900, 600), "red"))
    assert of(report, Matrix)[0].fields[0][0].image.size == (256, 171)


# --- the plot of intervals --------------------------------------------------------------------------------------------


def numbers(pattern, html):
    found = (re.match(pattern, html[at:]) for at in range(len(html)))
    return [tuple(map(float, one.groups())) for one in found if one]


def test_intervals_lie_where_the_figures_say():
    spans = [SPAN, dataclasses.replace(SPAN, label="lcm", value=-1.0, interval=(-1.5, -0.5), outer=(-2.0, 0.0))]
    html = forests.draw(Forest(spans, "points"))
    zero = numbers(r'class="zero" x1="([\d.]+)"', html)[0][0]
    points = [x for (x,) in numbers(r'class="point \w+" cx="([\d.]+)"', html)]
    unit = (points[0] - zero) / 0.4
    assert points[1] == pytest.approx(zero - unit, abs=0.2)
    thick = numbers(r'class="thick \w+" x1="([\d.]+)" x2="([\d.]+)"', html)
    assert thick[0] == pytest.approx((zero + 0.2 * unit, zero + 0.6 * unit), abs=0.2)
    thin = numbers(r'class="thin \w+" x1="([\d.]+)" x2="([\d.]+)"', html)
    assert thin[1] == pytest.approx((zero - 2 * unit, zero), abs=0.2)
    blur = numbers(r'class="blur" x="([\d.]+)" y="0" width="([\d.]+)"', html)
    assert blur[0] == pytest.approx((zero - 0.3 * unit, 0.6 * unit), abs=0.2)
    assert "+0.10 to +0.70" in html


def test_what_is_not_finite_is_not_drawn():
    nan = math.nan
    html = forests.draw(Forest([Span("a", nan, (nan, nan), (nan, nan), NO_EVIDENCE)], "points"))
    assert "<circle" not in html and "<svg" not in html
    assert NO_EVIDENCE in html
    half = forests.draw(Forest([Span("a", 1.0, (-math.inf, math.inf), (nan, 1e301), blur=math.inf)], "points"))
    assert "<circle" in half and "thick" not in half and "blur" not in half
    assert forests.NOTHING in forests.draw(Forest([], "points"))


# --- the grid of pictures ---------------------------------------------------------------------------------------------


def test_a_matrix_has_heads_fields_and_feet():
    field = Field(made.thumbnail((9, 9, 9)), "27.10", 1.3, True, "euler, seed 7")
    feet = [Foot("reference", tone="reference"), Foot("+0.4", "-0.1 to +0.9", "leaning", "leaning")]
    columns = [Head("euler", "reference"), Head("heun")]
    matrix = Matrix(columns, [Head("a cat", "seed 7")], [[field, None]], feet)
    html = matrices.draw(matrix)
    assert '<th scope="col" dir="auto"><span class="title">euler</span><small>reference</small></th>' in html
    assert 'class="tile z+3 best-tile"' in html
    assert 'alt="euler, seed 7"' in html
    assert "z +0.0" in matrices.draw(dataclasses.replace(matrix, fields=[[dataclasses.replace(field, z=-0.01), None]]))
    assert "z +1.3" in html and "not made" in html
    assert '<small class="tone leaning">leaning</small>' in html


@pytest.mark.parametrize(
    ("z", "name"), [(0.0, "z+0"), (-0.6, "z-1"), (5.0, "z+4"), (-2.0, "z-4"), (math.nan, "z+0"), (1.9, "z+4")]
)
def test_shades(z, name):
    assert matrices.shade(z) == name
    assert f".{name.replace('+', chr(92) + '+')} {{" in pages._asset("style.css")


def test_thumbnails_go_in_as_they_are():
    data = made.thumbnail((1, 2, 3), (200, 100), "JPEG")
    found = inline(data, 256)
    assert base64.b64decode(found.address.partition(",")[2]) == data
    assert (found.width, found.height, found.small) == (200, 100, False)


def test_thumbnails_lose_what_they_carry():
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "a secret prompt"
    Image.new("RGB", (40, 40)).save(out, "JPEG", exif=exif)
    shown = base64.b64decode(inline(out.getvalue()).address.partition(",")[2])
    assert b"secret" in out.getvalue() and b"secret" not in shown


def test_large_thumbnails_are_made_smaller():
    assert inline(made.thumbnail((1, 2, 3), (900, 300)), 256).width == 256
    assert inline(made.DAMAGED) is None


def test_only_tables_that_sort_have_buttons():
    html = drawn(Forest([SPAN], "points"), Table(["a"], [["b"]], "t", folded=True))
    assert html.count('<th scope="col"><button') == 1
    assert "<details><summary>t (1 rows)</summary>" in html
    assert 'querySelectorAll("table:not(.still)")' in html
