"""What noise optimisation minimises: a weighted sum of reward losses of the image that a noise becomes.

A host is seen only through `render` (noise to latent) and decoders (latent to image); with gradients enabled both must
be differentiable. Losses and weights are those of ReNO (arXiv 2406.04312, ExplainableML/ReNO).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import HpsError, ImageError, MemoryExhausted
from ..scorers import EnsembleScorer
from ..types import Decoder, Scorer, ScorerInfo
from .making import looks_out_of_memory

Render = Callable[[Tensor], Tensor]
"""Noise [n, ...] to latents [n, ...]; row k depends on row k only. Differentiable when gradients are enabled."""


@dataclass(frozen=True)
class Term:
    """One reward: its loss is weight * (offset - slope * score)."""

    scorer: Scorer
    weight: float
    offset: float = 0.0
    """Moves the logged loss only, never the result."""
    slope: float = 1.0
    name: str = ""
    """Key of its score; by default the scorer's id."""

    @property
    def key(self) -> str:
        """Key of its score."""
        return self.name or self.scorer.info.id

    @property
    def per_point(self) -> float:
        """How much the loss falls for one more point of score."""
        return self.weight * self.slope


def terms_of(scorer: Scorer, weights: Mapping[str, float] | None = None) -> tuple[Term, ...]:
    """Return ReNO's published loss of a scorer, or those of an ensemble's members, the first one being the main one.

    An ensemble's own weights multiply the published ones; `weights` by score id replaces both. Scorers that ReNO has
    no loss for, and the aesthetic predictor, which it switches off, get a weight that makes their typical movement
    within a prompt count as much as that of HPS. Raises HpsError when a scorer cannot be differentiated or when no
    weight is above 0.
    """
    members = scorer.members if isinstance(scorer, EnsembleScorer) else {scorer.info.id: scorer}
    shares = scorer.weights if isinstance(scorer, EnsembleScorer) else {}
    terms = []
    for name, member in members.items():
        term = replace(published(member), name=name)
        term = replace(term, weight=term.weight * shares.get(name, 1.0))
        terms.append(term if weights is None or name not in weights else replace(term, weight=weights[name]))
    if not any(term.weight > 0 for term in terms):
        raise HpsError("No reward has a weight above 0, so there is nothing to optimise.")
    return tuple(term for term in terms if term.weight > 0)


HPS_SPREAD = 0.8
"""Typical standard deviation of HPS between seeds of one prompt, in points: the yardstick for other rewards."""


def published(scorer: Scorer) -> Term:
    """Return the loss of one scorer with its weight in ReNO; scores of CLIP types are 100 x cosine here."""
    info = scorer.info
    scaled = (info.logit_scale or 100.0) / 100
    if info.family == "hps":
        return Term(scorer, 5.0, 1.0, 0.01)
    if info.family == "clip":
        return Term(scorer, 0.01, 100.0, scaled)
    if info.family == "pickscore":
        return Term(scorer, 0.05, 30.0, scaled)
    if info.family == "aesthetic":
        return Term(scorer, 0.1, 10.0, 1.0)
    return Term(scorer, 5.0 * 0.01 * HPS_SPREAD / spread(info), 0.0, 1.0)


def score_of(scorer: Scorer, image: Tensor, prompt: str) -> Tensor:
    """Return the score of one image [1, 3, H, W], without dimensions; raises HpsError when there is not one number."""
    values: object = scorer.score(image, prompt).values
    if not isinstance(values, Tensor) or values.shape != (1,):
        found = f"shape {list(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
        raise HpsError(f"The scorer {scorer.info.id} returned {found} for one image; expected a tensor of shape [1].")
    return values[0]


def spread(info: ScorerInfo) -> float:
    """Return the typical standard deviation of a score between seeds of one prompt; a guess where it is unknown."""
    guesses = {"hps": HPS_SPREAD, "pickscore": 0.6, "aesthetic": 0.3}
    return info.within_prompt_sd or guesses.get(info.family, 1.0)


