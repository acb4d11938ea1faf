"""Results as files: CSV and JSON, and copies or moves of pictures that never overwrite anything."""

from __future__ import annotations

import csv
import filecmp
import io
import itertools
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import OutputError
from . import console


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the keys of the first as columns; the file appears whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    publish(path, text.getvalue().encode("utf-8", "surrogateescape"))


def publish(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all; raises OutputError when it cannot be written."""
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=".hps-", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(temporary).chmod(0o666 & ~umask())
        Path(temporary).replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); choose another place.") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                Path(temporary).unlink()


def check_csv(path: str | None) -> None:
    """Raise OutputError when a CSV file could not be written there: better now than after hours of scoring."""
    if path is None:
        return
    try:
        taken = Path(path).is_dir()  # OSError: the name is too long
    except OSError:
        taken = True
    folder = Path(path).resolve().parent
    if taken or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(f"{path} cannot be written; choose a file in a folder that exists and is writable.")


def umask() -> int:
    """Return the permissions that new files of this process lack."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(document: Mapping[str, Any]) -> None:
    """Write a JSON document to standard output, in ASCII; a score that is no number becomes null."""
    console.out(json.dumps(_finite(document), indent=1, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def new_folder(wanted: Path) -> Path:
    """Create and return `wanted`, or the first of wanted-2, wanted-3, ... that does not exist or is empty."""
    for number in itertools.count(1):
        try:
            folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
            folder.mkdir(parents=True, exist_ok=True)
            if not any(folder.iterdir()):
                return folder
        except FileExistsError:
            continue
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{folder} cannot be used ({reason}); choose another with --out.") from error
        except ValueError as error:  # "." and "/" have no name to number
            raise OutputError(f"{wanted} is not empty, and no name to number; choose another with --out.") from error
    raise AssertionError("unreachable")


def place(source: Path, folder: Path, *, move: bool) -> Path:
    """Copy or move a file into a folder and return where it is; a file of that name stays, this one gets a number.

    A file that lies there already with the same content is left as it is. Raises OutputError when it cannot be done;
    the source is then still whole.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.resolve() == source.resolve().parent:
            return source
        for target in _names(source, folder):
            if target.exists() and not move and filecmp.cmp(source, target, shallow=False):
                return target
            if _put(source, target, move=move):
                return target
    except OSError as error:
        raise OutputError(f"{source} cannot be put into {folder} ({error.strerror or error}).") from error
    raise AssertionError("unreachable")


def _names(source: Path, folder: Path) -> Iterator[Path]:
    yield folder / source.name
    for number in itertools.count(2):
        yield folder / f"{source.stem}-{number}{source.suffix}"


def _put(source: Path, target: Path, *, move: bool) -> bool:
    """Create `target` from `source`; False when that name is taken. Exclusive creation: no race can overwrite."""
    if move and _linked(source, target):
        return True
    try:
        stream = target.open("xb")
    except FileExistsError:
        return False
    try:
        with stream, source.open("rb") as data:
            shutil.copyfileobj(data, stream, 1 << 20)
        shutil.copystat(source, target)
    except BaseException:
        with suppress(OSError):
            target.unlink()
        raise
    if move:
        source.unlink()
    return True


def _linked(source: Path, target: Path) -> bool:
    """Move within one file system by a second name for the same bytes: instant, and never half done."""
    if source.is_symlink():
        return False
    try:
        os.link(source, target)
    except OSError:  # taken, another file system, or one without hard links: the copy decides
        return False
    try:
        source.unlink()
    except OSError:
        target.unlink()
        raise
    return True
