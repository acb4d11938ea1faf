"""Wrappers that give samplers a checkpoint as a denoiser."""

from __future__ import annotations

from typing import Any

import torch

from .sampling import append_zero


class _Schedule(torch.nn.Module):
    sigmas: torch.Tensor

    def get_sigmas(self, n: int | None = None) -> torch.Tensor:
        places = torch.linspace(len(self.sigmas) - 1, 0, n or len(self.sigmas)).round().long()
        return append_zero(self.sigmas[places])

    def sigma_to_t(self, sigma: torch.Tensor, quantize: Any = None) -> torch.Tensor:
        return (self.sigmas[:, None] - sigma.flatten()[None]).abs().argmin(0)


class CompVisDenoiser(_Schedule):
    def __init__(self, model: Any, quantize: bool = False, device: str = "cpu") -> None:
        super().__init__()
        self.inner_model, self.sigmas = model, model.sigmas

    def forward(self, input: Any, sigma: Any, cond: Any = None, **kwargs: Any) -> torch.Tensor:
        told = {name: cond[name] for name in ("crossattn", "vector") if name in cond}
        context = told or cond["c_crossattn"][0]
        return self.inner_model.apply_model(input, sigma, context)  # type: ignore[no-any-return]


class ForgeScheduleLinker(_Schedule):
    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.predictor = predictor

    @property
    def sigmas(self) -> torch.Tensor:  # type: ignore[override]
        return self.predictor.sigmas  # type: ignore[no-any-return]
