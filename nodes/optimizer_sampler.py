"""A SAMPLER around a SAMPLER that optimises the noise it is given.

By the time a sampler runs, the guider has loaded the model, applied LoRA and hooks and prepared conditionings, masks
and ControlNets: so all of that takes part as wired. Images without gradients are sampled in lockstep, those with
gradients by a differentiable twin of the inner sampler, and the result once more by the untouched inner sampler.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management as mm
import comfy.samplers
import torch

from ..hpskit.autodiff.randomstate import preserved_random_state
from ..hpskit.errors import Cancelled, GradientError
from ..hpskit.images import quantize
from ..hpskit.search import Guards, NoiseSearch, Objective, Update, optimize_noise, terms_of
from ..hpskit.search.objective import Evaluation, Gradient
from ..hpskit.types import Decoder, Scorer, ScorerInfo, Scores
from . import sampling
from .differentiable import differentiable
from .noise_plan import Beginning, Plan, make_method
from .noise_run import HostRun, LockstepRender, Remembering
from .noise_watch import NoiseWatch
from .preflight import Setup, preflight
from .refusals import non_dynamic

log = logging.getLogger("hps")
SMALL = 300 << 20
"""Bytes of a network's weights below which storing everything for the backward pass is cheap."""
HALF_SCALE = 1024.0
"""Factor on the loss in half precision, whose smallest numbers gradients of single pixels would fall below."""


class HostObjective(Objective):
    """Objective whose evaluations turn the host's interrupt into Cancelled, so that the best so far can be kept."""

    def evaluate(self, noises: torch.Tensor) -> list[Evaluation]:
        """Return the evaluations of noises."""
        with _interrupt_as_cancelled():
            return super().evaluate(noises)

    def gradient(self, noise: torch.Tensor, separate: bool = False) -> Gradient:
        """Return an evaluation with its gradient."""
        with _interrupt_as_cancelled():
            return super().gradient(noise, separate)


@contextlib.contextmanager
def _interrupt_as_cancelled() -> Iterator[None]:
    try:
        yield
    except mm.InterruptProcessingException as error:
        raise Cancelled("The noise optimisation was stopped.") from error


class Obeying:
    """Scorer that turns the host's interrupt into Cancelled."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    @property
    def info(self) -> ScorerInfo:
        """Return what the scorer says of itself."""
        return self._scorer.info

    def score(self, images: Any, prompts: Any) -> Scores:
        """Score."""
        with _interrupt_as_cancelled():
            return self._scorer.score(images, prompts)


class OptimizerSampler(comfy.samplers.Sampler):
    """SAMPLER that returns the samples of the start and of the optimised noise, [2, ...]; see `found` for the rest.

    The guider must have been given noise of batch 1.
    """

    def __init__(self, inner: Any, begin: Beginning, plan: Plan, watch: NoiseWatch, chunk: int) -> None:
        self.inner, self.begin, self.plan, self.watch, self.chunk = inner, begin, plan, watch, chunk
        self.found: NoiseSearch | None = None
        self.notes: tuple[str, ...] = ()
        """What the checks before a run with gradients advise."""

    def sample(
        self,
        model_wrap: Any,
        sigmas: torch.Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: torch.Tensor,
        latent_image: torch.Tensor | None = None,
        denoise_mask: torch.Tensor | None = None,
        disable_pbar: bool = False,
    ) -> torch.Tensor:
        """Optimise and sample; the signature is the host's."""
        run = HostRun(self.inner, model_wrap, sigmas, extra_args, noise, latent_image, denoise_mask, self.begin)
        with preserved_random_state(noise.device):
            self.begin.random.restore(noise.device)
            try:
                self.found = found = self._search(run)
            except GradientError as error:
                raise with_way_out(error) from error
            return torch.cat([self._again(run, found.start), self._again(run, found.chosen)])

    def _search(self, run: HostRun) -> NoiseSearch:
        plan = self.plan
        mask = None if run.denoise_mask is None else run.denoise_mask[:1]
        method = make_method(plan, self.begin.seed, mask)
        if plan.uses_gradients:
            self.notes = self._checked(run)
        with self._render(run) as render:
            objective = self._objective(run, render)
            self.watch.main = objective.main
            return self._optimized(method, objective)

    def _checked(self, run: HostRun) -> tuple[str, ...]:
        """Try one small step with gradients; return advice, or raise GradientError with what stands in the way."""
        plan = self.plan
        vae, checkpoint = plan.fast_vae or plan.vae, level(plan, run.guider.model_patcher)
        arguments = run.guider, run.inner, run.sigmas, run.extra_args, run.like, run.latent_image, run.denoise_mask
        checked = preflight(Setup(*arguments, vae=vae, checkpoint=checkpoint))
        if not checked.ok:
            raise GradientError(" ".join(checked.problems))
        for advice in checked.advice:
            log.warning("%s", advice)
        return checked.advice

    def _optimized(self, method: Any, objective: Objective) -> NoiseSearch:
        plan = self.plan
        try:
            return optimize_noise(
                method,
                objective,
                self.begin.noises,
                iterations=plan.iterations,
                starts=plan.starts,
                seconds=plan.max_seconds or None,
                target=plan.target or None,
                guards=Guards(held_out=plan.held_out and Obeying(plan.held_out)),
                on_progress=self._progress,
                cancelled=interrupted if plan.keeps else None,
                keep_on_cancel=plan.keeps,
                is_out_of_memory=sampling.is_out_of_memory,
            )
        except Cancelled as error:
            raise mm.InterruptProcessingException from error

    def _progress(self, update: Update) -> None:
        with _interrupt_as_cancelled():
            self.watch.on_progress(update)

    @contextlib.contextmanager
    def _render(self, run: HostRun) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
        """Give the objective's render: lockstep, and the differentiable twin where gradients are wanted."""
        together = LockstepRender(run, self.watch)
        if not self.plan.uses_gradients:
            yield together
            return
        self.begin.random.restore(run.like.device)  # which is what every render begins with
        with differentiable(*run.arguments, checkpoint=level(self.plan, run.guider.model_patcher)) as single:

            def render(noises: torch.Tensor) -> torch.Tensor:
                return single(noises) if torch.is_grad_enabled() else together(noises)

            yield render

    def _objective(self, run: HostRun, render: Callable[[torch.Tensor], torch.Tensor]) -> Objective:
        plan = self.plan
        judge: Decoder = run.decoder(plan.vae)
        decode = judge
        if plan.uses_gradients:
            checkpointed = level(plan, run.guider.model_patcher) != "none"
            decode = run.gradient_decoder(plan.fast_vae or plan.vae, checkpointed)
            judge = judge if plan.fast_vae else Remembering(decode, judge)
            decode = judge.with_gradients if isinstance(judge, Remembering) else decode
        return HostObjective(
            render,
            decode,
            terms_of(plan.scorer),
            plan.prompt,
            judge=_rounded(judge) if plan.match_saved_file else judge,
            nfe=run.evaluations,
            chunk=self.chunk,
            gradient_scale=HALF_SCALE if run.is_half else 1.0,
            is_out_of_memory=sampling.is_out_of_memory,
        )

    def _again(self, run: HostRun, evaluation: Evaluation) -> torch.Tensor:
        """Sample a noise with the untouched inner sampler, as a stock node would."""
        try:
            return run.alone(evaluation.noise)
        except Exception as error:
            if not sampling.is_out_of_memory(error):
                raise
            mm.soft_empty_cache()
            log.warning("Memory ran out while the result was sampled once more; it is the image that was scored.")
            return evaluation.latent.to(run.like)


