"""How scored images find their settings and their partners: folders, metadata, the ledger."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpskit.commands import compare_options
from hpskit.errors import StudyError
from hpskit.ledger import Entry, Ledger, Query
from hpskit.study import Cell, Study
from hpskit.study.fields import FIELDS, choose, from_fields
from hpskit.study.folders import WAYS, from_folders
from hpskit.study.ledger_rows import from_ledger
from hpskit.study.sources import Scoring, Shot, Sourced, natural, setting_named, unique
from hpskit.types import ScorerInfo

SCORING = Scoring(ScorerInfo("fake", "Fake", "fake", "1", "none", "float32"))
FOX, OWL = "a red fox", "an owl at night"


def shot(
    label: str = "",
    name: str = "",
    seed: str | None = None,
    prompt: str = FOX,
    score: float = 0.0,
    picture: str = "",
    made: Mapping[str, str] | None = None,
) -> Shot:
    cell = Cell(0, 0, 0, score, file=f"{label}/{name}", image_hash=picture)
    return Shot(cell, prompt, name, label, seed, made or {})


def folder(label: str, seeds: Sequence[object], **more: Any) -> list[Shot]:
    return [shot(label, f"{seed}.png", str(seed), score=float(k), **more) for k, seed in enumerate(seeds)]


def blocks(study: Study) -> dict[tuple[str, str], dict[str, str]]:
    """Return by (prompt, replicate) the file of each setting."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for cell in study.cells:
        place = study.prompts[cell.prompt], study.seeds[cell.seed]
        found.setdefault(place, {})[study.settings[cell.setting].label] = cell.file
    return found


# --- folders ----------------------------------------------------------------------------------------------------------


def test_images_of_one_prompt_and_seed_are_partners_whatever_their_names() -> None:
    a = [shot("a", "00001.png", "7"), shot("a", "00002.png", "10")]
    b = [shot("b", "00001.png", "10"), shot("b", "00002.png", "7")]
    found = from_folders([*a, *b], ["a", "b"], SCORING)
    assert found.study.seeds == ("7", "10")
    assert blocks(found.study) == {
        (FOX, "7"): {"a": "a/00001.png", "b": "b/00002.png"},
        (FOX, "10"): {"a": "a/00002.png", "b": "b/00001.png"},
    }
    assert found.study.seeds_shared
    assert "by prompt and seed" in found.paired
    assert "4 images in 2 blocks of 1 prompt" in found.paired
    assert not found.left_out


def test_spellings_of_one_prompt_are_no_prompts_of_their_own() -> None:
    spellings = ("a red fox", "A red  Fox ", "a RED\nfox")
    shots = [
        shot(label, f"{k}.png", str(seed), prompt=prompt, picture=f"{label}{seed}", made={"sampler": label})
        for label in "ab"
        for k, prompt in enumerate(spellings)
        for seed in (1, 2 + k)
    ]
    for found in (from_folders(shots, "ab", SCORING), from_fields(shots, SCORING, ["sampler"])):
        assert found.study.prompts == ("a red fox",)
        assert found.study.seeds == ("1", "2", "3", "4")  # seed 1 gave one picture each, however it was asked for
        assert len(found.study.cells) == 8
        assert any("4 images occurred twice" in remark for remark in found.left_out)


def test_without_seeds_the_names_decide_and_endings_do_not_matter() -> None:
    shots = [shot("a", "x/1.png"), shot("a", "x/2.png"), shot("b", "x/1.jpg"), shot("b", "x/3.jpg")]
    found = from_folders(shots, ["a", "b"], SCORING)
    assert blocks(found.study) == {(FOX, "x/1"): {"a": "a/x/1.png", "b": "b/x/1.jpg"}}
    assert "file name" in found.paired
    [remark] = found.left_out
    assert "2 images had no partner: x/2.png, x/3.jpg" in remark
    assert remark in found.study.notes


def test_two_files_that_differ_in_their_ending_only_stay_two() -> None:
    shots = [shot(label, name) for label in "ab" for name in ("1.png", "1.jpg")]
    assert len(blocks(from_folders(shots, "ab", SCORING).study)) == 2


def test_equal_names_of_different_seeds_are_no_partners() -> None:
    shots = [*folder("a", [1, 2]), shot("b", "1.png", "8"), shot("b", "2.png", "9")]
    with pytest.raises(StudyError, match="--pair-by none") as caught:
        from_folders(shots, ["a", "b"], SCORING)
    assert "--pair-by name" in str(caught.value)
    assert "a: 1, 2; b: 8, 9" in str(caught.value)
    assert len(blocks(from_folders(shots, ["a", "b"], SCORING, "name").study)) == 2


