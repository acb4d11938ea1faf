"""Samplers by name."""

from __future__ import annotations

from typing import Any

from modules import sd_samplers_common, sd_samplers_kdiffusion, sd_schedulers

samples_to_image_grid = sd_samplers_common.samples_to_image_grid
sample_to_image = sd_samplers_common.sample_to_image
all_samplers = [*sd_samplers_kdiffusion.samplers_data_k_diffusion]
all_samplers_map = {each.name: each for each in all_samplers}
samplers = samplers_for_img2img = all_samplers
samplers_map = {spelling.lower(): each.name for each in all_samplers for spelling in (each.name, *each.aliases)}


def find_sampler_config(name: str | None) -> Any:
    return all_samplers[0] if name is None else all_samplers_map.get(name)


def create_sampler(name: str | None, model: Any) -> Any:
    config = find_sampler_config(name)
    assert config is not None, f"bad sampler name: {name}"
    sampler = config.constructor(model)
    sampler.config = config
    return sampler


def visible_sampler_names() -> list[str]:
    return [each.name for each in samplers]


def visible_samplers() -> list[Any]:
    return list(samplers)


def get_sampler_and_scheduler(
    sampler_name: str | None, scheduler_name: str | None, *, convert_automatic: bool = True
) -> tuple[str, str]:
    scheduler = sd_schedulers.schedulers_map.get(scheduler_name, sd_schedulers.schedulers[0])
    return all_samplers_map.get(sampler_name, all_samplers[0]).name, scheduler.label


def fix_p_invalid_sampler_and_scheduler(p: Any) -> None:
    p.sampler_name, p.scheduler = get_sampler_and_scheduler(p.sampler_name, p.scheduler, convert_automatic=False)
