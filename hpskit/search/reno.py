"""Gradient ascent of the reward over the starting noise: ReNO as published, and its form on the sphere.

Source: ReNO, arXiv 2406.04312, ExplainableML/ReNO. The geodesic form keeps the norm, so that no regulariser is needed
and the noise stays where a generator expects it; per-reward clipping is from amirkasaei/carinox, PCGrad is arXiv
2001.06782.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from . import noise as sphere
from .method import Step
from .objective import Evaluation, Gradient, Objective

Mix = Literal["sum", "per_reward", "pcgrad"]
MIXES: tuple[Mix, ...] = ("sum", "per_reward", "pcgrad")
REFERENCE_SIZE = 16384
"""Elements of the latent that the published step size was tuned on (SD-Turbo, 512 x 512)."""
_SMALL = 1e-6
RETURN = 3
"""Iterations without a new best after which the geodesic form goes back to it."""


def clipped(grad: Tensor, most: float) -> Tensor:
    """Return the gradient with its norm cut to `most`, by the rule of torch's clip_grad_norm_."""
    size: Tensor = torch.linalg.vector_norm(grad)
    return grad * (most / (size + _SMALL)).clamp(max=1.0)


def norm_gradient(noise: Tensor) -> Tensor:
    """Return the gradient of K = |e|^2 / 2 - (d - 1) ln |e|, the negative log density of a normal noise's norm."""
    size = float(noise.norm())
    return (size - (noise.numel() - 1) / size) * noise / size


def mixed(grads: Sequence[Tensor], mix: Mix, clip: float, extra: Tensor | None = None) -> Tensor:
    """Return one direction from the gradients of several rewards, its norm at most `clip`.

    `sum` adds them. `per_reward` clips each on its own first, so that no reward drowns the others. `pcgrad` takes from
    each what points against another. `extra` is the regulariser's gradient, added to each or once.
    """
    extra = torch.zeros_like(grads[0]) if extra is None else extra
    if mix == "per_reward":
        return clipped(torch.stack([clipped(grad + extra, clip) for grad in grads]).sum(0), clip)
    parts = _without_conflicts(grads) if mix == "pcgrad" else grads
    return clipped(torch.stack(list(parts)).sum(0) + extra, clip)


def _without_conflicts(grads: Sequence[Tensor]) -> list[Tensor]:
    made = []
    for position, grad in enumerate(grads):
        for other_position, other in enumerate(grads):
            against = float((grad * other).sum())
            if other_position != position and against < 0:
                grad = grad - against / (float(other.square().sum()) + 1e-30) * other
        made.append(grad)
    return made


