"""A study as JSON and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math

import pytest
from core import _study as made
from hypothesis import given, settings
from hypothesis import strategies as st

from hpskit.errors import OutputError, StudyError
from hpskit.study import Axis, Cell, Setting, Study, from_json, to_json, write_csv, write_json
from hpskit.study.export import csv_text

TEXT = st.text(st.characters(codec=None), max_size=12)
NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.just(math.nan)
NAMES = st.dictionaries(TEXT, TEXT, max_size=2)


@st.composite
def studies(draw):
    sizes = [draw(st.integers(1, 3)) for _ in range(3)]
    labels = draw(st.lists(TEXT, min_size=sizes[0], max_size=sizes[0], unique=True))
    places = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    cells = [
        Cell(
            *place,
            score=draw(NUMBER),
            parts=draw(st.dictionaries(TEXT, NUMBER, max_size=2)),
            width=draw(st.integers(0, 9999)),
            contrast=draw(st.none() | st.floats(0, 1)),
            file=draw(TEXT),
            entry=draw(st.none() | st.integers(0, 2**62)),
        )
        for place in draw(st.lists(places, unique=True, max_size=6))
    ]
    return Study(
        title=draw(TEXT),
        axes=tuple(draw(st.lists(st.builds(Axis, TEXT, st.tuples(TEXT, TEXT)), max_size=2))),
        settings=tuple(Setting(label, draw(NAMES)) for label in labels),
        prompts=tuple(draw(st.lists(TEXT, min_size=sizes[1], max_size=sizes[1]))),
        seeds=tuple(draw(st.lists(TEXT, min_size=sizes[2], max_size=sizes[2]))),
        cells=tuple(cells),
        scorer=dataclasses.replace(made.SCORER, name=draw(TEXT), logit_scale=draw(st.none() | st.floats(1, 200))),
        reference=draw(st.integers(0, sizes[0] - 1)),
        part_names=draw(NAMES),
        notes=tuple(draw(st.lists(TEXT, max_size=2))),
        facts=tuple(draw(st.lists(st.tuples(TEXT, TEXT), max_size=2))),
        seeds_shared=draw(st.booleans()),
    )


def same_nan(study):
    """NaN differs from itself unless it is the same object."""
    cells = [
        dataclasses.replace(
            cell,
            score=math.nan if cell.score != cell.score else cell.score,
            parts={name: math.nan if value != value else value for name, value in cell.parts.items()},
        )
        for cell in study.cells
    ]
    return dataclasses.replace(study, cells=tuple(cells))


@settings(max_examples=80, deadline=None)
@given(studies())
def test_json_reads_back(study):
    text = json.dumps(to_json(study), allow_nan=False)
    assert text.isascii()
    assert same_nan(from_json(json.loads(text))) == same_nan(study)


@settings(max_examples=40, deadline=None)
@given(studies())
def test_csv_has_a_row_a_cell_and_no_formula(study):
    rows = list(csv.reader(io.StringIO(csv_text(study))))
    assert len(rows) == 1 + len(study.cells)
    assert len({len(row) for row in rows}) == 1
    assert len(set(rows[0])) == len(rows[0])
    for value in (value for row in rows for value in row):
        assert not value.startswith(("=", "+", "@", "\t", "\r", "\n"))
        assert not value.startswith("-") or float(value) < 0


def test_json_has_the_analysis_and_no_pictures():
    study = made.study(2, 1, 1)
    data = to_json(study, made.unknown(study))
    assert data["format"] == "hps-study/1"
    assert data["analysis"]["comparisons"][0]["difference"] is None
    assert data["analysis"]["comparisons"][0]["interval"] == {"low": None, "high": None}
    assert data["seeds"] == ["1000"]
    assert "thumbnail" not in data["cells"][0]
    assert to_json(study)["analysis"] is None
    assert from_json(data) == dataclasses.replace(
        study, cells=tuple(dataclasses.replace(cell, thumbnail=None) for cell in study.cells)
    )


def test_members_that_are_not_known_are_ignored():
    data = to_json(made.study(pictures=False)) | {"later": 1}
    data["cells"][0]["later"] = [1]
    assert from_json(data) == made.study(pictures=False)


def drop(name):
    return lambda data: data.pop(name)


def put(value, *path):
    def change(data):
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (put("hps-study/2", "format"), "hps-study/1"),
        (drop("settings"), "settings"),
        (drop("scorer"), "scorer"),
        (put([], "prompts"), "prompts"),
        (put("seeds", "seeds"), "seeds"),
        (put([7], "prompts"), r"prompts\[0\]"),
        (put(9, "reference"), "reference"),
        (put(True, "reference"), "reference"),
        (put({"label": "sampler s0"}, "settings", 1), "label"),
        (put({"values": {}}, "settings", 1), r"settings\[1\].label"),
        (put({"label": "x", "values": {"a": 1}}, "settings", 1), r"settings\[1\].values"),
        (put(3, "cells", 0, "setting"), r"cells\[0\]"),
        (put(-1, "cells", 2, "seed"), r"cells\[2\]"),
        (put(0.5, "cells", 0, "prompt"), r"cells\[0\].prompt"),
        (put("24.1", "cells", 0, "score"), r"cells\[0\].score"),
        (put(10**400, "cells", 0, "score"), r"cells\[0\].score"),
        (put({"a": "b"}, "cells", 0, "parts"), r"cells\[0\].parts"),
        (put(None, "cells", 0), r"cells\[0\]"),
        (put([["a"]], "facts"), "facts"),
        (put("yes", "seeds_shared"), "seeds_shared"),
        (put(None, "scorer", "id"), "scorer.id"),
        (put([{"name": "a"}], "axes"), r"axes\[0\].values"),
    ],
)
def test_damaged_files_name_the_place(change, place):
    data = json.loads(json.dumps(to_json(made.study(pictures=False))))
    change(data)
    with pytest.raises(StudyError, match=place):
        from_json(data)


@pytest.mark.parametrize("data", [None, [], "text", 7, {}, {"format": "x" * 10_000}])
def test_other_files_are_refused(data):
    with pytest.raises(StudyError) as raised:
        from_json(data)
    assert len(str(raised.value)) < 300


def test_a_cell_twice_is_refused():
    data = to_json(made.study(pictures=False))
    data["cells"].append(data["cells"][0])
    with pytest.raises(StudyError, match=r"cells\[24\].*no two cells"):
        from_json(data)


def test_a_design_that_no_memory_holds_is_refused():
    data = to_json(made.study(pictures=False))
    data["prompts"], data["seeds"] = ["p"] * 3000, ["s"] * 3000
    with pytest.raises(StudyError, match="5,000,000"):
        from_json(data)


def test_a_design_that_is_nearly_all_gaps_shrinks_to_its_cells():
    study = made.study(3, 2, 4, pictures=False, missing=[(s, p, k) for s in range(3) for p in range(2) for k in (1, 2)])
    data = to_json(study)
    data["prompts"] += [f"p{k}" for k in range(7)]
    data["seeds"] += [f"s{k}" for k in range(30_000)]
    found = from_json(data)
    assert (found.prompts, found.seeds, found.settings) == (study.prompts, ("1000", "1003"), study.settings)
    assert [(c.setting, c.prompt, c.seed, c.score) for c in found.cells] == [
        (c.setting, c.prompt, {0: 0, 3: 1}[c.seed], c.score) for c in study.cells
    ]
    assert found.notes[-1] == "Prompts without any image are left out: 7; seeds: 30002."
    data["settings"] += [{"label": f"x{k}", "values": {}} for k in range(10)]
    assert from_json(data).settings == study.settings
    with pytest.raises(StudyError, match="cells"):
        from_json(data | {"cells": []})
    names = [f"n{k}" for k in range(400)]
    scattered = [cell | {"setting": k % 3, "prompt": k, "seed": k} for k, cell in enumerate(400 * data["cells"][:1])]
    with pytest.raises(StudyError, match="one of 100 places"):
        from_json(data | {"prompts": names, "seeds": names, "cells": scattered})


def test_the_columns_of_the_csv():
    axes = (Axis("sampler", ("euler", "heun")), Axis("seed", ("a", "b")))
    study = made.study(prompts=1, seeds=1, axes=axes, part_names={"pick": "PickScore"}, pictures=False)
    cells = [dataclasses.replace(study.cells[0], score=21.123456789123, parts={"pick": 3.5}), *study.cells[1:]]
    rows = list(csv.DictReader(io.StringIO(csv_text(dataclasses.replace(study, cells=tuple(cells))))))
    assert rows[0]["setting"] == "sampler euler, seed a"
    assert (rows[0]["sampler"], rows[0]["axis seed"], rows[0]["seed"]) == ("euler", "a", "1000")
    assert (rows[0]["score"], rows[0]["score PickScore"], rows[1]["score PickScore"]) == ("21.1234568", "3.5", "")
    assert float(rows[0]["z_in_row"]) < 0


def test_formulas_become_text():
    study = made.study(3, 1, 1, labels=["=cmd|' /C calc'!A1", "-2+3", "fine"], pictures=False)
    study = dataclasses.replace(study, prompts=("@SUM(A1)",))
    rows = list(csv.reader(io.StringIO(csv_text(study))))
    assert [row[0] for row in rows[1:]] == ["'=cmd|' /C calc'!A1", "'-2+3", "fine"]
    assert {row[2] for row in rows[1:]} == {"'@SUM(A1)"}


def test_files_are_written_whole(tmp_path):
    study = made.study(labels=[made.ODD, made.EVIL, "plain"], title=made.ODD, pictures=False)
    found = made.analysis(study)
    path = write_json(tmp_path / "new" / "study.json", study, found)
    assert from_json(json.loads(path.read_text("utf-8"))) == study
    table = write_csv(tmp_path / "new" / "study.csv", study)
    assert table.read_bytes().decode("utf-8").count("\r\n") == 1 + len(study.cells)
    assert sorted(p.name for p in path.parent.iterdir()) == ["study.csv", "study.json"]


@pytest.mark.parametrize("write", [write_json, write_csv])
def test_a_folder_that_cannot_be_written(tmp_path, write):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "file" / "study", made.study(pictures=False))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
