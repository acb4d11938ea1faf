"""Pictures that are there twice count once."""

from __future__ import annotations

import dataclasses

from core import _study as made

from hpskit.study import CLEAR, Study, analyse
from hpskit.study.repeats import repeated_blocks


def hashed(study: Study, names: dict[tuple[int, int, int], str]) -> Study:
    cells = (dataclasses.replace(c, image_hash=names.get((c.setting, c.prompt, c.seed), "")) for c in study.cells)
    return dataclasses.replace(study, cells=tuple(cells))


def test_six_spellings_of_one_prompt_are_one_prompt() -> None:
    study = made.study(2, 6, 1, pictures=False)
    cells = tuple(dataclasses.replace(c, score=30.0 - 5 * c.setting, image_hash=f"h{c.setting}") for c in study.cells)
    found = analyse(dataclasses.replace(study, cells=cells), draws=200)
    assert found.comparisons[0].verdict != CLEAR and found.comparisons[0].pairs == 1
    assert any("5 blocks repeat the very pictures" in warning for warning in found.warnings)
    assert not any("missing" in warning or "no valid score" in warning for warning in found.warnings)
    apart = tuple(dataclasses.replace(c, image_hash=f"h{c.setting} {c.prompt}") for c in cells)
    assert analyse(dataclasses.replace(study, cells=apart), draws=200).comparisons[0].verdict == CLEAR


def test_only_blocks_that_are_alike_under_every_setting_repeat() -> None:
    study = made.study(2, 2, 2, pictures=False)
    everywhere = {(s, p, k): f"{s}" for s in range(2) for p in range(2) for k in range(2)}
    assert repeated_blocks(hashed(study, everywhere)).tolist() == [[False, True], [True, True]]
    assert not repeated_blocks(hashed(study, everywhere | {(1, 1, 0): "", (1, 0, 1): "x", (1, 1, 1): "y"})).any()
    assert not repeated_blocks(study).any(), "nothing is known of pictures without a hash"
    alone = made.study(2, 2, 1, pictures=False, missing={(1, 0, 0), (1, 1, 0)})
    assert not repeated_blocks(hashed(alone, everywhere)).any(), "a block of one picture compares nothing"
