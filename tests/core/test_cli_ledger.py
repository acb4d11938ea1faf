"""`hps ledger`: finding, comparing, exporting and deleting what was recorded, and what happens when that goes wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpskit import cli
from hpskit.commands import ledger as command
from hpskit.commands import ledger_export, ledger_place
from hpskit.errors import LedgerError, OutputError
from hpskit.ledger import Entry, Ledger, Pick

ROOT = Path(__file__).resolve().parents[2]
FOX, OWL = "a red fox", "an owl at night"
HOSTILE = "=cmd|'/c calc'!A1 \x1b[31m\u202e<script>alert(1)</script>\r\nnext \U0001f98a"


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def entry(prompt: str, seed: int, score: float, **more: Any) -> Entry:
    values = {"sampler": "euler", "model": "sdxl", "steps": 20, "cfg": 7.0, "image_hash": f"{prompt}{seed}{more}"}
    known: dict[str, Any] = {**values, **more}
    return Entry(prompt, known.pop("scorer", "hps-v2.1"), "1", "crop", "float32", score, seed=seed, **known)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of two prompts, seeds 0 to 3, two samplers, written one second after the other from 1,000,000,000."""
    place = tmp_path / "ledger.sqlite3"
    now = iter(range(1_000_000_000, 2_000_000_000))
    with Ledger(place, clock=lambda: float(next(now))) as ledger:
        for prompt, base in ((FOX, 20.0), (OWL, 30.0)):
            for seed in range(4):
                ledger.add([entry(prompt, seed, base + seed)])
                ledger.add([entry(prompt, seed, base + seed + 0.5, sampler="dpmpp_2m")])
    return place


