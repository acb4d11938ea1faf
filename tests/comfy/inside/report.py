"""Checks of HPS_Report."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
from html import unescape
from pathlib import Path
from typing import Any

import torch
from comfy_inside import Graph, Run, base, images, pack
from PIL import Image

OUTPUT = base / "output"
SWITCHES = {"title": "", "csv": False, "json": False, "grid": False}
SCORE = {"clean_prompt": True, "match_saved_file": True}
PLOT = {
    "columns": "a\nb",
    "rows": "",
    "rows_are": "seeds",
    "order": "row by row",
    "batches": "auto",
    "reference": "",
    "cell_size": 64,
    **SCORE,
}


def fresh() -> str:
    return f"t{os.urandom(4).hex()}/x"


def scored(graph: Graph, batch: Any, scorer: Any = None, prompt: Any = "a red circle") -> Any:
    """Add HPS_Score; its output 2 is the table."""
    given = graph.give(scorer or pack("hpskit.scorers").FakeScorer())
    link = graph.give_list(batch) if isinstance(batch, list) else graph.give(batch)
    text = graph.give_list(prompt) if isinstance(prompt, list) else prompt
    return graph.node("HPS_Score", scorer=given, images=link, prompt=text, **SCORE)


def compared(graph: Graph, batch: Any) -> Any:
    scorer = graph.give(pack("hpskit.scorers").FakeScorer())
    return graph.node("HPS_CompareImages", scorer=scorer, images=graph.give(batch), prompt="a red circle", **PLOT)


def report(graph: Graph, **inputs: Any) -> Run:
    node = graph.node("HPS_Report", **{**SWITCHES, "filename_prefix": fresh(), **inputs})
    run = graph.run(node[0], node[1])
    run.node = node.id
    return run


def page(run: Run, at: int = 0) -> str:
    assert run.ok, run.error
    return Path(run[0][at]).read_text(encoding="utf-8")


def words(html: str) -> str:
    return unescape(re.sub(r"<(style|script)>.*?</\1>|<[^>]+>", " ", html, flags=re.S))


def shown(html: str) -> list[Any]:
    """Return the pictures of a page."""
    found = re.findall(r'src="data:image/[a-z]+;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB") for data in found]


def error_of(run: Run, name: str) -> str:
    assert not run.ok and run.error_type.endswith(f"errors.{name}"), (run.ok, run.error_type, run.error)
    return run.error


def check_a_report_of_scored_images_is_one_file() -> None:
    graph = Graph()
    score = scored(graph, images(4))
    run = report(graph, score_table=score[2])
    html = page(run)
    path = Path(run[0][0])
    assert path.name == "x_00001_.html" and OUTPUT in path.parents and len(list(path.parent.iterdir())) == 1
    assert html.startswith("<!doctype html>") and "4 scored images: a red circle" in words(html)
    assert len(shown(html)) == 4 and not re.search(r'(src|href)="(?!data:)', html)
    assert "above the mean of the pool" in run[1][0] and "rank" in run[1][0]
    (data,) = run.ui[run.node]["hps"]
    place = {"filename": path.name, "subfolder": path.parent.name, "type": "output"}
    assert data["kind"] == "report" and data["v"] == 1 and data["files"] == [place]
    assert run[1][0].startswith(data["headline"]) and data["table"] == run[1][0]


def check_all_files_share_a_number_and_nothing_is_overwritten() -> None:
    graph = Graph()
    score, prefix = scored(graph, images(3)), fresh()
    first = report(graph, score_table=score[2], filename_prefix=prefix, csv=True, json=True, grid=True)
    folder = Path(first[0][0]).parent
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["x_00001_.csv", "x_00001_.html", "x_00001_.json", "x_00001_.png"], names
    contents = {path: path.read_bytes() for path in folder.iterdir()}
    (folder / "x_00002_.csv").write_text("mine")
    again = report(graph, score_table=score[2], filename_prefix=prefix, csv=True, title="another")
    assert Path(again[0][0]).name == "x_00003_.html" and (folder / "x_00002_.csv").read_text() == "mine"
    assert all(path.read_bytes() == data for path, data in contents.items()) and (folder / "x_00003_.csv").exists()
    rows = list(csv.DictReader(io.StringIO(contents[folder / "x_00001_.csv"].decode())))
    assert len(rows) == 3 and [row["rank"] for row in rows] == ["1", "2", "3"]
    assert json.loads(contents[folder / "x_00001_.json"])["format"] == "hps-search/1"
    with Image.open(folder / "x_00001_.png") as picture:
        assert picture.width > 200
    files = first.ui[first.node]["hps"][0]["files"]
    assert [Path(file["filename"]).suffix for file in files] == [".html", ".csv", ".json", ".png"]
    assert first.ui[first.node]["images"] == files[3:]


def check_no_place_outside_the_output_folder() -> None:
    before = {path for path in base.rglob("*") if "output" not in path.parts and "temp" not in path.parts}
    for prefix in ("../x", "a/../../x", str(base / "x"), "/tmp/hps-outside/x", "../../../x", "a/../../temp/x"):
        graph = Graph()
        run = report(graph, score_table=scored(graph, images(2))[2], filename_prefix=prefix)
        said = error_of(run, "OutputError")
        assert "filename_prefix" in said and prefix in said, said
    graph = Graph()  # a name of dots is a name: it stays in the folder
    inside = report(graph, score_table=scored(graph, images(2))[2], filename_prefix="..")
    assert inside.ok and Path(inside[0][0]).parent == OUTPUT, inside.error
    after = {path for path in base.rglob("*") if "output" not in path.parts and "temp" not in path.parts}
    strange = {path for path in after - before if path.suffix in {".html", ".part"}}
    assert not strange and not Path("/tmp/hps-outside").exists()


def check_a_folder_that_cannot_be_written_is_explained() -> None:
    (OUTPUT / "taken").write_text("a file, not a folder")
    graph = Graph()
    run = report(graph, score_table=scored(graph, images(2))[2], filename_prefix="taken/x")
    assert "taken/x" in error_of(run, "OutputError")


def check_nothing_connected_says_what_to_connect() -> None:
    assert "Connect study" in error_of(report(Graph()), "StudyError")


def check_a_report_of_compared_images() -> None:
    graph = Graph()
    node = compared(graph, images(6))
    run = report(graph, study=node[0], csv=True, json=True, grid=True, title="My <b>plot</b>")
    html = page(run)
    assert "My <b>plot</b>" in words(html) and "<b>plot" not in html
    assert len(shown(html)) >= 6 and "a red circle" in html
    folder = Path(run[0][0]).parent
    read = pack("hpskit.study.export").from_json(json.loads((folder / "x_00001_.json").read_text()))
    assert len(read.cells) == 6 and [setting.label for setting in read.settings] == ["a", "b"]
    assert len((folder / "x_00001_.csv").read_text().splitlines()) == 7
    with Image.open(folder / "x_00001_.png") as picture:
        assert min(picture.size) > 200
    (data,) = run.ui[run.node]["hps"]
    assert data["table"] == run[1][0] and data["headline"]


def check_both_give_two_reports() -> None:
    graph = Graph()
    run = report(graph, study=compared(graph, images(4))[0], score_table=scored(graph, images(3))[2])
    assert run.ok and [Path(path).name for path in run[0]] == ["x_00001_.html", "x_00002_.html"]
    assert len(run[1]) == 2 and len(run.ui[run.node]["hps"]) == 2


def check_given_images_are_shown_and_counted() -> None:
    graph = Graph()
    score = scored(graph, images(2))
    red = torch.zeros(2, 48, 40, 3)
    red[..., 0] = 1
    run = report(graph, score_table=score[2], images=graph.give(red))
    pixels = [picture.getpixel((10, 10)) for picture in shown(page(run))]
    assert len(pixels) == 2 and all(r > 240 and g < 15 and b < 15 for r, g, b in pixels)
    wrong = report(graph, score_table=score[2], images=graph.give(images(3)))
    assert "3 images but 2 scores" in error_of(wrong, "SelectionError")
    alone = Graph()
    assert "belong to one score_table" in error_of(
        report(alone, study=compared(alone, images(4))[0], images=alone.give(images(4))), "StudyError"
    )


def check_pictures_come_from_thumbnails_once_the_files_are_gone() -> None:
    pictures = pack("nodes.pictures")
    graph = Graph()
    score, node = scored(graph, images(3, seed=77)), compared(graph, images(4, seed=78))
    run = graph.run(score[2], node[0])
    table, study = run[0][0], run[1][0]
    for file in pictures.folder().iterdir():
        file.unlink()
    late = Graph()
    again = report(late, score_table=late.give(table), study=late.give(study))
    assert len(shown(page(again, 0))) >= 4 and len(shown(page(again, 1))) == 3, "from the cells, and from the ledger"
    pack("nodes.recording").the_ledger().purge()
    last = Graph()
    bare = report(last, score_table=last.give(table))
    assert not shown(page(bare)) and "There are no pictures." in words(page(bare))


def check_a_saved_name_of_a_cell_never_leads_outside() -> None:
    secret = base / "secret.png"
    Image.new("RGB", (40, 40), (255, 0, 0)).save(secret)
    Cell = pack("hpskit.study").Cell
    of_cell = pack("nodes.report_pictures").of_cell
    for file in ("../secret.png", str(secret), "a/../../secret.png", "a\0b", "x" * 5000):
        assert of_cell(Cell(0, 0, 0, 1.0, file=file)) is None, file
    inside = OUTPUT / "inside.png"
    Image.new("RGB", (40, 40), (0, 255, 0)).save(inside)
    found = of_cell(Cell(0, 0, 0, 1.0, file="inside.png"))
    assert found is not None and found.getpixel((5, 5)) == (0, 255, 0)


def check_several_prompts_are_kept_apart() -> None:
    graph = Graph()
    run = report(graph, score_table=scored(graph, images(4), prompt=["a", "a", "b", "b"])[2])
    text = words(page(run))
    assert "4 images of 2 prompts" in text and "above the mean" not in text


def check_a_watching_scorer_is_told_from_a_choosing_one() -> None:
    scorers, rules = pack("hpskit.scorers"), pack("hpskit.rules")
    judge = pack("nodes.report_search")._judging
    assert judge(rules.Rule("single", main="a"), ("a", "b"), "a") == {"a"}
    assert judge(rules.Rule("gate", main="a", weights={"a": 0.0}), ("a", "b"), "a") == {"a", "b"}
    assert judge(rules.Rule("zsum", weights={"b": 0.0}), ("a", "b"), "a") == {"a"}
    assert judge(rules.Rule("single", main="a", floors={"b": 1.0}), ("a", "b"), "a") == {"a", "b"}
    graph = Graph()
    members = {"one": scorers.FakeScorer(), "two": scorers.FakeScorer()}
    ensemble = scorers.EnsembleScorer(members, {"one": 1.0, "two": 1.0}, rules.Rule("single", main="one"))
    text = words(page(report(graph, score_table=scored(graph, images(3), ensemble)[2])))
    assert "only watched" in text and "did not take part in the choice" in text
