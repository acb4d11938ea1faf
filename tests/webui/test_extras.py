"""The Extras step: the score is that of the result, and no older record survives."""

from __future__ import annotations

import csv
import html
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

OLD = json.dumps({"value": 99.0, "scorer": "x"})
TEXT = "a red circle\nSteps: 2, Sampler: Euler, CFG scale: 4.0, Seed: 1, Size: 64x64"
ON = {"enable": True, "scorer": "hps-tiny-shapes", "prompt": "", "table": True, "threshold": 0, "below": "keep it"}


def given(web: Any, color: str = "red", **texts: str) -> tuple[Any, Any]:
    extras, host = web.module("extras.step"), web.host("scripts_postprocessing")
    picture = Image.new("RGB", (64, 64), color)
    picture.info.update({"parameters": TEXT, "hps": OLD, **texts})
    return extras.HpsExtras(), host.PostprocessedImage(picture)


def run(script: Any, pp: Any, args: dict[str, Any], change: bool = True) -> None:
    script.process_firstpass(pp, **args)
    if change:
        pp.image = pp.image.resize((128, 128))
    script.process(pp, **args)


def test_the_result_is_scored_with_the_prompt_of_the_file(web: Any) -> None:
    script, pp = given(web)
    run(script, pp, ON)
    record = json.loads(pp.image.info["hps"])
    assert pp.info["HPS score"] == f"{record['value']:.4f}" and record["prompt"] == "a red circle"
    assert record["value"] != 99.0 and pp.image.size == (128, 128)


def test_the_texts_that_the_host_hangs_on_later_bring_no_old_record_back(web: Any) -> None:
    script, pp = given(web)
    run(script, pp, ON)
    new = pp.image.info["hps"]
    pp.image.info = {"hps": OLD, "parameters": TEXT}
    assert pp.image.info == {"hps": new, "parameters": TEXT}
    params = type("Params", (), {"image": pp.image, "pnginfo": {"hps": OLD}})
    web.module("extras.step").before_saved(params)
    assert params.pnginfo == {"hps": new}


@pytest.mark.parametrize("args", [{}, {"enable": False}, {"enable": None}])
def test_off_a_changed_image_loses_its_record_and_an_unchanged_one_keeps_it(web: Any, args: dict[str, Any]) -> None:
    script, pp = given(web)
    run(script, pp, args)
    assert "hps" not in pp.image.info and pp.info == {}
    script, pp = given(web)
    run(script, pp, args, change=False)
    assert pp.image.info["hps"] == OLD


def test_trouble_is_told_in_the_text_and_the_image_stays(web: Any) -> None:
    script, pp = given(web)
    run(script, pp, {**ON, "scorer": "no-such-file.safetensors"})
    assert "no-such-file" in pp.info["HPS error"] and pp.image.size == (128, 128)
    assert "hps" not in pp.image.info


