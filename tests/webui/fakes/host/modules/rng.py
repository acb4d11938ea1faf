"""Noise of a batch: the first tensor from seeds and subseeds, later ones from generators of their own per seed."""

from __future__ import annotations

from typing import Any

import torch
from modules import FORGE, devices, shared


def randn(seed: int, shape: Any, generator: torch.Generator | None = None) -> torch.Tensor:
    """Draw, and seed the generator of everybody else too: other draws of the host (inpainting in Forge) hang on it."""
    torch.manual_seed((seed + 100000) % 65536 if FORGE and generator is not None else seed)
    return torch.randn(shape, generator=generator)


def randn_without_seed(shape: Any, generator: torch.Generator | None = None) -> torch.Tensor:
    return torch.randn(shape, generator=generator)


def randn_local(seed: int, shape: Any) -> torch.Tensor:
    return torch.randn(shape, generator=create_generator(seed))


def randn_like(x: torch.Tensor) -> torch.Tensor:
    return torch.randn_like(x)


def manual_seed(seed: int) -> None:
    torch.manual_seed(seed)


def create_generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(int(seed))


def slerp(val: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Between two noises along the circle; as in the host, angles are taken over dimension 1; `val` weighs `high`."""
    cosine = (low / low.norm(dim=1, keepdim=True) * (high / high.norm(dim=1, keepdim=True))).sum(1)
    if cosine.mean() > 0.9995:
        return low * val + high * (1 - val)
    angle = torch.acos(cosine)
    parts = [torch.sin(share * angle) / torch.sin(angle) for share in (1.0 - val, val)]
    return parts[0].unsqueeze(1) * low + parts[1].unsqueeze(1) * high


class ImageRNG:
    def __init__(
        self,
        shape: Any,
        seeds: Any,
        subseeds: Any = None,
        subseed_strength: float = 0.0,
        seed_resize_from_h: int = 0,
        seed_resize_from_w: int = 0,
    ) -> None:
        self.shape = tuple(int(side) for side in shape)
        self.seeds, self.subseeds, self.subseed_strength = seeds, subseeds, subseed_strength
        self.seed_resize_from_h, self.seed_resize_from_w = seed_resize_from_h, seed_resize_from_w
        self.generators = [create_generator(seed) for seed in seeds]
        self.is_first = True

    def first(self) -> torch.Tensor:
        noises = [self._first(place) for place in range(len(self.generators))]
        delta = shared.opts.eta_noise_seed_delta or 0
        if delta:
            self.generators = [create_generator(seed + delta) for seed in self.seeds]
        return torch.stack(noises)

    def _first(self, place: int) -> torch.Tensor:
        other = None
        if self.subseeds is not None and self.subseed_strength != 0:
            other = randn(self.subseeds[place] if place < len(self.subseeds) else 0, self.shape)
        noise = randn(self.seeds[place], self.shape, generator=self.generators[place])
        return noise if other is None else slerp(self.subseed_strength, noise, other)

    def next(self) -> torch.Tensor:
        if self.is_first:
            self.is_first = False
            return self.first()
        return torch.stack([randn_without_seed(self.shape, generator=generator) for generator in self.generators])


for _draw in (randn, randn_local, randn_like, randn_without_seed, manual_seed):
    setattr(devices, _draw.__name__, _draw)
