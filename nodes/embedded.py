"""Node that loads the shipped miniature generator as MODEL, CLIP and VAE for the stock nodes."""

from __future__ import annotations

from typing import Any

import comfy.model_management as mm
import comfy.sd
import torch
from comfy_api.latest import io

from ..hpskit.autodiff.aliases import alias, outside_inference
from ..hpskit.embedded import EXAMPLE_PROMPTS
from ..hpskit.embedded.generator import NETWORK_FILE, Generator, load_generator
from ..hpskit.embedded.raster import rasterise
from ..hpskit.errors import HpsError
from ..hpskit.images import to_nhwc
from ..hpskit.paths import models_dir
from . import host

SCALE, SHIFT = 1.5305, 0.0609
"""Latent format of Stable Diffusion 3: a LATENT of the host is x / SCALE + SHIFT of what the network sees."""
SMALLEST = 256
"""Side in pixels of the pictures of the generator's own latents."""


class LoadEmbedded(io.ComfyNode):
    """Loads the miniature text-to-image model that ships with the pack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_LoadEmbedded",
            display_name="HPS Load Embedded",
            category="HPS",
            description="Loads the shipped miniature that draws coloured shapes: try workflows without any download.",
            search_aliases=["demo model", "tiny model", "test model", "checkpoint"],
            inputs=[
                io.Combo.Input(
                    "prompt",
                    options=list(EXAMPLE_PROMPTS),
                    default=EXAMPLE_PROMPTS[0],
                    tooltip="An example of what the miniature can draw; handed on as text.",
                )
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For KSampler: 8 steps, cfg 2, euler, simple."),
                io.Clip.Output(display_name="clip", tooltip="For CLIP Text Encode; knows about sixty words."),
                io.Vae.Output(display_name="vae", tooltip="For VAE Decode; it cannot encode pictures."),
                io.String.Output(display_name="prompt_text", tooltip="The example prompt."),
            ],
        )

    @classmethod
    def execute(cls, prompt: str) -> io.NodeOutput:
        """Load the network with the host's own loader, and its text encoder and rasteriser as CLIP and VAE."""
        generator = load_generator()
        model = comfy.sd.load_diffusion_model(str(models_dir() / "tiny" / NETWORK_FILE))
        return io.NodeOutput(model, ShapesClip(generator), ShapesVae(), prompt)


class ShapesClip:
    """Text encoder of the miniature, with the methods of the host's CLIP that the stock nodes call."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def tokenize(self, text: str, **_: Any) -> dict[str, list[str]]:
        """Return the text; the miniature knows words, not tokens."""
        return {"shapes": [text]}

    def encode_from_tokens(self, tokens: Any, return_pooled: Any = False, return_dict: bool = False, **_: Any) -> Any:
        """Return the context [1, 20, 128], with the pooled vector [1, 128] or as a dictionary when asked."""
        with torch.no_grad():
            encoded = self._generator.encode_prompts(tokens["shapes"])
        if encoded.unknown_words:
            host.log.warning("The miniature does not know: %s", ", ".join(encoded.unknown_words))
        if return_dict:
            return {"cond": encoded.context, "pooled_output": encoded.pooled}
        return (encoded.context, encoded.pooled) if return_pooled else encoded.context

    def encode_from_tokens_scheduled(self, tokens: Any, add_dict: dict[str, Any] | None = None, **_: Any) -> list[Any]:
        """Return CONDITIONING."""
        context, pooled = self.encode_from_tokens(tokens, return_pooled=True)
        return [[context, {"pooled_output": pooled, **(add_dict or {})}]]

    def clone(self) -> ShapesClip:
        """Return itself: it has no state that a node could change."""
        return self

    def clip_layer(self, layer: int) -> None:
        """Do nothing: there is only one layer to take."""


class ShapesVae:
    """Rasteriser of the miniature, with the methods of the host's VAE that the stock nodes call."""

    latent_channels = 16
    latent_dim = 2
    output_channels = 3
    downscale_ratio = 8
    upscale_ratio = 8
    vae_dtype = torch.float32
    device = torch.device("cpu")

    def decode(self, samples: torch.Tensor, **_: Any) -> torch.Tensor:
        """Return the IMAGE batch of latents [n, 16, h, w]: squares of 256 pixels, larger for latents above 32 x 32."""
        with torch.no_grad():
            return to_nhwc(self.decode_with_gradients(samples)).to(mm.intermediate_device())

    def decode_with_gradients(self, samples: torch.Tensor) -> torch.Tensor:
        """Return images [n, 3, H, W] in 0..1 of latents [n, 16, h, w], of the size that decode gives."""
        with outside_inference():
            latent = (alias(samples).to(self.device, torch.float32) - SHIFT) * SCALE
            size = max(SMALLEST, self.downscale_ratio * max(samples.shape[-2:]))
            return rasterise(latent, size)

    def decode_tiled(self, samples: torch.Tensor, **_: Any) -> torch.Tensor:
        """Decode as a whole: a scene has no tiles, and needs little memory."""
        return self.decode(samples)

    def encode(self, pixels: torch.Tensor, **_: Any) -> torch.Tensor:
        """Refuse: raises HpsError."""
        raise HpsError(
            "The miniature can draw scenes but not read them from a picture: it cannot encode. "
            "Start from an Empty Latent Image, or pass the latent on instead of the image."
        )

    encode_tiled = encode

    def spacial_compression_decode(self) -> int:
        """Return pixels per latent cell, as the host counts them."""
        return self.downscale_ratio

    def temporal_compression_decode(self) -> None:
        """Return None: no video."""

    def throw_exception_if_invalid(self) -> None:
        """Do nothing: it is valid."""


NODES = (LoadEmbedded,)
