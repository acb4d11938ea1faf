"""The `hps` command: scoring, ranking and picking of files, with a scorer of ten lines in place of the network."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from hpskit import cli, stamp
from hpskit.commands import bulk, console, inputs, session
from hpskit.errors import CheckpointMissing
from hpskit.scorers import FakeScorer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "load_scorer", lambda name, **options: FakeScorer(str(name)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures, redder and redder, and one that is none."""
    place = tmp_path / "pictures"
    place.mkdir()
    for k, name in enumerate(["a.png", "b.jpg", "c.webp", "d.png"]):
        picture(place / name, 60 * k)
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (place / "notes.txt").write_text("not a picture")
    return place


def picture(path: Path, red: int, prompt: str | None = None) -> Path:
    info = PngImagePlugin.PngInfo()
    if prompt is not None:
        info.add_text("parameters", f"{prompt}\nSteps: 5, Seed: 1, Sampler: Euler")
    options: dict[str, Any] = {"pnginfo": info} if path.suffix == ".png" else {"quality": 95}
    Image.new("RGB", (8, 8), (red, 0, 0)).save(path, **options)
    return path


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def names(lines: str) -> list[str]:
    return [Path(line.split()[-1]).name for line in lines.splitlines() if line.strip()]


def test_score_goes_on_past_a_bad_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("score", folder, "--prompt", "red") == 1
    out, err = capsys.readouterr()
    assert names(out) == ["image", "a.png", "b.jpg", "c.webp", "d.png"]
    assert "broken.png" in err
    assert "1 image failed, 4 scored" in err
    assert "Traceback" not in err


def test_all_good_is_zero(folder: Path) -> None:
    (folder / "broken.png").unlink()
    assert run("score", folder, "--prompt", "red") == 0


def test_rank_orders_and_gives_margins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rank", folder, "-p", "red", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    rows = document["pools"][0]["candidates"]
    assert [Path(row["path"]).name for row in rows] == ["d.png", "c.webp", "b.jpg", "a.png"]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["margin"] == pytest.approx(rows[0]["hps-v2.1"] - rows[1]["hps-v2.1"])
    assert rows[-1]["margin"] is None
    assert document["failed"][0]["path"].endswith("broken.png")
    assert document["scorers"][0]["id"] == "hps-v2.1"


def test_rank_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("rank", folder, "-p", "red")
    out = capsys.readouterr().out
    assert names(out)[1:] == ["image", "d.png", "c.webp", "b.jpg", "a.png"]
    assert '"red"  4 images' in out


def test_different_prompts_are_ranked_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k, prompt in enumerate(["a fox", "a fox", "a (cat:1.2) <lora:x:1>"]):
        picture(tmp_path / f"{k}.png", 50 * k, prompt)
    assert run("rank", tmp_path, "--json") == 0
    out, err = capsys.readouterr()
    pools = json.loads(out)["pools"]
    assert [(pool["prompt"], len(pool["candidates"])) for pool in pools] == [("a fox", 2), ("a cat", 1)]
    assert session.NO_COMPARISON in err


def test_metadata_that_name_another_prompt_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k, prompt in enumerate(("a fox", "an (owl:1.3)", "an owl", None)):
        picture(tmp_path / f"{k}.png", 50 * k, prompt)
    for command in (["score"], ["rank", "--no-ledger"], ["pick", "--list"]):
        assert run(*command, tmp_path, "--prompt", "an  Owl") == 0
        noted = '1 image names another prompt in the metadata "a fox"; it is scored against the one given.'
        assert noted in capsys.readouterr().err
    run("score", tmp_path, "--prompt", "a cup")
    assert '3 images name 3 other prompts in the metadata, such as "a fox"; they are' in capsys.readouterr().err
    run("score", tmp_path / "1.png", tmp_path / "2.png")
    assert "another prompt" not in capsys.readouterr().err


def test_raw_prompt_is_not_cleaned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "0.png", 0, "a (cat:1.2)")
    run("score", tmp_path, "--raw-prompt", "--json")
    assert json.loads(capsys.readouterr().out)["results"][0]["prompt"] == "a (cat:1.2)"


def test_image_without_a_prompt_fails_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "with.png", 9, "a fox")
    picture(tmp_path / "without.png", 9)
    assert run("score", tmp_path) == 1
    out, err = capsys.readouterr()
    assert names(out) == ["image", "with.png"]
    assert "without.png: there is no prompt in its metadata" in err


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json"])
def test_prompts_from_a_file(folder: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("a.png", "one, \u2603"), (str(folder / "b.jpg"), "two"), ("c.webp", "one, \u2603")]
    table = folder / f"prompts.{kind}"
    if kind in ("csv", "tsv"):
        stream = io.StringIO()
        writer = csv.writer(stream, csv.excel if kind == "csv" else csv.excel_tab)
        writer.writerows([("File", "Prompt"), *rows])
        table.write_text("\ufeff" + stream.getvalue(), encoding="utf-8")
    elif kind == "jsonl":
        table.write_text("\n".join(json.dumps({"image": name, "caption": text}) for name, text in rows))
    else:
        table.write_text(json.dumps(dict(rows)))
    assert run("score", "--prompts", table, "--json") == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert {Path(row["path"]).name: row["prompt"] for row in found} == {
        "a.png": "one, \u2603",
        "b.jpg": "two",
        "c.webp": "one, \u2603",
    }
    assert run("score", folder, "--prompts", table) == 1
    assert "d.png" in capsys.readouterr().err


