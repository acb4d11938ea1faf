"""What the web UI writes into its ledger, and when it writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

SCORE = {"mode": "score", "scorer": "hps-tiny-shapes"}


def rows(web: Any) -> list[Any]:
    ledger = web.pack("hpskit.ledger")
    return list(web.module("record.recording").opened().rows(ledger.Query(sort="time", descending=False)).rows)


def test_every_picture_gets_a_row_with_how_it_was_made(web: Any) -> None:
    made = web.txt2img(SCORE, prompt="a red circle", seed=5, batch_size=2, n_iter=1)
    found = rows(web)
    assert [row.seed for row in found] == [5, 6]
    assert [round(row.score, 4) for row in found] == web.scores(made)
    first = found[0]
    assert first.source == "webui" and first.prompt == "a red circle" and first.has_thumbnail and first.sampler
    assert len({row.run for row in found}) == 1 and first.run
    assert "HPS score" in first.extra["infotext"]


def test_a_saved_file_is_joined_to_its_row(web: Any) -> None:
    web.txt2img(SCORE, prompt="a red circle", seed=5)
    assert web.saved
    assert [Path(row.file).name for row in rows(web)] == [Path(web.saved[-1].path).name]


def test_a_seed_that_does_not_make_the_image_alone_is_not_stored(web: Any) -> None:
    web.txt2img(SCORE, seed=5, subseed=7, subseed_strength=0.5)
    [row] = rows(web)
    assert row.seed is None and row.extra["from_seed"] == "5" and row.extra["subseed"] == "7"


def test_img2img_keeps_its_seed_and_says_what_it_began_with(web: Any) -> None:
    web.img2img(Image.new("RGB", (64, 64), "red"), SCORE, seed=5, denoising_strength=0.4)
    [row] = rows(web)
    assert row.seed == 5 and row.denoise == 0.4 and row.extra["img2img"]
    assert len(row.extra["held"]["start image"]) >= 12


def test_candidates_are_recorded_whether_kept_or_not(web: Any) -> None:
    web.txt2img({**SCORE, "mode": "best-of-n", "candidates": 3, "keep": 1}, seed=9)
    found = rows(web)
    assert sorted(row.seed for row in found) == [9, 10, 11]
    assert sum(bool(row.file) for row in found) == 1


def test_switched_off_nothing_is_written(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPS_LEDGER", "off")
    web.txt2img(SCORE, seed=5)
    assert rows(web) == []
    assert "HPS_LEDGER" in web.module("record.recording").why_off()


@pytest.mark.parametrize(
    "flags", [{"share": True}, {"ngrok": "token"}, {"gradio_auth": "a:1,b:2"}, {"api_auth": "a:1,b:2"}]
)
def test_on_a_server_of_several_people_nothing_is_written(
    web: Any, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any]
) -> None:
    access = web.module("bridge.access")
    chosen = type("Flags", (), flags)
    monkeypatch.setattr(access, "options", lambda: chosen)
    web.txt2img(SCORE, seed=5)
    assert rows(web) == []
    with pytest.raises(access.NotAllowed):
        access.insist_private()


@pytest.mark.parametrize("flags", [{"listen": True}, {"gradio_auth": "me:1"}, {}])
def test_one_person_may_reach_the_server_from_elsewhere(
    web: Any, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any]
) -> None:
    access = web.module("bridge.access")
    monkeypatch.setattr(access, "options", lambda: type("Flags", (), flags))
    assert access.why_shared() == ""


def test_trouble_with_the_ledger_is_told_once_and_loses_nothing(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recording, ledger = web.module("record.recording"), web.pack("hpskit.errors")

    def broken(*_: Any, **__: Any) -> Any:
        raise ledger.LedgerError("the disk is gone")

    monkeypatch.setattr(recording, "opened", broken)
    monkeypatch.setattr(recording, "_warned", {})
    made = web.txt2img(SCORE, seed=5, batch_size=2)
    assert len(web.pictures(made)) == 2 and all(score is not None for score in web.scores(made))
    assert made.comments.count("the disk is gone") == 1


def test_loras_are_read_as_their_tags_name_them(web: Any) -> None:
    tags = [
        type("Tag", (), {"positional": ["detail", "0.8"], "named": {}}),
        type("Tag", (), {"positional": ["film"], "named": {"te": "0.5"}}),
        type("Tag", (), {"positional": ["odd", "much"], "named": {}}),
    ]
    p = type("P", (), {"extra_network_data": {"lora": tags}})
    assert web.module("record.recording").loras_of(p) == (("detail", 0.8), ("film", 0.5), ("odd", 1.0))


FIRST = {**SCORE, "mode": "best-of-n-first-pass", "candidates": 3, "keep": 1}


def test_candidates_of_the_first_pass_are_recorded_too(web: Any) -> None:
    done = web.txt2img(FIRST, seed=9, n_iter=2, batch_size=2, prompt="a red circle <lora:tiny:0.5>")
    found = {row.seed: row for row in rows(web)}
    assert sorted(found) == list(range(9, 15)) and len(rows(web)) == 6
    kept = web.seeds(done)
    assert [seed for seed, row in sorted(found.items()) if row.file] == sorted(kept)
    assert {seed for seed, row in found.items() if not row.extra.get("first pass")} == set(kept)
    assert len({row.run for row in found.values()}) == 1
    for seed, row in found.items():
        fields = web.host("infotext_utils").parse_generation_parameters(row.extra["infotext"])
        assert (fields["Seed"], fields["HPS score"]) == (str(seed), f"{row.score:.4f}"), fields
        assert "<lora:tiny:0.5>" in fields["Prompt"] and row.loras == (("tiny", 0.5),)
        alone = web.txt2img({**SCORE, "mode": "score"}, seed=seed, prompt="a red circle <lora:tiny:0.5>")
        assert web.scores(alone)[0] == pytest.approx(row.score, abs=1e-4)


def test_candidates_that_are_finished_later_are_recorded_as_they_were_judged(web: Any) -> None:
    done = web.txt2img(FIRST, seed=9, enable_hr=True, hr_scale=1.5)
    found = rows(web)
    first = {row.seed: row for row in found if row.extra.get("first pass")}
    [last] = [row for row in found if not row.extra.get("first pass")]
    assert sorted(first) == [9, 10, 11] and [last.seed] == web.seeds(done)
    assert {(row.width, row.height) for row in first.values()} == {(64, 64)} and (last.width, last.height) == (96, 96)
    assert all("hires" not in row.extra["held"] and row.extra["held"]["first pass"] for row in first.values())
    assert "hires" in last.extra["held"] and "first pass" not in last.extra["held"]
    assert first[last.seed].score == max(row.score for row in first.values())


def test_a_variation_seed_of_a_candidate_is_its_own(web: Any) -> None:
    web.txt2img(FIRST, seed=9, subseed=30, subseed_strength=0.5)
    assert all(row.seed is None and row.extra["from_seed"] == "9" for row in rows(web))
    assert sorted(row.extra["subseed"] for row in rows(web)) == ["30", "31", "32"]


def test_no_candidate_is_looked_at_when_nothing_is_recorded(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPS_LEDGER", "off")
    web.boot()
    monkeypatch.setattr(web.module("record.candidates"), "trace_of", lambda picture: pytest.fail("looked at"))
    assert len(web.pictures(web.txt2img(FIRST))) == 1


def test_trouble_with_a_candidates_row_costs_nothing(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    web.boot()

    def broken(*_: Any) -> Any:
        raise OSError("no thumbnail")

    monkeypatch.setattr(web.module("record.candidates"), "trace_of", broken)
    done = web.txt2img(FIRST)
    assert len(web.pictures(done)) == 1 and "HPS error" not in web.texts(done)[0]
    assert len(rows(web)) == 1
