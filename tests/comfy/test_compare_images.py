"""HPS_CompareImages in a real ComfyUI."""

from __future__ import annotations

from comfy_harness import checks

test_compare_images = checks("compare_images")
