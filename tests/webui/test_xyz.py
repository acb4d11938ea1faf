"""Axes of the X/Y/Z plot and its table of scores, with a stand-in for the host's script that makes its cells."""

from __future__ import annotations

import csv
import json
from collections import namedtuple
from copy import copy
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fakes.web import Web

SCORED = {"mode": "score", "scorer": "hps-tiny-shapes"}
Info = namedtuple("Info", ["axis", "values"])


class AxisOption:
    """What the host's script keeps of an axis."""

    def __init__(self, label: str, type: Any, apply: Any, confirm: Any = None, choices: Any = None) -> None:
        self.label, self.type, self.apply, self.confirm, self.choices = label, type, apply, confirm, choices


def _field(name: str) -> Any:
    return lambda p, x, xs: setattr(p, name, x)


@pytest.fixture
def grid(web: Web) -> Any:
    """The host's script as a module that the pack has found."""
    web.boot()
    module = ModuleType("xyz_grid")
    module.AxisOption = AxisOption  # type: ignore[attr-defined]
    module.axis_options = [  # type: ignore[attr-defined]
        AxisOption("Nothing", str, lambda p, x, xs: None),
        AxisOption("Seed", int, _field("seed")),
        AxisOption("Steps", int, _field("steps")),
        AxisOption("Prompt S/R", str, _field("prompt")),
    ]

    def draw_xyz_grid(p: Any, xs: Any, ys: Any, zs: Any, x_labels: Any, y_labels: Any, z_labels: Any, cell: Any) -> Any:
        result = None
        found = []
        for iy, y in enumerate(ys):
            for ix, x in enumerate(xs):
                done = cell(x, y, zs[0], ix, iy, 0)
                result = result or copy(done)
                found.append(done.images[0] if done.images else None)
        params = SimpleNamespace(imgs=list(found), cols=len(xs), rows=len(ys))
        web.module("xyz.plot").draw_scores(params)
        result.images, result.pasted = [*found], params.imgs
        return result

    module.draw_xyz_grid = draw_xyz_grid  # type: ignore[attr-defined]
    scripts = web.host("scripts")
    scripts.scripts_data.append(scripts.ScriptClassData(object, "scripts/xyz_grid.py", "", module))
    web.module("xyz.axes").prepare()
    return module


def plot(web: Web, grid: Any, x: tuple[str, list[Any]], y: tuple[str, list[Any]], **fields: Any) -> Any:
    """Make a plot as the host's script does, and return its result."""
    axes = {option.label: option for option in grid.axis_options}
    p = web.job("txt2img", panel=fields.pop("panel", SCORED), **fields)
    state, processing = web.state, web.host("processing")
    chosen = [(axes[name], values) for name, values in (x, y, ("Nothing", [0]))]
    for letter, (option, values) in zip("xyz", chosen, strict=True):
        setattr(state, f"xyz_plot_{letter}", Info(option, values))

    def cell(x: Any, y: Any, z: Any, ix: int, iy: int, iz: int) -> Any:
        if state.interrupted:
            return processing.Processed(p, [], 1, "")
        job = copy(p)
        for (option, values), value in zip(chosen, (x, y, z), strict=True):
            option.apply(job, value, values)
        return processing.process_images(job)

    labels = [["" if o.label == "Nothing" else f"{o.label}: {v}" for v in values] for o, values in chosen]
    return grid.draw_xyz_grid(p, *(values for _, values in chosen), *labels, cell=cell)


def page(done: Any) -> Path:
    """Return the page that the lines under the gallery name."""
    line = next(line for line in done.comments.splitlines() if "table of scores: " in line)
    return Path(line.partition("table of scores: ")[2])


def rows(done: Any) -> list[dict[str, str]]:
    path = page(done)
    with path.with_name(path.name.replace(".html", ".csv")).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(autouse=True)
def no_grid_file(web: Web) -> None:
    web.boot()
    web.opts.grid_save = False


def test_axes_are_there_once(web: Web, grid: Any) -> None:
    watched = grid.draw_xyz_grid
    web.module("xyz.axes").prepare()
    labels = [option.label for option in grid.axis_options]
    assert labels.count("[HPS] Mode") == labels.count("[HPS] Candidates") == 1
    assert grid.draw_xyz_grid is watched


def test_without_the_hosts_script_nothing_happens(web: Web) -> None:
    web.boot()
    assert web.module("xyz.axes").module() is None
    web.module("xyz.axes").prepare()


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("Mode", ["score", "bset"], "choose one of"),
        ("Candidates", [0], "from 1 to"),
        ("Scorer", ["no-such.safetensors"], "no-such"),
        ("Method", ["magic"], "choose one of"),
        ("Keep", [], "no value"),
    ],
)
def test_wrong_values_are_said_before_anything_is_made(
    web: Web, grid: Any, name: str, values: list[Any], words: str
) -> None:
    option = next(one for one in grid.axis_options if one.label == f"[HPS] {name}")
    with pytest.raises(RuntimeError, match=words):
        option.confirm(None, values)


def test_every_choice_is_understood(web: Web, grid: Any) -> None:
    for option in grid.axis_options:
        if option.label.startswith("[HPS]") and option.choices and option.label != "[HPS] Scorer":
            option.confirm(None, list(option.choices()))


def test_a_plot_with_scores_gets_a_table(web: Web, grid: Any) -> None:
    done = plot(web, grid, ("Steps", [1, 2]), ("[HPS] Mode", ["score", "off"]))
    found = rows(done)
    assert [(row["Steps"], row["[HPS] Mode"]) for row in found] == [("1", "score"), ("2", "score")]
    assert [float(row["score"]) for row in found] == pytest.approx(
        [_score(image) for image in done.images[:2]], abs=1e-4
    )
    assert "2 of 4 cells have no score" in done.comments
    assert done.extra_generation_params["HPS table"] == page(done).name


