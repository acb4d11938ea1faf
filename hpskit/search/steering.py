"""Reward guidance without a backward pass through the diffusion model: the predicted clean latent x0 is nudged.

At chosen steps of any sampler x0 is moved along the gradient of reward(decode(x0)). That the gradient may be taken at
x0 alone is the shortcut of Manifold Preserving Guided Diffusion (arXiv 2311.16424, KellyYutongHe/mpgd_pytorch); that
the step has a length of its own, whatever the gradient's, follows FreeDoM (arXiv 2303.09833) and it, and guiding in a
window of the schedule follows both.

The yardstick of a step is how uncertain x0 still is. Given a noisy latent, data of root mean square r in noise of
standard deviation s has a spread of r s / sqrt(r^2 + s^2) around its best prediction (the Gaussian case, as in
pseudoinverse-guided diffusion, ICLR 2023). At high noise that is r, so that the latent stays on the scale of the data;
towards the end it falls with the noise, so that details which the model has settled are not painted over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import HpsError
from ..types import Decoder, Scorer

Reward = Callable[[Tensor], Tensor]
"""Predicted clean latents [n, ...] to rewards [n], higher is better; row k depends on row k only. Differentiable."""

_TINY = 1e-12
_ROUNDING = 1e-4
"""Relative difference below which two noise levels are the same one."""
_SCALE = 256.0
"""Factor on the reward in the backward pass: decoders in half precision would round small gradients to zero."""


@dataclass(frozen=True)
class Steering:
    """How far and how often x0 is moved at one guided step; raises HpsError on values out of range."""

    strength: float = 0.1
    """Length of a gradient step as a share of the uncertainty of x0; 0 changes nothing."""
    inner_steps: int = 1
    """Gradient steps at a guided step, each from where the last one led."""
    max_nudge: float = 0.3
    """Most that x0 is moved at a guided step in all, as a share of its uncertainty, thus also of its own scale."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength >= 0 and self.max_nudge >= 0):
            raise HpsError(f"Strength ({self.strength}) and max_nudge ({self.max_nudge}) must be 0 or more.")
        if self.inner_steps < 1:
            raise HpsError(f"There must be at least one inner step, not {self.inner_steps}.")

    @property
    def active(self) -> bool:
        """Whether anything can be moved at all."""
        return self.strength > 0 and self.max_nudge > 0


# --- when ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """Which steps are guided: every n-th of those that start at a noise level in (low, high]."""

    high: float = math.inf
    low: float = 0.0
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise HpsError(f'"Every {self.every}" is no choice of steps; 1 is every step, 2 every other.')

    def __contains__(self, sigma: float) -> bool:
        return self.low * (1 + _ROUNDING) < sigma <= self.high * (1 + _ROUNDING)

    def steps(self, sigmas: Sequence[float]) -> tuple[int, ...]:
        """Return the guided steps of a schedule; step k leads from sigmas[k] to sigmas[k + 1]."""
        inside = [k for k, sigma in enumerate(sigmas[:-1]) if sigma in self]
        return tuple(inside[:: self.every])

    def guides(self, sigma: float, sigmas: Sequence[float]) -> bool:
        """Return whether an evaluation at noise level `sigma` is guided.

        It depends on the noise level only, so that samplers which evaluate twice a step, in whatever order, are guided
        the same way every time. Without a schedule (`sigmas` empty) all of the window is guided.
        """
        return sigma in self and (not sigmas or step_of(sigma, sigmas) in self.steps(sigmas))


def step_of(sigma: float, sigmas: Sequence[float]) -> int:
    """Return the step that an evaluation at `sigma` belongs to: the last one that starts at or above it, else 0."""
    above = [k for k, start in enumerate(sigmas[:-1]) if start * (1 + _ROUNDING) >= sigma]
    exact = [k for k in above if math.isclose(sigmas[k], sigma, rel_tol=_ROUNDING)]
    return exact[0] if exact else above[-1] if above else 0


# --- how far ---------------------------------------------------------------------------------------------------------


def noise_to_signal(sigma: float, flow: bool) -> float:
    """Return the noise's standard deviation in units of the data's scale: sigma, or sigma / (1 - sigma) for flows."""
    if not flow:
        return sigma
    return sigma / (1 - sigma) if sigma < 1 else math.inf


def rms(x: Tensor) -> Tensor:
    """Return the root mean square of every row, [n]."""
    result: Tensor = x.flatten(1).square().mean(1).sqrt()
    return result


def uncertainty(x0: Tensor, level: float) -> Tensor:
    """Return the expected distance of the clean latent from its prediction, as a root mean square a row, [n].

    `level` is the noise-to-signal ratio, infinity allowed. At most rms(x0), and about `level` when that is small.
    """
    scale = rms(x0)
    return scale / (1 + (scale / level).square()).sqrt() if level > 0 else torch.zeros_like(scale)


# --- the nudge -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nudge:
    """What one guided step did to n latents."""

    x0: Tensor
    """[n, ...] in the type and on the device of the input; rows that were not moved are the input's, bit by bit."""
    before: Tensor
    """[n] rewards of the prediction; NaN where the reward was not finite."""
    after: Tensor
    """[n] rewards of `x0`, never below `before`."""
    moved: Tensor
    """[n] root mean square of the change as a share of the uncertainty."""
    skipped: int
    """Rows left alone, or led no further, because a reward or gradient was not finite."""


