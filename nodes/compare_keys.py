"""Under which key a cell of a comparison is found again: a hash of everything that makes the image and its score."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import folder_paths
import torch

from ..hpskit.study.design import Recipe
from ..hpskit.types import Scorer
from .compare_models import CHECKPOINTS, LORAS, Wired
from .recall import signature
from .recording import Origin

KEY_VERSION = 1
"""Goes up whenever this pack makes another image, or another score, of the same inputs."""
_LONGEST = 500
"""Characters of a text that may name a file."""


def scorer_mark(scorer: Scorer) -> str:
    """Return a hash of what scores compare by: of the scorer, and of the members of an ensemble."""
    infos = [scorer.info, *(member.info for member in getattr(scorer, "members", {}).values())]
    return _hash([[one.id, one.version, one.preprocess, one.dtype, one.checkpoint] for one in infos])


class Keys:
    """Gives the cells of one run their keys."""

    def __init__(self, origin: Origin, wired: Wired, scorer: Scorer, **options: Any) -> None:
        """Read the graph above the node; `options` are what is the same for all cells."""
        source, self._graph, self._origin = wired.source, origin.graph, origin
        self.restless: list[str] = []
        """Classes of the nodes above that the host runs anew every time: what they give cannot be found again."""
        common = {"clip": self._wire("clip", type(source.clip).__name__), "vae": self._wire("vae", _kind(source.vae))}
        for name, value in (("positive", wired.positive), ("negative", wired.negative)):
            common[name] = None if value is None else self._wire(name, content(value))
        common["latent"] = self._wire("latent_image", content(_first(wired.latent)))
        rest = {"v": KEY_VERSION, "host": _host_version(), "scorer": scorer_mark(scorer), **options}
        self._own = _hash([rest, common])
        self._wired = _hash([rest, common, self._wire("model", _model_mark(source.model))])
        self._files: dict[tuple[str, str], Any] = {}

    def cell(self, recipe: Recipe, prompt: str, scored: str, seed: int) -> str:
        """Return the key of a cell, 64 hex digits."""
        base = [self._own, self._file(CHECKPOINTS, recipe.checkpoint)] if recipe.checkpoint else [self._wired]
        loras = [[strength, self._file(LORAS, name)] for name, strength in recipe.loras if strength]
        made = [recipe.sampler, recipe.scheduler, recipe.steps, recipe.cfg, recipe.shift, loras]
        return _hash([*base, made, recipe.text(prompt), scored, seed])

    def _file(self, folder: str, name: str) -> Any:
        if (folder, name) not in self._files:
            path = folder_paths.get_full_path(folder, name)
            self._files[folder, name] = [name, *(_identity(path) if path else ())]
        return self._files[folder, name]

    def _wire(self, name: str, seen: str) -> Any:
        """Return what stands for an input: the graph above it, the files named there, and what `seen` says of it."""
        link = self._graph.get(self._origin.node, {}).get("inputs", {}).get(name)
        if not isinstance(link, (list, tuple)):
            return seen
        above = list(upstream(self._graph, str(link[0])))
        changes = [node.get("is_changed") for node in above if "is_changed" in node]
        self.restless += [str(node.get("class_type")) for node in above if _is_nan(node.get("is_changed"))]
        files = sorted({found for node in above for found in named_files(node)})
        return [signature(self._graph, str(link[0])), link[1], changes, files, seen]


def upstream(graph: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """Yield a node and all that lies above it, in an order that the graph alone decides."""
    waiting, seen = [name], {name}
    while waiting:
        node = graph.get(waiting.pop(), {})
        yield node
        for value in node.get("inputs", {}).values():
            if isinstance(value, (list, tuple)) and len(value) == 2 and str(value[0]) not in seen:
                seen.add(str(value[0]))
                waiting.append(str(value[0]))


def named_files(node: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Yield path, size and time of every file of the host's folders that a node's inputs name."""
    for value in node.get("inputs", {}).values():
        if isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable():
            yield from (_identity(path) for path in _places(value))


def _places(name: str) -> Iterator[str]:
    folders = [folder for folder in folder_paths.folder_names_and_paths if folder != "custom_nodes"]
    found = [folder_paths.get_full_path(folder, name) for folder in folders]
    with suppress(Exception):  # a name that the host takes for an annotated one, but cannot read
        found.append(folder_paths.get_annotated_filepath(name))
    whole = [str(path) for path in [*found, name] if path and Path(path).is_absolute()]
    yield from dict.fromkeys(path for path in whole if Path(path).is_file())


def _identity(path: str) -> tuple[str, int, int]:
    stat = Path(path).stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def _first(latent: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is used of a latent: its first item."""
    cut = {name: latent[name][:1] for name in ("samples", "noise_mask", "batch_index") if latent.get(name) is not None}
    return {**latent, **cut}


def _is_nan(value: Any) -> bool:
    values = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(one, float) and math.isnan(one) for one in values)


def content(value: Any) -> str:
    """Return a hash of nested lists and dictionaries with all numbers in them; of other objects only the type."""
    digest = hashlib.sha256()
    for part in _parts(value):
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        yield f"{tuple(value.shape)} {value.dtype}".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield str(key).encode("utf-8", "replace")
            yield from _parts(value[key])
    elif isinstance(value, (list, tuple)):
        yield f"[{len(value)}".encode()
        for item in value:
            yield from _parts(item)
    elif value is None or isinstance(value, (str, int, float)):
        yield repr(value).encode("utf-8", "replace")
    else:
        yield type(value).__name__.encode()


def _model_mark(model: Any) -> list[Any]:
    """Return what can be told of a model without reading its weights: enough to tell the items of a list apart."""
    strengths = [round(entry[0], 6) for entries in getattr(model, "patches", {}).values() for entry in entries[:1]]
    size = getattr(model, "model_size", int)()
    return [
        _kind(model),
        size,
        len(strengths),
        round(math.fsum(strengths), 6),
        sorted(getattr(model, "object_patches", ())),
    ]


def _kind(holder: Any) -> str:
    for name in ("first_stage_model", "model"):
        if getattr(holder, name, None) is not None:
            return type(getattr(holder, name)).__name__
    return type(holder).__name__


def _host_version() -> str:
    try:
        from comfyui_version import __version__
    except ImportError:
        return ""
    return str(__version__)


def _hash(value: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
