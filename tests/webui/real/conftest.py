"""Fixtures for tests in the real hosts; how to write such tests stands in tests/webui_harness/__init__.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from webui_harness import KINDS, Server, WebHost, Worker, find, make_data

HERE = Path(__file__).parent
INSIDE = HERE / "inside"
PROBE = HERE / "probe"
"""Another extension: it only notes which of its callbacks were called."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "host" not in metafunc.fixturenames:
        return
    found = {kind: find(kind) for kind in KINDS}
    values: list[Any] = [
        host if host is not None else pytest.param(None, marks=pytest.mark.skip(reason=why))
        for host, why in found.values()
    ]
    metafunc.parametrize("host", values, ids=list(KINDS), scope="session", indirect=True)


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> WebHost:
    """One web UI that is there; not the fakes' fixture of that name, with which every test would run twice."""
    found: WebHost = request.param
    return found


@pytest.fixture(scope="session")
def worker(host: WebHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One process of the host, without a server, that serves all checks of the session."""
    folder = tmp_path_factory.mktemp(host.kind)
    running = Worker(host, make_data(folder / "data", host, extensions=(PROBE,)), folder / "host.log")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def server(host: WebHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whole server of the host for all tests of the session."""
    folder = tmp_path_factory.mktemp(f"{host.kind}-server")
    with Server(host, make_data(folder / "data", host), folder / "host.log") as running:
        yield running


@pytest.fixture(scope="session")
def bare(host: WebHost, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the host makes of inside/plain.py when the pack is not installed, only the other extension."""
    folder = tmp_path_factory.mktemp(f"{host.kind}-bare")
    data = make_data(folder / "data", host, pack=False, extensions=(PROBE,))
    running = Worker(host, data, folder / "host.log")
    try:
        return running.run(INSIDE / "plain.py", "everything", timeout=400)
    finally:
        running.stop()


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """What inside/measure.py finds in a host, by its kind; skips where that host is not there."""
    known: dict[str, Any] = {}

    def measure(kind: str) -> Any:
        host, why = find(kind)
        if host is None:
            pytest.skip(why)
        if kind not in known:
            folder = tmp_path_factory.mktemp(f"{kind}-measured")
            running = Worker(host, make_data(folder / "data", host), folder / "host.log")
            try:
                known[kind] = running.run(INSIDE / "measure.py", "measure")
            finally:
                running.stop()
        return known[kind]

    return measure
