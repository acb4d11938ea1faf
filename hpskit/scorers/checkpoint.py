"""Read a checkpoint file safely: PyTorch zip or legacy pickle (tensors only, never code) and safetensors.

Whatever is wrong with the file becomes one of the library's errors, which names the file and says what to do.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import stat
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointCorrupt, CheckpointMissing, CheckpointUnknown, CheckpointUnsafe, DependencyError

_CONTAINERS = ("state_dict", "model_state_dict", "model", "module", "params")
"""Keys under which training code nests the weights."""

_AGAIN = "If it is a broken download, download it again."
_SAFER = "Use a safetensors file, or weights from a source that you trust."

_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The number with which torch.save begins a file of the old format."""

_PLAIN_PICKLE = 512 << 10
"""Largest file that is one pickle and not written by torch.save; none holds weights, torch only says what is wrong."""

_LEGACY_STEPS = 500_000
"""Most operations of an old-format file's pickles; a thousand weights take 30 thousand."""

_ZIPPED_PICKLE = 4 << 20
"""Largest pickle inside an archive; a thousand weights take 200 kB, with the state of an optimizer 1 MB."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of one file by name, and the text metadata of a safetensors header."""

    path: Path
    state: dict[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint on the CPU, memory-mapped where the format allows it, without running anything in it.

    Raises CheckpointMissing, CheckpointCorrupt (truncated, damaged, a web page or a Git LFS pointer), CheckpointUnsafe
    (a pickle that wants to run code) or CheckpointUnknown (a TorchScript archive, or no tensors).
    """
    file = Path(path)
    head, size = _head(file)
    if head[:1] == b"\x80" or head[:2] == b"PK":
        _check_pickle_size(file, head, size)
        return Checkpoint(file, _tensors(file, _torch_load(file)))
    if _looks_like_safetensors(head, size):
        return _read_safetensors(file)
    if head[257:262] == b"ustar":
        raise CheckpointUnsafe(
            f"{file} is a tar archive of very old PyTorch, whose pickles can run code. It was not opened. {_SAFER}"
        )
    if size <= _PLAIN_PICKLE and _is_pickle_with_code(file):
        raise CheckpointUnsafe(f"{file} is an old pickle: opening it would run code. It was not opened. {_SAFER}")
    raise CheckpointCorrupt(f"{file} is not a checkpoint: {_what_it_is(head, size)} {_AGAIN}")


def _check_pickle_size(file: Path, head: bytes, size: int) -> None:
    """Refuse pickles that are large for what they should hold: the loader's time and memory grow with their length."""
    if head[:2] == b"PK":
        length, limit = _zipped_pickle(file), _ZIPPED_PICKLE
    elif _LEGACY_MAGIC in head[:64]:
        _check_legacy_pickles(file)
        return
    else:
        length, limit = size, _PLAIN_PICKLE
    if length > limit:
        raise CheckpointCorrupt(
            f"{file} has a pickle of {length} bytes, where the names of weights need a few thousand. {_AGAIN}"
        )


def _check_legacy_pickles(file: Path) -> None:
    """Refuse an old-format file whose four leading pickles (magic, protocol, system, names) take too many steps."""
    try:
        with file.open("rb") as stream:
            steps = chain.from_iterable(pickletools.genops(stream) for _ in range(4))
            long = next(islice(steps, _LEGACY_STEPS, None), None) is not None
    except Exception:  # damaged; the loader says how
        return
    if long:
        raise CheckpointCorrupt(
            f"{file} has a pickle of more than {_LEGACY_STEPS} steps, where weights need a few thousand. {_AGAIN}"
        )


def _zipped_pickle(file: Path) -> int:
    """Return the unpacked size of the largest pickle in an archive; 0 when it is damaged, which the loader reports."""
    try:
        with zipfile.ZipFile(file) as archive:
            return max((entry.file_size for entry in archive.infolist() if entry.filename.endswith(".pkl")), default=0)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error):
        return 0


