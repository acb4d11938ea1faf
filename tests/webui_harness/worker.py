"""Runs in the host's Python: starts the web UI without its server, then runs one check per line of standard input.

Usage: worker.py <folder of the web UI> <data folder> <log file> [launch options]. Answers are JSON lines on the
original standard output; everything that the host prints goes to the log file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any


def load(name: str, path: Path) -> ModuleType:
    """Import a file under `name`, without touching sys.path."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def answer(request: dict[str, Any], modules: dict[str, ModuleType], reset: Any) -> str:
    """Run the requested check and return its result or traceback as JSON."""
    try:
        file = Path(request["file"])
        module = modules.get(request["file"]) or load(f"webui_check_{file.stem}", file)
        modules[request["file"]] = module
        reset()
        return json.dumps({"result": getattr(module, request["check"])(*request.get("args", ()))})
    except BaseException:
        return json.dumps({"error": traceback.format_exc()})


def main() -> None:
    """Start the host and serve checks until standard input closes."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    root, data, log = (Path(text) for text in sys.argv[1:4])
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.path[0] = str(root)  # the script's own folder must not be importable
    inside = load("webui_inside", Path(__file__).with_name("inside.py"))
    channel.write(json.dumps(inside.boot(root, data, log, sys.argv[4:])) + "\n")
    channel.flush()
    modules: dict[str, ModuleType] = {}
    for line in sys.stdin:
        channel.write(answer(json.loads(line), modules, inside.reset) + "\n")
        channel.flush()
    os._exit(0)  # the hosts leave threads behind that would hold the process


if __name__ == "__main__":
    main()
