"""What the nodes tell the browser: events of a running node, kept for a page that is loaded again, and notices."""

from __future__ import annotations

import logging
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger("hps")

NOTICE = "hps.notice"
LISTS = ("candidates", "points")
"""Parts of events that carry on where the event before ended."""
MOST_CLIENTS, MOST_NODES, MOST_ITEMS = 16, 128, 5000


@dataclass
class Shown:
    """What the interface knows of one node."""

    workflow: str = ""
    """Id of the workflow that the node belongs to; empty for graphs without one."""
    event: str | None = None
    data: dict[str, Any] | None = None
    """Newest event, its lists joined with those of the events before."""
    hps: dict[str, Any] | None = None
    """What the node gave at its end."""


@dataclass
class Memory:
    """The last state of every node, by browser tab: a page that is loaded again would begin with empty nodes."""

    clients: OrderedDict[str, OrderedDict[str, Shown]] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def event(self, client: str, workflow: str, name: str, data: dict[str, Any]) -> None:
        """Keep an event of a node."""
        with self.lock:
            shown = self._shown(client, workflow, str(data.get("node")))
            same = shown.event == name and shown.data is not None and shown.data.get("run") == data.get("run")
            shown.data = _joined(shown.data or {}, data) if same else dict(data)
            shown.event, shown.hps = name, None

    def end(self, client: str, workflow: str, node: str, hps: dict[str, Any]) -> None:
        """Keep what a node gave at its end."""
        with self.lock:
            self._shown(client, workflow, node).hps = hps

    def of(self, client: str) -> dict[str, dict[str, Any]]:
        """Return the states of a tab's nodes by execution id."""
        with self.lock:
            return {node: dict(vars(shown)) for node, shown in self.clients.get(client, {}).items()}

    def _shown(self, client: str, workflow: str, node: str) -> Shown:
        nodes = _touched(self.clients, client, OrderedDict, MOST_CLIENTS)
        shown: Shown = _touched(nodes, node, Shown, MOST_NODES)
        if shown.workflow != workflow:
            shown = nodes[node] = Shown(workflow)
        return shown


def _touched(store: OrderedDict[str, Any], key: str, make: Any, most: int) -> Any:
    """Return the entry, made when missing, as the newest; the oldest goes when there are too many."""
    entry = store.setdefault(key, None) or make()
    store[key] = entry
    store.move_to_end(key)
    while len(store) > most:
        store.popitem(last=False)
    return entry


def _joined(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    lists = {name: [*before.get(name, []), *now[name]][-MOST_ITEMS:] for name in LISTS if name in now}
    kept = {"image": before["image"]} if before.get("image") and not now.get("image") else {}
    return {**now, **kept, **lists}


MEMORY = Memory()


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


def shown_at_end(node: str | None, hps: dict[str, Any]) -> dict[str, Any]:
    """Keep what a node shows at its end, and return it as it goes out."""
    try:
        server = _server()
        if node is not None and server.client_id is not None:
            MEMORY.end(server.client_id, _workflow_id(server), str(node), hps)
    except Exception:
        log.debug("The result of node %s was not kept", node, exc_info=True)
    return hps


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
