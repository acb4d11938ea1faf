"""HPS Optimize Noise, both variants, and the files of noises, inside a real ComfyUI."""

from __future__ import annotations

from comfy_harness import checks

test_results = checks("optimize_noise")
test_wired = checks("optimize_noise_wired")
test_stops = checks("optimize_noise_stops")
test_files = checks("noise_files")
