"""The host's bars: as many jobs and steps are announced as are made, whatever is left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from fakes.web import Web

FIRST = "best-of-n-first-pass"
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_second_pass_steps": 3}


class Bar:
    """Counts as the host's bar does, which takes the number of jobs when nobody has said a total."""

    def __init__(self, web: Web) -> None:
        self.state, self.done = web.state, 0
        self._tqdm: Any = None

    def reset(self) -> None:
        self._tqdm = SimpleNamespace(total=self.state.job_count * self.state.sampling_steps)

    def update(self) -> None:
        if self._tqdm is None:
            self.reset()
        self.done += 1

    def updateTotal(self, new: int) -> None:
        if self._tqdm is None:
            self.reset()
        self._tqdm.total = new

    def clear(self) -> None:
        self._tqdm = None


@pytest.fixture
def bar(web: Web, monkeypatch: pytest.MonkeyPatch) -> Bar:
    web.boot()
    made = Bar(web)
    monkeypatch.setattr(web.host("shared"), "total_tqdm", made)
    return made


@pytest.mark.parametrize("strength", [0.3, 0.75, 1.0])
@pytest.mark.parametrize("size", [1, 2])
def test_steps_of_img2img_before_finishing(web: Web, bar: Bar, strength: float, size: int) -> None:
    panel = {"mode": FIRST, "candidates": 4, "keep": 2}
    fields = {"steps": 6, "denoising_strength": strength, "n_iter": 2, "batch_size": size}
    web.img2img(Image.new("RGB", (64, 64), "navy"), panel, **fields)
    assert bar.done == bar._tqdm.total == 2 * 4 // size * (int(min(strength, 0.999) * 6) + 1)


def test_steps_of_txt2img_before_finishing(web: Web, bar: Bar) -> None:
    web.txt2img({"mode": FIRST, "candidates": 3}, steps=4)
    assert bar.done == bar._tqdm.total == 12


def test_steps_that_the_host_has_announced_are_put_right(web: Web, bar: Bar) -> None:
    """As the host does for hires fix, and a plot for all of its cells."""
    web.state.job_count = 1
    bar.updateTotal(4 + 3)
    web.txt2img({"mode": FIRST, "candidates": 3}, steps=4, **HIRES)
    assert bar.done == bar._tqdm.total == 3 * 4 + 3


def test_a_pool_that_ends_early_takes_its_steps_along(web: Web, bar: Bar) -> None:
    web.txt2img({"mode": FIRST, "candidates": 6, "target": -1000}, steps=2, n_iter=2)
    assert bar.done == bar._tqdm.total == 4
