"""A page with a stand-in for the host: serves the repository's web/, and answers requests as a test says."""

from __future__ import annotations

import fnmatch
import functools
import json
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .errors import Watch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Route, ViewportSize

REPO = Path(__file__).resolve().parents[2]
WEB = REPO / "web"
STUB = Path(__file__).with_name("stub")
ORIGIN = "http://hps.test"
PACK = "/extensions/hps-nodes/"
SIZE: ViewportSize = {"width": 1000, "height": 700}
PASSING = frozenset({
    "add_style_tag", "evaluate", "evaluate_handle", "expect_response", "get_by_label", "get_by_role", "get_by_text",
    "keyboard", "locator", "mouse", "screenshot", "set_viewport_size", "wait_for_function", "wait_for_timeout",
})  # fmt: skip
"""What of Playwright's Page leaves nothing behind that a new document, or leave(), does not undo."""
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".md": "text/markdown"}
_TYPES |= {".json": "application/json", ".png": "image/png", ".svg": "image/svg+xml", ".webp": "image/webp"}


@dataclass(frozen=True)
class Asked:
    """One request that reached the stand-in for the server."""

    method: str
    path: str
    """Without the host's /api prefix and without the query."""
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer with a status and a type; plain JSON values and bytes (a picture) need none."""

    body: Any = None
    status: int = 200
    content_type: str = ""
    headers: dict[str, str] = field(default_factory=dict)


Answer = Any
"""JSON value, bytes, Reply, or a function of Asked that returns one of these."""


class StubPage:
    """A page without a server; every attribute of Playwright's Page is at hand under its own name.

    Problems (uncaught errors, console errors, unanswered requests, requests to another host) are collected in
    `problems`; the `stub_page` fixture fails a test that leaves some, unless `allow(pattern)` was called.
    """

    def __init__(self, browser: Browser, page: Page | None = None) -> None:
        self._page = page or browser.new_context(viewport=SIZE).new_page()
        self._page.set_default_timeout(5000)
        self._used_up = False
        self.asked: list[Asked] = []
        self._answers: list[tuple[str, Answer]] = []
        self._watch = Watch(self._page, ORIGIN)
        self._page.route("**/*", self._serve)
        self.hps_route("/view", lambda asked: picture(asked.query.get("filename", "")))
        self.hps_route("/i18n", {})
        self.hps_route("/hps/v1/snapshot", {"v": 1, "nodes": {}})
        self.hps_route("/hps/v1/shown", {"v": 1, "workflow": "", "nodes": {}})
        self._page.goto(ORIGIN + "/")
        self._page.wait_for_function("() => Boolean(window.app)")

    @property
    def page(self) -> Page:
        """Playwright's page; what is done to it here is not known, so no other test gets it."""
        self._used_up = True
        return self._page

    @property
    def context(self) -> BrowserContext:
        """The page's context; no other test gets it either."""
        return self.page.context

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._page if name in PASSING else self.page, name)

    # --- the server -------------------------------------------------------------------------------------------------

    def hps_route(self, path: str, answer: Answer) -> None:
        """Answer requests to `path` (as given to api.fetchApi, no query; * matches anything); the newest wins."""
        self._answers.insert(0, (path, answer))

    def asked_for(self, path: str, method: str | None = None) -> list[Asked]:
        """Return the requests to `path` so far (* matches anything)."""
        return [each for each in self.asked if fnmatch.fnmatchcase(each.path, path) and method in (None, each.method)]

    def delay(self, path: str, milliseconds: int) -> None:
        """Let api.fetchApi wait before it asks for `path`; an abort ends the wait."""
        self._page.evaluate("([path, ms]) => { comfyAPI.api.api.delays[path] = ms }", [path, milliseconds])

    def _serve(self, route: Route) -> None:
        request, parts = route.request, urlsplit(route.request.url)
        if f"{parts.scheme}://{parts.netloc}" != ORIGIN:
            route.abort()
            return
        path = unquote(parts.path)
        reply = _file(path)
        if reply is None:
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            asked = Asked(
                request.method, path.removeprefix("/api"), query, dict(request.headers), request.post_data or ""
            )
            self.asked.append(asked)
            reply = self._answer(asked)
        route.fulfill(status=reply.status, body=reply.body, content_type=reply.content_type, headers=reply.headers)

    def _answer(self, asked: Asked) -> Reply:
        for pattern, answer in self._answers:
            if fnmatch.fnmatchcase(asked.path, pattern):
                return _reply(answer(asked) if callable(answer) else answer)
        self._watch.report(f"no answer for {asked.method} {asked.path}: register one with hps_route()")
        return _reply(Reply({"error": "not found"}, 404))

    # --- the host ---------------------------------------------------------------------------------------------------

    def start(self, *modules: str) -> None:
        """Import modules of web/ (default: hps.js) as the host does at page load, then run init and setup."""
        urls = [PACK + name for name in modules or ("hps.js",)]
        self._page.evaluate(
            """async (urls) => {
                for (const url of urls) await import(url);
                await app.invoke("init");
                await app.invoke("setup");
            }""",
            urls,
        )

    def add_node(self, **options: Any) -> None:
        """Add a StubNode (id, type, title, widgets=[{type, name, value}], inputs, outputs, size) to the graph."""
        self._page.evaluate("async (options) => { await app.addNode(options) }", options)

    def send(self, event: str, detail: Any) -> None:
        """Deliver an event of the server's socket, such as hps.candidate."""
        self._page.evaluate("([e, d]) => { comfyAPI.api.api.dispatchCustomEvent(e, d) }", [event, detail])

    def executed(self, node: str, output: dict[str, Any]) -> None:
        """Tell that a node has run: its outputs are kept and its onExecuted is called."""
        self.send("executed", {"node": str(node), "display_node": str(node), "output": output, "prompt_id": "p"})

    def open_tab(self, tab: str) -> None:
        """Open the sidebar tab of that id, or close it when it is open."""
        self._page.evaluate("(id) => app.extensionManager.toggleTab(id)", tab)

    def theme(self, name: str) -> None:
        """Switch to the "light" or the "dark" theme."""
        self._page.evaluate(
            """(dark) => { document.documentElement.classList.toggle("dark", dark);
                           document.body.classList.toggle("dark-theme", dark) }""",
            name == "dark",
        )

    @property
    def toasts(self) -> list[dict[str, Any]]:
        """The toasts so far."""
        return list(self._page.evaluate("() => app.extensionManager.toasts"))

    @property
    def copied(self) -> list[str]:
        """The texts copied so far; the page is not a secure context, so there is no navigator.clipboard."""
        return list(self._page.evaluate("() => window.stubCopied"))

    # --- problems ---------------------------------------------------------------------------------------------------

    def allow(self, pattern: str) -> None:
        """Accept problems that match this regular expression."""
        self._watch.allow(pattern)

    @property
    def problems(self) -> list[str]:
        """What went wrong so far and is not allowed."""
        return self._watch.problems

    def close(self) -> None:
        """Close the page and its context."""
        self._page.context.close()

    def leave(self) -> Page | None:
        """Return the page, empty, for another test; None, and it is closed, when something of this one would stay.

        What a page keeps beyond a document (the pointer, held keys, its size, cookies) is put back; what a document
        keeps goes with it: the next one is loaded with every script anew.
        """
        if self._used_up or self._page.is_closed():
            self.close()
            return None
        self._watch.stop()
        self._page.unroute_all(behavior="ignoreErrors")
        self._page.route("**/*", _emptied)
        self._page.goto(ORIGIN + "/empty")
        self._page.unroute_all(behavior="ignoreErrors")
        self._page.set_viewport_size(SIZE)
        self._page.mouse.move(-1, -1)
        self._page.context.clear_cookies()
        self._page.evaluate("() => { localStorage.clear(); sessionStorage.clear() }")
        return self._page


