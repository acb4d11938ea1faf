"""`hps best-of` and `hps demo`, on an untrained generator with a fake scorer, and on the shipped pair."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hpskit import cli, metadata, stamp
from hpskit.commands import demo, making
from hpskit.embedded.generator import NETWORK_FILE, Generator
from hpskit.embedded.mmdit import MMDiT, Widths
from hpskit.embedded.text import TextEncoder
from hpskit.paths import models_dir
from hpskit.scorers import FakeScorer

SHIPPED = all((models_dir() / "tiny" / name).is_file() for name in (NETWORK_FILE, f"{making.SCORER}.safetensors"))
shipped = pytest.mark.skipif(not SHIPPED, reason="the miniature's weights are not in models/tiny")


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    generator = Generator(MMDiT(Widths(1, 16, 128, 128, 4)), TextEncoder())
    monkeypatch.setattr(making, "load", lambda: (generator, FakeScorer()))


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.mark.usefixtures("untrained")
def test_best_of_keeps_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found"
    assert run("best-of", "a red heart", "-n", 5, "-k", 2, "--seed", 7, "--size", 32, "--out", out) == 0
    printed, remarks = capsys.readouterr()
    assert printed.isascii()
    assert making.PLAIN_WORDS in remarks
    pictures = sorted(out.glob("*.png"))
    records: list[dict[str, Any]] = [stamp.read(path) or {} for path in pictures]
    assert [record["rank"] for record in records] == [1, 2]
    assert records[0]["value"] >= records[1]["value"]
    assert all(record["seed"] in range(7, 12) and record["pool"] == 5 for record in records)
    info = metadata.read_prompt(pictures[0])
    assert info is not None
    assert (info.positive, info.seed) == ("a red heart", records[0]["seed"])
    with Image.open(pictures[0]) as image:
        assert image.size == (32, 32)
    best = re.search(r"Best: seed (\d+)", printed)
    assert best is not None
    assert int(best[1]) == records[0]["seed"]
    assert "<script" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("untrained")
def test_the_winner_is_the_seed_that_scores_best_alone(tmp_path: Path) -> None:
    generator, scorer = making.load()
    run("best-of", "a red heart", "-n", 4, "--size", 32, "--out", tmp_path)
    alone = [scorer.score(generator.generate("a red heart", [seed], size=32), "").tolist()[0] for seed in range(4)]
    record = stamp.read(next(tmp_path.glob("*.png")))
    assert record is not None
    assert record["seed"] == max(range(4), key=alone.__getitem__)


@pytest.mark.usefixtures("untrained")
def test_best_of_stops_early(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("best-of", "a red heart", "-n", 40, "--size", 32, "--out", tmp_path)
    assert run(*arguments, "--target", -1000) == 0
    assert "the target was reached" in capsys.readouterr().out
    assert run(*arguments, "--stop-gain", 1e9) == 0
    assert "not worth it" in capsys.readouterr().out
    assert run(*arguments, "--stop-gain", -1) == 2


@pytest.mark.usefixtures("untrained")
def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "hps-best-of"
    mine.mkdir()
    (mine / "report.html").write_text("mine")
    for _ in range(2):
        assert run("best-of", "a red heart", "-n", 2, "--size", 32, "--out", mine) == 0
    assert (mine / "report.html").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"hps-best-of", "hps-best-of-2", "hps-best-of-3"}
    (tmp_path / "file").write_text("mine")
    assert run("best-of", "a red heart", "-n", 2, "--size", 32, "--out", tmp_path / "file") == 0
    assert (tmp_path / "file-2" / "report.html").is_file()
    assert run("best-of", "a red heart", "-n", 2, "--size", 32, "--out", tmp_path / "file" / "sub") == 2


@pytest.mark.usefixtures("untrained")
def test_demo_ends_in_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "PROMPTS", demo.PROMPTS[:2])
    opened: list[str] = []
    monkeypatch.setattr(demo.webbrowser, "open", opened.append)
    assert run("demo", "-n", 3, "--out", tmp_path / "demo", "--open") == 0
    lines = capsys.readouterr().out.splitlines()
    page = tmp_path / "demo" / "report.html"
    assert len(lines) == 6
    assert "an optimised noise scored" in lines[3]
    assert "coloured shapes" in lines[0]
    assert lines[-1] == f"Report: {page}"
    assert opened == [page.as_uri()]
    html = page.read_text(encoding="utf-8")
    assert all(prompt in html for prompt in demo.PROMPTS)
    assert all(
        words in html
        for words in ("worst of 3", "first seed", "best of 3", "optimised noise", "as much compute as optimising")
    )
    assert making.PLAIN_WORDS.split(".")[0] in html
    assert "http://" not in html.replace("http://www.w3.org/", "")
    assert len(list((tmp_path / "demo").glob("best-*.png"))) == 2


def test_missing_miniature_is_one_clean_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hpskit.embedded.generator.models_dir", lambda: tmp_path)
    assert run("demo", "--out", tmp_path / "demo") == 2
    assert "install" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


@shipped
def test_the_shipped_pair_gains_by_picking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found"
    assert run("best-of", "a red heart on a blue background", "-n", 8, "--size", 64, "--out", out) == 0
    capsys.readouterr()
    assert run("rank", out, "-s", making.SCORER, "--device", "cpu", "--json") == 0
    printed, remarks = capsys.readouterr()
    assert "coloured shapes only" in remarks
    [pool] = json.loads(printed)["pools"]
    assert pool["prompt"] == "a red heart on a blue background"
    record = stamp.read(next(out.glob("*.png")))
    assert record is not None
    assert pool["candidates"][0][making.SCORER] == pytest.approx(record["value"], abs=1e-3)
