"""Objectives with a known optimum, and the miniature, for tests of searches over noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from hpskit.embedded import EXAMPLE_PROMPTS, Generator, load_generator
from hpskit.scorers import load_scorer
from hpskit.search.method import Method
from hpskit.search.objective import Evaluation, Objective, Term, terms_of
from hpskit.stats import expected_maximum
from hpskit.types import Scorer, ScorerInfo, Scores

SHAPE = (3, 4, 4)


class Formula:
    """Scorer that is a function of the images [n, 3, H, W] to values [n]."""

    def __init__(self, function: Callable[[Tensor], Tensor], scorer_id: str = "formula") -> None:
        self.info = ScorerInfo(scorer_id, "Formula", "fake", "1", "none", "float32", within_prompt_sd=1.0)
        self.function = function

    def score(self, images: Tensor, prompts: str | Sequence[str]) -> Scores:
        return Scores(self.function(images), self.info, (str(prompts),))


def itself(x: Tensor) -> Tensor:
    return x


def world(function: Callable[[Tensor], Tensor], render: Callable[[Tensor], Tensor] = itself) -> Objective:
    """Return the objective -function(noise): a noise becomes itself, and its loss is minus its score."""
    return Objective(render, itself, [Term(Formula(function), 1.0)], "a prompt", chunk=8)


def direction(seed: int = 0, shape: Sequence[int] = SHAPE) -> Tensor:
    """Return a direction of length 1."""
    drawn = torch.randn(1, *shape, generator=torch.Generator().manual_seed(10_000 + seed))
    return drawn / drawn.norm()


def along(target: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the reward <x, target>: on a sphere of radius R its maximum R |target| lies along the target."""
    return lambda x: (x * target).flatten(1).sum(1)


def noises(*seeds: int, shape: Sequence[int] = SHAPE) -> Tensor:
    return torch.stack([torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@cache
def loaded() -> tuple[Generator, Scorer]:
    return load_generator(), load_scorer("hps-tiny-shapes", device="cpu")


@cache
def pool_of(prompt: str, first_seed: int, count: int) -> tuple[Evaluation, ...]:
    """Return what best of N would choose from."""
    seeds = range(first_seed, first_seed + count)
    return tuple(miniature(prompt).evaluate(loaded()[0].noise(seeds)))


def miniature(prompt: str, steps: int = 2) -> Objective:
    """Return the embedded generator with its own scorer, on small pictures."""
    generator, scorer = loaded()
    cond = generator.encode_prompts(prompt)
    return Objective(
        lambda noise: generator.sample(cond, noise, steps, cfg=1.0),
        lambda latent: generator.decode(latent, 64),
        terms_of(scorer),
        prompt,
        nfe=steps,
        chunk=16,
    )


def walk(method: Method, objective: Objective, known: Sequence[Evaluation], start: Tensor, steps: int) -> list[float]:
    """Return the best loss so far after each step of a method, that of `known` first."""
    method.begin(start, known, steps)
    best = [min((e.loss for e in known), default=float("inf"))]
    for k in range(steps):
        found = method.step(objective, k == steps - 1)
        best.append(min([best[-1], *(e.loss for e in found.evaluations)]))
    return best


def wins_over_best_of_n(make: Callable[[int], Method], budget: int = 48, screened: int = 16) -> list[float]:
    """Return, one a prompt of the miniature, by how much a method's loss lies below best of N's for as many images.

    Best of N's is its expectation over half as many seeds more: a single draw would add its own luck to every method's.
    """
    gains = []
    for k, prompt in enumerate(EXAMPLE_PROMPTS[:5]):
        objective, pool, method = miniature(prompt), pool_of(prompt, 0, 3 * budget // 2), make(k)
        known = sorted(pool[:screened], key=lambda e: e.loss)
        population = method.population  # type: ignore[attr-defined]
        best = walk(method, objective, known, pool[0].noise, (budget - screened) // population)[-1]
        assert objective.cost.rewards == budget - screened, "not the same compute"
        gains.append(-best - expected_maximum([-e.loss for e in pool], budget)[budget - 1])
    return gains
