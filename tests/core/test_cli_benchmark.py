"""`hps benchmark` from folders to figures: what is missing, what cannot be read, what may be called the benchmark."""

from __future__ import annotations

import csv
import json
import math
import os
import random
from pathlib import Path
from typing import Any

import benchmark_worlds as worlds
import pytest
from PIL import Image

from hpskit import cli
from hpskit.benchmark import styles
from hpskit.commands import session

EACH = dict.fromkeys(worlds.STYLES, 20)
COUNT = 80


class World:
    """Prompts and two models' images, with the scores of all pictures."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = random.Random(4)
        self.root = root
        self.prompts = worlds.prompts(root / "prompts", EACH)
        following = worlds.model(root / "images" / "good", EACH)
        worlds.model(root / "images" / "weak", EACH, first=following)
        shared = [rng.gauss(28, 2) for _ in range(COUNT)]
        self.good = [value + rng.gauss(1, 0.5) for value in shared]
        self.weak = [value + rng.gauss(0, 0.5) for value in shared]
        self.scorer = worlds.TableScorer([*self.good, *self.weak])
        self.scorers: dict[str, Any] = {"hps-v2.1": self.scorer}
        monkeypatch.setattr(session, "load_scorer", lambda name, **options: self.scorers[str(name)])

    def run(self, *arguments: object, images: str = "images") -> int:
        place = [str(self.root / images), "--prompts", str(self.prompts)]
        return cli.main(["benchmark", *place, *(str(argument) for argument in arguments)])

    def document(self, capsys: pytest.CaptureFixture[str], *arguments: object, images: str = "images") -> Any:
        capsys.readouterr()
        assert self.run("--json", *arguments, images=images) in (0, 1)
        return json.loads(capsys.readouterr().out)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the benchmark had as few prompts as these tests."""
    monkeypatch.setattr(styles, "PROMPTS_EACH", 20)


def test_figures_of_a_model(world: World, official: None, capsys: pytest.CaptureFixture[str]) -> None:
    [result] = world.document(capsys, images="images/good")["results"]
    [model] = result["models"]
    assert (model["model"], model["label"]) == ("good", "HPS v2 benchmark")
    assert [style["style"] for style in model["styles"]] == list(worlds.STYLES)
    assert model["average"] == pytest.approx(math.fsum(world.good) / COUNT, abs=1e-5)
    assert model["styles"][1]["mean"] == pytest.approx(math.fsum(world.good[20:40]) / 20, abs=1e-5)
    low, high = model["interval"]
    assert low < model["average"] < high
    assert result["comparisons"] == []


def test_prompts_are_scored_as_they_are(world: World) -> None:
    assert world.run(images="images/good") == 0
    assert "photo number 3, (weight:1.2)" in world.scorer.prompts
    assert len(world.scorer.prompts) == COUNT


def test_models_are_compared_prompt_by_prompt(world: World, official: None, capsys: pytest.CaptureFixture[str]) -> None:
    [result] = world.document(capsys)["results"]
    [found] = result["comparisons"]
    assert (found["model"], found["against"], found["prompts"]) == ("weak", "good", COUNT)
    expected = (math.fsum(world.weak) - math.fsum(world.good)) / COUNT
    assert found["difference"] == pytest.approx(expected, abs=1e-5)
    assert found["verdict"] == "clear" and found["interval"][1] < 0
    assert result["order"] == ["good", "weak"]
    # The noise between prompts drops out of the difference, not out of the means.
    intervals = [model["interval"] for model in result["models"]]
    assert found["interval"][1] - found["interval"][0] < 0.6 * min(high - low for low, high in intervals)


