"""Layouts on disk: prompts, folders of models, files of human rankings, and what is wrong with them in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import benchmark_worlds as worlds
import pytest

from hpskit.benchmark import folders, styles
from hpskit.benchmark.humans import read_rankings
from hpskit.benchmark.styles import STYLES, read_prompts
from hpskit.errors import BenchmarkError

EACH = dict.fromkeys(STYLES, 3)


def save(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


# --- prompts ----------------------------------------------------------------------------------------------------------


def test_prompts_from_a_folder(tmp_path: Path) -> None:
    worlds.prompts(tmp_path, EACH | {"drawbench": 2})
    found = read_prompts(tmp_path, "hpsv2")
    assert tuple(found.prompts) == STYLES
    assert (found.size, found.whole, found.official) == (12, True, False)
    assert found.prompts["photo"][1] == "photo number 1, (weight:1.2)"
    assert tuple(read_prompts(tmp_path, "drawbench").prompts) == ("drawbench",)


def test_prompts_of_the_official_form(tmp_path: Path) -> None:
    worlds.prompts(tmp_path, dict.fromkeys(STYLES, styles.PROMPTS_EACH) | {"drawbench": styles.DRAWBENCH_PROMPTS})
    assert read_prompts(tmp_path, "hpsv2").official
    assert read_prompts(tmp_path, "drawbench").official
    assert read_prompts(tmp_path / "photo.json", "hpsv2").official
    assert not read_prompts(tmp_path / "photo.json", "hpsv2").whole
    save(tmp_path / "photo.json", ["one list is cut"])
    assert not read_prompts(tmp_path, "hpsv2").official


def test_prompts_from_one_file(tmp_path: Path) -> None:
    by_style = save(tmp_path / "all.json", {"photo": ["a"], "anime": ["b", "c"]})
    assert read_prompts(by_style, "hpsv2").prompts == {"anime": ("b", "c"), "photo": ("a",)}
    assert read_prompts(save(tmp_path / "mine.json", ["a"]), "drawbench").prompts == {"drawbench": ("a",)}
    with pytest.raises(BenchmarkError, match="does not tell the style"):
        read_prompts(tmp_path / "mine.json", "hpsv2")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[1, 2", "JSON"),
        ([], "not empty"),
        (["a", 3], "entry 1"),
        ("7", "list"),
        ({"comic": ["a"]}, "comic"),
        ({"photo": "a"}, "photo"),
    ],
)
def test_prompts_that_are_none(tmp_path: Path, value: Any, words: str) -> None:
    with pytest.raises(BenchmarkError, match=words):
        read_prompts(save(tmp_path / "photo.json", value), "hpsv2")


def test_an_empty_folder_says_how_to_get_prompts(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="--get-prompts"):
        read_prompts(tmp_path, "hpsv2")


def test_some_styles_only(tmp_path: Path) -> None:
    prompts = read_prompts(worlds.prompts(tmp_path, {"anime": 2, "photo": 2}), "hpsv2")
    assert tuple(prompts.only(["photo"]).prompts) == ("photo",)
    with pytest.raises(BenchmarkError, match="paintings"):
        prompts.only(["paintings"])


# --- folders of images ------------------------------------------------------------------------------------------------


def test_layouts_are_told_apart(tmp_path: Path) -> None:
    worlds.model(tmp_path / "hps" / "one", EACH)
    worlds.model(tmp_path / "draw" / "one", {"drawbench": 2})
    (tmp_path / "none" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "mixed").mkdir()
    worlds.model(tmp_path / "mixed" / "a", EACH)
    worlds.model(tmp_path / "mixed" / "b", {"drawbench": 2})
    found = {name: folders.detect(tmp_path / name) for name in ("hps", "hps/one", "draw", "draw/one", "none", "mixed")}
    assert found == {
        "hps": "hpsv2",
        "hps/one": "hpsv2",
        "draw": "drawbench",
        "draw/one": "drawbench",
        "none": None,
        "mixed": None,
    }


def test_models_in_a_folder(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        worlds.model(tmp_path / name, EACH)
    (tmp_path / "logs").mkdir()
    assert [path.name for path in folders.models_in(tmp_path, "hpsv2")] == ["a", "b"]
    assert folders.models_in(tmp_path / "a", "hpsv2") == [tmp_path / "a"]
    with pytest.raises(BenchmarkError, match="neither"):
        folders.models_in(tmp_path / "logs", "hpsv2")
    with pytest.raises(BenchmarkError, match="no folder"):
        folders.models_in(tmp_path / "gone", "hpsv2")


def test_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "x" / "m", tmp_path / "y" / "m", tmp_path / "z"]
    assert folders.names_of(paths) == [str(paths[0]), str(paths[1]), "z"]


def test_images_by_number(tmp_path: Path) -> None:
    prompts = read_prompts(worlds.prompts(tmp_path / "p", {"anime": 4}), "hpsv2")
    place = tmp_path / "m" / "anime"
    for name in ("00000.png", "00000.jpg", "00001.PNG", "00003.webp", "00009.jpg", "2.jpg", "00002.txt", "x0002.jpg"):
        worlds.picture(place / name, 1)
    found = folders.open_model("m", tmp_path / "m", prompts)
    assert [path and path.name for path in found.images["anime"]] == ["00000.jpg", "00001.PNG", None, "00003.webp"]
    assert (found.missing, found.lost, found.expected, found.extra) == ({"anime": [2]}, 1, 4, 1)


def test_missing_images_in_words(tmp_path: Path) -> None:
    prompts = read_prompts(worlds.prompts(tmp_path / "p", EACH), "hpsv2")
    worlds.model(tmp_path / "m", EACH, without=[("anime", 1), *(("photo", k) for k in range(3))])
    found = folders.open_model("m", tmp_path / "m", prompts)
    assert folders.missing_text(found) == "1 of anime (00001), 3 of photo (00000-00002)"


def test_long_lists_of_numbers_are_cut() -> None:
    assert folders.spans([3, 7, 8, 9]) == "00003, 00007-00009"
    assert folders.spans(list(range(0, 40, 2))) == "00000, 00002, 00004, 00006, 00008, and 15 more"


# --- human rankings ---------------------------------------------------------------------------------------------------


def test_rankings_of_both_layouts(tmp_path: Path) -> None:
    hpd = {"prompt": "p", "image_path": ["a.jpg", "b.jpg"], "rank": [2, 1.5], "raw_annotations": []}
    found = read_rankings(save(tmp_path / "a.json", [hpd, hpd | {"image_path": ["a.jpg"], "rank": [1]}]))
    assert (found.source, len(found.items), found.alone) == ("hpdv2", 1, 1)
    assert found.items[0].ranks == (2.0, 1.5)
    reward = {"id": "1", "prompt": "p", "generations": ["part/a.webp", "part/b.webp"], "ranking": [1, 1]}
    found = read_rankings(save(tmp_path / "b.json", [reward]))
    assert (found.source, found.items[0].images) == ("imagereward", ("part/a.webp", "part/b.webp"))


GOOD = {"prompt": "p", "image_path": ["a.jpg", "b.jpg"], "rank": [2, 1]}


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"prompt": "p", "file_path": ["a"], "human_preference": [1]}, "train.json"),
        ({"prompt": "p"}, "image_path and rank"),
        (GOOD | {"prompt": None}, "prompt is no text"),
        (GOOD | {"image_path": "a.jpg"}, "no list of file names"),
        (GOOD | {"rank": ["1", "2"]}, "no list of numbers"),
        (GOOD | {"rank": [1, float("nan")]}, "no list of numbers"),
        (GOOD | {"rank": [True, False]}, "no list of numbers"),
        (GOOD | {"rank": [10**400, 1]}, "item 0: rank is no list of numbers"),
        (GOOD | {"rank": [1]}, "2 images, but 1 ranks"),
        (GOOD | {"image_path": ["a.jpg"], "rank": [1]}, "two or more"),
    ],
)
def test_rankings_that_are_none(tmp_path: Path, item: Any, words: str) -> None:
    with pytest.raises(BenchmarkError, match=words):
        read_rankings(save(tmp_path / "test.json", [item]))


@pytest.mark.parametrize(
    "name", ["../a.jpg", "x/../../a.jpg", "/etc/passwd", "C:\\a.jpg", "x\\..\\..\\a.jpg", "\\\\h\\a"]
)
def test_names_do_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(BenchmarkError, match="leads out"):
        read_rankings(save(tmp_path / "test.json", [GOOD | {"image_path": ["a.jpg", name]}]))


@pytest.mark.parametrize("value", [[], {}, "x", [1], "[" * 100000])
def test_files_that_are_no_rankings(tmp_path: Path, value: Any) -> None:
    with pytest.raises(BenchmarkError):
        read_rankings(save(tmp_path / "test.json", value))
