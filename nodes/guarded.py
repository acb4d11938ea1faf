"""The fence around the pack's routes: same origin only, JSON only, small bodies only, errors in words.

The host refuses foreign origins on loopback addresses alone, and not at all with --enable-cors-header; pages of other
sites would reach a server in the local network through the browser of a person in it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from ..hpskit.errors import HpsError

log = logging.getLogger("hps")

MAX_BODY = 64 << 10
"""Bytes of the largest request body that is read."""
_FRIENDLY = ("", "same-origin", "none")
"""What browsers say of requests from the page itself, and from the address bar; older ones say nothing."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """The request is answered with an error; the message says what happened and what to do."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def guarded(handler: Handler) -> Handler:
    """Return a handler that serves the host's own pages only and turns every failure into JSON with words."""

    @functools.wraps(handler)
    async def fenced(request: web.Request) -> web.StreamResponse:
        try:
            _check_origin(request)
            return await handler(request)
        except Refused as error:
            return _failed(error.status, str(error))
        except HpsError as error:
            return _failed(503, str(error))
        except (web.HTTPException, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return _failed(500, "The request failed; the server's log says why.")

    return fenced


def _failed(status: int, words: str) -> web.Response:
    return web.json_response({"error": words}, status=status, headers={"Cache-Control": "no-store"})


def _check_origin(request: web.Request) -> None:
    """Refuse requests that a page of another site made."""
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "").lower()
    if site not in _FRIENDLY or (origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()):
        raise Refused(403, "This answers only pages of its own server. Open the server's own address.")


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the body of a POST, a JSON object of at most 64 KiB; raises Refused otherwise.

    Only application/json is read: a form of another site can send text/plain, but not this type.
    """
    if request.content_type != "application/json":
        raise Refused(415, "Send the body as application/json.")
    if (request.content_length or 0) > MAX_BODY:
        raise Refused(413, f"The body is larger than {MAX_BODY >> 10} KiB.")
    data = await _read(request)
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The body is no JSON. Send one object, such as {}.") from error
    if not isinstance(value, dict):
        raise Refused(400, "The body must be one JSON object, such as {}.")
    return value


async def _read(request: web.Request) -> bytes:
    """Read the body and stop at the limit, whatever its header says or leaves out."""
    data = bytearray()
    async for part in request.content.iter_chunked(MAX_BODY):
        data += part
        if len(data) > MAX_BODY:
            raise Refused(413, f"The body is larger than {MAX_BODY >> 10} KiB.")
    return bytes(data)


# --- values out of a request -----------------------------------------------------------------------------------------


def whole(value: Any, name: str, least: int, most: int) -> int:
    """Return a whole number within its limits, from JSON or from a query."""
    number: Any = value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        number = int(value)
    # True and False are ints in Python, and no numbers here.
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise Refused(400, f"{name} must be a whole number from {least} to {most}.")
    return number


def one_of(value: Any, name: str, allowed: tuple[str, ...]) -> str:
    """Return a value out of a fixed list."""
    if not isinstance(value, str) or value not in allowed:
        raise Refused(400, f"{name} must be one of {', '.join(allowed)}.")
    return value


def seconds(value: Any, name: str) -> float | None:
    """Return a duration or point in time in seconds, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e11:
        raise Refused(400, f"{name} must be a number of seconds, or null.")
    return float(value)
