"""The script that compares settings, with the host's X/Y/Z list stood in for by two axes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fakes.web import Web

TITLE = "HPS compare settings"
GIVEN = {"x": "Steps", "x_values": "1-3 (+1)", "prompts": "a red circle\na blue square", "first_seed": 5, "seeds": 2,
         "scorer": "hps-tiny-shapes", "name": "a/b <c>"}  # fmt: skip


def _axis(label: str, kind: Any, field: str) -> SimpleNamespace:
    return SimpleNamespace(
        label=label, type=kind, apply=lambda p, x, xs: setattr(p, field, x), confirm=None, cost=0.0, choices=None,
        prepare=None, format_value=lambda p, option, x: f"{option.label}: {x}",
    )  # fmt: skip


@pytest.fixture
def compare(web: Web, monkeypatch: pytest.MonkeyPatch) -> Any:
    grid = ModuleType("xyz_grid")
    grid.axis_options = [_axis("Steps", int, "steps"), _axis("CFG Scale", float, "cfg_scale")]  # type: ignore[attr-defined]
    grid.csv_string_to_list_strip = lambda text: [  # type: ignore[attr-defined]
        part.strip() for row in csv.reader(io.StringIO(text)) for part in row
    ]
    web.boot()
    monkeypatch.setattr(web.module("xyz.axes"), "module", lambda: grid)

    def run(**changed: Any) -> Any:
        p = web.job("txt2img")
        web.state.begin(job="scripts_txt2img")
        try:
            return web.script(TITLE).run(p, {**GIVEN, **changed})
        finally:
            web.state.end()

    return run


def _folder(done: Any) -> Path:
    return Path(done.images[0].already_saved_as).parent


def test_every_setting_gets_the_same_prompts_and_seeds(compare: Any) -> None:
    done = compare()
    study = json.loads((_folder(done) / "study.json").read_text())
    assert study["format"] == "hps-study/1"
    assert len(study["cells"]) == 3 * 2 * 2
    assert study["seeds"] == ["5", "6"]
    assert study["prompts"] == ["a red circle", "a blue square"]
    assert sorted(path.name for path in _folder(done).iterdir()) == [
        "cells.csv", "grid.png", "report.html", "study.json",
    ]  # fmt: skip
    assert "HPS: " in done.comments


def test_a_second_run_makes_nothing_and_overwrites_nothing(web: Web, compare: Any) -> None:
    first = compare()
    made = len(web.calls)
    second = compare()
    assert len(web.calls) == made > 0
    assert _folder(first) != _folder(second)


def test_an_interrupted_run_keeps_what_is_finished(web: Web, compare: Any) -> None:
    web.txt2img({"mode": "off"}, steps=1)
    each = len(web.calls)  # Forge asks the network once for the prompt and once for the negative one
    with web.stop_at(8):
        done = compare()
    cells = len(json.loads((_folder(done) / "study.json").read_text())["cells"])
    assert 0 < cells < 12
    before = len(web.calls)
    whole = compare()
    assert len(json.loads((_folder(whole) / "study.json").read_text())["cells"]) == 12
    assert 0 < len(web.calls) - before < 24 * each


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"x_values": ""}, "no values"), ({"x_values": "4"}, "nothing to compare"), ({"x": "Nonsense"}, "no axis"),
     ({"seeds": 0}, "whole number"), ({"prompts": "a cat\nA  cat"}, "like an earlier")],
)  # fmt: skip
def test_mistakes_are_said_before_anything_is_made(web: Web, compare: Any, changed: Any, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        compare(**changed)
    assert not web.calls
