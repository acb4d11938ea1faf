"""Noise optimisation on the embedded miniature, for `optimize` and `demo`, and best of N at the same cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from ..errors import CardError, CheckpointMissing, OutputError, SelectionError
from ..images import quantize
from ..scorers import load_scorer
from ..search import Geodesic, Guards, NoiseSearch, Objective, Reno, Update, optimize_noise, terms_of
from ..types import Scorer, Scores
from . import console, making
from .making import Search
from .noise_options import JUDGE, NOBODY, Settings

if TYPE_CHECKING:
    from ..embedded import Generator
    from ..search.method import Method
    from .recording import Recorder

CHUNK: Final = 8
OWN_LIMIT: Final = math.radians(60)
"""Angle from its start that a method with gradients keeps to unless told otherwise."""


@dataclass(frozen=True)
class Models:
    """What a run needs besides its settings."""

    generator: Generator
    scorer: Scorer
    held_out: Scorer | None = None

    @property
    def key(self) -> str:
        """Id under which the optimised scores stand."""
        return self.scorer.info.id


def watcher(wanted: str) -> Scorer | None:
    """Return the scorer that is reported and never optimised; None when nobody watches.

    An empty name means the second miniature where it is installed; a scorer that was named must be there.
    """
    if wanted == NOBODY:
        return None
    if wanted in (making.SCORER, ""):
        if wanted:
            raise SelectionError(f"{wanted} is the scorer that is optimised; name another one as --held-out, or none.")
        try:
            return load_scorer(JUDGE, device="cpu")
        except (CardError, CheckpointMissing):
            return None
    return load_scorer(wanted, device="cpu")


def method_of(settings: Settings) -> Method:
    """Return the method by its name on the command line."""
    from ..search.sphere import SphereSearch, ZeroOrder
    from ..search.subspace import SubspaceSearch

    limit = math.radians(settings.max_angle) if settings.max_angle else None
    if settings.method == "sphere":
        return SphereSearch(seed=settings.seed, max_angle=limit)
    if settings.method == "zero-order":
        return ZeroOrder(seed=settings.seed, max_angle=limit)
    if settings.method == "subspace":
        return SubspaceSearch(seed=settings.seed, max_angle=limit)
    if settings.method == "reno":
        return Reno(max_angle=limit or OWN_LIMIT)
    return Geodesic(max_angle=limit or OWN_LIMIT)


def first_noises(generator: Generator, settings: Settings) -> torch.Tensor:
    """Return the starting noises [screen, 16, 4, 4], the person's own first."""
    return generator.noise(range(settings.seed, settings.seed + settings.screen))


@dataclass(frozen=True)
class Optimised:
    """A run with what a report shows of it."""

    prompt: str
    settings: Settings
    models: Models
    search: NoiseSearch
    unknown: tuple[str, ...]
    """Words of the prompt that the generator ignored."""

    @property
    def start(self) -> float:
        """Score of the first starting noise."""
        return self.search.start.scores[self.models.key]

    @property
    def score(self) -> float:
        """Score of the chosen image."""
        return self.search.chosen.scores[self.models.key]

    @property
    def seed(self) -> int:
        """Seed of the starting noise that led to the chosen one."""
        firsts = first_noises(self.models.generator, self.settings)
        place = next((k for k, noise in enumerate(firsts) if torch.equal(noise, self.search.parent.noise[0])), 0)
        return self.settings.seed + place

    @property
    def equal(self) -> int:
        """How many plain images the run's cost would have paid for."""
        return max(1, self.search.cost.equivalents // self.settings.evaluations)


def optimise(
    models: Models,
    prompt: str,
    settings: Settings,
    *,
    seconds: float | None = None,
    target: float | None = None,
    max_cost: float | None = None,
    resume: Mapping[str, Any] | None = None,
    on_progress: Callable[[Update], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Optimised:
    """Optimise the noise for one prompt; a cancelled run gives the best so far."""
    generator = models.generator
    conditioning = generator.encode_prompts([prompt])
    objective = Objective(
        lambda noise: generator.sample(conditioning, noise, settings.steps, settings.cfg),
        lambda latent: generator.decode(latent, settings.size),
        terms_of(models.scorer),
        prompt,
        nfe=settings.evaluations,
        chunk=CHUNK,
    )
    found = optimize_noise(
        method_of(settings),
        objective,
        first_noises(generator, settings),
        iterations=settings.iterations,
        starts=settings.starts,
        seconds=seconds,
        target=target,
        max_cost=max_cost,
        guards=Guards(held_out=models.held_out),
        resume=resume,
        on_progress=on_progress,
        cancelled=cancelled,
        keep_on_cancel=True,
    )
    return Optimised(prompt, settings, models, found, conditioning.unknown_words)


@dataclass(frozen=True)
class Rival:
    """Best of N at the cost of a run: same prompt, sampler and first seeds."""

    pool: Search
    held_out: float | None

    @property
    def score(self) -> float:
        """Score of the best."""
        return max(self.pool.values)

    @property
    def image(self) -> torch.Tensor:
        """Picture of the best, [1, 3, H, W]."""
        image = self.pool.result.best.image
        if image is None:
            raise OutputError("The best picture was not kept.")
        return image


def compare(
    made: Optimised,
    cancelled: Callable[[], bool] | None = None,
    bar: console.Progress | None = None,
    recorder: Recorder | None = None,
) -> Rival:
    """Run best of N for the cost of `made`; raises Cancelled when told to stop."""
    settings, models = made.settings, made.models
    pool = making.search(
        models.generator,
        models.scorer,
        made.prompt,
        range(settings.seed, settings.seed + made.equal),
        size=settings.size,
        steps=settings.steps,
        cfg=settings.cfg,
        cancelled=cancelled,
        bar=bar,
        recorder=recorder,
    )
    return Rival(pool, None if models.held_out is None else _held_out(models.held_out, pool))


def _held_out(scorer: Scorer, pool: Search) -> float | None:
    image = pool.result.best.image
    with torch.no_grad():
        return None if image is None else scorer.score(image, pool.prompt).tolist()[0]


def score_again(scorer: Scorer, image: torch.Tensor, prompt: str) -> Scores:
    """Return the score of an image [1, 3, H, W] as it will lie in a file of 8 bits a channel."""
    with torch.no_grad():
        return scorer.score(quantize(image), prompt)
