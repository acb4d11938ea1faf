"""What the script does when it is asked for nonsense, or cannot do what it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fakes.web import Web


@pytest.mark.parametrize("panel", [{"mode": "fly"}, {"mode": "score", "candidates": -1}, {"modus": "score"}])
def test_nonsense_makes_a_plain_image_and_says_so(web: Web, panel: dict[str, object]) -> None:
    done = web.txt2img(panel, batch_size=2)
    assert len(web.pictures(done)) == 2 and web.field(done, "HPS error") != [None, None]
    assert "HPS:" in done.comments and web.scores(done) == [None, None]


def test_a_missing_scorer_makes_a_plain_image_and_says_so(web: Web) -> None:
    done = web.txt2img({"mode": "score", "scorer": "nowhere.safetensors"})
    [why] = web.field(done, "HPS error")
    assert why is not None and "nowhere.safetensors" in why
    assert "nowhere.safetensors" in done.comments


def test_a_hostile_name_stays_on_one_line_of_the_infotext(web: Web) -> None:
    done = web.txt2img({"mode": "score", "scorer": 'a,b: "c"\nSeed: 99'})
    assert web.seeds(done) == [1]
    assert "Seed" in web.host("infotext_utils").parse_generation_parameters(web.texts(done)[0])


def test_the_same_job_twice_gives_the_same(web: Web) -> None:
    p = web.job("txt2img", {"mode": "score"})
    run = web.host("processing").process_images
    first, second = run(p), run(p)
    assert web.scores(first) == web.scores(second) and None not in web.scores(first)


def test_both_tabs_have_the_panel(web: Web) -> None:
    for tab in ("txt2img", "img2img"):
        assert web.script("HPS", tab) is not None
        assert all(
            control.value is not None or type(control).__name__ == "State"
            for control in web.script("HPS", tab).controls
        )


def test_loading_the_scripts_again_adds_nothing_twice(web: Web) -> None:
    web.boot()
    callbacks = web.host("script_callbacks").callback_map
    counts = {theme: len(each) for theme, each in callbacks.items()}
    web.reload()
    assert {theme: len(each) for theme, each in callbacks.items()} == counts


def test_an_infotext_names_no_folder_of_the_machine(web: Web) -> None:
    public = web.module("infotext").public
    assert public("no x in /srv/me/webui/models/reward_models. Get it.") == "no x in ...reward_models. Get it."
    assert public("put it into D:\\me\\models\\x.pt, or\nnot") == "put it into ...x.pt, or"
    assert public("see https://example.org/a/b") == "see https://example.org/a/b"


def test_a_known_folder_may_have_spaces(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    public = web.module("infotext").public
    monkeypatch.setattr(web.host("paths"), "data_path", "/srv/my web ui")
    assert public("in /srv/my web ui/models/x.pt, or") == "in ...x.pt, or"
    assert public("in /srv/my web ui.") == "in ...my web ui."


def test_a_surprise_at_the_beginning_leaves_a_plain_job(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(*given: object) -> None:
        raise KeyError("odd")

    web.boot()
    monkeypatch.setattr(web.module("best_of_n.planning"), "Layout", odd)
    done = web.txt2img({"mode": "best-of-n", "candidates": 2, "scorer": "hps-tiny-shapes"})
    assert len(web.pictures(done)) == 1 and done.all_seeds == [1]
    assert web.field(done, "HPS error") == ["KeyError: 'odd'. The image was made without HPS and has no score."]
