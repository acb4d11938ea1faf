"""Test side of the worker: starts the host's Python once and sends it one check at a time."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from host_process import CheckFailed, HostProcess
from host_process import check_names as _names

from .hosts import REPO, Host

__all__ = ["CheckFailed", "Worker", "check_names", "checks"]
INSIDE = REPO / "tests" / "comfy" / "inside"
WORKER = Path(__file__).with_name("worker.py")
TIMEOUT = 90


class Worker(HostProcess):
    """One ComfyUI in a subprocess that runs check functions on request."""

    def __init__(self, host: Host, base: Path, log: Path) -> None:
        super().__init__(log)
        self.host, self.base = host, base

    def run(self, module: str, check: str, timeout: float = TIMEOUT) -> Any:
        """Run `check` of tests/comfy/inside/<module>.py in the host and return its JSON-able result."""
        __tracebackhide__ = True
        return self.ask({"file": str(INSIDE / f"{module}.py"), "check": check}, timeout)

    def launch(self) -> subprocess.Popen[str]:
        """Start ComfyUI without its server."""
        with self.log.open("a") as log:
            return subprocess.Popen(
                [str(self.host.python), str(WORKER), str(self.host.root), str(self.base)],
                cwd=self.host.root, env=self.host.environment(), text=True, encoding="utf-8",
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip


def check_names(module: str) -> list[str]:
    """Return the check functions of tests/comfy/inside/<module>.py, in file order, without importing it."""
    return _names(INSIDE / f"{module}.py")


def checks(module: str, *, slow: tuple[str, ...] = (), timeout: float = TIMEOUT) -> Callable[..., None]:
    """Return a pytest test with one case per check function of tests/comfy/inside/<module>.py.

    `slow` names the checks to mark as slow.
    """
    names = check_names(module)
    cases = [pytest.param(name, marks=pytest.mark.slow if name in slow else (), id=name[6:]) for name in names]

    @pytest.mark.host
    @pytest.mark.parametrize("check", cases)
    def test(worker: Worker, check: str) -> None:
        __tracebackhide__ = True
        worker.run(module, check, timeout)

    return test
