"""Importing this module puts a benchmark inside the host: it starts the program again in the host's Python, unless that
is where it runs, and imports ComfyUI's package on the CPU with the attention that it uses on NVIDIA cards.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

PACK = Path(__file__).resolve().parents[1]
INSIDE = "HPS_GRADIENT_MEMORY"
"""Set in the second process."""


def restart() -> int:
    """Run this program in the host's Python, with an allocator that gives freed memory back at once."""
    sys.path.insert(0, str(PACK / "tests"))
    from comfy_harness import find_hosts

    hosts, reason = find_hosts()
    if not hosts:
        raise SystemExit(reason)
    allocator = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    env = {**hosts[0].environment(), **allocator, INSIDE: "1", "COMFYUI_PATH": str(hosts[0].root)}
    return subprocess.run([str(hosts[0].python), *sys.argv], env=env, check=False).returncode


def start() -> None:
    """Import what of the host reads its arguments."""
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    import comfy.options

    given, sys.argv = sys.argv, ["main.py", "--cpu", "--use-pytorch-cross-attention"]
    comfy.options.enable_args_parsing(True)
    importlib.import_module("comfy.cli_args")
    sys.argv = given


def pack(name: str) -> ModuleType:
    """Import a module of this checkout as the host would: as part of a package, but without registering nodes."""
    if "hps_pack" not in sys.modules:
        spec = importlib.util.spec_from_loader("hps_pack", loader=None, is_package=True)
        assert spec is not None and spec.submodule_search_locations is not None
        spec.submodule_search_locations.append(str(PACK))
        sys.modules["hps_pack"] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"hps_pack.{name}")


if INSIDE not in os.environ:
    raise SystemExit(restart())
start()
