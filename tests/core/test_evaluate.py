"""`hps evaluate` from a file of human rankings to accuracies: what is missing, what is marked, what is written."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import benchmark_worlds as worlds
import pytest

from hpskit import cli
from hpskit.benchmark import rank_accuracy
from hpskit.commands import session

HPD = ("image_path", "rank")
REWARD = ("generations", "ranking")


class World:
    """Twenty ranked prompts, a scorer that mostly agrees with people and one that guesses."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, str] = HPD) -> None:
        self.root, self.test, self.images = root, root / "test.json", root / "images"
        self.items = worlds.rankings(self.test, self.images, keys, 20, seed=2)
        rng = random.Random(9)
        ranks = [rank for item in self.items for rank in item[keys[1]]]
        self.scores = [-rank + rng.gauss(0, 0.6) for rank in ranks]
        blind = [rng.gauss(0, 1) for _ in ranks]
        self.scorers = {
            "hps-v2.1": worlds.TableScorer(self.scores),
            "guess": worlds.TableScorer(blind, "guess", "Guess"),
        }
        monkeypatch.setattr(session, "load_scorer", lambda name, **options: self.scorers[str(name)])

    def run(self, *arguments: object) -> int:
        place = [str(self.test), "--images", str(self.images)]
        return cli.main(["evaluate", *place, *(str(argument) for argument in arguments)])

    def document(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
        capsys.readouterr()
        assert self.run("--json", *arguments) in (0, 1)
        return json.loads(capsys.readouterr().out)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_rank_accuracy_over_the_prompts(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    document = world.document(capsys)
    [result] = document["results"]
    at, each = 0, []
    for item in world.items:
        size = len(item["rank"])
        each.append(rank_accuracy(world.scores[at : at + size], item["rank"]))
        at += size
    assert result["rank_accuracy"]["value"] == pytest.approx(sum(each) / 20)
    assert (document["layout"], document["complete"], result["prompts"]) == ("hpdv2", True, 20)
    low, high = result["rank_accuracy"]["interval"]
    assert low <= result["rank_accuracy"]["value"] <= high


def test_a_scorer_that_ranks_as_people_do(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.scorers["hps-v2.1"].table[:] = -world.scorers["hps-v2.1"].table.new_tensor(
        [float(rank) for item in world.items for rank in item["rank"]]
    )
    [result] = world.document(capsys)["results"]
    names = ("rank_accuracy", "pair_accuracy", "pooled_pair_accuracy")
    assert [result[name]["value"] for name in names] == [1.0, 1.0, 1.0]
    world.scorers["hps-v2.1"].table.neg_()
    [result] = world.document(capsys)["results"]
    assert result["pooled_pair_accuracy"]["value"] == 0.0


def test_imagereward_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    world = World(tmp_path, monkeypatch, REWARD)
    document = world.document(capsys)
    assert document["layout"] == "imagereward"
    assert 0.5 < document["results"][0]["pooled_pair_accuracy"]["value"] < 1
    assert world.run() == 0
    assert "on ImageReward's own test set: 66.8" in capsys.readouterr().err
    assert world.run("--layout", "hpdv2") == 2
    assert "image_path" in capsys.readouterr().err


def test_scorers_are_compared_over_the_same_prompts(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    results = world.document(capsys, "-s", "hps-v2.1", "-s", "guess")["results"]
    first, second = (result["rank_accuracy"]["value"] for result in results)
    assert results[0]["against_first"] is None
    assert results[1]["against_first"]["value"] == pytest.approx(second - first)
    assert results[1]["against_first"]["interval"][1] < 0
    assert world.run("-s", "hps-v2.1", "-s", "guess") == 0
    out = capsys.readouterr().out
    assert "guess against hps-v2.1, rank accuracy: -" in out and "excludes 0" in out


def test_missing_images_are_named_and_there_is_no_figure(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.images / "part-3" / "0.jpg").unlink()
    assert world.run() == 2
    out, err = capsys.readouterr()
    assert not out and not world.scorers["hps-v2.1"].prompts
    assert str(Path("part-3") / "0.jpg") in err and "--partial" in err
    document = world.document(capsys, "--partial")
    assert (document["complete"], document["results"][0]["prompts"]) == (False, 19)
    assert "partial, not comparable with published figures" in document["label"]
    assert world.run("--partial") == 0
    out, err = capsys.readouterr()
    assert "partial" in out and "Published" not in err


def test_unreadable_images_are_named_and_there_is_no_figure(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.images / "part-3" / "0.jpg").write_bytes(b"\xff\xd8\xff no more")
    assert world.run() == 1
    out, err = capsys.readouterr()
    assert not out and "failed: " in err and "no figure" in err and "1 of 20 prompts" in err
    assert world.run("--partial") == 1
    assert "partial" in capsys.readouterr().out


def test_images_and_prompts_that_are_listed_twice_are_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    items = json.loads(world.test.read_text())
    assert world.run() == 0 and "isted" not in capsys.readouterr().err
    name = items[2]["image_path"][0]
    items[2]["image_path"][1] = f"./{name}"
    items.append({**items[4], "image_path": items[4]["image_path"][::-1], "rank": items[4]["rank"][::-1]})
    world.test.write_text(json.dumps(items))
    world.scores[:] = [0.0] * (len(world.scores) + 20)
    world.scorers["hps-v2.1"] = worlds.TableScorer(world.scores)
    assert world.run() == 0
    err = capsys.readouterr().err
    assert f"Listed twice for one prompt: ./{name}. No scorer" in err
    assert f"counted again: {items[4]['prompt'][:80]}" in err


def test_the_wrong_folder(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.root / "empty").mkdir()
    assert cli.main(["evaluate", str(world.test), "--images", str(world.root / "empty"), "--partial"]) == 2
    assert "Check --images" in capsys.readouterr().err
    assert cli.main(["evaluate", str(world.test), "--images", str(world.root / "gone")]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert cli.main(["evaluate", str(world.root / "gone.json"), "--images", str(world.images)]) == 2
    assert "cannot be read as JSON" in capsys.readouterr().err


def test_resume(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    state = world.root / "state.jsonl"
    first = world.document(capsys, "--resume", state)
    world.scorers["hps-v2.1"].prompts.clear()
    assert world.document(capsys, "--resume", state) == first
    assert world.scorers["hps-v2.1"].prompts == []


def test_result_files(world: World) -> None:
    names = {kind: world.root / f"result.{kind}" for kind in ("csv", "json", "html")}
    options = ("-s", "hps-v2.1", "-s", "guess", "--csv", names["csv"], "--json-file", names["json"])
    assert world.run(*options, "--html", names["html"]) == 0
    rows = list(csv.DictReader(names["csv"].open(encoding="utf-8")))
    assert len(rows) == 20
    document = json.loads(names["json"].read_text())
    mean = sum(float(row["hps-v2.1 rank_accuracy"]) for row in rows) / 20
    assert document["results"][0]["rank_accuracy"]["value"] == pytest.approx(mean)
    assert document["format"] == "hps-evaluate/1"
    page = names["html"].read_text(encoding="utf-8")
    assert "Agreement with people" in page and "Guess" in page
