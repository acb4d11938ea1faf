"""Best of N of finished images beside extensions that add, replace and change images, in the host's own loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image
from webui_inside import Made, data, runner, txt2img

SETTINGS: dict[str, Any] = {"steps": 1, "save": True}
PANEL = {"scorer": "hps-tiny-shapes", "candidates": 4, "keep": 2}


def beside(first: bool, panel: dict[str, Any], **methods: Callable[..., None]) -> tuple[Made, list[Any]]:
    """Make images with one more always visible extension; return them, and the files that were written."""
    from modules import scripts

    shown = {"title": lambda self: "Other", "show": lambda self, is_img2img: scripts.AlwaysVisible}
    other = type("Other", (scripts.Script,), {**shown, **methods})()
    other.args_from = other.args_to = 0
    other.filename, other.alwayson, other.name = "other.py", True, "other"
    known, folder = runner().alwayson_scripts, data / "outputs"
    before = set(folder.rglob("*.png"))
    known.insert(0 if first else len(known), other)
    getattr(runner(), "callback_map", {}).clear()
    try:
        made = txt2img({**PANEL, **panel}, **SETTINGS, batch_size=2 if panel["mode"] == "best-of-n" else 1)
    finally:
        known.remove(other)
        getattr(runner(), "callback_map", {}).clear()
    files = [Image.open(path) for path in sorted(set(folder.rglob("*.png")) - before) if "grid" not in path.name]
    assert not made.errors, made.log
    return made, files


def halved(picture: Any) -> Any:
    return picture.resize((picture.width // 2, picture.height // 2))


def check_added_images_are_saved_with_their_candidates() -> dict[str, Any]:
    def add(self: Any, p: Any, pp: Any, *args: Any, **more: Any) -> None:
        pp.images += [image * 0.5 for image in pp.images]
        for values in (p.prompts, p.negative_prompts, p.seeds, p.subseeds):
            values += list(values)

    made, files = beside(True, {"mode": "best-of-n"}, postprocess_batch_list=add)
    assert len(made.images) == len(files) == 4 and made.seeds == [*made.seeds[:2]] * 2, (made.seeds, files)
    written = sorted(int(file.info["parameters"].split("Seed: ")[1].split(",")[0]) for file in files)
    assert written == sorted(made.seeds), written
    return {"seeds": made.seeds}


def check_a_copy_that_is_shown_is_not_what_is_saved() -> None:
    def shrink(self: Any, p: Any, processed: Any, *args: Any) -> None:
        processed.images = [halved(image) for image in processed.images]

    for mode in ("score", "best-of-n", "best-of-n-first-pass"):
        made, files = beside(True, {"mode": mode}, postprocess=shrink)
        assert {image.size for image in made.images} == {(32, 32)}, mode
        assert {file.size for file in files} == {(64, 64)} and len(files) == len(made.images), (mode, files)


def check_what_is_changed_after_the_score_is_what_is_saved() -> None:
    def change(self: Any, p: Any, pp: Any, *args: Any) -> None:
        pp.image = halved(pp.image)

    for mode in ("score", "best-of-n", "best-of-n-first-pass"):
        made, files = beside(False, {"mode": mode}, postprocess_image_after_composite=change)
        assert {image.size for image in made.images} == {file.size for file in files} == {(32, 32)}, (mode, files)


def check_another_number_of_images_is_made_as_usual() -> None:
    def combine(self: Any, p: Any, *args: Any) -> None:
        p.all_prompts, p.all_negative_prompts = [f"a red circle {k}" for k in range(3)], [""] * 3
        p.all_seeds, p.all_subseeds, p.n_iter = [50, 51, 52], [0, 1, 2], -(-3 // p.batch_size)

    for mode in ("best-of-n", "best-of-n-first-pass"):
        for first in (True, False):
            made, files = beside(first, {"mode": mode}, process=combine)
            assert made.seeds == [50, 51, 52] and len(files) == 3 and None not in made.scores, (mode, first, made.seeds)
