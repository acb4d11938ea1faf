"""`hps compare` on files: which folders, which options, what is written, and what happens when something goes wrong."""

from __future__ import annotations

import csv
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from hpskit import cli
from hpskit.commands import bulk, compare_images, compare_output, compare_plan, session
from hpskit.commands.recording import Recorder
from hpskit.ledger import Entry, Ledger
from hpskit.scorers import FakeScorer
from hpskit.study import Cell, Setting, Study
from hpskit.study.export import from_json
from hpskit.types import ScorerInfo

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = [f"a {word} on a table" for word in ("fox", "owl", "cup", "key", "pear", "drum", "lamp", "boat")]


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "load_scorer", lambda name, **options: FakeScorer(str(name)))
    monkeypatch.setenv("HPS_LEDGER", "off")


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def picture(path: Path, red: float, prompt: str, seed: int, sampler: str = "Euler", more: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", f"{prompt}\nSteps: 20, Sampler: {sampler}, CFG scale: 7, Seed: {seed}{more}")
    Image.new("RGB", (8, 8), (max(min(round(red), 255), 0), 20, 40)).save(path, pnginfo=info)
    return path


def settings(place: Path, gains: dict[str, float], *, prompts: int = 8, seeds: int = 3) -> list[Path]:
    """Make a folder a setting: what a prompt and a seed give is the same in all, what the setting gains is added."""
    for name, gain in gains.items():
        rng, own = random.Random(1), random.Random(name)
        for p, prompt in enumerate(PROMPTS[:prompts]):
            for seed in range(seeds):
                red = 100 + 20 * rng.gauss(0, 1) + gain + 2 * own.gauss(0, 1)
                picture(place / name / f"{p}-{seed}.png", red, prompt, seed)
    return [place / name for name in gains]


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return settings(tmp_path, {"plain": 0, "better": 30, "same": 0})


def document(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, Any]:
    assert run("compare", *arguments, "--json") == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {one["label"]: one["verdict"] for one in found["analysis"]["comparisons"]}


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_better_setting_is_clear_and_an_equal_one_is_not(
    three: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", *three) == 0
    out, err = capsys.readouterr()
    assert "better is clearly better than plain" in out
    lines = [line for line in out.splitlines() if line.endswith(("clear: better", "no evidence"))]
    assert [line.split()[0] for line in lines] == ["better", "same"]
    assert "Paired by prompt and seed from the images' metadata: 72 images in 24 blocks of 8 prompts." in out
    assert "Traceback" not in err
    assert out.isascii()


def test_json_holds_the_analysis_and_reads_back(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, *three)
    assert verdicts(found) == {"better": "clear", "same": "no evidence"}
    assert found["failed"] == []
    study = from_json(found)
    assert [setting.label for setting in study.settings] == ["plain", "better", "same"]
    assert study.seeds == ("0", "1", "2")
    assert len(study.cells) == 72
    assert {(cell.width, cell.height) for cell in study.cells} == {(8, 8)}
    cell = study.cells[0]
    red = Image.open(cell.file).getpixel((0, 0))[0] / 255
    assert cell.saturation == pytest.approx(red - 20 / 255, abs=1e-6)
    assert cell.contrast == pytest.approx(0, abs=1e-6)
    assert len({cell.image_hash for cell in study.cells}) > 1


def test_the_reference_is_a_label(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert set(verdicts(document(capsys, *three, "--reference", "better"))) == {"plain", "same"}
    assert run("compare", *three, "--reference", "bettr") == 2
    assert "Did you mean better?" in capsys.readouterr().err


def test_a_prompt_for_all_and_names_for_partners(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, gain in (("a", 0), ("b", 60)):
        (tmp_path / name).mkdir()
        for k in range(6):
            Image.new("RGB", (8, 8), (60 + gain + 7 * k, 0, 0)).save(tmp_path / name / f"{k}.png")
    found = document(capsys, tmp_path / "a", tmp_path / "b", "-p", "red")
    assert (found["prompts"], found["seeds"]) == (["red"], [*"012345"])
    assert "Paired by prompt and file name: 12 images in 6 blocks of 1 prompt." in found["notes"]


def test_another_prompt_in_the_metadata_is_counted(
    three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state.jsonl"
    for _ in range(2):  # with --resume too, where nothing is read again
        options = ["--pair-by", "name", "-p", "A (fox:1.2)  on a table", "--resume", state, "--json"]
        assert run("compare", *three, *options) == 0
        out, err = capsys.readouterr()
        [note] = [note for note in json.loads(out)["notes"] if "in the metadata," in note]
        assert note.startswith('63 images name 7 other prompts in the metadata, such as "a owl on a table"')
        assert note.endswith("; they are scored against the one given.")
        assert note in err
    assert run("compare", *three, "--pair-by", "name", "-p", "a fox on a table") == 0
    out, err = capsys.readouterr()
    assert (out.count("63 images name"), err.count("63 images name")) == (1, 0)


def test_prompts_from_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["path,prompt"]
    for name in "ab":
        (tmp_path / name).mkdir()
        for k in range(4):
            Image.new("RGB", (8, 8), (60 * (name == "b") + 20 * k, 0, 0)).save(tmp_path / name / f"{k}.png")
            rows.append(f"{name}/{k}.png,{PROMPTS[k]}")
    (tmp_path / "prompts.csv").write_text("\n".join(rows))
    found = document(capsys, tmp_path / "a", tmp_path / "b", "--prompts", tmp_path / "prompts.csv")
    assert found["prompts"] == PROMPTS[:4]
    assert found["seeds"] == ["no. 1"]


def test_unpaired_folders_are_refused_until_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, start in (("a", 0), ("b", 100)):
        for seed in range(12):
            picture(tmp_path / name / f"{seed}.png", 100 + 0.4 * start + seed, PROMPTS[0], start + seed)
    folders = [tmp_path / "a", tmp_path / "b"]
    assert run("compare", *folders) == 2
    assert "--pair-by none" in capsys.readouterr().err
    found = document(capsys, *folders, "--pair-by", "none")
    assert found["seeds_shared"] is False
    assert verdicts(found) == {"b": "clear"}


def test_a_bad_file_is_named_and_the_rest_is_compared(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    (three[1] / "0-0.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    assert run("compare", *three[:2]) == 1
    out, err = capsys.readouterr()
    assert "0-0.png" in err
    assert "1 image had no partner: 0-0.png" in out
    assert "46 images in 23 blocks" in out


def test_nothing_readable_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"nothing")
    assert run("compare", tmp_path / "a", tmp_path / "b", "-p", "red") == 2
    assert "could be scored" in capsys.readouterr().err


def test_folders_inside_each_other_or_named_twice_are_refused(
    three: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", three[0], f"{three[0]}{os.sep}") == 2
    assert "named twice" in capsys.readouterr().err
    assert run("compare", three[0].parent, three[0], "-r") == 2
    assert "lies in both" in capsys.readouterr().err
    assert run("compare", three[0], three[1] / "0-0.png") == 2
    assert "is a file" in capsys.readouterr().err
    assert run("compare", three[0], three[0] / "missing") == 2
    assert "is no folder" in capsys.readouterr().err


def test_recursive_folders_pair_by_their_names_inside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        for inner in "xy":
            (tmp_path / name / inner).mkdir(parents=True)
            Image.new("RGB", (8, 8), (50, 0, 0)).save(tmp_path / name / inner / "1.png")
    found = document(capsys, tmp_path / "a", tmp_path / "b", "-r", "-p", "red")
    assert found["seeds"] == ["x/1", "y/1"]


def test_labels_are_short_and_unique(tmp_path: Path) -> None:
    folders = [tmp_path / "one" / "out", tmp_path / "two" / "out", tmp_path / "euler"]
    assert compare_images.labels_of(folders) == ("one/out", "two/out", "euler")
    assert compare_images.labels_of([Path("a b"), Path("a  b")]) == ("a b", "a b (2)")
    assert compare_images.labels_of([Path(os.sep), tmp_path]) == (os.sep, tmp_path.name)


@pytest.mark.skipif(sys.platform == "win32", reason="such names do not exist there")
def test_hostile_names_and_links(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = tmp_path / "<script>\x1b[31m\n=cmd"
    settings(tmp_path, {evil.name: 0, "b": 9}, prompts=2, seeds=2)
    (tmp_path / "c").symlink_to(tmp_path / "b")
    raw = os.fsdecode(b"\xff.png")
    (evil / raw).write_bytes((evil / "0-0.png").read_bytes())
    html, grid, table = tmp_path / "r.html", tmp_path / "g.png", tmp_path / "c.csv"
    outputs = ["--html", html, "--grid", grid, "--csv", table]
    assert run("compare", evil, tmp_path / "b", tmp_path / "c", *outputs) == 0
    out, _ = capsys.readouterr()
    assert "\x1b" not in out
    assert "4 pictures of b and c are identical" in out
    assert "<script>\x1b" not in html.read_text("utf-8")
    with Image.open(grid) as made:
        assert made.width > 100
    with table.open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.reader(stream))) == 13


# --- metadata ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    for k, (sampler, steps) in enumerate([("Euler", 20), ("Heun", 20), ("Euler", 8), ("Heun", 8)]):
        for p, prompt in enumerate(PROMPTS):
            tag = " <lora:film:0.5>" if sampler == "Heun" else ""
            path = picture(tmp_path / "all" / f"{k}-{p}.png", 100 + 9 * p + k, f"{prompt}{tag}", 3, sampler)
            info = PngImagePlugin.PngInfo()
            info.add_text("parameters", f"{prompt}{tag}\nSteps: {steps}, Sampler: {sampler}, CFG scale: 7, Seed: 3")
            Image.open(path).save(path, pnginfo=info)
    return tmp_path / "all"


def test_metadata_tells_the_settings(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, mixed, "--by", "sampler,steps,lora")
    assert [one["label"] for one in found["settings"]] == [
        *("Euler, 8 steps, no LoRA", "Euler, 20 steps, no LoRA"),
        *("Heun, 8 steps, film 0.5", "Heun, 20 steps, film 0.5"),
    ]
    assert found["prompts"] == PROMPTS  # the tag is no part of what is scored
    found = document(capsys, mixed)
    assert [axis["name"] for axis in found["axes"]] == ["lora", "sampler", "steps"]
    assert [one["label"] for one in document(capsys, mixed, "--by", "steps")["settings"]] == ["8 steps", "20 steps"]


def test_metadata_of_several_folders_with_by(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", *three[:2], "--by", "sampler") == 2
    assert "sampler of the images is always the same" in capsys.readouterr().err


def test_unknown_fields_are_refused(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", mixed, "--by", "smapler") == 2
    assert "name some of model, lora, sampler" in capsys.readouterr().err
    assert run("compare", mixed, "--pair-by", "name") == 2
    assert "several folders" in capsys.readouterr().err


# --- files ------------------------------------------------------------------------------------------------------------


def test_every_output_is_written_and_nothing_replaced(
    three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {kind: tmp_path / name for kind, name in
              {"html": "r.html", "grid": "g.webp", "csv": "c.csv", "json-file": "s.json"}.items()}  # fmt: skip
    options = [part for kind, path in places.items() for part in (f"--{kind}", path)]
    assert run("compare", *three, *options) == 0
    html = places["html"].read_text("utf-8")
    assert "better is clearly better than plain" in html
    assert html.count("data:image/") >= 3
    with Image.open(places["grid"]) as grid:
        assert grid.format == "WEBP"
    with places["csv"].open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 72
    assert from_json(json.loads(places["json-file"].read_text())).scorer.id == "hps-v2.1"
    before = {path: path.read_bytes() for path in places.values()}
    capsys.readouterr()
    for kind, path in places.items():
        assert run("compare", *three, f"--{kind}", path) == 2
        out, err = capsys.readouterr()
        assert "exists" in err
        assert "--force" in err
        assert not out
    assert {path: path.read_bytes() for path in places.values()} == before
    assert run("compare", *three[:2], "--csv", places["csv"], "--force") == 0
    assert places["csv"].read_bytes() != before[places["csv"]]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".hps-")]


def test_outputs_are_checked_before_anything_is_scored(
    three: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "run", lambda *a, **k: pytest.fail("scored too early"))
    assert run("compare", *three, "--html", tmp_path / "no" / "r.html") == 2
    assert run("compare", *three, "--grid", tmp_path / "grid.txt") == 2
    assert "let it end in .png" in capsys.readouterr().err
    assert run("compare", *three, "--csv", tmp_path / "x", "--json-file", tmp_path / "x") == 2
    assert "same name" in capsys.readouterr().err


def test_a_saved_comparison_is_analysed_again(
    three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "s.json"
    first = document(capsys, *three, "--json-file", saved)
    again = document(capsys, "--study", saved)
    assert again["analysis"] == first["analysis"]
    other = document(capsys, "--study", saved, "--reference", "same", "--confidence", 0.99)
    assert other["analysis"]["confidence"] == 0.99
    assert set(verdicts(other)) == {"plain", "better"}


def test_a_saved_comparison_shows_only_pictures_that_were_scored(
    three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, secret, pipe = tmp_path / "s.json", tmp_path / "secret.png", tmp_path / "pipe"
    assert run("compare", *three[:2], "--json-file", saved) == 0
    assert run("compare", "--study", saved, "--html", tmp_path / "whole.html") == 0
    whole = (tmp_path / "whole.html").read_text("utf-8").count("data:image/")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(secret)
    if hasattr(os, "mkfifo"):
        os.mkfifo(pipe)
    data = json.loads(saved.read_text())
    for k, cell in enumerate(data["cells"]):  # as a stranger might have it: files of the reader, hashes made up or none
        cell["file"] = str((secret, pipe, secret)[k % 3])
        cell["image_hash"] = (cell["image_hash"], cell["image_hash"], "")[k % 3]
    saved.write_text(json.dumps(data))
    assert run("compare", "--study", saved, "--html", tmp_path / "less.html", "--grid", tmp_path / "g.png") == 0
    assert (tmp_path / "less.html").read_text("utf-8").count("data:image/") == 0 < whole
    assert "internal error" not in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert compare_output.picture_of(Cell(0, 0, 0, 1.0, file=str(tmp_path / "pipe"))) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "other"}', "[" * 100_000, '{"format": "hps-study/1"}', "\xff"]
)
def test_what_is_no_saved_comparison_is_refused(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.json").write_bytes(text.encode("latin-1"))
    assert run("compare", "--study", tmp_path / "s.json") == 2
    err = capsys.readouterr().err
    assert "s.json" in err
    assert "internal error" not in err


def test_a_missing_saved_comparison_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "--study", tmp_path / "s.json") == 2
    assert "there is no such file" in capsys.readouterr().err


# --- long runs --------------------------------------------------------------------------------------------------------


def test_resume_scores_nothing_twice_and_loses_nothing(
    three: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = document(capsys, *three, "--resume", tmp_path / "r.jsonl")
    monkeypatch.setattr(FakeScorer, "score", lambda *a: pytest.fail("scored again"))
    again = document(capsys, *three, "--resume", tmp_path / "r.jsonl")
    assert again == first  # seeds, sizes and looks too, although no image was decoded to be scored
    assert run("compare", *three, "--resume", tmp_path / "r.jsonl", "--grid", tmp_path / "g.png") == 0


def test_ctrl_c_keeps_what_is_scored(
    three: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, calls = FakeScorer.score, iter(range(100))

    def interrupted(self: FakeScorer, *given: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(self, *given)

    monkeypatch.setattr(FakeScorer, "score", interrupted)
    arguments = [*three, "--resume", tmp_path / "r.jsonl", "--batch", 8, "--html", tmp_path / "r.html"]
    assert run("compare", *arguments) == 130
    assert "24 of 72 are kept" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()
    assert run("compare", *arguments) == 0
    assert "24 images unchanged since the last run." in capsys.readouterr().err


def test_pictures_are_not_kept_for_nothing(three: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpskit.ledger.picture.thumbnail_of", lambda *a: pytest.fail("a thumbnail nobody needs"))
    assert run("compare", *three) == 0


def test_a_picture_that_cannot_be_looked_at_still_counts(
    three: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("strange")

    monkeypatch.setattr(compare_images, "look_of", broken)
    found = document(capsys, *three, "-p", "red")
    assert len(found["cells"]) == 72
    assert found["seeds_shared"]


def test_images_are_recorded_unless_told_otherwise(
    three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "l.sqlite3"
    assert run("compare", *three, "--no-ledger") == 0
    assert not place.exists()
    capsys.readouterr()
    cells = document(capsys, *three, "--ledger-file", place)["cells"]
    with Ledger(place) as ledger:
        page = ledger.rows()
        assert page.total == len({(cell["image_hash"], cell["prompt"], cell["seed"]) for cell in cells}) > 60
        assert page.rows[0].has_thumbnail
    capsys.readouterr()


def test_two_scorers_the_first_decides(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, *three, "-s", "hps-v2.1", "-s", "pickscore-v1")
    assert found["scorer"]["id"] == "hps-v2.1"
    assert set(found["cells"][0]["parts"]) == {"hps-v2.1", "pickscore-v1"}
    assert set(found["part_names"]) == {"hps-v2.1", "pickscore-v1"}
    assert found["cells"][0]["score"] == found["cells"][0]["parts"]["hps-v2.1"]


# --- ledger -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    place, rng = tmp_path / "ledger.sqlite3", random.Random(3)
    with Ledger(place) as made:
        for prompt in PROMPTS:
            for seed in range(3):
                base = 20 + rng.gauss(0, 1)
                for sampler, gain in (("euler", 0.0), ("heun", 2.0)):
                    score = base + gain + 0.1 * rng.gauss(0, 1)
                    made.add([Entry(prompt, "hps-v2.1", "1", "crop", "float32", score, sampler=sampler, seed=seed)])
    return place


def test_the_ledger_is_compared_without_scoring(
    ledger: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "load_scorer", lambda *a, **k: pytest.fail("loaded a scorer"))
    found = document(capsys, "--ledger", "--ledger-file", ledger, "--by", "sampler")
    assert verdicts(found) == {"heun": "clear"}
    assert found["seeds"] == ["0", "1", "2"]
    found = document(capsys, "--ledger", "--ledger-file", ledger, "-p", PROMPTS[0])
    assert found["prompts"] == PROMPTS[:1]
    assert run("compare", "--ledger", "--ledger-file", ledger, "--until", "2020-01-01") == 2
    assert "no row to compare" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to compare"),
        (["--ledger", "--study", "x"], "--ledger and --study cannot go together"),
        (["pictures", "--ledger"], "images and --ledger cannot go together"),
        (["pictures", "--model", "sdxl", "--since", "2025-01-31"], "--model, --since choose rows of the ledger"),
        (["--ledger", "--no-ledger"], "leave one of them out"),
        (["--ledger", "-s", "a", "-s", "b"], "give --scorer once"),
        (["--study", "x", "--by", "sampler"], "--by has no effect"),
        (["x", "--confidence", "1"], "between 0.5 and 1"),
        (["x", "--plan", "0"], "above 0"),
        (["x", "--plan", "nan"], "above 0"),
        (["x", "--by", ","], "it is empty"),
        (["--ledger"], "The ledger is switched off"),
    ],
)
def test_wrong_use_says_what_to_do(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", *arguments) == 2
    assert words in capsys.readouterr().err


# --- plan -------------------------------------------------------------------------------------------------------------


def test_a_plan_needs_no_images(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "--plan", 0.5) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.startswith(" ")][1:]
    for prompts, seeds, images, *_ in rows:
        assert int(images) == 2 * int(prompts) * int(seeds)
    assert "usual for HPS" in out
    assert run("compare", "--plan", 0.5, "--json") == 0
    assert json.loads(capsys.readouterr().out)["difference"] == 0.5
    for absurd in ("1e-300", "5e-324"):
        assert run("compare", "--plan", absurd) == 0
        assert "shows a difference that small" in capsys.readouterr().out


def test_a_plan_and_a_saved_comparison_load_no_torch(three: list[Path], tmp_path: Path) -> None:
    saved = tmp_path / "s.json"
    assert run("compare", *three[:2], "--json-file", saved) == 0
    program = (
        "import sys; from hpskit import cli\n"
        f"assert cli.main(['compare', '--plan', '0.3']) == cli.main(['compare', '--study', {str(saved)!r}]) == 0\n"
        "assert not {'torch', 'open_clip'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_a_plan_with_images_measures_their_spread(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", *three, "--plan", 1) == 0
    assert "Spread as measured on these images" in capsys.readouterr().out
    assert run("compare", *three, "--plan", 1, "--json") == 0
    out, err = capsys.readouterr()
    json.loads(out)
    assert "Spread as measured" in err


def made_study(within: float, between: float, *, paired: bool, prompts: int = 400, seeds: int = 6) -> Study:
    rng = random.Random(5)
    cells = []
    for p in range(prompts):
        effect = between * rng.gauss(0, 1)
        for k in range(seeds):
            noise = 3 * rng.gauss(0, 1)
            for s in range(2):
                own = noise if paired else 0.0
                score = 20 + own + s * effect + within / math.sqrt(2) * rng.gauss(0, 1)
                cells.append(Cell(s, p, k, score))
    info = ScorerInfo("fake", "Fake", "fake", "1", "none", "float32")
    both = (Setting("a"), Setting("b"))
    texts, names = (tuple(map(str, range(number))) for number in (prompts, seeds))
    return Study("t", (), both, texts, names, tuple(cells), info, seeds_shared=paired)


@pytest.mark.parametrize("paired", [True, False])
def test_both_spreads_are_told_apart(paired: bool) -> None:
    found = compare_plan.spread_of(made_study(0.8, 0.5, paired=paired))
    assert found == (pytest.approx(0.8, rel=0.05), pytest.approx(0.5, rel=0.1))
    found = compare_plan.spread_of(made_study(0.8, 0.0, paired=paired))
    assert found is not None
    assert found[1] < 0.12


def test_no_spread_where_none_can_be_measured() -> None:
    assert compare_plan.spread_of(made_study(0.8, 0.5, paired=True, seeds=1)) is None
    found = compare_plan.spread_of(made_study(0.8, 0.5, paired=True, prompts=1, seeds=400))
    assert found == (pytest.approx(0.8, rel=0.1), 0.0)


def test_a_large_spread_between_prompts_asks_for_more_prompts(capsys: pytest.CaptureFixture[str]) -> None:
    made = compare_plan._planned(0.3, 1.0, 2.0, 2, 0.95)
    assert made.rows[-1].seeds is not None
    assert made.rows[-1].prompts > 40


# --- many images ------------------------------------------------------------------------------------------------------


def test_reading_is_bounded(three: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pictures whose scores are known no more are decoded at a time than there are threads."""
    held: list[Path] = []
    most, real, looked = [0], bulk.decode, compare_images.seen_of

    def decode(path: Path) -> Any:
        held.append(path)
        most[0] = max(most[0], len(held))
        return real(path)

    def seen_of(*given: Any, **options: Any) -> compare_images.Seen:
        found = looked(*given, **options)
        held.pop()
        return found

    monkeypatch.setattr(bulk, "decode", decode)
    monkeypatch.setattr(compare_images, "seen_of", seen_of)
    watcher = compare_images.Watcher(Recorder(None), pictures=True)
    paths = sorted(path for folder in three for path in folder.iterdir())
    watcher.catch_up(paths, 2)
    assert len(watcher.seen) == 72
    assert 1 <= most[0] <= 2


def test_the_command_runs_as_a_process(three: list[Path]) -> None:
    """With the embedded scorer, from the shell to the verdict."""
    command = [sys.executable, "-m", "hpskit", "compare", *map(str, three), "-s", "hps-tiny-shapes"]
    environment = {**os.environ, "HPS_LEDGER": "off", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 settings x 8 prompts x 3 seeds" in done.stdout
    assert "miniature" in done.stderr
