"""HPS_Report in a real ComfyUI."""

from __future__ import annotations

from comfy_harness import checks

test_report = checks("report")
test_report_search = checks("report_search")
