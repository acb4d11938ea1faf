"""Test side of the worker: starts the host's Python once and sends it one check at a time."""

from __future__ import annotations

import ast
import contextlib
import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

from .hosts import WebHost

WORKER = Path(__file__).with_name("worker.py")
START_TIMEOUT = 420
TIMEOUT = 240


class CheckFailed(AssertionError):
    """A check raised inside the host; the message is the traceback from there."""


class Worker:
    """One web UI in a subprocess, without a server, that runs check functions on request."""

    def __init__(self, host: WebHost, data: Path, log: Path) -> None:
        self.host, self.data, self.log = host, data, log
        self.timings: dict[str, float] = {}
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()

    def run(self, file: Path, check: str, *args: Any, timeout: float = TIMEOUT) -> Any:
        """Run `check(*args)` of a file in the host and return its result, which must be JSON-able."""
        __tracebackhide__ = True
        process = self._process if self._process and self._process.poll() is None else self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps({"file": str(file), "check": check, "args": args}) + "\n")
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
        start = [str(self.host.python), str(WORKER), str(self.host.root), str(self.data), str(self.log)]
        process = subprocess.Popen(
            [*start, *self.host.options(self.data)],
            cwd=self.host.root, env=self.host.environment(self.data), text=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._process = process
        threading.Thread(target=self._pump, args=(process, self._lines), daemon=True).start()
        self.timings = self._read(START_TIMEOUT)
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
