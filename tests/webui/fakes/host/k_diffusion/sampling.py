"""Samplers without gradients, as the library decorates them; `torch` is swapped by the host to control their noise."""

from __future__ import annotations

from typing import Any

import torch


def append_zero(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x.new_zeros([1])])


def _tell(callback: Any, x: torch.Tensor, i: int, sigma: Any, denoised: torch.Tensor) -> None:
    if callback is not None:
        callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})


@torch.no_grad()
def sample_euler(
    model: Any, x: Any, sigmas: Any, extra_args: Any = None, callback: Any = None, disable: Any = None,
    s_churn: float = 0.0, s_tmin: float = 0.0, s_tmax: float = float("inf"), s_noise: float = 1.0,
) -> Any:  # fmt: skip
    ones = x.new_ones([x.shape[0]])
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * ones, **(extra_args or {}))
        _tell(callback, x, i, sigmas[i], denoised)
        x = denoised + (x - denoised) * (sigmas[i + 1] / sigmas[i])
    return x


@torch.no_grad()
def sample_euler_ancestral(
    model: Any, x: Any, sigmas: Any, extra_args: Any = None, callback: Any = None, disable: Any = None,
    eta: float = 1.0, s_noise: float = 1.0, noise_sampler: Any = None,
) -> Any:  # fmt: skip
    draw = noise_sampler or (lambda sigma, following: torch.randn_like(x))
    ones = x.new_ones([x.shape[0]])
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * ones, **(extra_args or {}))
        _tell(callback, x, i, sigmas[i], denoised)
        back = min(sigmas[i + 1], eta * (sigmas[i + 1] ** 2 * (1 - sigmas[i + 1] ** 2 / sigmas[i] ** 2)) ** 0.5)
        x = denoised + (x - denoised) * ((sigmas[i + 1] ** 2 - back**2) ** 0.5 / sigmas[i])
        if sigmas[i + 1] > 0:
            x = x + draw(sigmas[i], sigmas[i + 1]) * s_noise * back
    return x


@torch.no_grad()
def sample_dpmpp_2m(
    model: Any, x: Any, sigmas: Any, extra_args: Any = None, callback: Any = None, disable: Any = None
) -> Any:
    ones, before = x.new_ones([x.shape[0]]), None
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * ones, **(extra_args or {}))
        _tell(callback, x, i, sigmas[i], denoised)
        better = denoised if before is None or sigmas[i + 1] == 0 else 1.5 * denoised - 0.5 * before
        x, before = better + (x - better) * (sigmas[i + 1] / sigmas[i]), denoised
    return x


class BrownianTreeNoiseSampler:
    """Noise by seed and interval; one seed for every sample of the batch, as the real one insists."""

    def __init__(self, x: Any, sigma_min: Any, sigma_max: Any, seed: Any = None, transform: Any = None) -> None:
        assert len(seed) == x.shape[0], (len(seed), x.shape)
        self.shape, self.seeds = x.shape[1:], seed

    def __call__(self, sigma: Any, sigma_next: Any) -> torch.Tensor:
        interval = round(float(sigma) * 1e4) * 1000003 + round(float(sigma_next) * 1e4)
        draws = [torch.Generator().manual_seed((int(seed) * 7919 + interval) % 2**62) for seed in self.seeds]
        return torch.stack([torch.randn(self.shape, generator=draw) for draw in draws])


@torch.no_grad()
def sample_dpmpp_sde(
    model: Any, x: Any, sigmas: Any, extra_args: Any = None, callback: Any = None, disable: Any = None,
    eta: float = 1.0, s_noise: float = 1.0, noise_sampler: Any = None, r: float = 0.5,
) -> Any:  # fmt: skip
    ones = x.new_ones([x.shape[0]])
    for i in range(len(sigmas) - 1):
        middle = (sigmas[i] * sigmas[i + 1]) ** 0.5
        denoised = model(x, sigmas[i] * ones, **(extra_args or {}))
        _tell(callback, x, i, sigmas[i], denoised)
        if sigmas[i + 1] > 0:
            y = denoised + (x - denoised) * (middle / sigmas[i]) + 0.1 * noise_sampler(sigmas[i], middle)
            denoised = 0.5 * denoised + 0.5 * model(y, middle * ones, **(extra_args or {}))
            noise = 0.2 * eta * sigmas[i + 1] * noise_sampler(sigmas[i], sigmas[i + 1])
            x = denoised + (x - denoised) * (sigmas[i + 1] / sigmas[i]) + noise
        else:
            x = denoised
    return x
