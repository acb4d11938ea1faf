"""What the commands that score write into the ledger, and that recording never costs them a run."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from hpskit import cli, stamp
from hpskit.commands import bulk, making, noise_making, session
from hpskit.embedded.generator import Generator
from hpskit.embedded.mmdit import MMDiT, Widths
from hpskit.embedded.text import TextEncoder
from hpskit.errors import LedgerError, LedgerFull
from hpskit.ledger import Entry, Ledger, Query, Row
from hpskit.ledger import scored as entries
from hpskit.ledger.entry import MAX_THUMBNAIL
from hpskit.ledger.picture import pixel_hash, thumbnail_of
from hpskit.scorers import FakeScorer

ROOT = Path(__file__).resolve().parents[2]
INFOTEXT = "Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 6.5, Seed: {seed}, Model: dream\u00e9"


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ledger of the environment, not there yet."""
    monkeypatch.setattr(session, "load_scorer", lambda name, **options: FakeScorer(str(name)))
    path = tmp_path / "data" / "ledger.sqlite3"
    monkeypatch.setenv("HPS_LEDGER", str(path))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of one prompt, redder and redder, and one that is none."""
    place = tmp_path / "pictures"
    place.mkdir()
    for seed in range(3):
        picture(place / f"{seed}.png", 60 * seed, "a fox <lora:ink:0.6>", seed)
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return place


def picture(path: Path, red: int, prompt: str, seed: int = 0, side: int = 300) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("parameters", f"{prompt}\nNegative prompt: blur\n{INFOTEXT.format(seed=seed)}")
    Image.new("RGB", (side, side // 2), (red, 0, 0)).save(path, pnginfo=info)
    return path


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def rows(path: Path) -> list[Row]:
    with Ledger(path) as opened:
        return list(opened.rows(Query(sort="seed", descending=False, limit=1000)).rows)


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["score"], ["rank"], ["pick"], ["score", "--json"], ["pick", "--list"]])
def test_every_scored_picture_is_recorded(folder: Path, ledger: Path, command: list[str]) -> None:
    assert run(*command, folder) == 1
    found = rows(ledger)
    assert [(row.prompt, row.seed, row.scorer) for row in found] == [("a fox", k, "hps-v2.1") for k in range(3)]
    first = found[0]
    assert (first.negative, first.sampler, first.steps, first.cfg, first.model) == (
        *("blur", "Euler a", 20, 6.5),
        "dream\u00e9",
    )
    assert (first.scheduler, first.loras) == ("Karras", (("ink", 0.6),))
    assert (first.width, first.height, first.source) == (300, 150, "cli")
    assert first.file == str(folder / "0.png")
    assert len({row.run for row in found}) == 1
    assert found[2].score > found[0].score
    with Ledger(ledger) as opened, Image.open(io.BytesIO(opened.thumbnail(found[2].id) or b"")) as small:
        assert small.size == (256, 128)
        assert small.getpixel((9, 9))[0] == pytest.approx(120, abs=4)  # type: ignore[index]


def test_the_file_s_settings_are_kept_with_another_prompt(folder: Path, ledger: Path) -> None:
    run("score", folder, "--prompt", "a wolf")
    assert [(row.prompt, row.seed, row.steps) for row in rows(ledger)] == [("a wolf", seed, 20) for seed in range(3)]


def test_a_picture_without_metadata_is_recorded(tmp_path: Path, ledger: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "plain.bmp")
    assert run("score", tmp_path / "plain.bmp", "-p", "x") == 0
    [row] = rows(ledger)
    assert (row.seed, row.steps, row.model, row.width) == (None, None, "", 8)


def test_again_is_not_twice(folder: Path, ledger: Path) -> None:
    for command in ("score", "score", "rank"):
        run(command, folder)
    run("score", folder, "--write-metadata")
    run("score", folder)
    assert stamp.read(folder / "0.png") is not None
    assert len(rows(ledger)) == 3


def test_two_prompts_of_one_picture_are_two_rows(folder: Path, ledger: Path) -> None:
    (folder / "twice.csv").write_text("path,prompt\n0.png,one\n0.png,two\n")
    run("score", "--prompts", folder / "twice.csv")
    found = rows(ledger)
    assert sorted(row.prompt for row in found) == ["one", "two"]
    assert len({row.image_hash for row in found}) == 1


def test_several_scorers_are_one_row_with_parts(folder: Path, ledger: Path) -> None:
    run("rank", folder, "-s", "one", "-s", "two")
    found = rows(ledger)
    assert {row.scorer for row in found} == {"one+two"}
    assert set(found[0].parts) == {"one", "two"}


def test_a_resumed_run_records_the_rest(folder: Path, ledger: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    run("score", folder / "0.png", "--resume", state)
    assert len(rows(ledger)) == 1
    run("score", folder, "--resume", state)
    run("score", folder, "--resume", state)
    assert [row.seed for row in rows(ledger)] == [0, 1, 2]


def test_a_killed_run_has_recorded_what_it_says_it_remembers(
    folder: Path, ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = session.State.add, []

    def add(self: Any, job: Any, result: Any) -> None:
        plain(self, job, result)
        seen.append(len(rows(ledger)))

    monkeypatch.setattr(session.State, "add", add)
    run("score", folder, "--resume", tmp_path / "state.jsonl")
    assert seen == [1, 2, 3]


def test_moved_pictures_are_found_again(folder: Path, ledger: Path, tmp_path: Path) -> None:
    run("pick", folder, "--move-to", tmp_path / "best")
    run("pick", folder, "--copy-to", tmp_path / "second")
    assert [row.file for row in rows(ledger)] == [
        str(folder / "0.png"),
        str(folder / "1.png"),
        str(tmp_path / "best" / "2.png"),
    ]


def test_names_and_prompts_of_strangers(tmp_path: Path, ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = "'; DROP TABLE entries; -- \x1b[2J \u202e =1+1 \U0001f98a"
    place = picture(tmp_path / "a b'; \u2028\u00e9.png", 9, prompt)
    assert run("score", place, "--raw-prompt") == 0
    [row] = rows(ledger)
    assert (row.prompt, row.file) == (prompt, str(place))
    capsys.readouterr()
    assert run("ledger", "list") == 0
    for text in capsys.readouterr():
        assert text.isascii()
        assert text.replace("\n", "").isprintable()


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_no_unicode(tmp_path: Path, ledger: Path) -> None:
    name = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.png")  # noqa: PTH118
    place = Path(os.fsdecode(name))
    picture(place, 9, "x")
    assert run("score", place) == 0
    assert rows(ledger)[0].file == str(place)


def test_noise_has_a_thumbnail_that_fits(tmp_path: Path, ledger: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    run("score", tmp_path / "noise.png", "-p", "x")
    with Ledger(ledger) as opened:
        assert 0 < len(opened.thumbnail(1) or b"") <= MAX_THUMBNAIL


@pytest.mark.parametrize("size", [(1, 1), (4000, 1), (1, 700), (300, 200)])
def test_thumbnails_of_all_shapes(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    data = thumbnail_of(Image.new("RGB", size))
    with Image.open(io.BytesIO(data)) as small:
        assert max(small.size) <= 256
        assert small.format == "WEBP"
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    assert thumbnail_of(Image.new("RGB", size)).startswith(b"\xff\xd8")


def test_the_hash_is_of_the_pixels() -> None:
    tensor = torch.arange(3 * 4 * 5, dtype=torch.uint8).reshape(3, 4, 5)
    array = tensor.permute(1, 2, 0).contiguous().numpy()
    want = hashlib.blake2b(b"RGB (5, 4)" + array.tobytes(), digest_size=16).hexdigest()
    assert pixel_hash(entries.picture_of(tensor)) == pixel_hash(Image.fromarray(array)) == want


# --- on and off -------------------------------------------------------------------------------------------------------


def test_no_ledger_writes_nothing(folder: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "trace_of", lambda *_: pytest.fail("nothing is recorded"))
    run("score", folder, "--no-ledger")
    monkeypatch.setenv("HPS_LEDGER", " Off ")
    run("score", folder)
    assert not ledger.parent.exists()
    assert not Path("off").exists()


def test_a_ledger_that_is_named(folder: Path, ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "elsewhere" / "mine.sqlite3"
    run("score", folder, "--ledger", other)
    monkeypatch.setenv("HPS_LEDGER", "off")
    run("score", folder, "-p", "x", "--ledger", other)
    assert len(rows(other)) == 6
    run("score", folder, "--ledger", f"{tmp_path}/new/")
    assert len(rows(tmp_path / "new" / "ledger.sqlite3")) == 3
    assert not ledger.exists()
    assert run("score", folder, "--ledger", other, "--no-ledger") == 2


def test_a_ledger_of_another_host_is_not_cut_to_our_size(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []
    plain = Ledger.add

    def add(self: Ledger, entries: Any) -> list[int]:
        limits.append(self.max_bytes)
        return plain(self, entries)

    monkeypatch.setattr(Ledger, "add", add)
    run("score", folder / "0.png", "--ledger", tmp_path / "theirs.sqlite3")
    run("score", folder / "0.png")
    assert limits == [2**32, 2**28]


# --- bad luck ---------------------------------------------------------------------------------------------------------


def scored(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    out, err = capsys.readouterr()
    return sum(".png" in line for line in out.splitlines()), err


@pytest.mark.parametrize(
    "error", [LedgerFull("no room"), LedgerError("held by others"), RuntimeError("odd"), MemoryError(), OSError("io")]
)
def test_a_ledger_that_fails_costs_one_remark(
    folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Entry] = []

    def add(self: Ledger, entries: Any) -> list[int]:
        calls.extend(entries)
        if len(calls) > 1:
            raise error
        return [1]

    monkeypatch.setattr(Ledger, "add", add)
    assert run("score", folder) == 1
    number, err = scored(capsys)
    assert number == 3
    assert err.count("Nothing more is recorded in this run") == 1
    assert "Traceback" not in err
    assert len(calls) == 2


@pytest.mark.parametrize("part", ["trace_of", "picture_of", "made_of"])
def test_one_strange_picture_is_scored_without_an_entry(
    folder: Path, ledger: Path, part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, calls = getattr(entries, part), []

    def fail_once(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise MemoryError
        return plain(*arguments)

    monkeypatch.setattr(entries, part, fail_once)
    assert run("score", folder, "--threads", 1) == 1
    assert scored(capsys)[0] == 3
    assert len(rows(ledger)) == 2


def test_damaged_metadata_is_no_reason_to_fail(
    folder: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(path: Path) -> None:
        raise ValueError("damaged")

    monkeypatch.setattr(bulk.metadata, "read_prompt", fail)
    run("score", folder, "-p", "x")
    assert scored(capsys)[0] == 3
    assert len(rows(ledger)) == 3


def test_a_damaged_ledger_is_set_aside(folder: Path, ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.parent.mkdir()
    ledger.write_bytes(b"SQLite format 3\0" + b"\xa5" * 5000)
    assert run("score", folder) == 1
    assert scored(capsys)[0] == 3
    assert len(rows(ledger)) == 3
    assert [place.name for place in ledger.parent.glob("*corrupt*")]


@pytest.mark.parametrize("inside", [b"\x89PNG holiday" * 99, b"x"])
def test_a_file_that_is_no_ledger_is_left_alone(
    folder: Path, tmp_path: Path, inside: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "holiday.png"
    other.write_bytes(inside)
    assert run("score", folder, "--ledger", other) == 1
    number, err = scored(capsys)
    assert number == 3
    assert "is no ledger" in err
    assert other.read_bytes() == inside
    assert not list(tmp_path.glob("*corrupt*"))


@pytest.mark.parametrize("name", ["", "\0", "a" * 300, "blocked/ledger.sqlite3"])
def test_places_that_cannot_be(
    folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blocked").write_text("a file where a folder should be")
    assert run("score", folder, "--ledger", name) == 1
    number, err = scored(capsys)
    assert number == 3
    assert err.count("Nothing more is recorded") == 1


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write")
def test_a_read_only_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HPS_LEDGER", "/proc/self/ledger.sqlite3")
    assert run("score", folder) == 1
    number, err = scored(capsys)
    assert number == 3
    assert err.count("Nothing more is recorded") == 1


def test_a_python_without_sqlite_scores_all_the_same(folder: Path) -> None:
    code = (
        "import sys; sys.modules['sqlite3'] = None; from hpskit import cli; from hpskit.commands import session\n"
        "from hpskit.scorers import FakeScorer\n"
        "session.load_scorer = lambda name, **options: FakeScorer(name)\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "score", str(folder / "0.png")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "0.png" in done.stdout
    assert done.stderr.count("Nothing more is recorded") == 1


def test_an_interrupted_run_keeps_what_it_recorded(folder: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, calls = Ledger.add, []

    def add(self: Ledger, entries: Any) -> list[int]:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return plain(self, entries)

    monkeypatch.setattr(Ledger, "add", add)
    assert run("score", folder) == 130
    monkeypatch.undo()
    assert len(rows(ledger)) == 2


# --- pictures that are made -------------------------------------------------------------------------------------------


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    generator = Generator(MMDiT(Widths(1, 16, 128, 128, 4)), TextEncoder())
    monkeypatch.setattr(making, "load", lambda: (generator, FakeScorer()))
    monkeypatch.setattr(noise_making, "watcher", lambda wanted: None)


@pytest.mark.usefixtures("untrained")
def test_best_of_records_all_candidates(ledger: Path, tmp_path: Path) -> None:
    arguments = ("best-of", "a red heart", "-n", 5, "--seed", 7, "--size", 32, "--out", tmp_path / "made")
    assert run(*arguments) == 0
    found = rows(ledger)
    assert [row.seed for row in found] == list(range(7, 12))
    assert {(row.prompt, row.model, row.steps, row.cfg) for row in found} == {("a red heart", "shapes-mmdit", 6, 2.0)}
    assert all(row.has_thumbnail for row in found)
    [best] = [row for row in found if row.file]
    assert Path(best.file).is_file()
    assert best.score == max(row.score for row in found)
    with Image.open(best.file) as image:
        assert pixel_hash(image) == best.image_hash
    assert run(*arguments) == 0
    again = rows(ledger)
    assert len(again) == 5
    assert Path(next(row.file for row in again if row.file)).parent.name == "made-2"
    assert run(*arguments, "--no-ledger", "--size", 40) == 0
    assert len(rows(ledger)) == 5


@pytest.mark.usefixtures("untrained")
def test_optimize_records_start_result_and_rivals(ledger: Path, tmp_path: Path) -> None:
    options = ["--iterations", 2, "--screen", 1, "--size", 32, "--method", "sphere", "--out", tmp_path / "made"]
    assert run("optimize", "a red heart", *options) == 0
    found = rows(ledger)
    saved = {Path(row.file).name: row for row in found if row.file}
    assert saved["start-seed-0.png"].seed == 0
    best = saved.get("best.png")
    assert best is not None
    assert best.seed in (None, 0)
    assert (best.seed is None) == (best.extra.get("method") == "sphere")
    assert len([row for row in found if not row.file]) >= 1, "best of N at the same cost"


@pytest.mark.usefixtures("untrained")
def test_made_pictures_survive_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise LedgerFull("There is no room left.")

    monkeypatch.setattr(Ledger, "saved", full)
    assert run("best-of", "a red heart", "-n", 2, "--size", 32, "--out", tmp_path / "one") == 0
    assert "no room left" in capsys.readouterr().err
    monkeypatch.setattr(Ledger, "add", full)
    options = ["--iterations", 1, "--screen", 1, "--size", 32, "--method", "sphere", "--out", tmp_path / "two"]
    assert run("optimize", "a red heart", *options) == 0
    assert capsys.readouterr().err.count("Nothing more is recorded") == 1
