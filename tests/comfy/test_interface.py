"""What the nodes give the interface, in a real ComfyUI."""

from __future__ import annotations

from comfy_harness import checks

test_interface = checks("interface")
