"""Networks that change tensors in place: their gradients are right at every level that computes parts again."""

from __future__ import annotations

from typing import Any

import comfy.ops
import torch
from comfy.ldm.flux.model import Flux, FluxParams
from comfy_inside import pack

TOLERANCE = 2e-3


def small_flux() -> torch.nn.Module:
    """The host's Flux with random weights, two blocks of each kind; its blocks add to their inputs in place."""
    sizes = {"in_channels": 4, "out_channels": 4, "vec_in_dim": 8, "context_in_dim": 16, "hidden_size": 64}
    sizes |= {"mlp_ratio": 2.0, "num_heads": 2, "depth": 2, "depth_single_blocks": 2, "axes_dim": [8, 12, 12]}
    sizes |= {"theta": 10000, "patch_size": 2, "qkv_bias": True, "guidance_embed": False}
    if "txt_ids_dims" in FluxParams.__dataclass_fields__:
        sizes["txt_ids_dims"] = []
    with torch.inference_mode(False):
        network = Flux(dtype=torch.float32, operations=comfy.ops.disable_weight_init, **sizes)
        generator = torch.Generator().manual_seed(1)
        for parameter in network.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.data = torch.randn(parameter.shape, generator=generator) / fan**0.5
        return network.requires_grad_(False)


def slope(level: str) -> tuple[float, float]:
    """Return the directional derivative of a scalar of Flux's output by autograd and by central differences."""
    network = small_flux()
    generator = torch.Generator().manual_seed(2)
    x, weights = (torch.randn(1, 4, 8, 8, generator=generator) for _ in range(2))
    context, vector = torch.randn(1, 5, 16, generator=generator), torch.randn(1, 8, generator=generator)
    inner = pack("hpskit.autodiff.recompute").recomputed if level in ("steps", "full") else lambda f, y: f(y)

    def value(noise: torch.Tensor) -> torch.Tensor:
        def run(y: torch.Tensor) -> torch.Tensor:
            return network(y, torch.tensor([0.7]), context, vector, None, transformer_options={})

        return (inner(run, noise * 1) * weights).sum()

    blocks = pack("hpskit.autodiff.blocks").checkpointed_blocks([network] if level in ("blocks", "full") else [])
    with torch.inference_mode(False), torch.enable_grad(), blocks:
        start = x.clone().requires_grad_(True)
        (grad,) = torch.autograd.grad(value(start), start)
    direction, eps = grad / grad.norm(), 1e-2
    with torch.inference_mode(False), torch.no_grad():
        up, down = (float(value(x + sign * eps * direction).double()) for sign in (1, -1))
    return float(grad.norm()), (up - down) / (2 * eps)


def check_flux_at_every_level() -> Any:
    seen = {}
    for level in ("steps", "blocks", "full"):
        try:
            ours, measured = slope(level)
        except RuntimeError as error:  # hosts whose own kernels have no backward pass say so
            assert "autograd" in str(error) or "derivative" in str(error), error
            return {"no backward pass on this host": str(error).splitlines()[0]}
        seen[level] = abs(ours - measured) / abs(measured)
    assert max(seen.values()) < TOLERANCE, seen
    return seen