@dataclass(frozen=True)
class Cost:
    """Work done so far."""

    forwards: int = 0
    """Evaluations of the denoiser, one a sample and conditioning (NFE)."""
    backwards: int = 0
    """Of these, how many were differentiated through."""
    decodes: int = 0
    rewards: int = 0
    """Images scored, one a scorer."""

    @property
    def equivalents(self) -> int:
        """Evaluations of the denoiser when a backward pass counts as two forward passes."""
        return self.forwards + 2 * self.backwards

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.forwards + other.forwards,
            self.backwards + other.backwards,
            self.decodes + other.decodes,
            self.rewards + other.rewards,
        )


@dataclass(frozen=True)
class Evaluation:
    """One noise with what became of it; everything on the CPU, batch 1."""

    noise: Tensor
    latent: Tensor
    image: Tensor
    """[1, 3, H, W] in 0..1"""
    scores: Mapping[str, float]
    """By scorer id; NaN when the image was not finite."""
    loss: float
    """Sum of the weighted reward losses, regularisers excluded; infinite when it could not be computed."""

    @property
    def usable(self) -> bool:
        """Whether the loss is a number."""
        return math.isfinite(self.loss)


@dataclass(frozen=True)
class Gradient:
    """An evaluation with d loss / d noise."""

    evaluation: Evaluation
    grads: tuple[Tensor, ...]
    """One [1, ...] fp32 tensor for the whole loss, or one a term; empty when there was nothing to differentiate."""

    @property
    def finite(self) -> bool:
        """Whether every gradient is finite, and there is one."""
        return bool(self.grads) and all(bool(torch.isfinite(grad).all()) for grad in self.grads)


