"""Checks before a long run with gradients: is it refused, does a small backward pass work, does it fit the memory.

The small run makes few steps, on a small latent where nothing in the job has a size of its own. What it stores for its
backward pass is measured, and grows with the area.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ...hpskit.autodiff.measuring import Activations, Trace, measured, traced
from ...hpskit.autodiff.recompute import tolerant
from ...hpskit.errors import Cancelled, GradientError, HpsError
from ..bridge import host
from ..bridge.residency import torch_gc
from .common import INSTEAD, ask, refusals, side
from .run import Differentiable, differentiable

SMALL = 16
"""Side of the small latent: quick, and divisible by what networks divide by."""
STEPS = 3
"""Of the small run; samplers of third order want no fewer."""
MARGIN = 1.3
TOLERANCE, HALF_TOLERANCE = 1e-3, 0.1
"""Relative difference between two ways to compute the same that rounding explains, in fp32 and in half precision."""
PROBE_TOLERANCE = 0.02
"""The same for a finite difference."""
PROBES = (2e-2, 4e-3, 1e-3)
"""Its steps, in the noise's own length; the next one is taken where one does not agree."""
_GB = 1 << 30


@dataclass(frozen=True)
class Preflight:
    """What was found, one sentence each: problems stop the run, advice does not."""

    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    bytes_needed: int = 0
    """Beyond what is loaded, at the real size."""
    error: float | None = None
    """Relative error of the gradient against a finite difference; None where it was not compared."""
    no_room: bool = False
    """Whether the problem is the memory of the graphics card."""

    @property
    def ok(self) -> bool:
        """Whether nothing is known that stops the run."""
        return not self.problems


@dataclass
class _Trial:
    """One small run: what is asked of the host, and what was found."""

    p: Any
    call: Any
    seeds: Sequence[int]
    subseeds: Sequence[int]
    reward: Callable[[torch.Tensor], torch.Tensor]
    """Images [1, 3, H, W] to a loss."""
    stages: dict[str, Activations] = field(default_factory=dict)
    calls: int = 1
    error: float | None = None

    def gradient(self, run: Differentiable, noise: torch.Tensor, trace: bool = False) -> torch.Tensor:
        """Return the gradient of the reward with respect to the noise; measures what is stored with `trace`."""
        start = noise.clone().requires_grad_(True)
        networks = [side().network(self.p), side().decoder(self.p)] if trace else []
        with self._measured("sampling", networks[:1]):
            latent = run.render(start)
        with self._measured("decoding", networks[1:]):
            image = run.decode(latent)
        if not bool(torch.isfinite(image).all()):
            option = "--vae-in-fp32" if host.FORGE else "--no-half-vae"
            raise GradientError(f"The VAE gives values that are no numbers: start the host with {option}.")
        return torch.autograd.grad(self.reward(image), start)[0]

    @contextlib.contextmanager
    def _measured(self, name: str, networks: Sequence[torch.nn.Module]) -> Iterator[None]:
        if not networks:
            yield
            return
        with measured(networks) as found:
            yield
        self.stages[name] = found


def preflight(p: Any, call: Any, seeds: Sequence[int], subseeds: Sequence[int], scorer: Any, prompt: str) -> Preflight:
    """Try a small backward pass for one picture of a job; raises Cancelled when the person stops the generation."""
    problems = refusals(p)
    if problems:
        return Preflight(tuple(problems))
    trial = _Trial(p, call, seeds, subseeds, _reward(scorer, prompt))
    height, width = p.rng.shape[-2:]
    small = getattr(p, "init_latent", None) is None and max(height, width) > SMALL
    found = _tried(trial, (min(height, SMALL), min(width, SMALL))) if small else None
    if found is not None and (found.ok or found.no_room):
        return found
    whole = _tried(trial, (height, width))  # what other extensions hook in may be made for the real size
    return found if found is not None and whole.no_room else whole


def _reward(scorer: Any, prompt: str) -> Callable[[torch.Tensor], torch.Tensor]:
    from ...hpskit.search import terms_of
    from ...hpskit.search.objective import score_of

    terms = terms_of(scorer)

    def reward(image: torch.Tensor) -> torch.Tensor:
        losses = [term.per_point * score_of(term.scorer, image, prompt) for term in terms]
        return torch.stack(losses).sum()

    return reward


