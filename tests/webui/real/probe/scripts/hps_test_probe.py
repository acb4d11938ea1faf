"""Another extension, for tests: notes every callback it gets, and changes nothing."""

from __future__ import annotations

from typing import Any

from modules import script_callbacks, scripts

CALLS: list[str] = []
_NAMES = (
    "setup", "before_process", "process", "before_process_batch", "after_extra_networks_activate", "process_batch",
    "process_before_every_sampling", "post_sample", "on_mask_blend", "postprocess_batch", "postprocess_batch_list",
    "postprocess_image", "postprocess_maskoverlay", "postprocess_image_after_composite", "postprocess",
)  # fmt: skip


class Probe(scripts.Script):
    calls = CALLS

    def title(self) -> str:
        return "HPS test probe"

    def show(self, is_img2img: bool) -> Any:
        return scripts.AlwaysVisible


def _noting(name: str) -> Any:
    def called(self: Any, p: Any, *args: Any, **kwargs: Any) -> None:
        CALLS.append(name)

    return called


for _name in _NAMES:
    setattr(Probe, _name, _noting(_name))

script_callbacks.on_cfg_denoiser(lambda params: CALLS.append(f"cfg_denoiser {params.sampling_step}"))
script_callbacks.on_cfg_after_cfg(lambda params: CALLS.append("cfg_after_cfg"))
script_callbacks.on_before_image_saved(lambda params: CALLS.append("before_image_saved"))
script_callbacks.on_image_saved(lambda params: CALLS.append("image_saved"))
script_callbacks.on_image_grid(lambda params: CALLS.append("image_grid"))
