"""Noise files: an optimised noise beside every picture that is saved, and the way back from a file to a picture."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hpskit.errors import NoiseError
from ..bridge import access

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
    typed = Path(name.strip().strip('"'))
    given = typed if typed.name.endswith(".safetensors") else path_of(typed) if typed.name else typed
    paths = [path for root in roots if (path := _inside(root, given)) is not None]
    found = next((path for path in paths if _is_file(path)), None)
    if found is not None:
        return found
    if not paths:
        raise NoiseError(f'"{str(typed)[:200]}" lies outside {_looked(roots)}; copy it into one of them.')
    raise NoiseError(
        f'{_missing(typed, given, roots)} "{str(typed)[:200]}" in {_looked(roots)}. Choose one from the list, or write '
        f'the path of a noise file (it ends in "{SUFFIX}") or of the saved image that it lies beside, in full or from '
        "an output folder on."
    )


def _missing(typed: Path, given: Path, roots: list[Path]) -> str:
    if typed == given:
        return "There is no noise file"
    pictures = (_inside(root, typed) for root in roots)
    there = any(path is not None and _is_file(path) for path in pictures)
    return "No noise file lies beside" if there else "There is no noise file for"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is longer than any
        return False


def _looked(roots: list[Path]) -> str:
    """Return where noise files are looked for, in words; with the folders only where the person may know them."""
    named = [str(root) for root in roots if not any(other in root.parents for other in roots)]
    told = f" ({', '.join(named)})" if named and not access.why_no_folders() else ""
    return f"the output folders of the web UI{told}"


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
