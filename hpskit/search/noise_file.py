"""Noise files: a starting noise with its origin, because a seed alone cannot make an optimised noise again.

A safetensors file with one tensor, "noise" [1, C, h, w] or [1, C, frames, h, w] in float32, and in its header under
"hps_noise" a JSON object: the fields of `NoiseRecord` and the version of this format.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import DependencyError, NoiseError

TENSOR, RECORD, VERSION = "noise", "hps_noise", 1
LARGEST = 256 << 20
"""Bytes of the largest file that is opened; the noise of a 4096 x 4096 image takes 17 MB."""
LARGEST_HEADER = 32 << 20
_TYPES = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class NoiseRecord:
    """Where a noise comes from; empty fields are unknown."""

    seed: int = 0
    """Seed of the sampler, which fixes what a stochastic sampler draws on its way."""
    method: str = ""
    iterations: int = 0
    prompt: str = ""
    scorer: str = ""
    """Id of the scorer that was optimised."""
    scorer_version: str = ""
    start: Mapping[str, float] = field(default_factory=dict)
    """Scores of the image before, by scorer id."""
    best: Mapping[str, float] = field(default_factory=dict)
    """Scores of this noise's image."""
    degrees: float = 0.0
    """Angle between this noise and the one it was made from."""
    model: str = ""
    vae: str = ""
    made_by: str = ""
    """Name and version of the software."""


@dataclass(frozen=True)
class StoredNoise:
    """Content of a noise file."""

    noise: Tensor
    """float32 on the CPU, [1, C, h, w] or [1, C, frames, h, w]"""
    record: NoiseRecord
    texts: Mapping[str, str] = field(default_factory=dict)
    """Other texts of the header, such as a host's workflow."""


def encode(noise: Tensor, record: NoiseRecord, texts: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a noise file; raises NoiseError on a noise that could not be read again."""
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise DependencyError("Noise files need the package safetensors: run `pip install safetensors`.") from error
    _check(noise.shape, bool(torch.isfinite(noise).all()), "The noise")
    with torch.inference_mode(False):
        plain = noise.detach().to("cpu", torch.float32, copy=True).contiguous()
    header = {key: value for key, value in (texts or {}).items() if key != RECORD}
    return save({TENSOR: plain}, {**header, RECORD: _to_json(record)})


def read(path: str | Path) -> StoredNoise:
    """Return what a noise file holds; raises NoiseError, naming the file, on anything that is not one."""
    file = Path(path)
    _check_header(file)
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise DependencyError(f"{file.name} needs the package safetensors: run `pip install safetensors`.") from error
    try:
        with safe_open(str(file), framework="pt", device="cpu") as opened:
            texts = dict(opened.metadata() or {})
            record = _from_json(file, texts.pop(RECORD, None))
            _check_tensor(file, opened)
            with torch.inference_mode(False):
                noise = opened.get_tensor(TENSOR).to(torch.float32, copy=True)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, NoiseError):
            raise
        raise NoiseError(f"{file} is truncated or damaged ({str(error).partition(chr(10))[0]}). {_AGAIN}") from error
    _check(noise.shape, bool(torch.isfinite(noise).all()), str(file))
    return StoredNoise(noise, record, texts)


_AGAIN = "Save the noise again, or choose another file."


def _check_header(file: Path) -> None:
    """Look at size and first bytes, so that nothing large or foreign is opened."""
    try:
        if not file.is_file():  # opening a pipe would wait for ever
            raise NoiseError(f"{file} is not a file that can be read. {_AGAIN}")
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(9)
    except (OSError, ValueError) as error:
        if isinstance(error, NoiseError):
            raise
        raise NoiseError(f"{file} cannot be read ({error}). Check the disk and the permissions.") from error
    if size > LARGEST:
        raise NoiseError(f"{file} has {size >> 20} MiB; a noise file has at most {LARGEST >> 20}. {_AGAIN}")
    if len(head) < 9 or head[8:9] != b"{":
        raise NoiseError(f"{file} is empty or no safetensors file. {_AGAIN}")
    length: int = struct.unpack("<Q", head[:8])[0]
    if length > min(size - 8, LARGEST_HEADER):
        raise NoiseError(f"{file} is truncated or damaged: its header would be longer than the file. {_AGAIN}")


def _check_tensor(file: Path, opened: Any) -> None:
    if TENSOR not in opened.keys():  # noqa: SIM118 - not a dict
        raise NoiseError(f'{file} holds no tensor named "{TENSOR}". {_AGAIN}')
    part = opened.get_slice(TENSOR)
    if part.get_dtype() not in _TYPES:
        raise NoiseError(f"{file} holds numbers of the type {part.get_dtype()}; a noise has {', '.join(_TYPES)}.")
    _check(part.get_shape(), True, str(file))


def _check(shape: Any, finite: bool, name: str) -> None:
    sizes = list(shape)
    if len(sizes) not in (4, 5) or sizes[0] != 1 or 0 in sizes:
        raise NoiseError(f"{name} has the shape {sizes}; expected [1, channels, height, width], one noise.")
    if not finite:
        raise NoiseError(f"{name} holds numbers that are not finite.")


# --- record ----------------------------------------------------------------------------------------------------------


def _to_json(record: NoiseRecord) -> str:
    plain = {**asdict(record), "seed": str(record.seed), "version": VERSION}  # seeds reach 2^64: text is safe anywhere
    for name in ("start", "best"):
        plain[name] = {key: value for key, value in plain[name].items() if math.isfinite(value)}
    return json.dumps(plain)


def _from_json(file: Path, text: str | None) -> NoiseRecord:
    try:
        given = json.loads(text) if text else None
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise NoiseError(f"{file} is not a noise file: its header has no record of a noise. {_AGAIN}")
    if given.get("version") != VERSION:
        raise NoiseError(f"{file} has version {str(given.get('version'))[:20]} of the noise format; this is {VERSION}.")
    return NoiseRecord(**{entry.name: _value(given.get(entry.name), entry.name) for entry in fields(NoiseRecord)})


def _value(given: Any, name: str) -> Any:
    """Return a field of the record, or its empty value where a file says nonsense."""
    default = getattr(_EMPTY, name)
    if isinstance(default, str):
        return given if isinstance(given, str) else default
    if isinstance(default, Mapping):
        rows = given.items() if isinstance(given, dict) else ()
        return {str(key): float(value) for key, value in rows if _is_number(value)}
    if name == "seed":
        return _seed(given)
    return type(default)(given) if _is_number(given) else default


_EMPTY = NoiseRecord()


def _is_number(value: Any) -> bool:
    # Comparing first: an integer of a thousand digits does not become a float.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def _seed(given: Any) -> int:
    text = str(given)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 1 << 64 else 0
