"""What pages may do on this server: whose it is, which folders it may touch, and where its own files go."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

from ...hpskit.errors import HpsError, OutputError

_NAME = re.compile(r"[\w][\w .()+-]{0,60}")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


class NotAllowed(HpsError):
    """Something that this server's owner does not want done from a browser."""


def options() -> Any:
    """Return the host's command line."""
    from modules import shared

    return shared.cmd_opts


def why_shared() -> str:
    """Return why several people may be using this server, in one sentence; "" for the server of one person.

    A public address (--share, --ngrok) and several accounts mean several people. --listen alone does not: it is how one
    person reaches the server from another room, or through a container, and the host shows its last prompt there, too.
    """
    chosen = options()
    if getattr(chosen, "share", False) or getattr(chosen, "ngrok", None):
        return "The server has a public address (--share or --ngrok)."
    if len(_accounts(chosen)) > 1 or len(_names(getattr(chosen, "api_auth", None))) > 1:
        return "The server has several accounts."
    return ""


def insist_private() -> None:
    """Raise NotAllowed on a server of several people."""
    why = why_shared()
    if why:
        raise NotAllowed(f"{why} Rows, files and folders of one person must not reach another, so this is off.")


def why_no_folders() -> str:
    """Return why folders of the server are out of reach, as the host has it for its own; "" when they are not."""
    if getattr(options(), "hide_ui_dir_config", False):
        return "Folders of the server are out of reach here (--hide-ui-dir-config)."
    return why_shared()


def _accounts(chosen: Any) -> set[str]:
    names = _names(getattr(chosen, "gradio_auth", None))
    path = getattr(chosen, "gradio_auth_path", None)
    if path:
        try:
            names |= {name for line in Path(path).read_text("utf-8").splitlines() for name in _names(line)}
        except (OSError, UnicodeDecodeError):  # the host could not read it either, and has said so
            return names
    return names


def _names(text: Any) -> set[str]:
    """Return the names in "u1:p1,u2:p2"."""
    parts = text.split(",") if isinstance(text, str) else []
    return {part.strip().split(":", 1)[0] for part in parts if part.strip()}


def folder_of(text: str) -> Path:
    """Return a folder of the server that a person named; raises NotAllowed, or OutputError when there is none."""
    why = why_no_folders()
    if why:
        raise NotAllowed(f"{why} Upload the files instead.")
    name = text.strip().strip('"')
    if not name or "\0" in name:
        raise OutputError("Name a folder, or upload files.")
    path = Path(name).expanduser()
    if not os.path.isdir(path):  # noqa: PTH112 pathlib raises on names that are too long
        raise OutputError(f"{path} is no folder of the machine that the server runs on.")
    return path.absolute()


def subfolder(text: str) -> str:
    """Return the name of a subfolder; OutputError unless it is one bare name that every system takes."""
    name = text.strip()
    if not _NAME.fullmatch(name) or name.endswith((".", " ")) or _RESERVED.fullmatch(name):
        raise OutputError(f'"{name}" is no name for a subfolder; use letters, digits, spaces and "-", such as "best".')
    return name


def outputs() -> Path:
    """Return the folder of the tab's reports, made when it is missing: hps below the host's outputs."""
    from modules import paths_internal

    path = Path(paths_internal.default_output_dir).absolute() / "hps"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be made ({error.strerror or error}).") from error
    return path


def new_file(stem: str, suffix: str) -> Path:
    """Return a path in `outputs` with the time in its name, where nothing lies yet."""
    folder, now = outputs(), time.strftime("%Y%m%d-%H%M%S")
    path, number = folder / f"{stem}-{now}{suffix}", 2
    while path.exists():
        path, number = folder / f"{stem}-{now}-{number}{suffix}", number + 1
    return path


def told(path: Path) -> str:
    """Return a path as a page may show it: only its name where the host hides its folders."""
    return path.name if getattr(options(), "hide_ui_dir_config", False) else str(path)
