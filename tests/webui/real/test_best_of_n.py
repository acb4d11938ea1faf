"""Best of N, both ways, in the real hosts."""

from __future__ import annotations

from webui_harness import checks

from .conftest import INSIDE

test_best_of_n = checks(INSIDE / "best_of_n.py", timeout=400)
