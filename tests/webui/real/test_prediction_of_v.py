"""The panel's modes with a model of Stable Diffusion 2.1, which predicts v, in the real hosts; 1.1 GB on disk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from webui_harness import WebHost, Worker, make_data

from .conftest import INSIDE

FILE = INSIDE / "sdxl.py"
CHECKS = (
    "winners_are_the_best_and_come_again", "first_passes_by_sampler", "img2img_both_ways", "the_preflight_passes",
    "gradients_against_finite_differences", "a_gradient_improves_and_its_noise_is_kept",
)  # fmt: skip


@pytest.fixture(scope="module")
def other(host: WebHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One process of the host with that model."""
    folder = tmp_path_factory.mktemp(f"{host.kind}-v")
    running = Worker(host, make_data(folder / "data", host, checkpoint="small21"), folder / "host.log")
    running.run(FILE, "predicts_v", timeout=600)
    yield running
    running.stop()


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_prediction_of_v(other: Worker, check: str) -> None:
    other.run(FILE, f"check_{check}", timeout=1200)