def _is_pickle_with_code(file: Path) -> bool:
    """Tell whether a file is a whole pickle of the text protocol that names something to import; nothing is run."""
    named = False
    try:
        for opcode, argument, _ in pickletools.genops(file.read_bytes()):
            if opcode.name in ("GLOBAL", "INST"):
                named = named or re.fullmatch(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*", str(argument)) is not None
    except Exception:  # whatever it stumbles over, the file is no pickle
        return False
    return named


def _head(file: Path) -> tuple[bytes, int]:
    try:
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise CheckpointCorrupt(f"{file} cannot be read: it is {kind}. Give the path of a file with weights.")
        with file.open("rb") as stream:
            return stream.read(512), file.stat().st_size
    except FileNotFoundError as error:
        raise CheckpointMissing(f"{file}: no such file.") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise CheckpointCorrupt(f"{file} cannot be read ({error}). Check the disk and the permissions.") from error


def _looks_like_safetensors(head: bytes, size: int) -> bool:
    if len(head) < 10 or head[8:9] != b"{":
        return False
    length: int = struct.unpack("<Q", head[:8])[0]
    return length < max(size, 1 << 27)  # a header longer than a truncated file is still worth the better message


def _what_it_is(head: bytes, size: int) -> str:
    text = head.lstrip().lower()
    if size == 0:
        return "it is empty."
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page that was saved under this name."
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; the weights themselves were not fetched (`git lfs pull`)."
    if text.startswith((b"{", b"[")):
        return "it is a JSON text."
    return "the first bytes belong to no known format."


def _torch_load(file: Path) -> Any:
    try:
        return _load_mapped(file)
    except pickle.UnpicklingError as error:
        raise _pickle_error(file, error) from error
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        IndexError,
        NotImplementedError,
        AssertionError,
        RecursionError,
        MemoryError,
        UnicodeError,
        zipfile.BadZipFile,
    ) as error:
        if "torchscript" in str(error).lower():
            raise CheckpointUnknown(
                f"{file} is a TorchScript archive, which carries code and is not opened. Use the plain weights "
                "(state dict or safetensors) of the same model."
            ) from error
        raise CheckpointCorrupt(f"{file} is truncated or damaged ({_first_line(error)}). {_AGAIN}") from error


def _load_mapped(file: Path) -> Any:
    # Only the zip format maps; a legacy pickle says so with a RuntimeError and is read the plain way.
    with file.open("rb") as stream:
        mapped = stream.read(2) == b"PK"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols and archives that are refused with a better message
        if file.suffix == ".safetensors":  # newer torch goes by the name; a pickle under it is read as what it is
            with file.open("rb") as stream:
                return torch.load(stream, map_location="cpu", weights_only=True)
        return torch.load(str(file), map_location="cpu", weights_only=True, mmap=mapped)  # torch 2.1 maps no Path


def _pickle_error(file: Path, error: pickle.UnpicklingError) -> CheckpointCorrupt | CheckpointUnsafe:
    text = str(error).lower()
    if any(sign in text for sign in ("truncated", "ran out of input", "invalid load key", "unexpected eof")):
        return CheckpointCorrupt(f"{file} is truncated or damaged ({_first_line(error)}). {_AGAIN}")
    return CheckpointUnsafe(
        f"{file} holds more than weights: opening it would run code ({_reason(error)}). It was not opened. {_SAFER}"
    )


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    told = next((line for line in lines if "GLOBAL" in line or "Unsupported" in line or "WeightsUnpickler" in line), "")
    return (told or lines[0] if lines else type(error).__name__).strip()[:200]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _tensors(file: Path, loaded: Any) -> dict[str, Tensor]:
    """Find the weights inside what a training script saved; optimizer state and counters stay unread on the disk."""
    for key in _CONTAINERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping):
        raise CheckpointUnknown(f"{file} holds a {type(loaded).__name__}, not a table of weights.")
    state = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
    if not state:
        raise CheckpointUnknown(f"{file} holds no weights.")
    return state


def _read_safetensors(file: Path) -> Checkpoint:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise DependencyError(f"{file.name} needs the package safetensors: run `pip install safetensors`.") from error
    try:
        with safe_open(str(file), framework="pt", device="cpu") as opened:
            state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - not a dict
            metadata = dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointCorrupt(f"{file} is truncated or damaged ({_first_line(error)}). {_AGAIN}") from error
    if not state:
        raise CheckpointUnknown(f"{file} holds no weights.")
    return Checkpoint(file, state, metadata)