def _tried(trial: _Trial, sides: tuple[int, int]) -> Preflight:
    area = trial.p.rng.shape[-2] * trial.p.rng.shape[-1] / (sides[0] * sides[1])
    trace, words, no_room = Trace(), "", False
    with _smaller(trial.p, sides):
        try:
            with torch.inference_mode(False), torch.enable_grad(), _watched(trial.p, trace):
                _run(trial)
        except Cancelled:
            raise
        except Exception as error:
            ask()
            no_room = host.is_out_of_memory(error)
            words = _no_room(sides) if no_room else _explained(trial.p, error, trace)
    if words:
        if no_room:
            torch_gc()
        return Preflight((f"{words} {INSTEAD}",), no_room=no_room)
    if trace.lost is not None and trial.error is None:  # a way around it may carry a gradient all the same
        return Preflight((f"{_blocked(trial.p, trace.lost, 'its output has no gradient')} {INSTEAD}",))
    return _judged(trial, area)


@contextlib.contextmanager
def _smaller(p: Any, sides: tuple[int, int]) -> Iterator[None]:
    """Have passes of a job make few steps on latents of these sides."""
    from modules import rng

    before = p.steps, p.rng
    try:
        p.steps = _few(p)
        if tuple(p.rng.shape[-2:]) != sides:
            p.rng = rng.ImageRNG((*p.rng.shape[:-2], *sides), list(p.rng.seeds))
        yield
    finally:
        p.steps, p.rng = before


def _few(p: Any) -> int:
    """Return the setting with which a sampler makes few steps; img2img makes a part of those that are set."""
    from modules import shared

    if getattr(p, "init_latent", None) is None or getattr(shared.opts, "img2img_fix_steps", False):
        return min(p.steps, STEPS)  # type: ignore[no-any-return]
    part = min(float(p.denoising_strength or 0), 1.0)
    return min(p.steps, math.ceil(STEPS / part) + 1) if part > 0 else p.steps  # type: ignore[no-any-return]


@contextlib.contextmanager
def _watched(p: Any, into: Trace) -> Iterator[None]:
    """Note in which layer the gradient gets lost or an error comes up."""
    with traced([("model", side().network(p)), ("vae", side().decoder(p))]) as trace:
        try:
            yield
        finally:
            into.lost, into.running = trace.lost, list(trace.running)


# --- the run ---------------------------------------------------------------------------------------------------------


def _run(trial: _Trial) -> None:
    """Compare gradients, stored and computed again, with each other and with the host; raises GradientError."""
    from ..first_pass import sampling

    noise = sampling.noise_of(trial.p, trial.seeds, trial.subseeds)
    stored = _stored(trial, noise)
    given = (trial.p, trial.call, trial.seeds, trial.subseeds)
    half = side().half(trial.p)
    with differentiable(*given) as run:
        again = trial.gradient(run, noise)
        _usable(again if stored is None else stored)
        trial.calls = max(1, run.calls)
        if not half:
            trial.error = _probe(run, noise)
        with torch.no_grad():
            ours = run.render(noise)
    with sampling.host_mode(trial.p):
        plain = sampling.first_pass(*given)
    limit = HALF_TOLERANCE if half else TOLERANCE
    if stored is not None:
        _compare(again, stored, limit, "Computing again in the backward pass gives another gradient")
    _compare(ours, plain, limit, "The run with gradients gives another image than the plain one")
    if trial.error is not None and trial.error > PROBE_TOLERANCE:
        raise GradientError(
            f"The gradient differs by {trial.error:.0%} from a finite difference, so something in the model does not "
            "differentiate rightly: switch extensions off one by one."
        )


def _usable(gradient: torch.Tensor) -> None:
    if not bool(torch.isfinite(gradient).all()):
        raise GradientError("The gradient is not finite: use a model in fp32 or bf16.")
    if not bool(gradient.any()):
        raise GradientError("No change of the noise changes the score: take another scorer, or switch extensions off.")