def test_bad_prompt_files_are_one_clean_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in {
        "a.csv": "x,y\n1,2\n",
        "b.json": "{",
        "c.jsonl": "[" * 100_000,
        "d.csv": "",
        "e.json": "3",
    }.items():
        (tmp_path / name).write_text(text)
        assert run("score", "--prompts", tmp_path / name) == 2
        err = capsys.readouterr().err
        assert err.startswith("hps: error:")
        assert "Traceback" not in err


def test_globs_recursion_and_duplicates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = folder / "inner"
    inner.mkdir()
    picture(inner / "e.png", 1)
    picture(folder / ".hidden.png", 1)
    monkeypatch.chdir(folder)

    def found(*paths: str, recursive: bool = False) -> list[str]:
        return [str(path) for path in inputs.find_images(paths, recursive)[0]]

    assert found("*.png", "a.png", "./a.png") == ["a.png", "broken.png", "d.png"]
    assert found(".") == ["a.png", "b.jpg", "broken.png", "c.webp", "d.png"]
    assert str(Path("inner/e.png")) in found(".", recursive=True)
    assert found("**/e.png") == [str(Path("inner/e.png"))]
    assert [failure.reason for failure in inputs.find_images(["nope.png", "*.xyz"], False)[1]] == [
        "no such file or folder"
    ] * 2


