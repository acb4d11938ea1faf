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
def size() -> int:
    """Width and height of the images."""
    return 64


@pytest.fixture
def compare(web: Web, size: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    grid = ModuleType("xyz_grid")
    grid.axis_options = [_axis("Steps", int, "steps"), _axis("CFG Scale", float, "cfg_scale")]  # type: ignore[attr-defined]
    grid.csv_string_to_list_strip = lambda text: [  # type: ignore[attr-defined]
        part.strip() for row in csv.reader(io.StringIO(text)) for part in row
    ]
    web.boot()
    monkeypatch.setattr(web.module("xyz.axes"), "module", lambda: grid)

    def run(panel: Any = None, **changed: Any) -> Any:
        p = web.job("txt2img", panel, width=size, height=size, **changed.pop("job", {}))
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


@pytest.mark.parametrize(
    ("x", "values", "words"),
    [("Steps", "0,1", "Steps, character 1: 0 is outside"), ("Steps", "4,-3", "Steps, character 3: -3 is outside"),
     ("CFG Scale", "7, nan", "CFG Scale, character 4"), ("CFG Scale", "1e999, 7", "CFG Scale, character 1"),
     ("Denoising", "0.5, 1.5", "Denoising, character 6: 1.5 is outside"), ("Clip skip", "0-2", "Clip skip.* 0 is"),
     ("Size", "64x64, 100x64", "Size: 100x64 cannot be made.* 96x64|104x64"), ("Size", "64x64, 0x64", "Size: 0x64"),
     ("Size", "64x64, 512", 'Size: "512" is no size'), ("Size", "64x64, -8x64", 'Size: "-8x64" is no size')],
)  # fmt: skip
def test_values_that_cannot_work_are_refused_by_axis_and_value(
    web: Web, compare: Any, x: str, values: str, words: str
) -> None:
    found = web.module("xyz.axes").module().axis_options
    found += [_axis("Denoising", float, "unused"), _axis("Clip skip", int, "unused"), _axis("Size", str, "unused")]
    with pytest.raises(RuntimeError, match=words):
        compare(x=x, x_values=values)
    assert not web.calls


def test_values_at_the_limits_are_taken(web: Web, compare: Any) -> None:
    web.module("xyz.axes").module().axis_options += [_axis("Denoising", float, "unused"), _axis("Size", str, "unused")]
    given = {"prompts": "", "seeds": 1}
    for x, values in (("Denoising", "0, 1"), ("Size", "64x64, 72 x 64"), ("CFG Scale", "-1, 0"), ("Steps", "1, 2")):
        assert compare(x=x, x_values=values, **given).info


def test_one_seed_is_told_as_one(compare: Any) -> None:
    assert "\nSeed: 5\n" in compare(prompts="", seeds=1).info
    assert "\nSeeds: 5 and 1 more\n" in compare(prompts="").info


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_a_scorer_whose_weights_are_missing_is_told_in_the_form(web: Web, compare: Any, tab: str) -> None:
    import gradio

    names, missing = web.module("options").NAMES, web.module("panel").missing
    scorer = web.script(TITLE, tab).controls[9]
    panel = web.script(tab=tab).controls[names.index("scorer")]
    [event] = [one for one in scorer.events if one.name == "change"]
    [shown] = event.outputs
    assert isinstance(shown, gradio.HTML) and shown.elem_id.endswith("missing")
    assert event.inputs == [scorer, panel]
    assert any(one.fn is event.fn and one.outputs == [shown] for one in panel.events if one.name == "change")
    assert bool(missing(panel.value)) is shown.visible  # before anything was changed

    as_panel = web.module("compare.script").AS_PANEL
    for chosen, of_panel, wanted in (
        ("hps-v2.1", "hps-tiny-shapes", True), ("hps-tiny-shapes", "hps-v2.1", False),
        (as_panel, "hps-v2.1", True), (as_panel, "hps-tiny-shapes", False),
    ):  # fmt: skip
        said = event.fn(chosen, of_panel)
        assert said["visible"] is wanted and ("not on this machine" in said["value"]) is wanted


def test_a_lora_that_was_replaced_under_its_name_makes_other_cells(
    web: Web, compare: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "lora" / "mine"
    folder.mkdir(parents=True)
    (folder / "Style.safetensors").write_bytes(b"one")
    (folder / "other.safetensors").write_bytes(b"one")
    monkeypatch.setattr(web.host("shared").cmd_opts, "lora_dir", str(tmp_path / "lora"), raising=False)
    given = {"prompts": "a red circle <lora:style:0.5>", "seeds": 1}
    assert _made(web, compare, **given) == 3
    assert _made(web, compare, **given) == 0
    (folder / "other.safetensors").write_bytes(b"another one")
    assert _made(web, compare, **given) == 0
    (folder / "Style.safetensors").write_bytes(b"another one")
    assert _made(web, compare, **given) == 3


def test_what_else_is_known_by_a_name_counts_as_a_file(
    web: Web, compare: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared, given = web.host("shared"), {"prompts": "a red circle of oldpaint", "seeds": 1}
    embedding, vae = Path(shared.cmd_opts.embeddings_dir) / "OldPaint.pt", tmp_path / "some.vae.pt"
    assert _made(web, compare, **given) == 3
    embedding.write_bytes(b"one")
    assert _made(web, compare, **given) == 3
    embedding.write_bytes(b"another")
    assert _made(web, compare, **given) == 3
    vae.write_bytes(b"one")
    monkeypatch.setitem(web.host("sd_vae").vae_dict, "some", str(vae))
    assert _made(web, compare, **given) == 0
    shared.opts.sd_vae = "some"
    assert _made(web, compare, **given) == 3
    vae.write_bytes(b"another")
    assert _made(web, compare, **given) == 3
    assert _made(web, compare, **given) == 0


def _made(web: Web, compare: Any, **given: Any) -> int:
    """Return how many images a comparison has made."""
    study = json.loads((_folder(compare(**given)) / "study.json").read_text())
    return int(dict(study["facts"])["images"].split()[0])


@pytest.mark.parametrize("saved", [True, False])
def test_cells_of_earlier_runs_are_shown(web: Web, compare: Any, saved: bool) -> None:
    web.opts.samples_save = saved
    first, second = compare(), compare()
    assert len(first.images) == len(second.images) == len(second.infotexts) == 5
    assert second.index_of_first_image == 1
    assert second.all_seeds == first.all_seeds and second.all_prompts == first.all_prompts
    assert web.seeds(second) == second.all_seeds
    assert web.texts(second) == web.texts(first)
    same = [one.convert("RGB").tobytes() == other.convert("RGB").tobytes() for one, other in
            zip(web.pictures(first), web.pictures(second), strict=True)]  # fmt: skip
    assert all(same) or not saved
    files = [getattr(picture, "already_saved_as", "") for picture in web.pictures(second)]
    assert all(Path(file).is_file() for file in files) if saved else not any(files)


@pytest.mark.parametrize(("size", "saved"), [(320, True), (320, False)])
def test_images_that_are_gone_are_shown_small_and_it_is_said(web: Web, compare: Any, size: int, saved: bool) -> None:
    web.opts.samples_save = saved
    assert "shown small" not in compare(prompts="", seeds=1).comments
    done = compare(prompts="", seeds=1)
    assert ("shown small" in done.comments) is not saved
    assert [max(picture.size) for picture in web.pictures(done)] == [size if saved else 256]


def test_a_file_that_is_another_picture_now_is_not_shown_as_the_cell(web: Web, compare: Any) -> None:
    from PIL import Image

    first = compare()
    for picture in web.pictures(first):
        Image.new("RGB", picture.size, "white").save(picture.already_saved_as)
    second = compare()
    assert len(second.images) == 5
    assert not any(hasattr(picture, "already_saved_as") for picture in web.pictures(second))


def test_without_recording_it_is_said_how_long_cells_are_known(web: Web, compare: Any) -> None:
    assert "recording is off" not in compare().comments
    web.opts.hps_ledger = False
    done = compare(first_seed=100)
    assert "recording is off" in done.comments and "until the host is closed" in done.comments
    assert len(compare(first_seed=100).images) == len(done.images) == 5


def test_the_model_that_the_host_loads_next_is_its_own_again(web: Web, compare: Any) -> None:
    grid = web.module("xyz.axes").module()
    loaded: list[str] = []
    checkpoint = _axis("Checkpoint name", str, "unused")
    checkpoint.apply = lambda p, x, xs: loaded.append(x)
    grid.axis_options.append(checkpoint)
    grid.refresh_loading_params_for_xyz_grid = lambda: loaded.append("the host's own")
    for _ in range(2):  # made, and then only found
        compare(x="Checkpoint name", x_values="one, other", prompts="", seeds=1)
        assert loaded[-2:] == ["other", "the host's own"]


def test_the_panels_scorer_is_the_comparisons_unless_another_is_chosen(web: Web, compare: Any) -> None:
    panel = {"mode": "off", "scorer": "hps-tiny-judge"}

    def used(scorer: str) -> str:
        study = json.loads((_folder(compare(panel, scorer=scorer, prompts="", seeds=1)) / "study.json").read_text())
        return study["scorer"]["id"]

    assert used("") == used(web.module("compare.script").AS_PANEL) == "hps-tiny-judge"
    assert used("hps-tiny-shapes") == "hps-tiny-shapes"


@pytest.mark.parametrize(
    ("changed", "once"),
    [({"x": "CFG Scale", "x_values": "1,4", "prompts": "", "seeds": 1}, ("too small", "CFG is compared")),
     ({"x": "CFG Scale", "x_values": "1,4"}, ("too small", "contrast")),
     ({"x": "Nowhere", "x_values": "1,2"}, ("too small", "no effect"))],
)  # fmt: skip
def test_everything_is_said_once(compare: Any, web: Web, changed: Any, once: Any) -> None:
    web.module("xyz.axes").module().axis_options.append(_axis("Nowhere", int, "unused"))
    done = compare(**changed)
    report = (_folder(done) / "report.html").read_text()
    for words in once:
        assert done.comments.count(words) == 1, done.comments
    assert "This study is too small" not in report
    lines = done.comments.splitlines()
    assert len(set(lines)) == len(lines)


def test_what_is_missing_is_said_once(web: Web, compare: Any) -> None:
    with web.stop_at(8):
        done = compare()
    assert done.comments.count("are missing") == 1 and done.comments.count("run it again as it is") == 1
    assert "first seed is 5" in done.comments


CHANCE = {"first_seed": -1, "job": {"seed": -1}}


def _seeds(done: Any) -> list[str]:
    seeds: list[str] = json.loads((_folder(done) / "study.json").read_text())["seeds"]
    return seeds


@pytest.mark.parametrize("strength", [0.0, 0.5])
@pytest.mark.parametrize("recording", [True, False])
@pytest.mark.parametrize("restarted", [True, False])
def test_a_stopped_run_with_seeds_by_chance_goes_on(
    web: Web, compare: Any, recording: bool, restarted: bool, strength: float
) -> None:
    if restarted and not recording:
        pytest.skip("without recording nothing is known after a restart")
    web.opts.hps_ledger = recording
    chance = {**CHANCE, "job": {"seed": -1, "subseed": -1, "subseed_strength": strength}}
    with web.stop_at(8):
        first = compare(**chance)
    if restarted:
        web.module("compare.unfinished")._here.clear()
    second = compare(**chance)
    assert _seeds(second) == _seeds(first) and "goes on with a run that was stopped" in second.comments
    assert f"first seed is {_seeds(first)[0]}" in second.comments
    third = compare(**chance)
    assert _seeds(third) != _seeds(first) and "goes on" not in third.comments
    assert _seeds(compare(**chance)) != _seeds(third)


@pytest.mark.parametrize(
    "changed",
    [{"x_values": "1-4 (+1)"}, {"seeds": 3}, {"prompts": "a red circle"}, {"job": {"seed": -1, "cfg_scale": 5.0}},
     {"job": {"seed": -1, "negative_prompt": "blue"}}, {"scorer": "hps-tiny-judge"}, {"first_seed": 7},
     {"job": {"seed": 7}}],
)  # fmt: skip
def test_another_comparison_does_not_go_on_with_it(web: Web, compare: Any, changed: Any) -> None:
    with web.stop_at(8):
        first = compare(**CHANCE)
    other = compare(**{**CHANCE, **changed})
    assert _seeds(other)[0] != _seeds(first)[0] and "goes on" not in other.comments
    assert _seeds(compare(**CHANCE)) == _seeds(first)


def test_a_run_that_was_finished_by_its_seed_is_over(web: Web, compare: Any) -> None:
    with web.stop_at(8):
        first = compare(**CHANCE)
    seed = int(_seeds(first)[0])
    whole = compare(job={"seed": seed}, first_seed=-1)
    assert _seeds(whole) == _seeds(first)
    assert _seeds(compare(**CHANCE)) != _seeds(first)


def test_a_run_that_broke_off_goes_on_and_a_damaged_file_is_no_trouble(
    web: Web, compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = web.module("compare.unfinished")
    unfinished._path().parent.mkdir(exist_ok=True)
    for text in ("[1, 2", '{"a": 1}', "[]", '{"a": ["x", 2]}'):
        unfinished._path().write_text(text)
        assert unfinished.seeds_of("a") is None
    runner, count = web.module("compare.run").Runner, iter(range(100))
    take = runner._take

    def broken(self: Any, *args: Any) -> None:
        take(self, *args)
        if next(count) == 2:
            raise MemoryError

    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(runner, "_take", broken)
        compare(**CHANCE)
    done = compare(**CHANCE)
    assert "3 images were there" in done.comments


EVIL = "<img src=x onerror=alert(1)> \N{GRINNING FACE}\u2028" + "very long words " * 300


def test_whole_prompts_as_names_of_settings_stay_short_and_text(web: Web, compare: Any) -> None:
    own = _axis("Prompt words", str, "negative_prompt")
    web.module("xyz.axes").module().axis_options.append(own)
    done = compare(x="Prompt words", x_values=f"{EVIL},other {EVIL}", prompts=f"a red circle {EVIL}", seeds=2)
    assert all(len(line) < 700 for line in done.comments.splitlines())
    assert "<img src=x" not in (_folder(done) / "report.html").read_text("utf-8")


def test_a_long_name_makes_a_folder(compare: Any) -> None:
    name = "\U00020000" * 100
    done = compare(name=name, prompts="", seeds=1)
    assert 10 < len(_folder(done).name) <= 80 and _folder(done).parent.name == "hps-compare"


def test_skipped_images_can_be_made_later(web: Web, compare: Any) -> None:
    with web.stop_at(2, skip=True):
        done = compare(**CHANCE)
    seed = int(_seeds(done)[0])
    assert f"With the first seed {seed} another run makes what is not there" in done.comments
    assert _made(web, compare, first_seed=seed, job={"seed": -1}) == 1