def test_a_few_shared_seeds_win_over_names_that_contradict_seeds() -> None:
    shots = [
        *(shot("a", f"{k}.png", str(k)) for k in range(3)),
        *(shot("b", f"{k}.png", str(k + 2)) for k in range(3)),
        shot("a", "z.png"),
        shot("b", "z.png"),
    ]
    found = from_folders(shots, ["a", "b"], SCORING)
    assert set(blocks(found.study)) == {(FOX, "2")}
    assert any("have no seed" in remark for remark in found.left_out)


def test_one_folder_without_metadata_is_paired_by_name() -> None:
    shots = [*folder("a", [1, 2]), shot("b", "1.png"), shot("b", "2.png")]
    assert "file name" in from_folders(shots, ["a", "b"], SCORING).paired


def test_partners_have_one_prompt() -> None:
    shots = [shot("a", "1.png", "1", FOX), shot("b", "1.png", "1", OWL)]
    for way in WAYS:
        with pytest.raises(StudyError, match="No prompt occurs in two of the folders") as caught:
            from_folders(shots, ["a", "b"], SCORING, way)
        assert "--prompt" in str(caught.value)


def test_by_order_the_first_meets_the_first() -> None:
    shots = [shot("a", f"{k}.png") for k in (10, 9, 8)] + [shot("b", f"x{k}.png") for k in (2, 1)]
    found = from_folders(shots, ["a", "b"], SCORING, "order")
    assert blocks(found.study) == {
        (FOX, "no. 1"): {"a": "a/8.png", "b": "b/x1.png"},
        (FOX, "no. 2"): {"a": "a/9.png", "b": "b/x2.png"},
    }
    assert found.study.seeds_shared


def test_unpaired_keeps_every_image_of_a_shared_prompt() -> None:
    shots = [*folder("a", [1, 2, 3]), *folder("b", [8, 9]), *folder("b", [4], prompt=OWL)]
    found = from_folders(shots, ["a", "b"], SCORING, "none")
    assert not found.study.seeds_shared
    assert len(found.study.cells) == 5
    assert found.study.prompts == (FOX,)
    assert "Not paired" in found.paired
    assert any("had no partner: 4.png" in remark for remark in found.left_out)


def test_three_folders_keep_blocks_that_two_of_them_have() -> None:
    shots = [*folder("a", [1, 2]), *folder("b", [1]), *folder("c", [1, 2, 3])]
    found = from_folders(shots, ["a", "b", "c"], SCORING)
    assert {place[1]: sorted(cells) for place, cells in blocks(found.study).items()} == {"1": [*"abc"], "2": [*"ac"]}


def test_a_folder_without_a_partner_is_no_setting_and_that_is_said() -> None:
    shots = [*folder("a", [1]), *folder("b", [5]), *folder("c", [1])]
    study = from_folders(shots, ["a", "b", "c"], SCORING).study
    assert [setting.label for setting in study.settings] == ["a", "c"]
    assert {cell.setting for cell in study.cells} == {0, 1}
    assert "Nothing of b could be compared." in study.notes


def test_a_copy_counts_once_and_a_batch_of_one_seed_is_numbered() -> None:
    shots = [
        shot("a", "1.png", "7", picture="p"),
        shot("a", "1 (copy).png", "7", picture="p"),
        shot("a", "2.png", "7", picture="q"),
        shot("b", "1.png", "7", picture="r"),
        shot("b", "2.png", "7", picture="s"),
    ]
    found = from_folders(shots, ["a", "b"], SCORING)
    files = [sorted(cells.values()) for cells in blocks(found.study).values()]
    assert sorted(files) == [["a/1 (copy).png", "b/1.png"], ["a/2.png", "b/2.png"]]
    assert any("1 image occurred twice" in remark for remark in found.left_out)


def test_settings_that_make_the_same_pictures_are_told() -> None:
    shots = [shot(label, "1.png", "1", picture="same") for label in "ab"]
    assert "1 picture of a and b are identical." in from_folders(shots, "ab", SCORING).study.notes


def test_seeds_that_differ_from_prompt_to_prompt_are_counted_not_listed() -> None:
    shots = [
        shot(label, f"{p}-{k}.png", str(100 * p + k), prompt)
        for label in "ab"
        for p, prompt in enumerate([FOX, OWL])
        for k in range(3)
    ]
    study = from_folders(shots, "ab", SCORING).study
    assert study.seeds == ("no. 1", "no. 2", "no. 3")
    assert len(study.cells) == study.size == 12
    for cells in blocks(study).values():
        assert cells["a"].removeprefix("a") == cells["b"].removeprefix("b")