class Objective:
    """Evaluates noises for one prompt and counts the work."""

    def __init__(
        self,
        render: Render,
        decode: Decoder,
        terms: Sequence[Term],
        prompt: str,
        *,
        judge: Decoder | None = None,
        nfe: int = 1,
        chunk: int = 1,
        gradient_scale: float = 1.0,
        is_out_of_memory: Callable[[BaseException], bool] = looks_out_of_memory,
    ) -> None:
        """Put the seams together.

        `judge` decodes the images that are scored and compared when `decode` is a cheap decoder that only serves the
        gradient. `nfe` is the number of denoiser evaluations of one render. `chunk` noises are rendered at once
        without gradients; halved when memory runs out. `gradient_scale` keeps half-precision gradients from rounding
        to zero; it is divided out again.
        """
        self.render, self.decode, self.judge = render, decode, judge or decode
        self.terms, self.prompt, self.nfe, self.chunk = tuple(terms), prompt, nfe, max(1, chunk)
        self.gradient_scale, self.is_out_of_memory = gradient_scale, is_out_of_memory
        self.cost = Cost()

    @property
    def main(self) -> str:
        """Id of the main score."""
        return self.terms[0].key

    @property
    def spread(self) -> float:
        """How much the loss typically varies between seeds of one prompt."""
        return math.sqrt(sum((term.per_point * spread(term.scorer.info)) ** 2 for term in self.terms))

    def evaluate(self, noises: Tensor) -> list[Evaluation]:
        """Return the evaluations of noises [n, ...] in their order, without gradients.

        Raises MemoryExhausted when not even one at a time fits.
        """
        found: list[Evaluation] = []
        while len(found) < len(noises):
            part = noises[len(found) : len(found) + self.chunk]
            try:
                found += self._forward(part)
                continue
            except Exception as error:
                if not self.is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise MemoryExhausted(_NO_ROOM) from error
            self.chunk = max(1, len(part) // 2)
        return found

    @torch.no_grad()
    def _forward(self, noises: Tensor) -> list[Evaluation]:
        latents = self.render(noises)
        images = self.judge(latents)
        _insist(images, len(noises))
        self.cost += Cost(forwards=self.nfe * len(noises), decodes=len(noises))
        return [self._judged(noises[k : k + 1], latents[k : k + 1], images[k : k + 1]) for k in range(len(noises))]

    def gradient(self, noise: Tensor, separate: bool = False) -> Gradient:
        """Return the evaluation of one noise [1, ...] and the gradient of its loss, one a term when `separate`.

        An image or loss that is not finite gives no gradient. Raises HpsError when something on the way has cut the
        gradient off.
        """
        with torch.inference_mode(False), torch.enable_grad():
            x = noise.detach().clone().requires_grad_(True)
            latent = self.render(x)
            image = self.decode(latent)
            _insist(image, 1)
            self.cost += Cost(forwards=self.nfe, decodes=1)
            if not image.requires_grad:
                raise HpsError(
                    "No gradient reaches the noise: something between noise and image is not differentiable. "
                    "Use a method without gradients, such as sphere search."
                )
            if not bool(torch.isfinite(image).all()):
                return Gradient(self._judged(noise, latent, image), ())
            values = [score_of(term.scorer, image, self.prompt) for term in self.terms]
            grads = self._grads(x, values, separate)
        if self.judge is self.decode:
            self.cost += Cost(rewards=len(values))
            return Gradient(self._summed(noise, latent, image, [float(value.detach()) for value in values]), grads)
        with torch.no_grad():
            return Gradient(self._judged(noise, latent, self._second_look(latent.detach())), grads)

    def _grads(self, x: Tensor, values: Sequence[Tensor], separate: bool) -> tuple[Tensor, ...]:
        device = values[0].device
        losses = [-term.per_point * value.to(device) for term, value in zip(self.terms, values, strict=True)]
        wanted = losses if separate else [torch.stack(losses).sum()]
        self.cost += Cost(backwards=self.nfe * len(wanted))
        made = []
        for position, loss in enumerate(wanted):
            if not loss.requires_grad:
                raise HpsError("No gradient comes out of the scorer; use another one, or a method without gradients.")
            more = position + 1 < len(wanted)
            (grad,) = torch.autograd.grad(self.gradient_scale * loss, x, retain_graph=more, allow_unused=True)
            if grad is None:
                raise HpsError("No gradient reaches the noise: the sampler does not use it, or cuts it off.")
            made.append(grad.detach().float().cpu() / self.gradient_scale)
        return tuple(made)

    def _second_look(self, latent: Tensor) -> Tensor:
        self.cost += Cost(decodes=1)
        return self.judge(latent)

    def _judged(self, noise: Tensor, latent: Tensor, image: Tensor) -> Evaluation:
        if not bool(torch.isfinite(image).all()):
            return self._summed(noise, latent, image, [math.nan] * len(self.terms))
        self.cost += Cost(rewards=len(self.terms))
        values = [float(score_of(term.scorer, image, self.prompt)) for term in self.terms]
        return self._summed(noise, latent, image, values)

    def _summed(self, noise: Tensor, latent: Tensor, image: Tensor, values: Sequence[float]) -> Evaluation:
        pairs = list(zip(self.terms, values, strict=True))
        total = sum(term.weight * (term.offset - term.slope * value) for term, value in pairs)
        scores = {term.key: value for term, value in pairs}
        loss = total if math.isfinite(total) else math.inf
        return Evaluation(_kept(noise), _kept(latent), _kept(image), scores, loss)


_NO_ROOM = (
    "Not even one image at a time fits the device's memory. Make the image smaller, decode with a tiny VAE, unload "
    "other models, or use weights in a smaller type."
)


def _kept(tensor: Tensor) -> Tensor:
    # A copy: a row's view would keep the whole batch, and an iterate is overwritten by nobody only by chance.
    return tensor.detach().float().cpu().clone()


def _insist(images: Tensor, count: int) -> None:
    if images.ndim != 4 or images.shape[0] != count or images.shape[1] != 3:
        raise ImageError(
            f"The decoder returned shape {list(images.shape)}; expected [{count}, 3, height, width], single images."
        )
