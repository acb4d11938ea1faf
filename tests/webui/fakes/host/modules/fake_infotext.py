"""The text below a picture, with values that are texts, lists by number, or callables; not a module of the hosts."""

from __future__ import annotations

from typing import Any

from modules import FORGE, errors, infotext_utils
from modules.shared import opts


def program_version() -> str:
    return "f2.0.1-fake" if FORGE else "v1.10.1-fake"


def create_infotext(
    p: Any, all_prompts: Any, all_seeds: Any, all_subseeds: Any, comments: Any = None, iteration: int = 0,
    position_in_batch: int = 0, use_main_prompt: bool = False, index: int | None = None,
    all_negative_prompts: Any = None,
) -> str:  # fmt: skip
    if use_main_prompt:
        index = 0
    elif index is None:
        index = position_in_batch + iteration * p.batch_size
    if all_negative_prompts is None:
        all_negative_prompts = p.all_negative_prompts
    prompt_text = p.main_prompt if use_main_prompt else all_prompts[index]
    negative_prompt = p.main_negative_prompt if use_main_prompt else all_negative_prompts[index]
    own = p.extra_generation_params
    varied = p.subseed_strength != 0
    fields = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "Schedule type": p.scheduler,
        "CFG scale": p.cfg_scale,
        "Seed": p.all_seeds[0] if use_main_prompt else all_seeds[index],
        "Size": f"{p.width}x{p.height}",
        "Model hash": p.sd_model_hash,
        "Model": p.sd_model_name,
        "Variation seed": (p.all_subseeds[0] if use_main_prompt else all_subseeds[index]) if varied else None,
        "Variation seed strength": p.subseed_strength if varied else None,
        "Denoising strength": own.get("Denoising strength"),
        "RNG": opts.randn_source,
        **own,
        "Version": program_version(),
    }
    # What a callable gets is every name of the function that calls it.
    given = {
        "p": p, "all_prompts": all_prompts, "all_seeds": all_seeds, "all_subseeds": all_subseeds, "comments": comments,
        "iteration": iteration, "position_in_batch": position_in_batch, "use_main_prompt": use_main_prompt,
        "index": index, "all_negative_prompts": all_negative_prompts, "prompt_text": prompt_text,
        "negative_prompt": negative_prompt, "generation_params": fields,
    }  # fmt: skip
    for name, value in fields.items():
        try:
            if isinstance(value, list):
                fields[name] = value[index]
            elif callable(value):
                fields[name] = value(**given, key=name, value=value)
        except Exception:
            errors.report(f'Error creating infotext for key "{name}"', exc_info=True)
            fields[name] = None
    known = {name: value for name, value in fields.items() if value is not None}
    line = ", ".join(
        name if name == value else f"{name}: {infotext_utils.quote(value)}" for name, value in known.items()
    )
    negative = f"\nNegative prompt: {negative_prompt}" if negative_prompt else ""
    return f"{prompt_text}{negative}\n{line}".strip()
