"""Which hosts, front ends and renderers the tests in a real ComfyUI run on, and the servers for them."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_harness import Host, Server, find_hosts, make_base

SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Workflow.Persist": False, "Comfy.VueNodes.Enabled": False}
SETTINGS |= {"HPS.Gallery.Decimals": 3}
"""Without the first one the dialog of templates covers the page."""
NODES_2_SINCE = (1, 30)
"""First front end whose Nodes 2.0 show what packs put into a node."""
_ASK_VERSION = "import importlib.metadata as m; print(m.version('comfyui-frontend-package'))"


@dataclass(frozen=True)
class Place:
    """One host with one front end, in one renderer."""

    host: Host
    front: Path | None = None
    """Folder of another front end than the host's own (--front-end-root)."""
    vue: bool = False
    """Nodes 2.0 instead of the classic canvas."""

    @property
    def name(self) -> str:
        """Such as 0.27.0-own-classic."""
        return f"{self.host.version}-{'newest' if self.front else 'own'}-{'nodes2' if self.vue else 'classic'}"


@functools.cache
def front_end_version(host: Host) -> tuple[int, ...]:
    """Return the version of the front end that a host brings along; (0,) when it does not say."""
    done = subprocess.run([host.python, "-c", _ASK_VERSION], capture_output=True, text=True, check=False)
    parts = done.stdout.strip().split(".")
    return tuple(int(part) for part in parts) if done.returncode == 0 and all(map(str.isdigit, parts)) else (0,)


def places(every_renderer: bool) -> tuple[list[Place], str]:
    """Return where a test runs, and why nowhere.

    Usually on the first host in the classic renderer; tests with the marker `renderers` also in Nodes 2.0, where the
    host's front end can. With HPS_WEB_MATRIX=all every test runs on every host (COMFYUI_PATH) in both renderers, and
    on the last host with the front end in HPS_FRONTEND_ROOT.
    """
    hosts, reason = find_hosts()
    if os.environ.get("HPS_WEB_MATRIX") != "all":
        return [place for host in hosts[:1] for place in _own(host, every_renderer)], reason
    found = [place for host in hosts for place in _own(host, True)]
    front = os.environ.get("HPS_FRONTEND_ROOT")
    if front and hosts:
        found.append(Place(hosts[-1], Path(front).expanduser(), True))
    return found, reason


def _own(host: Host, both: bool) -> list[Place]:
    nodes_2 = both and front_end_version(host) >= NODES_2_SINCE
    return [Place(host), *([Place(host, vue=True)] if nodes_2 else [])]


class Farm:
    """Starts a server for a host and front end when it is first asked for, and ends all of them together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[tuple[Host, Path | None], Server] = {}

    def server(self, place: Place) -> Server:
        """Return the running server of a place; both renderers share it."""
        key = (place.host, place.front)
        if key not in self._running:
            self._running[key] = self._start(place)
        return self._running[key]

    def _start(self, place: Place) -> Server:
        folder = self._folder / place.name
        base = make_base(folder / "base")
        (base / "user/default/comfy.settings.json").write_text(json.dumps(SETTINGS))
        extra = ("--front-end-root", str(place.front)) if place.front else ()
        return Server(place.host, base, folder / "server.log", extra).__enter__()

    def close(self) -> None:
        """End every server."""
        while self._running:
            self._running.popitem()[1].__exit__()


def graph_of(workflow: str | dict[str, Any]) -> dict[str, Any]:
    """Return a workflow of example_workflows by its name; what is a workflow already is returned as it is."""
    if isinstance(workflow, dict):
        return workflow
    path = Path(__file__).resolve().parents[2] / "example_workflows" / f"{workflow}.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found
