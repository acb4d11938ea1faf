"""What went wrong in a page: uncaught errors, console errors and requests to anywhere but the tests' own server."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page, Request

LOCAL = ("data:", "blob:", "about:")
_RESOURCE = "Failed to load resource"


class Watch:
    """Collects what must not happen in a page; `origin` is where its requests may go."""

    def __init__(self, page: Page, origin: str, allowed: tuple[str, ...] = ()) -> None:
        self.origin = origin
        self.external: list[str] = []
        self._found: list[str] = []
        self._allowed = list(allowed)
        self._page = page
        self._heard: dict[str, Callable[[Any], None]] = {
            "pageerror": lambda error: self._found.append(f"uncaught: {error}"),
            "console": self._console,
            "request": self._request,
        }
        for name, listener in self._heard.items():
            page.on(name, listener)  # type: ignore[call-overload]

    def stop(self) -> None:
        """Collect nothing more."""
        for name, listener in self._heard.items():
            self._page.remove_listener(name, listener)

    def allow(self, pattern: str) -> None:
        """Accept problems that match this regular expression."""
        self._allowed.append(pattern)

    def report(self, text: str) -> None:
        """Add a problem."""
        self._found.append(text)

    def clear(self) -> None:
        """Forget what was found so far."""
        self._found.clear()
        self.external.clear()

    @property
    def problems(self) -> list[str]:
        """What was found and is not allowed."""
        found = [*self._found, *(f"request to another host: {url}" for url in self.external)]
        return [text for text in found if not any(re.search(pattern, text) for pattern in self._allowed)]

    def _console(self, message: ConsoleMessage) -> None:
        # An answer with an error status is the test's own doing, or reported where it was given.
        if message.type == "error" and not message.text.startswith(_RESOURCE):
            self._found.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        own = (self.origin + "/", self.origin.replace("http", "ws", 1) + "/", *LOCAL)
        if not (request.url + "/").startswith(own):
            self.external.append(request.url)
