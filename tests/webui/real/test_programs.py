"""The hosts' own routes with our arguments, and comparisons by name, in the real hosts."""

from __future__ import annotations

from webui_harness import checks

from .conftest import INSIDE

test_programs = checks(INSIDE / "programs.py")