def test_a_missing_image_does_not_change_the_names_of_the_seeds() -> None:
    shots = [shot(label, f"{p}{k}", str(k), p) for label, p, k in itertools.product("ab", [FOX, OWL], range(3))]
    study = from_folders(shots[:-1], "ab", SCORING).study
    assert study.seeds == ("0", "1", "2")
    assert len(study.cells) == 10


def test_one_folder_is_no_comparison() -> None:
    with pytest.raises(StudyError, match="needs two"):
        from_folders(folder("a", [1]), ["a", "b"], SCORING)


@pytest.mark.parametrize("way", WAYS)
def test_scores_stay_with_their_images_and_no_cell_occurs_twice(way: Any) -> None:
    shots = [
        replace(one, cell=replace(one.cell, score=float(k)))
        for k, one in enumerate(
            shot(label, f"{seed}.png", str(seed), prompt)
            for label, prompt, seed in itertools.product("abc", [FOX, OWL], [3, 1, 2])
        )
    ]
    study = from_folders(shots[::-1], ["a", "b", "c"], SCORING, way).study
    scores = {one.cell.file + one.prompt: one.cell.score for one in shots}
    assert [cell.score for cell in study.cells] == [
        scores[cell.file + study.prompts[cell.prompt]] for cell in study.cells
    ]
    assert len({(cell.setting, cell.prompt, cell.seed) for cell in study.cells}) == len(study.cells) == 18


# --- fields -----------------------------------------------------------------------------------------------------------


def grid(**axes: Sequence[str]) -> list[Shot]:
    """Every combination of the fields, with seeds 0 and 1."""
    return [
        shot(name=f"{values}{seed}.png", seed=str(seed), made=dict(zip(axes, values, strict=True)))
        for values in itertools.product(*axes.values())
        for seed in range(2)
    ]


def labels(found: Sourced) -> list[str]:
    return [setting.label for setting in found.study.settings]


def test_what_varies_is_found_and_named_in_natural_order() -> None:
    found = from_fields(grid(sampler=["euler", "dpmpp_2m"], steps=["20", "8"], cfg=["7"]), SCORING)
    assert labels(found) == ["dpmpp_2m, 8 steps", "dpmpp_2m, 20 steps", "euler, 8 steps", "euler, 20 steps"]
    assert [(axis.name, axis.values) for axis in found.study.axes] == [
        ("sampler", ("dpmpp_2m", "euler")),
        ("steps", ("8", "20")),
    ]
    assert found.study.settings[0].values == {"sampler": "dpmpp_2m", "steps": "8"}
    assert len(found.study.cells) == found.study.size == 8


def test_what_varies_beside_stays_within_blocks() -> None:
    found = from_fields(grid(sampler=["euler", "dpmpp_2m"], steps=["20", "1"]), SCORING, ["sampler"])
    assert labels(found) == ["dpmpp_2m", "euler"]
    assert found.study.seeds == ("0, 1 step", "0, 20 steps", "1, 1 step", "1, 20 steps")
    for cells in blocks(found.study).values():
        a, b = (cells[label].split("', '")[1] for label in ("euler", "dpmpp_2m"))
        assert a == b
    assert "equal steps" in found.paired


def test_settings_that_changed_together_do_not_pass_for_one_another() -> None:
    shots = [
        *grid(sampler=["euler"], steps=["20"]),
        *grid(sampler=["dpmpp_2m"], steps=["8"]),
    ]
    with pytest.raises(StudyError, match="--by sampler,steps"):
        from_fields(shots, SCORING, ["sampler"])
    assert labels(from_fields(shots, SCORING, ["sampler", "steps"])) == ["dpmpp_2m, 8 steps", "euler, 20 steps"]


def test_no_lora_is_a_value_and_an_unknown_sampler_is_none() -> None:
    shots = [shot(name="a", seed="1"), shot(name="b", seed="1", made={"lora": "detail 0.8"})]
    assert labels(from_fields(shots, SCORING)) == ["detail 0.8", "no LoRA"]
    shots = [*grid(sampler=["euler", "heun"]), shot(name="blank.png", seed="0")]
    found = from_fields(shots, SCORING, ["sampler"])
    assert labels(found) == ["euler", "heun"]
    assert any("do not tell their sampler: blank.png" in remark for remark in found.left_out)


