"""The fence around the pack's routes: own pages and programs only, JSON only, small bodies only, errors in words.

Pages of other sites reach a server on this machine, or in its network, through the browser of a person who opens them.
The hosts leave that to the browser's own rules, which do not stop every request.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...hpskit.errors import CardError, CheckpointError, CheckpointMissing, HpsError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger("hps")

_FRIENDLY = ("", "same-origin", "none")
"""What browsers say of requests from the page itself, and from the address bar; older ones and programs say nothing."""

Work = Callable[["Request"], Awaitable[Any]]


class Refused(Exception):
    """The request is answered with an error; the message says what happened and what to do."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


async def answered(request: Request, work: Work) -> Response:
    """Return what a piece of work gives as JSON, or what went wrong as JSON in words."""
    try:
        check_origin(request)
        check_password(request)
        return _json(200, await work(request))
    except Refused as error:
        return _json(error.status, {"error": str(error)})
    except (CheckpointMissing, CardError) as error:
        return _json(404, {"error": str(error)})
    except CheckpointError as error:
        return _json(409, {"error": str(error)})
    except HpsError as error:
        return _json(422 if isinstance(error, ValueError) else 503, {"error": str(error)})
    except Exception:
        log.exception("%s %s failed", request.method, request.url.path)
        return _json(500, {"error": "The request failed; the server's log says why."})


def _json(status: int, value: Any) -> Response:
    from starlette.responses import Response

    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if status == 401:
        headers["WWW-Authenticate"] = "Basic"
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return Response(text.encode("utf-8", "replace"), status, headers, "application/json")


# --- who asks --------------------------------------------------------------------------------------------------------


def check_origin(request: Request) -> None:
    """Refuse requests that a page of another site made, unless the host was started to allow that site (--cors-...)."""
    check_headers(request.headers)


def check_headers(headers: Mapping[str, str]) -> None:
    """Do the same for the headers of a request, their names in small letters."""
    origin = headers.get("origin")
    if origin is not None and _allowed(origin):
        return
    site = headers.get("sec-fetch-site", "").lower()
    own = origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    if site not in _FRIENDLY or not own:
        raise Refused(403, "This answers programs and pages of its own server only. Open the server's own address.")


def _allowed(origin: str) -> bool:
    named = str(_flag("cors_allow_origins") or "").split(",")
    pattern = _flag("cors_allow_origins_regex")
    return origin in named or "*" in named or bool(pattern and re.fullmatch(str(pattern), origin))


def check_password(request: Request) -> None:
    """Ask for the name and password of --api-auth, where the host has one, as its own API does."""
    wanted = [entry.strip() for entry in str(_flag("api_auth") or "").split(",") if entry.strip()]
    if not wanted:
        return
    given = _credentials(request.headers.get("authorization", ""))
    # All are compared, so that the time taken tells nothing.
    found = [secrets.compare_digest(given.encode(), entry.encode()) for entry in wanted]
    if not any(found):
        raise Refused(401, "Wrong or missing name and password: send those of --api-auth (HTTP Basic).")


def _credentials(header: str) -> str:
    kind, _, token = header.partition(" ")
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(token.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return ""


def _flag(name: str) -> Any:
    from modules import shared

    return getattr(getattr(shared, "cmd_opts", None), name, None)


# --- what they send --------------------------------------------------------------------------------------------------


async def json_body(request: Request, most: int) -> dict[str, Any]:
    """Return the body of a POST, a JSON object of at most `most` bytes; raises Refused otherwise.

    Only application/json is read: a form of another site can send text/plain, but not this type.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "Send the body as application/json.")
    try:
        value = json.loads((await _read(request, most)).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The body is no JSON. Send one object, such as {}.") from error
    if not isinstance(value, dict):
        raise Refused(400, "The body must be one JSON object, such as {}.")
    return value


async def _read(request: Request, most: int) -> bytes:
    """Read the body and stop at the limit, whatever its header says or leaves out."""
    too_large = f"The body is larger than {most >> 20} MiB. Send fewer or smaller images at once."
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise Refused(413, too_large)
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > most:
            raise Refused(413, too_large)
    return bytes(data)


def text(value: Any, name: str, most: int) -> str:
    """Return a text of at most `most` characters."""
    if not isinstance(value, str):
        raise Refused(422, f"{name} must be a text.")
    if len(value) > most:
        raise Refused(422, f"{name} is longer than {most} characters.")
    return value


def flag(value: Any, name: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise Refused(422, f"{name} must be true or false.")
    return value


def shut(demo: Any) -> None:
    """Close the pack's own folder to the host's file route, which serves all of its data folder."""
    from ..bridge.folders import state_folder

    blocked = getattr(demo, "blocked_paths", None)
    path = str(state_folder())
    if isinstance(blocked, list) and path not in blocked:
        blocked.append(path)
