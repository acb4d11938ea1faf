"""The same folders under the name that extensions use."""

from __future__ import annotations

from modules.paths_internal import data_path, extensions_dir, models_path, script_path

__all__ = ["data_path", "extensions_dir", "models_path", "paths", "script_path"]

paths: dict[str, str] = {}
