"""`hps optimize` on the shipped miniature: files, resuming to the bit, Ctrl-C, and what is refused."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from hpskit import cli, metadata, stamp
from hpskit.commands import console, making, noise_making
from hpskit.errors import CheckpointMissing
from hpskit.search import load_state, noise_file, save_state

PROMPT = "a red heart above a blue star"
SMALL = ("--size", 32, "--steps", 2, "--cfg", 1, "--iterations", 4, "--screen", 3)


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in ("optimize", *arguments)])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pictures of a whole run, and its state."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(PROMPT, *SMALL, "--out", folder / "out", "--save-state", folder / "state", "--seed", 5) == 0
    return folder


def test_everything_is_written_and_can_be_made_again(saved: Path) -> None:
    out = saved / "out"
    assert {p.name for p in out.iterdir()} == {"start-seed-5.png", "best.png", "noise.safetensors", "report.html"}
    start, best = (stamp.read(out / name) or {} for name in ("start-seed-5.png", "best.png"))
    assert (start["seed"], start["prompt"]) == (5, PROMPT)
    assert best["value"] > start["value"]
    assert "seed" not in best, "no seed makes an optimised picture again"
    info = metadata.read_prompt(out / "best.png")
    assert info is not None
    assert info.positive == PROMPT
    kept = noise_file.read(out / best["noise"])
    generator, scorer = making.load()
    with torch.no_grad():
        image = generator.decode(generator.sample(PROMPT, kept.noise, 2, 1.0), 32)
        again = noise_making.score_again(scorer, image, PROMPT)
    assert again.tolist()[0] == pytest.approx(best["value"], abs=1e-4)
    record = kept.record
    assert (record.prompt, record.method, record.scorer, record.iterations) == (PROMPT, "geodesic", making.SCORER, 4)
    assert 0 < record.degrees < 60
    assert record.seed in range(5, 8)
    assert record.best[making.SCORER] > record.start[making.SCORER]


def test_the_report_shows_both_sides(saved: Path) -> None:
    html = (saved / "out" / "report.html").read_text(encoding="utf-8")
    state = load_state(saved / "state")
    evaluations = state["cost"]["forwards"] + 2 * state["cost"]["backwards"]
    assert f"best of {evaluations // 2}" in html
    for words in ("Before and after", "best so far", "current image", "Does the noise still look like noise?"):
        assert words in html
    assert making.PLAIN_WORDS.split(".")[0] in html
    assert html.count("<img") >= 5


def test_a_resumed_run_is_the_whole_run(
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    interrupt_after(5, monkeypatch)
    state = tmp_path / "state"
    asked = (PROMPT, *SMALL, "--seed", 5, "--out", tmp_path / "half", "--save-state", state)
    assert run(*asked) == 130
    printed, remarks = capsys.readouterr()
    assert "Stopped by hand" in printed
    assert "Ctrl-C again" in remarks
    assert (tmp_path / "half" / "report.html").is_file()
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert run(PROMPT, "--resume", state, "--out", tmp_path / "rest", "--no-compare", "--save-state", state) == 0
    whole, rest = (noise_file.read(path / "noise.safetensors") for path in (saved / "out", tmp_path / "rest"))
    assert torch.equal(whole.noise, rest.noise)
    assert whole.record == rest.record
    curves = [[{**row, "seconds": 0} for row in load_state(p)["curve"]] for p in (saved / "state", state)]
    assert curves[0] == curves[1]


def interrupt_after(updates: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def update(*_: object, **__: object) -> None:
        seen.append(1)
        if len(seen) == updates:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(console.Progress, "update", update)


def test_ctrl_c_during_the_comparison_keeps_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(8, monkeypatch)
    assert run(PROMPT, *SMALL, "--out", tmp_path) == 130
    assert "at the same cost" not in (tmp_path / "report.html").read_text(encoding="utf-8").split("Key facts")[0]
    assert (tmp_path / "best.png").is_file()


@pytest.mark.parametrize("method", ["reno", "sphere", "zero-order", "subspace"])
def test_every_method_runs(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--iterations", 2, "--method", method, "--out", tmp_path, "--no-compare", "--held-out", "none")
    assert run(PROMPT, *SMALL, *options) == 0
    record = noise_file.read(tmp_path / "noise.safetensors").record
    assert record.method == method
    assert record.best[making.SCORER] >= record.start[making.SCORER]
    assert "No held-out scorer" in capsys.readouterr().out


def test_no_second_miniature_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> Any:
        raise CheckpointMissing("not there")

    monkeypatch.setattr(noise_making, "load_scorer", missing)
    assert noise_making.watcher("") is None
    with pytest.raises(CheckpointMissing):
        noise_making.watcher("hps-v2.1")


def test_limits_end_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(PROMPT, *SMALL, "--out", tmp_path / "a", "--no-compare", "--target", -1000) == 0
    assert "target score was reached" in capsys.readouterr().out
    assert run(PROMPT, *SMALL, "--out", tmp_path / "b", "--no-compare", "--seconds", 1e-6) == 0
    assert "time was up" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        ("--method", "magic"),
        ("--iterations", "-1"),
        ("--iterations", "0"),
        ("--seconds", "nan"),
        ("--max-angle", "200"),
        ("--seed", "-1"),
        ("--seed", str(10**30)),
        ("--cfg", "inf"),
        ("--starts", "3", "--screen", "2"),
        ("--held-out", "hps-tiny-shapes"),
        ("--held-out", "nobody-knows"),
    ],
)
def test_senseless_options_are_refused(
    options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(PROMPT, "--out", tmp_path / "new", *options) == 2
    assert_one_error(capsys)
    assert not (tmp_path / "new").exists()


def assert_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    printed, remarks = capsys.readouterr()
    assert not printed
    [line] = [line for line in remarks.splitlines() if "error" in line]
    assert "internal" not in line
    assert "Traceback" not in remarks


def test_an_unwritable_place_is_refused_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert run(PROMPT, "--out", tmp_path / "file" / "sub") == 2
    assert_one_error(capsys)
    assert run(PROMPT, "--out", tmp_path / "new", "--save-state", tmp_path / "none" / "state") == 2
    assert_one_error(capsys)
    for odd in ("/", "."):
        assert run(PROMPT, "--out", odd) == 2
        assert_one_error(capsys)
    assert run(PROMPT, "--out", tmp_path / "new", "--resume", "") == 2
    assert_one_error(capsys)
    assert run("", "--out", tmp_path / "new") == 2
    assert_one_error(capsys)
    assert not (tmp_path / "new").exists()


def test_a_state_of_something_else_is_refused(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resume = ("--resume", saved / "state", "--out", tmp_path / "new")
    for prompt, options in [
        ("another prompt", ()),
        (PROMPT, ("--method", "reno")),
        (PROMPT, ("--seed", 6)),
        (PROMPT, ("--held-out", "none")),
        (PROMPT, ()),  # finished
        (PROMPT, ("--iterations", 3)),
    ]:
        assert run(prompt, *resume, *options) == 2
        assert_one_error(capsys)
    assert not (tmp_path / "new").exists()


def test_a_finished_run_takes_more_iterations(saved: Path, tmp_path: Path) -> None:
    more = ("--resume", saved / "state", "--iterations", 6, "--no-compare", "--out", tmp_path / "more")
    assert run(PROMPT, *more, "--save-state", tmp_path / "state") == 0
    assert [row["iteration"] for row in load_state(tmp_path / "state")["curve"]][-6:] == [1, 2, 3, 4, 5, 6]


def test_hostile_states_are_refused(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = load_state(saved / "state")
    unfinished = {**whole, "iteration": 2}
    bad: dict[str, dict[str, Any]] = {
        "empty": {},
        "no settings": {key: value for key, value in unfinished.items() if key != "settings"},
        "odd settings": {**unfinished, "settings": {**whole["settings"], "steps": "6"}},
        "evil size": {**unfinished, "settings": {**whole["settings"], "size": -5}},
        "no pool": {key: value for key, value in unfinished.items() if key != "pool"},
        "curve": {**unfinished, "curve": [{"phase": 3}]},
        "noises": {**unfinished, "noises": torch.zeros(3, 2)},
        "method": {**unfinished, "method": {"start": 3}},
        "best": {**unfinished, "best": "none"},
    }
    for state in bad.values():
        path = save_state(tmp_path / "state", state)
        assert run(PROMPT, "--resume", path, "--out", tmp_path / "new") == 2
        assert_one_error(capsys)
    data = (saved / "state").read_bytes()
    for content in (b"", b"garbage", data[:200], data[:-50], b"\xff" * 8 + data[8:]):
        (tmp_path / "state").write_bytes(content)
        assert run(PROMPT, "--resume", tmp_path / "state", "--out", tmp_path / "new") == 2
        assert_one_error(capsys)
    assert run(PROMPT, "--resume", tmp_path / "absent", "--out", tmp_path / "new") == 2
    assert_one_error(capsys)
