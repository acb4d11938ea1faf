"""The order of the callbacks that the fakes replay is the one measured in both real hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fakes.web import Web

START = ["setup", "before_process", "process"]
BATCH = [
    "before_process_batch", "after_extra_networks_activate", "process_batch", "process_before_every_sampling",
    "post_sample", "postprocess_batch", "postprocess_batch_list",
]  # fmt: skip
PICTURE = ["postprocess_image", "postprocess_maskoverlay", "postprocess_image_after_composite"]


def test_callbacks_come_in_the_measured_order(web: Web) -> None:
    seen = web.record()
    web.txt2img(n_iter=2, batch_size=2)
    assert seen == [*START, *(BATCH + PICTURE * 2) * 2, "postprocess"]


def test_forge_announces_the_hires_pass_twice(web: Web) -> None:
    seen = web.record()
    web.txt2img(enable_hr=True, hr_scale=2.0)
    assert seen.count("process_before_every_sampling") == (3 if web.forge else 2)


def test_a_picture_does_not_hang_on_its_batch(web: Web) -> None:
    together = web.pictures(web.txt2img(batch_size=3, seed=5, sampler_name="Euler a"))
    alone = [web.pictures(web.txt2img(seed=seed, sampler_name="Euler a"))[0] for seed in (5, 6, 7)]
    assert [each.tobytes() for each in together] == [each.tobytes() for each in alone]
    assert len({each.tobytes() for each in together}) == 3
