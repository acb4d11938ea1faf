"""Human preference scoring for generated images: score, rank, pick, and search for better seeds.

>>> import hpskit
>>> scorer = hpskit.load_scorer("hps-v2.1")  # doctest: +SKIP
>>> scorer.score(hpskit.load_images(["a.png", "b.png"]), "a red fox").tolist()  # doctest: +SKIP

Only scores of one prompt, one scorer and one preprocessing compare. Importing the package loads neither torch nor
open_clip; each name below loads its module on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "load_scorer": "scorers",
    "available_scorers": "scorers",
    "combine": "scorers",
    "load_generator": "embedded",
    "load_images": "images",
    "rank_pool": "select",
    "best_of_n": "search",
    "Ledger": "ledger",
    "Entry": "ledger",
    "Query": "ledger",
    "Pick": "ledger",
    "Scores": "types",
    "Scorer": "types",
    "ScorerInfo": "types",
    "Candidate": "types",
    "HpsError": "errors",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
