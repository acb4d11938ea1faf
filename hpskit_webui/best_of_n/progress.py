"""The steps that a job takes, for the host's bar of the total progress in the console."""

from __future__ import annotations

from typing import Any


def steps_of(p: Any) -> int:
    """Return the sampling steps of a first pass: img2img leaves out what the denoising strength skips."""
    if not hasattr(p, "init_images"):
        return int(getattr(p, "steps", 0) or 0)
    from modules import sd_samplers_common

    return int(sd_samplers_common.setup_img2img_steps(p)[1]) + 1


def all_steps_of(p: Any) -> int:
    """Return the sampling steps of a whole picture, hires fix included."""
    again = (getattr(p, "hr_second_pass_steps", 0) or p.steps) if getattr(p, "enable_hr", False) else 0
    return steps_of(p) + int(again)


def more_steps(p: Any, passes: int, spared: int = 0) -> None:
    """Tell the console's bar of so many more first passes, or fewer; `spared` are those that it counts and we spare.

    A bar that does not run yet has been told nothing: then these passes are all that there is.
    """
    from modules import shared

    bar = getattr(shared, "total_tqdm", None)
    running = getattr(bar, "_tqdm", None)
    if running is None and spared:
        bar.updateTotal(max(0, passes * steps_of(p)))
    elif running is not None and getattr(running, "total", None):
        bar.updateTotal(max(0, int(running.total) + (passes - spared) * steps_of(p)))
