"""Everyday jobs of the host, with the pack off, scoring, or not installed at all; run by test_plain.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from webui_inside import Made, digest, img2img, mask, scene, script, txt2img, values

PROBE = "HPS test probe"
_OURS = re.compile(r", HPS [a-z]+: (\"[^\"]*\"|[^,\n]*)")


def _xyz(panel: Any) -> Made:
    module = next(each for each in _axes() if each)
    labels = [option.label for option in module]
    chosen = {"X type": labels.index("Seed"), "X values": "10, 20", "Y type": labels.index("Steps"), "Y values": "1, 2"}
    panel_values = values("X/Y/Z plot", {**chosen, "Z type": 0, "Include Sub Images": True})
    return txt2img(panel, script="X/Y/Z plot", script_args=panel_values)


def _axes() -> Any:
    """Give the axes that the text-to-image tab offers, in the order of the panel."""
    yield script("X/Y/Z plot").current_axis_options


def _upscale(panel: Any) -> Made:
    given = values("SD upscale", {"Tile overlap": 16, "Scale Factor": 2, "Upscaler": 0}, "img2img")
    return img2img(scene(), panel, script="SD upscale", script_args=given, width=96, height=96)


def _loopback(panel: Any) -> Made:
    given = values("Loopback", {"Loops": 2}, "img2img")
    return img2img(scene(), panel, script="Loopback", script_args=given)


JOBS: dict[str, Callable[[Any], Made]] = {
    "txt2img": lambda panel: txt2img(panel, batch_size=2, n_iter=2, save=True),
    "ancestral": lambda panel: txt2img(panel, sampler_name="DPM++ 2M SDE", batch_size=2, steps=3),
    "variation": lambda panel: txt2img(panel, subseed=7, subseed_strength=0.3, sampler_name="Euler a"),
    "hires": lambda panel: txt2img(
        panel, enable_hr=True, hr_scale=1.5, hr_upscaler="Latent", denoising_strength=0.6, hr_second_pass_steps=1
    ),
    "img2img": lambda panel: img2img(scene(), panel, batch_size=2),
    "inpaint": lambda panel: img2img(scene(), panel, mask=mask()),
    "inpaint a part": lambda panel: img2img(scene(), panel, mask=mask(), inpaint_full_res=True),
    "matrix": lambda panel: txt2img(
        panel, prompt="a red|circle|big", script="Prompt matrix", script_args=values("Prompt matrix", {})
    ),
    "xyz": _xyz,
    "upscale": _upscale,
    "loopback": _loopback,
}


def everything(panel: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run all jobs; give what came out of each, the callbacks of the other extension, and reported exceptions."""
    return {name: _one(job, panel) for name, job in JOBS.items()}


def _one(job: Callable[[Any], Made], panel: Any) -> dict[str, Any]:
    probe = script(PROBE)
    probe.calls.clear()
    made = job(panel)
    return {
        "images": [digest(image) for image in made.processed.images],
        "infotexts": [_OURS.sub("", text) for text in made.processed.infotexts],
        "seeds": [made.processed.all_seeds, made.processed.index_of_first_image],
        "calls": list(probe.calls),
        "files": len(made.files),
        "errors": made.errors,
        "scored": sum(score is not None for score in made.scores),
    }
