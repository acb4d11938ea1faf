"""Gradients through decoding: AutoencoderKL, TAESD, a video VAE and the miniature; memory; what is refused."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import comfy.ldm.wan.vae
import comfy.sd
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy_inside import pack, sibling

probe = sibling("gradients_probe")
tiny = probe.tiny
LIMIT = 5e-4
KINKED = 2e-2
"""For functions with kinks (TAESD's ReLU, the edges of drawn shapes), which a finite difference steps across."""


def _vae(network: torch.nn.Module) -> Any:
    with torch.inference_mode():
        return comfy.sd.VAE(sd=dict(tiny._filled(network, 1).state_dict()))


@functools.cache
def _kl() -> Any:
    layout = {
        "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
        "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
    }  # fmt: skip
    return _vae(AutoencoderKL(ddconfig=layout, embed_dim=4))


@functools.cache
def _wan() -> Any:
    return _vae(
        comfy.ldm.wan.vae.WanVAE(
            dim=96,
            z_dim=16,
            dim_mult=[1, 2, 4, 4],
            num_res_blocks=2,
            attn_scales=[],
            temperal_downsample=[False, True, True],
            dropout=0.0,
        )
    )


def decoded(vae: Any, shape: tuple[int, ...], checkpoint: bool = True, step: float = 1e-2) -> dict[str, Any]:
    """Compare a differentiable decoding with the stock one, and its gradient with a finite difference."""
    with torch.inference_mode():
        start = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 0.3
        stock = vae.decode(start)
    stock = stock.reshape(-1, *stock.shape[-3:]).movedim(-1, 1)
    decode = pack("nodes.gradient_decode").differentiable_decoder(vae, checkpoint=checkpoint)
    noise = start.clone().requires_grad_(True)
    network = getattr(vae, "first_stage_model", torch.nn.Identity())
    with pack("hpskit.autodiff.measuring").SavedBytes(network.parameters()) as saved:
        image = decode(noise)
    inside = (image.detach() > 0.02) & (image.detach() < 0.98)
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(2)) * inside
    (image * weights).sum().backward()
    gradient = noise.grad
    assert gradient is not None and gradient.abs().max() > 0
    direction = gradient / gradient.norm()

    def value(distance: float) -> float:
        with torch.no_grad():
            return float((decode(start.clone() + distance * direction) * weights).sum(dtype=torch.float64))

    near, far = ((value(h) - value(-h)) / (2 * h) for h in (step, 2 * step))
    error = abs((4 * near - far) / 3 - float(gradient.norm())) / float(gradient.norm())
    apart = float((image.detach() - stock).abs().max())
    return {"error": error, "apart": apart, "saved": saved.bytes, "shape": list(image.shape)}


def _expect(figures: dict[str, Any], shape: list[int], limit: float = LIMIT) -> dict[str, Any]:
    assert figures["error"] < limit and figures["apart"] < 1e-5 and figures["shape"] == shape, figures
    return figures


def check_autoencoder_kl_with_and_without_checkpointing() -> Any:
    every = _expect(decoded(_kl(), (1, 4, 4, 4), checkpoint=False, step=3e-3), [1, 3, 32, 32])
    few = _expect(decoded(_kl(), (1, 4, 4, 4), step=3e-3), [1, 3, 32, 32])
    assert few["saved"] < every["saved"] / 4, (few, every)
    blocks = pack("hpskit.autodiff.blocks").repeated_blocks(_kl().first_stage_model.decoder)
    assert {type(block).__name__ for block in blocks} == {"ResnetBlock", "Upsample"}
    return every, few


def check_tiny_autoencoder() -> Any:
    return _expect(decoded(tiny.models("sd15")[1], (2, 4, 8, 8), step=2e-3), [2, 3, 64, 64], KINKED)


def check_a_video_vae_decodes_one_frame() -> Any:
    figures = _expect(decoded(_wan(), (1, 16, 1, 4, 4), step=3e-3), [1, 3, 32, 32])
    decode = pack("nodes.gradient_decode").differentiable_decoder(_wan())
    with torch.no_grad():
        flat = torch.randn(1, 16, 4, 4)
        assert torch.equal(decode(flat), decode(flat[:, :, None]))
    blocks = pack("hpskit.autodiff.blocks").repeated_blocks(_wan().first_stage_model.decoder)
    assert len(blocks) > 8, [type(block).__name__ for block in blocks]
    every = decoded(_wan(), (1, 16, 1, 4, 4), checkpoint=False, step=3e-3)
    assert figures["saved"] < every["saved"] / 4, (figures, every)
    return figures


def check_the_miniature_in_inference_mode_first() -> Any:
    """The stock decoding fills caches in inference mode; the one with gradients must not trip over them."""
    vae = pack("nodes.embedded").ShapesVae()
    return _expect(decoded(vae, (1, 16, 4, 4), step=1e-3), [1, 3, 256, 256], KINKED)


def check_a_stock_decoding_afterwards_is_the_same() -> None:
    vae = tiny.models("sd15")[1]
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        before = vae.decode(latent)
    decoded(vae, (1, 4, 8, 8))
    with torch.inference_mode():
        assert torch.equal(vae.decode(latent), before)
    assert not any("forward" in vars(module) for module in vae.first_stage_model.modules())


def check_no_graph_is_made_where_none_is_wanted() -> None:
    decode = pack("nodes.gradient_decode").differentiable_decoder(tiny.models("sd15")[1])
    latent = torch.randn(1, 4, 8, 8, requires_grad=True)
    with torch.no_grad():
        assert not decode(latent).requires_grad
    with torch.inference_mode():
        assert not decode(torch.randn(1, 4, 8, 8)).requires_grad


def check_what_cannot_be_done_is_said() -> None:
    decoder, errors = pack("nodes.gradient_decode").differentiable_decoder, pack("hpskit.errors")
    sound = SimpleNamespace(
        first_stage_model=torch.nn.Linear(1, 1), patcher=object(), process_output=None, latent_dim=1
    )
    for vae, word in ((object(), "does not show its network"), (sound, "sound")):
        try:
            decoder(vae)
        except errors.GradientError as refused:
            assert word in str(refused)
        else:
            raise AssertionError(word)
    try:
        decoder(_wan())(torch.zeros(1, 16, 3, 4, 4))
    except errors.ImageError as refused:
        assert "frames" in str(refused)
    else:
        raise AssertionError("several frames were decoded")
