"""Best of N beside extensions that change images, in the real hosts."""

from __future__ import annotations

from webui_harness import checks

from .conftest import INSIDE

test_others = checks(INSIDE / "others.py", timeout=400)