@dataclass(frozen=True)
class _Walk:
    """Where each row stands: its best point so far, what was measured there, and its share of a full step."""

    point: Tensor
    value: Tensor
    slope: Tensor
    share: Tensor
    finite: Tensor


def nudge(x0: Tensor, reward: Reward, level: float, settings: Steering) -> Nudge:
    """Move predictions x0 [n, ...] uphill on the reward, each row on its own gradient and within its own bound.

    `level` is the noise-to-signal ratio (see `noise_to_signal`). Of the points that a row visits the best is kept; a
    step that does not raise the reward is taken back and the next one is half as long. Runs outside inference mode and
    returns tensors without history. Raises HpsError when the reward is not differentiable.
    """
    with torch.inference_mode(False):
        base = x0.detach().clone().float()
        scale = uncertainty(base, level)
        walk = first = _start(base, reward)
        if settings.active:
            for k in range(settings.inner_steps):
                trial = _trial(base, walk, scale, settings)
                walk = _chosen(walk, trial, *_measure(reward, trial, slope=k + 1 < settings.inner_steps))
        change = rms(walk.point - base)
        result = torch.where(_column(change > 0, x0), walk.point.to(x0.dtype), x0.detach().clone())
        share = change / scale.clamp_min(_TINY)
        return Nudge(result, first.value, walk.value, share, int((~walk.finite).sum()))


def _start(base: Tensor, reward: Reward) -> _Walk:
    value, slope = _measure(reward, base, slope=True)
    finite = _finite(value, slope)
    slope = torch.where(_column(finite, slope), slope, torch.zeros_like(slope))
    return _Walk(base, value, slope, torch.ones_like(value), finite)


def _trial(base: Tensor, walk: _Walk, scale: Tensor, settings: Steering) -> Tensor:
    length = settings.strength * walk.share * scale / rms(walk.slope).clamp_min(_TINY)
    offset = walk.point + _column(length, base) * walk.slope - base
    bound = (settings.max_nudge * scale / rms(offset).clamp_min(_TINY)).clamp_max(1)
    return base + _column(bound, base) * offset


def _chosen(walk: _Walk, trial: Tensor, value: Tensor, slope: Tensor) -> _Walk:
    finite = _finite(value, slope)
    # A comparison with NaN is false, so rows that could not be measured at the start never move.
    better = finite & (value > walk.value)
    return _Walk(
        torch.where(_column(better, trial), trial, walk.point),
        torch.where(better, value, walk.value),
        torch.where(_column(better, slope), slope, walk.slope),
        torch.where(better, walk.share, walk.share / 2),
        walk.finite & finite,
    )


def _measure(reward: Reward, point: Tensor, slope: bool) -> tuple[Tensor, Tensor]:
    """Return the rewards at `point` and their gradients; zeros instead of gradients when they are not wanted."""
    if not slope:
        with torch.no_grad():
            return reward(point).detach().float().to(point.device), torch.zeros_like(point)
    with torch.enable_grad():
        x = point.detach().clone().requires_grad_(True)
        value = reward(x)
        if not value.requires_grad:
            raise HpsError("The reward gives no gradient with respect to the latent, so it cannot guide the sampling.")
        (gradient,) = torch.autograd.grad(_SCALE * value.sum(), x)
    return value.detach().float().to(point.device), gradient.detach() / _SCALE


def _finite(value: Tensor, slope: Tensor) -> Tensor:
    return torch.isfinite(value) & torch.isfinite(slope).flatten(1).all(1)


def _column(x: Tensor, like: Tensor) -> Tensor:
    return x.reshape(-1, *[1] * (like.ndim - 1))


def reward_of(decode: Decoder, scorer: Scorer, prompt: str | Sequence[str]) -> Reward:
    """Return the reward of latents: the score of their decoded images; NaN for images that are not finite."""

    def reward(latents: Tensor) -> Tensor:
        images = decode(latents)
        sound = torch.isfinite(images.detach()).flatten(1).all(1)
        pixels = torch.where(_column(sound, images), images, torch.zeros_like(images))
        values = scorer.score(pixels, prompt).values
        return torch.where(sound.to(values.device), values, torch.full_like(values, math.nan)).to(latents.device)

    return reward


# --- account ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """What all guided steps of a run did, for one line in the log."""

    steps: int = 0
    first: float = math.nan
    """Mean reward before the first guided step."""
    last: float = math.nan
    """Mean reward after the last one."""
    gain: float = 0.0
    """Sum over the guided steps of the mean rise of the reward."""
    skipped: int = 0

    def plus(self, before: Sequence[float], after: Sequence[float], skipped: int) -> Account:
        """Return the account with one more guided step; rewards that are not finite do not count."""
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if math.isfinite(a) and math.isfinite(b)]
        counted = replace(self, steps=self.steps + 1, skipped=self.skipped + skipped)
        if not pairs:
            return counted
        start, end = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
        first = self.first if math.isfinite(self.first) else start
        return replace(counted, first=first, last=end, gain=self.gain + end - start)

    def __str__(self) -> str:
        text = f"{self.steps} guided steps, reward {self.first:.3f} -> {self.last:.3f}, {self.gain:+.3f} by nudges"
        return text + (f", {self.skipped} nudges skipped: not finite" if self.skipped else "")
