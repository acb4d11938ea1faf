"""Noise optimisation in a generation: it improves, what is saved is what was judged, and a file makes it again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

if TYPE_CHECKING:
    from fakes.web import Web

SEARCH = {"mode": "noise-search", "iterations": 3, "population": 3, "screen": 3}
METHODS = ["sphere search", "subspace search", "zero-order search"]


def noise_files(web: Web) -> list[Path]:
    """Return the noise files beside the pictures that were saved, in their order."""
    module = web.module("noise.files")
    return [module.path_of(each.path) for each in web.saved if not each.grid]


def rgb(picture: Any) -> bytes:
    """Return the colours of a picture."""
    return picture.convert("RGB").tobytes()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ SDE"])
def test_it_improves_and_the_file_makes_the_image_again(web: Web, method: str, sampler: str) -> None:
    done = web.txt2img({**SEARCH, "method": method}, sampler_name=sampler)
    start = web.scores(web.txt2img({"mode": "score"}, sampler_name=sampler))[0]
    [score], [before] = web.scores(done), web.field(done, "HPS start score")
    assert score > start and float(before or 0) == pytest.approx(start)  # type: ignore[operator]
    [file] = noise_files(web)[:1]
    assert web.field(done, "HPS noise") == [hashlib.sha256(file.read_bytes()).hexdigest()[:12]]
    again = web.txt2img({"mode": "score", "noise_file": str(file)}, seed=-1, sampler_name=sampler)
    assert rgb(web.pictures(again)[0]) == rgb(web.pictures(done)[0]) and web.scores(again) == [score]
    assert web.seeds(again) == [1]


def test_each_image_of_a_job_has_its_own(web: Web) -> None:
    done = web.txt2img(
        SEARCH, prompt=["a red circle", "a blue square", "a green star", "a dog"], batch_size=2, n_iter=2
    )
    files = noise_files(web)
    assert len({file.read_bytes() for file in files}) == 4 == len(set(web.field(done, "HPS noise")))
    for k, prompt in enumerate(("a red circle", "a blue square", "a green star", "a dog")):
        again = web.txt2img({"mode": "score", "noise_file": str(files[k])}, prompt=prompt, seed=k + 1)
        assert web.scores(again)[0] == pytest.approx(web.scores(done)[k], abs=1e-4)
    assert done.comments.count("sphere search") == 4


def test_the_result_is_not_sampled_again(web: Web) -> None:
    web.boot()
    before = len(web.calls)
    web.txt2img(SEARCH)
    assert sum(web.calls[before:]) == 2 * (3 + 3 * 3) * per_step(web)


def per_step(web: Web) -> int:
    """Return how many samples the network sees in one step of one image."""
    before = len(web.calls)
    web.txt2img({"mode": "off"})
    return sum(web.calls[before:]) // 2


def test_what_is_drawn_on_the_way_stays_that_of_the_seed(web: Web) -> None:
    done = web.txt2img({**SEARCH, "screen": 1, "iterations": 1, "population": 1}, sampler_name="Euler a")
    if web.scores(done)[0] == float(web.field(done, "HPS start score")[0] or 0):
        assert rgb(web.pictures(done)[0]) == rgb(web.pictures(web.txt2img({"mode": "off"}, sampler_name="Euler a"))[0])
    else:
        again = web.txt2img({"mode": "score", "noise_file": str(noise_files(web)[0])}, sampler_name="Euler a")
        assert rgb(web.pictures(again)[0]) == rgb(web.pictures(done)[0])


def test_hires_goes_on_from_the_best_noise(web: Web) -> None:
    more = {"enable_hr": True, "hr_scale": 2.0, "sampler_name": "Euler a"}
    done = web.txt2img(SEARCH, **more)
    again = web.txt2img({"mode": "score", "noise_file": str(noise_files(web)[0])}, **more)
    assert web.pictures(done)[0].size == (128, 128) and rgb(web.pictures(again)[0]) == rgb(web.pictures(done)[0])
    plain = web.txt2img({"mode": "off"}, **more)
    assert rgb(web.pictures(plain)[0]) != rgb(web.pictures(done)[0])


def test_inpainting_changes_what_is_masked_and_judges_the_whole(web: Web) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (20, 16, 40, 40))
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    for more in ({}, {"inpaint_full_res": True, "inpaint_full_res_padding": 4}):
        done = web.img2img(image, SEARCH, mask=mask, do_not_save_grid=True, **more)
        assert f"-> {web.scores(done)[0]:.3f}" in done.comments
        again = web.img2img(
            image, {"mode": "score", "noise_file": str(noise_files(web)[-1])}, mask=mask, do_not_save_grid=True, **more
        )
        assert web.scores(again)[0] == pytest.approx(web.scores(done)[0], abs=1e-3)


@pytest.mark.parametrize("calls", [3, 7, 12])
def test_a_stop_keeps_the_best_so_far(web: Web, calls: int) -> None:
    with web.stop_at(calls):
        done = web.txt2img(SEARCH, n_iter=2)
    assert len(web.pictures(done)) == 1 and "stopped by hand" in done.comments
    assert web.scores(done)[0] >= float(web.field(done, "HPS start score")[0] or 0)  # type: ignore[operator]
    assert len([each for each in web.saved if not each.grid]) == 1
    assert web.state.interrupted and not web.state.stopping_generation


@pytest.mark.parametrize("calls", [34, 40, 61])
def test_a_stopped_gradient_hands_out_the_noise_that_it_names(web: Web, calls: int) -> None:
    with web.stop_at(calls) as steps:
        done = web.txt2img({"mode": "noise-gradient", "gradient_method": "geodesic", "iterations": 12, "screen": 1})
    assert len(steps) > calls and "stopped by hand" in done.comments
    [file] = noise_files(web)
    again = web.txt2img({"mode": "score", "noise_file": str(file)})
    assert rgb(web.pictures(again)[0]) == rgb(web.pictures(done)[0])
    told = float(done.comments.split(" -> ")[1].split(" ")[0])
    assert web.scores(done)[0] == pytest.approx(told, abs=5e-3)


@pytest.mark.parametrize(("mode", "calls"), [("noise-search", 9), ("noise-gradient", 40)])
def test_a_stop_after_the_image_in_work_ends_a_search_at_its_next_candidate(web: Web, mode: str, calls: int) -> None:
    with web.stop_at(calls, gently=True) as steps:
        done = web.txt2img({**SEARCH, "mode": mode, "iterations": 40}, n_iter=2)
    assert len(steps) < 3 * calls and "stopped by hand" in done.comments
    assert len(web.pictures(done)) == 1 and web.scores(done)[0] is not None
    assert web.state.stopping_generation and not web.state.interrupted


def test_a_remade_image_names_its_noise_and_has_it_beside_it(web: Web) -> None:
    done = web.txt2img(SEARCH)
    [first] = noise_files(web)
    again = web.txt2img({"mode": "score", "noise_file": str(first)})
    assert web.field(again, "HPS noise") == web.field(done, "HPS noise")
    assert noise_files(web)[-1] != first and noise_files(web)[-1].read_bytes() == first.read_bytes()
    plain = web.txt2img({"mode": "score"})
    assert web.field(plain, "HPS noise") == [None]


def test_what_screening_found_is_not_credited_to_the_search(web: Web) -> None:
    done = web.txt2img({**SEARCH, "screen": 8, "iterations": 1})
    alone = max(web.scores(web.txt2img({"mode": "score"}, seed=seed))[0] for seed in range(1, 9))
    assert f"(best of 8 seeds {alone:.3f})" in done.comments


def test_a_stop_before_the_first_image_saves_nothing(web: Web) -> None:
    with web.stop_at(1):
        done = web.txt2img(SEARCH)
    assert web.scores(done) == [None] and not [each for each in web.saved if not each.grid]
    assert web.state.interrupted


def test_the_iterations_are_those_that_were_made(web: Web) -> None:
    whole = web.txt2img(SEARCH)
    assert web.field(whole, "HPS iterations") == ["3"] == whole.extra_generation_params["HPS iterations"]
    with web.stop_at(3):  # while seeds are tried
        done = web.txt2img(SEARCH)
    assert web.field(done, "HPS iterations") == ["0"] == done.extra_generation_params["HPS iterations"]
    assert web.field(done, "HPS method") == ["sphere search"] and web.field(done, "HPS start score") != [None]


def test_the_time_of_the_search_is_told_apart_from_the_rest(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    real = web.module("noise.search").NoiseJob._preflight

    def preflight(self: Any, *given: Any) -> None:
        real(self, *given)
        time.sleep(1.2)

    monkeypatch.setattr(web.module("noise.search").NoiseJob, "_preflight", preflight)
    done = web.txt2img({"mode": "noise-gradient", "iterations": 1, "screen": 1})
    told = re.search(r"images? in (\d+) s of search \((\d+) s of preparation and the final image not", done.comments)
    assert told is not None and int(told[2]) >= 1, done.comments
    assert "the final image not counted)" in web.txt2img(SEARCH).comments


def test_skip_ends_one_image_and_goes_on_with_the_next(web: Web) -> None:
    with web.stop_at(7, skip=True):
        done = web.txt2img(SEARCH, n_iter=2)
    assert len(web.pictures(done)) == 2 and None not in web.scores(done)
    assert done.comments.count("stopped by hand") == 1 and not web.state.interrupted


def test_a_target_and_a_time_limit_end_it(web: Web) -> None:
    assert "target score was reached" in web.txt2img({**SEARCH, "target": -1e5}).comments
    assert "time was up" in web.txt2img({**SEARCH, "seconds": 1e-6}).comments


def test_memory_that_runs_out_on_the_way_keeps_the_best(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = web.module("first_pass.sampling")
    real, count = sampling.make, iter(range(1, 1000))

    def make(*args: Any) -> Any:
        if next(count) > 4:
            raise RuntimeError("CUDA out of memory.")
        return real(*args)

    monkeypatch.setattr(sampling, "make", make)
    done = web.txt2img(SEARCH)
    assert "memory ran out" in done.comments and web.scores(done)[0] is not None


def test_trouble_makes_the_plain_image_and_says_so(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*args: Any) -> Any:
        raise ValueError("not twice")

    monkeypatch.setattr(web.module("first_pass.sampling"), "make", make)
    done = web.txt2img(SEARCH, batch_size=2)
    assert "not twice" in done.comments and len(web.pictures(done)) == 2
    plain = web.txt2img({"mode": "off"}, batch_size=2)
    assert [rgb(picture) for picture in web.pictures(done)] == [rgb(picture) for picture in web.pictures(plain)]


def test_a_held_out_scorer_is_told(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    host = web.module("bridge.host")
    real, files = host.load_scorer, host.locate("hps-tiny-shapes")
    monkeypatch.setattr(host, "load_scorer", lambda name: real("hps-tiny-shapes"))
    monkeypatch.setattr(host, "locate", lambda name: files)
    assert "held out" in web.txt2img({**SEARCH, "held_out": "hps-v2.1"}).comments


def test_no_noise_is_saved_when_it_is_not_wanted(web: Web) -> None:
    done = web.txt2img({**SEARCH, "save_noise": False})
    assert not any(file.exists() for file in noise_files(web)) and web.field(done, "HPS noise") == [None]


def test_the_result_is_plain_data(web: Web) -> None:
    done = web.txt2img(SEARCH, n_iter=2)
    told = done.extra_generation_params
    assert not any(callable(value) for name, value in told.items() if name.startswith("HPS"))
    assert told["HPS noise"] == web.field(done, "HPS noise") and len(told["HPS start score"]) == 2


# --- gradients ---


def test_without_a_gradient_the_image_is_made_as_usual(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    errors, gradients = web.pack("hpskit.errors"), web.module("gradients.run")

    @contextlib.contextmanager
    def differentiable(*args: Any, **more: Any) -> Iterator[None]:
        raise errors.GradientError("This model is quantised.")
        yield

    monkeypatch.setattr(gradients, "differentiable", differentiable)
    done = web.txt2img({**SEARCH, "mode": "noise-gradient"}, n_iter=2)
    plain = web.txt2img({"mode": "off"}, n_iter=2)
    assert done.comments.count("This model is quantised.") == 1 and "HPS error" not in "".join(done.infotexts)
    assert [rgb(picture) for picture in web.pictures(done)] == [rgb(picture) for picture in web.pictures(plain)]
    assert None not in web.scores(done)


@pytest.mark.parametrize("method", ["geodesic", "reno"])
def test_gradients_improve_through_the_hosts_sampler(web: Web, method: str) -> None:
    panel = {**SEARCH, "mode": "noise-gradient", "gradient_method": method, "screen": 1, "iterations": 6}
    done = web.txt2img(panel)
    assert web.scores(done)[0] > float(web.field(done, "HPS start score")[0] or 0), done.comments  # type: ignore[operator]
    again = web.txt2img({"mode": "score", "noise_file": str(noise_files(web)[0])})
    assert rgb(web.pictures(again)[0]) == rgb(web.pictures(done)[0])


# --- files ---


def stored(web: Web, path: Path, shape: tuple[int, ...] = (1, 4, 8, 8), seed: int = 7) -> Path:
    """Write a noise file."""
    module = web.pack("hpskit.search.noise_file")
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    path.write_bytes(module.encode(noise, module.NoiseRecord(seed=seed)))
    return path


def outputs(web: Web) -> Path:
    """Return the folder of the host's outputs."""
    return next(iter(web.module("noise.files").folders()))


