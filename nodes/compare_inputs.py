"""The inputs of HPS Compare Settings that are typed, and what is worth saying of them."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

from comfy_api.latest import io

from ..hpskit.study.design import Recipe
from .compare_models import Wired
from .compare_run import Plan
from .sampling import SEEDS

_LISTS = "Separate with commas."
_RANGES = "Ranges: 4-20 (+4) counts by 4, 0.5-1.5 [5] takes 5 values."
_EXAMPLES = "a red apple on a wooden table\na portrait of an old sailor\na village in the mountains at dusk"
_RARE: dict[str, Any] = {"advanced": True} if "advanced" in signature(io.String.Input).parameters else {}
"""Marks an input that few need, where the host knows how to fold such inputs away."""


def typed() -> list[Any]:
    """Return the inputs that are typed, those that are used most first."""
    return [*_prompts(), *_settings(), *_runs(), *_rare_settings(), *_rare_runs()]


def _prompts() -> list[Any]:
    return [
        io.String.Input(
            "prompts",
            multiline=True,
            default=_EXAMPLES,
            tooltip="One prompt a line. More prompts say more than more seeds: results hold for prompts like these.",
        ),
        io.Int.Input("seeds_per_prompt", default=4, min=1, max=1000, tooltip="How many seeds each prompt gets."),
    ]


def _settings() -> list[Any]:
    """Return the inputs that say what is compared: every combination of them is a setting."""
    return [
        io.String.Input("samplers", default="euler, dpmpp_2m", tooltip=f"Samplers to compare. {_LISTS}"),
        io.String.Input("schedulers", default="normal", tooltip=f"Schedulers to compare. {_LISTS}"),
        io.String.Input("steps", default="20", tooltip=f"Numbers of steps. {_LISTS} {_RANGES}"),
        io.String.Input("cfgs", default="7", tooltip=f"Guidance scales. {_LISTS} {_RANGES}"),
        io.String.Input(
            "reference", default="", tooltip="Label of the setting the others are compared with. Blank: the first."
        ),
        io.String.Input(
            "loras",
            default="",
            tooltip="LoRAs with their strengths, such as detail: 0, 0.5, 1; ink: 0, 1. Each LoRA is an axis.",
        ),
        io.String.Input(
            "checkpoints",
            default="",
            tooltip="Checkpoints to compare, such as one; two, each with its own CLIP and VAE. Blank: the given model.",
        ),
    ]


def _runs() -> list[Any]:
    """Return the inputs that say how much is sampled, and how."""
    return [
        io.String.Input("negative_text", default="", tooltip="The negative prompt of all images."),
        io.Int.Input(
            "first_seed",
            default=0,
            min=0,
            max=SEEDS - 1,
            tooltip="The first seed; the others count up. Every prompt and setting gets the same seeds.",
        ),
        io.Float.Input(
            "max_seconds",
            default=0.0,
            min=0.0,
            max=1e6,
            step=1.0,
            tooltip="Start no more images then and tell what the finished ones show. 0 switches it off.",
        ),
    ]


def _rare_settings() -> list[Any]:
    return [
        io.String.Input(
            "shifts",
            default="",
            tooltip=f"Shifts of the noise schedule (SD3, Flux, AuraFlow...). Blank: the model's own. {_RANGES}",
            **_RARE,
        ),
        io.String.Input(
            "prompt_variants",
            default="",
            tooltip="Wordings to compare, a vertical bar between, with prompt in braces. Scored is the prompt alone.",
            **_RARE,
        ),
        io.Float.Input(
            "denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="Below 1 keeps the latent in part.", **_RARE
        ),
    ]


def _rare_runs() -> list[Any]:
    return [
        io.Boolean.Input(
            "clean_prompt", default=True, tooltip="Score without weights, LoRA tags and separators.", **_RARE
        ),
        io.Boolean.Input(
            "match_saved_file",
            default=True,
            tooltip="Score what Save Image will write: the image rounded to 8 bit.",
            **_RARE,
        ),
        io.Int.Input(
            "chunk",
            default=0,
            min=0,
            max=256,
            tooltip="How many seeds share a model call. 0: what fits, at most 8.",
            **_RARE,
        ),
        io.Boolean.Input(
            "exact",
            default=False,
            tooltip="Sample one by one, so that KSampler gives the identical image. Off: faster.",
            **_RARE,
        ),
        io.Int.Input(
            "cell_size",
            default=256,
            min=64,
            max=1024,
            step=8,
            tooltip="Side of a picture in the grid.",
            **_RARE,
        ),
    ]


def notes(plan: Plan, wired: Wired, private: bool, restless: Sequence[str], given: int) -> list[str]:
    """Return what a person should know about these inputs."""
    recipes: Sequence[Recipe] = plan.design.recipes
    found = []
    if given > 1:
        found.append(f"The latent holds {given} items; all images start from the first.")
    if wired.positive is not None and any(recipe.checkpoint or recipe.loras for recipe in recipes):
        found.append(
            "The conditionings are connected, so checkpoints and LoRAs did not change how the prompt was read."
        )
    if wired.negative is not None and plan.negative.strip():
        found.append("A negative conditioning is connected; the negative text was not used.")
    if restless:
        names = ", ".join(sorted(set(restless)))
        found.append(f"Images of earlier runs were not used again: {names} gives something else every time.")
    elif private:
        found.append("Recording is off: a run that is stopped goes on until the server is restarted, not after that.")
    return found
