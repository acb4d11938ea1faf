"""Tries things in a real web UI by hand: `python -m webui_harness check|serve a1111|forge ...` (tests/ on PYTHONPATH).

check a1111 file.py [check_name ...]   start the host in process, run check functions of a file, print their results
serve forge [launch options ...]       start a server, print its address and folders, and keep it until it is ended

HPS_WEBUI_CHECKPOINT=smallxl takes the SDXL checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from .hosts import CHECKPOINT, KINDS, WebHost, find, make_data
from .server import Server
from .worker_client import CheckFailed, Worker, check_names

BY_HAND = 1800
"""Seconds for one check: nobody waits for it but the person who sees it."""


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _check(host: WebHost, data: Path, file: Path, names: list[str]) -> int:
    worker, failed = Worker(host, data, data / "host.log"), 0
    try:
        for name in names or check_names(file):
            begun = time.monotonic()
            try:
                result = worker.run(file.resolve(), name, timeout=BY_HAND)
                text = json.dumps(result, indent=1) if result is not None else "ok"
            except CheckFailed as error:
                failed, text = failed + 1, f"FAILED\n{error}"
            _say(f"{name} ({time.monotonic() - begun:.1f} s): {text}")
    finally:
        worker.stop()
    _say(f"start: {worker.timings}  log: {worker.log}  outputs: {data / 'outputs'}")
    return failed


def _serve(host: WebHost, data: Path, options: tuple[str, ...]) -> int:
    def end(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    try:
        with Server(host, data, data / "host.log", options) as server:
            _say(f"{server.url} after {server.started} s; data {data}; log {server.log}; end me with Ctrl+C or SIGTERM")
            while True:
                time.sleep(1)
    except KeyboardInterrupt:
        return 0


def main() -> int:
    """Find the host, lay out a data folder and do what was asked."""
    if len(sys.argv) < 3 or sys.argv[1] not in ("check", "serve") or sys.argv[2] not in KINDS:
        _say(__doc__ or "")
        return 2
    host, why = find(sys.argv[2])
    if host is None:
        _say(why)
        return 2
    name = os.environ.get("HPS_WEBUI_CHECKPOINT", CHECKPOINT)
    data = make_data(Path(tempfile.mkdtemp(prefix=f"hps-{host.kind}-")), host, checkpoint=name)
    if sys.argv[1] == "serve":
        return _serve(host, data, tuple(sys.argv[3:]))
    return _check(host, data, Path(sys.argv[3]), sys.argv[4:])


if __name__ == "__main__":
    sys.exit(main())
