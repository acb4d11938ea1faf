"""Best of N where others change what is made: another number of images, a step that fails, a stop at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fakes.web import Web

both = pytest.mark.parametrize("mode", ["best-of-n", "best-of-n-first-pass"])


def files(web: Web) -> list[Any]:
    return [one.seed for one in web.saved if not one.grid]


@both
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_an_extension_that_asks_for_another_number_of_images_gets_them(
    web: Web, mode: str, first: bool, count: int
) -> None:
    """As Dynamic Prompts does for all combinations of a template."""

    def combine(p: Any, *args: Any) -> None:
        p.all_prompts = [f"a red circle {k}" for k in range(count)]
        p.all_negative_prompts = [""] * count
        p.all_seeds, p.all_subseeds = list(range(50, 50 + count)), list(range(count))
        p.n_iter = -(-count // p.batch_size)

    web.add_script("Combiner", first=first, process=combine)
    done = web.txt2img({"mode": mode, "candidates": 4, "keep": 3})
    assert web.seeds(done) == files(web) == list(range(50, 50 + count))
    assert None not in web.scores(done) and f"asked for {count} images" in done.comments
    assert set(web.field(done, "HPS mode")) == {"score"} and set(web.field(done, "HPS candidates")) == {None}
    assert (web.p.do_not_save_samples, web.p.batch_size) == (False, 1)


@pytest.mark.parametrize("name", ["planning.Plan.put", "pools.Schedule.take", "planning.show_progress"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_step_that_fails_costs_no_image(web: Web, name: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module, *path = name.split(".")
    owner = web.module(f"best_of_n.{module}")
    for part in path[:-1]:
        owner = getattr(owner, part)
    real, count = getattr(owner, path[-1]), iter(range(1000))

    def fails(*args: Any, **more: Any) -> Any:
        if next(count) >= number:
            raise ValueError("out of order")
        return real(*args, **more)

    monkeypatch.setattr(owner, path[-1], fails)
    done = web.txt2img({"mode": "best-of-n", "candidates": 4, "keep": 1}, batch_size=2)
    assert len(files(web)) == len(web.pictures(done)) == len(web.texts(done)) >= 1
    assert "out of order" in done.comments
    assert (web.p.do_not_save_samples, web.p.n_iter, web.p.batch_size) == (False, 1, 2)


@both
@pytest.mark.parametrize("scripted", [True, False])
def test_a_copy_of_the_job_within_a_picture_keeps_its_own_fields(web: Web, mode: str, scripted: bool) -> None:
    """As detailers do, which make a part of the picture again."""
    from copy import copy

    inner: list[Any] = []

    def within(p: Any, pp: Any) -> None:
        if getattr(p, "inner", False):
            return
        part = copy(p)
        part.inner, part.prompt, part.seed, part.n_iter, part.batch_size = True, "a face", 99, 1, 1
        part.do_not_save_samples = part.do_not_save_grid = True
        if not scripted:
            part.scripts = None
        part._hps_axes = {"mode": "off"}
        done = web.host("processing").process_images(part)
        part.close()
        inner.append((done.all_seeds, done.all_prompts, part.do_not_save_samples))

    web.add_script("Detailer", first=True, postprocess_image=within)
    done = web.txt2img({"mode": mode, "candidates": 3, "keep": 1})
    assert inner == [([99], ["a face"], True)] * (3 if mode == "best-of-n" else 1)
    assert files(web) == web.seeds(done) and len(web.pictures(done)) == 1
    assert (web.p.do_not_save_samples, web.p.n_iter) == (False, 1)


@both
@pytest.mark.parametrize("step", range(1, 9))
def test_a_stop_after_the_image_in_work_keeps_all_that_it_names(web: Web, mode: str, step: int) -> None:
    with web.stop_at(step, gently=True):
        done = web.txt2img({"mode": mode, "candidates": 4, "keep": 2}, n_iter=2)
    kept = [int(word.split(")")[0]) for word in done.comments.split("; not kept")[0].split("(seed ")[1:]]
    assert kept == web.seeds(done) == files(web)
    assert web.state.stopping_generation


def test_a_stop_while_the_kept_are_finished_is_said(web: Web) -> None:
    fields = {"enable_hr": True, "hr_scale": 1.5}
    with web.stop_at(7, gently=True):  # three candidates of two steps each, and now hires fix of the first of two
        done = web.txt2img({"mode": "best-of-n-first-pass", "candidates": 3, "keep": 2}, **fields)
    assert len(web.pictures(done)) == len(files(web)) == 1
    assert "stopped before the last one of the kept images was finished" in done.comments
    whole = web.txt2img({"mode": "best-of-n-first-pass", "candidates": 3, "keep": 2}, **fields)
    assert len(web.pictures(whole)) == 2 and "stopped" not in whole.comments
