"""How each setting did over all: fitted means, win-based strengths, ranks, expected best of n."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..stats.pairwise import bradley_terry, wins
from ..stats.pools import expected_maximum
from ..stats.ranks import mean_ranks
from .contrasts import mean_of
from .records import Cell, Standing, Study

Array = NDArray[np.float64]


def standings(study: Study, scores: Array, parts: Mapping[str, Array]) -> tuple[Standing, ...]:
    """Return one standing a setting, in their order; `scores` and each of `parts` are [settings, prompts, seeds]."""
    relative, z = relative_means(scores, study.seeds_shared)
    fitted = bradley_terry(games_won(scores, study.seeds_shared))
    blocks = scores.reshape(len(scores), -1) if study.seeds_shared else mean_of(scores, 2)
    ranks = mean_ranks(blocks.T)
    raw = mean_of(mean_of(scores, 2), 1)
    others = {name: relative_means(values, study.seeds_shared)[0] for name, values in parts.items()}
    looks = [_look([cell for cell in study.cells if cell.setting == k]) for k in range(len(scores))]
    return tuple(
        Standing(
            setting=k,
            cells=int(np.isfinite(scores[k]).sum()),
            score=float(raw[k]),
            relative=float(relative[k]),
            z=float(z[k]),
            strength=float(fitted.strength[k]),
            strength_sd=float(fitted.sd[k]),
            elo=float(fitted.elo[k]),
            mean_rank=float(ranks[k]),
            best_of=best_of(scores[k], float(relative[k])),
            contrast=looks[k][0],
            saturation=looks[k][1],
            parts={name: float(values[k]) for name, values in others.items()},
        )
        for k in range(len(scores))
    )


def relative_means(scores: Array, paired: bool) -> tuple[Array, Array]:
    """Return the settings' effects in points and in standard deviations between the settings of a block.

    The effects are those of the additive model setting + block, each prompt weighing the same: where no cell is
    missing the mean difference from the block's mean; else settings are not judged by which blocks they happen to have.
    """
    table = scores if paired else mean_of(scores, 2)[:, :, None]
    known = np.isfinite(table) & (np.isfinite(table).sum(axis=0) > 1)
    useful = known.any(axis=0)
    each = useful / np.maximum(useful.sum(axis=1, keepdims=True), 1)
    weight = (each / max(int(useful.any(axis=1).sum()), 1)).ravel()
    mask = known.reshape(len(table), -1).astype(float)
    values = np.where(mask > 0, table.reshape(len(table), -1), 0.0)
    sizes = np.maximum(mask.sum(axis=0), 1)
    centred = mask * (values - values.sum(axis=0) / sizes)
    matrix = np.diag(mask @ weight) - (mask * (weight / sizes)) @ mask.T
    effects = np.linalg.pinv(matrix, rcond=1e-10, hermitian=True) @ (centred @ weight)
    effects = np.where(mask.any(axis=1), effects, np.nan)
    within = ((centred**2).sum(axis=0) / np.maximum(sizes - 1, 1)) @ weight
    return effects, effects / np.sqrt(within) if within > 0 else np.where(np.isnan(effects), np.nan, 0.0)


def sharing(scores: Array, paired: bool) -> NDArray[np.bool_]:
    """Return which settings share a block, [settings, settings]: only those were ever compared with each other."""
    there = np.isfinite(scores if paired else mean_of(scores, 2)).reshape(len(scores), -1).astype(float)
    return np.asarray(there @ there.T > 0)


def linked(scores: Array, paired: bool, start: int) -> NDArray[np.bool_]:
    """Return which settings share blocks with setting `start`, directly or through others: their means compare."""
    share = sharing(scores, paired)
    found = np.arange(len(scores)) == start
    while (wider := found | share[found].any(axis=0)).sum() > found.sum():
        found = wider
    return np.asarray(found)


def games_won(scores: Array, paired: bool) -> Array:
    """Return how many blocks setting i won over setting j, ties half; unpaired seeds count as pairs of a prompt."""
    count = len(scores)
    won = np.zeros((count, count))
    for i in range(count):
        if paired:
            won[i] = np.nansum(wins(scores[i] - scores), axis=(1, 2))
            continue
        for j in range(count):
            found = wins(scores[i][:, :, None] - scores[j][:, None, :]).reshape(scores.shape[1], -1)
            fewer = np.minimum(np.isfinite(scores[i]).sum(axis=1), np.isfinite(scores[j]).sum(axis=1))
            won[i, j] = float(np.nansum(mean_of(found, 1) * fewer))
    return won


def best_of(scores: Array, start: float) -> tuple[float, ...]:
    """Return the expected best of 1, 2, ... seeds of one setting, [prompts, seeds], beginning at `start`.

    Goes as far as the prompt with the fewest seeds; empty when nothing was scored.
    """
    pools = [prompt[np.isfinite(prompt)].tolist() for prompt in scores if np.isfinite(prompt).any()]
    if not pools:
        return ()
    shortest = min(len(pool) for pool in pools)
    curves = np.array([expected_maximum(pool, shortest) for pool in pools])
    gains = (curves - curves[:, :1]).mean(axis=0)
    return tuple(float(start + gain) for gain in gains)


def _look(cells: list[Cell]) -> tuple[float | None, float | None]:
    contrast = [cell.contrast for cell in cells if cell.contrast is not None]
    saturation = [cell.saturation for cell in cells if cell.saturation is not None]
    return _mean(contrast), _mean(saturation)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