def test_a_file_is_found_by_its_picture_and_below_an_output_folder(web: Web) -> None:
    web.boot()
    file = stored(web, outputs(web) / "day" / "00001-7.hps-noise.safetensors")
    locate = web.module("noise.files").locate
    for name in (
        str(file),
        "day/00001-7.hps-noise.safetensors",
        "day/00001-7.png",
        f'"{file.with_name("00001-7.png")}" ',
    ):
        assert locate(name) == file


def test_files_elsewhere_are_refused(web: Web) -> None:
    web.boot()
    outside = stored(web, web.folder / "secret" / "x.safetensors")
    link = outputs(web) / "link.safetensors"
    link.symlink_to(outside)
    for name in (str(outside), "../../secret/x.safetensors", str(link), "/etc/passwd", "a\0b.safetensors", "x" * 5000):
        done = web.txt2img({"mode": "score", "noise_file": name})
        assert "HPS error" in done.infotexts[0] and len(web.pictures(done)) == 1
        assert "output folders" in done.comments, (name, done.comments)


@pytest.mark.parametrize("data", [b"", b"not a noise", b"\xff" * 64])
def test_damaged_files_are_named(web: Web, data: bytes) -> None:
    web.boot()
    file = outputs(web) / "bad.safetensors"
    file.write_bytes(data)
    done = web.txt2img({"mode": "score", "noise_file": "bad.safetensors"})
    assert "bad.safetensors" in done.comments and "HPS error" in done.infotexts[0]


