"""The pack's routes, all under /hps/v1: a thin skin over the ledger for the pages of the web interface.

No route takes a path or a file name; rows are named by number. What writes is a POST. Each handler is fenced, see
guarded.py; queries run outside the event loop, so that a large ledger delays nobody.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import folder_paths
from aiohttp import web

from ..hpskit.ledger import SORTS, Ledger, Pick, Query, Row
from . import compare_store, pictures, recording, settings
from .guarded import Handler, Refused, guarded, json_body, one_of, seconds, whole
from .notices import prompt_of, without_nan
from .recall import MEMORY

PREFIX = "/hps/v1"
VERSION = 1
LARGEST_ID = 2**53
"""Row numbers travel as JavaScript numbers."""
MOST_TEXT = 2000
"""Characters of a filter."""
ENOUGH_PICKS = 15
"""Fewer picks say too little about agreement to show a rate."""
TYPES = {".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}

Answer = TypeVar("Answer")
_added: list[bool] = []


def add_routes() -> None:
    """Register the routes with the host's server; only the first call does, and none without a server."""
    from server import PromptServer

    table = getattr(getattr(PromptServer, "instance", None), "routes", None)
    if table is None or _added:
        return
    _added.append(True)
    for method, path, handler in ROUTES:
        table.route(method, PREFIX + path)(guarded(handler))


# --- ledger ----------------------------------------------------------------------------------------------------------


async def rows(request: web.Request) -> web.StreamResponse:
    """Answer with one page of rows."""
    query = _query(request)

    def listed(ledger: Ledger) -> dict[str, Any]:
        page = ledger.rows(query)
        return {"rows": [row.as_json() for row in page.rows], "total": page.total}

    return _json(await _ask(listed))


async def facets(request: web.Request) -> web.StreamResponse:
    """Answer with what the filters may be set to, the newest first."""
    found = await _ask(lambda ledger: ledger.facets())

    def listed(name: str) -> list[dict[str, Any]]:
        return [{"id": one.id, "value": one.value, "n": one.n, "time": one.time} for one in getattr(found, name)]

    return _json({name: listed(name) for name in ("prompts", "models", "samplers", "schedulers", "scorers")})


async def workflow(request: web.Request) -> web.StreamResponse:
    """Answer with the graph that made a row's image."""
    row = _row_id(request)
    found = await _ask(lambda ledger: ledger.workflow(row))
    if found is None:
        raise Refused(404, "No workflow was stored with this row: it was scored outside of ComfyUI, or purged.")
    return _json({"kind": found[0], "graph": found[1]})


async def image(request: web.Request) -> web.StreamResponse:
    """Answer with the picture of a row: the thumbnail, or the largest that is still there."""
    number = _row_id(request)
    size = one_of(request.query.get("size", "thumb"), "size", ("thumb", "full"))
    row, small = await _ask(lambda ledger: (ledger.row(number), ledger.thumbnail(number)))
    if row is None:
        raise Refused(404, "There is no such row; it may have been purged. Load the list again.")
    headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
    large = await asyncio.to_thread(_large, row) if size == "full" and row.source == "comfyui" else None
    if large is not None:
        return web.FileResponse(large, headers=headers | {"Content-Type": TYPES[large.suffix.lower()]})
    if small is None:
        raise Refused(404, "No picture was stored with this row.")
    return web.Response(
        body=small, content_type="image/webp" if small[:4] == b"RIFF" else "image/jpeg", headers=headers
    )


def _large(row: Row) -> Path | None:
    return _saved_file(row.file) or pictures.full_size(row.image_hash)


def _saved_file(name: str) -> Path | None:
    """Return the saved picture of a row, if it is still there and lies in the output folder."""
    if not name or "\0" in name:
        return None
    root = Path(folder_paths.get_output_directory()).resolve()
    path = (root / name).resolve()
    return path if path.is_relative_to(root) and path.suffix.lower() in TYPES and path.is_file() else None


