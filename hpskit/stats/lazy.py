"""Parts of scipy, loaded when first needed: the library itself does without them."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import DependencyError


def special() -> Any:
    """Return scipy.special; raises DependencyError where scipy is missing."""
    return _part("special")


def scipy_stats() -> Any:
    """Return scipy.stats; raises DependencyError where scipy is missing."""
    return _part("stats")


def _part(name: str) -> Any:
    try:
        return importlib.import_module(f"scipy.{name}")
    except ImportError as error:
        raise DependencyError("Comparing settings needs the package scipy: run `pip install scipy`.") from error
