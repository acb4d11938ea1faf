"""Scores in the files: names with [hps], the record in PNG and JPEG, nothing where nothing was scored."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from fakes.web import Web

RECORD = '{"value": 1.25, "scorer": "a"}'


def scored(text: str | None = RECORD) -> Image.Image:
    made = Image.new("RGB", (8, 8))
    if text is not None:
        made.info["hps"] = text
    return made


def test_the_pattern_gives_the_score_or_nothing(web: Web) -> None:
    saving, images = web.module("saving"), web.host("images")
    web.script()  # loads the scripts, which register it
    assert saving.name_part(SimpleNamespace(image=scored())) == "1.2500"
    for text in (None, "no json", '{"value": NaN}', "[]", '{"value": "x"}'):
        nothing = saving.name_part(SimpleNamespace(image=scored(text)))
        assert nothing in ("", getattr(images, "NOTHING_AND_SKIP_PREVIOUS_TEXT", ""))
    assert images.FilenameGenerator.replacements["hps"] is saving.name_part


def test_png_and_jpeg_carry_the_record(web: Web, tmp_path: Path) -> None:
    saving, stamp = web.module("saving"), web.pack("hpskit.stamp")
    chunks: dict[str, Any] = {}
    saving._before_saved(SimpleNamespace(image=scored(), pnginfo=chunks))
    assert chunks == {"hps": RECORD}
    path = tmp_path / "x.jpg"
    scored().save(path)
    saving._saved(SimpleNamespace(image=scored(), filename=str(path)))
    assert stamp.read(path) == {"value": 1.25, "scorer": "a"}


def test_a_picture_without_score_is_left_alone(web: Web, tmp_path: Path) -> None:
    saving = web.module("saving")
    chunks: dict[str, Any] = {}
    saving._before_saved(SimpleNamespace(image=scored(None), pnginfo=chunks))
    path = tmp_path / "x.jpg"
    scored().save(path)
    before = path.read_bytes()
    saving._saved(SimpleNamespace(image=scored(None), filename=str(path)))
    saving._saved(SimpleNamespace(image=scored(), filename=str(tmp_path / "gone.webp")))  # told in the log, not raised
    assert chunks == {} and path.read_bytes() == before


def test_registering_twice_stamps_once(web: Web) -> None:
    saving, callbacks = web.module("saving"), web.host("script_callbacks")
    saving.register()
    saving.register()
    hooks = [each for name in callbacks.callback_map.values() for each in name]
    assert sum(getattr(each, "callback", each) is saving._saved for each in hooks) == 1


EARLY = {
    "-before-highres-fix": ("save_images_before_highres_fix", {"enable_hr": True, "hr_scale": 1.5}),
    "-before-face-restoration": ("save_images_before_face_restoration", {"restore_faces": True}),
}


def seed_of(one: Any) -> int:
    return int(re.search(r"Seed: (\d+)", one.info)[1])  # type: ignore[index]


@pytest.mark.parametrize("suffix", list(EARLY))
@pytest.mark.parametrize("mode", ["best-of-n", "best-of-n-first-pass"])
@pytest.mark.parametrize("size", [1, 2])
def test_copies_from_before_the_finish_are_those_of_the_kept(web: Web, mode: str, suffix: str, size: int) -> None:
    name, fields = EARLY[suffix]
    setattr(web.opts, name, True)
    done = web.txt2img({"mode": mode, "candidates": 4, "keep": 2}, n_iter=2, batch_size=size, **fields)
    files = [(seed_of(one), one.suffix) for one in web.saved if not one.grid]
    assert sorted(files) == sorted((seed, kind) for seed in web.seeds(done) for kind in (suffix, ""))
    early = {seed_of(one): one.image.convert("RGB").tobytes() for one in web.saved if one.suffix == suffix}
    assert all(one.path.is_file() for one in web.saved)
    web.saved.clear()
    for seed in web.seeds(done):
        web.txt2img({"mode": "off"}, seed=seed, **fields)
    alone = {seed_of(one): one.image.convert("RGB").tobytes() for one in web.saved if one.suffix == suffix}
    assert early == alone


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("samples", [True, False])
def test_a_file_of_another_extension_is_kept_with_its_candidate(web: Web, asked: bool, samples: bool) -> None:
    images = web.host("images")

    def save(p: Any, pp: Any) -> None:
        given = {"info": f"Seed: {p.seeds[p.batch_index]}", "p": p}
        images.save_image(pp.image, p.outpath_samples, "", p.seeds[p.batch_index], "", "png", suffix="-mine", **given)
        images.save_image(pp.image, p.outpath_samples, "", p.seeds[p.batch_index], "", "png", **given)
        images.save_image(pp.image, p.outpath_grids, "", p.seeds[p.batch_index], "", "png", suffix="-else", **given)

    web.add_script("Saver", postprocess_image=save)
    web.opts.save_images_before_face_restoration = asked
    web.opts.samples_save = samples
    done = web.txt2img({"mode": "best-of-n", "candidates": 3, "keep": 1})
    files = [(seed_of(one), one.suffix) for one in web.saved]
    [seed] = web.seeds(done)
    own = [(seed, "")] if samples else []
    assert files == [(1, "-else"), (2, "-else"), (3, "-else"), (seed, "-mine"), (seed, ""), *own]


@pytest.mark.parametrize("mode", ["best-of-n", "best-of-n-first-pass"])
def test_nothing_is_held_back_afterwards(web: Web, mode: str) -> None:
    web.opts.save_images_before_highres_fix = True
    web.txt2img({"mode": mode, "candidates": 2}, enable_hr=True)
    web.saved.clear()
    web.host("processing").process_images(web.p)
    assert sorted(one.suffix for one in web.saved) == ["", "-before-highres-fix"]
    web.saved.clear()
    web.txt2img({"mode": mode, "candidates": 2}, enable_hr=True, do_not_save_samples=True)
    web.opts.samples_save = False
    web.txt2img({"mode": mode, "candidates": 2}, enable_hr=True)
    assert not web.saved


def test_a_generation_that_breaks_off_leaves_copies_of_the_best_too(web: Web) -> None:
    web.opts.save_images_before_highres_fix = True

    def burn(p: Any, *args: Any, **more: Any) -> None:
        if p.iteration == 2:
            raise MemoryError

    p = web.job("txt2img", {"mode": "best-of-n", "candidates": 4}, enable_hr=True)
    sample = type(p).sample

    def breaking(self: Any, *args: Any, **more: Any) -> Any:
        burn(self)
        return sample(self, *args, **more)

    p.sample = breaking.__get__(p)
    with pytest.raises(MemoryError):
        web.host("processing").process_images(p)
    p.close()
    assert [one.suffix for one in web.saved] == ["-before-highres-fix", ""]
    assert len({seed_of(one) for one in web.saved}) == 1


def darken(p: Any, pp: Any, **more: Any) -> None:
    """Add a dark copy of every picture to a batch, with all that the host wants of an extension that does so."""
    pp.images += [image * 0.5 for image in pp.images]
    for values in (p.prompts, p.negative_prompts, p.seeds, p.subseeds):
        values += list(values)


def light(picture: Any) -> float:
    return float(sum(picture.convert("L").tobytes()))


@pytest.mark.parametrize(("size", "keep"), [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1)])
def test_pictures_that_are_added_to_a_batch_are_saved_with_their_candidates(web: Web, size: int, keep: int) -> None:
    web.add_script("Adder", postprocess_batch_list=darken)
    web.opts.save_images_before_face_restoration = True
    fields = {"restore_faces": True, "batch_size": size}
    done = web.txt2img({"mode": "best-of-n", "candidates": 4, "keep": keep}, **fields)
    shown = web.pictures(done)
    assert web.seeds(done) == [*done.all_seeds, *done.all_seeds] and len(shown) == 2 * keep == len(web.texts(done))
    assert all(light(dark) < 0.7 * light(bright) for bright, dark in zip(shown[:keep], shown[keep:], strict=True))
    files = [(seed_of(one), one.suffix) for one in web.saved if not one.grid]
    assert files == [(seed, end) for seed in web.seeds(done) for end in ("-before-face-restoration", "")]
    finished = [one.image.convert("RGB").tobytes() for one in web.saved if not (one.suffix or one.grid)]
    assert finished == [image.convert("RGB").tobytes() for image in shown]
    web.saved.clear()
    for seed in done.all_seeds:
        web.txt2img({"mode": "off"}, seed=seed, restore_faces=True)
    alone = {one.image.convert("RGB").tobytes() for one in web.saved if not (one.suffix or one.grid)}
    assert alone == set(finished)


def test_pictures_that_are_taken_out_of_a_batch_are_not_missed(web: Web) -> None:
    def censor(p: Any, pp: Any, **more: Any) -> None:
        for values in (pp.images, p.prompts, p.negative_prompts, p.seeds, p.subseeds):
            del values[1]

    web.add_script("Censor", postprocess_batch_list=censor)
    done = web.txt2img({"mode": "best-of-n", "candidates": 4, "keep": 2}, batch_size=2)
    assert sorted(web.seeds(done)) == [1, 3] and [one.seed for one in web.saved if not one.grid] == web.seeds(done)
    assert "by hand" not in done.comments and "2 not finished" in done.comments


def half(picture: Any) -> Any:
    return picture.resize((picture.width // 2, picture.height // 2))


@pytest.mark.parametrize("mode", ["score", "best-of-n", "best-of-n-first-pass"])
def test_a_copy_that_an_extension_shows_does_not_become_the_file(web: Web, mode: str) -> None:
    def shrink(p: Any, processed: Any, *args: Any) -> None:
        processed.images = [half(picture) for picture in processed.images]

    web.add_script("Shrinker", first=True, postprocess=shrink)
    done = web.txt2img({"mode": mode, "candidates": 4, "keep": 2}, do_not_save_grid=True)
    assert {picture.size for picture in web.pictures(done)} == {(32, 32)}
    assert {one.image.size for one in web.saved} == {(64, 64)}
    assert len(web.saved) == len(web.pictures(done)) == len(done.all_seeds)


@pytest.mark.parametrize("mode", ["score", "best-of-n", "best-of-n-first-pass"])
@pytest.mark.parametrize("stale", [False, True])
def test_what_an_extension_changes_after_the_score_is_what_is_saved(web: Web, mode: str, stale: bool) -> None:
    """As in a host without the pack, whose file has every step; `stale` pictures come from a generation within."""

    def other(p: Any, pp: Any) -> None:
        pp.image.info["parameters"] = "a part\nSteps: 1, Seed: 99"

    if stale:
        web.add_script("Within", first=True, postprocess_image=other)
    web.add_script("Marker", postprocess_image_after_composite=lambda p, pp: setattr(pp, "image", half(pp.image)))
    done = web.txt2img({"mode": mode, "candidates": 4, "keep": 2}, do_not_save_grid=True)
    assert {picture.size for picture in web.pictures(done)} == {(32, 32)} == {one.image.size for one in web.saved}
    assert [one.info for one in web.saved] == web.texts(done)


def test_in_a_host_that_saves_in_another_way_nothing_is_saved_too_early(web: Web, monkeypatch: Any) -> None:
    web.opts.save_images_before_highres_fix = True
    monkeypatch.setattr(web.host("processing"), "images", None, raising=False)
    done = web.txt2img({"mode": "best-of-n", "candidates": 3}, enable_hr=True)
    assert [one.suffix for one in web.saved] == [""] and "not saved with best of N" in done.comments
