"""Images of a plot in their places: every order and cut gives the same design, and what does not fit is explained."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpskit.errors import StudyError
from hpskit.study.plot_layout import ORDERS, arrange, axis_of, parse_labels
from hpskit.study.plot_meaning import read_plot


@pytest.mark.parametrize(
    ("values", "commas", "want"),
    [
        (["euler\nheun\n\n  dpm++ 2m \n"], True, ("euler", "heun", "dpm++ 2m")),
        (["euler, heun,,"], True, ("euler", "heun")),
        (["a cat, sitting"], False, ("a cat, sitting",)),
        (["euler, 8 steps\nheun, 4 steps"], True, ("euler, 8 steps", "heun, 4 steps")),
        (["euler, a", "heun, b"], True, ("euler, a", "heun, b")),
        ([4, 7.5, 10.0], True, ("4", "7.5", "10")),
        ([""], True, ()),
        ([], True, ()),
        (["x" * 500], True, ("x" * 200,)),
    ],
)
def test_labels(values: list[object], commas: bool, want: tuple[str, ...]) -> None:
    assert parse_labels(values, commas=commas) == want


@pytest.mark.parametrize(
    ("labels", "want"),
    [
        (("cfg: 4", "cfg: 7"), ("cfg", ("4", "7"))),
        (("Steps=4", "Steps = 8"), ("Steps", ("4", "8"))),
        (("cfg: 4", "steps: 7"), ("column", ("cfg: 4", "steps: 7"))),
        (("euler", "heun"), ("column", ("euler", "heun"))),
        ((": 4", ": 5"), ("column", (": 4", ": 5"))),
        (("cfg:", "cfg: 7"), ("column", ("cfg:", "cfg: 7"))),
    ],
)
def test_the_name_of_an_axis_is_what_its_labels_share(labels: tuple[str, ...], want: object) -> None:
    axis = axis_of(labels, "column")
    assert (axis.name, axis.values) == want


@given(
    columns=st.integers(2, 5),
    rows=st.integers(1, 5),
    copies=st.integers(1, 3),
    order=st.sampled_from(ORDERS),
    data=st.data(),
)
def test_every_place_is_filled_equally_often_however_the_images_are_cut(
    columns: int, rows: int, copies: int, order: str, data: st.DataObject
) -> None:
    total = columns * rows * copies
    cuts = sorted(data.draw(st.sets(st.integers(1, total - 1), max_size=4)))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)]
    names = [f"c{k}" for k in range(columns)], [f"r{k}" for k in range(rows)]
    found = arrange(*names, sizes, order, "whole grids")  # type: ignore[arg-type]
    assert sorted(found.places) == [(c, r, k) for c in range(columns) for r in range(rows) for k in range(copies)]
    assert found.copies == copies
    first = found.places[: columns * rows]
    want = [(c, r) for c in range(columns) for r in range(rows)]
    if order == "row by row":
        want = [(c, r) for r in range(rows) for c in range(columns)]
    assert [place[:2] for place in first] == want
    assert ("grids" in found.note) == (copies > 1)


def test_without_row_labels_the_images_fill_the_rows() -> None:
    found = arrange(["a", "b"], [], [6])
    assert (found.rows, found.copies) == (("1", "2", "3"), 1)
    assert found.places[:3] == ((0, 0, 0), (1, 0, 0), (0, 1, 0))
    by_column = arrange(["a", "b"], [], [3, 3], "column by column", "whole grids")
    assert by_column.places == ((0, 0, 0), (0, 1, 0), (0, 2, 0), (1, 0, 0), (1, 1, 0), (1, 2, 0))


def test_a_batch_for_every_place() -> None:
    found = arrange(["a", "b"], [], [3, 3])
    assert found.places == ((0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 0), (1, 0, 1), (1, 0, 2))
    assert found.rows == ("1",) and found.copies == 3 and "batch" in found.note
    grid = arrange(["a", "b"], ["x", "y"], [3] * 4)
    assert [place[:2] for place in grid.places[::3]] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    asked = arrange(["a", "b"], ["x", "y"], [4] * 4, "column by column", "one place each")
    assert [place[:2] for place in asked.places[::4]] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_list_of_single_images_is_a_grid() -> None:
    assert arrange(["a", "b"], ["x"], [1, 1]).copies == 1
    assert arrange(["a", "b"], ["x", "y"], [1] * 8).copies == 2


@pytest.mark.parametrize(
    ("columns", "rows", "sizes", "batches", "words"),
    [
        (
            ["a", "b", "c"],
            ["x", "y"],
            [5],
            "auto",
            r"3 columns x 2 rows make 6 places, but there are 5 images.*Connect 6",
        ),
        (["a", "b"], ["x", "y"], [6], "auto", r"4 places.*6 images.*Connect 4 or 8 images, or give 3 row labels"),
        (["a", "b", "c"], ["x", "y"], [4], "auto", r"Connect 6 images, or give 2 column labels"),
        (["a", "b"], [], [5], "auto", r"5 images cannot stand in 2 columns: that leaves 1 over. Connect 4 or 6"),
        ([], ["x"], [5], "auto", r"no column labels.*`columns`"),
        (["a", "b"], [], [], "auto", r"no images"),
        (["a", "b", "a"], [], [3], "auto", r'Two columns are called "a"'),
        (["a", "b"], ["x", "x"], [4], "auto", r'Two rows are called "x"'),
        (["a", "b"], [], [2, 2], "auto", r"two ways.*`batches`"),
        (["a", "b"], ["x", "y"], [4] * 4, "auto", r"two ways.*`batches`"),
        (["a", "b"], [], [2, 3], "one place each", r"2 to 3 images.*equally many"),
        (["a", "b"], ["x", "y"], [3] * 3, "one place each", r"3 batches for 2 columns x 2 rows"),
        (["a", "b"], [], [3], "one place each", r"1 batches for 2 columns"),
    ],
)
def test_what_does_not_fit_is_explained(
    columns: list[str], rows: list[str], sizes: list[int], batches: str, words: str
) -> None:
    with pytest.raises(StudyError, match=words):
        arrange(columns, rows, sizes, "row by row", batches)  # type: ignore[arg-type]


def test_rows_that_are_seeds() -> None:
    plot = read_plot(arrange(["cfg: 4", "cfg: 7"], ["11", "12"], [4]), "seeds", ["a cat"])
    assert [setting.label for setting in plot.settings] == ["cfg: 4", "cfg: 7"]
    assert plot.settings[1].values == {"cfg": "7"} and plot.axes[0].values == ("4", "7")
    assert (plot.prompts, plot.seeds) == (("a cat",), ("11", "12"))
    assert plot.places == ((0, 0, 0), (1, 0, 0), (0, 0, 1), (1, 0, 1))
    several = read_plot(arrange(["a", "b"], ["11", "12"], [8]), "seeds", ["a cat"])
    assert several.seeds == ("11 (1)", "11 (2)", "12 (1)", "12 (2)")
    assert len(set(several.places)) == 8 and several.places[4] == (0, 0, 1)
    batch = read_plot(arrange(["a", "b"], [], [3, 3]), "seeds", ["a cat"])
    assert batch.seeds == ("1", "2", "3") and batch.places[4] == (1, 0, 1)


def test_rows_that_are_prompts() -> None:
    plot = read_plot(arrange(["a", "b"], ["one", "two"], [8]), "prompts", ["a cat", "a dog"])
    assert (plot.prompts, plot.seeds) == (("a cat", "a dog"), ("1", "2"))
    assert plot.places[3] == (1, 1, 0) and plot.places[7] == (1, 1, 1)


def test_rows_that_are_settings() -> None:
    plot = read_plot(arrange(["euler", "heun"], ["cfg: 4", "cfg: 7"], [4]), "settings", ["a cat"])
    assert [setting.label for setting in plot.settings] == [
        "euler, cfg: 4",
        "heun, cfg: 4",
        "euler, cfg: 7",
        "heun, cfg: 7",
    ]
    assert [axis.name for axis in plot.axes] == ["column", "cfg"]
    assert plot.settings[2].values == {"column": "euler", "cfg": "7"}
    assert plot.places == ((0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0))
    same = read_plot(arrange(["cfg: 4", "cfg: 7"], ["cfg: 1", "cfg: 2"], [4]), "settings", ["a cat"])
    assert len({axis.name for axis in same.axes}) == 2 and len(same.settings[0].values) == 2
    commas = read_plot(arrange(["a, b", "a"], ["c", "b, c"], [4]), "settings", ["a cat"])
    assert len({setting.label for setting in commas.settings}) == 4


@pytest.mark.parametrize(
    ("rows_are", "prompts", "words"),
    [
        ("seeds", ["a", "b"], r'2 prompts, but rows that are seeds share one.*"prompts"'),
        ("settings", [], r"0 prompts"),
        ("prompts", ["a"], r"2 rows but 1 prompts"),
        ("prompts", ["a", "a"], r'same prompt \("a"\).*"seeds"'),
        ("prompts", ["a cat", " A  cat"], r'same prompt \(" A  cat"\).*"seeds"'),
    ],
)
def test_prompts_that_do_not_fit_the_rows(rows_are: str, prompts: list[str], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        read_plot(arrange(["x", "y"], ["1", "2"], [4]), rows_are, prompts)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows_are", ["seeds", "prompts"])
def test_one_column_is_nothing_to_compare(rows_are: str) -> None:
    with pytest.raises(StudyError, match="one column only"):
        read_plot(arrange(["x"], ["1"], [1]), rows_are, ["a"])  # type: ignore[arg-type]


def test_one_setting_is_nothing_to_compare() -> None:
    with pytest.raises(StudyError, match="one setting only"):
        read_plot(arrange(["x"], ["1"], [3]), "settings", ["a"])
