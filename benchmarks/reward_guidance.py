"""What reward guidance does to the miniature's pictures, by the guiding score and by a judge that learned nothing.

    python benchmarks/reward_guidance.py            # the tables of docs/reward_guidance.md, five to ten minutes
    python benchmarks/reward_guidance.py --tune     # the grid from which the defaults were chosen, on other prompts

The generator is sampled by Euler steps, and by DPM++ 2M, with the nudge of hpskit/search/steering.py between prediction
and step, as the node does it in ComfyUI. The pictures are judged by the scorer that guided, at another size, and by the
oracle of training/oracle.py, which checks colours, shapes, places and counts by pixels. Prints markdown.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))

import oracle
import torch
from torch import Tensor
from world import Spec, prompt_of

from hpskit.embedded import Generator, load_generator
from hpskit.embedded.generator import schedule
from hpskit.scorers import load_scorer
from hpskit.search.steering import Reward, Steering, Window, noise_to_signal, nudge, reward_of

STEPS = 8
GUIDED_SIZE, JUDGED_SIZE = 64, 128
"""Sides in pixels of the pictures that guide and of those that are judged."""
COLUMNS = ("score", "alignment", "all right", "fidelity")
TUNING, REPORTED = 11, 2024
"""Seeds of the two disjoint sets of prompts."""


@dataclass(frozen=True)
class Task:
    """n pictures to make: n specs with their prompts and noises."""

    specs: tuple[Spec, ...]
    prompts: tuple[str, ...]
    noise: Tensor


@dataclass(frozen=True)
class Setting:
    """One way of guiding; `start` and `end` are shares of the steps."""

    strength: float
    inner_steps: int = 1
    start: float = 0.0
    end: float = 1.0
    every: int = 1
    max_nudge: float = 1.0

    def window(self, sigmas: Sequence[float]) -> Window:
        """Return the window of noise levels."""
        edges = [sigmas[round(share * (len(sigmas) - 1))] for share in (self.start, self.end)]
        return Window(edges[0], edges[1], self.every)


def task(seed: int, prompts: int, seeds: int, generator: Generator) -> Task:
    """Draw prompts that the oracle can judge, each with `seeds` noises."""
    draw = random.Random(seed)
    specs = [oracle.easy_spec(draw) for _ in range(prompts)]
    texts = [prompt_of(spec, draw) for spec in specs]
    noise = generator.noise(range(1000 * seed, 1000 * seed + prompts * seeds))
    return Task(tuple(specs * seeds), tuple(texts * seeds), noise)


def sample(
    generator: Generator, job: Task, cfg: float, setting: Setting | None, reward: Reward, multistep: bool = False
) -> Tensor:
    """Return the latents after STEPS steps of Euler or (`multistep`) DPM++ 2M; guided when there is a setting."""
    cond, empty = generator.encode_prompts(job.prompts), generator.encode_prompts([""]).expand(len(job.specs))
    sigmas, x = schedule(STEPS), job.noise
    last: tuple[Tensor, float] | None = None
    for now, then in pairwise(sigmas):
        with torch.no_grad():
            velocity = generator.velocity(x, now, cond)
            if cfg != 1:
                blank = generator.velocity(x, now, empty)
                velocity = blank + cfg * (velocity - blank)
        x0 = x - now * velocity
        if setting is not None and setting.window(sigmas).guides(now, sigmas):
            steering = Steering(setting.strength, setting.inner_steps, setting.max_nudge)
            x0 = nudge(x0, reward, noise_to_signal(now, flow=True), steering).x0
        length, aim = math.log(now / then) if then > 0 else math.inf, x0
        if multistep and last is not None and then > 0:
            aim = x0 + (x0 - last[0]) * length / (2 * last[1])
        last = x0, length
        x = aim + then / now * (x - aim)
    return x


def judged(generator: Generator, job: Task, latents: Tensor, reward: Reward) -> list[tuple[float, ...]]:
    """Return COLUMNS for every picture."""
    with torch.no_grad():
        images = generator.decode(latents, JUDGED_SIZE)
        scores = reward(latents).tolist()
    verdicts = [oracle.judge(image, spec) for image, spec in zip(images, job.specs, strict=True)]
    return [(s, v.alignment, float(v.all_right), v.fidelity) for s, v in zip(scores, verdicts, strict=True)]


def interval(values: Sequence[float], rounds: int = 2000) -> tuple[float, float]:
    """Return the bootstrap's 95 % interval of the mean of independent values."""
    draw = random.Random(0)
    means = sorted(fmean(draw.choices(values, k=len(values))) for _ in range(rounds))
    return means[round(0.025 * rounds)], means[round(0.975 * rounds) - 1]


