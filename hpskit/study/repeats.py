"""Blocks that repeat another block, picture by picture: they are one observation, whatever their prompts are called."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .records import Study


def repeated_blocks(study: Study) -> NDArray[np.bool_]:
    """Return which blocks show the same pictures under every setting as an earlier one, [prompts, seeds].

    Pictures are compared by the hash of their pixels; a block with fewer than two pictures, or with one whose hash is
    not known, repeats none.
    """
    hashes: dict[tuple[int, int], dict[int, str]] = {}
    for cell in study.cells:
        hashes.setdefault((cell.prompt, cell.seed), {})[cell.setting] = cell.image_hash
    found = np.zeros((len(study.prompts), len(study.seeds)), dtype=bool)
    seen: set[frozenset[tuple[int, str]]] = set()
    for place in sorted(hashes):
        pictures = frozenset(hashes[place].items())
        if len(pictures) > 1 and all(hashes[place].values()):
            found[place] = pictures in seen
            seen.add(pictures)
    return found
