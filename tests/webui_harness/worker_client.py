"""Test side of the worker: starts the host's Python once and sends it one check at a time."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from host_process import CheckFailed, HostProcess, check_names

from .hosts import WebHost

__all__ = ["CheckFailed", "Worker", "check_names"]
WORKER = Path(__file__).with_name("worker.py")
TIMEOUT = 240


class Worker(HostProcess):
    """One web UI in a subprocess, without a server, that runs check functions on request."""

    START_TIMEOUT = 420.0

    def __init__(self, host: WebHost, data: Path, log: Path) -> None:
        super().__init__(log)
        self.host, self.data = host, data

    @property
    def timings(self) -> dict[str, float]:
        """Seconds of the parts of the host's start."""
        return self.ready

    def run(self, file: Path, check: str, *args: Any, timeout: float = TIMEOUT) -> Any:
        """Run `check(*args)` of a file in the host and return its result, which must be JSON-able."""
        __tracebackhide__ = True
        return self.ask({"file": str(file), "check": check, "args": args}, timeout)

    def launch(self) -> subprocess.Popen[str]:
        """Start the web UI without its server."""
        start = [str(self.host.python), str(WORKER), str(self.host.root), str(self.data), str(self.log)]
        return subprocess.Popen(
            [*start, *self.host.options(self.data)],
            cwd=self.host.root, env=self.host.environment(self.data), text=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
