"""Put a noise optimisation away in one file and take it up again: safetensors, with the plain values as JSON in it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CheckpointCorrupt, OutputError
from .objective import Evaluation

FORMAT = "hps-noise-search"
VERSION = "1"
LARGEST = 4 << 30
"""Bytes; a state holds some images and noises, so a larger file is something else."""


def save_state(path: str | Path, state: Mapping[str, Any]) -> Path:
    """Write the `state` of a NoiseSearch, whole or not at all; raises OutputError when the folder cannot be written."""
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_flat(dict(state), tensors), allow_nan=True)
    metadata = {"format": FORMAT, "version": VERSION, "state": text}
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}-", dir=path.parent)
        os.close(descriptor)
        save_file(tensors, name, metadata=metadata)
        Path(name).replace(path)
    except (OSError, ValueError, SafetensorError) as error:  # a full disk is safetensors' own error, a NUL a ValueError
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise OutputError(f"{path} cannot be written ({reason}). Choose another place.") from error
    finally:
        if name:
            Path(name).unlink(missing_ok=True)
    return path


def load_state(path: str | Path) -> dict[str, Any]:
    """Read a state for `optimize_noise(resume=...)`; raises CheckpointCorrupt when the file is not one."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise CheckpointCorrupt(f"{path} is not a file that can be read.")
        if path.stat().st_size > LARGEST:
            raise CheckpointCorrupt(f"{path} is far too large for the state of a noise optimisation.")
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
            raise CheckpointCorrupt(f"{path} is not the state of a noise optimisation of this version.")
        restored: dict[str, Any] = _deep(json.loads(metadata["state"]), tensors)
    except CheckpointCorrupt:
        raise
    except Exception as error:  # safetensors raises its own unexported type, json several
        raise CheckpointCorrupt(f"{path} cannot be read as the state of a noise optimisation ({error}).") from error
    return restored


def _flat(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the value with every tensor moved to `tensors` and named instead."""
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Evaluation):
        parts = {name: _flat(getattr(value, name), tensors) for name in ("noise", "latent", "image", "scores", "loss")}
        return {"evaluation": parts}
    if isinstance(value, Mapping):
        return {"dict": {str(key): _flat(item, tensors) for key, item in value.items()}}
    if isinstance(value, (list, tuple)):
        return [_flat(item, tensors) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"A {type(value).__name__} cannot be put into a state.")


def _evaluation(parts: dict[str, Any]) -> Evaluation:
    """Return an evaluation whose parts have their types, so that nothing fails when it is shown much later."""
    made = Evaluation(**parts)
    whole = all(isinstance(x, Tensor) and x.is_floating_point() for x in (made.noise, made.latent, made.image))
    if not whole or made.image.ndim != 4 or made.image.shape[:2] != (1, 3) or not made.image.numel():
        raise ValueError("an image or its noise is not a tensor of the right shape")
    numbers = [made.loss, *made.scores.values()] if isinstance(made.scores, dict) else [None]
    if not all(isinstance(number, (int, float)) for number in numbers):
        raise ValueError("a score is not a number")
    return made


def _deep(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_deep(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "evaluation" in value:
        return _evaluation({name: _deep(item, tensors) for name, item in value["evaluation"].items()})
    return {key: _deep(item, tensors) for key, item in value["dict"].items()}
