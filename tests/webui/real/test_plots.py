"""X/Y/Z plots with scores in the real hosts."""

from __future__ import annotations

from webui_harness import checks

from .conftest import INSIDE

test_plots = checks(INSIDE / "plots.py")
