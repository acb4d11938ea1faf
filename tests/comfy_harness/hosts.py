"""Finds ComfyUI checkouts and the Python that runs them, and lays out a temporary base directory."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PACK = "hps-nodes"
"""Folder name of the pack below custom_nodes; its web files are served under /extensions/hps-nodes/."""

_NEEDED = "import torch, aiohttp, safetensors, einops, transformers, requests"
_ALL = f"{_NEEDED}, open_clip"


@dataclass(frozen=True)
class Host:
    """One ComfyUI checkout with the Python that can run it."""

    root: Path
    python: Path
    version: str

    def environment(self) -> dict[str, str]:
        """Return the environment for its processes: one thread, no bytecode, no CUDA, no trace of the tests' Python."""
        dropped = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
        kept = {key: value for key, value in os.environ.items() if key not in dropped}
        fixed = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONUTF8": "1"}
        return {**kept, **fixed}


def _interpreters(root: Path) -> list[Path]:
    chosen = os.environ.get("COMFYUI_PYTHON")
    if chosen:
        return [Path(chosen).expanduser()]
    binary = Path("Scripts/python.exe") if os.name == "nt" else Path("bin/python")
    venvs = (root / "venv", root / ".venv", root.parent / "venv")
    return [venv / binary for venv in venvs if (venv / binary).exists()] + [Path(sys.executable)]


@functools.cache
def _can(python: Path, code: str) -> bool:
    try:
        return subprocess.run([python, "-c", code], capture_output=True, timeout=120, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _version(root: Path) -> str:
    scope: dict[str, str] = {}
    for line in (root / "comfyui_version.py").read_text().splitlines():
        name, _, value = line.partition("=")
        scope[name.strip()] = value.strip().strip("\"'")
    return scope.get("__version__", "unknown")


@functools.cache
def find_hosts() -> tuple[tuple[Host, ...], str]:
    """Return the usable hosts, and the reason (for the skip message) when there is none."""
    setting = os.environ.get("COMFYUI_PATH")
    roots = (
        [Path(part).expanduser() for part in setting.split(os.pathsep)]
        if setting
        else [Path("~/comfy/ComfyUI").expanduser()]
    )
    hosts, reasons = [], []
    for root in roots:
        if not (root / "main.py").exists():
            reasons.append(f"no ComfyUI in {root} (set COMFYUI_PATH)")
            continue
        pythons = _interpreters(root)
        # Almost always the first one has everything, and these imports take seconds: one process asks for all of them.
        python = pythons[0] if _can(pythons[0], _ALL) else next((each for each in pythons if _can(each, _NEEDED)), None)
        if python is None:
            reasons.append(f"no Python with ComfyUI's requirements for {root} (set COMFYUI_PYTHON)")
        elif not _can(python, _ALL):
            reasons.append(f"open_clip_torch is not installed in {python}")
        else:
            hosts.append(Host(root, python, _version(root)))
    return tuple(hosts), "; ".join(reasons)


def make_base(folder: Path) -> Path:
    """Lay out `folder` as a ComfyUI base directory whose only custom node is this checkout."""
    for name in ("custom_nodes", "models/reward_models", "input", "output", "temp", "user/default"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    link = folder / "custom_nodes" / PACK
    if not link.exists():
        try:
            link.symlink_to(REPO, target_is_directory=True)
        except OSError:  # Windows without the right to make links
            shutil.copytree(REPO, link, ignore=shutil.ignore_patterns(".git", "__pycache__", "tests", "training"))
    return folder
