"""An entry out of a stamp's record and a picture: the same from every writer."""

from __future__ import annotations

from PIL import Image

from hpskit.ledger.scored import entry_of, made_of, trace_of
from hpskit.metadata import PromptInfo

RECORD = {
    "value": 0.25, "scorer": "hps-v2.1", "version": "2.1", "preprocess": "p1", "dtype": "fp32", "checkpoint": "c1",
    "parts": {"hps-v2.1": 0.25, "other": 21.0}, "seed": 9, "prompt": "not this one",
}  # fmt: skip


def test_everything_of_the_record_stands_in_the_entry() -> None:
    seen = trace_of(Image.new("RGB", (20, 10), "red"))
    entry = entry_of(RECORD, "a red circle", seen, source="cli", run="r", seed=7, extra={"rank": 1})
    assert (entry.prompt, entry.score, entry.parts) == ("a red circle", 0.25, RECORD["parts"])
    assert (entry.scorer, entry.scorer_version, entry.preprocess) == ("hps-v2.1", "2.1", "p1")
    assert (entry.dtype, entry.checkpoint) == ("fp32", "c1")
    assert (entry.width, entry.height, entry.image_hash) == (20, 10, seen.image_hash)
    assert entry.thumbnail == seen.thumbnail is not None
    assert (entry.source, entry.run, entry.seed, entry.extra) == ("cli", "r", 7, {"rank": 1})


def test_an_alpha_channel_makes_no_other_picture() -> None:
    picture = Image.new("RGB", (8, 8), (1, 2, 3))
    hidden = picture.copy()
    hidden.putalpha(254)
    assert trace_of(hidden).image_hash == trace_of(picture).image_hash


def test_what_a_file_does_not_tell_is_left_out() -> None:
    assert made_of(None) == {}
    info = PromptInfo("a red circle", negative="blur", seed=5, steps=20)
    made = made_of(info)
    assert (made["negative"], made["seed"], made["steps"], made["model"], made["cfg"]) == ("blur", 5, 20, "", None)
