"""Fixtures for tests in a browser; how such tests are written stands in tests/web_harness/__init__.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from web_harness import StubPage, chromium, why_not

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = Path(__file__).parent


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


@pytest.fixture
def stub_page(browser: Browser) -> Iterator[StubPage]:
    """A page with a stand-in for the host; see StubPage."""
    page = StubPage(browser)
    yield page
    problems = page.problems
    page.close()
    assert not problems, "the page had problems:\n" + "\n".join(problems)
