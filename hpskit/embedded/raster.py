"""Draw scenes as pictures: a small differentiable rasteriser for signed distances, sharp at any size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .scene import OBJECTS, Scene, scene_from_slots, slots_from_latent
from .shapes import distance

NATIVE = 64
"""Side in pixels of the pictures that the miniature scorer was trained on; grain, blur and blocks scale with it."""


@dataclass(frozen=True)
class Textures:
    """Fixed irregularities of the picture; first dimension 1 (shared) or B."""

    warp: Tensor
    """[., 2, H, W] smooth displacement field of unit variance."""
    paper: Tensor
    """[., 1, H, W] smooth brightness of paper."""
    grain: Tensor
    """[., 3, H, W] white noise in cells of 1/64 of the picture."""


def rasterise(latent: Tensor, size: int = 256) -> Tensor:
    """Draw latents [n, 16, H, W] (even H and W) as images [n, 3, size, size] in 0..1, differentiable in the latent."""
    return draw(scene_from_slots(slots_from_latent(latent.float())), size)


def draw(scene: Scene, size: int = NATIVE, textures: Textures | None = None) -> Tensor:
    """Draw B scenes as images [B, 3, size, size] in 0..1; without `textures` the same ones every time."""
    textures = textures or make_textures(1, size, 7)
    watercolor, pixel, cartoon, neon = (_column(scene.style[:, i]) for i in range(4))
    image = _background(scene, size, watercolor, neon)
    shift = textures.warp * (0.035 * watercolor + 0.17 * _column(scene.defects[:, 3]))
    for index in range(OBJECTS):
        image = _object(scene, index, image, shift, watercolor, cartoon, neon)
    image = image * (1 + watercolor * (0.08 * textures.paper + 0.02 * textures.grain))
    image = _mix(image, _blocks(image), pixel)
    return _defects(image, scene.defects, textures.grain).clamp(0, 1)


def make_textures(count: int, size: int, seed: int) -> Textures:
    """Draw `count` sets of textures for pictures of `size` pixels.

    The same arguments give the same textures, and other sizes similar ones.
    """
    return _textures(count, size, seed)


@lru_cache(maxsize=16)
def _textures(count: int, size: int, seed: int) -> Textures:
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False):  # kept, and later used where gradients are wanted
        warp = torch.randn(count, 2, 6, 6, generator=generator)
        paper = torch.randn(count, 1, 9, 9, generator=generator)
        grain = torch.randn(count, 3, NATIVE, NATIVE, generator=generator)
        return Textures(
            F.interpolate(warp, size=(size, size), mode="bicubic"),
            F.interpolate(paper, size=(size, size), mode="bicubic"),
            F.interpolate(grain, size=(size, size), mode="nearest"),
        )


@lru_cache(maxsize=16)
def _grid(size: int) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):
        axis = (torch.arange(size) + 0.5) / size * 2 - 1
        return axis[None, :].expand(size, size).contiguous(), axis[:, None].expand(size, size).contiguous()


def _column(x: Tensor) -> Tensor:
    return x[:, None, None, None]


def _mix(a: Tensor, b: Tensor, amount: Tensor) -> Tensor:
    return a + (b - a) * amount


def _background(scene: Scene, size: int, watercolor: Tensor, neon: Tensor) -> Tensor:
    x, y = _grid(size)
    x, y = x.to(scene.background), y.to(scene.background)
    base = scene.background[:, :, None, None]
    base = base * (1 - 0.7 * neon)
    base = _mix(base, torch.ones_like(base), 0.4 * watercolor)
    gradient, striped = (_column(scene.pattern[:, i]) for i in range(2))
    # The second tone of a pattern: darker on light backgrounds, lighter on dark ones.
    light = torch.sigmoid((base.mean(1, keepdim=True) - 0.5) * 30)
    stripe_tone = light * base * 0.72 + (1 - light) * (base * 0.72 + 0.28)
    wave = torch.cos(scene.stripes)[:, None, None] * x + torch.sin(scene.stripes)[:, None, None] * y
    stripes = ((torch.sin(12 * wave) * 4 * size / NATIVE).clamp(-0.5, 0.5) + 0.5)[:, None]
    image = _mix(base.expand(-1, -1, size, size), stripe_tone.expand(-1, -1, size, size), stripes * striped)
    ramp_tone = image * 0.5 + (1 - light) * 0.5
    return _mix(image, ramp_tone, gradient * (y + 1) / 2)


def _object(
    scene: Scene, index: int, image: Tensor, shift: Tensor, watercolor: Tensor, cartoon: Tensor, neon: Tensor
) -> Tensor:
    size = image.shape[-1]
    pixel_side = 2.0 / size
    edge = _distance_field(scene, index, size, shift)[:, None]
    there = _column(scene.presence[:, index])
    colour = scene.colour[:, index, :, None, None]
    cover = (0.5 - edge / (pixel_side * (1 + 1.5 * watercolor * size / NATIVE))).clamp(0, 1) * there
    fill = _mix(colour, torch.ones_like(colour), 0.15 * watercolor)
    fill = fill * (1 - 0.25 * watercolor * torch.exp(-((edge / 0.05) ** 2)))
    painted = _mix(image, fill, cover)
    outline = (1 - ((edge.abs() - 0.035) / pixel_side).clamp(0, 1)) * cartoon * there
    painted = painted * (1 - outline)
    glow = fill * (0.35 * cover + 0.9 * there * torch.exp(-edge.abs() / 0.07))
    core = 0.35 * there * torch.exp(-((edge / 0.035) ** 2))
    return _mix(painted, (image + glow + core).clamp(0, 1), neon)


def _distance_field(scene: Scene, index: int, size: int, shift: Tensor) -> Tensor:
    x, y = _grid(size)
    centre = scene.centre[:, index, :, None, None]
    x, y = x.to(centre) + shift[:, 0] - centre[:, 0], y.to(centre) + shift[:, 1] - centre[:, 1]
    radius, angle = (v[:, index, None, None] for v in (scene.radius, scene.angle))
    cos, sin = torch.cos(angle), torch.sin(angle)
    return distance(scene.shape[:, index], (x * cos + y * sin) / radius, (y * cos - x * sin) / radius) * radius


def _blocks(image: Tensor, blocks: int = 20) -> Tensor:
    return F.interpolate(F.adaptive_avg_pool2d(image, blocks), size=image.shape[-2:], mode="nearest")


def _defects(image: Tensor, strength: Tensor, grain: Tensor) -> Tensor:
    blur, noise, fog = (_column(strength[:, i]) for i in range(3))
    if bool((strength[:, 0] != 0).any()):
        small = F.adaptive_avg_pool2d(image, NATIVE)
        soft, softer = (_enlarge(gaussian_blur(small, sigma), image.shape[-1]) for sigma in (1.2, 3.2))
        image = _mix(_mix(image, soft, (2 * blur).clamp(max=1)), softer, (2 * blur - 1).clamp(min=0))
    image = image * (1 - 0.75 * fog) + 0.45 * fog
    return image + 0.33 * noise * grain


def _enlarge(image: Tensor, size: int) -> Tensor:
    if image.shape[-1] == size:
        return image
    return F.interpolate(image, size=(size, size), mode="bicubic", align_corners=False)


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blur [n, c, H, W] by a Gaussian of `sigma` pixels, with the edge pixels repeated outside."""
    reach = int(3 * sigma) + 1
    taps = torch.exp(-(torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype) ** 2) / (2 * sigma**2))
    taps = taps / taps.sum()
    channels = image.shape[1]
    row, column = taps.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), taps.view(1, 1, -1, 1).repeat(channels, 1, 1, 1)
    image = F.conv2d(F.pad(image, (reach, reach, 0, 0), mode="replicate"), row, groups=channels)
    return F.conv2d(F.pad(image, (0, 0, reach, reach), mode="replicate"), column, groups=channels)
