"""Small differentiable generators and rewards with known answers, for tests of noise optimisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize

from hpskit.types import ScorerInfo, Scores

CLIP_TRANSFORM = Compose(
    [
        Resize(224, interpolation=InterpolationMode.BICUBIC),
        CenterCrop(224),
        Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    ]
)
"""What ReNO does to an image before its rewards see it."""


class TinyGenerator:
    """A fixed random network from noise [n, 4, 8, 8] to images [n, 3, 32, 32], smooth everywhere."""

    def __init__(self, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)
        self.first = torch.randn(8, 4, 3, 3, generator=g) / 6
        self.second = torch.randn(3, 8, 3, 3, generator=g) / 8

    def latent(self, noise: Tensor) -> Tensor:
        """One denoising step of sorts."""
        return torch.tanh(torch.nn.functional.conv2d(noise, self.first, padding=1))

    def decode(self, latent: Tensor) -> Tensor:
        """To pixels in 0..1."""
        wide = torch.nn.functional.interpolate(latent, scale_factor=4, mode="bilinear", align_corners=False)
        return torch.nn.functional.conv2d(wide, self.second, padding=1).sigmoid()


class TinyReward:
    """Cosine between fixed random features of image and prompt, as the CLIP-type rewards have it."""

    def __init__(self, seed: int, family: str = "hps", size: int = 8, logit_scale: float = 100.0) -> None:
        g = torch.Generator().manual_seed(seed)
        self.size = size
        self.projection = torch.randn(3 * size * size, 16, generator=g) / size
        self.text = torch.randn(1, 16, generator=g)
        self.name, self.family, self.logit_scale = f"{family}-{seed}", family, logit_scale

    @property
    def info(self) -> ScorerInfo:
        """Identity."""
        return ScorerInfo(
            id=self.name,
            name=self.name,
            family=self.family,
            version="1",
            preprocess="crop",
            dtype="float32",
            logit_scale=self.logit_scale,
        )

    def image_features(self, pixels: Tensor) -> Tensor:
        """Return features [n, 16] of preprocessed pixels [n, 3, 224, 224]."""
        pooled = torch.nn.functional.adaptive_avg_pool2d(pixels, self.size)
        return torch.tanh(pooled.flatten(1) @ self.projection)

    def score(self, images: Any, prompts: str | Sequence[str]) -> Scores:
        """Return 100 x cosine."""
        features = self.image_features(CLIP_TRANSFORM(images))
        cosine = torch.nn.functional.cosine_similarity(features, self.text)
        return Scores(100 * cosine, self.info)


class PixelReward:
    """Score by a function of the image batch [n, 3, H, W] to values [n]."""

    def __init__(self, function: Any, name: str = "pixels", sd: float | None = 1.0) -> None:
        self.function, self.name, self.sd, self.calls = function, name, sd, 0

    @property
    def info(self) -> ScorerInfo:
        """Identity; of no published family."""
        return ScorerInfo(
            id=self.name,
            name=self.name,
            family="fake",
            version="1",
            preprocess="none",
            dtype="float32",
            within_prompt_sd=self.sd,
        )

    def score(self, images: Any, prompts: str | Sequence[str]) -> Scores:
        """Apply the function."""
        self.calls += len(images)
        return Scores(self.function(images), self.info)


def as_image(noise: Tensor) -> Tensor:
    """Return noise [n, 3, h, w] itself as pixels: the plainest generator there is."""
    return noise
