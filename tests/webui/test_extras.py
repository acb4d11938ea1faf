"""The Extras step: the score is that of the result, and no older record survives."""

from __future__ import annotations

import csv
import json
from pathlib import Path
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


def test_no_prompt_anywhere_is_said(web: Any) -> None:
    script, pp = given(web)
    del pp.image.info["parameters"]
    pp.image.info.pop("hps")
    run(script, pp, ON)
    assert "prompt" in pp.info["HPS error"]


def batch(web: Any, folder: Path, colors: list[str], args: dict[str, Any]) -> list[Any]:
    extras, state, made = web.module("extras.step"), web.host("shared").state, []
    state.job_timestamp, state.job_count, state.job_no = f"2026{folder.name}", len(colors), 0
    for number, color in enumerate(colors):
        state.job_no, state.textinfo, state.skipped = number + 1, f"{color}.png", False
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
