"""The panel: a component for every option, values that come back, what shows in which mode, and what a paste sets."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fakes.web import Web

PASTED = {
    "HPS mode": "best-of-n",
    "HPS scorer": "hps-tiny-shapes, hps-v2.1",
    "HPS candidates": "8",
    "HPS score": "28.3100",
    "HPS rank": "1 of 8",
}


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_values_come_back_as_options(web: Web, tab: str) -> None:
    options, script = web.module("options"), web.script(tab=tab)
    assert len(script.controls) == len(options.NAMES)
    read = options.read([control.value for control in script.controls])
    assert read == options.Options(scorer=read.scorer)


def test_every_component_says_what_it_is_for_and_has_an_id_of_its_own(web: Web) -> None:
    import gradio

    ids = []
    for control in web.script().controls:
        assert control.label
        # Both hosts draw the info of a checkbox above it, so its label says everything.
        assert bool(control.given.get("info")) != isinstance(control, gradio.Checkbox)
        ids.append(control.elem_id)
    assert len(set(ids)) == len(ids) and all(name.startswith("script_txt2img_hps_") for name in ids)


def change(web: Web, mode: str) -> tuple[str, list[Any]]:
    options, panel = web.module("options"), web.module("panel")
    made = panel._Panel(web.script())
    title, help_text, _, said, *groups = made._on_mode(options.LABELS[mode], "hps-tiny-shapes")
    assert said.get("visible", True) is (mode == "score")  # what a paste said is over in another mode
    assert title["label"] == ("HPS" if mode == "off" else f"HPS: {options.LABELS[mode]}")
    return help_text["value"], [name for name, update in zip(made.groups, groups, strict=True) if update["visible"]]


def test_groups_show_where_they_matter(web: Web) -> None:
    import gradio

    with gradio.Blocks():
        assert change(web, "off")[1] == []
        assert change(web, "score")[1] == ["noise_file", "more"]
        assert change(web, "best-of-n")[1] == change(web, "best-of-n-first-pass")[1] == ["best", "more"]
        assert change(web, "noise-search")[1] == ["noise", "method", "search", "noise_file", "more"]
        assert change(web, "noise-gradient")[1] == ["noise", "gradient_method", "drift", "noise_file", "more"]
        both = change(web, "best-of-n")[0], change(web, "best-of-n-first-pass")[0]
        assert both[0] != both[1] and all("Batch count" in text and "one prompt" in text for text in both)


def test_what_a_paste_sets(web: Web) -> None:
    script, options = web.script(), web.module("options")
    fields = {id(component): target for component, target in script.infotext_fields}
    by_name = dict(zip(options.NAMES, script.controls, strict=True))

    def pasted(name: str) -> Any:
        target = fields[id(by_name[name])]
        return target(PASTED) if callable(target) else target

    assert pasted("mode")["value"] == options.LABELS["score"]  # the seed is the winner's already
    assert options.mode_of(pasted("mode")["value"]) == "score"
    assert web.module("bridge.host").plain_name(pasted("scorer")["value"]) == "hps-tiny-shapes"
    assert pasted("guards")["value"] == ["hps-v2.1"]
    assert pasted("candidates") == "HPS candidates"


def test_the_score_of_a_pasted_text_is_shown_as_text(web: Web) -> None:
    pasted = web.module("pasted")
    shown = pasted.score({**PASTED, "HPS score": "<b>1"}, ["hps-tiny-shapes"])
    assert shown["visible"] and "&lt;b&gt;1" in shown["value"] and "<b>" not in shown["value"]
    assert "Not among the scorers here: hps-v2.1" in shown["value"]
    assert pasted.score({}, [])["visible"] is False
    assert "value" not in pasted.mode({})


def test_a_missing_scorer_is_told_with_what_to_do(web: Web) -> None:
    panel = web.module("panel")
    assert panel.missing("hps-tiny-shapes") == ""
    assert "not on this machine" in panel.missing("hps-v2.1")


def noise(web: Web, name: str, content: bytes, age: float = 0) -> Path:
    file = Path(web.host("paths").data_path, "outputs", name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (file.stat().st_atime, file.stat().st_mtime - age))
    return file


def test_the_newest_noise_files_are_offered_and_lead_back_to_themselves(web: Web) -> None:
    old = noise(web, "txt2img-images/monday/1.hps-noise.safetensors", b"old", age=60)
    new = noise(web, "img2img-images/tuesday/2.hps-noise.safetensors", b"new")
    noise(web, "img2img-images/tuesday/2.safetensors", b"something else")
    names = web.module("panel").noise_files()
    assert [web.module("noise.files").locate(name) for name in names] == [new.resolve(), old.resolve()]
    web.host("shared").cmd_opts.share = True  # file names of one person are nothing for another
    assert web.module("panel").noise_files() == []


def test_a_pasted_text_of_an_optimised_noise_chooses_its_file(web: Web) -> None:
    noise(web, "txt2img-images/1.hps-noise.safetensors", b"another")
    noise(web, "txt2img-images/2.hps-noise.safetensors", b"this one")
    params = {**PASTED, "HPS noise": hashlib.sha256(b"this one").hexdigest()[:12]}
    pasted = web.module("pasted")
    assert pasted.noise(params)["value"].endswith("txt2img-images/2.hps-noise.safetensors")
    assert "its file is chosen below" in pasted.score(params, [])["value"]
    gone = {**PASTED, "HPS noise": "0123456789ab"}
    assert pasted.noise(gone)["value"] == "" and "choose its file" in pasted.score(gone, [])["value"]
    assert pasted.noise(PASTED)["value"] == "" and "value" not in pasted.noise({"Seed": "1"})


def test_the_rule_shows_when_there_is_something_to_weigh(web: Web) -> None:
    script, options = web.script(), web.module("options")
    by_name = dict(zip(options.NAMES, script.controls, strict=True))
    assert by_name["rule"].visible is False
    assert by_name["guards"].fire("change", ["hps-tiny-judge"]) == {"__type__": "update", "visible": True}
    assert by_name["guards"].fire("change", [])["visible"] is False
