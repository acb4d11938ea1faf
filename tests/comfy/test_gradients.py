"""Gradients through the sampling of a real ComfyUI."""

from __future__ import annotations

from comfy_harness import checks

test_gradients = checks("gradients")