def test_a_missing_file_and_another_size_are_explained(web: Web) -> None:
    web.boot()
    stored(web, outputs(web) / "n.safetensors")
    assert "There is no noise file" in web.txt2img({"mode": "score", "noise_file": "m.safetensors"}).comments
    done = web.txt2img({"mode": "score", "noise_file": "n.safetensors"}, width=128)
    assert (
        "for images of 64 x 64 pixels" in done.comments
        and "The image was made without the file, and not scored." in done.comments
        and web.scores(done) == [None]
        and "HPS error" in done.infotexts[0]
        and len(web.pictures(done)) == 1
    )


def test_a_name_that_leads_nowhere_is_told_as_it_was_typed(web: Web) -> None:
    web.boot()
    files, errors = web.module("noise.files"), web.pack("hpskit.errors")
    (outputs(web) / "plain.png").write_bytes(b"an image")

    def told(name: str) -> str:
        with pytest.raises(errors.NoiseError) as caught:
            files.locate(name)
        return str(caught.value)

    words = told("nonsense.banana")
    where = f"in the output folders of the web UI ({outputs(web)}"
    assert words.startswith(f'There is no noise file for "nonsense.banana" {where}')
    assert "nonsense.hps" not in words and 'it ends in ".hps-noise.safetensors"' in words and "saved image" in words
    assert told("plain.png").startswith('No noise file lies beside "plain.png"')
    assert told("day/n.safetensors").startswith('There is no noise file "day/n.safetensors" in')
    assert told("/etc/passwd").startswith('"/etc/passwd" lies outside the output folders')
    web.host("shared").cmd_opts.share = True  # folders of the server are nothing for others
    assert str(outputs(web)) not in told("nonsense.banana") + told("/etc/passwd")


