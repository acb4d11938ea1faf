"""Bridge to the host: which flavour it is, where models lie, and scorers in its memory management."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..hpskit.errors import CheckpointMissing
from .options import Options

if TYPE_CHECKING:
    from ..hpskit.types import Scorer


def models_folder() -> Path:
    """Return models/reward_models of the host."""
    from modules import paths

    return Path(paths.models_path) / "reward_models"


def locate(name: str) -> dict[str, Path]:
    """Return the files of a scorer; raises CheckpointMissing with what to do."""
    from ..hpskit import weights
    from ..hpskit.cards import load_cards

    if name in load_cards():
        return weights.find(name, [models_folder()])
    path = models_folder() / name
    if not path.is_file():
        raise CheckpointMissing(f'There is no reward model "{name}" in {models_folder()}.')
    return {"weights": path}


def scorer_choices() -> list[str]:
    """Return what the panel offers."""
    from ..hpskit.cards import load_cards

    return list(load_cards())


def scorer_of(options: Options) -> Scorer:
    """Return the scorer of a panel's options, several of them as one."""
    from ..hpskit import scorers

    made = [load_scorer(name) for name in options.scorers]
    return made[0] if len(made) == 1 else scorers.combine(made, rule=options.rule)


_loaded: dict[str, Any] = {}


def load_scorer(name: str) -> Scorer:
    """Return a scorer."""
    from ..hpskit import scorers

    if name not in _loaded:
        _loaded[name] = scorers.load_scorer(name, folders=[models_folder()])
    return _loaded[name]  # type: ignore[no-any-return]


def interrupted() -> bool:
    """Tell whether the person has stopped or skipped the generation."""
    from modules import shared

    return bool(shared.state.interrupted or shared.state.skipped)
