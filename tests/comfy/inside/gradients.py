"""Checks of gradients through real samplers: finite differences, bit-identity with the stock run, nothing left."""

from __future__ import annotations

from typing import Any

from comfy_inside import sibling

probe = sibling("gradients_probe")
tiny = probe.tiny


def check_euler_at_one_to_four_steps() -> Any:
    return {f"{kind} {n}": probe.expect(kind, steps=n) for kind in ("sd15", "sd3") for n in (1, 2, 4)}


def check_dpmpp_2m_and_lcm() -> Any:
    runs = (("sd15", "dpmpp_2m", 4), ("sd15", "lcm", 3), ("sd3", "lcm", 2), ("sd15", "dpmpp_2m", 2))
    return {f"{kind} {name} {n}": probe.expect(kind, steps=n, sampler=name) for kind, name, n in runs}