def test_a_noise_is_offered_once_and_each_of_its_images_leads_to_it(web: Web) -> None:
    done = web.txt2img(SEARCH)
    [first] = noise_files(web)
    for _ in range(2):
        again = web.txt2img({"mode": "score", "noise_file": str(first)})
    web.txt2img(SEARCH, seed=9)
    files, recent = web.module("noise.files"), web.module("noise.recent")
    offered = [files.locate(name) for name in recent.names()]
    assert len({file.read_bytes() for file in noise_files(web)}) == len(offered) == 2 < len(set(noise_files(web)))
    [tag] = web.field(again, "HPS noise")
    assert files.locate(recent.with_checksum(tag)).read_bytes() == first.read_bytes()
    picture = web.saved[2].path  # of the second remake
    remade = web.txt2img({"mode": "score", "noise_file": str(picture)})
    assert rgb(web.pictures(remade)[0]) == rgb(web.pictures(done)[0])
    first.unlink()  # a remade image stands on its own
    remade = web.txt2img({"mode": "score", "noise_file": recent.with_checksum(tag)})
    assert rgb(web.pictures(remade)[0]) == rgb(web.pictures(done)[0])


def test_many_images_of_one_noise_hide_no_other(web: Web) -> None:
    web.boot()
    recent = web.module("noise.recent")
    for k in range(recent.MOST + 5):
        file = outputs(web) / f"{k:03}.hps-noise.safetensors"
        file.write_bytes(b"rare" if k == 0 else b"often")
        os.utime(file, (k, k))
    assert recent.names() == [f"{recent.MOST + 4:03}.hps-noise.safetensors", "000.hps-noise.safetensors"]
    for k in range(recent.MOST + 5):
        (outputs(web) / f"{k:03}.hps-noise.safetensors").write_bytes(bytes([k]))
    assert len(recent.names()) == recent.MOST


