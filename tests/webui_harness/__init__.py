"""Runs AUTOMATIC1111 and Forge, the real ones, on the CPU with a small random checkpoint.

A check inside a host (one process for many checks, about 30 s to start, then a second or two each)
----------------------------------------------------------------------------------------------------
tests/webui/real/inside/<name>.py holds functions check_...() that run in the host's Python and import `webui_inside`::

    from webui_inside import txt2img

    def check_two_of_three_are_kept() -> None:
        made = txt2img({"mode": "best-of-n", "candidates": 3, "keep": 2}, batch_size=1)
        assert len(made.images) == 2 and not made.errors, made.log

and tests/webui/real/test_<name>.py says ``test = checks(INSIDE / "<name>.py")``: one case per check and host.

A check against a server (fixture `server`, with a browser when wanted)
------------------------------------------------------------------------
::

    def test_the_api_takes_a_dictionary(server):
        answer = server.txt2img({"mode": "score"})
        assert "HPS score" in answer.info["infotexts"][0]

The hosts are named by HPS_A1111_ROOT and HPS_FORGE_ROOT; without them these tests skip. By hand:
``PYTHONPATH=tests python -m webui_harness check a1111 file.py`` and ``... serve forge``.
"""

from __future__ import annotations

from .checks import checks
from .hosts import EXTENSION, KINDS, REPO, TITLES, WebHost, cache, find, make_data
from .server import Answer, Rejected, Server, decode, encode
from .worker_client import CheckFailed, Worker, check_names

__all__ = [
    "EXTENSION", "KINDS", "REPO", "TITLES", "Answer", "CheckFailed", "Rejected", "Server", "WebHost", "Worker", "cache",
    "check_names", "checks", "decode", "encode", "find", "make_data",
]  # fmt: skip