def _score(image: Any) -> float:
    return float(json.loads(image.info["hps"])["value"])


def test_a_plot_without_scores_gets_none(web: Web, grid: Any) -> None:
    done = plot(web, grid, ("Steps", [1, 2]), ("Nothing", [0]), panel={"mode": "off"})
    assert "HPS" not in done.comments


def test_scores_are_drawn_on_copies(web: Web, grid: Any) -> None:
    done = plot(web, grid, ("Steps", [1, 2]), ("Nothing", [0]))
    assert all(a is not b and a.size == b.size for a, b in zip(done.images, done.pasted, strict=True))
    assert all(a.tobytes() != b.tobytes() for a, b in zip(done.images, done.pasted, strict=True))
    web.opts.hps_draw_scores = False
    done = plot(web, grid, ("Steps", [1, 2]), ("Nothing", [0]))
    assert all(a is b for a, b in zip(done.images, done.pasted, strict=True))


def test_seeds_make_a_study_for_this_prompt(web: Web, grid: Any) -> None:
    done = plot(web, grid, ("Steps", [1, 2]), ("Seed", list(range(8))))
    path = page(done)
    study = json.loads(path.with_name(path.name.replace(".html", ".json")).read_text("utf-8"))
    assert study["format"] == "hps-study/1"
    assert (len(study["settings"]), study["prompts"], len(study["seeds"])) == (2, ["a red circle"], 8)
    assert study["seeds_shared"] is True
    assert study["analysis"]["units"] == "seeds"


def test_pictures_of_one_cell_are_its_seeds(web: Web, grid: Any) -> None:
    done = plot(web, grid, ("Steps", [1, 2]), ("Nothing", [0]), n_iter=2, batch_size=2)
    assert [(row["Steps"], row["image"], row["seed"]) for row in rows(done)] == [
        (steps, str(k + 1), str(k + 1)) for steps in "12" for k in range(4)
    ]


def test_seeds_that_differ_between_cells_are_said_to_be_luck(web: Web, grid: Any) -> None:
    assert "luck" in plot(web, grid, ("Steps", [1, 2, 3]), ("Nothing", [0]), seed=-1).comments
    assert "luck" not in plot(web, grid, ("Steps", [1, 2, 3]), ("Nothing", [0]), seed=5).comments
    assert "luck" not in plot(web, grid, ("Steps", [1, 2, 3]), ("Seed", [1, 2])).comments
    pool = {**SCORED, "mode": "best-of-n", "candidates": 3}
    assert "luck" not in plot(web, grid, ("Steps", [1, 2, 3]), ("Nothing", [0]), panel=pool).comments


def test_cells_that_score_alike_are_said_to_tie(web: Web, grid: Any) -> None:
    """What is of no effect in a mode, such as its candidates, makes the same image in every cell."""
    alike = ("[HPS] Candidates", [1, 2])
    done = plot(web, grid, ("[HPS] Candidates", [1, 2, 3]), ("[HPS] Keep", [1, 2]))
    assert "no cell is better than another by" in done.comments
    assert f"all 6 that are scored tie at {float(rows(done)[0]['score']):.4f}" in done.comments
    assert "best cell" not in done.comments
    assert starred(done) == 0
    assert "6 cells tie: " in page(done).read_text("utf-8")

    done = plot(web, grid, ("Steps", [1, 6]), alike)
    high = max(rows(done), key=lambda row: float(row["score"]))
    named = "; ".join(f"Steps {high['Steps']}, [HPS] Candidates {count}" for count in (1, 2))
    assert f"2 of 4 tie at {float(high['score']):.4f}: {named}\n" in done.comments
    assert starred(done) == 2

    assert starred(plot(web, grid, ("Steps", [1, 6]), ("Nothing", [0]))) == 1


def starred(done: Any) -> int:
    return page(done).read_text("utf-8").count('class="star"')


def test_prompts_are_never_set_side_by_side(web: Web, grid: Any) -> None:
    done = plot(web, grid, ("Prompt S/R", ["a red circle", "<script>x</script> cat"]), ("Nothing", [0]))
    assert "best cell" not in done.comments
    assert {row["z_of_cell"] for row in rows(done)} == {"0.0"}
    text = page(done).read_text("utf-8")
    assert "<script>x" not in text
    assert "&lt;script&gt;x" in text


def test_an_interrupted_plot_keeps_what_is_finished(web: Web, grid: Any) -> None:
    with web.stop_at(6):
        done = plot(web, grid, ("Seed", [1, 2, 3, 4, 5]), ("Nothing", [0]))
    assert 0 < len(rows(done)) < 5
    assert "cells have no score" in done.comments


def test_the_table_lies_beside_the_grid(web: Web, grid: Any, tmp_path: Path) -> None:
    web.opts.grid_save = True
    done = plot(web, grid, ("Steps", [1, 2]), ("Nothing", [0]))
    assert "table of scores" not in done.comments
    params = SimpleNamespace(p=done, filename=str(tmp_path / "xyz_grid-0001.png"))
    web.module("xyz.plot").saved(SimpleNamespace(p=object(), filename="other.png"))
    web.module("xyz.plot").saved(params)
    assert page(done) == tmp_path / "xyz_grid-0001.hps.html"
    web.module("xyz.plot").saved(params)
    assert done.comments.count("table of scores") == 1
