"""Files of a report in the host's output folder: one number for all of them, nothing overwritten, nothing outside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import folder_paths

from ..hpskit.errors import OutputError
from .save import write_new


def write_all(prefix: str, files: Mapping[str, bytes]) -> list[Path]:
    """Write files by suffix (".html") under the same new number and return their paths.

    Each appears whole or not at all. OutputError where the host refuses the place or it cannot be written.
    """
    output = folder_paths.get_output_directory()
    try:
        place, name, counter, _, _ = folder_paths.get_save_image_path(prefix, output)
        folder = Path(place)
        number = _free(folder, name, counter, files)
        return [write_new(folder, name, number, suffix, data) for suffix, data in files.items()]
    except OSError as error:
        raise OutputError(_text(prefix, output, error.strerror or str(error))) from error
    except Exception as error:  # the host raises plain exceptions for places outside its folder
        lead = str(error).strip("* \n").splitlines()
        raise OutputError(_text(prefix, output, lead[0] if lead else type(error).__name__)) from error


def _free(folder: Path, name: str, counter: int, files: Mapping[str, bytes]) -> int:
    while any((folder / f"{name}_{counter:05}_{suffix}").exists() for suffix in files):
        counter += 1
    return counter


def _text(prefix: str, output: str, reason: str) -> str:
    return (
        f'Cannot write the report "{prefix}" below {output}: {reason.removeprefix("ERROR: ")}. Choose another '
        "filename_prefix, make the folder writable, or free some space."
    )