def test_nothing_to_compare_says_what_is_known() -> None:
    with pytest.raises(StudyError, match="sampler: euler; steps: 20"):
        from_fields(grid(sampler=["euler"], steps=["20"]), SCORING)
    with pytest.raises(StudyError, match="sampler of the images is always the same"):
        from_fields(grid(sampler=["euler"], steps=["20", "8"]), SCORING, ["sampler"])
    with pytest.raises(StudyError, match="No image tells its scheduler"):
        from_fields(grid(sampler=["euler", "heun"]), SCORING, ["scheduler"])
    with pytest.raises(StudyError, match="a folder of their own"):
        from_fields([shot(name="a", seed="1"), shot(name="b", seed="2")], SCORING)


def test_without_seeds_only_the_unpaired_comparison_is_left() -> None:
    shots = [shot(name=f"{s}{k}", made={"sampler": s}) for s in ("euler", "heun") for k in range(3)]
    with pytest.raises(StudyError, match="--pair-by none"):
        from_fields(shots, SCORING)
    study = from_fields(shots, SCORING, paired=False).study
    assert not study.seeds_shared
    assert len(study.cells) == 6


def test_too_many_settings_are_refused() -> None:
    shots = [shot(name=f"{k}", seed="1", made={"cfg": str(k)}) for k in range(201)]
    with pytest.raises(StudyError, match="201 settings"):
        from_fields(shots, SCORING)
    assert len(from_fields(shots[:200], SCORING).study.settings) == 200


def test_a_field_that_was_asked_for_and_never_varies_is_told() -> None:
    choice = choose(grid(sampler=["euler", "heun"], cfg=["7"]), ["sampler", "cfg"])
    assert (choice.by, choice.constant) == (("sampler",), ("cfg",))


def test_the_command_line_names_the_fields_and_ways_that_exist() -> None:
    assert compare_options.FIELDS == FIELDS
    assert compare_options.PAIR_BY == WAYS


# --- ledger -----------------------------------------------------------------------------------------------------------


