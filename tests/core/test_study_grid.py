"""The picture of a grid."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from core import _study as made
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from hpskit.errors import StudyError
from hpskit.study import Axis, grid_layout, grid_picture, lettering
from hpskit.study.grid_draw import HIGH, LOW, MARK, MIDDLE, PAPER, picture_of, tint
from hpskit.study.grid_layout import MOST_PIXELS, Shape, most_fields, shape_of
from hpskit.study.lettering import Lettering
from hpskit.study.sheet import ONE_BLOCK, WITHIN_BLOCKS, sheet, some_settings

CROSS = (Axis("sampler", ("euler", "heun", "lcm")), Axis("steps", ("4", "8")))


def has(picture, colour):
    return bool((np.asarray(picture) == np.array(colour, np.uint8)).all(axis=-1).any())


@pytest.fixture
def bitmap(monkeypatch):
    """The only face of Pillow before 10.1."""
    face = ImageFont.load_default_imagefont() if hasattr(ImageFont, "load_default_imagefont") else None
    if face is None:
        pytest.skip("this Pillow has no way to ask for the bitmap font")

    def load(*size):
        if size:
            raise TypeError("load_default() takes 0 positional arguments but 1 was given")
        return face

    monkeypatch.setattr(ImageFont, "load_default", load)


# --- what stands where ------------------------------------------------------------------------------------------------


def test_rows_are_blocks_and_columns_settings():
    study = made.study(3, 2, 2, missing={(1, 0, 1)})
    found = sheet(study, made.analysis(study))
    assert [head.title for head in found.columns] == ["sampler s0", "sampler s1", "sampler s2"]
    assert [head.detail for head in found.columns] == ["reference", "", ""]
    assert [(head.title, head.detail, head.starts) for head in found.rows] == [
        ("a red circle above 0 blue squares", "seed 1000", True),
        ("", "seed 1001", False),
        ("a red circle above 1 blue squares", "seed 1000", True),
        ("", "seed 1001", False),
    ]
    assert found.places[1][1].cell is None
    assert found.places[2][1].cell == next(c for c in study.cells if (c.setting, c.prompt, c.seed) == (1, 1, 0))
    for row in found.places:
        there = [place for place in row if place.cell is not None]
        assert max(there, key=lambda place: place.cell.score).best
        assert sum(place.best for place in row) == 1
    assert [(foot.main, foot.verdict, foot.tone) for foot in found.feet] == [
        ("reference", "", "reference"),
        ("+0.42", "clear", "better"),
        ("+0.12", "leaning", "leaning"),
    ]
    assert (found.note, found.prompt) == ("", "")


def test_the_feet_show_the_interval_that_the_verdict_rests_on():
    study = made.study(2)
    worse = made.comparison("sampler s1", "sampler s0", -0.5, -0.8, -0.2)
    found = sheet(study, made.analysis(study, comparisons=(worse,)))
    assert found.feet[1].detail == "-0.85 to -0.15"
    assert found.feet[1].tone == "worse"


def test_without_an_analysis_the_feet_have_means():
    study = made.study(2, 1, 1)
    cells = tuple(dataclasses.replace(cell, score=20.0 + cell.setting) for cell in study.cells)
    found = sheet(dataclasses.replace(study, cells=cells))
    assert [foot.main for foot in found.feet] == ["-0.50", "+0.50"]
    assert found.prompt == study.prompts[0]
    assert found.rows[0].title == ""


def test_two_axes_and_one_block_cross():
    study = made.study(prompts=1, seeds=1, axes=CROSS)
    found = sheet(study)
    assert [head.title for head in found.columns] == ["sampler euler", "sampler heun", "sampler lcm"]
    assert [head.title for head in found.rows] == ["steps 4", "steps 8"]
    assert study.settings[found.places[1][2].cell.setting].values == {"sampler": "lcm", "steps": "8"}
    assert found.compare == ONE_BLOCK
    assert (found.prompt, found.block) == (study.prompts[0], "seed 1000")
    assert sum(place.best for row in found.places for place in row) == 1


def test_columns_by_an_axis_with_several_blocks():
    study = made.study(prompts=2, seeds=2, axes=CROSS)
    found = sheet(study, columns_by="steps")
    assert [head.title for head in found.columns] == ["steps 4", "steps 8"]
    assert len(found.rows) == 3 * 4
    assert found.rows[0].detail.splitlines() == [study.prompts[0], "seed 1000"]
    assert found.rows[1].detail == ""
    assert found.rows[3].detail == "seed 1001"
    assert found.rows[6].detail.splitlines() == [study.prompts[1], "seed 1000"]
    assert found.compare == WITHIN_BLOCKS


def test_verdicts_by_axis_stand_below_the_columns_and_beside_the_rows():
    study = made.study(prompts=1, seeds=1, axes=CROSS)
    by_axis = {"sampler": (made.comparison("lcm", "euler"),), "steps": (made.comparison("8", "4", -0.3),)}
    found = sheet(study, made.analysis(study, by_axis=by_axis))
    assert [foot.main for foot in found.feet] == ["reference", "", "+0.42"]
    assert [head.detail for head in found.rows] == ["", "-0.30, clear"]


def test_settings_that_do_not_cross_stay_columns():
    study = made.study(prompts=1, seeds=1, axes=CROSS)
    twin = dataclasses.replace(study.settings[1], label="again")
    odd = dataclasses.replace(study, settings=(*study.settings, twin))
    assert len(sheet(odd).columns) == 7
    with pytest.raises(StudyError, match="alike on every axis"):
        sheet(odd, columns_by="sampler")


def test_an_axis_that_is_not_there():
    with pytest.raises(StudyError, match="Did you mean 'sampler'"):
        sheet(made.study(axes=CROSS), columns_by="smapler")
    with pytest.raises(StudyError, match="no axes"):
        sheet(dataclasses.replace(made.study(), axes=()), columns_by="x")


def test_the_best_the_reference_and_the_worst_stay():
    study = dataclasses.replace(made.study(10, 1, 1), reference=4)
    found = made.analysis(study, order=(7, 2, 0, 1, 3, 4, 5, 6, 8, 9))
    assert some_settings(study, found, 4) == [2, 4, 7, 9]
    assert some_settings(study, found, 1) == [7]
    assert some_settings(study, None, 3) == [0, 4, 9]
    shown = sheet(study, found, most_columns=4)
    assert shown.note == "Shown: 4 of 10 settings (the best, the reference, the worst); the table has all."


@pytest.mark.parametrize(("most", "blocks"), [(3, {(0, 0), (1, 0), (2, 0)}), (4, {(0, 0), (0, 1), (1, 0), (2, 0)})])
def test_every_prompt_comes_before_further_seeds(most, blocks):
    found = sheet(made.study(2, 3, 4), most_rows=most)
    assert {(row[0].cell.prompt, row[0].cell.seed) for row in found.places} == blocks


def test_of_many_prompts_some_are_shown_evenly():
    found = sheet(made.study(1, 10, 2), most_rows=3)
    assert [row[0].cell.prompt for row in found.places] == [0, 3, 6]
    assert found.note == "Shown: 3 of 20 rows; the table has all."


# --- the picture ------------------------------------------------------------------------------------------------------


def test_a_picture_has_its_parts():
    study = made.study(3, 2, 4, missing={(2, 0, 0)})
    picture = grid_picture(study, made.analysis(study))
    assert picture.mode == "RGB"
    assert picture.getpixel((0, 0)) == PAPER == picture.getpixel((picture.width - 1, picture.height - 1))
    assert has(picture, MARK)
    assert has(picture, HIGH)


def test_the_same_study_gives_the_same_picture():
    study = made.study(2, 1, 2)
    assert grid_picture(study).tobytes() == grid_picture(study).tobytes()


def test_the_frame_has_the_colour_of_z():
    study = made.study(2, 1, 1)
    cells = tuple(dataclasses.replace(cell, score=float(cell.setting)) for cell in study.cells)
    low, high = tint(-(0.5**0.5)), tint(0.5**0.5)
    picture = grid_picture(dataclasses.replace(study, cells=cells))
    assert has(picture, low) and has(picture, high)
    assert low[0] > low[2] and high[2] > high[0]


@pytest.mark.parametrize(
    ("z", "colour"), [(9.0, HIGH), (-9.0, LOW), (0.0, MIDDLE), (float("nan"), MIDDLE), (float("inf"), MIDDLE)]
)
def test_tints(z, colour):
    assert tint(z) == colour


def test_pictures_are_shown_whole_and_in_their_own_form():
    wide = made.thumbnail((200, 30, 30), (256, 128), "JPEG")
    study = made.study(2, 1, 1)
    cells = tuple(dataclasses.replace(cell, thumbnail=wide, width=1024, height=512) for cell in study.cells)
    assert shape_of(cells) == Shape(1.0, 0.5)
    mixed = [*cells, dataclasses.replace(cells[0], width=512, height=1024)]
    assert shape_of(mixed) == Shape(1.0, 1.0)
    bare = [dataclasses.replace(cell, width=0, height=0) for cell in cells]
    assert shape_of(bare) == Shape(1.0, 0.5)
    assert shape_of([dataclasses.replace(cells[0], width=9999, height=1)]) == Shape(1.0, 0.4)
    assert shape_of([]) == Shape(1.0, 1.0)
    picture = np.asarray(grid_picture(dataclasses.replace(study, cells=cells)))
    red = (np.abs(picture.astype(int) - (200, 30, 30)) < 12).all(axis=-1)
    assert red.any(axis=0).sum() == 512 and red.any(axis=1).sum() == 128


def test_pictures_can_come_from_elsewhere():
    study = made.study(2, 1, 1, pictures=False)
    asked = []

    def find(cell):
        asked.append(cell)
        return Image.new("RGB", (32, 32), (0, 255, 0)) if cell.setting else None

    assert has(grid_picture(study, pictures=find), (0, 255, 0))
    assert asked == list(study.cells)


@pytest.mark.parametrize("data", [made.DAMAGED, b"", b"GIF89a", made.thumbnail((1, 2, 3))[:60]])
def test_damaged_thumbnails_are_left_out(data):
    study = made.study(2, 1, 1)
    cells = (dataclasses.replace(study.cells[0], thumbnail=data, width=0), study.cells[1])
    assert picture_of(cells[0], None) is None
    assert grid_picture(dataclasses.replace(study, cells=cells)).size == grid_picture(study).size


def test_a_picture_that_cannot_be_found_is_left_out():
    def fail(cell):
        raise FileNotFoundError(cell.file)

    grid_picture(made.study(2, 1, 1), pictures=fail)


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "1", "I;16", "F", "CMYK"])
def test_pictures_of_every_mode(mode):
    shown = picture_of(made.study(1, 1, 1).cells[0], lambda cell: Image.new(mode, (8, 8)))
    assert shown.mode == "RGB"


def test_what_is_transparent_shows_the_ground():
    out = io.BytesIO()
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(out, "PNG")
    cell = dataclasses.replace(made.study(1, 1, 1).cells[0], thumbnail=out.getvalue())
    assert picture_of(cell, None).getpixel((0, 0))[0] < 80


@pytest.mark.parametrize("study", [
    made.study(1, 1, 1),
    made.study(1, 3, 2),
    made.study(5, 1, 1, axes=()),
    made.study(2, 1, 1, title="", labels=[made.ODD, made.EVIL]),
    dataclasses.replace(made.study(2, 1, 1, labels=["x" * 5000, "y " * 5000]), prompts=("\n".join("word" * 900),)),
    dataclasses.replace(made.study(2), cells=()),
])  # fmt: skip
def test_odd_studies_have_a_picture(study):
    for found in (None, made.analysis(study), made.unknown(study)):
        picture = grid_picture(study, found, max_side=2000)
        assert max(picture.size) <= 2000


@pytest.mark.parametrize("side", [256, 512, 1300])
def test_no_side_is_longer_than_asked_for(side):
    study = made.study(12, 3, 4)
    assert max(grid_picture(study, made.analysis(study), max_side=side).size) <= side


def test_pictures_grow_to_what_is_asked_for():
    study = made.study(2, 1, 2)
    small, large = (grid_picture(study, side=side) for side in (128, 512))
    assert large.width > 2 * small.width


def test_a_thousand_cells_stay_readable():
    study = made.study(40, 5, 5, pictures=False)
    picture = grid_picture(study)
    assert max(picture.size) <= 8192
    assert picture.width * picture.height <= MOST_PIXELS
    assert picture.width > 40 * grid_layout.READABLE


@pytest.mark.parametrize("shape", [Shape(1.0, 1.0), Shape(1.0, 0.4), Shape(0.6, 1.0)])
def test_tens_of_thousands_of_cells_are_cut(shape):
    columns, rows = most_fields(256, shape, 8192)
    assert 30 <= columns <= 90 and 30 <= rows <= 160


def test_a_large_grid_is_bounded_and_says_so():
    study = made.study(60, 20, 8, pictures=False)
    picture = grid_picture(study, made.analysis(study), max_side=2048)
    assert max(picture.size) <= 2048
    columns, rows = most_fields(256, Shape(1.0, 1.0), 2048)
    assert "settings" in sheet(study, most_columns=columns, most_rows=rows).note


@pytest.mark.parametrize("sizes", [{"side": 10}, {"max_side": 100}])
def test_sizes_too_small(sizes):
    with pytest.raises(StudyError, match="too small"):
        grid_picture(made.study(), **sizes)


# --- letters ----------------------------------------------------------------------------------------------------------


def test_the_old_face_is_enlarged(bitmap):
    assert Lettering(44).width("abc") == 4 * Lettering(11).width("abc")
    study = made.study(2, 1, 1, labels=[made.ODD, "\u00e9t\u00e9"])
    assert grid_picture(study, made.analysis(study)).width > 500


def test_text_is_drawn(bitmap):
    picture = Image.new("RGB", (200, 50))
    Lettering(30).draw(picture, (0, 0), "H", (255, 255, 255))
    assert picture.getbbox()[3] > 20


@given(st.text(st.characters(codec=None), max_size=80), st.integers(1, 300), st.integers(1, 4))
def test_wrapped_lines_fit(text, width, most):
    face = Lettering(14)
    lines = face.wrap(text, width, most)
    assert len(lines) <= most
    for line in lines:
        assert len(line) <= 1 or face.width(line) <= width
    picture = Image.new("RGB", (40, 40))
    for line in lines:
        face.draw(picture, (0, 0), line, (255, 255, 255))


def test_lines_break_at_spaces_and_signs():
    face = Lettering(16)
    assert face.wrap("alpha beta", face.width("alpha be"), 3) == ["alpha", "beta"]
    assert face.wrap("dpmpp_2m_karras", face.width("dpmpp_2m_k"), 3) == ["dpmpp_2m_", "karras"]
    assert face.wrap("alpha beta gamma", face.width("alpha b..."), 1) == ["alpha b..."]
    assert face.wrap("", 100, 3) == []


@pytest.fixture
def no_system(monkeypatch):
    monkeypatch.setattr(lettering, "_system", lambda size: ())


def test_signs_without_a_glyph_are_question_marks(no_system):
    assert Lettering(16).drawable("a\ud83d\u4e2d\x00b\u0301") == "a?? b"
    assert Lettering(16).drawable("caf\u00e9, \u00dcber, \u00b1") == "cafe, Uber, \u00b1"


def test_the_bitmap_face_keeps_latin_1(bitmap, no_system):
    assert Lettering(16).drawable("caf\u00e9 \u4e2d") == "caf\u00e9 ?"


def test_a_face_of_the_system_writes_other_scripts(monkeypatch):
    class Greek:
        def getmask(self, sign):
            return b"\x01" if sign == "\u03b1" else b"\x00"

    monkeypatch.setattr(lettering, "_system", lambda size: ((Greek(), 1.0),))
    assert Lettering(16).drawable("\u03b1 \u4e2d") == "\u03b1 ?"
