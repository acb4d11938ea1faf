"""Noise optimisation in the real hosts: searches, gradients through samplers, memory, and that nothing is left."""

from __future__ import annotations

import pytest
from webui_harness import KINDS, Worker, checks, find, make_data

from .conftest import INSIDE

test_paths = checks(INSIDE / "gradient_paths.py", timeout=600)
test_search = checks(INSIDE / "gradient_search.py", timeout=600)
test_stops = checks(INSIDE / "gradient_stops.py", timeout=600)
test_noise = checks(INSIDE / "noise_search.py", timeout=600)


@pytest.mark.slow
def test_the_path_is_the_same_in_both_hosts(tmp_path_factory: pytest.TempPathFactory) -> None:
    paths = []
    for kind in KINDS:
        host, why = find(kind)
        if host is None:
            pytest.skip(why)
        folder = tmp_path_factory.mktemp(kind)
        running = Worker(host, make_data(folder / "data", host), folder / "host.log")
        try:
            paths.append([running.run(INSIDE / "gradient_search.py", "path", name) for name in ("reno", "geodesic")])
        finally:
            running.stop()
    for one, other in zip(*paths, strict=True):
        assert one == pytest.approx(other, abs=1e-3)
