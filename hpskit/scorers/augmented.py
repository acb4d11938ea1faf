"""A scorer that looks at an image more than once and trusts what all looks agree on.

The image and mild changes of it are scored; the value is the mean less k standard deviations, a lower confidence bound.
A score that a crop of a few percent or a little blur overturns is worth less, and optimising the bound leaves less room
for fine patterns that please one exact placement of the pixels.

What is not measured: whether ranking by this bound picks images that people like better. It costs one pass of the
scorer a view. The spread says how much a score depends on such changes; it is no error bar against human judgement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import HpsError
from ..images import as_list, resize
from ..types import Scorer, ScorerInfo, Scores

if TYPE_CHECKING:
    from ..types import Images

View = Callable[[Tensor], Tensor]
"""One image [3, H, W] in 0..1 to another, of any size; deterministic, and differentiable if scores are to be."""

CROP = 0.95
COARSE = 0.75
_NO_SPREAD = 1e-12


def crop(image: Tensor, top: float, left: float, share: float = CROP) -> Tensor:
    """Return the part of an image [3, H, W] that has `share` of its sides, at `top` and `left` (0..1) of the rest."""
    height, width = image.shape[-2:]
    h, w = max(1, round(share * height)), max(1, round(share * width))
    y, x = round(top * (height - h)), round(left * (width - w))
    return image[..., y : y + h, x : x + w]


def resampled(image: Tensor, share: float = COARSE) -> Tensor:
    """Return an image [3, H, W] made smaller and as large as before, which takes its finest detail."""
    height, width = image.shape[-2:]
    small = resize(image[None], max(1, round(share * height)), max(1, round(share * width)))
    return resize(small, height, width)[0].clamp(0, 1)


def flipped(image: Tensor) -> Tensor:
    """Return the mirror image; not for prompts that say left or right."""
    return image.flip(-1)


def mild_views(flip: bool = False) -> dict[str, View]:
    """Return the usual views by name: two crops of 95 %, one resampling, and with `flip` the mirror image."""
    views: dict[str, View] = {
        "crop_top_left": lambda image: crop(image, 0.0, 0.0),
        "crop_bottom_right": lambda image: crop(image, 1.0, 1.0),
        "resampled": resampled,
    }
    return views | {"flipped": flipped} if flip else views


@dataclass(frozen=True)
class ViewScores:
    """What the looks at n images gave; float32 tensors in the scorer's unit."""

    names: tuple[str, ...]
    """"original" and the views."""
    values: Tensor
    """[n, number of names]"""
    mean: Tensor
    """[n]"""
    sd: Tensor
    """[n]: standard deviation between the looks."""
    bound: Tensor
    """[n]: mean - k * sd, the score."""


class AugmentedScorer:
    """Lower confidence bound of a scorer over mild views of the image; differentiable when scorer and views are."""

    def __init__(self, scorer: Scorer, k: float = 0.5, views: Mapping[str, View] | None = None) -> None:
        """Wrap a scorer; `views` by name are added to the original, `mild_views()` by default.

        Raises HpsError without views or with a negative k.
        """
        self.scorer, self.k = scorer, k
        self.views = dict(mild_views() if views is None else views)
        if not self.views or k < 0:
            raise HpsError("Scoring several views needs at least one view besides the original, and k of 0 or more.")

    @property
    def info(self) -> ScorerInfo:
        """Identity: the scorer's, with k and the views in id and version: the bound compares with nothing else."""
        inner = self.scorer.info
        made = f"mean - {self.k:g} sd of original, {', '.join(self.views)}"
        return replace(
            inner,
            id=f"{inner.id}-views",
            name=f"{inner.name}, {1 + len(self.views)} views",
            version=f"{inner.version} ({made})",
        )

    def score(self, images: Images, prompts: str | Sequence[str]) -> Scores:
        """Score n images against one prompt or n prompts; errors are the scorer's."""
        found, original = self._look(images, prompts)
        return Scores(found.bound, self.info, original.prompts, original.texts)

    def look(self, images: Images, prompts: str | Sequence[str]) -> ViewScores:
        """Return the score of every view of n images, with mean and spread."""
        return self._look(images, prompts)[0]

    def _look(self, images: Images, prompts: str | Sequence[str]) -> tuple[ViewScores, Scores]:
        items = as_list(images)
        original = self.scorer.score(_together(items), prompts)
        others = [self.scorer.score(_together([view(item) for item in items]), prompts) for view in self.views.values()]
        values = torch.stack([each.values.float() for each in (original, *others)], dim=1)
        # The root has no slope at zero, so an image that no view changes would have no gradient at all.
        sd = values.var(dim=1).clamp_min(_NO_SPREAD).sqrt()
        mean = values.mean(dim=1)
        return ViewScores(("original", *self.views), values, mean, sd, mean - self.k * sd), original


def _together(items: Sequence[Tensor]) -> Images:
    """Return one batch where the sizes allow it: that is faster than a list."""
    return torch.stack(list(items)) if len({item.shape for item in items}) == 1 else list(items)