def _stored(trial: _Trial, noise: torch.Tensor) -> torch.Tensor | None:
    """Return the gradient with everything stored, where autograd notices what is changed afterwards.

    None where that finds no room: a run stores far less.
    """
    given = (trial.p, trial.call, trial.seeds, trial.subseeds)
    try:
        with differentiable(*given, recompute=False) as run:
            try:
                return trial.gradient(run, noise, trace=True)
            except RuntimeError as error:
                if "inplace operation" not in str(error):
                    raise
            with tolerant():
                return trial.gradient(run, noise)
    except Exception as error:
        if not host.is_out_of_memory(error):
            raise
    trial.stages.clear()
    torch_gc()
    return None


def _probe(run: Differentiable, noise: torch.Tensor) -> float:
    """Return the relative error of the gradient of sampling against a finite difference of fourth order along it.

    A sampler may bend too much for a long step, and rounding drowns a short one; a wrong gradient fails them all.
    """
    wave = torch.cos(torch.arange(noise.numel(), dtype=torch.float64)).reshape(noise.shape)

    def followed(start: torch.Tensor) -> torch.Tensor:
        return (run.render(start).cpu().double() * wave).sum()  # some devices have no such numbers

    def value(distance: float) -> float:
        with torch.no_grad():
            return float(followed(noise + distance * along))

    def error(step: float) -> float:
        near, far = ((value(h) - value(-h)) / (2 * h) for h in (step, 2 * step))
        return abs((4 * near - far) / 3 - exact) / max(exact, 1e-30)

    start = noise.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(followed(start), start)
    along, exact = gradient / gradient.norm().clamp(min=1e-30), float(gradient.norm())
    best = math.inf
    for step in PROBES:
        best = min(best, error(step))
        if best <= PROBE_TOLERANCE:
            break
    return best


def _compare(found: torch.Tensor, wanted: torch.Tensor, limit: float, said: str) -> None:
    size = float(wanted.float().norm())
    error = float((found.float() - wanted.float().to(found.device)).norm()) / max(size, 1e-30)
    if not error <= limit:
        raise GradientError(
            f"{said} (by {error:.1%}), so something in the model is random or keeps state: "
            "switch extensions off one by one."
        )


# --- words -----------------------------------------------------------------------------------------------------------


def _explained(p: Any, error: Exception, trace: Trace) -> str:
    """Return the sentence for a failed trial: what blocks the gradient, and what to do."""
    words = str(error).removesuffix(INSTEAD).strip()
    if trace.lost is not None:
        return _blocked(p, trace.lost, "its output has no gradient")
    if isinstance(error, HpsError):
        return words
    where = trace.running[-1] if trace.running else "the backward pass"
    return _blocked(p, where, f"{type(error).__name__}: {(words or 'no message').splitlines()[0]}")


def _no_room(sides: tuple[int, int]) -> str:
    """Return the sentence for a trial that found no room, by its size."""
    if max(sides) <= SMALL:
        return "Even a small image with gradients does not fit the memory: take a smaller model."
    return "An image of this size with gradients does not fit the memory: make a smaller one."


def _blocked(p: Any, where: str, said: str) -> str:
    kinds = sorted({str(each.dtype).removeprefix("torch.") for each in side().network(p).parameters()} - _PLAIN)
    quantised = f" The model's weights are quantised ({', '.join(kinds)})." if kinds else ""
    return (
        f"Gradients stop in {where} ({said}).{quantised} Take the model in fp16, bf16 or fp32 and another attention, "
        "or switch extensions off."
    )


_PLAIN = {"float32", "float16", "bfloat16", "float64"}


def _judged(trial: _Trial, area: float) -> Preflight:
    needs = {name: _bytes(found, trial.calls if name == "sampling" else 1) for name, found in trial.stages.items()}
    if not needs:
        return Preflight(error=trial.error)
    needed, free = int(max(needs.values()) * area * MARGIN), side().free_bytes()
    advice = ()
    if free is not None and needed > free:
        worst = max(needs, key=lambda name: needs[name])
        advice = (
            f"Gradients need about {needed / _GB:.1f} GB beyond what is loaded ({worst}), and {free / _GB:.1f} GB are "
            f"free: make a smaller image. {INSTEAD}",
        )
    return Preflight(advice=advice, bytes_needed=needed, error=trial.error)


def _bytes(found: Activations, calls: int) -> float:
    """Return what one call stores when its blocks are computed again."""
    outside = max(found.total - sum(found.inside), 0) + found.inputs
    return outside / calls + max(found.inside, default=0)