@pytest.mark.parametrize("folder", ["/srv/webui/models/reward_models", "C:\\Users\\me\\models\\reward_models"])
def test_no_folder_of_the_machine_gets_into_the_text(web: Any, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    script, pp = given(web)
    step, error = web.module("extras.step"), web.pack("hpskit.errors").HpsError
    monkeypatch.setattr(step, "score", lambda *args: (_ for _ in ()).throw(error(f"Put it in {folder}, or fetch it.")))
    run(script, pp, ON)
    assert pp.info["HPS error"] == "Put it in ...reward_models, or fetch it."


def test_a_scorer_that_is_missing_names_no_folder_in_the_text(web: Any) -> None:
    script, pp = given(web)
    run(script, pp, {**ON, "scorer": "hps-v2.1"})
    assert "reward_models" in pp.info["HPS error"] and str(web.folder) not in pp.info["HPS error"]


def test_no_prompt_anywhere_is_said(web: Any) -> None:
    script, pp = given(web)
    del pp.image.info["parameters"]
    pp.image.info.pop("hps")
    run(script, pp, ON)
    assert "prompt" in pp.info["HPS error"]


def batch(web: Any, folder: Path, colors: list[str], args: dict[str, Any], name: str = "", of: int = 0) -> list[Any]:
    extras, state, made = web.module("extras.step"), web.host("shared").state, []
    state.job_timestamp, state.job_count, state.job_no = f"2026{folder.name}{args['table']}", of or len(colors), 0
    for number, color in enumerate(colors):
        state.job_no, state.textinfo, state.skipped = number + 1, name or f"{color}.png", False
        script, pp = given(web, color)
        run(script, pp, args)
        if state.skipped:
            continue
        path = folder / f"{number}.png"
        pp.image.save(path)
        extras.after_saved(type("Params", (), {"image": pp.image, "filename": str(path)}))
        made.append(pp)
    state.skipped, state.textinfo = False, None
    return made


def test_a_batch_gets_a_table_and_its_low_ones_go_aside(web: Any, tmp_path: Path) -> None:
    scored = batch(web, tmp_path, ["red", "blue"], ON)
    values = [float(pp.info["HPS score"]) for pp in scored]
    [table] = tmp_path.glob("hps-scores-*.csv")
    read = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [round(float(row["hps-tiny-shapes"]), 4) for row in read] == values
    assert [row["source"] for row in read] == ["red.png", "blue.png"] and table.with_suffix(".html").is_file()
    least = sum(values) / 2
    folder = tmp_path / "second"
    folder.mkdir()
    wish = web.module("extras.step").ASIDE
    batch(web, folder, ["red", "blue"], {**ON, "threshold": least, "below": wish})
    low = values.index(min(values))
    assert (folder / "hps-below" / f"{low}.png").is_file() and (folder / f"{1 - low}.png").is_file()
    assert not (folder / f"{low}.png").exists()


def test_below_the_threshold_nothing_is_saved_if_so_wished(web: Any, tmp_path: Path) -> None:
    args = {**ON, "threshold": 1e9, "below": web.module("extras.step").DROP}
    assert batch(web, tmp_path, ["red", "blue"], args) == []
    assert batch(web, tmp_path, ["red"], {**args, "threshold": -1e9}) != []


def test_parts_of_one_input_are_dropped_together_or_kept(web: Any) -> None:
    extras, state = web.module("extras.step"), web.host("shared").state
    one = extras.Input(Image.new("RGB", (8, 8)))
    state.skipped = False
    extras._skip(one, True)
    assert state.skipped
    extras._skip(one, False)
    assert not state.skipped
    extras._skip(one, True)
    assert not state.skipped


def test_the_step_shows_what_matters_and_says_what_is_missing(web: Any) -> None:
    controls = web.module("extras.step").HpsExtras().ui()
    assert controls["enable"].value is False and controls["threshold"].visible is False
    assert controls["below"].fire("change", "do not save it")["visible"] is True
    assert controls["below"].fire("change", "keep it")["visible"] is False
    told = controls["scorer"].fire("change", True, "hps-v2.1")
    assert told["visible"] and "not on this machine" in told["value"]
    for enable, scorer in ((True, "hps-tiny-shapes"), (False, "hps-v2.1")):
        assert controls["enable"].fire("change", enable, scorer) == {
            "__type__": "update",
            "value": "",
            "visible": False,
        }


@pytest.fixture
def extras(web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The host's function for the images of a press of the button, with files of these names, and our step."""
    module = ModuleType("modules.postprocessing")

    def run_postprocessing(mode: int, names: list[str], *args: Any, save_output: bool = True) -> tuple[Any, str, str]:
        made = []
        for number, name in enumerate(names):
            made += batch(web, tmp_path, ["red" if number % 2 else "blue"], args[0], name=name, of=len(names))
        return [pp.image for pp in made], "<p>the last one</p>", ""

    module.run_postprocessing = run_postprocessing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "modules.postprocessing", module)
    monkeypatch.setattr(sys.modules["modules"], "postprocessing", module, raising=False)
    web.boot()
    web.host("script_callbacks").before_ui_callback()
    return module


def lines(page: str) -> list[str]:
    return [html.unescape(one) for one in re.findall(r"<div>(.*?)</div>", page)]


def test_every_image_of_a_batch_has_a_line(extras: Any) -> None:
    images, page, more = extras.run_postprocessing(1, ["/some/where/one.png", "two.png", "three.png"], ON)
    assert len(images) == 3 and page.startswith("<p>the last one</p>") and more == ""
    head, *rows = lines(page)
    assert head == "HPS scores of 3 images by hps-tiny-shapes, the best first:"
    scores = [float(row.split()[0]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert {row.split()[1] for row in rows} == {"one.png", "two.png", "three.png"}


def test_a_long_batch_is_cut_short_and_names_stay_text(extras: Any, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>.png"
    _, page, _ = extras.run_postprocessing(1, [evil, "x" * 500 + ".png", *(f"{k}.png" for k in range(28))], ON)
    assert "<img" not in page and len(lines(page)) == 22 and max(map(len, lines(page))) < 200
    [table] = tmp_path.glob("hps-scores-*.csv")
    assert lines(page)[-1] == f"and 10 more, all of them in {table.name}"
    assert len(list(csv.DictReader(table.open(encoding="utf-8")))) == 30
    without = extras.run_postprocessing(1, [f"{k}.png" for k in range(30)], {**ON, "table": False})[1]
    assert lines(without)[-1] == "and 10 more"
    assert "<img src=x" not in table.with_suffix(".html").read_text("utf-8")


def test_what_could_not_be_scored_has_a_line_and_a_single_image_none(extras: Any) -> None:
    page = extras.run_postprocessing(1, [f"{k}.png" for k in range(7)], {**ON, "scorer": "no-such.safetensors"})[1]
    assert lines(page)[0] == "HPS: no image has a score." and lines(page)[-1] == "and 2 more without a score"
    assert lines(page)[1].startswith("not scored: 0.png: There is no reward model")
    assert extras.run_postprocessing(0, ["one.png"], ON)[1] == "<p>the last one</p>"
    assert extras.run_postprocessing(1, ["one.png", "two.png"], {**ON, "enable": False})[1] == "<p>the last one</p>"


def test_the_page_of_a_batch_is_whole_though_its_last_image_is_not_saved(
    extras: Any, web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.module("extras.table"), "_is_last", lambda: False)
    extras.run_postprocessing(1, ["one.png", "two.png", "three.png"], ON)
    [page] = tmp_path.glob("hps-scores-*.html")
    assert "Scores of 3 images" in page.read_text("utf-8")
