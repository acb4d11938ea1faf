"""One noise optimisation in the making: what was tried, where it stands, when it ends, and how it is put away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ..errors import Cancelled, CheckpointCorrupt, ImageError, MemoryExhausted, SelectionError
from . import noise as sphere
from .guards import Guards, Monitor
from .method import Method, Step
from .objective import Cost, Evaluation, Objective
from .trace import NoiseSearch, Point, Stopped, Update, restored_point

HOPELESS = 3
"""So many iterations in a row without a finite image or gradient end the run."""


class Run:
    """A run in the making. `advance` does one unit of work: a screened candidate or one iteration."""

    limits: tuple[float | None, float | None, float | None]
    on_progress: Callable[[Update], None] | None
    peak: Callable[[], int | None]

    def __init__(
        self,
        method: Method,
        objective: Objective,
        noises: Tensor,
        iterations: int,
        starts: int,
        guards: Guards | None,
        clock: Callable[[], float],
    ) -> None:
        self.method, self.objective, self.noises = method, objective, noises
        self.iterations, self.starts, self.clock = iterations, starts, clock
        self.monitor = Monitor(guards or Guards(), objective.prompt, objective.spread)
        self.began, self.before = clock(), 0.0
        self.screening = len(noises) > 1 or not method.uses_gradients
        self.pool: list[Evaluation] = []
        self.climb, self.iteration, self.in_a_row, self.skipped = 0, 0, 0, 0
        self.first: Evaluation | None = None
        self.parents: list[Evaluation] = []
        self.origin: Evaluation | None = None
        self.best: Evaluation | None = None
        self.parent: Evaluation | None = None
        self.images = 0
        self.curve: list[Point] = []
        self.begun = False

    # --- one unit of work ---

    @property
    def has_best(self) -> bool:
        """Whether there is a usable image to return."""
        return self.best is not None

    @property
    def seconds(self) -> float:
        """Seconds of this and the resumed run."""
        return self.before + self.clock() - self.began

    def advance(self) -> Stopped | None:
        """Do one unit of work; return why to stop, or None."""
        if self.screening:
            return self._screen()
        if not self.begun:
            self._begin()
        if self.iteration >= self.iterations:  # taken up after the last one, or with fewer iterations than are made
            return self._next("iterations")
        return self._iterate()

    def _screen(self) -> Stopped | None:
        done = len(self.pool)
        made = self.objective.evaluate(self.noises[done : done + self.objective.chunk])
        for evaluation in made:
            self.pool.append(evaluation)
            self._take(evaluation, evaluation)
            self._report("screen", len(self.pool), Step((evaluation,), evaluation), evaluation)
        if len(self.pool) < len(self.noises):
            return self._limit()
        self.screening = False
        self.first = self.pool[0]
        usable = sorted((item for item in self.pool if item.usable), key=lambda item: item.loss)
        if not usable:
            raise ImageError(_NOT_FINITE.format(len(self.pool)))
        self.parents = usable
        self.monitor.begin(self.pool)
        return self._limit()

    def _begin(self) -> None:
        """Start the method at the next of the chosen noises."""
        if self.parents:
            self.origin = self.parents[self.climb]
            self.method.begin(self.origin.noise, self.parents, self.iterations)
            self._look_at(self.best or self.origin, 0)
        else:
            self.origin = None
            self.method.begin(self.noises[:1], (), self.iterations)
        self.begun, self.iteration, self.in_a_row = True, 0, 0

    def _iterate(self) -> Stopped | None:
        last = self.iteration + 1 == self.iterations
        step = self._stepped(last)
        self.iteration += 1
        self._origin_of(step)
        for evaluation in step.evaluations:
            self._take(evaluation, self.origin or evaluation)
        self.in_a_row = self.in_a_row + 1 if step.skipped else 0
        self.skipped += step.skipped
        seen = self.best if self.best is not None and self.monitor.due(self.iteration) else None
        held_out = self._look_at(seen, self.iteration) if seen is not None else None
        self._report("optimize", self.iteration, step, self.origin, held_out)
        return self._after(step, last)

    def _stepped(self, last: bool) -> Step:
        """Let the method make its step, wholly or not at all: one that is cut short has drawn random numbers."""
        before = self.method.state()
        try:
            return self.method.step(self.objective, last)
        except BaseException:
            self.method.restore(before)
            raise

    def _origin_of(self, step: Step) -> None:
        """Without screening, the first iterate of a gradient method is the start."""
        if self.origin is None and step.current is not None:
            self.origin = step.current
            self.first = self.first or step.current
            if step.current.usable:
                self.monitor.begin([step.current])
                self._look_at(step.current, 0)

    def _take(self, evaluation: Evaluation, parent: Evaluation) -> None:
        self.images += 1
        if evaluation.usable and (self.best is None or evaluation.loss < self.best.loss):
            self.best, self.parent = evaluation, parent

    def _look_at(self, best: Evaluation, iteration: int) -> float | None:
        return self.monitor.check(best, iteration).held_out if self.monitor.guards.held_out is not None else None

    def _last_look(self, best: Evaluation, iteration: int) -> float | None:
        """Look once more for the result, which a scorer that finds no memory or is stopped must not cost."""
        try:
            return self._look_at(best, iteration)
        except (Cancelled, MemoryExhausted):
            return None
        except Exception as error:
            if not self.objective.is_out_of_memory(error):
                raise
            return None

    # --- when to stop ---

    def _after(self, step: Step, last: bool) -> Stopped | None:
        if self.in_a_row >= HOPELESS:
            if self.best is None:
                raise ImageError(_NOT_FINITE.format(HOPELESS))
            return "unusable"
        if self.monitor.due(self.iteration) and self.monitor.should_stop():
            return "held-out"
        if last or step.finished:
            return self._next("stagnation" if step.finished else "iterations")
        return self._limit()

    def _next(self, reason: Stopped) -> Stopped | None:
        """Go on to the next start; with none left, return the reason to stop."""
        if self.climb + 1 >= min(self.starts, len(self.parents) or 1):
            return reason
        self.climb, self.begun = self.climb + 1, False
        return self._limit()

    def _limit(self) -> Stopped | None:
        seconds, cost, target = self.limits
        if self.best is None:
            return None
        if target is not None and self.best.scores[self.objective.main] >= target:
            return "target"
        if seconds is not None and self.seconds >= seconds:
            return "time"
        if cost is not None and self.objective.cost.equivalents >= cost:
            return "cost"
        return None

    # --- telling ---

    def _report(
        self, phase: Any, iteration: int, step: Step, origin: Evaluation | None, held_out: float | None = None
    ) -> None:
        best, at = self.best, step.current or self.best
        if at is None:
            return
        point = Point(
            phase=phase,
            start=self.climb,
            iteration=iteration,
            images=self.images,
            equivalents=self.objective.cost.equivalents,
            seconds=self.seconds,
            loss=at.loss,
            scores=at.scores,
            best_loss=(best or at).loss,
            best_scores=(best or at).scores,
            angle=float(sphere.angle(at.noise, (origin or at).noise)[0]),
            norm=float(at.noise.norm()) / at.noise.numel() ** 0.5,
            grad_norm=step.grad_norm,
            held_out=held_out,
            skipped=step.skipped,
        )
        self.curve.append(point)
        if self.on_progress is not None and best is not None:
            self.on_progress(Update(self._done(), point, best, step.current))

    def _done(self) -> float:
        """Share of the work, an iteration with gradients counted as three images."""
        each = 3 if self.method.uses_gradients else 1
        screened = len(self.noises) if self.parents or self.screening else 0
        total = screened + each * self.starts * self.iterations
        made = len(self.pool) + each * (self.climb * self.iterations + self.iteration)
        return min(1.0, made / max(1, total))

    def result(self, stopped: Stopped) -> NoiseSearch:
        """Choose between the most reward and the safest, and describe."""
        if self.best is None:
            raise ImageError(_NOT_FINITE.format(self.images))
        start, state = self.first or self.best, self.state()
        watched = self.monitor.guards.held_out is not None
        if watched:
            self._last_look(start, 0)
            self._last_look(self.best, self.iteration)
        chosen = self.monitor.safest() or self.best
        seen = {"start": start, "best": self.best, "chosen": chosen}
        held = {name: self._last_look(item, self.iteration) for name, item in seen.items()} if watched else {}
        return NoiseSearch(
            method=self.method.name,
            start=start,
            parent=self._parent_of(chosen) or start,
            best=self.best,
            chosen=chosen,
            held_out=held,
            curve=tuple(self.curve),
            stopped=stopped,
            cost=self.objective.cost,
            seconds=self.seconds,
            peak_memory=self.peak(),
            skipped=self.skipped,
            warnings=self._warnings(chosen),
            state=state,
        )

    def _parent_of(self, chosen: Evaluation) -> Evaluation | None:
        """Return the beginning of the climb that led to the chosen noise: of those begun, the nearest one."""
        begun = self.parents[: self.climb + 1] or ([self.origin] if self.origin is not None else [])
        return min(begun, key=lambda item: float(sphere.angle(item.noise, chosen.noise)[0]), default=self.parent)

    def _warnings(self, chosen: Evaluation) -> tuple[str, ...]:
        found = list(self.monitor.warnings(chosen))
        if self.skipped:
            found.append(f"{self.skipped} iterations gave no finite image or gradient and were skipped.")
        health = sphere.health(chosen.noise)
        if health.verdict != "green":
            found.append(f"The noise no longer looks random ({health.verdict}): {health.words}.")
        return tuple(found)

    # --- putting away ---

    _PLAIN = ("climb", "iteration", "in_a_row", "skipped", "images", "begun", "screening")
    _KEPT = ("first", "origin", "best", "parent")

    def state(self) -> dict[str, Any]:
        """Return everything that `restore` needs: plain values, tensors, evaluations."""
        kept: dict[str, Any] = {name: getattr(self, name) for name in (*self._PLAIN, *self._KEPT)}
        return kept | {
            "method_name": self.method.name,
            "prompt": self.objective.prompt,
            "noises": self.noises,
            "method": self.method.state() if self.begun else {},
            "pool": list(self.pool),
            "parents": list(self.parents),
            "monitor": self.monitor.state(),
            "curve": [asdict(point) for point in self.curve],
            "cost": asdict(self.objective.cost),
            "seconds": self.seconds,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken; raises SelectionError when it belongs to something else."""
        if state["method_name"] != self.method.name or state["prompt"] != self.objective.prompt:
            raise SelectionError(
                f'The saved state is of the method "{state["method_name"]}" and the prompt "{state["prompt"]}"; '
                "go on with the same ones, or start anew."
            )
        if state["noises"].shape != self.noises.shape or not torch.equal(state["noises"], self.noises):
            raise SelectionError("The saved state began from other noises; use the same seed, size and screening.")
        for name in (*self._PLAIN, *self._KEPT, "pool", "parents"):
            setattr(self, name, state[name])
        self.monitor.restore(state["monitor"])
        self.curve = [restored_point(row) for row in state["curve"]]
        cost = Cost(**state["cost"])
        counts = (*state["cost"].values(), self.iteration, self.climb)
        if not all(isinstance(count, int) and count >= 0 for count in counts):
            raise CheckpointCorrupt("What the saved run has cost, or how far it got, is no number; start anew.")
        self.objective.cost = cost
        self.before = state["seconds"]
        if self.begun and state["method"]:
            at = self.origin.noise if self.origin is not None else self.noises[:1]
            self.method.begin(at, self.parents, self.iterations)
            self.method.restore(state["method"])


_NOT_FINITE = (
    "None of the first {} images is finite: pixels or scores are NaN or infinite. Half precision often makes them: "
    "decode with a VAE in float32 or bfloat16, or load the scorer in float32."
)