def entry(prompt: str, seed: int | None, score: float, **more: Any) -> Entry:
    values = {"sampler": "euler", "steps": 20, "cfg": 7.0, "image_hash": f"{prompt}{seed}{more}"}
    known: dict[str, Any] = {**values, **more}
    return Entry(
        prompt, known.pop("scorer", "hps-v2.1"), "1", "crop", known.pop("dtype", "float32"), score, seed=seed, **known
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    now = iter(range(10**9, 2 * 10**9))
    made = Ledger(tmp_path / "l.sqlite3", clock=lambda: float(next(now)))
    for prompt, base in ((FOX, 20.0), (OWL, 30.0)):
        for seed in range(3):
            made.add([entry(prompt, seed, base + seed), entry(prompt, seed, base + seed + 0.5, sampler="heun")])
    return made


def test_rows_of_the_ledger_are_compared(ledger: Ledger) -> None:
    study = from_ledger(ledger, Query(), ["sampler"]).study
    assert [setting.label for setting in study.settings] == ["euler", "heun"]
    assert (study.prompts, study.seeds) == ((FOX, OWL), ("0", "1", "2"))
    scores = study.scores()
    assert (scores[1] - scores[0] == 0.5).all()
    assert scores[0, 1, 2] == 32.0
    assert study.scorer.id == "hps-v2.1"
    assert study.scorer.name == "HPS v2.1"
    assert all(cell.entry for cell in study.cells)


def test_searched_rows_and_other_scorers_stay_out(ledger: Ledger) -> None:
    for seed in range(3):
        ledger.add([entry(FOX, seed, 99.0, sampler="heun", extra={"method": "reno"}, image_hash=f"s{seed}")])
        ledger.add([entry(FOX, seed, 99.0, sampler="heun", extra={"guidance": {}}, image_hash=f"g{seed}")])
        ledger.add([entry(FOX, seed, 5.0, sampler="heun", dtype="bfloat16")])
    found = from_ledger(ledger, Query(), ["sampler"])
    assert found.study.scores().max() == 32.5
    assert found.study.scores().min() == 20.0
    assert any("6 rows of an optimised noise" in note for note in found.study.notes)
    assert any("3 of hps-v2.1 (crop, bfloat16) are left out" in note for note in found.study.notes)


def test_a_noise_that_no_seed_tells_is_called_what_it_was(ledger: Ledger) -> None:
    held = {"from_seed": "7"}
    for k, extra in enumerate(({"noise_file": "n.npz"}, {"noise_file": "n.npz"}, {"subseed": "3"}, {})):
        ledger.add([entry(FOX, None, 9.0, image_hash=f"n{k}", file=f"{k}.png", extra={**held, **extra})])
    notes = from_ledger(ledger, Query(), ["sampler"]).study.notes
    assert "2 images began with noise from a file, which their seed does not tell: 0.png, 1.png." in notes
    assert any(note.startswith("1 image mixed in a variation seed") and "2.png" in note for note in notes)
    assert [note for note in notes if "without a seed" in note] == ["1 image came without a seed: 3.png."]


def test_the_scorer_that_is_named_counts_though_it_has_fewer_rows(ledger: Ledger) -> None:
    for sampler in ("euler", "heun"):
        ledger.add([entry(FOX, 1, 1.0, sampler=sampler, scorer="pickscore-v1")])
    study = from_ledger(ledger, Query(scorer="pickscore-v1"), ["sampler"]).study
    assert study.scorer.id == "pickscore-v1"
    assert len(study.cells) == 2


def test_filters_choose_rows(ledger: Ledger) -> None:
    assert from_ledger(ledger, Query(prompt=OWL), ["sampler"]).study.prompts == (OWL,)
    with pytest.raises(StudyError, match="no row to compare"):
        from_ledger(ledger, Query(search="unicorn"), ["sampler"])
    with pytest.raises(StudyError, match="always the same"):
        from_ledger(ledger, Query(sampler="heun"), ["sampler"])


def test_other_settings_of_rows_stay_within_blocks(ledger: Ledger) -> None:
    ledger.add([entry(FOX, 0, 90.0, sampler="heun", negative="blurry", image_hash="n")])
    study = from_ledger(ledger, Query(), ["sampler"]).study
    assert study.scores()[1].max() < 40


def test_a_newer_row_of_the_same_settings_replaces_the_older(ledger: Ledger) -> None:
    ledger.add([entry(FOX, 0, 25.0, image_hash="made again")])
    found = from_ledger(ledger, Query(), ["sampler"])
    assert found.study.scores()[0, 0, 0] == 25.0
    assert any("1 rows are left out for newer ones" in note for note in found.study.notes)


def test_later_images_of_a_batch_pair_by_their_place(tmp_path: Path) -> None:
    made = Ledger(tmp_path / "b.sqlite3")
    for sampler in ("euler", "heun"):
        for k in range(3):
            extra = {"batch_index": k, **({"batch_seed": "7"} if k else {})}
            made.add([entry(FOX, 7 if k == 0 else None, k, sampler=sampler, extra=extra, image_hash=f"{sampler}{k}")])
    study = from_ledger(made, Query(), ["sampler"]).study
    assert study.seeds == ("7", "7 [1]", "7 [2]")
    assert (study.scores()[0] == study.scores()[1]).all()


def test_more_rows_than_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpskit.study.ledger_rows._PAGE", 7)
    made = Ledger(tmp_path / "p.sqlite3")
    made.add([entry(FOX, k // 2, float(k), sampler=("euler", "heun")[k % 2]) for k in range(50)])
    assert len(from_ledger(made, Query(), ["sampler"]).study.cells) == 50


# --- small things -----------------------------------------------------------------------------------------------------


def test_a_setting_is_found_by_its_label_or_suggested() -> None:
    settings = from_fields(grid(sampler=["euler", "dpmpp_2m"]), SCORING).study.settings
    assert setting_named(settings, "euler") == 1
    assert setting_named(settings, " EULER ") == 1
    with pytest.raises(StudyError, match=r"Did you mean euler\?"):
        setting_named(settings, "eulr")
    with pytest.raises(StudyError, match=r"There are: dpmpp_2m, euler\."):
        setting_named(settings, "something else")


def test_names_become_unique_and_writable() -> None:
    assert unique(["a", "a", "a (2)", "b\udcff"]) == ("a", "a (2)", "a (2) (2)", "b\\udcff")
    assert sorted(["20 steps", "8 steps", "0.5", "0.25", "b", "A"], key=natural) == [
        *("0.25", "0.5", "8 steps", "20 steps", "A", "b")
    ]


def test_hostile_texts_come_out_writable() -> None:
    bad = "\ud800 \x1b[31m <b>\r\n" + "9" * 400
    shots = [shot(label, f"{bad}.png", "1", prompt=bad) for label in ("a", "b")]
    study = from_folders(shots, ["a", "b"], SCORING).study
    for text in (*study.prompts, *study.seeds, *study.notes, *(cell.file for cell in study.cells)):
        text.encode("utf-8")
