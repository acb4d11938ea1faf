"""Best of N before finishing: what it costs, what is judged, and what a stop by hand leaves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageChops

if TYPE_CHECKING:
    from fakes.web import Web

BEST = {"mode": "best-of-n-first-pass", "candidates": 5, "keep": 2}
HIRES = {"enable_hr": True, "hr_scale": 2.0, "steps": 3}


def alone(web: Web, seed: int, **fields: Any) -> Any:
    """Return the picture that a plain job makes of a seed."""
    return web.pictures(web.txt2img({"mode": "off"}, seed=seed, **fields))[0].convert("RGB").tobytes()


def calls(web: Web, **fields: Any) -> int:
    """Return how often a plain job calls the network."""
    web.boot()
    before = len(web.calls)
    web.txt2img({"mode": "off"}, **fields)
    return len(web.calls) - before


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ SDE"])
def test_winners_are_sampled_once(web: Web, sampler: str) -> None:
    single = calls(web, sampler_name=sampler)
    before = len(web.calls)
    done = web.txt2img(BEST, batch_size=2, sampler_name=sampler)
    assert len(web.calls) - before == 3 * single  # chunks of 2, 2 and 1
    for seed, picture in zip(web.seeds(done), web.pictures(done), strict=True):
        assert picture.convert("RGB").tobytes() == alone(web, seed, sampler_name=sampler)


def test_only_winners_get_the_hires_pass_and_it_is_the_hosts(web: Web) -> None:
    first = calls(web, sampler_name="Euler a", steps=3)
    both = calls(web, sampler_name="Euler a", **HIRES)
    before = len(web.calls)
    done = web.txt2img({**BEST, "keep": 1}, sampler_name="Euler a", **HIRES)
    assert len(web.calls) - before == 5 * first + (both - first)
    [picture] = web.pictures(done)
    assert picture.convert("RGB").tobytes() == alone(web, web.seeds(done)[0], sampler_name="Euler a", **HIRES)


def test_a_rank_is_told_with_the_first_passs_score(web: Web) -> None:
    """Finishing may turn the order round, and then rank and score of an image seem to contradict each other."""
    done = web.txt2img({**BEST, "keep": 2}, sampler_name="Euler a", **HIRES)
    for place, (seed, rank) in enumerate(zip(web.seeds(done), web.field(done, "HPS rank"), strict=True), 1):
        [first] = web.scores(web.txt2img({"mode": "score"}, seed=seed, sampler_name="Euler a", steps=3))
        found = re.fullmatch(rf"{place} of 5 by first pass \((-?[0-9.]+)\)", rank)
        assert found and float(found[1]) == pytest.approx(first, abs=1e-3)


def test_results_come_in_batches_that_divide_them(web: Web) -> None:
    sizes: list[int] = []
    web.add_script("Sizes", postprocess_batch_list=lambda p, pp, *args, **more: sizes.append(len(pp.images)))
    done = web.txt2img({**BEST, "keep": 4}, batch_size=3, n_iter=2)
    assert sizes == [2] * 4 and "batches of 2" in done.comments
    assert web.scores(done)[:4] == sorted(web.scores(done)[:4], reverse=True)  # type: ignore[type-var]


def test_the_bar_ends_at_its_end(web: Web) -> None:
    counts: list[tuple[int, int]] = []
    note = lambda p, *args, **more: counts.append((web.state.job_no, web.state.job_count))  # noqa: E731
    web.add_script("Counts", postprocess=note)
    web.txt2img(BEST, batch_size=2, n_iter=2)
    web.txt2img({**BEST, "target": -1e5}, n_iter=2)
    web.txt2img(BEST, batch_size=2, **HIRES)
    web.txt2img({"mode": "off"}, batch_size=2, **HIRES)
    missing = [of - done for done, of in counts]
    assert missing[:2] == [0, 0] and missing[2] == missing[3], counts
    assert web.state.textinfo is None


def test_the_best_so_far_is_the_preview(web: Web) -> None:
    web.boot()
    web.opts.live_previews_enable = True
    shown: list[Any] = []
    web.state.assign_current_image = shown.append
    try:
        done = web.txt2img({**BEST, "candidates": 6, "keep": 1})
    finally:
        del web.state.assign_current_image
    assert shown[-1].convert("RGB").tobytes() == web.pictures(done)[0].convert("RGB").tobytes()
    assert web.state.current_image_sampling_step < 1000


@pytest.mark.parametrize(
    ("panel", "made"), [({"target": -1e5}, 2), ({"seconds": 1e-6}, 2), ({"stop": "quick", "candidates": 60}, 59)]
)
def test_a_pool_ends_early(web: Web, panel: dict[str, Any], made: int) -> None:
    single = calls(web)
    before = len(web.calls)
    done = web.txt2img({**BEST, **panel})
    assert 2 * single <= len(web.calls) - before <= made * single
    assert "stopped after" in done.comments and len(web.pictures(done)) == 2


@pytest.mark.parametrize("calls", [3, 4, 5, 8])
def test_a_half_made_chunk_is_no_candidate(web: Web, calls: int) -> None:
    with web.stop_at(calls):
        done = web.txt2img({**BEST, "candidates": 8}, n_iter=2)
    whole = (calls - 1) // 2
    scores = {seed: web.scores(web.txt2img({"mode": "score"}, seed=seed))[0] for seed in range(1, whole + 1)}
    wanted = sorted(scores, key=lambda seed: -scores[seed])[:2]  # type: ignore[operator]
    assert web.seeds(done) == wanted and web.scores(done) == [scores[seed] for seed in wanted]


def test_a_stop_leaves_the_flags_as_the_person_set_them(web: Web) -> None:
    with web.stop_at(5):
        done = web.txt2img({**BEST, "candidates": 8, "keep": 2})
    assert web.state.interrupted and not web.state.stopping_generation
    assert [each.seed for each in web.saved if not each.grid] == web.seeds(done)


def test_a_stop_spares_the_hires_pass(web: Web) -> None:
    with web.stop_at(8):
        done = web.txt2img({**BEST, "candidates": 8}, **HIRES)
    assert {picture.size for picture in web.pictures(done)} == {(64, 64)} and "before hires fix" in done.comments
    assert len([each for each in web.saved if not each.grid]) == 2


def test_skip_finishes_the_best_so_far_and_goes_on(web: Web) -> None:
    with web.stop_at(11, skip=True):
        done = web.txt2img({**BEST, "candidates": 8}, n_iter=2, **HIRES)
    assert {picture.size for picture in web.pictures(done)} == {(128, 128)} and len(web.pictures(done)) == 4
    assert set(web.seeds(done)[:2]) <= {1, 2, 3} and set(web.seeds(done)[2:]) <= set(range(9, 17))
    assert not web.state.skipped and not web.state.interrupted


def test_a_stop_before_the_first_candidate_gives_no_score_and_no_file(web: Web) -> None:
    with web.stop_at(1):
        done = web.txt2img(BEST)
    assert web.scores(done) == [None] * len(web.pictures(done))
    assert not [each for each in web.saved if not each.grid]


def test_memory_that_runs_out_halves_the_chunk(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = web.module("first_pass.sampling")
    real, sizes = sampling.make, []

    def make(p: Any, call: Any, seeds: Any, *args: Any) -> Any:
        sizes.append(len(seeds))
        if len(seeds) > 2:
            raise RuntimeError("CUDA out of memory.")
        return real(p, call, seeds, *args)

    monkeypatch.setattr(sampling, "make", make)
    done = web.txt2img({**BEST, "keep": 1}, batch_size=4)
    assert sizes == [4, 2, 2, 1] and "memory" in done.comments and len(web.pictures(done)) == 1


def test_a_sampler_that_cannot_run_twice_makes_the_plain_image(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*args: Any) -> Any:
        raise ValueError("not twice")

    monkeypatch.setattr(web.module("first_pass.sampling"), "make", make)
    done = web.txt2img(BEST, batch_size=2)
    assert web.seeds(done) == [1, 2] and None not in web.scores(done)
    assert "images are made as usual: ValueError: not twice" in done.comments and "no more scores" not in done.comments
    assert "not twice" in done.extra_generation_params["HPS error"] and "best of 0" not in done.comments
    assert web.pictures(done)[1].convert("RGB").tobytes() == alone(web, 2)


def test_a_sampler_that_breaks_later_leaves_the_pools_that_were_made(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = web.module("first_pass.sampling")
    real, seen = sampling.make, []

    def make(p: Any, call: Any, seeds: Any, *args: Any) -> Any:
        seen.append(seeds)
        if len(seen) > 7:  # in the second pool, which has two candidates then
            raise ValueError("not again")
        return real(p, call, seeds, *args)

    monkeypatch.setattr(sampling, "make", make)
    done = web.txt2img({**BEST, "keep": 1}, n_iter=2)
    monkeypatch.setattr(sampling, "make", real)
    first = web.txt2img({**BEST, "keep": 1})
    assert web.seeds(done)[0] == web.seeds(first)[0] and None not in web.scores(done)
    [line] = [each for each in done.comments.splitlines() if "seed" in each]
    assert "best of 5" in line and "not kept" in line and "not again" in done.comments


def test_the_scorer_steps_aside_before_a_hires_pass(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    web.boot()
    monkeypatch.setattr(web.module("bridge.host"), "step_aside", lambda: seen.append(len(web.calls)))
    web.txt2img(BEST)
    assert not seen
    before = len(web.calls)
    web.txt2img(BEST, batch_size=2, **HIRES)
    assert len(seen) == 1 and before < seen[0] < len(web.calls)  # behind the candidates, before the pass


def test_after_a_failing_scorer_the_first_candidates_are_the_results(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(self: Any, *args: Any, **more: Any) -> Any:
        raise RuntimeError("out of order")

    monkeypatch.setattr(web.module("judge").Judge, "score", score)
    done = web.txt2img(BEST, n_iter=2)
    assert web.seeds(done) == [1, 2, 6, 7] and "out of order" in done.comments
    assert all("HPS error" in text for text in web.texts(done))


def test_the_strip_shows_all_candidates_only_when_asked(web: Web) -> None:
    web.boot()
    assert len(web.txt2img(BEST, do_not_save_grid=True).images) == 2
    web.opts.hps_show_candidates = True
    done = web.txt2img(BEST, do_not_save_grid=True)
    assert len(done.images) == 3 and len(done.infotexts) == 2
    strip = done.images[-1]
    assert strip.width > 5 * 64 and "hps" not in strip.info
    colours = {colour for _, colour in strip.convert("RGB").getcolors(1 << 20)}
    assert web.module("best_of_n.strip")._KEPT in colours


def test_inpainting_is_judged_as_it_is_pasted(web: Web) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (20, 16, 40, 40))
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    for more in ({}, {"inpaint_full_res": True, "inpaint_full_res_padding": 4}, {"inpainting_fill": 2}):
        done = web.img2img(image, BEST, mask=mask, batch_size=2, do_not_save_grid=True, **more)
        assert "before and after finishing" not in done.comments
        for seed, score in zip(web.seeds(done), web.scores(done), strict=True):
            single = web.img2img(image, {"mode": "score"}, mask=mask, seed=seed, do_not_save_grid=True, **more)
            assert web.scores(single)[0] == pytest.approx(score, abs=1e-3)


def test_latent_noise_under_half_tones_is_each_winners_own(web: Web) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(140, (20, 16, 40, 40))
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    soft = {"mask": mask, "inpainting_fill": 2, "mask_round": False, "do_not_save_grid": True}
    done = web.img2img(image, {**BEST, "keep": 1}, batch_size=2, n_iter=2, **soft)
    for seed, picture in zip(web.seeds(done), web.pictures(done), strict=True):
        single = web.pictures(web.img2img(image, {"mode": "off"}, seed=seed, **soft))[0]
        apart = ImageChops.difference(picture.convert("RGB"), single.convert("RGB")).getextrema()
        assert max(high for _, high in apart) <= 1, (seed, apart)


def test_several_input_images_are_refused_in_words(web: Web) -> None:
    images = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    done = web.img2img(images, BEST, batch_size=2)
    assert len(web.pictures(done)) == 2 and "several input images" in done.comments


def test_seeds_of_a_list_are_the_candidates(web: Web) -> None:
    done = web.txt2img({**BEST, "keep": 1, "candidates": 3}, seed=[40, 50, 60])
    scores = {seed: web.scores(web.txt2img({"mode": "score"}, seed=seed))[0] for seed in (40, 50, 60)}
    assert web.seeds(done) == [max(scores, key=lambda seed: scores[seed])]  # type: ignore[arg-type, return-value]


def test_numbers_of_other_extensions_follow_each_candidate(web: Web) -> None:
    seen: list[list[int]] = []
    note = lambda p, *args, **more: seen.append(list(p.seeds))  # noqa: E731
    web.add_script("Control", process_before_every_sampling=note)
    web.txt2img({**BEST, "keep": 1}, batch_size=2)
    assert seen[:3] == [[1, 2], [3, 4], [5]] and len(seen) == 4


def test_a_stop_after_the_image_in_work_ends_the_pool_and_finishes_all_its_winners(web: Web) -> None:
    with web.stop_at(10, gently=True) as steps:  # in the third candidate of three steps
        done = web.txt2img({**BEST, "candidates": 12, "keep": 3}, batch_size=1, n_iter=2, **HIRES)
    pictures = web.pictures(done)
    assert [picture.size for picture in pictures] == [(128, 128)] * 3 and None not in web.scores(done)
    assert len(steps) < 12 * 3 and "stopped by hand" in done.comments
    assert web.state.stopping_generation and not web.state.interrupted