def by_prompt(values: Sequence[float], prompts: int) -> list[float]:
    """Return the mean over the seeds of each prompt, which are the independent units."""
    return [fmean(values[k::prompts]) for k in range(prompts)]


class Study:
    """Networks, pictures without guidance, and rows of tables that compare with them."""

    def __init__(self, seed: int, prompts: int, seeds: int, multistep: bool = False) -> None:
        self.multistep = multistep
        self.generator = load_generator()
        scorer = load_scorer("hps-tiny-shapes", device="cpu")
        self.prompts, self.job = prompts, task(seed, prompts, seeds, self.generator)
        decoders: list[Callable[[Tensor], Tensor]] = [
            lambda latents, size=size: self.generator.decode(latents, size)  # type: ignore[misc]
            for size in (GUIDED_SIZE, JUDGED_SIZE)
        ]
        self.guiding, self.judging = (reward_of(decode, scorer, self.job.prompts) for decode in decoders)
        self.plain: dict[float, list[tuple[float, ...]]] = {}

    def run(self, cfg: float, setting: Setting | None) -> list[tuple[float, ...]]:
        """Return COLUMNS of every picture."""
        latents = sample(self.generator, self.job, cfg, setting, self.guiding, self.multistep)
        return judged(self.generator, self.job, latents, self.judging)

    def row(self, cfg: float, setting: Setting | None, label: str) -> str:
        """Return one row: the means, and below each the paired difference to no guidance with its interval."""
        rows = self.run(cfg, setting)
        base = self.plain.setdefault(cfg, rows)
        cells = [self._cell(k, rows, base, setting is not None) for k in range(len(COLUMNS))]
        return f"| {cfg:g} | {label} | " + " | ".join(cells) + " |"

    def _cell(self, k: int, rows: list[tuple[float, ...]], base: list[tuple[float, ...]], compared: bool) -> str:
        digits = 2 if k == 0 else 3
        text = f"{fmean(row[k] for row in rows):.{digits}f}"
        if not compared:
            return text
        change = by_prompt([new[k] - old[k] for new, old in zip(rows, base, strict=True)], self.prompts)
        low, high = interval(change)
        return f"{text} ({fmean(change):+.{digits}f}: {low:+.{digits}f} to {high:+.{digits}f})"


HEADER = "| cfg | guidance | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 2) + "|"


def tuning_grid() -> list[Setting]:
    """Return what was tried before the defaults were chosen."""
    strengths = [Setting(value, inner) for inner in (1, 2) for value in (0.05, 0.1, 0.2, 0.4)]
    windows = [Setting(0.1, 1, start, end) for start, end in ((0.0, 0.5), (0.25, 0.75), (0.0, 0.75), (0.25, 1.0))]
    return [*strengths, *windows, Setting(0.2, 1, every=2), Setting(0.1, 4), Setting(0.2, 4, max_nudge=0.3)]


def table(study: Study, settings: Sequence[Setting]) -> str:
    """Return the table of all settings at guidance scales 1 and 2."""
    lines = [HEADER]
    for cfg in (1.0, 2.0):
        lines.append(study.row(cfg, None, "none"))
        lines += [study.row(cfg, setting, label(setting)) for setting in settings]
    return "\n".join(lines)


def label(setting: Setting) -> str:
    """Return a setting in words."""
    parts = [f"strength {setting.strength:g}"]
    parts += [f"{setting.inner_steps} inner steps"] if setting.inner_steps > 1 else []
    parts += [f"window {setting.start:g} to {setting.end:g}"] if (setting.start, setting.end) != (0, 1) else []
    parts += [f"every {setting.every}"] if setting.every > 1 else []
    parts += [f"at most {setting.max_nudge:g}"] if setting.max_nudge < 1 else []
    return ", ".join(parts)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tune", action="store_true", help="the grid, on the other prompts")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    counts = chosen.prompts, chosen.seeds
    if chosen.tune:
        print(table(Study(TUNING, *counts), tuning_grid()))
        return
    print(table(Study(REPORTED, *counts), REPORT))
    print("\nWith DPM++ 2M:\n")
    print(table(Study(REPORTED, *counts, multistep=True), REPORT[1:4:2]))


REPORT = (Setting(0.05), Setting(0.1), Setting(0.2), Setting(0.1, 2), Setting(0.1, 4, max_nudge=0.3))


if __name__ == "__main__":
    main()