def test_nothing_to_score_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("score", tmp_path, "-p", "x") == 2
    assert "no image" in capsys.readouterr().err
    assert run("score") == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_links_and_garbage_are_skipped(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(folder / "pipe.png")
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    (folder / "folder.png").mkdir()
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"GIF89a\xff" * 9)
    (folder / "cut.jpg").write_bytes((folder / "b.jpg").read_bytes()[:-30])
    assert run("score", folder, "-p", "red", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    failed = {Path(entry["path"]).name for entry in document["failed"]}
    assert failed == {"broken.png", "pipe.png", "dangling.png", "empty.png", "text.jpg", "cut.jpg"}
    assert len(document["results"]) == 4


def test_csv_file(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    run("rank", folder, "-p", "red", "--csv", table)
    rows = list(csv.DictReader(table.open()))
    assert [Path(row["path"]).name for row in rows] == ["d.png", "c.webp", "b.jpg", "a.png"]
    assert float(rows[0]["hps-v2.1"]) > float(rows[1]["hps-v2.1"])
    assert run("score", folder, "-p", "red", "--csv", tmp_path / "no" / "folder.csv") == 2


def test_several_scorers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("rank", folder, "-p", "red", "-s", "one", "-s", "two", "--rule", "zsum", "--json")
    rows = json.loads(capsys.readouterr().out)["pools"][0]["candidates"]
    assert [Path(row["path"]).name for row in rows] == ["d.png", "c.webp", "b.jpg", "a.png"]
    assert {"one", "two", "key", "z"} <= rows[0].keys()


def test_write_metadata_keeps_the_rest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = picture(folder / "p.png", 100, "a fox")
    assert run("score", prompt, folder / "b.jpg", folder / "c.webp", "-p", "red", "--write-metadata") == 0
    for path in (prompt, folder / "b.jpg", folder / "c.webp"):
        record = stamp.read(path)
        assert record is not None
        assert (record["scorer"], record["prompt"]) == ("hps-v2.1", "red")
    with Image.open(prompt) as image:
        assert image.info["parameters"].startswith("a fox")
    bmp = folder / "e.bmp"
    Image.new("RGB", (4, 4)).save(bmp)
    assert run("score", bmp, "-p", "red", "--write-metadata") == 1
    out, err = capsys.readouterr()
    assert names(out)[-1] == "e.bmp"
    assert "could not be written" in err


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    decode = bulk.decode
    monkeypatch.setattr(bulk, "decode", lambda path: (seen.append(path.name), decode(path))[1])
    return seen


def test_resume_skips_unchanged_files(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state.jsonl"
    seen = counted(monkeypatch)
    arguments = ("rank", folder, "-p", "red", "--resume", state, "--json")
    run(*arguments)
    assert sorted(seen) == ["a.png", "b.jpg", "broken.png", "c.webp", "d.png"]
    seen.clear()
    run(*arguments)
    assert seen == ["broken.png"]
    seen.clear()
    picture(folder / "a.png", 255)
    run(*arguments)
    assert sorted(seen) == ["a.png", "broken.png"]
    seen.clear()
    run("rank", folder, "-p", "another", "--resume", state)
    assert len(seen) == 5
    run("rank", folder, "-p", "red", "-s", "other", "--resume", state)
    assert len(seen) == 10


def test_resume_survives_a_kill(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state.jsonl"
    arguments = ("score", folder, "-p", "red", "--resume", state, "--json")
    run(*arguments)
    first = json.loads(capsys.readouterr().out)["results"]
    lines = state.read_bytes().splitlines(keepends=True)
    state.write_bytes(b"".join(lines[:2]) + lines[2][:25])
    seen = counted(monkeypatch)
    run(*arguments)
    assert len(seen) == 3
    again = json.loads(capsys.readouterr().out)["results"]
    assert {row["path"]: row["scores"] for row in again} == {row["path"]: row["scores"] for row in first}
    assert len(state.read_bytes().splitlines()) == 4


def test_resume_after_stamping_and_stamping_after_resume(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.jsonl"
    seen = counted(monkeypatch)
    run("score", folder / "a.png", "-p", "red", "--resume", state)
    run("score", folder / "a.png", "-p", "red", "--resume", state, "--write-metadata")
    assert stamp.read(folder / "a.png") is not None
    before = (folder / "a.png").stat().st_mtime_ns
    run("score", folder / "a.png", "-p", "red", "--resume", state, "--write-metadata")
    assert seen == ["a.png"]
    assert (folder / "a.png").stat().st_mtime_ns == before


def test_resume_refuses_a_foreign_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("my diary\nsecond line\n", "my diary", '{"json": 1}\n'):
        foreign = tmp_path / "diary.txt"
        foreign.write_text(text)
        assert run("score", folder, "-p", "red", "--resume", foreign) == 2
        assert "no resume file" in capsys.readouterr().err
        assert foreign.read_text() == text


def test_interruption_keeps_what_was_done(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state.jsonl"
    calls = iter(range(10))
    plain = FakeScorer.score

    def score(self: FakeScorer, images: Any, prompts: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return plain(self, images, prompts)

    monkeypatch.setattr(FakeScorer, "score", score)
    assert run("score", folder, "-p", "red", "--resume", state, "--batch", 1) == 130
    assert len(state.read_bytes().splitlines()) == 2
    assert "goes on from there" in capsys.readouterr().err


def test_pick_lists_the_best(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("pick", folder, "-p", "red", "--list")
    assert names(capsys.readouterr().out) == ["d.png"]
    run("pick", folder, "-p", "red", "--list", "-k", 2)
    assert names(capsys.readouterr().out) == ["d.png", "c.webp"]
    run("pick", folder, "-p", "red", "--list", "--min-score", 40)
    assert names(capsys.readouterr().out) == ["d.png", "c.webp"]
    run("pick", folder, "-p", "red", "--list", "--min-score", 99)
    assert names(capsys.readouterr().out) == []
    run("pick", folder, "-p", "red", "--list", "--min-score", 99, "--empty", "best")
    assert names(capsys.readouterr().out) == ["d.png"]
    assert run("pick", folder, "-p", "red", "--min-score", 99, "--empty", "error") == 2
    assert run("pick", folder, "-p", "red", "--keep", 0) == 2
    capsys.readouterr()
    assert run("pick", folder, "-p", "red", "--json") == 1
    pool = json.loads(capsys.readouterr().out)["pools"][0]
    assert [row["kept"] for row in pool["candidates"]] == [True, False, False, False]


def test_pick_copies_without_overwriting(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "best"
    target.mkdir()
    (target / "d.png").write_bytes(b"somebody else's")
    for _ in range(2):  # the second run finds its own copy
        run("pick", folder, "-p", "red", "-k", 2, "--copy-to", target)
    assert sorted(path.name for path in target.iterdir()) == ["c.webp", "d-2.png", "d.png"]
    assert (target / "d.png").read_bytes() == b"somebody else's"
    assert (target / "d-2.png").read_bytes() == (folder / "d.png").read_bytes()


def test_pick_moves_without_overwriting(folder: Path, tmp_path: Path) -> None:
    content = (folder / "d.png").read_bytes()
    target = tmp_path / "best"
    target.mkdir()
    (target / "d.png").write_bytes(b"somebody else's")
    run("pick", folder, "-p", "red", "--move-to", target)
    assert not (folder / "d.png").exists()
    assert (target / "d-2.png").read_bytes() == content
    assert (target / "d.png").read_bytes() == b"somebody else's"
    assert (folder / "c.webp").exists()


def test_pick_into_an_impossible_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    assert run("pick", folder, "-p", "red", "--move-to", blocker / "sub") == 1
    assert (folder / "d.png").exists()
    assert "cannot be put" in capsys.readouterr().err


def test_missing_weights_end_in_the_one_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.undo()
    for name in ("HPS_MODELS", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    for command in ("score", "rank", "pick"):
        assert run(command, folder, "-p", "x") == 2
        err = capsys.readouterr().err
        assert "hps models get hps-v2.1" in err
        assert "Traceback" not in err


def test_debug_shows_the_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*args: object, **options: object) -> None:
        raise CheckpointMissing("get it")

    monkeypatch.setattr(session, "load_scorer", missing)
    assert run("score", folder, "-p", "x", "--debug") == 2
    assert "Traceback" in capsys.readouterr().err

    def broken(*args: object, **options: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(session, "load_scorer", broken)
    assert run("score", folder, "-p", "x") == 2
    assert "internal error: RuntimeError: a bug" in capsys.readouterr().err


def test_output_is_ascii_whatever_the_files_are_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("\u2603\u00e9.png", "evil\x1b[31m\n.png"):
        try:
            picture(tmp_path / name, 10, "snow \u2603\nman")
        except OSError:
            pytest.skip("this file system takes no such names")
    for command in ("score", "rank", "pick"):
        run(command, tmp_path)
        out, err = capsys.readouterr()
        assert (out + err).isascii()
        assert "\x1b" not in out + err
    run("pick", tmp_path, "--list", "-k", 2)
    assert "\u2603" in capsys.readouterr().out


def test_console_helpers() -> None:
    assert console.shorten("abcdefghijklmnop", 9) == "abc...nop"
    assert console.size_text(1_972_490_005) == "1.97 GB"
    assert (console.duration(7), console.duration(3700)) == ("0:07", "1:01:40")
    assert console.table(["n", "name"], [["1", "x"], ["10", "yy"]]) == [" n  name", " 1  x", "10  yy"]


def test_progress_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        bar = console.Progress("Scoring", 3)
        for done in (1, 2, 3):
            bar.update(done)
        bar.close()
        assert ("3/3" in stream.getvalue()) is drawn


def test_help_and_version_load_no_torch() -> None:
    program = (
        "import sys, contextlib, io; from hpskit import cli\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "    codes = [cli.main(a.split()) for a in ('--help', '--version', 'score --help', 'compare --help')]\n"
        "assert codes == [0, 0, 0, 0] and 'hps 0' in out.getvalue(), codes\n"
        "assert not {'torch', 'open_clip', 'numpy', 'scipy', 'PIL', 'sqlite3'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_wrong_use_is_two(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["nonsense"], ["score", "x", "--mode", "wrong"], ["score", "x", "--batch", "0"], ["models"]):
        assert cli.main(arguments) == 2
    assert cli.main(["score", "x", "--prompt", "a", "--prompts", "b"]) == 2
    assert "not allowed with" in capsys.readouterr().err


def test_python_m_and_a_closed_pipe(folder: Path) -> None:
    environment = {**os.environ, "HPS_MODELS": str(folder), "COLUMNS": "20", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "hpskit", "models", "list"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "hps-v2.1" in done.stdout
    reader, writer = os.pipe()
    os.close(reader)
    try:
        closed = subprocess.run(command, cwd=ROOT, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert "Traceback" not in closed.stderr
    assert "Exception" not in closed.stderr


def test_scorers_from_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real loader: a tiny random network, two of them, and files that are none."""
    monkeypatch.undo()
    small_nets = pytest.importorskip("small_nets")
    first, second = small_nets.save(tmp_path / "one.pt"), tmp_path / "two.pt"
    small_nets.save(second, small_nets.open_clip_net(seed=1))
    images = [folder / "a.png", folder / "d.png"]
    assert run("rank", *images, "-p", "a red fox", "-s", first, "--device", "cpu", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["pools"][0]["candidates"]) == 2
    assert document["pools"][0]["candidates"][0]["win_probability"] >= 0.5
    assert len(document["scorers"][0]["checkpoint"]) == 12
    assert run("rank", *images, "-p", "a red fox", "-s", first, "-s", second, "--device", "cpu", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["scorers"]) == 2
    long = "very " * 100 + "red"
    assert run("score", *images, "-p", long, "-s", first, "--device", "cpu") == 0
    assert "longer than 77 tokens" in capsys.readouterr().err
    cut = tmp_path / "cut.pt"
    cut.write_bytes(first.read_bytes()[:5000])
    for wrong in (cut, tmp_path / "nothing.pt", folder / "notes.txt"):
        assert run("score", *images, "-p", "x", "-s", wrong) == 2
        err = capsys.readouterr().err
        assert err.startswith("hps: error:")
        assert "Traceback" not in err
