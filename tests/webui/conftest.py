"""The fixture `web`: a fake AUTOMATIC1111 and a fake Forge with the pack inside; see fakes/web.py for what it can."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
try:
    from fakes import install
    from fakes import web as _web
finally:
    sys.path.pop(0)

if TYPE_CHECKING:
    from fakes.web import Web


@pytest.fixture(params=["a1111", "forge"])
def web(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Web]:
    """One fake host; the test fails when an extension's exception was swallowed and the test did not clear it."""
    with install.installed(request.param, tmp_path):
        host = _web.Web(request.param, tmp_path)
        yield host
        left = "\n".join(str(report) for report in host.errors)
    assert not left, f"the host swallowed exceptions of its extensions (clear web.errors if you mean it):\n{left}"


@pytest.fixture
def host(web: Web) -> Iterator[Any]:
    """The bridge to the fake host; what it loaded is gone afterwards."""
    web.boot()
    module = web.module("bridge.host")
    yield module
    module.unload()
    for timer in list(module._timers):  # one that fires leaves the set
        timer.cancel()
