"""Writes one checkpoint; see __init__.py."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import torch

from .layouts import LAYOUTS

GAIN = 0.6
"""Standard deviation of a weight, times the root of its fan-in: low enough that no sampler runs away."""


def _values(name: str, shape: tuple[int, ...], draw: torch.Generator) -> torch.Tensor:
    noise = torch.randn(shape, generator=draw)
    if "embedding" in name:
        return noise * 0.3
    if len(shape) > 1:
        return noise * (GAIN / math.sqrt(math.prod(shape[1:])))
    # Norms away from 1 and 0 exactly: a text encoder whose mean is 0 makes the hosts' emphasis divide 0 by 0.
    return noise * 0.1 + (1.0 if name.endswith("weight") else 0.0)


def tensors(name: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the state dictionary in half precision; the same values for a seed with every version of torch."""
    draw = torch.Generator().manual_seed(seed)
    weights = {
        f"{part}.{each}": _values(each, shape, draw).half()
        for part, shapes in LAYOUTS[name].parts()
        for each, shape in shapes
    }
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    weights["betas"] = betas.float()
    weights["alphas_cumprod"] = torch.cumprod(1 - betas, 0).float()
    for prefix in ("cond_stage_model", "conditioner.embedders.0"):
        embeddings = f"{prefix}.transformer.text_model.embeddings"
        if f"{embeddings}.token_embedding.weight" in weights:
            weights[f"{embeddings}.position_ids"] = torch.arange(77)[None]
    return weights


def main() -> None:
    """Write the file whole or not at all: several test runs may want it at once."""
    from safetensors.torch import save_file

    name, target = sys.argv[1], Path(sys.argv[2])
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}.part")
    save_file({each: value.contiguous() for each, value in tensors(name).items()}, str(part))
    part.replace(target)


if __name__ == "__main__":
    main()
