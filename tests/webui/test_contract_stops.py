"""Best of N that ends early, beside extensions that change images, and in cells of a plot; both variants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from fakes.web import Web

both = pytest.mark.parametrize("mode", ["best-of-n", "best-of-n-first-pass"])


def scores(web: Web, seeds: range) -> list[float]:
    """Return the score of every seed, made one by one."""
    made = [web.scores(web.txt2img({"mode": "score"}, seed=seed))[0] for seed in seeds]
    assert None not in made
    return made  # type: ignore[return-value]


def judged(web: Web) -> int:
    """Return how many candidates the last job has judged in all its pools."""
    return sum(len(pool.candidates) for pool in web.p._hps.pools)


@both
def test_a_target_that_is_reached_ends_the_pool(web: Web, mode: str) -> None:
    found = scores(web, range(1, 7))
    first = 1 + next(k for k, score in enumerate(found[1:]) if score > found[0])
    target = (found[0] + found[first]) / 2
    assert all(score < target for score in found[:first])
    before = len(web.calls)
    done = web.txt2img({"mode": mode, "candidates": 6, "target": target})
    spent = len(web.calls) - before
    assert judged(web) == first + 1 and web.seeds(done) == [1 + first]
    assert f"stopped after {first + 1} of 6" in done.comments
    before = len(web.calls)
    web.txt2img({"mode": mode, "candidates": 6})
    assert spent < len(web.calls) - before


@both
def test_a_target_waits_for_as_many_as_are_kept(web: Web, mode: str) -> None:
    done = web.txt2img({"mode": mode, "candidates": 6, "keep": 3, "target": -1000})
    assert judged(web) == 3 and sorted(web.seeds(done)) == [1, 2, 3]


@both
def test_a_target_out_of_reach_changes_nothing(web: Web, mode: str) -> None:
    done = web.txt2img({"mode": mode, "candidates": 4, "target": 1000})
    assert judged(web) == 4 and "stopped" not in done.comments


@both
def test_every_pool_ends_by_itself(web: Web, mode: str) -> None:
    done = web.txt2img({"mode": mode, "candidates": 4, "target": -1000}, n_iter=3)
    assert judged(web) == 3 and web.seeds(done) == [1, 5, 9]
    assert done.comments.count("stopped after 1 of 4") == 3
    assert not web.state.stopping_generation


@both
def test_little_to_expect_ends_a_pool(web: Web, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.pack("hpskit.search.stopping"), "expected_gain", lambda *_: 1e-9)
    done = web.txt2img({"mode": mode, "candidates": 8, "keep": 2, "stop": "thorough"})
    assert 2 <= judged(web) < 8 and len(web.pictures(done)) == 2
    assert f"stopped after {judged(web)} of 8" in done.comments


@both
def test_much_to_expect_goes_on(web: Web, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.pack("hpskit.search.stopping"), "expected_gain", lambda *_: 1e9)
    web.txt2img({"mode": mode, "candidates": 5, "stop": "quick"})
    assert judged(web) == 5


@both
def test_time_ends_a_pool_after_the_batch_in_work(web: Web, mode: str) -> None:
    done = web.txt2img({"mode": mode, "candidates": 8, "keep": 1, "seconds": 1e-6}, batch_size=2)
    assert judged(web) == 2 and len(web.pictures(done)) == 1
    assert "stopped after 2 of 8" in done.comments


@both
def test_a_stopped_job_leaves_the_next_one_alone(web: Web, mode: str) -> None:
    web.txt2img({"mode": mode, "candidates": 4, "target": -1000})
    assert not web.state.stopping_generation
    assert len(web.pictures(web.txt2img({"mode": "off"}, n_iter=3))) == 3


@both
def test_an_image_that_another_extension_replaces_is_the_one_that_is_kept(web: Web, mode: str) -> None:
    def replace(p: Any, pp: Any) -> None:
        pp.image = ImageOps.mirror(pp.image)  # a new object, without our record

    web.add_script("Mirror", postprocess_image=replace)
    done = web.txt2img({"mode": mode, "candidates": 4, "keep": 2})
    assert len(web.pictures(done)) == len(set(web.seeds(done))) == 2 and None not in web.scores(done)
    for seed, picture in zip(web.seeds(done), web.pictures(done), strict=True):
        alone = web.pictures(web.txt2img({"mode": "off"}, seed=seed))[0]
        assert picture.convert("RGB").tobytes() == alone.convert("RGB").tobytes()


def paint(p: Any, processed: Any) -> None:
    first = processed.index_of_first_image
    for k in range(first, len(processed.images)):
        processed.images[k] = Image.new("RGB", processed.images[k].size, (0, 0, k - first + 1))


def painted(web: Web, done: Any) -> list[int]:
    """Return the number that is painted on every picture, 0 where there is none."""
    found = [picture.convert("RGB").getpixel((0, 0)) for picture in web.pictures(done)]
    return [blue if (red, green) == (0, 0) else 0 for red, green, blue in found]


@both
@pytest.mark.parametrize("first", [True, False])
def test_pictures_that_replace_the_result_stand_for_their_candidates(web: Web, mode: str, first: bool) -> None:
    panel = {"mode": mode, "candidates": 4, "keep": 2}
    plain = web.txt2img(panel)
    web.add_script("Painter", first=first, postprocess=paint)
    web.saved.clear()
    done = web.txt2img(panel, seed=1)
    assert web.seeds(done) == done.all_seeds == web.seeds(plain)
    assert web.scores(done) == web.scores(plain)
    # The number is the place of the candidate where the painter sees all of them, and of the result otherwise.
    all_seen = first and mode == "best-of-n"
    assert painted(web, done) == (web.seeds(done) if all_seen else [1, 2])
    files = [one.image.convert("RGB").tobytes() for one in web.saved if not one.grid]
    assert files == [picture.convert("RGB").tobytes() for picture in web.pictures(plain)]
    assert [web.module("saving").record_of(one.image)["rank"] for one in web.saved if not one.grid] == [1, 2]


@both
def test_strangers_in_the_result_cost_no_kept_image(web: Web, mode: str) -> None:
    def cut(p: Any, processed: Any) -> None:
        paint(p, processed)
        del processed.images[-1]

    panel = {"mode": mode, "candidates": 4, "keep": 2}
    plain = web.txt2img(panel)
    web.add_script("Painter", first=True, postprocess=cut)
    done = web.txt2img(panel)
    assert web.seeds(done) == done.all_seeds == web.seeds(plain)
    # Nobody can tell whose the three painted ones are: they stay behind.
    assert painted(web, done) == ([0, 0, 1, 2, 3] if mode == "best-of-n" else [1])


@both
def test_cells_of_a_plot_are_copies_of_one_job(web: Web, mode: str) -> None:
    from copy import copy

    process = web.host("processing").process_images
    p = web.job("txt2img", {"mode": mode, "candidates": 3, "keep": 1}, do_not_save_grid=True)
    alone = [web.seeds(web.txt2img({"mode": mode, "candidates": 3}, seed=seed)) for seed in (1, 50)]
    cells = []
    for seed in (1, 50):
        cell = copy(p)
        cell.seed = seed
        cells.append(process(cell))
    assert [web.seeds(cell) for cell in cells] == alone
    assert (p.n_iter, p.batch_size, p.seed) == (1, 1, 1)
    assert "HPS score" not in p.extra_generation_params


@both
def test_axes_of_a_cell_win_over_the_panel(web: Web, mode: str) -> None:
    from copy import copy

    process = web.host("processing").process_images
    p = web.job("txt2img", {"mode": mode, "candidates": 3, "keep": 1})
    kept = []
    for keep in (1, 2, 3):
        cell = copy(p)
        cell._hps_axes = {"keep": keep}
        kept.append(len(web.pictures(process(cell))))
    assert kept == [1, 2, 3]
