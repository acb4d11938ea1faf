"""What the nodes tell the browser: events of a running node, its result, and short messages."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from .recall import MEMORY, Place, signature

log = logging.getLogger("hps")

NOTICE = "hps.notice"


def send_event(name: str, data: dict[str, Any]) -> None:
    """Send a node's event to the browser that queued the prompt and keep it; failing to is never an error."""
    try:
        server = _server()
        if server.client_id is not None:
            place = _place(server)
            MEMORY.event(place, name, data)
            server.send_sync(name, {**data, "workflow": place.workflow}, server.client_id)
    except Exception:
        log.debug("The event %s was not sent", name, exc_info=True)


def shown_at_end(node: str | None, graph: Mapping[str, Any] | None, hps: dict[str, Any]) -> dict[str, Any]:
    """Keep what a node shows at its end, and return it as it goes out."""
    try:
        server = _server()
        place = _place(server)
        if node and graph:
            MEMORY.keep(signature(graph, str(node)), place.prompt, hps)
        if node and server.client_id is not None:
            MEMORY.end(place, str(node), hps)
    except Exception:
        log.debug("The result of node %s was not kept", node, exc_info=True)
    return hps


def prompt_of(prompt_id: str) -> tuple[Mapping[str, Any], str] | None:
    """Return the graph of a prompt that runs or has run, in API format, and its workflow's id; None when unknown."""
    queue = _server().prompt_queue
    items = [item for item in _running(queue) if item[1] == prompt_id]
    items += [entry["prompt"] for entry in queue.get_history(prompt_id=prompt_id).values()]
    if not items or not isinstance(items[0][2], Mapping):
        return None
    return items[0][2], _workflow_id(items[0])


def notice(severity: str, summary: str, detail: str) -> None:
    """Show a short message in the browser that queued the prompt; `severity` is "info", "warn" or "error"."""
    try:
        server = _server()
        if server.client_id is not None:
            server.send_sync(NOTICE, {"severity": severity, "summary": summary, "detail": detail}, server.client_id)
    except Exception:
        log.debug("The notice was not sent: %s", detail, exc_info=True)


def _server() -> Any:
    from server import PromptServer

    return PromptServer.instance


def _place(server: Any) -> Place:
    """Return who runs what now."""
    running = _running(getattr(server, "prompt_queue", None))
    prompt = str(running[0][1]) if running else str(getattr(server, "last_prompt_id", None) or "")
    return Place(str(server.client_id or ""), _workflow_id(running[0]) if running else "", prompt)


def _running(queue: Any) -> list[Any]:
    if queue is None:
        return []
    # The other way to ask copies the whole queue, and events are many.
    return list(getattr(queue, "get_current_queue_volatile", queue.get_current_queue)()[0])


def _workflow_id(item: Any) -> str:
    """Return the id of an item's workflow, as the interface knows it."""
    extra = item[3] if isinstance(item[3], dict) else {}
    workflow = (extra.get("extra_pnginfo") or {}).get("workflow") or {}
    return str(workflow.get("id") or "") if isinstance(workflow, dict) else ""


def without_nan(value: Any) -> Any:
    """Return nested data with None for every NaN and infinity, which JSON cannot say."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
