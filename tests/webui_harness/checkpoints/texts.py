"""Text encoders, of full size: the hosts take their shapes from elsewhere."""

from __future__ import annotations

from .parts import Shapes, affine

TOKENS, LENGTH = 49408, 77
CLIP_WIDTH, CLIP_LAYERS = 768, 12


def clip() -> Shapes:
    """Yield name and shape of every tensor of CLIP ViT-L/14."""
    root = "transformer.text_model"
    yield f"{root}.embeddings.token_embedding.weight", (TOKENS, CLIP_WIDTH)
    yield f"{root}.embeddings.position_embedding.weight", (LENGTH, CLIP_WIDTH)
    for layer in range(CLIP_LAYERS):
        block = f"{root}.encoder.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from affine(f"{block}.self_attn.{part}", CLIP_WIDTH, CLIP_WIDTH)
        yield from affine(f"{block}.mlp.fc1", 4 * CLIP_WIDTH, CLIP_WIDTH)
        yield from affine(f"{block}.mlp.fc2", CLIP_WIDTH, 4 * CLIP_WIDTH)
        yield from affine(f"{block}.layer_norm1", CLIP_WIDTH)
        yield from affine(f"{block}.layer_norm2", CLIP_WIDTH)
    yield from affine(f"{root}.final_layer_norm", CLIP_WIDTH)


def open_clip(width: int, layers: int) -> Shapes:
    """Yield name and shape of every tensor of an OpenCLIP: ViT-H-14 has 24 layers of 1024, ViT-bigG-14 32 of 1280."""
    yield "model.token_embedding.weight", (TOKENS, width)
    yield "model.positional_embedding", (LENGTH, width)
    for layer in range(layers):
        block = f"model.transformer.resblocks.{layer}"
        yield from affine(f"{block}.ln_1", width)
        yield f"{block}.attn.in_proj_weight", (3 * width, width)
        yield f"{block}.attn.in_proj_bias", (3 * width,)
        yield from affine(f"{block}.attn.out_proj", width, width)
        yield from affine(f"{block}.ln_2", width)
        yield from affine(f"{block}.mlp.c_fc", 4 * width, width)
        yield from affine(f"{block}.mlp.c_proj", width, 4 * width)
    yield from affine("model.ln_final", width)
    yield "model.text_projection", (width, width)
    yield "model.logit_scale", ()
