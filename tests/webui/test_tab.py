"""The tab's work without a page: whose server it is, folders, files that are put aside, tables that stay text."""

from __future__ import annotations

import html.parser
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

EVIL = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
SCORE = {"mode": "score", "scorer": "hps-tiny-shapes"}


class Tags(html.parser.HTMLParser):
    """Collects what is markup."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]


def picture(path: Path, color: str, prompt: str = "a red circle") -> Path:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", f"{prompt}\nSteps: 2, Sampler: Euler, CFG scale: 4.0, Seed: 1, Size: 64x64")
    Image.new("RGB", (64, 64), color).save(path, pnginfo=texts)
    return path


def finished(web: Any, plan: Any) -> Any:
    task = web.module("tab.scoring").begin(plan)
    list(task.watch(0.05))
    assert task.finished and not task.error, task.error
    return task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "pictures"
    where.mkdir()
    for color in ("red", "blue", "green"):
        picture(where / f"{color}.png", color)
    (where / "broken.png").write_bytes(b"no picture")
    return where


def plan(web: Any, folder: Path, **more: Any) -> Any:
    values = {"below": False, "uploads": None, "scorer": "hps-tiny-shapes", "prompt": "", "action": "nothing"}
    values |= {"keep": 1, "least": 0, "sub": "best", "stamp": False, **more}
    return web.module("tab.files")._plan(str(folder), *values.values())


def test_a_hostile_prompt_stays_text_on_the_leaderboard(web: Any) -> None:
    web.txt2img(SCORE, prompt=EVIL, seed=3)
    board = web.module("tab.board")
    found, total, at = board._page(0, "", "any", "any", "any", "any", "score")
    tags = Tags(board._table(found, at))
    assert total == 1 and tags.names.count("img") == 1 and "script" not in tags.names
    assert not [name for name in tags.attributes if name.startswith("on")]
    assert EVIL in board.infotext_of(found[0])


@pytest.mark.parametrize("sort", ["standing within the prompt", "newest", "score", "seed", "model", "CFG scale"])
def test_the_leaderboard_sorts_and_a_page_too_far_shows_the_last(web: Any, sort: str) -> None:
    for seed in (3, 4):
        web.txt2img(SCORE, prompt="a red circle", seed=seed)
    found, total, _ = web.module("tab.board")._page(7, "CIRCLE", "any", "", None, "webui", sort)
    assert total == len(found) == 2
    if sort == "score":
        assert found[0].score > found[1].score


def test_one_row_can_be_deleted(web: Any) -> None:
    web.txt2img(SCORE, seed=3, batch_size=2)
    ledger, board = web.module("record.recording").opened(), web.module("tab.board")
    found, _, _ = board._page(0, "", "any", "any", "any", "any", "seed")
    row = board._row(board._label(found[1], 1), [one.id for one in found])
    assert row.id == found[1].id and ledger.delete([row.id]) == 1
    assert [one.id for one in ledger.rows().rows] == [found[0].id]
    with pytest.raises(web.pack("hpskit.errors").LedgerError):
        board._row("9: gone", [row.id])


def test_files_are_scored_best_first_with_their_own_prompts(web: Any, folder: Path) -> None:
    task = finished(web, plan(web, folder))
    [(prompt, pool)] = task.outcome.pools()
    values = [web.module("tab.scoring").main_of(one) for one in pool]
    assert prompt == "a red circle" and len(pool) == 3 and values == sorted(values, reverse=True)
    assert [path.name for path, _ in task.outcome.failures] == ["broken.png"]
    written, _ = web.module("tab.files")._write(task.outcome)
    assert [path.suffix for path in written] == [".csv", ".html"] and all(path.is_file() for path in written)
    assert Tags(web.module("tab.files")._table(task.outcome)).names.count("img") == 3


def test_the_best_are_moved_and_nothing_is_written_over(web: Any, folder: Path) -> None:
    first = finished(web, plan(web, folder, action="copy the best of each prompt")).outcome
    [best] = first.placed
    assert first.remarks == ["1 file is copied to best."]
    taken = folder / "best" / best.name
    assert taken.read_bytes() == best.read_bytes()
    taken.write_bytes(b"somebody's own")
    moved = finished(web, plan(web, folder, action="move the best of each prompt", below=True)).outcome
    assert taken.read_bytes() == b"somebody's own"
    assert moved.placed == {best: folder / "best" / f"{best.stem}-2.png"} and not best.exists()


def test_those_below_the_threshold_go_aside(web: Any, folder: Path) -> None:
    action = "move those below the threshold"
    finished(web, plan(web, folder, action=action, least=1e9, sub="low"))
    assert sorted(path.name for path in (folder / "low").iterdir()) == ["blue.png", "green.png", "red.png"]


def test_scores_are_written_into_the_files_if_so_wished(web: Any, folder: Path) -> None:
    stamp = web.pack("hpskit.stamp")
    finished(web, plan(web, folder))
    assert stamp.read(folder / "red.png") is None
    finished(web, plan(web, folder, stamp=True))
    assert stamp.read(folder / "red.png")["prompt"] == "a red circle"


def test_stopping_keeps_what_is_scored_and_moves_nothing(web: Any, folder: Path) -> None:
    scoring = web.module("tab.scoring")
    task = scoring.Task(plan(web, folder, action="move the best of each prompt"))
    task.cancel()
    task._run()
    assert task.finished and not task.error and not (folder / "best").exists()


@pytest.mark.parametrize("sub", ["../out", "a/b", "..", "", "con", "x.", "\0"])
def test_a_subfolder_is_one_bare_name(web: Any, folder: Path, sub: str) -> None:
    if sub == "":
        assert plan(web, folder, sub=sub).target == folder / "best"
        return
    with pytest.raises(web.pack("hpskit.errors").OutputError):
        plan(web, folder, sub=sub)


@pytest.mark.parametrize("flags", [{"hide_ui_dir_config": True}, {"share": True}])
def test_folders_are_out_of_reach_where_the_owner_wants_it(
    web: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any]
) -> None:
    access = web.module("bridge.access")
    monkeypatch.setattr(access, "options", lambda: type("Flags", (), flags))
    with pytest.raises(access.NotAllowed):
        plan(web, folder)


def test_settings_are_compared_from_the_ledger(web: Any) -> None:
    for sampler in ("Euler", "Euler a"):
        for seed in (1, 2, 3):
            web.txt2img(SCORE, prompt="a red circle", seed=seed, sampler_name=sampler)
    compare = web.module("tab.compare")
    study, analysis = compare._study(compare.LEDGER, ["sampler"], "", "any", "any", True, None, None)
    assert {one.label for one in study.settings} == {"Euler", "Euler a"} and len(study.seeds) == 3
    assert "table" in Tags(compare._verdict(study, analysis)).names


def test_a_setting_without_pairs_is_told_as_such(web: Any) -> None:
    for steps, seeds in ((2, (1, 2)), (3, (1, 2, 8, 9)), (4, (8, 9))):  # 4 steps never meet 2 steps
        for seed in seeds:
            web.txt2img(SCORE, prompt="a red circle", seed=seed, steps=steps)
    compare = web.module("tab.compare")
    study, analysis = compare._study(compare.LEDGER, ["steps"], "", "any", "any", True, None, None)
    shown = compare._verdict(study, analysis)
    row = shown.partition("4 steps</td>")[2].partition("</tr>")[0]
    assert "no pairs" in row and "(-)" not in row and "1.000" not in row
    assert "4 steps cannot be judged against 2 steps itself" in shown


def test_a_comparison_of_the_script_is_opened_by_its_name(web: Any) -> None:
    compare, study, opts = web.module("tab.compare"), web.pack("hpskit.study"), web.host("shared").opts
    for sampler in ("Euler", "Euler a"):
        for seed in (1, 2, 3):
            web.txt2img(SCORE, prompt="a red circle", seed=seed, sampler_name=sampler)
    made = compare._study(compare.LEDGER, ["sampler"], "", "any", "any", True, None, None)[0]
    grids = web.folder / "grids"
    opts.outdir_txt2img_grids = str(grids)
    for age, name in ((60, "first"), (0, "second")):
        file = grids / "hps-compare" / name / "study.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(web.pack("hpskit.study.export").to_json(made, study.analyse(made))))
        os.utime(file, (file.stat().st_mtime - age,) * 2)
    assert list(compare.found()) == ["second (grids)", "first (grids)"]
    opened, _ = compare._study(compare.SAVED, [], "", "any", "any", True, "first (grids)", None)
    assert {one.label for one in opened.settings} == {"Euler", "Euler a"}
    for nothing in (None, "../../etc", "third (grids)"):
        with pytest.raises(web.pack("hpskit.errors").StudyError, match="Choose a comparison"):
            compare._study(compare.SAVED, [], "", "any", "any", True, nothing, None)
    web.host("shared").cmd_opts.share = True
    assert compare.found() == {}


def part(web: Any, name: str) -> dict[str, Any]:
    """Build a part of the tab and return its components by their element ids."""
    import gradio

    first = len(gradio.made)
    with gradio.Blocks(), gradio.Tab(name, id=name) as inside:
        web.module(f"tab.{name}").build(inside)
    found = [block for block in gradio.made[first:] if isinstance(block, gradio.Block)]
    return {block.elem_id: block for block in found if block.elem_id} | {"part": inside}


def fire(component: Any, event: str, *values: Any) -> dict[str, Any]:
    """Do what a person does, and return the answer by element id."""
    return taken(component.fire(event, type("Request", (), {})(), *values))


def taken(changed: dict[Any, Any]) -> dict[str, Any]:
    """Return an answer by element id; like gradio, take its updates apart, so that none is given twice."""
    told = {}
    for block, update in changed.items():
        told[block.elem_id] = dict(update) if isinstance(update, dict) else update
        if isinstance(update, dict):
            update.clear()
    return {name: update for name, update in told.items() if name}


def test_a_row_is_deleted_after_a_second_press_only(web: Any) -> None:
    web.txt2img(SCORE, seed=3, batch_size=2)
    made, ledger = part(web, "board"), web.module("record.recording").opened()
    filters = ("", "any", "any", "any", "any", "seed")
    shown = fire(made["hps_board_show"], "click", *filters)
    second = shown["hps_board_row"]["choices"][1]
    ids = [row.id for row in ledger.rows(web.module("tab.board")._query(0, *filters)).rows]
    asked = fire(made["hps_board_drop"], "click", second, ids)
    assert "Delete row 2" in asked["hps_board_status"] and ledger.rows().total == 2
    fire(made["hps_board_really_one"], "click", second, ids, 0, *filters)
    assert [row.id for row in ledger.rows().rows] == [ids[0]]
    assert "Choose a row" in fire(made["hps_board_drop"], "click", None, ids)["hps_board_status"]["value"]


FILTERS = ("", "any", "any", "any", "any", "seed")
FOUND = ("fox", *FILTERS[1:])


class Deleting:
    """The leaderboard's "Delete rows...", with what it asked; three rows of a circle, two of a fox, ten days old."""

    def __init__(self, web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = part(web, "board")
        self.ledger = web.module("record.recording").opened()
        self.asked: Any = None
        self.label = ""
        web.txt2img(SCORE, prompt="a circle", seed=3, batch_size=3)
        with monkeypatch.context() as patch:
            patch.setattr(self.ledger, "_clock", lambda: time.time() - 10 * 86400)
            web.txt2img(SCORE, prompt="a fox", seed=6, batch_size=2)

    def press(self, button: str, *values: Any, event: str = "click") -> str:
        """Press a button of the part, keep what it asks, and return what it says."""
        changed = self.made[f"hps_board_{button}"].fire(event, type("Request", (), {})(), *values)
        told = {getattr(block, "elem_id", None): update for block, update in changed.items()}
        [self.asked] = [new for block, new in changed.items() if type(new).__name__ in ("Asked", "NoneType")] or [0]
        self.label = told.get("hps_board_really", {}).get("value", "")
        if button == "purge":
            assert told["hps_board_days"] == 30
        status = told["hps_board_status"]
        return str(status["value"] if isinstance(status, dict) else status)

    total = property(lambda self: self.ledger.rows().total)


@pytest.fixture
def deleting(web: Any, monkeypatch: pytest.MonkeyPatch) -> Deleting:
    return Deleting(web, monkeypatch)


@pytest.mark.parametrize("age", [None, "", -1, -0.5, math.nan, math.inf, -math.inf, True, "0"])
def test_no_row_goes_for_what_is_no_number_of_days(deleting: Deleting, age: Any) -> None:
    deleting.press("purge", *FILTERS)
    deleting.press("days", 5, *FILTERS, event="change")
    asked = deleting.asked
    assert "Nothing is deleted" in deleting.press("really", age, asked, *FILTERS) and deleting.total == 5
    assert "Nothing is deleted" in deleting.press("days", age, *FILTERS, event="change")
    assert deleting.asked is None and deleting.label == "Delete them"


def test_the_question_says_how_many_rows_go_and_just_those_go(deleting: Deleting, web: Any) -> None:
    words = deleting.press("purge", *FILTERS)
    assert "No row is older than 30 days" in words and "holds 5 rows" in words and deleting.label == "Delete 0 rows"
    words = deleting.press("days", 5, *FILTERS, event="change")
    assert "Delete 2 rows that are older than 5 days, of 5?" in words and deleting.label == "Delete 2 rows"
    assert "2 rows are deleted" in deleting.press("really", 5, deleting.asked, *FILTERS) and deleting.total == 3
    assert {row.prompt for row in deleting.ledger.rows().rows} == {"a circle"}
    assert "Delete all 3 rows of the ledger?" in deleting.press("days", 0, *FILTERS, event="change")
    asked = deleting.asked
    web.txt2img(SCORE, prompt="made in between", seed=9)
    assert "3 rows are deleted" in deleting.press("really", 0, asked, *FILTERS)
    assert [row.prompt for row in deleting.ledger.rows().rows] == ["made in between"]


def test_the_question_says_that_a_filter_does_not_count(deleting: Deleting) -> None:
    assert "hides go, too" not in deleting.press("days", 5, *FILTERS, event="change")
    assert "rows that it hides go, too" in deleting.press("days", 5, *FOUND, event="change")
    assert "all 5 rows of the ledger, not only the 2 shown?" in deleting.press("days", 0, *FOUND, event="change")


def test_rows_are_asked_for_anew_when_they_are_others_by_now(deleting: Deleting) -> None:
    deleting.press("purge", *FILTERS)
    # The field says another thing than the question did, as when its own answer is still under way.
    assert "Delete all 5 rows" in deleting.press("really", 0, deleting.asked, *FILTERS) and deleting.total == 5
    asked = deleting.asked
    deleting.ledger.delete([deleting.ledger.rows().rows[0].id])
    words = deleting.press("really", 0, asked, *FILTERS)
    assert "has changed" in words and "Delete all 4 rows" in words and deleting.total == 4
    assert "Delete all 4 rows" in deleting.press("really", 0, None, *FILTERS) and deleting.total == 4
    assert "4 rows are deleted" in deleting.press("really", 0, deleting.asked, *FILTERS) and deleting.total == 0


def test_rows_of_a_clock_that_was_wrong_are_rows_as_well(
    deleting: Deleting, web: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleting.ledger, "_clock", lambda: time.time() + 1e6)
    web.txt2img(SCORE, prompt="of the future", seed=9)
    assert "Delete all 6 rows" in deleting.press("days", 0, *FILTERS, event="change")
    assert "6 rows are deleted" in deleting.press("really", 0, deleting.asked, *FILTERS)


def test_a_clicked_row_is_the_chosen_one(web: Any) -> None:
    web.txt2img(SCORE, seed=3, batch_size=2)
    made, board = part(web, "board"), web.module("tab.board")
    filters = ("", "any", "any", "any", "any", "seed")
    shown = fire(made["hps_board_show"], "click", *filters)
    assert 'data-row="2"' in shown["hps_board_rows"]["value"] and shown["hps_board_clicked"] == ""
    ids = [row.id for row in board._page(0, *filters)[0]]
    clicked = fire(made["hps_board_clicked"], "change", "2", ids)
    assert clicked == {"hps_board_row": shown["hps_board_row"]["choices"][1]}
    for wrong in ("", "9", "x"):
        assert "hps_board_row" not in fire(made["hps_board_clicked"], "change", wrong, ids)


def test_what_an_action_does_not_need_is_hidden_and_the_button_says_it_all(web: Any) -> None:
    made = part(web, "files")
    change = made["hps_files_action"].events[0].fn
    seen = {
        wish: {
            block.elem_id: update.get("visible", update.get("value"))
            for block, update in change(wish).items()
            if block.elem_id
        }
        for wish in web.module("tab.scoring").ACTIONS
    }
    assert list(seen["nothing"].values()) == [False, False, False, "Score"]
    assert list(seen["move the best of each prompt"].values()) == [
        True,
        False,
        True,
        "Score, then move the best of each prompt...",
    ]
    assert list(seen["copy those below the threshold"].values())[:3] == [False, True, True]


def pressed(made: dict[str, Any], button: str, *values: Any) -> list[dict[str, Any]]:
    """Press a button of the part for files, and return what it answers, step by step, by element id."""
    steps = made[button].fire("click", type("Request", (), {})(), *values)
    return [{block.elem_id or type(block).__name__: update for block, update in step.items()} for step in steps]


@pytest.mark.parametrize("action", ["move the best of each prompt", "move those below the threshold"])
def test_files_are_moved_after_a_second_press_only(web: Any, folder: Path, action: str) -> None:
    made = part(web, "files")

    def values(**changed: Any) -> list[Any]:
        given = {"below": False, "uploads": None, "scorer": "hps-tiny-shapes", "prompt": "", "action": action}
        given |= {"keep": 2, "least": 1e9, "sub": "away", "stamp": False, **changed}
        return [str(folder), *given.values()]

    [first] = pressed(made, "hps_files_run", *values())
    question = first["State"]
    assert question in first["hps_files_status"]["value"] and first["Row"]["visible"] is True
    assert "4 images" in question and "away" in question and not (folder / "away").exists()
    assert ("the 2 best of each prompt" if "best" in action else "below 1e+09") in question
    # What was confirmed is what is done: anything else is asked anew.
    [other] = pressed(made, "hps_files_really", question, *values(sub="elsewhere"))
    assert other["State"] != question and not list(folder.glob("*/"))
    *_, done = pressed(made, "hps_files_really", question, *values())
    assert len(list((folder / "away").iterdir())) == (2 if "best" in action else 3)
    assert "moved to away" in done["hps_files_status"]["value"]


def test_copies_are_made_without_a_question(web: Any, folder: Path) -> None:
    made = part(web, "files")
    values = ["hps-tiny-shapes", "", "copy the best of each prompt", 1, 0, "best", False]
    *_, done = pressed(made, "hps_files_run", str(folder), False, None, *values)
    assert "copied to best" in done["hps_files_status"]["value"]


def test_models_begin_with_the_one_of_the_panel(web: Any) -> None:
    made = part(web, "models")
    shown = fire(made["hps_models_refresh"], "click")
    assert shown["hps_models_name"]["value"].startswith("HPS v2.1") and not shown["hps_models_stop"]["visible"]
    table = shown["hps_models_list"]["value"]
    assert table.index("hps-v2.1") < table.index("aesthetic-v2") < table.index("hps-tiny-shapes")


def settings_compared(web: Any) -> dict[str, Any]:
    """Make images of two samplers and return the part that compares them."""
    for sampler in ("Euler", "Euler a"):
        for seed in (1, 2):
            web.txt2img(SCORE, prompt="a red circle", seed=seed, sampler_name=sampler)
    return part(web, "compare")


AWAY = {"value": None, "visible": False, "__type__": "update"}


def test_no_older_report_stands_beside_a_verdict_or_an_error(web: Any) -> None:
    made, origin = settings_compared(web), web.module("tab.compare").LEDGER
    values = [origin, ["sampler"], "", "any", "any", True, None, None]
    reported = fire(made["hps_compare_report"], "click", *values)
    assert reported["hps_compare_file"]["visible"] and "iframe" in reported["hps_compare_verdict"]["value"]
    compared = fire(made["hps_compare_run"], "click", *values)
    assert compared["hps_compare_file"] == AWAY and "Euler a" in compared["hps_compare_verdict"]["value"]
    values[2] = "nothing that is there"
    for button in ("run", "report"):
        failed = fire(made[f"hps_compare_{button}"], "click", *values)
        assert "hps-trouble" in failed["hps_compare_status"]["value"]
        assert failed["hps_compare_file"] == AWAY and failed["hps_compare_verdict"] == ""


@pytest.mark.parametrize("name", ["origin", "by", "search", "scorer", "model", "paired", "made", "study"])
def test_a_verdict_goes_when_another_thing_is_chosen(web: Any, name: str) -> None:
    choice = part(web, "compare")[f"hps_compare_{name}"]
    [event] = [one for one in choice.events if "show_progress" in one.more]
    assert event.name == "change" and {block.elem_id for block in event.outputs} == set(taken(event.fn()))
    assert taken(event.fn()) == {"hps_compare_status": "", "hps_compare_verdict": "", "hps_compare_file": AWAY}


def test_exported_rows_go_with_the_filter_that_they_were_of(web: Any) -> None:
    web.txt2img(SCORE, seed=3)
    made = part(web, "board")
    exported = fire(made["hps_board_export"], "click", *FILTERS)
    assert exported["hps_board_file"]["visible"] and "1 row is written" in exported["hps_board_status"]["value"]
    for name in ("search", "model", "sampler", "scorer", "source", "sort"):
        [event] = made[f"hps_board_{name}"].events[-1:]
        assert event.name == "change" and taken(event.fn()) == taken(event.fn()) == {"hps_board_file": AWAY}
    web.host("shared").cmd_opts.share = True
    assert fire(made["hps_board_export"], "click", *FILTERS)["hps_board_file"] == AWAY


def test_a_damaged_saved_comparison_is_said(web: Any, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text("[1, 2")
    with pytest.raises(web.pack("hpskit.errors").StudyError):
        web.module("tab.compare").opened(str(path))


def test_a_framed_page_may_run_nothing(web: Any) -> None:
    frame = web.module("tab.view").framed(f"<p>{EVIL}</p>")
    assert Tags(frame).names == ["iframe"] and 'sandbox=""' in frame
    assert "script" not in frame and "onerror" in frame  # a page without its script is the same page
