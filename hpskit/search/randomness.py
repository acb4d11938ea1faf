"""Random numbers for a purpose, which no other use of the same seed draws.

A person likes one seed for everything. Were the starting noise and the mutations drawn from the same seed, the first
mutation would be the starting noise itself; so every purpose has its own stream.
"""

from __future__ import annotations

import hashlib

import torch


def own_seed(seed: int, purpose: str) -> int:
    """Return a seed in 0..2**32 - 1 for one purpose; torch's generator on the CPU uses no more bits."""
    digest = hashlib.blake2b(f"{purpose}:{int(seed)}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def stream(seed: int, purpose: str) -> torch.Generator:
    """Return a generator on the CPU for one purpose."""
    return torch.Generator().manual_seed(own_seed(seed, purpose))
