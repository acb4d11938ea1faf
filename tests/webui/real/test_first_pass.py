"""Best of N before finishing in the real hosts: a winner's seed made alone gives the winner."""

from __future__ import annotations

from webui_harness import checks

from .conftest import INSIDE

test_first_pass = checks(INSIDE / "first_pass.py", timeout=600)
