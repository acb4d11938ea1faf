"""The two towers of the miniature scorer: open_clip's modules, run by a forward pass that is fast on one CPU thread."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

VISION = {"image_size": 64, "layers": 4, "width": 160, "head_width": 32, "patch_size": 8}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3}
EMBED_DIM = 256
JUDGE = {"width": 128}
"""What differs in the vision tower of hps-tiny-judge, the scorer that is held out of every optimisation."""
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


def build(vocabulary: int = TEXT["vocab_size"]) -> CLIP:
    """Build the network with random weights; the training uses a vocabulary of only the rows that occur."""
    return CLIP(EMBED_DIM, dict(VISION), {**TEXT, "vocab_size": vocabulary})


def _blocks(x: Tensor, blocks: Any, heads: int, mask: Tensor | None) -> Tensor:
    n, length, width = x.shape
    for block in blocks:
        attention = block.attn
        qkv = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = qkv.view(n, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        # Written out: the backward pass of the fused bfloat16 kernel takes most of a step on a CPU.
        scores = (q * (width // heads) ** -0.5) @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores + mask
        mixed = (scores.softmax(-1).to(v.dtype) @ v).transpose(1, 2).reshape(n, length, width)
        x = x + F.linear(mixed, attention.out_proj.weight, attention.out_proj.bias)
        x = x + block.mlp(block.ln_2(x))
    return x


def encode_images(model: CLIP, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return patch features [n, 64, width] and embeddings [n, d] (not normalised) of images [n, 3, 64, 64] in 0..1."""
    visual = model.visual
    x = visual.conv1((images - MEAN) / STD).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], 1) + visual.positional_embedding
    x = _blocks(visual.ln_pre(x), visual.transformer.resblocks, VISION["width"] // VISION["head_width"], None)
    x = visual.ln_post(x)
    return x[:, 1:], x[:, 0] @ visual.proj


def encode_texts(model: CLIP, tokens: Tensor) -> Tensor:
    """Return embeddings [n, d] (not normalised) of compact tokens [n, length], padded with 0, the end token largest.

    Attention is causal and the end token is read, so cutting the padding off changes nothing.
    """
    tokens = tokens.long()
    tokens = tokens[:, : int((tokens != 0).sum(1).max())]
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    mask = torch.full((length, length), float("-inf")).triu(1)
    x = model.ln_final(_blocks(x, model.transformer.resblocks, TEXT["heads"], mask))
    return x[torch.arange(len(x)), tokens.argmax(1)] @ model.text_projection


def export(state: Mapping[str, Tensor], rows: Tensor, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the scorer, named like its file, in half precision with only the used rows of the token table."""
    tensors = {k: v.detach().half().contiguous() for k, v in state.items() if not k.endswith("attn_mask")}
    tensors["token_embedding.rows"] = rows.to(torch.int32)
    config = {"embed_dim": EMBED_DIM, "vision_cfg": VISION, "text_cfg": TEXT}
    save_file(tensors, path, metadata={"config": json.dumps(config), "name": path.stem, **metadata})


def load(path: Path, *, expand: bool = False) -> tuple[CLIP, Tensor]:
    """Read an exported scorer; returns the network in float32 and the BPE ids of its token rows.

    With `expand` the token table has all 49408 rows (the mean row for words that it never saw): stock open_clip's.
    """
    with safe_open(str(path), "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    rows = state.pop("token_embedding.rows").long()
    state = {key: value.float() for key, value in state.items()}
    if expand:
        table = state["token_embedding.weight"]
        full = table.mean(0, keepdim=True).repeat(TEXT["vocab_size"], 1)
        full[rows] = table
        state["token_embedding.weight"] = full
    model = build(TEXT["vocab_size"] if expand else len(rows))
    model.load_state_dict(state, strict=False)
    return model.eval().requires_grad_(False), rows
