"""Mode "score": every image gets its score everywhere, and nothing else about a generation changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from fakes.web import Web

SCORE = {"mode": "score"}


def test_every_image_has_its_score_in_its_text(web: Web) -> None:
    done = web.txt2img(SCORE, n_iter=2, batch_size=3)
    scores = web.scores(done)
    assert len(scores) == 6 and None not in scores and len(set(scores)) > 1
    alone = [web.scores(web.txt2img(SCORE, seed=seed))[0] for seed in web.seeds(done)]
    assert scores == pytest.approx(alone, abs=1e-3)
    assert web.field(done, "HPS mode") == ["score"] * 6


def test_the_grid_has_no_score(web: Web) -> None:
    done = web.txt2img(SCORE, batch_size=2)
    assert done.index_of_first_image == 1
    assert "HPS score:" not in done.infotexts[0]


def test_the_api_sees_values_and_no_nulls(web: Web) -> None:
    done = web.txt2img(SCORE, n_iter=2, batch_size=2)
    told = json.loads(done.js())["extra_generation_params"]["HPS score"]
    assert [float(value) for value in told] == web.scores(done)


def test_the_api_sees_what_stands_under_the_gallery(web: Web) -> None:
    done = web.txt2img({"mode": "best-of-n", "candidates": 3})
    told = json.loads(done.js())["extra_generation_params"]["HPS notes"]
    assert [f"HPS: {note}" for note in told] == done.comments.splitlines() and "best of 3" in told[0]
    assert "HPS notes" not in done.infotexts[0]


def test_files_carry_score_and_record(web: Web) -> None:
    done = web.txt2img(SCORE, batch_size=2)
    files = [each for each in web.saved if not each.grid]
    assert len(files) == 2
    for file, score in zip(files, web.scores(done), strict=True):
        with Image.open(file.path) as image:
            assert f"HPS score: {score:.4f}" in image.info["parameters"]
        assert json.loads(file.image.info["hps"])


def test_scores_stand_under_the_gallery(web: Web) -> None:
    done = web.txt2img(SCORE, batch_size=2)
    assert ", ".join(f"{score:.2f}" for score in web.scores(done)) in done.comments


def test_pixels_and_seeds_stay_as_they_are(web: Web) -> None:
    plain, scored = web.txt2img(n_iter=2, sampler_name="Euler a"), web.txt2img(SCORE, n_iter=2, sampler_name="Euler a")
    pixels = [[each.convert("RGB").tobytes() for each in web.pictures(done)] for done in (plain, scored)]
    assert pixels[0] == pixels[1]
    assert plain.all_seeds == scored.all_seeds and plain.all_prompts == scored.all_prompts


def test_jobs_that_share_one_dict_do_not_mix(web: Web) -> None:
    shared: dict[str, Any] = {}
    first = web.txt2img(SCORE, extra_generation_params=shared, seed=1)
    second = web.txt2img(SCORE, extra_generation_params=shared, seed=2)
    assert not [name for name in shared if name.startswith("HPS")]
    assert web.scores(first) != web.scores(second)


def test_off_changes_nothing(web: Web) -> None:
    done = web.txt2img({"mode": "off"}, batch_size=2)
    assert "HPS" not in "".join(done.infotexts) + done.comments
    assert not [name for name in done.extra_generation_params if "HPS" in name]
    assert getattr(web.p, "_hps", None) is None
    assert not any("hps" in image.info for image in done.images)


def test_a_failing_scorer_loses_no_image(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.module("judge").Judge, "score", lambda *args, **more: 1 / 0)
    done = web.txt2img(SCORE, n_iter=2, batch_size=2)
    assert web.seeds(done) == [1, 2, 3, 4] and len([each for each in web.saved if not each.grid]) == 4
    assert done.comments.count("HPS: no more scores") == 1 and "division by zero" in done.comments
    assert web.scores(done) == [None] * 4


def test_an_interrupted_job_keeps_what_is_finished(web: Web) -> None:
    with web.stop_at(3):
        done = web.txt2img(SCORE, n_iter=3)
    assert len(web.pictures(done)) == 2
    assert web.scores(done)[0] is not None


def test_img2img_with_a_mask_scores_pictures_and_not_masks(web: Web) -> None:
    web.boot()
    web.opts.return_mask = True
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    done = web.img2img(Image.new("RGB", (64, 64), "navy"), SCORE, mask=mask, batch_size=2, do_not_save_grid=True)
    assert len(done.images) == 4 and len(done.infotexts) == 2
    assert None not in web.scores(done)


def test_hires_is_scored_once_per_image(web: Web) -> None:
    done = web.txt2img(SCORE, enable_hr=True, hr_scale=2.0)
    assert [each.size for each in web.pictures(done)] == [(128, 128)]
    assert None not in web.scores(done)


JUDGE = "hps-tiny-judge"


@pytest.mark.parametrize("mode", ["score", "best-of-n", "best-of-n-first-pass"])
def test_scores_by_further_scorers_stand_in_text_and_record(web: Web, mode: str) -> None:
    done = web.txt2img({"mode": mode, "guards": [JUDGE], "candidates": 3, "keep": 2, "rule": "zsum"}, n_iter=1)
    for text, picture in zip(web.texts(done), web.pictures(done), strict=True):
        record = json.loads(picture.info["hps"])
        fields = web.host("infotext_utils").parse_generation_parameters(text)
        assert fields["HPS further scores"] == f"{JUDGE} {record['parts'][JUDGE]:.4f}"
        assert fields["HPS score"] == f"{record['value']:.4f}"
        assert fields["HPS scorer"] == f"hps-tiny-shapes, {JUDGE}"
        assert fields["Version"] and fields["Steps"] == "2"
    values = done.extra_generation_params["HPS further scores"]
    assert all(value.startswith(JUDGE) for value in values if value)
    json.dumps(done.extra_generation_params)


def test_one_scorer_alone_has_no_further_scores(web: Web) -> None:
    done = web.txt2img({"mode": "score", "held_out": JUDGE})
    assert "HPS further scores" not in web.texts(done)[0] and "HPS held out" not in web.texts(done)[0]
    assert not {"HPS further scores", "HPS held out"} & set(done.extra_generation_params)


def test_a_held_out_scorer_of_a_noise_search_is_told(web: Web) -> None:
    done = web.txt2img({"mode": "noise-search", "held_out": JUDGE, "iterations": 1, "population": 1, "screen": 1})
    record = json.loads(web.pictures(done)[0].info["hps"])
    assert web.field(done, "HPS held out") == [f"{JUDGE} {record['held_out'][JUDGE]:.4f}"]
    assert done.extra_generation_params["HPS held out"] == web.field(done, "HPS held out")
    [row] = web.module("record.recording").opened().rows(web.pack("hpskit.ledger").Query()).rows
    assert row.extra["held_out"] == record["held_out"]


def test_names_of_any_kind_stay_one_value_of_the_infotext(web: Web) -> None:
    listed = web.module("infotext").listed
    utils = web.host("infotext_utils")
    for name in ("a, b: c", 'with "quotes"', "back\\slash, x", "plain"):
        value = listed({name: 0.25, "other": 1.0})
        text = f"a prompt\nSteps: 2, HPS further scores: {utils.quote(value)}, Seed: 5, Version: 1"
        fields = utils.parse_generation_parameters(text)
        assert fields["HPS further scores"] == value and fields["Seed"] == "5"
    assert listed({}) is None


@pytest.mark.parametrize("mode", ["score", "best-of-n", "best-of-n-first-pass"])
def test_a_text_to_score_against_is_told_where_it_is_another_one(web: Web, mode: str) -> None:
    told = []
    for own in ("a blue square", "a red circle"):
        panel = {"mode": mode, "prompt": own, "clean_prompt": False, "candidates": 2}
        done = web.txt2img(panel, prompt="a (red:1.2) circle <lora:tiny:1>")
        told += web.field(done, "HPS prompt")
        assert json.loads(web.pictures(done)[0].info["hps"])["prompt"] == own
        assert done.extra_generation_params["HPS prompt"] == own
    assert told == ["a blue square", None]


def test_a_score_without_a_prompt_is_said_to_mean_little(web: Web) -> None:
    words = "there is no prompt"
    assert words in web.txt2img({"mode": "score"}, prompt="").comments
    assert words not in web.txt2img({"mode": "score"}).comments
    assert words not in web.txt2img({"mode": "score", "prompt": "a red circle"}, prompt="").comments


def test_the_line_of_several_scorers_names_the_rule_and_whose_scores_it_shows(web: Web) -> None:
    best = {"mode": "best-of-n", "candidates": 3, "guards": [JUDGE]}
    for rule, named in (("auto", "gate"), ("rank", "rank")):
        comments = web.txt2img({**best, "rule": rule}).comments
        assert f"in the order of the rule {named}, with the scores of hps-tiny-shapes" in comments
    assert "rule" not in web.txt2img({**best, "guards": []}).comments
