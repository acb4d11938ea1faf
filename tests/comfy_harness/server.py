"""A real ComfyUI server in a subprocess, spoken to over HTTP with the standard library."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .hosts import Host


@dataclass(frozen=True)
class History:
    """What became of one queued graph."""

    status: str
    """"success" or "error" (an interrupted prompt is "error" with `interrupted` set)."""
    outputs: dict[str, Any]
    """ui dictionaries by node id."""
    error: str = ""
    """The message shown to the person, when it failed."""
    node: str = ""
    """Id of the node that failed."""
    interrupted: bool = False
    raw: dict[str, Any] = field(default_factory=dict)


class Rejected(Exception):
    """The server refused the graph; the message is its answer."""


class Server:
    """`main.py --cpu` on a free port with its own base directory; use as a context manager."""

    def __init__(self, host: Host, base: Path, log: Path, extra: tuple[str, ...] = ()) -> None:
        self.host, self.base, self.log, self.extra = host, base, log, extra
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        # A database in a file: the host leaves one connection open, and SQLAlchemy logs a traceback when that is
        # collected in another thread, which it does for databases in memory only.
        database = f"sqlite:///{self.base / 'comfyui.db'}"
        options = ["--cpu", "--port", str(port), "--disable-api-nodes", "--base-directory", str(self.base)]
        command = [str(self.host.python), "main.py", *options, "--database-url", database, *self.extra]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.host.root, env=self.host.environment(), stdout=log, stderr=subprocess.STDOUT
            )
        self._await_start(180)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def get(self, path: str) -> Any:
        """Return the JSON (or the text) served at `path`."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            body = answer.read().decode("utf-8")
        try:
            return json.loads(body)
        except ValueError:
            return body

    def post(self, path: str, data: dict[str, Any]) -> Any:
        """Send `data` as JSON; raise Rejected with the server's answer on an HTTP error."""
        body = json.dumps(data).encode()
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read().decode("utf-8")
        except urllib.error.HTTPError as error:
            raise Rejected(error.read().decode("utf-8", "replace")) from None
        return json.loads(text) if text else None

    def queue(self, graph: dict[str, Any], **extra_data: Any) -> str:
        """Queue a graph in API format and return its prompt id."""
        answer = self.post("/prompt", {"prompt": graph, "client_id": "tests", "extra_data": extra_data})
        return str(answer["prompt_id"])

    def run(self, graph: dict[str, Any], timeout: float = 120, **extra_data: Any) -> History:
        """Queue a graph and wait until it ended."""
        return self.wait(self.queue(graph, **extra_data), timeout)

    def wait(self, prompt_id: str, timeout: float = 120) -> History:
        """Wait until the prompt stands in the history."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry is not None:
                return _history(entry)
            self._alive()
            time.sleep(0.1)
        raise AssertionError(f"prompt {prompt_id} did not end within {timeout:.0f} s; log ends:\n{self.tail()}")

    def interrupt(self) -> None:
        """Interrupt what runs now."""
        self.post("/interrupt", {})

    def free(self) -> None:
        """Ask the server to unload models and drop its caches, as the button in the interface does."""
        self.post("/free", {"unload_models": True, "free_memory": True})

    def tail(self) -> str:
        """Return the end of the server's log."""
        return self.log.read_text(errors="replace")[-4000:]

    def logged(self) -> int:
        """Return how many bytes the log has by now, for `log_since`."""
        return self.log.stat().st_size

    def log_since(self, start: int) -> str:
        """Return what was logged after `start`, a number from `logged`."""
        return self.log.read_bytes()[start:].decode("utf-8", "replace")

    def _alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"the server ended; log ends:\n{self.tail()}")

    def _await_start(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._alive()
            try:
                self.get("/system_stats")
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise AssertionError(f"the server did not start within {timeout:.0f} s; log ends:\n{self.tail()}")


def _history(entry: dict[str, Any]) -> History:
    messages = dict(entry["status"]["messages"])
    failure = messages.get("execution_error", {})
    return History(
        status=entry["status"]["status_str"],
        outputs=entry["outputs"],
        error=failure.get("exception_message", ""),
        node=str(failure.get("node_id", "")),
        interrupted="execution_interrupted" in messages,
        raw=entry,
    )
