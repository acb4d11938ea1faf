"""Scores in the files: names with [hps], the record in PNG and JPEG, nothing where nothing was scored."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

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
