"""Searches over seeds and noise that know no host: they take the seams of `types` and return frozen dataclasses."""

from __future__ import annotations

from .best_of_n import BestOfN, Progress, best_of_n
from .evolution import evolve
from .guards import Guards
from .objective import Objective, Term, terms_of
from .optimize import optimize_noise
from .reno import Geodesic, Reno
from .sphere import SphereSearch, ZeroOrder
from .state import load_state, save_state
from .stopping import GAIN_PRESETS, StopRule
from .subspace import SubspaceSearch
from .trace import NoiseSearch, Update

__all__ = [
    "GAIN_PRESETS",
    "BestOfN",
    "Geodesic",
    "Guards",
    "NoiseSearch",
    "Objective",
    "Progress",
    "Reno",
    "SphereSearch",
    "StopRule",
    "SubspaceSearch",
    "Term",
    "Update",
    "ZeroOrder",
    "best_of_n",
    "evolve",
    "load_state",
    "optimize_noise",
    "save_state",
    "terms_of",
]