def test_another_reference(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    [result] = world.document(capsys, "--reference", "weak")["results"]
    assert result["comparisons"][0]["against"] == "weak"
    assert world.run("--reference", "nobody") == 2
    assert "good, weak" in capsys.readouterr().err


def test_tables(world: World, official: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.run() == 0
    out = capsys.readouterr().out
    assert "good  (HPS v2 benchmark)" in out and "Average" in out and "Models on the same prompts" in out
    assert out.isascii()


def test_the_overview_has_the_best_model_first(
    world: World, official: None, capsys: pytest.CaptureFixture[str]
) -> None:
    world.scorer.table[:] = world.scorer.table.flip(0)  # now the second folder is the good one
    assert world.run() == 0
    lines = capsys.readouterr().out.splitlines()
    at = next(k for k, line in enumerate(lines) if line.split() == [*worlds.STYLES, "Average", "model"])
    assert [line.split()[-1] for line in lines[at + 1 : at + 3]] == ["weak", "good"]


def test_another_scorer_makes_no_benchmark(world: World, official: None, capsys: pytest.CaptureFixture[str]) -> None:
    world.scorers["other"] = worlds.TableScorer([*world.good, *world.weak], "other", "Other")
    results = world.document(capsys, "-s", "hps-v2.1", "-s", "other", images="images/good")["results"]
    labels = [result["models"][0]["label"] for result in results]
    assert labels == ["HPS v2 benchmark", "other scorer or preprocessing, not comparable with published figures"]
    assert [bool(result["published"]) for result in results] == [True, False]


def test_own_prompts_are_never_called_the_benchmark(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    document = world.document(capsys)
    labels = {model["label"] for model in document["results"][0]["models"]}
    assert labels == {"own prompts, not comparable with published figures"}
    assert document["prompts"]["official_form"] is False
    assert document["results"][0]["published"] == []


# --- missing and damaged images ---------------------------------------------------------------------------------------


def test_missing_images_are_named_and_there_is_no_figure(
    world: World, official: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in (3, 4, 5):
        (world.root / f"images/weak/photo/{k:05d}.jpg").unlink()
    (world.root / "images/weak/anime/00019.jpg").unlink()
    assert world.run() == 2
    out, err = capsys.readouterr()
    assert "weak: 4 of 80 images are missing: 1 of anime (00019), 3 of photo (00003-00005)" in err
    assert "--partial" in err
    assert not out and not world.scorer.prompts


def test_partial_figures_are_marked(world: World, official: None, capsys: pytest.CaptureFixture[str]) -> None:
    (world.root / "images/weak/photo/00003.jpg").unlink()
    [result] = world.document(capsys, "--partial")["results"]
    labels = {model["model"]: model["label"] for model in result["models"]}
    assert labels == {"good": "HPS v2 benchmark", "weak": "partial, not comparable with published figures"}
    assert result["models"][1]["styles"][3]["images"] == 19
    assert result["comparisons"][0]["prompts"] == 79
    world.run("--partial", images="images/weak")
    out = capsys.readouterr().out
    assert "weak  (partial, not comparable with published figures)" in out and "19 of 20" in out


def test_a_style_that_is_not_there_is_missing_too(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (world.root / "images/good/paintings").iterdir():
        path.unlink()
    (world.root / "images/good/paintings").rmdir()
    assert world.run(images="images/good") == 2
    assert "20 of paintings (00000-00019)" in capsys.readouterr().err
    [result] = world.document(capsys, "--style", "anime", "--style", "photo", images="images/good")["results"]
    assert [style["style"] for style in result["models"][0]["styles"]] == ["anime", "photo"]
    assert result["models"][0]["average"] is None


def test_unreadable_images_are_named_and_there_is_no_figure(
    world: World, official: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.root / "images/good/anime/00002.jpg").write_bytes(b"\xff\xd8\xff no more")
    assert world.run(images="images/good") == 1
    out, err = capsys.readouterr()
    assert not out
    assert "failed: " in err and "00002.jpg" in err
    assert "good: could not be scored: 1 of anime (00002)" in err
    assert "no figure" in err
    document = world.document(capsys, "--partial", images="images/good")
    assert document["results"][0]["models"][0]["label"].startswith("partial")
    assert document["failed"][0]["path"].endswith("00002.jpg")


def test_a_score_that_is_no_number_is_a_failure(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.scorer.table[7] = math.nan
    assert world.run(images="images/good") == 1
    assert "no finite number" in capsys.readouterr().err


def test_images_beyond_the_prompts_are_left_out(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    worlds.picture(world.root / "images/good/anime/00020.jpg", 1)
    assert world.run(images="images/good") == 0
    assert "1 numbered image beyond the last prompt" in capsys.readouterr().err


def test_a_folder_without_any_of_the_images(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.root / "images/bare/anime").mkdir(parents=True)
    assert world.run("--partial", images="images/bare") == 2
    assert "no image" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("--layout", "hpsv2")])
def test_a_folder_of_something_else(world: World, arguments: tuple[str, ...], capsys) -> None:
    (world.root / "other").mkdir()
    assert world.run(*arguments, images="other") == 2
    assert "neither" in capsys.readouterr().err
    assert world.run(*arguments, images="gone") == 2
    assert "is no folder" in capsys.readouterr().err


def test_nothing_to_score(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["benchmark"]) == 2
    assert "--get-prompts" in capsys.readouterr().err


# --- long runs --------------------------------------------------------------------------------------------------------


def test_resume_skips_what_is_known(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    state = world.root / "state.jsonl"
    first = world.document(capsys, "--resume", state)
    world.scorer.prompts.clear()
    changed = world.root / "images/good/anime/00000.jpg"
    worlds.picture(changed, 5)
    os.utime(changed, (1, 1))
    again = world.document(capsys, "--resume", state)
    assert len(world.scorer.prompts) == 1
    assert again["results"][0]["models"][1] == first["results"][0]["models"][1]
    assert again["results"][0]["models"][0] != first["results"][0]["models"][0]


def test_an_interrupt_keeps_what_was_done(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state, plain, calls = world.root / "state.jsonl", worlds.TableScorer.score, iter(range(10**6))

    def score(self: Any, images: Any, prompts: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return plain(self, images, prompts)

    monkeypatch.setattr(worlds.TableScorer, "score", score)
    assert world.run("--resume", state, "--batch", 10) == 130
    assert "30 of 160 are kept" in capsys.readouterr().err
    world.scorer.prompts.clear()
    assert world.run("--resume", state, "--batch", 10) == 0
    assert len(world.scorer.prompts) == 130


def test_result_files_are_checked_before_scoring(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--csv", "--json-file", "--html"):
        assert world.run(option, world.root / "no" / "such" / "folder.x") == 2
        assert "cannot be written" in capsys.readouterr().err
    assert not world.scorer.prompts


# --- result files and scorers -----------------------------------------------------------------------------------------


def test_result_files(world: World, official: None) -> None:
    worlds.prompts(world.prompts, {"anime": 20})
    texts = json.loads((world.prompts / "anime.json").read_text())
    (world.prompts / "anime.json").write_text(json.dumps(["=1+1", "<script>alert(1)</script>", *texts[2:]]))
    names = {kind: world.root / f"result.{kind}" for kind in ("csv", "json", "html")}
    assert world.run("--csv", names["csv"], "--json-file", names["json"], "--html", names["html"]) == 0
    rows = list(csv.DictReader(names["csv"].open(encoding="utf-8")))
    assert len(rows) == 160 and rows[0]["prompt"] == "'=1+1"
    assert float(rows[0]["hps-v2.1"]) == pytest.approx(world.good[0], abs=1e-5)
    document = json.loads(names["json"].read_text())
    assert document["format"] == "hps-benchmark/1" and len(document["results"][0]["published"]) == 22
    page = names["html"].read_text(encoding="utf-8")
    assert "good" in page and "Published by the authors" in page and "<script>alert" not in page


def test_several_scorers(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.scorers["other"] = worlds.TableScorer([*world.weak, *world.good], "other", "Other")
    document = world.document(capsys, "-s", "hps-v2.1", "-s", "other")
    orders = {result["scorer"]: result["order"] for result in document["results"]}
    assert orders == {"hps-v2.1": ["good", "weak"], "other": ["weak", "good"]}


def test_published_figures_stand_beside_whole_ones_only(
    world: World, official: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.root / "images/good").rename(world.root / "images/sdv1")
    assert world.run("--published", images="images/sdv1") == 0
    out, err = capsys.readouterr()
    assert "published for Stable Diffusion v1.4: anime 26.03" in out and "SDXL Refiner 0.9" in out
    assert "--mode legacy" in err
    (world.root / "images/sdv1/photo/00003.jpg").unlink()
    assert world.run("--published", "--partial", images="images/sdv1") == 0
    out, err = capsys.readouterr()
    assert "26.03" not in out and "no published table" in err


def test_drawbench(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    worlds.prompts(world.prompts, {"drawbench": 12})
    worlds.model(world.root / "draw" / "good", {"drawbench": 12})
    [result] = world.document(capsys, images="draw")["results"]
    assert result["models"][0]["average"] == pytest.approx(math.fsum(world.good[:12]) / 12, abs=1e-5)
    assert world.run("--style", "anime", images="draw") == 2
    assert "no styles" in capsys.readouterr().err


def test_the_shipped_miniature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = worlds.prompts(tmp_path / "prompts", {"anime": 2, "photo": 2})
    for style in ("anime", "photo"):
        (tmp_path / "m" / style).mkdir(parents=True)
        for k in range(2):
            Image.new("RGB", (32, 24), (200, 90 * k, 0)).save(tmp_path / "m" / style / f"{k:05d}.jpg")
    arguments = ["benchmark", str(tmp_path / "m"), "--prompts", str(prompts), "-s", "hps-tiny-shapes"]
    assert cli.main([*arguments, "--html", str(tmp_path / "r.html")]) == 0
    out, err = capsys.readouterr()
    assert "m  (own prompts" in out and "miniature" in err
