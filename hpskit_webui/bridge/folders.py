"""Where reward models and the pack's own files lie in the host's folders."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from ...hpskit.errors import CheckpointMissing
from .. import settings

FOLDER = "reward_models"
EXTENSIONS = frozenset({".safetensors", ".pt", ".pth", ".bin", ".ckpt"})
STATE = ".hps"
"""Hidden: A1111 serves every other file below its folder to whoever opens /file=."""
DEEPEST, MOST = 3, 2000
"""Levels of subfolders that are looked through, and files that are listed."""


def models_folder() -> Path:
    """Return models/reward_models of the host; it need not exist yet."""
    from modules import paths

    return Path(paths.models_path) / FOLDER


def reward_folders() -> list[Path]:
    """Return every folder that may hold reward models: the host's own one, and that of the settings."""
    further = str(settings.get("hps_models_folder")).strip().strip('"')
    return list(dict.fromkeys([models_folder(), *([Path(further).expanduser()] if further else [])]))


def reward_files() -> list[str]:
    """Return the files in these folders, relative to their folder and with forward slashes, sorted, each name once."""
    found: set[str] = set()
    for folder in reward_folders():
        found.update(_files(folder))
    return sorted(found, key=str.lower)[:MOST]


def _files(folder: Path) -> list[str]:
    found: list[str] = []
    for here, below, names in os.walk(folder):  # a folder that cannot be read counts as empty
        depth = len(Path(here).relative_to(folder).parts)
        below[:] = sorted(name for name in below if not name.startswith(".")) if depth < DEEPEST else []
        found += [
            (Path(here) / name).relative_to(folder).as_posix()
            for name in sorted(names)
            if Path(name).suffix.lower() in EXTENSIONS and not name.startswith(".")
        ]
        if len(found) > MOST:
            break
    return found


def reward_file(name: str) -> Path:
    """Return the path of a file below these folders; raises CheckpointMissing, also for a name that leads out of them.

    Names come from programs and from the text of pictures, so that no other file of the machine may be meant.
    """
    where = reward_folders()
    if is_below(name):
        found = next((folder / name for folder in where if (folder / name).is_file()), None)
        if found is not None:
            return found
    listed = " or ".join(str(folder) for folder in where)
    raise CheckpointMissing(f'There is no reward model "{name}". Put it into {listed}, or choose another scorer.')


def is_below(name: str) -> bool:
    """Tell whether a name is a plain relative path to a checkpoint: no drive, no parent, no hidden part."""
    parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
    return (
        bool(name)
        and "\0" not in name
        and PurePosixPath(name).suffix.lower() in EXTENSIONS
        and not PureWindowsPath(name).drive
        and not any(part.startswith(".") or part in ("/", "\\") for part in parts)
    )


def state_folder() -> Path:
    """Return where the ledger and such lie: a hidden folder of the host's data, which `guard.shut` closes to browsers.

    It is not made here.
    """
    from modules import paths

    return Path(paths.data_path).absolute() / STATE


def own_folders() -> list[str]:
    """Return the folders whose place on the machine is nobody's business, the deepest first."""
    from modules import paths

    found = [*map(str, reward_folders()), paths.models_path, paths.data_path, paths.script_path, str(Path.home())]
    return sorted(
        {str(name) for name in found if Path(name).is_absolute() and len(Path(name).parts) > 1}, key=len, reverse=True
    )
