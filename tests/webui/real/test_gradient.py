"""Gradients of the noise in the real hosts: samplers, img2img, memory, and that nothing is left behind."""

from __future__ import annotations

from webui_harness import checks

from .conftest import INSIDE

test_paths = checks(INSIDE / "gradient_paths.py")
