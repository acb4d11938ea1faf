"""HPS Reward Guidance with the stock samplers of a real ComfyUI."""

from __future__ import annotations

from comfy_harness import checks

test_steer = checks("steer", slow=("check_every_stock_sampler_can_be_guided",), timeout=240)
