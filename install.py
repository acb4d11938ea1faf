"""Installs what the pack needs into a host's Python and touches nothing that is there.

ComfyUI-Manager, Automatic1111 and Forge run this file, the last two at every start; a person may too:
`python install.py`. It needs only the standard library, says nothing when nothing is missing, and imports what costs
time only when something is to be installed. Importing it does nothing.

The pack's one requirement is open_clip_torch. Asking pip for it the usual way may replace the host's torch or numpy by
other builds, so it is installed without its dependencies, together with those light ones that are missing. Torch,
torchvision, numpy and pillow belong to the host and are never installed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence

MAIN = "open_clip_torch>=2.20,<4"
LIGHT = ("ftfy", "wcwidth", "regex", "timm", "huggingface_hub", "safetensors", "tqdm")
"""What open_clip imports besides torch; each is small and depends on nothing heavy that a host lacks."""
COMPLETE = {"huggingface_hub": "huggingface_hub<1"}
"""Versions that need no further package: from 1 on the hub's client imports an HTTP library that hosts lack."""
HEAVY = ("torch", "torchvision", "numpy", "PIL")
"""What must come with the host, as import names."""

Run = Callable[[Sequence[str]], int]


def is_present(module: str) -> bool:
    """Tell whether a top-level module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        # A module that somebody put into sys.modules by hand has no spec, but it is there.
        return module in sys.modules


def missing(present: Callable[[str], bool] = is_present) -> list[str]:
    """Return the requirements to install, main one first; an installed open_clip is left as it is, whatever its age."""
    wanted = [] if present("open_clip") else [MAIN]
    return wanted + [COMPLETE.get(name, name) for name in LIGHT if not present(name)]


def call(command: Sequence[str]) -> int:
    """Run a command and return its exit status."""
    import subprocess

    return subprocess.call(command)


def find_program(name: str) -> str | None:
    """Return the path of a program, None when there is none of that name."""
    import shutil

    return shutil.which(name)


def installer(
    present: Callable[[str], bool] = is_present, which: Callable[[str], str | None] = find_program
) -> list[str]:
    """Return the command that installs into this Python: its own pip, else uv; empty when there is neither."""
    if present("pip"):
        return [sys.executable, "-m", "pip", "install", "--no-deps", "--prefer-binary", "--disable-pip-version-check"]
    uv = [sys.executable, "-m", "uv"] if present("uv") else [path for path in [which("uv")] if path]
    return [*uv, "pip", "install", "--no-deps", "--python", sys.executable] if uv else []


def main(
    run: Run = call,
    present: Callable[[str], bool] = is_present,
    which: Callable[[str], str | None] = find_program,
    say: Callable[[str], object] = sys.stdout.write,
) -> int:
    """Install what is missing and return 0 when all is there, else 1 after saying what to do."""
    absent = [name for name in HEAVY if not present(name)]
    if absent:
        say(f"HPS: {', '.join(absent)} not found in {sys.executable}. Run this with the Python of your host.\n")
        return 1
    wanted = missing(present)
    note = "" if MAIN in wanted else _age_note(installed_version())
    if note:
        say(note)
    if not wanted:
        return 0
    command = installer(present, which)
    if not command:
        say(f"HPS: neither pip nor uv found. Install by hand, without dependencies: {' '.join(wanted)}\n")
        return 1
    say(f"HPS: installing {', '.join(wanted)}; no other package is changed.\n")
    code = run([*command, *wanted])
    importlib.invalidate_caches()
    still = missing(present)
    if code or still:
        say(
            f"HPS: not installed: {', '.join(still or wanted)}. The reason stands above; without a network, start the "
            "host again when there is one. Until then the host works as ever, and scorers may not load. "
            f"By hand: {_shell([*command, *(still or wanted)])}\n"
        )
        return 1
    return 0


def installed_version() -> str:
    """Return the version of the installed open_clip_torch, "" when unknown.

    It is read off the name of the package's folder: importlib.metadata takes longer than all the rest of this file.
    """
    try:
        spec = importlib.util.find_spec("open_clip")
        folder = os.path.dirname(os.path.dirname((spec and spec.origin) or ""))  # noqa: PTH120 pathlib is slow to import
        names = [name[: -len(".dist-info")] for name in os.listdir(folder) if name.endswith(".dist-info")]  # noqa: PTH208
    except (ImportError, ValueError, OSError):
        return ""
    found = [name.split("-") for name in names if name.lower().replace("-", "_").startswith("open_clip_torch_")]
    return found[0][-1] if found else ""


def _age_note(version: str) -> str:
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return ""
    if (2, 20) <= (major, minor) < (4, 0):
        return ""
    return f"HPS: open_clip_torch {version} is installed and left as it is; the pack is tested with {MAIN[15:]}.\n"


def _shell(command: Sequence[str]) -> str:
    return " ".join(f'"{part}"' if any(c in part for c in ' <>,"') else part for part in command)


if __name__ == "__main__":
    raise SystemExit(main())
