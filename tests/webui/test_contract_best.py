"""Best of N seen from outside, both variants: which images come out, with which seeds and texts, whatever happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from fakes.web import Web

VARIANTS = ["best-of-n", "best-of-n-first-pass"]
both = pytest.mark.parametrize("mode", VARIANTS)


def best(web: Web, seeds: range, keep: int, **fields: Any) -> list[int]:
    """Return the seeds that a person would keep who made all images one by one."""
    scores = {seed: web.scores(web.txt2img({"mode": "score"}, **fields, seed=seed))[0] for seed in seeds}
    return sorted(scores, key=lambda seed: -scores[seed])[:keep]  # type: ignore[operator]


def in_step(web: Web, done: Any, count: int) -> None:
    """Check that everything that the host reports about its images tells of the same images."""
    assert len(web.pictures(done)) == len(web.texts(done)) == count
    assert done.all_seeds == web.seeds(done) and done.seed == done.all_seeds[0]
    assert len(done.all_prompts) == len(done.all_negative_prompts) == len(done.all_subseeds) == count
    assert None not in web.scores(done) and "HPS error" not in "".join(done.infotexts)
    for picture, text in zip(web.pictures(done), web.texts(done), strict=True):
        assert picture.info["parameters"] == text


@both
@pytest.mark.parametrize(
    ("candidates", "keep", "size"), [(4, 1, 1), (4, 2, 2), (5, 2, 3), (6, 4, 4), (3, 3, 1), (1, 1, 2)]
)
def test_the_best_are_kept(web: Web, mode: str, candidates: int, keep: int, size: int) -> None:
    done = web.txt2img({"mode": mode, "candidates": candidates, "keep": keep}, batch_size=size, seed=10)
    in_step(web, done, keep)
    assert web.seeds(done) == best(web, range(10, 10 + candidates), keep)
    assert web.scores(done) == sorted(web.scores(done), reverse=True)  # type: ignore[type-var]


@both
def test_the_winner_is_the_image_of_its_seed(web: Web, mode: str) -> None:
    done = web.txt2img({"mode": mode, "candidates": 4, "keep": 2}, batch_size=2, sampler_name="Euler a")
    for seed, picture in zip(web.seeds(done), web.pictures(done), strict=True):
        alone = web.pictures(web.txt2img({"mode": "off"}, seed=seed, sampler_name="Euler a"))[0]
        assert picture.convert("RGB").tobytes() == alone.convert("RGB").tobytes()


@both
def test_every_pool_gives_its_own(web: Web, mode: str) -> None:
    done = web.txt2img({"mode": mode, "candidates": 3, "keep": 1}, n_iter=3, seed=20)
    in_step(web, done, 3)
    assert web.seeds(done) == [seed for start in (20, 23, 26) for seed in best(web, range(start, start + 3), 1)]


@both
def test_only_the_kept_are_saved(web: Web, mode: str) -> None:
    done = web.txt2img({"mode": mode, "candidates": 4, "keep": 2}, batch_size=2)
    files = [each for each in web.saved if not each.grid]
    assert [each.seed for each in files] == web.seeds(done)
    assert [each.info for each in files] == web.texts(done)


@both
def test_the_job_is_given_back_as_it_was(web: Web, mode: str) -> None:
    done = web.txt2img({"mode": mode, "candidates": 4, "keep": 1}, n_iter=2)
    assert (web.p.n_iter, web.p.batch_size) == (2, 1)
    assert (web.p.do_not_save_samples, web.p.do_not_save_grid) == (False, False)
    assert not web.state.stopping_generation and "sample" not in vars(web.p)
    assert done.index_of_first_image in (0, 1)


@both
def test_the_same_job_can_run_again(web: Web, mode: str) -> None:
    p = web.job("txt2img", {"mode": mode, "candidates": 4, "keep": 1})
    run = web.host("processing").process_images
    first, second = run(p), run(p)
    assert web.seeds(first) == web.seeds(second) and web.scores(first) == web.scores(second)


@both
def test_variation_seeds_count_up(web: Web, mode: str) -> None:
    done = web.txt2img({"mode": mode, "candidates": 4, "keep": 2}, subseed=50, subseed_strength=0.4)
    assert web.seeds(done) == [1, 1]
    subseeds = [int(value or -1) for value in web.field(done, "Variation seed")]
    assert subseeds == done.all_subseeds and len(set(subseeds)) == 2 and set(subseeds) <= set(range(50, 54))


@both
def test_masks_stay_with_their_images(web: Web, mode: str) -> None:
    web.boot()
    web.opts.return_mask = True
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    panel = {"mode": mode, "candidates": 4, "keep": 2}
    done = web.img2img(Image.new("RGB", (64, 64), "navy"), panel, mask=mask, batch_size=2, do_not_save_grid=True)
    assert len(done.infotexts) == 2 == len(done.all_seeds)
    assert len([each for each in done.images if "parameters" in each.info]) == 2
    assert None not in web.scores(done)


@both
@pytest.mark.parametrize("skip", [False, True])
def test_a_stop_keeps_the_best_so_far(web: Web, mode: str, skip: bool) -> None:
    with web.stop_at(5, skip=skip):  # in the third candidate of two steps each
        done = web.txt2img({"mode": mode, "candidates": 8, "keep": 1})
    assert web.seeds(done) in ([1], [2]) or skip
    in_step(web, done, 1)


@both
@pytest.mark.parametrize(
    "name", ["before_process_batch", "process_batch", "postprocess_batch_list", "postprocess_image"]
)
def test_an_interrupt_anywhere_loses_nothing(web: Web, mode: str, name: str) -> None:
    web.at(name, 1, lambda p: web.state.interrupt())
    done = web.txt2img({"mode": mode, "candidates": 4, "keep": 1})
    assert len(web.pictures(done)) <= 1
    assert len(done.infotexts) >= 1 and len(done.all_seeds) >= 1


@both
def test_a_failing_scorer_keeps_what_was_made(web: Web, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judge, count = web.module("judge").Judge, iter(range(100))
    real = judge.score

    def score(self: Any, *args: Any, **more: Any) -> Any:
        if next(count) >= 1:
            raise RuntimeError("out of order")
        return real(self, *args, **more)

    monkeypatch.setattr(judge, "score", score)
    done = web.txt2img({"mode": mode, "candidates": 4, "keep": 1})
    assert len(web.pictures(done)) >= 1 and "out of order" in done.comments
    assert len([each for each in web.saved if not each.grid]) == len(web.pictures(done))


@both
def test_the_hires_pass_belongs_to_the_kept_in_the_first_pass_variant(web: Web, mode: str) -> None:
    web.boot()
    done = web.txt2img({"mode": mode, "candidates": 4, "keep": 1}, enable_hr=True, hr_scale=2.0)
    assert [each.size for each in web.pictures(done)] == [(128, 128)]
    in_step(web, done, 1)


@both
def test_prompts_of_one_pool_are_one(web: Web, mode: str) -> None:
    def dynamic(p: Any, *args: Any) -> None:
        p.all_prompts = [f"{prompt} {k}" for k, prompt in enumerate(p.all_prompts)]

    web.add_script("Dynamic prompts", first=True, process=dynamic)
    done = web.txt2img({"mode": mode, "candidates": 3, "keep": 2}, n_iter=2)
    in_step(web, done, 4)
    assert done.all_prompts[0] == done.all_prompts[1] and done.all_prompts[2] == done.all_prompts[3]
    assert [text.split("\n")[0] for text in web.texts(done)] == done.all_prompts


@both
def test_pictures_of_another_extension_stay(web: Web, mode: str) -> None:
    extra = Image.new("RGB", (8, 8), "red")
    web.add_script("Adds", postprocess=lambda p, processed, *args: processed.images.append(extra))
    done = web.txt2img({"mode": mode, "candidates": 4, "keep": 1})
    assert any(each is extra for each in done.images)


@both
def test_jobs_that_share_one_dict_do_not_mix(web: Web, mode: str) -> None:
    shared: dict[str, Any] = {}
    web.txt2img({"mode": mode, "candidates": 2}, extra_generation_params=shared)
    assert not [name for name in shared if name.startswith("HPS")]