def with_way_out(error: GradientError) -> GradientError:
    """Return the error with what always helps."""
    words = str(error)
    return error if "earch" in words else GradientError(f"{words} Or choose a search method: it needs no gradient.")


def interrupted() -> bool:
    """Return whether the host was asked to stop, and take the request back: it is being obeyed."""
    if not mm.processing_interrupted():
        return False
    mm.interrupt_current_processing(False)
    return True


def level(plan: Plan, patcher: Any) -> str:
    """Return what is checkpointed; "auto" leaves networks alone that are too small to gain anything."""
    small = plan.checkpointing == "auto" and patcher.model_size() < SMALL
    return "none" if small or plan.checkpointing == "off" else "full"


def _rounded(decode: Decoder) -> Decoder:
    return lambda latents: quantize(decode(latents))


def shared(job: sampling.Sampling, most: int) -> int:
    """Return how many images share a model call, of at most `most`."""
    if sampling.chooses_own_steps(job.sampler):
        return 1
    return sampling.auto_chunk(job.guider.model_patcher, job.latent["samples"].shape, most)


@dataclass(frozen=True)
class Outcome:
    """What a run gives."""

    found: NoiseSearch
    samples: torch.Tensor
    """LATENT samples of the start and of the result, [2, ...]."""
    notes: tuple[str, ...]


def optimized(job: sampling.Sampling, begin: Beginning, plan: Plan, watch: NoiseWatch) -> Outcome:
    """Run the optimiser inside the guider.

    Raises the host's interrupt, or GradientError when this model or setting gives no gradients.
    """
    chunk = shared(job, max(len(begin.noises), plan.children))
    sampler = OptimizerSampler(job.sampler, begin, plan, watch, chunk)
    watch.share = plan.share(len(begin.noises))
    guider = sampling.expecting_batch(job.guider, chunk)
    if plan.uses_gradients:
        guider.model_patcher = non_dynamic(guider.model_patcher)
    with preserved_random_state(job.guider.model_patcher.load_device):
        samples = guider.sample(
            begin.noises[:1],
            job.latent["samples"],
            sampler,
            job.sigmas,
            denoise_mask=job.latent.get("noise_mask"),
            callback=None,
            disable_pbar=True,
            seed=begin.seed,
        )
    assert sampler.found is not None
    # The state holds every image of the run; a cached result has no use for it.
    return Outcome(replace(sampler.found, state={}), samples, sampler.notes)
