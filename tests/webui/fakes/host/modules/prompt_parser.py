"""Prompts to conditionings: schedules by step, and `AND` compositions with weights."""

from __future__ import annotations

import re
from collections import namedtuple
from typing import Any

import torch
from modules import FORGE, fake_model

ScheduledPromptConditioning = namedtuple("ScheduledPromptConditioning", ["end_at_step", "cond"])


class DictWithShape(dict):  # type: ignore[type-arg]
    def __init__(self, x: Any, shape: Any = None) -> None:
        super().__init__()
        self.update(x)

    @property
    def shape(self) -> Any:
        return self["crossattn"].shape


class SdConditioning(list):  # type: ignore[type-arg]
    def __init__(
        self, prompts: Any, is_negative_prompt: bool = False, width: Any = None, height: Any = None,
        copy_from: Any = None, distilled_cfg_scale: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(prompts)
        like = prompts if copy_from is None else copy_from
        self.is_negative_prompt = is_negative_prompt or getattr(like, "is_negative_prompt", False)
        self.width, self.height = width or getattr(like, "width", None), height or getattr(like, "height", None)
        if FORGE:
            self.distilled_cfg_scale = distilled_cfg_scale or getattr(like, "distilled_cfg_scale", None)


class ComposableScheduledPromptConditioning:
    def __init__(self, schedules: Any, weight: float = 1.0) -> None:
        self.schedules, self.weight = schedules, weight


class MulticondLearnedConditioning:
    def __init__(self, shape: Any, batch: Any) -> None:
        self.shape, self.batch = shape, batch


def _schedule(prompt: str, steps: int) -> list[tuple[int, str]]:
    """Understand one `[before:after:when]` of a prompt; all other syntax is text."""
    found = re.search(r"\[([^:\[\]]*):([^:\[\]]*):([\d.]+)\]", prompt)
    if not found:
        return [(steps, prompt)]
    when = float(found[3])
    first = int(when if when >= 1 else when * steps)
    return [(first, prompt.replace(found[0], found[1])), (steps, prompt.replace(found[0], found[2]))]


def get_learned_conditioning(
    model: Any, prompts: Any, steps: int, hires_steps: Any = None, use_old_scheduling: bool = False
) -> Any:
    every = []
    for prompt in prompts:
        parts = _schedule(prompt, steps)
        conds = model.get_learned_conditioning(SdConditioning([text for _, text in parts], copy_from=prompts))
        every.append([ScheduledPromptConditioning(end, fake_model.row(conds, k)) for k, (end, _) in enumerate(parts)])
    return every


def get_multicond_learned_conditioning(
    model: Any, prompts: Any, steps: int, hires_steps: Any = None, use_old_scheduling: bool = False
) -> MulticondLearnedConditioning:
    batch = []
    for prompt in prompts:
        parts = [_weighted(part) for part in re.split(r"\bAND\b", prompt)]
        learned = get_learned_conditioning(model, SdConditioning([text for text, _ in parts], copy_from=prompts), steps)
        batch.append([ComposableScheduledPromptConditioning(learned[k], weight) for k, (_, weight) in enumerate(parts)])
    return MulticondLearnedConditioning((len(prompts),), batch)


def _weighted(part: str) -> tuple[str, float]:
    found = re.fullmatch(r"(.*?)\s*:\s*([-+]?[\d.]+)\s*", part, re.S)
    return (found[1], float(found[2])) if found else (part, 1.0)


def _at(schedules: Any, current_step: int) -> Any:
    return next((part.cond for part in schedules if current_step <= part.end_at_step), schedules[0].cond)


def _stacked(conds: list[Any]) -> Any:
    if not isinstance(conds[0], dict):
        return torch.stack(conds)
    return DictWithShape({name: torch.stack([cond[name] for cond in conds]) for name in conds[0]})


def reconstruct_cond_batch(c: Any, current_step: int) -> Any:
    return _stacked([_at(schedules, current_step) for schedules in c])


def reconstruct_multicond_batch(c: MulticondLearnedConditioning, current_step: int) -> Any:
    tensors, places = [], []
    for composed in c.batch:
        places.append([(len(tensors) + k, part.weight) for k, part in enumerate(composed)])
        tensors += [_at(part.schedules, current_step) for part in composed]
    return places, _stacked(tensors)


def parse_prompt_attention(text: str) -> list[list[Any]]:
    return [[text, 1.0]]
