"""What a checkpoint of each kind consists of, and the configuration that AUTOMATIC1111 builds it from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import texts
from .parts import Shapes, vae
from .unet import Unet


@dataclass(frozen=True)
class Layout:
    """One kind of model."""

    net: Unet
    texts: dict[str, Callable[[], Shapes]]
    """Text encoders by the prefix of their tensors' names."""
    config: str
    """The configuration that AUTOMATIC1111 has for the real model, below its folder."""
    forge: str = ""
    """What Forge must find beside the file; it looks for one line of the original configuration."""

    def parts(self) -> list[tuple[str, Shapes]]:
        """Return prefix and tensors of every part of the checkpoint."""
        own = [(prefix, shapes()) for prefix, shapes in self.texts.items()]
        return [("model.diffusion_model", self.net.shapes()), ("first_stage_model", vae()), *own]

    def small_config(self, root: Path) -> str:
        """Return the configuration of AUTOMATIC1111 in `root` with the UNet made small."""
        full = (root / self.config).read_text(encoding="utf-8")
        unet_part, mark, rest = full.partition("first_stage_config:")
        unet_part = re.sub(r"num_res_blocks: \d+", f"num_res_blocks: {self.net.blocks}", unet_part)
        unet_part = re.sub(r"channel_mult: \[[^]]*\]", f"channel_mult: {[1] * len(self.net.depths)}", unet_part)
        return unet_part + mark + rest


LAYOUTS = {
    "small15": Layout(
        Unet(blocks=1, depths=(1, 1, 1, 0), middle=1, context=768, linear=False),
        {"cond_stage_model": texts.clip},
        "configs/v1-inference.yaml",
    ),
    "small21": Layout(
        Unet(blocks=2, depths=(1, 1, 1, 0), middle=1, context=1024, linear=True),
        {"cond_stage_model": lambda: texts.open_clip(1024, 24)},
        "repositories/stable-diffusion-stability-ai/configs/stable-diffusion/v2-inference-v.yaml",
        forge="model: {params: {parameterization: v}}\n",
    ),
    "smallxl": Layout(
        Unet(blocks=2, depths=(0, 2, 10), middle=10, context=2048, linear=True, told=2816),
        {"conditioner.embedders.0": texts.clip, "conditioner.embedders.1": lambda: texts.open_clip(1280, 32)},
        "repositories/generative-models/configs/inference/sd_xl_base.yaml",
    ),
}
"""By name of the file. Forge tells SDXL by the depths, the width of the text and the vector beside it."""
