"""A web UI's page in Chromium, used as a person uses it; the same words for AUTOMATIC1111 and Forge."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page

    from .server import Server

WAIT = 120.0
"""Seconds that anything may take: a CPU of two cores that others use as well."""
_OURS = re.compile(r"hps", re.IGNORECASE)
_OVER = """root => [...root.querySelectorAll('*')]
  .filter((one) => one.offsetParent && one.scrollWidth > one.clientWidth + 2)
  .filter((one) => getComputedStyle(one).overflowX === 'visible' && getComputedStyle(one).display !== 'inline')
  .filter((one) => !one.closest('.hps-scroll, .tab-nav, .label-wrap, iframe, button'))
  .map((one) => `${one.tagName}#${one.id}.${one.className}`)"""


class WebPage:
    """One page of a running server."""

    def __init__(self, browser: Browser, server: Server, theme: str = "light") -> None:
        self.server = server
        self.page: Page = browser.new_page(viewport={"width": 1400, "height": 1000})
        self.page.set_default_timeout(1000 * WAIT)
        self.errors: list[str] = []
        """What went wrong in the page and names our files, or was said by them."""
        self.page.on("console", self._said)
        self.page.on("pageerror", self._failed)
        self.page.goto(f"{server.url}/?__theme={theme}")
        self.page.wait_for_selector("#txt2img_generate")
        self.until(lambda: self.page.evaluate("typeof gradioApp === 'function' && !!get_uiCurrentTab()"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" and (_OURS.search(message.text) or "srcdoc" in str(message.location)):
            self.errors.append(message.text)

    def _failed(self, error: Error) -> None:
        if _OURS.search(f"{error} {error.stack or ''}"):
            self.errors.append(str(error))

    # --- finding and waiting ---

    def __getitem__(self, name: str) -> Locator:
        """Return the element with an id."""
        return self.page.locator(f"#{name}").first

    def until(self, test: Callable[[], Any], what: str = "", seconds: float = WAIT) -> Any:
        """Wait until a test gives something true, and return it."""
        end = time.monotonic() + seconds
        while not (found := test()):
            assert time.monotonic() < end, f"not within {seconds:.0f} s: {what or test}"
            self.page.wait_for_timeout(150)
        return found

    def says(self, name: str, words: str) -> str:
        """Wait until an element shows some words, and return all that it shows."""
        self.until(lambda: words in self[name].inner_text(), f'"{words}" in {name}')
        return self[name].inner_text()

    def too_wide(self, name: str) -> list[str]:
        """Return what inside an element is wider than its place and cannot be scrolled."""
        found: list[str] = self[name].evaluate(_OVER)
        return found

    def picture(self, name: str, element: str | None = None) -> None:
        """Leave a picture of the page or of an element in the folder HPS_WEBUI_SHOTS, if that is set."""
        if folder := os.environ.get("HPS_WEBUI_SHOTS"):
            path = Path(folder) / f"{self.server.host.kind}-{name}.png"
            self[element].screenshot(path=path) if element else self.page.screenshot(path=path, full_page=True)

    # --- what a person does ---

    def open(self, tab: str, part: str = "", inside: str = "hps_parts") -> None:
        """Open a tab, and a part of it."""
        for bar, label in (("tabs", tab), (inside, part)):
            if label:
                name = re.compile(rf"^\s*{re.escape(label)}\s*$", re.IGNORECASE)
                self.page.locator(f"#{bar} > .tab-nav button").filter(has_text=name).first.click()

    def unfold(self, name: str) -> None:
        """Open an accordion, or close it."""
        self[name].locator(".label-wrap").first.click()

    def choose(self, name: str, text: str) -> None:
        """Choose the entry of a drop-down list that holds a text."""
        field = self[name].locator("input").first
        field.scroll_into_view_if_needed()
        field.click()
        field.fill(text)
        entry = self.page.locator("ul.options li").filter(has_text=text).first
        entry.click()
        self.until(lambda: text in field.input_value(), f'"{text}" chosen in {name}')
        self.page.wait_for_timeout(400)

    def write(self, name: str, value: object) -> None:
        """Type into a field, as a person does: versions of the host's library take only keys into account."""
        field = self[name].locator("textarea, input[type=text], input[type=number], input:not([type])").first
        field.scroll_into_view_if_needed()
        field.fill("")
        field.press_sequentially(str(value), delay=2)
        field.press("Tab")
        self.page.wait_for_timeout(150)

    def value(self, name: str) -> str:
        """Return what stands in a field."""
        return self[name].locator("textarea, input").first.input_value()

    def upload(self, name: str, *files: Path) -> None:
        """Hand files to a field for them."""
        self.page.set_input_files(f"#{name} input[type=file]", [str(file) for file in files])
        self.page.wait_for_timeout(1000)

    def generate(self, tab: str = "txt2img") -> str:
        """Press Generate, wait until it is over, and return the lines under the gallery."""
        log, button = self[f"html_log_{tab}"], self[f"{tab}_interrupt"]
        before = log.inner_html()
        self[f"{tab}_generate"].click()
        self.until(button.is_visible, "the beginning", 20)
        self.until(button.is_hidden, "the end")
        # The text follows the buttons, and may be the same as before.
        with contextlib.suppress(AssertionError):
            self.until(lambda: log.inner_html() not in ("", before), "the lines", 5)
        self.page.wait_for_timeout(300)
        return log.inner_text()
