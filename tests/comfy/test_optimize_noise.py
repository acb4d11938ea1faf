"""HPS Optimize Noise, both variants, inside a real ComfyUI."""

from __future__ import annotations

from comfy_harness import checks

test_optimize_noise = checks("optimize_noise")
