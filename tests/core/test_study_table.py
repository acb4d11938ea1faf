"""A study as plain text."""

from __future__ import annotations

import dataclasses
import re

import pytest
from core import _study as made
from hypothesis import given
from hypothesis import strategies as st

from hpskit.study import CLEAR, LEANING, NO_EVIDENCE, Axis, analyse, shown, table_text
from hpskit.study.table import WIDTH

WORDS = st.text(st.characters(codec=None), max_size=300)


def test_the_whole_text():
    study = made.study(3, notes=("Made by hand.",))
    assert table_text(study, made.analysis(study)) == (
        "Samplers\n"
        "3 settings x 2 prompts x 4 seeds, HPS v2.1\n"
        "\n"
        "sampler s2 is clearly ahead.\n"
        "\n"
        "Settings, highest mean first, in points against the mean of the block (* may be the best)\n"
        "  #  setting       cells  vs mean      z  Elo  +-  mean rank\n"
        "  1  sampler s2 *      8    +0.20  +0.30   35   9        2.0\n"
        "  2  sampler s1        8     0.00   0.00   17   9        2.0\n"
        "  3  sampler s0        8    -0.20  -0.30    0   9        2.0\n"
        "  Elo counts blocks won, not points: 0 is the middle, +100 wins 64 % of blocks; +- is its standard error.\n"
        "\n"
        "Against sampler s0\n"
        "  setting     difference     95 % (Holm)      p  p adj  wins  pairs  detectable  verdict\n"
        "  sampler s1       +0.42  +0.05 to +0.79  0.012  0.025  75 %      8           -  clear: better\n"
        "  sampler s2       +0.12  -0.25 to +0.49  0.012  0.025  75 %      8        0.30  leaning better\n"
        "\n"
        "- Two prompts are few.\n"
        "- Made by hand.\n"
        "- The intervals are over prompts: they hold for prompts like these."
    )


def test_comparisons_by_axis_have_their_own_table():
    study = made.study(axes=(Axis("sampler", ("euler", "heun")), Axis("steps", ("4", "8"))))
    found = made.analysis(study, by_axis={"sampler": (made.comparison("heun", "euler"),), "steps": ()})
    text = table_text(study, found)
    assert "sampler alone, against euler (other axes averaged)\n  setting" in text
    assert "steps alone" not in text


def test_missing_cells_are_counted():
    study = made.study(missing={(0, 0, 0), (1, 1, 2)})
    assert "3 settings x 2 prompts x 4 seeds, HPS v2.1, 2 cells missing" in table_text(study, made.analysis(study))


def test_what_is_not_known_is_a_dash():
    study = made.study()
    lines = table_text(study, made.unknown(study)).splitlines()
    row = next(line for line in lines if line.endswith("no pairs"))
    assert row.split() == ["sampler", "s1", "-", "-", "-", "-", "-", "0", "-", "no", "pairs"]
    assert "nan" not in "\n".join(lines).lower()


def test_one_setting_and_one_prompt():
    study = made.study(1, 1, 1)
    text = table_text(study, made.analysis(study, units="seeds", contenders=(0,)))
    assert "1 setting x 1 prompt x 1 seed" in text
    assert "Against" not in text
    assert text.endswith("- Two prompts are few."), "that seeds are the units is said by a warning"


def test_long_labels_lose_their_middle_and_the_lines_keep_their_width():
    labels = [f"{'a very long name of a LoRA ' * 8}at {n}" for n in range(3)]
    study = made.study(labels=labels)
    text = table_text(study, made.analysis(study, headline="word " * 60))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert re.search(r"  a very long name of.*\.\.\..* LoRA at 2 ", text)


def test_hundreds_of_settings_are_bounded():
    study = made.study(200, 1, 1, pictures=False)
    text = table_text(study, made.analysis(study))
    assert "  and 140 more settings\n" in text
    assert "  and 139 more comparisons\n" in text
    assert len(text.splitlines()) < 150


def test_odd_labels_stay_on_their_line():
    study = made.study(labels=[made.ODD, made.EVIL, "plain"], title=made.ODD)
    text = table_text(study, made.analysis(study))
    assert text.replace("\n", "").isprintable()
    assert "\u202e" not in text
    text.encode("utf-8")


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_real_analysis_is_printed(seeds):
    study = made.study(3, 3, seeds)
    text = table_text(study, analyse(study, draws=200))
    assert text.isascii()
    assert all(setting.label in text for setting in study.settings)


@pytest.mark.parametrize(("verdict", "difference", "words"), [
    (CLEAR, 0.4, "clear: better"), (CLEAR, -0.4, "clear: worse"), (LEANING, 0.4, "leaning better"),
    (LEANING, -0.4, "leaning worse"), (NO_EVIDENCE, -0.4, "no evidence"), (NO_EVIDENCE, float("nan"), "no evidence"),
])  # fmt: skip
def test_verdicts_say_which_way(verdict, difference, words):
    assert shown.verdict_words(made.comparison(difference=difference, verdict=verdict)) == words


@pytest.mark.parametrize("shared", [True, False])
def test_no_note_is_said_twice(shared):
    study = made.study(3, 1, 6, seeds_shared=shared)
    notes = [line for line in table_text(study, analyse(study, draws=200)).splitlines() if line.startswith("- ")]
    assert sum("prompt only" in note or "prompts only" in note for note in notes) == 1
    assert sum("noise" in note or "paired" in note for note in notes) == (not shared)


@given(WORDS, st.integers(3, 60))
def test_shortening_never_exceeds_the_width(text, width):
    for found in (shown.shorten(text, width), shown.excerpt(text, width)):
        assert shown.columns_of(found) <= width
        assert shown.plain(found) == found
        found.encode("utf-8")


def test_shortening_keeps_both_ends():
    assert shown.shorten("abcdefghijklmnop", 9) == "abc...nop"
    assert shown.excerpt("abcdefghijklmnop", 9) == "abcdef..."
    assert shown.shorten("\u4e2d\u6587\u4e2d\u6587\u4e2d\u6587", 9) == "\u4e2d...\u6587"


def test_z_and_best_are_those_of_the_block():
    study = made.study(3, 1, 2)
    scores = {(0, 0): 1.0, (1, 0): 2.0, (2, 0): 3.0, (0, 1): 5.0, (1, 1): 5.0, (2, 1): 5.0}
    cells = tuple(dataclasses.replace(cell, score=scores[cell.setting, cell.seed]) for cell in study.cells)
    study = dataclasses.replace(study, cells=cells)
    assert shown.block_z(study)[:, 0, 0].tolist() == [-1.0, 0.0, 1.0]
    assert shown.block_z(study)[:, 0, 1].tolist() == [0.0, 0.0, 0.0]
    assert shown.block_best(study)[:, 0, 0].tolist() == [False, False, True]
    assert not shown.block_best(study)[:, 0, 1].any()


def test_z_of_what_is_alone_or_not_scored_is_not_known():
    study = made.study(2, 1, 2, missing={(0, 0, 1)})
    cells = tuple(dataclasses.replace(cell, score=float("nan")) if cell.setting else cell for cell in study.cells)
    z = shown.block_z(dataclasses.replace(study, cells=cells))
    assert (z != z).all()


@pytest.mark.parametrize(
    ("value", "text"), [(0.421, "+0.42"), (-0.001, "0.00"), (float("nan"), "-"), (float("inf"), "-"), (-3.0, "-3.00")]
)
def test_signed_numbers(value, text):
    assert shown.signed(value) == text
