"""What the nodes have told, kept for pages that were not there: loaded again, or run out of the host's cache."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LISTS = ("candidates", "points")
"""Parts of events that carry on where the event before ended."""
CELLS = "cells"
"""Part of events whose entries have places (setting, prompt, seed): one that comes again replaces the old one."""
MOST_CLIENTS, MOST_NODES, MOST_ITEMS, MOST_CELLS = 16, 128, 5000, 50_000


@dataclass
class Shown:
    """What the interface knows of one node."""

    workflow: str
    """Id of the workflow that the node belongs to; empty for graphs without one."""
    node: str
    """Its execution id."""
    prompt: str = ""
    """Id of the run that told last."""
    event: str | None = None
    data: dict[str, Any] | None = None
    """Newest event, its lists joined with those of the events before."""
    hps: list[dict[str, Any]] = field(default_factory=list)
    """What the node gave at its ends: one for each item of a list that it ran over."""


@dataclass(frozen=True)
class Place:
    """Who runs what: browser tab, workflow and prompt."""

    client: str
    workflow: str = ""
    prompt: str = ""


def signature(graph: Mapping[str, Any], node: str) -> str:
    """Return a hash of a node's class and inputs and of all that lies upstream: equal ones give equal results.

    Links are followed, so that ids do not count; any depth will do. A circle, which the host refuses, ends where it
    closes.
    """
    known: dict[str, str] = {}
    waiting, begun = [node], set[str]()
    while waiting:
        name = waiting[-1]
        open_sources = [source for source in _sources(graph, name) if source not in known and source not in begun]
        if name not in begun and open_sources:
            begun.add(name)
            waiting += open_sources
            continue
        known.setdefault(name, _mark(graph, name, known))
        waiting.pop()
    return known[node]


def _sources(graph: Mapping[str, Any], name: str) -> list[str]:
    inputs = graph.get(name, {}).get("inputs", {}).values()
    return [value[0] for value in inputs if _is_link(value)]


def _mark(graph: Mapping[str, Any], name: str, known: Mapping[str, str]) -> str:
    """Return the hash of a node whose sources have theirs."""
    made_by = graph.get(name, {})
    given = {
        key: ["link", known.get(value[0], ""), value[1]] if _is_link(value) else value
        for key, value in made_by.get("inputs", {}).items()
    }
    text = json.dumps([made_by.get("class_type"), given], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _is_link(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str)


@dataclass
class Memory:
    """The last state of every node, by browser tab: a page that is loaded again would begin with empty nodes."""

    clients: OrderedDict[str, OrderedDict[str, Shown]] = field(default_factory=OrderedDict)
    results: OrderedDict[str, tuple[str, list[dict[str, Any]]]] = field(default_factory=OrderedDict)
    """What nodes gave at their ends, by signature: the host tells no page about results out of its cache."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def event(self, place: Place, name: str, data: dict[str, Any]) -> None:
        """Keep an event of a node."""
        with self.lock:
            shown = self._shown(place, str(data.get("node")))
            same = shown.event == name and shown.data is not None and shown.data.get("run") == data.get("run")
            shown.data = _joined(shown.data or {}, data) if same else dict(data)
            shown.event = name

    def end(self, place: Place, node: str, hps: dict[str, Any]) -> None:
        """Keep what a node gave at its end."""
        with self.lock:
            self._shown(place, node).hps.append(hps)

    def keep(self, mark: str, prompt: str, hps: dict[str, Any]) -> None:
        """Keep what a node with these inputs gave; in one prompt it may give several times."""
        with self.lock:
            before, given = self.results.get(mark, ("", []))
            self.results[mark] = prompt, [*(given if prompt and prompt == before else []), hps]
            self.results.move_to_end(mark)
            while len(self.results) > MOST_NODES:
                self.results.popitem(last=False)

    def given(self, graph: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Return what is known of the results of a graph's nodes, by their ids."""
        ours = [name for name, node in graph.items() if str(node.get("class_type", "")).startswith("HPS_")]
        marks = {name: signature(graph, name) for name in ours}
        with self.lock:
            return {name: self.results[mark][1] for name, mark in marks.items() if mark in self.results}

    def of(self, client: str) -> dict[str, dict[str, Any]]:
        """Return the states of a tab's nodes, each with its node and workflow."""
        with self.lock:
            return {key: dict(vars(shown)) for key, shown in self.clients.get(client, {}).items()}

    def clear(self) -> None:
        """Forget everything."""
        with self.lock:
            self.clients.clear()
            self.results.clear()

    def _shown(self, place: Place, node: str) -> Shown:
        nodes = _touched(self.clients, place.client, OrderedDict, MOST_CLIENTS)
        shown: Shown = _touched(nodes, f"{place.workflow} {node}", lambda: Shown(place.workflow, node), MOST_NODES)
        if shown.prompt != place.prompt:
            shown.prompt, shown.event, shown.data, shown.hps = place.prompt, None, None, []
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
    if CELLS in now:
        lists[CELLS] = _placed([*before.get(CELLS, []), *now[CELLS]])
    kept = {"image": before["image"]} if before.get("image") and not now.get("image") else {}
    return {**now, **kept, **lists}


def _placed(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the cells with the newest of every place only."""
    newest = {tuple(cell.get(name) for name in ("s", "p", "k")): cell for cell in cells}
    return list(newest.values())[-MOST_CELLS:]


MEMORY = Memory()
