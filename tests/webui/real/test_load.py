"""The pack loads into the real hosts, costs little, and stands in nobody's way."""

from __future__ import annotations

from pathlib import Path

from webui_harness import WebHost, Worker, checks, make_data

from .conftest import INSIDE

test_load = checks(INSIDE / "load.py")


def test_a_second_start_costs_below_a_fifth_of_a_second(host: WebHost, tmp_path: Path) -> None:
    """The first start compiles our files; what counts is every other one."""
    data = make_data(tmp_path / "data", host)
    for start in range(2):
        running = Worker(host, data, tmp_path / f"{start}.log")
        try:
            known = running.run(INSIDE / "load.py", "check_start_costs_little")
        finally:
            running.stop()
    assert sum(known["seconds"].values()) < 0.2, known
