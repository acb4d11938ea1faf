"""Everyday jobs of the real hosts give the same with the pack removed, installed and off, and scoring."""

from __future__ import annotations

from typing import Any

import pytest
from webui_harness import Worker

from .conftest import INSIDE

JOBS = [
    "txt2img", "ancestral", "variation", "hires", "img2img", "inpaint", "inpaint a part", "matrix", "xyz", "upscale",
    "loopback",
]  # fmt: skip


@pytest.fixture(scope="session")
def off(worker: Worker) -> Any:
    return worker.run(INSIDE / "plain.py", "everything", {"mode": "off"}, timeout=400)


@pytest.fixture(scope="session")
def scoring(worker: Worker) -> Any:
    panel = {"mode": "score", "scorer": "hps-tiny-shapes"}
    return worker.run(INSIDE / "plain.py", "everything", panel, timeout=400)


@pytest.mark.parametrize("job", JOBS)
def test_installed_and_off_nothing_is_different(bare: Any, off: Any, job: str) -> None:
    assert off[job] == bare[job]
    assert not off[job]["errors"]


@pytest.mark.parametrize("job", JOBS)
def test_scoring_changes_no_pixel_and_no_callback_of_others(bare: Any, scoring: Any, job: str) -> None:
    mine, theirs = scoring[job], bare[job]
    assert not mine["errors"]
    # The scores are drawn on the cells of the grid itself, and on nothing else.
    first = 1 if job == "xyz" else 0
    assert mine["images"][first:] == theirs["images"][first:]
    for what in ("infotexts", "seeds", "calls", "files"):
        assert mine[what] == theirs[what], what
    assert mine["scored"] > 0


def test_the_other_extension_is_called_at_all(bare: Any) -> None:
    calls = bare["txt2img"]["calls"]
    assert calls.count("postprocess_image_after_composite") == 4 and calls.count("image_saved") >= 4, calls
    assert "process_before_every_sampling" in calls and "cfg_denoiser 0" in calls, calls
