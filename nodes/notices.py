"""What the nodes tell the browser: events of a running node, its result, and short messages."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from .recall import MEMORY, signature

log = logging.getLogger("hps")

NOTICE = "hps.notice"


def send_event(name: str, data: dict[str, Any]) -> None:
    """Send a node's event to the browser that queued the prompt and keep it; failing to is never an error."""
    try:
        server = _server()
        if server.client_id is not None:
            workflow = _workflow_id(server)
            MEMORY.event(server.client_id, workflow, name, data)
            server.send_sync(name, {**data, "workflow": workflow}, server.client_id)
    except Exception:
        log.debug("The event %s was not sent", name, exc_info=True)


def shown_at_end(node: str | None, graph: Mapping[str, Any] | None, hps: dict[str, Any]) -> dict[str, Any]:
    """Keep what a node shows at its end, and return it as it goes out."""
    try:
        server = _server()
        if node and graph:
            MEMORY.keep(signature(graph, str(node)), hps)
        if node and server.client_id is not None:
            MEMORY.end(server.client_id, _workflow_id(server), str(node), hps)
    except Exception:
        log.debug("The result of node %s was not kept", node, exc_info=True)
    return hps


def graph_of(prompt_id: str) -> Mapping[str, Any] | None:
    """Return the graph of a prompt that runs or has run, in API format; None when the host no longer knows it."""
    queue = _server().prompt_queue
    running = getattr(queue, "get_current_queue_volatile", queue.get_current_queue)()[0]
    history = queue.get_history(prompt_id=prompt_id)
    items = [item for item in running if item[1] == prompt_id]
    items += [entry["prompt"] for entry in history.values()]
    graph = items[0][2] if items else None
    return graph if isinstance(graph, Mapping) else None


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


def _workflow_id(server: Any) -> str:
    """Return the id of the workflow that runs now, as the interface knows it."""
    queue = getattr(server, "prompt_queue", None)
    if queue is None:
        return ""
    # The other way to ask copies the whole queue, and events are many.
    running = getattr(queue, "get_current_queue_volatile", queue.get_current_queue)()[0]
    extra = running[0][3] if running and isinstance(running[0][3], dict) else {}
    workflow = (extra.get("extra_pnginfo") or {}).get("workflow") or {}
    return str(workflow.get("id") or "") if isinstance(workflow, dict) else ""


def without_nan(value: Any) -> Any:
    """Return nested data with None for every NaN and infinity, which JSON cannot say."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
