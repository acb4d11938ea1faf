"""How much memory a run took, as far as torch and the system tell."""

from __future__ import annotations

import sys

import torch


def process_peak() -> int | None:
    """Return the most bytes in use so far: of the CUDA device in use, else of the process; None when unknown."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