class Reno:
    """ReNO: Nesterov gradient descent on the noise with a clipped gradient and a pull of the norm to its shell."""

    uses_gradients = True

    def __init__(
        self,
        lr: float = 5.0,
        *,
        scale_lr: bool = True,
        momentum: float = 0.9,
        clip: float = 0.1,
        regularization: float = 0.01,
        mix: Mix = "sum",
        max_angle: float | None = None,
    ) -> None:
        """Set the published values; `scale_lr` keeps the angle of a step on latents of other sizes than 4 x 64 x 64.

        `max_angle` (radians) turns the noise back when it strays further from its start.
        """
        self.name = "reno"
        self.lr, self.scale_lr, self.momentum, self.clip = lr, scale_lr, momentum, clip
        self.regularization, self.mix, self.max_angle = regularization, mix, max_angle

    def begin(self, noise: Tensor, known: Sequence[Evaluation], iterations: int) -> None:
        """Start at a noise."""
        self.start = noise.detach().float().cpu().clone()
        self.noise, self.velocity = self.start.clone(), torch.zeros_like(self.start)

    def step(self, objective: Objective, last: bool) -> Step:
        """Evaluate the noise and move it down the gradient; a gradient that is not finite counts as zero."""
        if last:
            return _look(objective, self.noise)
        found = objective.gradient(self.noise, separate=self.mix != "sum")
        ok = found.finite and found.evaluation.usable
        grad = self._direction(found) if ok else torch.zeros_like(self.noise)
        self.velocity = self.momentum * self.velocity + grad
        self.noise = self.noise - self._rate() * (grad + self.momentum * self.velocity)
        if self.max_angle is not None:
            self.noise = sphere.limited(self.noise, self.start, self.max_angle)
        return _step(found, ok)

    def _direction(self, found: Gradient) -> Tensor:
        pull = self.regularization * norm_gradient(self.noise)
        return mixed(found.grads, self.mix, self.clip, pull)

    def _rate(self) -> float:
        return self.lr * (math.sqrt(self.noise.numel() / REFERENCE_SIZE) if self.scale_lr else 1.0)

    def state(self) -> dict[str, Any]:
        """Return noise and velocity."""
        return {"start": self.start, "noise": self.noise, "velocity": self.velocity}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up noise and velocity."""
        self.start, self.noise, self.velocity = state["start"], state["noise"], state["velocity"]


_BEST = ("best", "best_grad", "best_loss", "stale")


class Geodesic:
    """Riemannian ReNO: the noise moves along great circles, so its norm never changes.

    The velocity is carried along to each new tangent space. A step turns the noise by lr * |v| / |e|, at most `turn`
    radians, and the turn shrinks to nothing over the run (cosine). When the loss has risen twice running, the steps
    are halved; after three iterations without a new best the noise goes back to the best one and starts afresh. The
    rate is four times ReNO's: the decay and the limit on the turn allow it, and it found more
    (docs/noise_optimisation.md).
    """

    uses_gradients = True

    def __init__(
        self,
        lr: float = 20.0,
        *,
        turn: float = 0.05,
        momentum: float = 0.9,
        clip: float = 0.1,
        mix: Mix = "sum",
        max_angle: float | None = math.radians(60),
    ) -> None:
        """Set the step sizes; `lr` is for 16384 elements and is scaled by the root of the size for others."""
        self.name = "geodesic"
        self.lr, self.turn, self.momentum, self.clip = lr, turn, momentum, clip
        self.mix, self.max_angle = mix, max_angle

    def begin(self, noise: Tensor, known: Sequence[Evaluation], iterations: int) -> None:
        """Start at a noise, whose norm is kept."""
        self.start = noise.detach().float().cpu().clone()
        self.noise, self.velocity = self.start.clone(), torch.zeros_like(self.start)
        self.iterations, self.done, self.factor = max(1, iterations), 0, 1.0
        self.losses: list[float] = []
        self.best, self.best_grad, self.best_loss, self.stale = self.start, 0 * self.start, math.inf, 0

    def step(self, objective: Objective, last: bool) -> Step:
        """Evaluate the noise and turn it down the gradient; a gradient that is not finite counts as zero."""
        if last:
            return _look(objective, self.noise)
        found = objective.gradient(self.noise, separate=self.mix != "sum")
        ok = found.finite and found.evaluation.usable
        grad = sphere.tangent(mixed(found.grads, self.mix, self.clip), self.noise) if ok else 0 * self.noise
        if ok:
            self._backtrack(found.evaluation.loss)
            grad = self._from_the_best(found.evaluation.loss, grad)
        self.velocity = self.momentum * sphere.tangent(self.velocity, self.noise) - grad
        self._turn(self.velocity * self.momentum - grad)
        self.done += 1
        return _step(found, ok)

    def _turn(self, move: Tensor) -> None:
        rate = self.lr * math.sqrt(self.noise.numel() / REFERENCE_SIZE)
        decay = 0.5 * (1 + math.cos(math.pi * min(1.0, self.done / self.iterations)))
        theta = min(self.turn, rate * float(move.norm()) / (float(self.noise.norm()) + _SMALL)) * decay * self.factor
        self.noise = sphere.geodesic(self.noise, move, theta)
        if self.max_angle is not None:
            self.noise = sphere.limited(self.noise, self.start, self.max_angle)

    def _backtrack(self, loss: float) -> None:
        self.losses = [*self.losses[-2:], loss]
        if len(self.losses) == 3 and self.losses[0] < self.losses[1] < self.losses[2]:
            self.factor, self.losses = self.factor / 2, [loss]

    def _from_the_best(self, loss: float, grad: Tensor) -> Tensor:
        """Note a new best; when there has been none for long, go back to it. Return the gradient to follow."""
        if loss < self.best_loss:
            self.best, self.best_grad, self.best_loss, self.stale = self.noise, grad, loss, 0
            return grad
        self.stale += 1
        if self.stale < RETURN:
            return grad
        self.noise, self.velocity, self.stale, self.losses = self.best, torch.zeros_like(grad), 0, []
        return self.best_grad

    def state(self) -> dict[str, Any]:
        """Return noise, velocity and where the schedule stands."""
        names = ("start", "noise", "velocity", "done", "factor", "losses", *_BEST)
        return {name: getattr(self, name) for name in names}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up noise, velocity and schedule; how many steps there are to come is for `begin` to say."""
        for name in ("start", "noise", "velocity", "done", "factor", "losses"):
            setattr(self, name, state[name])


def _look(objective: Objective, noise: Tensor) -> Step:
    (seen,) = objective.evaluate(noise)
    return Step((seen,), seen, skipped=not seen.usable)


def _step(found: Gradient, ok: bool) -> Step:
    size = float(torch.stack(list(found.grads)).sum(0).norm()) if found.grads else None
    return Step((found.evaluation,), found.evaluation, size, skipped=not ok)
