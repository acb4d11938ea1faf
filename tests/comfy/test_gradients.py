"""Gradients through the sampling and decoding of a real ComfyUI."""

from __future__ import annotations

from comfy_harness import checks

PATIENCE = 300
"""Seconds for one check: finite differences take some dozen renders, and the machine may be busy."""

test_gradients = checks("gradients", timeout=PATIENCE)
test_samplers = checks("gradients_samplers", slow=("check_every_stock_sampler",), timeout=PATIENCE)
test_matrix = checks("gradients_matrix", timeout=PATIENCE)
test_decoding = checks("gradients_vae", timeout=PATIENCE)
test_preflight = checks("gradients_preflight", timeout=PATIENCE)
test_in_place = checks("gradients_in_place", timeout=PATIENCE)
