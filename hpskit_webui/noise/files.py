"""Noise files: an optimised noise beside every picture that is saved, and the way back from a file to a picture."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hpskit.errors import NoiseError

if TYPE_CHECKING:
    from ...hpskit.search.noise_file import StoredNoise

log = logging.getLogger("hps")

TAG = "hps_noise"
"""Key in a picture's `info`: the SHA-256 of its noise file."""
SUFFIX = ".hps-noise.safetensors"
_MOST = 64
"""Files that are held for pictures which are still to be saved, such as by the button below the gallery."""
_FOLDERS = (
    "outdir_samples", "outdir_txt2img_samples", "outdir_img2img_samples", "outdir_extras_samples",
    "outdir_grids", "outdir_txt2img_grids", "outdir_img2img_grids", "outdir_save",
)  # fmt: skip
_waiting: OrderedDict[str, bytes] = OrderedDict()


def register() -> None:
    """Write noise files when the host saves pictures; registering again changes nothing."""
    from modules import script_callbacks

    script_callbacks.remove_callbacks_for_function(_saved)
    script_callbacks.on_image_saved(_saved)


def keep(data: bytes) -> str:
    """Hold the bytes of a noise file until its picture is saved, and return their SHA-256, the value of TAG."""
    name = hashlib.sha256(data).hexdigest()
    _waiting[name] = data
    _waiting.move_to_end(name)
    while len(_waiting) > _MOST:
        _waiting.popitem(last=False)
    return name


def path_of(picture: str | Path) -> Path:
    """Return where the noise of a saved picture lies."""
    return Path(picture).with_suffix(SUFFIX)


def _saved(params: Any) -> None:
    """Write the noise of a picture that the host has just written."""
    try:
        data = _waiting.get(getattr(params.image, "info", {}).get(TAG, ""))
        if data is not None:
            _write(path_of(Path(params.filename).absolute()), data)
    except OSError as error:
        log.warning("The noise of %s could not be saved: %s", params.filename, error)
    except Exception:
        log.exception("The noise of a picture could not be saved.")


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


# --- the way back -----------------------------------------------------------------------------------------------------


def read(name: str) -> StoredNoise:
    """Return the noise of a file, or of the picture that it lies beside; `name` may begin at an output folder.

    Raises NoiseError on files outside the host's output folders, on missing ones and on those that are no noise files.
    """
    from ...hpskit.search import noise_file

    return noise_file.read(locate(name))


def content(name: str) -> bytes:
    """Return the bytes of a noise file that `read` takes; raises NoiseError."""
    try:
        return locate(name).read_bytes()
    except OSError as error:
        raise NoiseError(f'The noise file "{name[:200]}" cannot be read: {error.strerror or error}.') from None


def locate(name: str) -> Path:
    """Return the path of a noise file inside the host's output folders; raises NoiseError."""
    roots = folders()
    given = Path(name.strip().strip('"'))
    given = given if given.name.endswith(".safetensors") else path_of(given)
    paths = [path for root in roots if (path := _inside(root, given)) is not None]
    for path in paths:
        with suppress(OSError):  # a name that is longer than any
            if path.is_file():
                return path
    if not paths:
        raise NoiseError(
            f'"{given.name[:200]}" lies outside the output folders of the web UI; copy it into one of them.'
        )
    raise NoiseError(
        f'There is no noise file "{given.name[:200]}" in the output folders. It is written beside an image, under the '
        f'image\'s name with "{SUFFIX}", when its noise was optimised.'
    )


def _inside(root: Path, given: Path) -> Path | None:
    """Return the real path below a folder, or None; a link that leads out of it counts as outside."""
    try:
        path = (root / given).resolve()
        return path if path.is_relative_to(root) else None
    except (OSError, ValueError, RuntimeError):
        return None


def folders() -> list[Path]:
    """Return the host's output folders that exist; it writes relative ones below the folder that it was started in."""
    from modules import paths, shared

    named = [str(getattr(shared.opts, name, "") or "") for name in _FOLDERS]
    found = dict.fromkeys([Path(paths.data_path, "outputs"), *(Path(name).absolute() for name in named if name)])
    return [path.resolve() for path in found if path.is_dir()]
