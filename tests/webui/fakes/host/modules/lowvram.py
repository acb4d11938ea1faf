"""Low memory modes: `web` turns them on; the fake notes who sent everything to the CPU."""

from __future__ import annotations

from typing import Any

enabled = False
sent: list[str] = []


def is_enabled(sd_model: Any) -> bool:
    return enabled


def is_needed(sd_model: Any) -> bool:
    return enabled


def send_everything_to_cpu() -> None:
    sent.append("cpu")
