"""Fixtures for tests in a browser; how such tests are written stands in tests/web_harness/__init__.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from comfy_harness import Server
from web_harness import UI, Farm, Place, StubPage, chromium, places, why_not

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HERE = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test of the real interface on each host, front end and renderer that is asked for."""
    if "place" in metafunc.fixturenames:
        every = metafunc.definition.get_closest_marker("renderers") is not None
        found, reason = places(every)
        values: list[Any] = list(found) or [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
        names = [place.name for place in found] or ["no-host"]
        metafunc.parametrize("place", values, ids=names, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, and skip all of them for one reason when there is no browser."""
    reason = why_not()
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.web)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of the folder; ended with it, for its event loop would be in the way of others."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="package")
def _left() -> list[Page]:
    """The page that the last test with a stand-in for the host left: a new one costs a second."""
    return []


@pytest.fixture
def stub_page(browser: Browser, _left: list[Page], request: pytest.FixtureRequest) -> Iterator[StubPage]:
    """A page with a stand-in for the host; see StubPage."""
    page = StubPage(browser, _left.pop() if _left else None)
    yield page
    problems = page.problems
    if problems or getattr(request.node, "hps_failed", False):
        page.close()
    elif left := page.leave():
        _left.append(left)
    assert not problems, "the page had problems:\n" + "\n".join(problems)


@pytest.fixture(scope="package")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """The ComfyUI servers of the folder's tests."""
    running = Farm(tmp_path_factory.mktemp("farm"))
    yield running
    running.close()


@pytest.fixture
def server(farm: Farm, place: Place) -> Server:
    """The real ComfyUI server of this place."""
    return farm.server(place)


@pytest.fixture(scope="module")
def _page(browser: Browser, farm: Farm, place: Place) -> Iterator[UI]:
    page = UI(browser, farm.server(place), place)
    yield page
    page.close()


@pytest.fixture
def ui(_page: UI, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UI]:
    """A page of the real interface, shared by the tests of a module: each loads a workflow of its own."""
    yield _page
    if getattr(request.node, "hps_failed", False):
        _page.page.screenshot(path=tmp_path / "page.png")
        request.node.add_report_section("call", "picture", str(tmp_path / "page.png"))
    _page.rest()
    problems = _page.watch.problems
    _page.watch.clear()
    assert not problems, "the page had problems:\n" + "\n".join(problems)


@pytest.fixture
def another(browser: Browser, server: Server, place: Place) -> Iterator[Callable[[], UI]]:
    """Open further pages of the same server, each with a context of its own."""
    opened: list[UI] = []

    def open_page() -> UI:
        opened.append(UI(browser, server, place))
        return opened[-1]

    yield open_page
    for page in opened:
        page.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Let fixtures know that the test itself failed."""
    report = yield
    if report.when == "call" and report.failed:
        item.hps_failed = True  # type: ignore[attr-defined]
    return report