def _emptied(route: Route) -> None:
    if route.request.is_navigation_request():
        route.fulfill(body="<!doctype html>", content_type="text/html")
    else:
        route.abort()


def _file(path: str) -> Reply | None:
    """Return the page, a stand-in module or a file of web/; None when the path is none of these."""
    if path in ("/", "/index.html"):
        return _read(STUB / "page.html")
    for prefix, folder in (("/scripts/", STUB), (PACK, WEB)):
        if path.startswith(prefix):
            found = (folder / path[len(prefix) :]).resolve()
            inside = found.is_relative_to(folder.resolve()) and found.is_file()
            return _read(found) if inside else Reply("not found", 404, "text/plain")
    return None


def _read(path: Path) -> Reply:
    return Reply(path.read_bytes(), 200, _TYPES.get(path.suffix, "application/octet-stream"))


def _reply(answer: Answer) -> Reply:
    reply = answer if isinstance(answer, Reply) else Reply(answer)
    if isinstance(reply.body, bytes):
        return Reply(reply.body, reply.status, reply.content_type or "image/png", reply.headers)
    if reply.content_type:
        return reply
    return Reply(json.dumps(reply.body), reply.status, "application/json", reply.headers)


@functools.lru_cache(maxsize=512)
def picture(name: str, side: int = 64) -> bytes:
    """Return a PNG of one colour that depends on the name."""
    colour = zlib.crc32(name.encode()).to_bytes(4, "big")[:3]
    rows = (b"\0" + colour * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