def rows(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    assert run("ledger", *arguments, "--json") == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["rows"]
    return found


# --- best -------------------------------------------------------------------------------------------------------------


def test_best_is_best_within_its_prompt(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, "best", "--ledger", path, "-n", 2)
    assert [(row["prompt"], row["seed"]) for row in found] == [(OWL, "3"), (FOX, "3")]
    assert found[0]["standing"] == pytest.approx(found[1]["standing"])
    assert run("ledger", "best", "--ledger", path) == 0
    out, err = capsys.readouterr()
    assert out.isascii()
    assert "sampler" in out.splitlines()[0]
    assert "do not compare" in err


def test_part_of_a_prompt_will_do(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {row["prompt"] for row in rows(capsys, "best", "--ledger", path, "-p", "FOX")} == {FOX}
    assert {row["prompt"] for row in rows(capsys, "best", "--ledger", path, "-p", OWL)} == {OWL}
    assert run("ledger", "best", "--ledger", path, "-p", "a") == 2
    assert FOX in (err := capsys.readouterr().err)
    assert OWL in err
    assert run("ledger", "best", "--ledger", path, "-p", "unicorn") == 2
    assert "No prompt" in capsys.readouterr().err


def test_best_by_model_and_scorer(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger(path) as ledger:
        ledger.add([entry(FOX, 9, 1.0, scorer="pickscore-v1"), entry(FOX, 8, 99.0, model="flux")])
    assert [row["seed"] for row in rows(capsys, "best", "--ledger", path, "-s", "pickscore-v1")] == ["9"]
    assert [row["seed"] for row in rows(capsys, "best", "--ledger", path, "--model", "flux")] == ["8"]


# --- list -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "number"),
    [
        ([], 16),
        (["--prompt", FOX], 8),
        (["--search", "OWL"], 8),
        (["--sampler", "euler"], 8),
        (["--model", "flux"], 0),
        (["--scorer", "hps-v2.1", "--sampler", "dpmpp_2m", "--search", "fox"], 4),
        (["--scheduler", "karras"], 0),
        (["--source", "cli"], 0),
        (["--since", "2001-09-09T01:46:50Z"], 6),
        (["--until", "2001-09-09T01:46:44+00:00"], 4),
    ],
)
def test_list_filters(path: Path, filters: list[str], number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(rows(capsys, "list", "--ledger", path, *filters)) == number
    assert run("ledger", "list", "--ledger", path, *filters) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == (number + 1 if number else 0)
    assert ("Nothing that fits" in err) == (number == 0)


def test_list_orders_and_pages(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    up = rows(capsys, "list", "--ledger", path, "--sort", "score", "--ascending", "-n", 3)
    assert [row["score"] for row in up] == [20.0, 20.5, 21.0]
    further = rows(capsys, "list", "--ledger", path, "--sort", "score", "--offset", 1, "-n", 2)
    assert [row["score"] for row in further] == [33.0, 32.5]
    assert run("ledger", "list", "--ledger", path, "-n", 3) == 0
    assert "3 of 16 rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [["-n", 0], ["-n", 1001], ["--offset", -1], ["--sort", "prompt"], ["--since", "yesterday"], ["--since", ""]],
)
def test_senseless_values_name_their_option(path: Path, wrong: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ledger", "list", "--ledger", path, *wrong) == 2
    assert f"{wrong[0]}" in capsys.readouterr().err


# --- compare ----------------------------------------------------------------------------------------------------------


def test_compare_is_within_prompts_and_claims_little(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ledger", "compare", "--by", "sampler", "--ledger", path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    best, other = document["settings"]
    assert (best["value"], best["groups"], best["wins"], best["pairs"]) == ("dpmpp_2m", 2, 8, 8)
    assert best["gain"] == pytest.approx(0.25)
    assert other["gain"] == pytest.approx(-0.25)
    assert "no test of significance" in document["note"]
    assert run("ledger", "compare", "--by", "sampler", "--ledger", path) == 0
    out, err = capsys.readouterr()
    assert "8/8" in out
    assert "+0.2500" in out
    assert "no test of significance" in err


@pytest.mark.parametrize("setting", ["scheduler", "steps", "cfg", "model"])
def test_every_setting_can_be_compared(path: Path, setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ledger", "compare", "--by", setting, "--ledger", path) == 0
    out, err = capsys.readouterr()
    values = {"steps": "20", "cfg": "7", "model": "sdxl"}
    assert out.split()[-1] == values[setting] if setting in values else "Nothing that fits" in err


def test_compare_needs_a_setting(path: Path) -> None:
    assert run("ledger", "compare", "--ledger", path) == 2
    assert run("ledger", "compare", "--by", "seed", "--ledger", path) == 2


# --- export -----------------------------------------------------------------------------------------------------------


def test_export_to_files(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger(path) as ledger:
        ledger.add([entry(HOSTILE, 1, 5.0)])
    table, lines = tmp_path / "rows.csv", tmp_path / "rows.jsonl"
    assert run("ledger", "export", "-o", table, "--ledger", path) == 0
    assert run("ledger", "export", "-o", lines, "--ledger", path, "--sampler", "euler") == 0
    assert "17 rows written" in (err := capsys.readouterr().err)
    assert "9 rows written" in err
    with table.open(encoding="utf-8", newline="") as stream:
        prompts = [row["prompt"] for row in csv.DictReader(stream)]
    assert len(prompts) == 17
    assert prompts[0] == f"'{HOSTILE}"
    assert json.loads(lines.read_text("utf-8").splitlines()[0])["prompt"] == HOSTILE
    assert {part.name for part in tmp_path.iterdir()} >= {"rows.csv", "rows.jsonl"}
    assert not list(tmp_path.glob(".hps-*"))


def test_export_replaces_by_force_only(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "rows.csv"
    target.write_text("precious")
    assert run("ledger", "export", "-o", target, "--ledger", path) == 2
    assert "--force" in capsys.readouterr().err
    assert target.read_text() == "precious"
    assert run("ledger", "export", "-o", target, "--ledger", path, "--force") == 0
    assert target.read_text("utf-8").startswith('"id","time","prompt"')


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_stays(
    path: Path, tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "rows.csv"
    plain = ledger_export._write

    def write(*arguments: Any) -> int:
        target.write_text("precious")
        return plain(*arguments)

    def no_link(*arguments: Any) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(ledger_export, "_write", write)
    if not links:
        monkeypatch.setattr(os, "link", no_link)
    assert run("ledger", "export", "-o", target, "--ledger", path) == 2
    assert target.read_text() == "precious"
    assert not list(tmp_path.glob(".hps-*"))
    monkeypatch.setattr(ledger_export, "_write", plain)
    assert run("ledger", "export", "-o", tmp_path / "other.csv", "--ledger", path) == 0
    assert (tmp_path / "other.csv").is_file()


def test_export_to_standard_output(path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with Ledger(path) as ledger:
        ledger.add([entry(HOSTILE, 1, 5.0)])
    assert run("ledger", "export", "-o", "-", "--ledger", path) == 0
    text = capsysbinary.readouterr().out.decode("utf-8")
    assert next(csv.DictReader(io.StringIO(text, newline="")))["prompt"] == f"'{HOSTILE}"
    assert run("ledger", "export", "-o", "-", "--format", "jsonl", "--ledger", path) == 0
    lines = capsysbinary.readouterr().out.decode("ascii").splitlines()
    assert json.loads(lines[0])["prompt"] == HOSTILE
    assert len(lines) == 17


def test_a_terminal_gets_no_control_characters(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Ledger(path) as ledger:
        ledger.add([entry(HOSTILE, 1, 5.0)])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for arguments in (["export", "-o", "-"], ["list"], ["best"], ["best", "-p", "alert"], ["compare", "--by", "model"]):
        assert run("ledger", *arguments, "--ledger", path) == 0
        for text in capsys.readouterr():
            assert text.isascii()
            assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "rows.xlsx"], "--format"),
        (["-o", "-", "--format", "parquet"], "Parquet"),
        (["-o", "no/such/folder/rows.csv"], "cannot be written"),
        (["-o", "."], "--format"),
        (["-o", ".", "--format", "csv", "--force"], "cannot be written"),
        (["-o", "a" * 300 + ".csv"], "cannot be written"),
    ],
)
def test_exports_that_cannot_be(
    path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    assert run("ledger", "export", *arguments, "--ledger", path) == 2
    assert words in (err := capsys.readouterr().err)
    assert "internal error" not in err


def test_parquet_or_what_it_needs(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "rows.parquet"
    code = run("ledger", "export", "-o", target, "--ledger", path)
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        assert code == 2
        assert "pyarrow" in capsys.readouterr().err
        assert not list(tmp_path.glob("*parquet*"))
    else:
        assert code == 0
        assert parquet.read_table(target).num_rows == 16


# --- info -------------------------------------------------------------------------------------------------------------


def test_info(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger(path) as ledger:
        low, high = (row.id for row in ledger.rows().rows[:2])
        low, high = sorted((low, high), key=lambda id: getattr(ledger.row(id), "score", 0.0))
        ledger.add_pick(Pick((low, high), chosen=high))
    monkeypatch.setenv("HPS_LEDGER", str(path))
    assert run("ledger", "info") == 0
    out = capsys.readouterr().out
    assert "Pictures: 16, of 2 prompts" in out
    assert "Picks by eye: 1" in out
    assert "hps-v2.1: the picture with the higher score was chosen in 1 of 1" in out
    assert "too few" in out
    assert "of at most 256 MB" in out
    assert "2001-09-0" in out
    assert run("ledger", "info", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["rows"], document["picks"], document["max_bytes"]) == (16, 1, 2**28)
    assert document["agreement"]["hps-v2.1"]["agree"] == 1
    assert run("ledger", "info", "--ledger", path) == 0
    assert "at most" not in capsys.readouterr().out, "the limit of a ledger elsewhere is its owner's"


# --- purge ------------------------------------------------------------------------------------------------------------


def count(path: Path) -> int:
    with Ledger(path) as ledger:
        return ledger.summary().rows


def test_purge_needs_a_yes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ledger", "purge", "--ledger", path) == 2
    assert run("ledger", "purge", "--all", "--before", "2020-01-01", "--yes", "--ledger", path) == 2
    assert run("ledger", "purge", "--all", "--ledger", path) == 2
    assert "--yes" in capsys.readouterr().err
    assert count(path) == 16
    assert run("ledger", "purge", "--before", "2001-09-09T01:46:44Z", "--yes", "--ledger", path) == 0
    assert "4 rows deleted" in capsys.readouterr().out
    assert count(path) == 12
    assert run("ledger", "purge", "--before", "1999-01-01", "--ledger", path) == 0
    assert "nothing to delete" in capsys.readouterr().err
    assert run("ledger", "purge", "--all", "--yes", "--ledger", path) == 0
    assert count(path) == 0


@pytest.mark.parametrize(("answer", "left"), [("yes\n", 0), ("y\n", 0), ("no\n", 16), ("\n", 16), ("", 16)])
def test_purge_asks_on_a_terminal(path: Path, answer: str, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("ledger", "purge", "--all", "--ledger", path) == 0
    assert count(path) == left


# --- which ledger -----------------------------------------------------------------------------------------------------

READERS: list[list[str]] = [
    ["best"],
    ["list"],
    ["info"],
    ["compare", "--by", "steps"],
    ["export", "-o", "-"],
    ["purge", "--all", "--yes"],
]


@pytest.mark.parametrize("arguments", READERS, ids=lambda arguments: arguments[0])
def test_a_missing_ledger_is_not_made(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "empty" / "ledger.sqlite3"
    missing.parent.mkdir()
    monkeypatch.setenv("HPS_LEDGER", str(missing))
    for more in ([], ["--ledger", missing], ["--ledger", missing.parent], ["--ledger", tmp_path / "nowhere" / "x"]):
        assert run("ledger", *arguments, *more) == 2
        assert "no ledger to read" in capsys.readouterr().err
    assert [place.name for place in tmp_path.rglob("*")] == ["empty"]


@pytest.mark.parametrize("inside", ["ledger.sqlite3", "__hps/ledger.sqlite3", "user/__hps/ledger.sqlite3"])
def test_the_folder_that_holds_it_will_do(
    path: Path, tmp_path: Path, inside: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "ComfyUI" / inside
    place.parent.mkdir(parents=True)
    path.rename(place)
    assert len(rows(capsys, "list", "--ledger", tmp_path / "ComfyUI")) == 16


def test_a_ledger_that_is_switched_off(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HPS_LEDGER", "OFF")
    assert run("ledger", "list") == 2
    assert "switched off" in capsys.readouterr().err
    assert len(rows(capsys, "list", "--ledger", path)) == 16


@pytest.mark.parametrize("name", ["", " ", "\0", "a" * 300, "CON/aux:?", "x" * 5000])
def test_strange_names_are_one_clean_error(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ledger", "list", "--ledger", name) == 2
    assert (err := capsys.readouterr().err).startswith("hps: error:")
    assert "internal error" not in err


def _text(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n and a holiday" * 99)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    import sqlite3

    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.execute("PRAGMA application_id = 1234")
    connection.close()


@pytest.mark.parametrize("spoil", [_text, _cut, _empty, _foreign])
def test_what_is_no_ledger_is_left_alone(
    path: Path, spoil: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(path)
    before = path.read_bytes()
    for arguments in READERS:
        assert run("ledger", *arguments, "--ledger", path) == 2
        assert (err := capsys.readouterr().err).startswith("hps: error:")
        assert "internal error" not in err
    assert path.read_bytes() == before
    assert [place.name for place in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(os.name == "nt", reason="needs a folder that cannot be written")
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_ledger_is_read_or_refused_cleanly(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        code = run("ledger", "list", "--ledger", path)
    finally:
        path.parent.chmod(0o700)
    out, err = capsys.readouterr()
    assert (code == 0 and FOX in out) or (code == 2 and err.startswith("hps: error:"))


def test_an_error_of_the_ledger_is_one_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LedgerError("Another program holds it.")

    monkeypatch.setattr(Ledger, "rows", fail)
    assert run("ledger", "list", "--ledger", path) == 2
    assert capsys.readouterr().err == "hps: error: Another program holds it.\n"


def test_times_that_no_calendar_has() -> None:
    assert command.moment(None) == command.moment(1e300) == command.moment(float("nan")) == "-"


def test_help_loads_neither_torch_nor_the_ledger() -> None:
    code = (
        "import sys; from hpskit import cli; cli.main(['ledger', '--help']); "
        "print([name for name in ('torch', 'PIL', 'sqlite3', 'hpskit.ledger') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "purge" in done.stdout


def test_reading_loads_no_torch(path: Path) -> None:
    code = "import sys; from hpskit import cli; cli.main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "ledger", "info", "--ledger", str(path)], cwd=ROOT)
    assert done.returncode == 0


def test_a_place_that_is_empty_is_refused() -> None:
    with pytest.raises(LedgerError, match="empty"):
        ledger_place.place("")
    with pytest.raises(OutputError, match="--format"):
        ledger_export._kind("rows.txt", None)
