"""Names and shapes of what checkpoints of all layouts are made of: layers, residual blocks, and the VAE."""

from __future__ import annotations

from collections.abc import Iterator

Shapes = Iterator[tuple[str, tuple[int, ...]]]

VAE_WIDTHS = (128, 256, 512, 512)


def affine(name: str, *shape: int, bias: bool = True) -> Shapes:
    """Yield a layer with a weight of that shape; a bias has the first of its sides."""
    yield f"{name}.weight", shape
    if bias:
        yield f"{name}.bias", shape[:1]


def conv(name: str, inputs: int, outputs: int, size: int) -> Shapes:
    """Yield a convolution with a square kernel."""
    return affine(name, outputs, inputs, size, size)


def _vae_residual(name: str, inputs: int, outputs: int) -> Shapes:
    yield from affine(f"{name}.norm1", inputs)
    yield from conv(f"{name}.conv1", inputs, outputs, 3)
    yield from affine(f"{name}.norm2", outputs)
    yield from conv(f"{name}.conv2", outputs, outputs, 3)
    if inputs != outputs:
        yield from conv(f"{name}.nin_shortcut", inputs, outputs, 1)


def _vae_half(name: str, first: int, outputs: int, middle_first: bool) -> Shapes:
    deepest = VAE_WIDTHS[-1]
    yield from conv(f"{name}.conv_in", first, deepest if middle_first else VAE_WIDTHS[0], 3)
    yield from _vae_residual(f"{name}.mid.block_1", deepest, deepest)
    yield from affine(f"{name}.mid.attn_1.norm", deepest)
    for part in ("q", "k", "v", "proj_out"):
        yield from conv(f"{name}.mid.attn_1.{part}", deepest, deepest, 1)
    yield from _vae_residual(f"{name}.mid.block_2", deepest, deepest)
    end = VAE_WIDTHS[0] if middle_first else deepest
    yield from affine(f"{name}.norm_out", end)
    yield from conv(f"{name}.conv_out", end, outputs, 3)


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
            yield from conv(f"encoder.down.{level}.downsample.conv", width, width, 3)
        before = width
    for level in reversed(range(len(VAE_WIDTHS))):
        width = VAE_WIDTHS[level]
        for block in range(3):
            yield from _vae_residual(f"decoder.up.{level}.block.{block}", width if block else before, width)
        if level:
            yield from conv(f"decoder.up.{level}.upsample.conv", width, width, 3)
        before = width
    yield from conv("quant_conv", 8, 8, 1)
    yield from conv("post_quant_conv", 4, 4, 1)
