"""Writes a small random checkpoint in the layout of Stable Diffusion 1.5, for hosts that need one to make any picture.

Usage: make_checkpoint.py <file.safetensors>. Needs torch and safetensors only. AUTOMATIC1111
builds the network from small_config(...) in <file.yaml> beside it; Forge guesses it from the weights. The UNet has one
block a level and one width (74 M parameters); the VAE and the text encoder are of full size, because the hosts take
their shapes from elsewhere.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

Shapes = Iterator[tuple[str, tuple[int, ...]]]

LEVELS = 4
WIDTH = 320
EMBEDDED = 4 * WIDTH
CONTEXT = 768
LAYERS = 12
VAE_WIDTHS = (128, 256, 512, 512)
GAIN = 0.6
"""Standard deviation of a weight, times the root of its fan-in: low enough that no sampler runs away."""


def _affine(name: str, *shape: int, bias: bool = True) -> Shapes:
    yield f"{name}.weight", shape
    if bias:
        yield f"{name}.bias", shape[:1]


def _conv(name: str, inputs: int, outputs: int, size: int) -> Shapes:
    return _affine(name, outputs, inputs, size, size)


def _residual(name: str, inputs: int, outputs: int) -> Shapes:
    yield from _affine(f"{name}.in_layers.0", inputs)
    yield from _conv(f"{name}.in_layers.2", inputs, outputs, 3)
    yield from _affine(f"{name}.emb_layers.1", outputs, EMBEDDED)
    yield from _affine(f"{name}.out_layers.0", outputs)
    yield from _conv(f"{name}.out_layers.3", outputs, outputs, 3)
    if inputs != outputs:
        yield from _conv(f"{name}.skip_connection", inputs, outputs, 1)


def _attention(name: str, width: int) -> Shapes:
    yield from _affine(f"{name}.norm", width)
    yield from _conv(f"{name}.proj_in", width, width, 1)
    block = f"{name}.transformer_blocks.0"
    for attention, source in (("attn1", width), ("attn2", CONTEXT)):
        yield from _affine(f"{block}.{attention}.to_q", width, width, bias=False)
        yield from _affine(f"{block}.{attention}.to_k", width, source, bias=False)
        yield from _affine(f"{block}.{attention}.to_v", width, source, bias=False)
        yield from _affine(f"{block}.{attention}.to_out.0", width, width)
    yield from _affine(f"{block}.ff.net.0.proj", 8 * width, width)
    yield from _affine(f"{block}.ff.net.2", width, 4 * width)
    for norm in ("norm1", "norm2", "norm3"):
        yield from _affine(f"{block}.{norm}", width)
    yield from _conv(f"{name}.proj_out", width, width, 1)


def unet() -> Shapes:
    """Yield name and shape of every tensor of the UNet: LEVELS levels of one block, the last one without attention."""
    yield from _affine("time_embed.0", EMBEDDED, WIDTH)
    yield from _affine("time_embed.2", EMBEDDED, EMBEDDED)
    yield from _conv("input_blocks.0.0", 4, WIDTH, 3)
    last = LEVELS - 1
    for level in range(LEVELS):
        at = 1 + 2 * level
        yield from _residual(f"input_blocks.{at}.0", WIDTH, WIDTH)
        if level < last:
            yield from _attention(f"input_blocks.{at}.1", WIDTH)
            yield from _conv(f"input_blocks.{at + 1}.0.op", WIDTH, WIDTH, 3)
    yield from _residual("middle_block.0", WIDTH, WIDTH)
    yield from _attention("middle_block.1", WIDTH)
    yield from _residual("middle_block.2", WIDTH, WIDTH)
    for at in range(2 * LEVELS):
        level = last - at // 2
        yield from _residual(f"output_blocks.{at}.0", 2 * WIDTH, WIDTH)
        if level < last:
            yield from _attention(f"output_blocks.{at}.1", WIDTH)
        if level and at % 2:
            yield from _conv(f"output_blocks.{at}.{1 if level == last else 2}.conv", WIDTH, WIDTH, 3)
    yield from _affine("out.0", WIDTH)
    yield from _conv("out.2", WIDTH, 4, 3)


def _vae_residual(name: str, inputs: int, outputs: int) -> Shapes:
    yield from _affine(f"{name}.norm1", inputs)
    yield from _conv(f"{name}.conv1", inputs, outputs, 3)
    yield from _affine(f"{name}.norm2", outputs)
    yield from _conv(f"{name}.conv2", outputs, outputs, 3)
    if inputs != outputs:
        yield from _conv(f"{name}.nin_shortcut", inputs, outputs, 1)


def _vae_half(name: str, first: int, outputs: int, middle_first: bool) -> Shapes:
    deepest = VAE_WIDTHS[-1]
    yield from _conv(f"{name}.conv_in", first, deepest if middle_first else VAE_WIDTHS[0], 3)
    yield from _vae_residual(f"{name}.mid.block_1", deepest, deepest)
    yield from _affine(f"{name}.mid.attn_1.norm", deepest)
    for part in ("q", "k", "v", "proj_out"):
        yield from _conv(f"{name}.mid.attn_1.{part}", deepest, deepest, 1)
    yield from _vae_residual(f"{name}.mid.block_2", deepest, deepest)
    end = VAE_WIDTHS[0] if middle_first else deepest
    yield from _affine(f"{name}.norm_out", end)
    yield from _conv(f"{name}.conv_out", end, outputs, 3)


def vae() -> Shapes:
    """Yield name and shape of every tensor of the VAE."""
    yield from _vae_half("encoder", 3, 8, middle_first=False)
    yield from _vae_half("decoder", 4, 3, middle_first=True)
    last = len(VAE_WIDTHS) - 1
    before = VAE_WIDTHS[0]
    for level, width in enumerate(VAE_WIDTHS):
        for block in range(2):
            yield from _vae_residual(f"encoder.down.{level}.block.{block}", width if block else before, width)
        if level < last:
            yield from _conv(f"encoder.down.{level}.downsample.conv", width, width, 3)
        before = width
    for level in reversed(range(len(VAE_WIDTHS))):
        width = VAE_WIDTHS[level]
        for block in range(3):
            yield from _vae_residual(f"decoder.up.{level}.block.{block}", width if block else before, width)
        if level:
            yield from _conv(f"decoder.up.{level}.upsample.conv", width, width, 3)
        before = width
    yield from _conv("quant_conv", 8, 8, 1)
    yield from _conv("post_quant_conv", 4, 4, 1)


def text() -> Shapes:
    """Yield name and shape of every tensor of the text encoder (CLIP ViT-L/14)."""
    root = "transformer.text_model"
    yield f"{root}.embeddings.token_embedding.weight", (49408, CONTEXT)
    yield f"{root}.embeddings.position_embedding.weight", (77, CONTEXT)
    for layer in range(LAYERS):
        block = f"{root}.encoder.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _affine(f"{block}.self_attn.{part}", CONTEXT, CONTEXT)
        yield from _affine(f"{block}.mlp.fc1", 4 * CONTEXT, CONTEXT)
        yield from _affine(f"{block}.mlp.fc2", CONTEXT, 4 * CONTEXT)
        yield from _affine(f"{block}.layer_norm1", CONTEXT)
        yield from _affine(f"{block}.layer_norm2", CONTEXT)
    yield from _affine(f"{root}.final_layer_norm", CONTEXT)


def _values(name: str, shape: tuple[int, ...], draw: torch.Generator) -> torch.Tensor:
    noise = torch.randn(shape, generator=draw)
    if "embedding" in name:
        return noise * 0.3
    if len(shape) > 1:
        return noise * (GAIN / math.sqrt(math.prod(shape[1:])))
    # Norms away from 1 and 0 exactly: a text encoder whose mean is 0 makes the hosts' emphasis divide 0 by 0.
    return noise * 0.1 + (1.0 if name.endswith("weight") else 0.0)


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the state dictionary in half precision; the same values for a seed with every version of torch."""
    draw = torch.Generator().manual_seed(seed)
    parts = (("model.diffusion_model", unet()), ("first_stage_model", vae()), ("cond_stage_model", text()))
    weights = {f"{part}.{name}": _values(name, shape, draw).half() for part, shapes in parts for name, shape in shapes}
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    weights["betas"] = betas.float()
    weights["alphas_cumprod"] = torch.cumprod(1 - betas, 0).float()
    weights["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return weights


def small_config(full: str) -> str:
    """Return the host's own configuration of Stable Diffusion 1.5 with the UNet made small."""
    unet_part, mark, rest = full.partition("first_stage_config:")
    unet_part = re.sub(r"num_res_blocks: \d+", "num_res_blocks: 1", unet_part)
    unet_part = re.sub(r"channel_mult: \[[^]]*\]", f"channel_mult: {[1] * LEVELS}", unet_part)
    return unet_part + mark + rest


def main() -> None:
    """Write the file whole or not at all: several test runs may want it at once."""
    from safetensors.torch import save_file

    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}.part")
    save_file({name: value.contiguous() for name, value in tensors().items()}, str(part))
    part.replace(target)


if __name__ == "__main__":
    main()
