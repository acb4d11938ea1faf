"""One host in a subprocess of the tests: its Python is started once and runs one check function at a time.

The process answers a line of JSON when it is ready and one for every line that it gets: {"result": ...} or
{"error": traceback}.
"""

from __future__ import annotations

import ast
import contextlib
import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any


class CheckFailed(AssertionError):
    """A check raised inside the host; the message is the traceback from there."""


class HostProcess:
    """A host that runs check functions on request; subclasses say how it is started."""

    START_TIMEOUT = 180.0
    """Seconds until it must be ready."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.ready: dict[str, Any] = {}
        """What the process said when it was ready."""
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()

    def launch(self) -> subprocess.Popen[str]:
        """Start the process, with pipes for its input and output."""
        raise NotImplementedError

    def ask(self, request: dict[str, Any], timeout: float) -> Any:
        """Send a request to the process, started where it does not run, and return the JSON-able result."""
        __tracebackhide__ = True
        process = self._process if self._process and self._process.poll() is None else self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = self._read(timeout)
        if "error" in answer:
            raise CheckFailed(answer["error"])
        return answer.get("result")

    def stop(self) -> None:
        """End the host process that this worker started."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        self.stop()
        self._lines = queue.Queue()
        self._process = process = self.launch()
        threading.Thread(target=self._pump, args=(process, self._lines), daemon=True).start()
        self.ready = self._read(self.START_TIMEOUT)
        return process

    @staticmethod
    def _pump(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in process.stdout:
                lines.put(line)
        lines.put("")

    def _read(self, timeout: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            self.stop()
            raise CheckFailed(f"no answer within {timeout:.0f} s; the host's log ends:\n{self._tail()}") from None
        if not line:
            self.stop()
            raise CheckFailed(f"the host process ended; its log ends:\n{self._tail()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else "(nothing)"


def check_names(file: Path) -> list[str]:
    """Return the check functions of a file, in file order, without importing it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")]
