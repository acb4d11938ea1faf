"""Noise optimisation when it is stopped or something breaks: the image is made, and the best noise is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from .test_gradients import host_state

if TYPE_CHECKING:
    from fakes.web import Web

SEARCH = {"mode": "noise-search", "iterations": 3, "population": 2, "screen": 2}
GRADIENT = {"mode": "noise-gradient", "gradient_method": "geodesic", "iterations": 2, "screen": 1}
HIRES = {"enable_hr": True, "hr_scale": 2.0, "denoising_strength": 0.5}


def kept(web: Web) -> list[Path | None]:
    """Return the noise file of every picture that was saved, None where there is none."""
    paths = [web.module("noise.files").path_of(each.path) for each in web.saved if not each.grid]
    return [path if path.exists() else None for path in paths]


def rgb(picture: Any) -> bytes:
    return picture.convert("RGB").tobytes()


def remade(web: Web, file: Path | None, **fields: Any) -> Any:
    """Return the picture that a noise file makes, with its score."""
    done = web.txt2img({"mode": "score", "noise_file": str(file)}, **fields)
    return rgb(web.pictures(done)[0]), web.scores(done)[0]


def steps_of(web: Web, panel: dict[str, Any], **fields: Any) -> int:
    """Return how often the network is asked in a job that nobody stops."""
    with web.stop_at(1 << 30) as steps:
        web.txt2img(panel, **fields)
    return len(steps)


def test_an_interrupt_ends_the_searches_of_the_whole_batch(web: Web) -> None:
    with web.stop_at(7) as steps:
        done = web.txt2img(SEARCH, batch_size=2)
    assert len(steps) == 7 and len(web.pictures(done)) == 1 and web.state.interrupted
    [file] = kept(web)
    assert remade(web, file) == (rgb(web.pictures(done)[0]), web.scores(done)[0])


@pytest.mark.parametrize("skip", [False, True])
def test_a_press_while_the_best_is_made_costs_nothing(web: Web, skip: bool) -> None:
    panel = {**GRADIENT, "iterations": 1}
    total = steps_of(web, panel, n_iter=2)
    count = len(kept(web))
    with web.stop_at(total, skip=skip) as steps:
        done = web.txt2img(panel, n_iter=2)
    assert web.state.interrupted is not skip and not web.state.skipped
    assert len(steps) == total + 2 and len(web.pictures(done)) == 2
    first, second = kept(web)[count:]
    assert first and remade(web, second, seed=2) == (rgb(web.pictures(done)[1]), web.scores(done)[1])


@pytest.mark.parametrize("panel", [SEARCH, GRADIENT])
@pytest.mark.parametrize("skip", [False, True])
def test_a_press_in_the_hires_pass_gives_the_image_before_it(web: Web, panel: dict[str, Any], skip: bool) -> None:
    total = steps_of(web, panel, **HIRES)
    count = len(kept(web))
    with web.stop_at(total, skip=skip):
        done = web.txt2img(panel, **HIRES)
    assert web.state.interrupted is not skip and not web.state.skipped
    [file] = kept(web)[count:]
    assert remade(web, file) == (rgb(web.pictures(done)[0]), web.scores(done)[0])
    assert web.pictures(done)[0].size == (64, 64) and "before hires fix" in done.comments


def test_pressed_again_and_again_the_batch_is_broken_off(web: Web) -> None:
    panel = {**GRADIENT, "iterations": 1}
    total = steps_of(web, panel)
    callbacks, seen, count = web.host("script_callbacks"), [], len(kept(web))

    def press(params: Any) -> None:
        seen.append(1)
        if len(seen) >= total:
            web.state.interrupt()

    callbacks.on_cfg_denoiser(press)
    done = web.txt2img(panel)
    callbacks.remove_callbacks_for_function(press)
    assert "stopped again while the best image was made" in done.comments
    assert web.scores(done) == web.field(done, "HPS noise") == [None] and len(kept(web)) == count
    assert web.state.interrupted and len(seen) < total + 5


@pytest.mark.parametrize("known", [False, True])
def test_a_sampler_that_shows_no_result(web: Web, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    """An extension that samples in its own way: the image is made all the same, or it is said what is in the way."""
    sampling, stopped = web.module("first_pass.sampling"), []
    real = sampling.make

    def make(*args: Any) -> Any:
        made = real(*args)
        if stopped and not known:
            return sampling.Made([None], None)
        stopped.extend([1] * web.state.interrupted)
        return sampling.Made(made.latents, None)

    monkeypatch.setattr(sampling, "make", make)
    with web.stop_at(11):
        done = web.txt2img(SEARCH)
    if known:
        [file] = kept(web)
        monkeypatch.undo()
        assert remade(web, file) == (rgb(web.pictures(done)[0]), web.scores(done)[0])
    else:
        assert "choose another sampler" in done.comments and "stopped again" not in done.comments
        assert web.scores(done) == [None] and not web.saved and web.state.interrupted


@pytest.mark.parametrize("panel", [SEARCH, GRADIENT])
def test_trouble_with_the_second_image_keeps_the_first_ones_noise(
    web: Web, monkeypatch: pytest.MonkeyPatch, panel: dict[str, Any]
) -> None:
    search, real = web.module("noise.search").NoiseJob, web.module("noise.search").NoiseJob._run

    def run(self: Any, p: Any, call: Any, place: int, passes: Any) -> Any:
        if place == 1:
            raise ValueError("not twice")
        return real(self, p, call, place, passes)

    monkeypatch.setattr(search, "_run", run)
    plain = web.scores(web.txt2img({"mode": "score"}, batch_size=2, n_iter=2))
    count = len(kept(web))
    done = web.txt2img(panel, batch_size=2, n_iter=2)
    first, *others = kept(web)[count:]
    assert remade(web, first)[1] == pytest.approx(web.scores(done)[0], abs=1e-3)
    assert web.field(done, "HPS method")[1:] == web.field(done, "HPS iterations")[1:] == [None] * 3
    assert web.field(done, "HPS method")[0] == done.extra_generation_params["HPS method"] != ""
    assert others == [None] * 3 and web.scores(done)[1:] == pytest.approx(plain[1:], abs=1e-3)
    assert done.comments.count("not twice") == 1 and web.scores(done)[0] > plain[0]  # type: ignore[operator]


@pytest.mark.parametrize("panel", [{**SEARCH, "iterations": 6}, {**GRADIENT, "iterations": 6}])
@pytest.mark.parametrize("words", ["an extension broke", "CUDA out of memory."])
def test_an_error_on_the_way_keeps_the_best(
    web: Web, monkeypatch: pytest.MonkeyPatch, panel: dict[str, Any], words: str
) -> None:
    web.boot()
    state, passes = host_state(web), web.module("noise.passes").Passes
    real, count = passes.pictures, iter(range(1, 100))

    def pictures(self: Any, *given: Any) -> Any:
        if next(count) > 5:
            raise RuntimeError(words)
        return real(self, *given)

    monkeypatch.setattr(passes, "pictures", pictures)
    done = web.txt2img(panel)
    monkeypatch.setattr(passes, "pictures", real)
    [file] = kept(web)
    assert remade(web, file) == (rgb(web.pictures(done)[0]), web.scores(done)[0])
    assert web.scores(done)[0] > float(web.field(done, "HPS start score")[0] or 0)  # type: ignore[operator]
    said = (
        "kept: make a smaller image" if "memory" in words else f"the best image so far was kept: RuntimeError: {words}"
    )
    assert said in done.comments and "stopped by hand" not in done.comments and host_state(web) == state


def test_memory_that_runs_out_in_the_first_gradient_says_what_to_do(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.boot()
    run, plain, tidied = web.module("gradients.run").Differentiable, web.txt2img({"mode": "score"}), []

    def full(self: Any, latent: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(run, "decode", full)
    monkeypatch.setattr(web.module("noise.search").NoiseJob, "_preflight", lambda *given: None)
    monkeypatch.setattr(web.host("devices"), "torch_gc", lambda: tidied.append(1))
    state = host_state(web)
    done = web.txt2img(GRADIENT)
    assert "no gradient" in done.comments and "make a smaller image" in done.comments and "GiB" not in done.comments
    assert not {"HPS method", "HPS iterations", "HPS start score"} & done.extra_generation_params.keys()
    assert web.scores(done) == web.scores(plain) and tidied and host_state(web) == state


def test_noise_is_kept_when_scoring_breaks_afterwards(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = web.module("judge").Judge

    def score(self: Any, *args: Any, **more: Any) -> Any:
        raise ValueError("the scorer is gone")

    monkeypatch.setattr(judge, "score", score)
    done = web.txt2img(SEARCH, batch_size=2)
    first, second = kept(web)
    assert first and second and done.comments.count("the scorer is gone") == 1
    assert web.field(done, "HPS error") == ["no more scores: ValueError: the scorer is gone"] * 2
    monkeypatch.undo()
    assert remade(web, first)[0] == rgb(web.pictures(done)[0])


def test_a_noise_file_of_another_size_is_no_lack_of_gradients(web: Web) -> None:
    first = web.txt2img(SEARCH)
    assert first.comments
    done = web.txt2img({**GRADIENT, "noise_file": str(kept(web)[0])}, width=128)
    assert "for images of 64 x 64 pixels" in done.comments and "no gradient" not in done.comments
    assert "HPS error" in web.texts(done)[0] and len(web.pictures(done)) == 1


@pytest.mark.parametrize("how", ["skip", "gently"])
def test_a_press_before_the_first_candidate_is_told(web: Web, how: str) -> None:
    plain = web.txt2img({"mode": "score"})
    with web.stop_at(1, **{how: True}):
        done = web.txt2img(GRADIENT)
    assert "seed 1: stopped before its noise was improved." in done.comments
    assert rgb(web.pictures(done)[0]) == rgb(web.pictures(plain)[0]) and web.scores(done) == web.scores(plain)


@pytest.mark.parametrize("panel", [SEARCH, GRADIENT, {**SEARCH, "target": -1e5}])
def test_progress_ends_where_the_work_does(web: Web, panel: dict[str, Any]) -> None:
    seen: list[tuple[int, int]] = []
    web.add_script("Watcher", postprocess=lambda p, *args: seen.append((web.state.job_no, web.state.job_count)))
    web.txt2img({"mode": "off"}, batch_size=2, n_iter=2)
    web.txt2img(panel, batch_size=2, n_iter=2)
    (plain, planned), (made, in_all) = seen
    assert planned - plain == in_all - made and in_all > planned


def test_one_image_that_is_no_number_ends_no_search(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    side, count = web.module("gradients.common").side(), iter(range(1, 100))
    real = side.pixels
    monkeypatch.setattr(side, "pixels", lambda p, latent: real(p, latent) + (float("nan") if next(count) == 2 else 0.0))
    monkeypatch.setattr(web.module("noise.search").NoiseJob, "_preflight", lambda *given: None)
    done = web.txt2img({**GRADIENT, "iterations": 4})
    assert "no gradient" not in done.comments and "all iterations were made" in done.comments
    assert web.scores(done)[0] > float(web.field(done, "HPS start score")[0] or 0)  # type: ignore[operator]
