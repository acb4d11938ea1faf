"""What every way of changing the noise has in common: it begins somewhere, makes steps, and can be put away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from .objective import Evaluation, Objective


@dataclass(frozen=True)
class Step:
    """What one iteration did."""

    evaluations: tuple[Evaluation, ...]
    """All images made, the usable and the others."""
    current: Evaluation | None
    """Where the method stands: the iterate of a gradient method, the best child of a generation."""
    grad_norm: float | None = None
    """Norm of the loss gradient before any clipping."""
    skipped: bool = False
    """True when the gradient or the image was not finite, so that nothing was learned."""
    finished: str = ""
    """Why no further step can improve anything; empty to go on."""


class Method(Protocol):
    """One way to search for a better noise. Keeps noises on the CPU in float32."""

    name: str
    uses_gradients: bool

    def begin(self, noise: Tensor, known: Sequence[Evaluation], iterations: int) -> None:
        """Start at `noise` [1, ...] with `iterations` steps to come; forget everything from before.

        `known` are evaluations made already, best first (the screening): free parents for a population.
        """

    def step(self, objective: Objective, last: bool) -> Step:
        """Make one iteration; with `last` no further one follows, so a gradient would be wasted."""

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs to go on: tensors, numbers, strings, None, and lists and dicts of them."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
