"""EvoSearch: evolution along the denoising path, so that late generations pay for the remaining steps only.

Source: EvoSearch, arXiv 2505.17618, tinnerhrhe/EvoSearch-codes. A first generation of noises is denoised and scored;
the states on the way are kept. Each later generation branches off at a given step: a parent's state there is mutated
and denoised to the end. Two things differ from the public code. Elites are not denoised a second time, since their
result is known. At intermediate steps the mutation keeps the noise level, x' = alpha x0 + sigma (rho eps +
sqrt(1 - rho^2) n), where theirs, x + sigma n, raises it above the schedule.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import Cancelled, ImageError, MemoryExhausted, SelectionError
from ..types import Decoder
from .descent import Branch, Mutation, State, carry, generator_of
from .making import looks_out_of_memory
from .objective import Cost, Evaluation, Objective, Term
from .randomness import own_seed, stream
from .stepping import Trajectory

CROWD = 0.9
"""Share of the elites among which a child's parent is the best: nearly greedy."""


@dataclass(frozen=True)
class Individual:
    """One image of the search and where it came from."""

    index: int
    generation: int
    branch: Branch
    loss: float
    """Infinite when it could not be computed."""
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EvolutionUpdate:
    """What a user interface can show after a chunk of images."""

    done: int
    """Denoiser evaluations so far, of `total`."""
    total: int
    generation: int
    fresh: tuple[Individual, ...]
    best: Evaluation | None
    """Best so far; None while nothing was usable."""
    seconds: float


@dataclass(frozen=True)
class Evolution:
    """Result of a search; what the first generation alone gave is best of N over its noises."""

    best: Evaluation
    """`noise` is the winner's starting noise, which gives its latent only when the line never branched after step 0."""
    first: Evaluation
    """Best of the first generation."""
    winner: Individual
    lineage: tuple[Branch, ...]
    """From the first generation down to the winner: what `descent.remake` needs, with `root`."""
    root: Tensor
    """[1, ...]: the starting noise that the line began with."""
    individuals: tuple[Individual, ...]
    cost: Cost
    seconds: float
    stopped: str
    """"generations" when all were made, else "time", "memory" or "cancelled"."""
    exact: bool
    """True when every image was made on its own, so that making the winner again gives the same bits."""

    @property
    def skipped(self) -> int:
        """Number of images that could not be scored."""
        return sum(not math.isfinite(each.loss) for each in self.individuals)


