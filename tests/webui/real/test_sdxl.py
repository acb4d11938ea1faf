"""The panel's modes with a model in the layout of SDXL, in the real hosts; 8 GB of memory, and 2.5 on disk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from webui_harness import WebHost, Worker, check_names, make_data

from .conftest import INSIDE

FILE = INSIDE / "sdxl.py"


@pytest.fixture(scope="module")
def large(host: WebHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One process of the host with that model."""
    folder = tmp_path_factory.mktemp(f"{host.kind}-sdxl")
    running = Worker(host, make_data(folder / "data", host, checkpoint="smallxl"), folder / "host.log")
    yield running
    running.stop()


@pytest.mark.slow
@pytest.mark.parametrize("check", [pytest.param(name, id=name[6:]) for name in check_names(FILE)])
def test_sdxl(large: Worker, check: str) -> None:
    large.run(FILE, check, timeout=1200)
