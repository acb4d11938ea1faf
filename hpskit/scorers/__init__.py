"""Scorers: HPS v2.0 and v2.1, PickScore, CLIPScore, the LAION aesthetic predictor, ensembles and a fake.

For use without a host: `load_scorer`. For hosts, which own the device memory: `load_network` and `make_scorer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..cards import Card, card, load_cards
from ..errors import CheckpointMissing
from ..types import Scorer
from .augmented import AugmentedScorer, mild_views
from .clip import AestheticScorer, ClipScorer, make_scorer
from .compute import FixedResidency, choose_dtype, default_device
from .ensemble import EnsembleScorer, combine
from .fake import FakeScorer
from .network import LoadedNetwork, load_network

__all__ = [
    "AestheticScorer",
    "AugmentedScorer",
    "ClipScorer",
    "EnsembleScorer",
    "FakeScorer",
    "FixedResidency",
    "LoadedNetwork",
    "available_scorers",
    "choose_dtype",
    "combine",
    "default_device",
    "load_network",
    "load_scorer",
    "make_scorer",
    "mild_views",
]


def available_scorers() -> tuple[str, ...]:
    """Return the ids of all scorers that `load_scorer` knows by name; their weights may not be on disk yet."""
    return tuple(load_cards())


def load_scorer(
    name: str | Path = "hps-v2.1",
    *,
    mode: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    folders: Sequence[Path] | None = None,
    backbone: str | Path | None = None,
) -> Scorer:
    """Load a scorer by card id or from a checkpoint file, for use without a host.

    `mode` is the preprocessing (one of MODES; the card's own by default), `device` the torch device (an accelerator
    where there is one), `dtype` "auto", "float32", "float16" or "bfloat16", `folders` where to look for weights first,
    `backbone` the CLIP of an aesthetic head that is given as a file. Nothing is downloaded, and another scorer never
    stands in: raises CheckpointMissing with the command that gets the weights, CardError for an unknown id, and the
    errors of `load_network`.
    """
    made, path, base = _locate(name, folders, backbone)
    place = torch.device(device) if device is not None else default_device()
    loaded = load_network(
        path, card=made, dtype=lambda parameters: choose_dtype(dtype, place, parameters), backbone=base
    )
    return make_scorer(loaded, FixedResidency(loaded.module, place), mode=mode)


def _locate(
    name: str | Path, folders: Sequence[Path] | None, backbone: str | Path | None
) -> tuple[Card | None, Path, Path | None]:
    """Return the card (None for an unknown file), the file with the weights or the head, and the backbone."""
    from ..weights import find

    base = Path(backbone) if backbone is not None else None
    path = Path(name)
    if isinstance(name, Path) or (name not in load_cards() and _is_path(name)):
        if not path.exists():  # what exists and is no file is refused where it is opened
            raise CheckpointMissing(f"{path}: no such file.")
        return None, path, base
    made = card(str(name))
    files = find(made, folders)
    return made, files.get("weights") or files["head"], base or files.get("backbone")


def _is_path(name: str) -> bool:
    return (
        Path(name).is_file()
        or "/" in name
        or "\\" in name
        or Path(name).suffix in (".pt", ".pth", ".bin", ".safetensors")
    )
