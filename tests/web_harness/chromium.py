"""Finds Chromium and starts it without any way to the network."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
"""The last one answers every name with "not found": only the tests' own server can be reached."""


def executable() -> str | None:
    """Return the path of Chromium: CHROMIUM, else the first of the usual names on the search path."""
    given = os.environ.get("CHROMIUM")
    if given:
        return given if os.access(given, os.X_OK) else None
    return next((path for path in map(shutil.which, NAMES) if path), None)


def why_not() -> str:
    """Return why no browser can be started here, with what to do about it; empty when one can."""
    if importlib.util.find_spec("playwright") is None:
        return "browser tests need playwright: pip install playwright (no `playwright install` is needed)"
    if executable() is None:
        return "browser tests need Chromium: install it (apt-get install chromium) or set CHROMIUM to its path"
    return ""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium and end it; raises RuntimeError with the reason when it cannot be started."""
    if reason := why_not():
        raise RuntimeError(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()
