"""Writes small random checkpoints, for hosts that need one to make any picture; the names are those of LAYOUTS.

Usage: python -m checkpoints <layout> <file.safetensors>, in the folder above; needs torch and safetensors only.
AUTOMATIC1111 builds the network from the layout's small_config(...) in <file.yaml> beside it; Forge guesses it from the
weights. The UNets have one width; VAE and text encoders are of full size, because the hosts take their shapes from
elsewhere. That of Stable Diffusion 1.5 has 0.6 GB, of 2.1 (which predicts v) 1.1 GB, of SDXL 2.4 GB.
"""

from __future__ import annotations

from .layouts import LAYOUTS, Layout

__all__ = ["LAYOUTS", "Layout"]