def evolve(
    path: Trajectory,
    decode: Decoder,
    terms: Sequence[Term],
    prompt: str,
    noises: Tensor,
    generations: Sequence[tuple[int, int]],
    *,
    seed: int = 0,
    elites: int = 5,
    mutation: Mutation | None = None,
    nfe: int = 1,
    chunk: int = 1,
    device: torch.device | str = "cpu",
    seconds: float | None = None,
    on_progress: Callable[[EvolutionUpdate], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    keep_on_cancel: bool = False,
    is_out_of_memory: Callable[[BaseException], bool] = looks_out_of_memory,
    clock: Callable[[], float] = time.monotonic,
) -> Evolution:
    """Return the best image that evolution along `path` finds from `noises` [k, ...], the first generation.

    `generations` are (step, number of children) in the order they are bred, steps not falling. Parents come from the
    `elites` best of all images that passed that step; their states are what is held in memory. `nfe` is the cost of
    one evaluation of the denoiser (2 with guidance), `chunk` how many are made at once; halved when memory runs out.
    Everything follows from `seed` and the noises. `cancelled` is asked before every step: then, or when a callable
    raises Cancelled, the search ends in Cancelled, or with the best so far when `keep_on_cancel`. Memory that does not
    even hold one image ends it with the best so far; with nothing usable so far, MemoryExhausted. Raises ImageError
    when no image of the first generation is usable, SelectionError on senseless arguments.
    """
    _check(path, noises, generations, elites, chunk)
    objective = Objective(_latent_itself, decode, terms, prompt, nfe=0, chunk=chunk, is_out_of_memory=is_out_of_memory)
    search = _Search(path, objective, noises.detach().float().cpu(), list(generations), seed, elites, nfe, clock)
    search.mutation, search.device = mutation or Mutation(), torch.device(device)
    search.chunk, search.cancelled, search.is_out_of_memory = chunk, cancelled, is_out_of_memory
    stopped = "generations"
    try:
        for update in search.run():
            if on_progress is not None:
                on_progress(update)
            if seconds is not None and update.seconds >= seconds and update.best is not None:
                stopped = stopped if update.done == update.total else "time"
                break
    except Cancelled:
        if not (keep_on_cancel and search.best is not None):
            raise
        stopped = "cancelled"
    except MemoryExhausted:
        if search.best is None:
            raise
        stopped = "memory"
    return search.result(stopped)


def planned_cost(steps: int, first: int, generations: Sequence[tuple[int, int]], nfe: int = 1) -> int:
    """Return the denoiser evaluations of a whole search over a path of `steps`, with `first` starting noises."""
    return nfe * (first * steps + sum(count * (steps - step) for step, count in generations))


def _latent_itself(latent: Tensor) -> Tensor:
    return latent


def _check(path: Trajectory, noises: Tensor, generations: Sequence[tuple[int, int]], elites: int, chunk: int) -> None:
    steps = [step for step, _ in generations]
    if not len(noises):
        raise SelectionError("There are no starting noises; evolution needs at least one.")
    if steps != sorted(steps) or any(not 0 <= step < path.steps or count < 1 for step, count in generations):
        raise SelectionError(
            f"Generations must branch off at steps 0 to {path.steps - 1} in rising order, with one child or more."
        )
    if elites < 1 or chunk < 1:
        raise SelectionError(f"elites is {elites} and chunk is {chunk}; both must be at least 1.")


@dataclass(frozen=True)
class _Elite:
    loss: float
    index: int
    state: State


@dataclass(frozen=True)
class _Embryo:
    """A child before it is denoised."""

    branch: Branch
    noise: Tensor
    """Starting noise of its line."""
    parent: State | None


class _Search:
    """A population in the making."""

    def __init__(
        self,
        path: Trajectory,
        objective: Objective,
        noises: Tensor,
        generations: list[tuple[int, int]],
        seed: int,
        elites: int,
        nfe: int,
        clock: Callable[[], float],
    ) -> None:
        self.path, self.objective, self.noises, self.generations = path, objective, noises, generations
        self.seed, self.elites, self.nfe = seed, elites, nfe
        self.mutation, self.device, self.chunk = Mutation(), torch.device("cpu"), 1
        self.cancelled: Callable[[], bool] | None = None
        self.is_out_of_memory: Callable[[BaseException], bool] = looks_out_of_memory
        self.clock, self.began = clock, clock()
        self.chooser = stream(seed, "evolution parents")
        self.archive: dict[int, list[_Elite]] = {step: [] for step, _ in generations}
        self.individuals: list[Individual] = []
        self.best: Evaluation | None = None
        self.first: Evaluation | None = None
        self.forwards, self.largest_chunk = 0, 0

    def run(self) -> Iterator[EvolutionUpdate]:
        """Make one generation after the other, a chunk at a time."""
        for generation in range(len(self.generations) + 1):
            todo = self._founders() if generation == 0 else self._children(*self.generations[generation - 1])
            while todo:
                fresh = self._fitting(todo, generation)
                todo = todo[len(fresh) :]
                yield self._update(generation, fresh)
            if generation == 0:
                self._insist_on_a_parent()
            for step in [step for step in self.archive if step not in self._steps_after(generation)]:
                del self.archive[step]

    def _steps_after(self, generation: int) -> set[int]:
        return {step for step, _ in self.generations[generation:]}

    def _insist_on_a_parent(self) -> None:
        self.first = self.best
        if self.best is None:
            raise ImageError(
                f"None of the first {len(self.individuals)} images could be scored: pixels or scores are NaN or "
                "infinite. Half precision often makes them: decode with a VAE in float32 or bfloat16."
            )

    def _founders(self) -> list[_Embryo]:
        rows = [self.noises[k : k + 1] for k in range(len(self.noises))]
        return [_Embryo(Branch(0, -1, self._own_seed(k)), row, None) for k, row in enumerate(rows)]

    def _own_seed(self, index: int) -> int:
        return own_seed(self.seed, f"individual {index}")

    def _children(self, step: int, count: int) -> list[_Embryo]:
        made = []
        for index in range(len(self.individuals), len(self.individuals) + count):
            elite = self._parent(self.archive[step])
            made.append(_Embryo(Branch(step, elite.index, self._own_seed(index)), elite.state.noise, elite.state))
        return made

    def _parent(self, elites: Sequence[_Elite]) -> _Elite:
        crowd = torch.randperm(len(elites), generator=self.chooser)[: max(1, int(CROWD * len(elites)))]
        return elites[int(crowd.min())]  # they are sorted, best first

    def _fitting(self, todo: Sequence[_Embryo], generation: int) -> list[Individual]:
        while True:
            part = todo[: self.chunk]
            try:
                with torch.no_grad():
                    return self._made(part, generation)
            except Exception as error:
                if not self.is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise MemoryExhausted(
                        "Not even one image at a time fits the device's memory. Make the image smaller, decode with a "
                        "tiny VAE, or unload other models."
                    ) from error
            self.chunk = len(part) // 2

    def _made(self, part: Sequence[_Embryo], generation: int) -> list[Individual]:
        """Denoise and score embryos that branch off at one step; nothing is recorded before all of it is done."""
        step, first = part[0].branch.step, len(self.individuals)
        generators = [generator_of(embryo.branch) for embryo in part]
        starts = [self._start(*pair) for pair in zip(part, generators, strict=True)]
        noises, x = (torch.cat(parts) for parts in zip(*starts, strict=True))
        seen: dict[int, tuple[Tensor, Tensor]] = {}

        def keep(index: int, x: Tensor, x0: Tensor) -> None:
            if index in self.archive:
                seen[index] = x.cpu(), x0.cpu()

        latents = carry(self.path, x.to(self.device), step, self.path.steps, generators, self._ask_cancelled, keep)
        found = self.objective.evaluate(latents)
        self.forwards += self.nfe * len(part) * (self.path.steps - step)
        self.largest_chunk = max(self.largest_chunk, len(part))
        fresh = [Individual(first + k, generation, part[k].branch, e.loss, dict(e.scores)) for k, e in enumerate(found)]
        for k, evaluation in enumerate(found):
            self._record(fresh[k], replace(evaluation, noise=noises[k : k + 1].clone()), k, seen)
        return fresh

    def _start(self, embryo: _Embryo, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the starting noise and the first state [1, ...] of a line, its mutation made."""
        if embryo.parent is None:
            return embryo.noise, self.path.start(embryo.noise)
        state = self.mutation.of(embryo.parent, self.path, embryo.branch.step, generator)
        return state.noise, state.x

    def _record(
        self, individual: Individual, evaluation: Evaluation, k: int, seen: dict[int, tuple[Tensor, Tensor]]
    ) -> None:
        self.individuals.append(individual)
        if not evaluation.usable:
            return
        if self.best is None or evaluation.loss < self.best.loss:
            self.best = evaluation
        for step, (x, x0) in seen.items():
            rows = (x[k : k + 1].clone(), x0[k : k + 1].clone())  # a view would keep the whole chunk's memory
            crowd = [*self.archive[step], _Elite(individual.loss, individual.index, State(evaluation.noise, *rows))]
            self.archive[step] = sorted(crowd, key=lambda elite: elite.loss)[: self.elites]

    def _ask_cancelled(self, index: int) -> None:
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("The evolution was stopped; what was found before was reported as progress.")

    def _update(self, generation: int, fresh: Sequence[Individual]) -> EvolutionUpdate:
        total = planned_cost(self.path.steps, len(self.noises), self.generations, self.nfe)
        seconds = self.clock() - self.began
        return EvolutionUpdate(self.forwards, total, generation, tuple(fresh), self.best, seconds)

    def result(self, stopped: str) -> Evolution:
        """Describe what was found."""
        if self.best is None:
            raise ImageError("Nothing could be scored before the search ended.")
        winner = min(self.individuals, key=lambda each: each.loss)
        line = [winner]
        while line[0].branch.parent >= 0:
            line.insert(0, self.individuals[line[0].branch.parent])
        return Evolution(
            best=self.best,
            first=self.first or self.best,
            winner=winner,
            lineage=tuple(each.branch for each in line),
            root=self.noises[line[0].index : line[0].index + 1].clone(),
            individuals=tuple(self.individuals),
            cost=self.objective.cost + Cost(forwards=self.forwards),
            seconds=self.clock() - self.began,
            stopped=stopped,
            exact=self.largest_chunk == 1,
        )
