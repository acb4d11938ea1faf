"""Loads a script file under its bare file name, outside of sys.modules, as the host does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

loaded_scripts: dict[str, Any] = {}


def load_module(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(path).name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded_scripts[path] = module
    return module