async def summary(request: web.Request) -> web.StreamResponse:
    """Answer with how much is recorded, and why nothing is, when it is off."""
    chosen = settings.ledger_settings()
    if chosen.shared:
        return _json({"enabled": False, "reason": chosen.reason})
    found = await _ask(lambda ledger: ledger.summary())
    names = ("rows", "prompts", "picks", "bytes", "max_bytes", "oldest", "newest")
    known = {name: getattr(found, name) for name in names}
    return _json({"enabled": chosen.enabled, "reason": chosen.reason} | known)


async def compare(request: web.Request) -> web.StreamResponse:
    """Answer with the settings of one kind side by side."""
    by = one_of(request.query.get("by", "sampler"), "by", ("sampler", "scheduler", "steps", "cfg", "model"))
    query = _query(request)
    found = await _ask(lambda ledger: ledger.compare(by, query))
    names = ("value", "n", "groups", "mean", "gain", "sd", "wins", "pairs")
    return _json({"by": by, "settings": [{name: getattr(one, name) for name in names} for one in found]})


async def export(request: web.Request) -> web.StreamResponse:
    """Answer with all rows that the filters leave, as a file."""
    kind = one_of(request.query.get("format", "csv"), "format", ("csv", "jsonl"))
    query = _query(request)
    text = io.StringIO(newline="")
    await _ask(lambda ledger: ledger.export(text, kind, query))
    headers = {"Content-Disposition": f'attachment; filename="hps-ledger.{kind}"', "Cache-Control": "no-store"}
    body = text.getvalue().encode("utf-8", "replace")
    return web.Response(body=body, content_type="text/csv" if kind == "csv" else "application/jsonl", headers=headers)


async def purge(request: web.Request) -> web.StreamResponse:
    """Delete rows, all of them or those before a time."""
    body = await json_body(request)
    if body.get("confirm") is not True:
        raise Refused(400, 'Nothing was deleted: send "confirm": true.')
    before = seconds(body.get("before"), "before")
    if before is None:
        await asyncio.to_thread(pictures.clear)
        await asyncio.to_thread(compare_store.forget)
        MEMORY.clear()
    return _json({"deleted": await _ask(lambda ledger: ledger.purge(before=before))})


# --- picks -----------------------------------------------------------------------------------------------------------


async def next_pair(request: web.Request) -> web.StreamResponse:
    """Answer with two images of one prompt in random order, without anything that says which one scored more."""
    given = request.query.get("prompt")
    prompt = whole(given, "prompt", 1, LARGEST_ID) if given else None

    def ask(ledger: Ledger) -> dict[str, Any] | None:
        pair = ledger.next_pair(prompt=prompt)
        if pair is None:
            return None
        # A sharp picture beside a blurred one would be an answer: the saved ones are those that the scorer liked.
        size = "full" if all(_large(row) for row in pair) else "thumb"
        first = pair[0]
        known = {"prompt": first.prompt[:MOST_TEXT], "width": first.width, "height": first.height}
        return {"ids": [row.id for row in pair], "size": size, **known}

    return _json({"pair": await _ask(ask)})


async def add_pick(request: web.Request) -> web.StreamResponse:
    """Write down what a person chose, and tell what the scorer thinks."""
    pick = _pick(await json_body(request))
    chosen = settings.ledger_settings()
    if not chosen.enabled:
        raise Refused(403, f"The pick was not kept. {chosen.reason}")

    def write(ledger: Ledger) -> tuple[int, list[Any]]:
        known = [ledger.row(number) for number in pick.shown]
        if None in known:
            raise Refused(404, "One of the images is no longer in the ledger; the pick was not counted.")
        return ledger.add_pick(pick), known

    number, known = await _ask(write)
    names = ("id", "score", "seed", "sampler", "model", "fingerprint")
    return _json({"id": number, "reveal": [{name: row.as_json()[name] for name in names} for row in known]})


