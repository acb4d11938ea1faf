"""HPS Compare Settings inside a real ComfyUI."""

from __future__ import annotations

from comfy_harness import checks

test_compare = checks("compare")
test_compare_exact = checks("compare_exact")
test_compare_keys = checks("compare_keys")
