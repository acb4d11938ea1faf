"""The UNet, by the layout of the model: as deep and as told as the real one, in one width."""

from __future__ import annotations

from dataclasses import dataclass

from .parts import Shapes, affine, conv

WIDTH = 320
"""Of every level; hosts tell the models apart by the first one's."""
EMBEDDED = 4 * WIDTH


@dataclass(frozen=True)
class Unet:
    """What makes one kind of UNet another one."""

    blocks: int
    """Residual blocks a level."""
    depths: tuple[int, ...]
    """Transformer blocks behind every residual block, by level."""
    middle: int
    """Transformer blocks of the middle."""
    context: int
    """Width of the text that it is told."""
    linear: bool
    """Whether transformers begin and end in a linear layer, not in a convolution."""
    told: int = 0
    """Width of the vector that it is told beside the text; 0 where there is none."""

    def shapes(self) -> Shapes:
        """Yield name and shape of every tensor."""
        yield from affine("time_embed.0", EMBEDDED, WIDTH)
        yield from affine("time_embed.2", EMBEDDED, EMBEDDED)
        if self.told:
            yield from affine("label_emb.0.0", EMBEDDED, self.told)
            yield from affine("label_emb.0.2", EMBEDDED, EMBEDDED)
        yield from self._down()
        yield from _residual("middle_block.0", WIDTH, WIDTH)
        yield from self._transformers("middle_block.1", self.middle)
        yield from _residual("middle_block.2", WIDTH, WIDTH)
        yield from self._up()
        yield from affine("out.0", WIDTH)
        yield from conv("out.2", WIDTH, 4, 3)

    def _down(self) -> Shapes:
        yield from conv("input_blocks.0.0", 4, WIDTH, 3)
        at, last = 1, len(self.depths) - 1
        for level, depth in enumerate(self.depths):
            for _ in range(self.blocks):
                yield from _residual(f"input_blocks.{at}.0", WIDTH, WIDTH)
                yield from self._transformers(f"input_blocks.{at}.1", depth)
                at += 1
            if level < last:
                yield from conv(f"input_blocks.{at}.0.op", WIDTH, WIDTH, 3)
                at += 1

    def _up(self) -> Shapes:
        at = 0
        for level, depth in reversed(tuple(enumerate(self.depths))):
            for block in range(self.blocks + 1):
                yield from _residual(f"output_blocks.{at}.0", 2 * WIDTH, WIDTH)
                yield from self._transformers(f"output_blocks.{at}.1", depth)
                if level and block == self.blocks:
                    yield from conv(f"output_blocks.{at}.{2 if depth else 1}.conv", WIDTH, WIDTH, 3)
                at += 1

    def _transformers(self, name: str, depth: int) -> Shapes:
        """Yield one module of transformer blocks; nothing where there are none."""
        if not depth:
            return
        yield from affine(f"{name}.norm", WIDTH)
        yield from self._ending(f"{name}.proj_in")
        for block in range(depth):
            yield from _transformer(f"{name}.transformer_blocks.{block}", self.context)
        yield from self._ending(f"{name}.proj_out")

    def _ending(self, name: str) -> Shapes:
        return affine(name, WIDTH, WIDTH) if self.linear else conv(name, WIDTH, WIDTH, 1)


def _residual(name: str, inputs: int, outputs: int) -> Shapes:
    yield from affine(f"{name}.in_layers.0", inputs)
    yield from conv(f"{name}.in_layers.2", inputs, outputs, 3)
    yield from affine(f"{name}.emb_layers.1", outputs, EMBEDDED)
    yield from affine(f"{name}.out_layers.0", outputs)
    yield from conv(f"{name}.out_layers.3", outputs, outputs, 3)
    if inputs != outputs:
        yield from conv(f"{name}.skip_connection", inputs, outputs, 1)


def _transformer(name: str, context: int) -> Shapes:
    for attention, source in (("attn1", WIDTH), ("attn2", context)):
        yield from affine(f"{name}.{attention}.to_q", WIDTH, WIDTH, bias=False)
        yield from affine(f"{name}.{attention}.to_k", WIDTH, source, bias=False)
        yield from affine(f"{name}.{attention}.to_v", WIDTH, source, bias=False)
        yield from affine(f"{name}.{attention}.to_out.0", WIDTH, WIDTH)
    yield from affine(f"{name}.ff.net.0.proj", 8 * WIDTH, WIDTH)
    yield from affine(f"{name}.ff.net.2", WIDTH, 4 * WIDTH)
    for norm in ("norm1", "norm2", "norm3"):
        yield from affine(f"{name}.{norm}", WIDTH)