def test_another_seed_is_kept_and_said(web: Web) -> None:
    web.boot()
    stored(web, outputs(web) / "n.safetensors", seed=7)
    done = web.txt2img({"mode": "score", "noise_file": "n.safetensors"}, seed=5)
    assert web.seeds(done) == [5] and "made with the seed 7" in done.comments


def test_a_search_can_begin_with_a_file(web: Web) -> None:
    web.boot()
    stored(web, outputs(web) / "n.safetensors")
    given = web.scores(web.txt2img({"mode": "score", "noise_file": "n.safetensors"}))[0]
    done = web.txt2img({**SEARCH, "noise_file": "n.safetensors"})
    assert float(web.field(done, "HPS start score")[0] or 0) == pytest.approx(given)


@pytest.mark.parametrize("mode", ["best-of-n", "best-of-n-first-pass"])
def test_best_of_n_cannot_begin_with_a_file(web: Web, mode: str) -> None:
    assert "cannot begin with a noise file" in web.txt2img({"mode": mode, "noise_file": "n.safetensors"}).comments


def test_few_files_are_held_for_later_saving(web: Web) -> None:
    module = web.module("noise.files")
    names = [module.keep(bytes([k])) for k in range(100)]
    assert len(module._waiting) == 64 and names[-1] in module._waiting and names[0] not in module._waiting


def test_a_relative_output_folder_is_below_where_the_host_was_started(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.boot()
    (tmp_path / "started" / "pictures").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "started")
    web.opts.data["outdir_txt2img_samples"] = "pictures"
    assert (tmp_path / "started" / "pictures").resolve() in web.module("noise.files").folders()
