"""The panel: a component for every option, values that come back, what shows in which mode, and what a paste sets."""

from __future__ import annotations

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
    ids = []
    for control in web.script().controls:
        assert control.label and control.given.get("info")
        ids.append(control.elem_id)
    assert len(set(ids)) == len(ids) and all(name.startswith("script_txt2img_hps_") for name in ids)


def change(web: Web, mode: str) -> tuple[str, list[Any]]:
    options, panel = web.module("options"), web.module("panel")
    made = panel._Panel(web.script())
    help_text, _, *groups = made._on_mode(options.LABELS[mode], "hps-tiny-shapes")
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
    panel = web.module("panel")
    shown = panel._pasted_score({**PASTED, "HPS score": "<b>1"}, ["hps-tiny-shapes"])
    assert shown["visible"] and "&lt;b&gt;1" in shown["value"] and "<b>" not in shown["value"]
    assert "Not among the scorers here: hps-v2.1" in shown["value"]
    assert panel._pasted_score({}, [])["visible"] is False
    assert "value" not in panel._pasted_mode({})


def test_a_missing_scorer_is_told_with_what_to_do(web: Web) -> None:
    panel = web.module("panel")
    assert panel.missing("hps-tiny-shapes") == ""
    assert "not on this machine" in panel.missing("hps-v2.1")
