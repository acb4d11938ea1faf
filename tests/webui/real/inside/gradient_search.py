"""Whole noise optimisations with gradients in the real hosts: the path, the saved image, and every way it can end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from webui_inside import Made, img2img, pack, stop_at, txt2img

SCORER = "hps-tiny-shapes"
PANEL = {"mode": "noise-gradient", "scorer": SCORER, "iterations": 4, "screen": 1}


def optimised(panel: dict[str, Any], **settings: Any) -> tuple[Made, list[Any]]:
    """Return what a job made, and the searches of its pictures."""
    kind, searches = pack("hpskit_webui.noise.search").NoiseJob, []
    note = kind._note

    def noting(self: Any, p: Any, call: Any, place: int, one: Any) -> None:
        searches.append(one.search)
        note(self, p, call, place, one)

    kind._note = noting
    try:
        made = txt2img({**PANEL, **panel}, **settings)
    finally:
        kind._note = note
    assert not made.errors, made.log
    return made, searches


def path(method: str, **settings: Any) -> list[float]:
    """Return the scores along a search and of the image that was made; not a check of its own."""
    made, [search] = optimised({"gradient_method": method}, **settings)
    scores = [next(iter(point.scores.values())) for point in search.curve]
    best = next(iter(search.chosen.scores.values()))
    assert abs(made.scores[0] - best) < 1e-3, (made.scores, best)
    assert best > scores[0], scores
    return [*scores, made.scores[0]]


def check_geodesic_improves_and_the_image_is_the_best_of_the_path() -> Any:
    return path("geodesic")


def check_reno_improves_and_the_image_is_the_best_of_the_path() -> Any:
    return path("reno", sampler_name="Euler a", steps=3)


def check_each_picture_of_a_batch_has_its_own() -> Any:
    made, searches = optimised({}, batch_size=2, sampler_name="DPM++ SDE", steps=2)
    assert len(made.images) == len(searches) == 2 and made.seeds == [1, 2]
    for score, search in zip(made.scores, searches, strict=True):
        assert abs(score - next(iter(search.chosen.scores.values()))) < 1e-3, (score, search.chosen.scores)
    return made.scores


def check_the_saved_noise_makes_the_image_again() -> Any:
    made, _ = optimised({}, save=True)
    [file] = Path(made.files[0]).parent.glob(f"{made.files[0].stem}*.safetensors")
    again = txt2img({"mode": "score", "scorer": SCORER, "noise_file": str(file)})
    assert again.images[0].convert("RGB").tobytes() == made.images[0].convert("RGB").tobytes()
    return made.scores


def picture() -> tuple[Image.Image, Image.Image]:
    image, mask = Image.new("RGB", (64, 64), (30, 90, 200)), Image.new("L", (64, 64), 0)
    ImageDraw.Draw(image).ellipse((8, 8, 40, 40), fill=(200, 40, 40))
    ImageDraw.Draw(mask).rectangle((0, 0, 40, 63), fill=255)
    return image, mask


def check_inpainting_with_gradients() -> Any:
    image, mask = picture()
    made = img2img(image, PANEL, mask=mask, mask_blur=0, steps=4)
    assert not made.errors and "no gradient" not in made.processed.comments, made.processed.comments
    return made.scores


def check_an_interrupt_keeps_the_best_so_far() -> Any:
    before = _plain()
    with stop_at(60):
        made = txt2img({**PANEL, "iterations": 40})
    assert len(made.images) == 1 and not made.errors, made.log
    assert _plain() == before
    return made.processed.comments.splitlines()


def check_a_job_leaves_nothing_behind() -> None:
    before = _plain()
    optimised({}, sampler_name="DPM++ 2M", steps=3)
    assert _plain() == before


def check_a_sampler_without_gradients_says_so_and_makes_the_image() -> Any:
    plain = txt2img(sampler_name="DPM adaptive")
    made = txt2img(PANEL, sampler_name="DPM adaptive")
    assert "Noise search works as it is." in made.processed.comments, made.processed.comments
    assert _rgb(made.images[0]) == _rgb(plain.images[0])
    return made.processed.comments.splitlines()


def check_the_preflight_passes_and_is_quick() -> Any:
    return sound_preflight()


def sound_preflight(**more: Any) -> Any:
    """Return what the pre-flight of a job measures, after it has agreed with a finite difference."""
    found: list[Any] = []
    flight = pack("hpskit_webui.gradients.preflight")
    before = flight.preflight

    def flown(*given: Any) -> Any:
        found.append(before(*given))
        return found[0]

    flight.preflight = flown
    try:
        txt2img({**PANEL, "iterations": 1}, width=256, height=192, **more)
    finally:
        flight.preflight = before
    assert found[0].ok and found[0].error is not None and found[0].error < 5e-3, found
    return {"error": found[0].error, "bytes": found[0].bytes_needed}


def _plain() -> list[bytes]:
    return [_rgb(image) for image in txt2img(sampler_name="Euler a", steps=3).images]


def _rgb(image: Image.Image) -> bytes:
    return image.convert("RGB").tobytes()