def _pick(body: dict[str, Any]) -> Pick:
    kind = one_of(body.get("kind"), "kind", ("pair", "grid"))
    outcome = one_of(body.get("outcome"), "outcome", ("pick", "tie", "skip"))
    shown = body.get("shown")
    least, most = (2, 2) if kind == "pair" else (2, 64)
    if not isinstance(shown, list) or not least <= len(shown) <= most:
        raise Refused(400, f"shown must list {least} to {most} rows.")
    ids = tuple(whole(one, "shown", 1, LARGEST_ID) for one in shown)
    chosen = body.get("chosen")
    if len(set(ids)) < len(ids) or (chosen is not None and (isinstance(chosen, bool) or chosen not in ids)):
        raise Refused(400, "shown must not repeat a row, and chosen must be one of them.")
    if (outcome == "pick") != (chosen is not None):
        raise Refused(400, 'chosen belongs to the outcome "pick", and only to that.')
    return Pick(ids, chosen, outcome, kind, seconds=seconds(body.get("seconds"), "seconds"))


async def agreement(request: web.Request) -> web.StreamResponse:
    """Answer with how often the person chose what the scorer likes better."""
    scorer = _text(request, "scorer")
    found = await _ask(lambda ledger: ledger.agreement(scorer))
    names = ("n", "agree", "ties", "skips", "rate", "low", "high", "prompts")
    return _json({name: getattr(found, name) for name in names} | {"enough": found.n >= ENOUGH_PICKS})


async def snapshot(request: web.Request) -> web.StreamResponse:
    """Answer with the last state of the nodes that a browser tab ran; its id is known to that tab only."""
    _refuse_strangers()
    return _json({"nodes": MEMORY.of(_text(request, "client") or "nobody")})


async def shown(request: web.Request) -> web.StreamResponse:
    """Answer with the workflow of a prompt, and with results of its nodes that the host may take from its cache."""
    _refuse_strangers()
    found = prompt_of(_text(request, "prompt") or "")
    if found is None:
        raise Refused(404, "The server does not know this run, or no longer. Run the workflow again.")
    graph, workflow = found
    return _json({"workflow": workflow, "nodes": MEMORY.given(graph)})


ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/ledger/rows", rows),
    ("GET", "/ledger/facets", facets),
    ("GET", "/ledger/workflow/{id}", workflow),
    ("GET", "/ledger/image/{id}", image),
    ("GET", "/ledger/summary", summary),
    ("GET", "/ledger/compare", compare),
    ("GET", "/ledger/export", export),
    ("POST", "/ledger/purge", purge),
    ("GET", "/picks/next", next_pair),
    ("POST", "/picks", add_pick),
    ("GET", "/picks/agreement", agreement),
    ("GET", "/snapshot", snapshot),
    ("GET", "/shown", shown),
)


# --- help ------------------------------------------------------------------------------------------------------------


def _refuse_strangers() -> None:
    """Refuse where several people share the server, and results of one would reach another."""
    chosen = settings.ledger_settings()
    if chosen.shared:
        raise Refused(403, chosen.reason)


async def _ask(question: Callable[[Ledger], Answer]) -> Answer:
    """Ask the ledger in another thread; refused where several people share the server."""
    _refuse_strangers()
    chosen = settings.ledger_settings()
    return await asyncio.to_thread(lambda: question(recording.opened(chosen)))


def _json(data: dict[str, Any]) -> web.Response:
    return web.json_response(without_nan({"v": VERSION} | data), headers={"Cache-Control": "no-store"})


def _row_id(request: web.Request) -> int:
    return whole(request.match_info["id"], "the row", 1, LARGEST_ID)


def _text(request: web.Request, name: str) -> str | None:
    value = request.query.get(name)
    if value is not None and len(value) > MOST_TEXT:
        raise Refused(400, f"{name} is longer than {MOST_TEXT} characters.")
    return value or None


def _query(request: web.Request) -> Query:
    prompt = request.query.get("prompt")
    return Query(
        prompt_id=whole(prompt, "prompt", 1, LARGEST_ID) if prompt else None,
        **{name: _text(request, name) for name in ("model", "sampler", "scheduler", "scorer")},
        search=_text(request, "search") or "",
        sort=one_of(request.query.get("sort", "time"), "sort", SORTS),
        descending=one_of(request.query.get("order", "desc"), "order", ("asc", "desc")) == "desc",
        limit=whole(request.query.get("limit", "100"), "limit", 1, 200),
        offset=whole(request.query.get("offset", "0"), "offset", 0, LARGEST_ID),
    )
