from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from search_worlds import Formula, along, direction, loaded, noises, pool_of
from torch import Tensor

from hpskit.embedded import EXAMPLE_PROMPTS
from hpskit.embedded.generator import schedule
from hpskit.errors import Cancelled, ImageError, MemoryExhausted, SelectionError
from hpskit.search.descent import Branch, Mutation, State, remake
from hpskit.search.evolution import Evolution, EvolutionUpdate, evolve, planned_cost
from hpskit.search.objective import Term, terms_of
from hpskit.search.stepping import FAMILIES, Family, Trajectory, noise_in
from hpskit.stats import expected_maximum

GENERATIONS = [(0, 4), (2, 5), (4, 3)]
SIGMAS = {"flow": tuple(schedule(6)), "eps": (10.0, 5.0, 2.5, 1.2, 0.6, 0.2, 0.0)}


def bend(family: Family = "flow"):  # type: ignore[no-untyped-def]
    """Return a smooth denoiser for latents of about unit size, whose answer depends on all elements of a row."""

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        assert x.dtype == torch.float32 and sigma.shape == (len(x),)
        level = sigma.reshape(-1, 1, 1, 1)
        signal = (1 - level) if family == "flow" else torch.ones_like(level)
        scaled = x * signal / (signal**2 + level**2)
        return scaled + 0.3 * torch.tanh(x.roll(1, -1) / (1 + level))

    return denoiser


def path(family: Family = "flow", eta: float = 0.0, latent: Tensor | None = None) -> Trajectory:
    return Trajectory(bend(family), SIGMAS[family], family, eta, latent)


def term(function=along(direction())) -> list[Term]:  # type: ignore[no-untyped-def] # noqa: B008
    return [Term(Formula(function), 1.0)]


def itself(x: Tensor) -> Tensor:
    return x


def run(trajectory: Trajectory | None = None, seeds: Sequence[int] = range(6), **options) -> Evolution:  # type: ignore[no-untyped-def]
    given = {"terms": term(), "generations": GENERATIONS, "decode": itself} | options
    return evolve(trajectory or path(), prompt="a prompt", noises=noises(*seeds), **given)


# --- the result -------------------------------------------------------------------------------------------------------


def test_the_best_of_all_images_is_returned_with_its_first_generation_beside() -> None:
    found = run()
    losses = [each.loss for each in found.individuals]
    assert len(losses) == 6 + 4 + 5 + 3
    assert found.best.loss == min(losses) == found.winner.loss
    assert found.first.loss == min(losses[:6])
    assert found.best.loss < found.first.loss
    assert found.best.scores["formula"] == pytest.approx(-found.best.loss)
    assert found.stopped == "generations" and found.skipped == 0 and found.exact


def test_the_first_generation_are_the_given_noises_plainly_sampled() -> None:
    found = run(generations=[])
    for k, each in enumerate(found.individuals):
        assert each.branch.step == 0 and each.branch.parent == -1 and each.generation == 0
        latent = remake(path(), noises(k), [each.branch])
        assert each.loss == -float(along(direction())(latent))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("eta", [0.0, 0.6])
def test_the_winner_can_be_made_again_bit_by_bit(family: Family, eta: float) -> None:
    trajectory = path(family, eta)
    for seed in range(5):
        found = run(trajectory, seed=seed)
        assert torch.equal(remake(trajectory, found.root, found.lineage), found.best.latent)
        assert found.lineage[0].parent == -1 and found.lineage[-1] == found.winner.branch
        assert [b.step for b in found.lineage] == sorted(b.step for b in found.lineage)


def test_a_long_line_can_be_made_again() -> None:
    trajectory, generations = path(eta=0.3), [(0, 6), (0, 6), (3, 6), (3, 6), (5, 6)]
    found = [run(trajectory, generations=generations, seed=seed, elites=1) for seed in range(6)]
    assert max(len(each.lineage) for each in found) >= 5
    for each in found:
        assert torch.equal(remake(trajectory, each.root, each.lineage), each.best.latent)


def test_the_starting_noise_of_the_winner_is_what_it_began_with() -> None:
    found = run(generations=[(0, 12), (0, 12)])
    assert all(branch.step == 0 for branch in found.lineage)
    again = remake(path(), found.best.noise, found.lineage[:1])
    assert torch.equal(again, found.best.latent)
    assert not torch.equal(found.best.noise, found.root)


def test_image_to_image_lines_start_from_the_latent() -> None:
    latent = torch.full((1, 3, 4, 4), 2.0)
    trajectory = Trajectory(bend(), SIGMAS["flow"][2:], "flow", 0.0, latent)
    found = run(trajectory, generations=[(0, 3), (2, 3)])
    assert torch.equal(remake(trajectory, found.root, found.lineage), found.best.latent)
    assert not torch.allclose(found.best.latent, run(generations=[(0, 3), (2, 3)]).best.latent)


# --- compute ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nfe", [1, 2])
def test_the_cost_is_what_the_denoiser_saw(nfe: int) -> None:
    rows = [0]
    denoiser = bend()

    def counting(x: Tensor, sigma: Tensor) -> Tensor:
        rows[0] += len(x)
        return denoiser(x, sigma)

    found = run(Trajectory(counting, SIGMAS["flow"], "flow"), nfe=nfe, chunk=4)
    assert rows[0] == 6 * 6 + 4 * 6 + 5 * 4 + 3 * 2
    assert found.cost.forwards == nfe * rows[0] == planned_cost(6, 6, GENERATIONS, nfe)
    assert found.cost.rewards == found.cost.decodes == 18 and found.cost.backwards == 0


def test_chunks_change_nothing_but_the_promise() -> None:
    one, three = run(chunk=1), run(chunk=3)
    assert [e.branch for e in one.individuals] == [e.branch for e in three.individuals]
    assert one.best.loss == pytest.approx(three.best.loss, rel=1e-5)
    assert one.exact and not three.exact


def test_out_of_memory_halves_the_chunk_and_repeats_the_same_children() -> None:
    denoiser = bend()

    def narrow(x: Tensor, sigma: Tensor) -> Tensor:
        if len(x) > 2:
            raise RuntimeError("CUDA out of memory")
        return denoiser(x, sigma)

    found = run(Trajectory(narrow, SIGMAS["flow"], "flow", 0.5), chunk=5)
    plain = run(path(eta=0.5))
    assert [e.branch for e in found.individuals] == [e.branch for e in plain.individuals]
    assert found.best.loss == pytest.approx(plain.best.loss, rel=1e-5)


def test_without_room_for_one_image_the_best_so_far_counts_if_there_is_one() -> None:
    left = [60]
    denoiser = bend()

    def failing(x: Tensor, sigma: Tensor) -> Tensor:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("out of memory")
        return denoiser(x, sigma)

    found = run(Trajectory(failing, SIGMAS["flow"], "flow"))
    assert found.stopped == "memory" and len(found.individuals) == 10
    with pytest.raises(MemoryExhausted):
        run(Trajectory(failing, SIGMAS["flow"], "flow"))


# --- mutation and selection -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.2, 0.7])
def test_mutated_starting_noise_is_still_standard_normal(beta: float) -> None:
    noise = torch.randn(1, 4, 128, 128, generator=torch.Generator().manual_seed(0))
    trajectory = Trajectory(bend(), SIGMAS["flow"], "flow")
    child = Mutation(beta).of(State(noise, noise, noise), trajectory, 0, torch.Generator().manual_seed(1)).noise
    assert float(child.mean()) == pytest.approx(0, abs=0.02)
    assert float(child.std()) == pytest.approx(1, abs=0.02)
    assert float((child * noise).mean()) == pytest.approx(math.sqrt(1 - beta**2), abs=0.02)


@pytest.mark.parametrize("family", FAMILIES)
def test_mutation_on_the_way_keeps_the_clean_latent_and_the_noise_level(family: Family) -> None:
    x0 = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(2))
    noise = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(3))
    trajectory = Trajectory(bend(), SIGMAS[family], family)
    sigma = trajectory.sigmas[3]
    x = (1 - sigma) * x0 + sigma * noise if family == "flow" else x0 + sigma * noise
    child = Mutation(rho=0.8).of(State(noise, x, x0), trajectory, 3, torch.Generator().manual_seed(4))
    held = noise_in(child.x, x0, sigma, family)
    assert float(held.std()) == pytest.approx(1, abs=0.02)
    assert float((held * noise).mean()) == pytest.approx(0.8, abs=0.02)
    assert float((held * x0).mean()) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("options", [{"beta": 0.0}, {"beta": 1.1}, {"rho": 1.0}, {"rho": -0.1}])
def test_mutations_that_are_none_or_too_much_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(SelectionError):
        Mutation(**options)


def test_parents_are_the_best_that_passed_the_step() -> None:
    found = run(elites=1, generations=[(0, 5), (3, 5), (3, 5)])
    by_generation = [[e for e in found.individuals if e.generation == g] for g in range(4)]
    for children, before in ((by_generation[1], 1), (by_generation[2], 2), (by_generation[3], 3)):
        pool = [e for generation in by_generation[:before] for e in generation]
        best = min(pool, key=lambda e: e.loss)
        assert {child.branch.parent for child in children} == {best.index}


def test_more_elites_spread_the_parents() -> None:
    found = run(elites=4, generations=[(2, 30)])
    parents = [e.branch.parent for e in found.individuals[6:]]
    ranking = sorted(range(6), key=lambda k: found.individuals[k].loss)
    assert set(parents) <= set(ranking[:4]) and len(set(parents)) > 1
    assert parents.count(ranking[0]) > len(parents) / 2, "it is nearly greedy"


def test_the_seed_decides_everything() -> None:
    torch.manual_seed(1)
    first = run(path(eta=0.5), seed=3)
    torch.manual_seed(2)
    again, other = run(path(eta=0.5), seed=3), run(path(eta=0.5), seed=4)
    assert first.individuals == again.individuals and torch.equal(first.best.latent, again.best.latent)
    assert first.individuals != other.individuals


def test_equal_seeds_of_noise_and_search_do_not_meet() -> None:
    """A fresh noise that equals the starting noise would make the child its parent."""
    found = run(seeds=[0], seed=0, generations=[(0, 6), (3, 6)], elites=1)
    assert len({e.loss for e in found.individuals}) == 13


# --- trouble ----------------------------------------------------------------------------------------------------------


def test_images_that_are_not_finite_are_never_parents() -> None:
    def decode(latent: Tensor) -> Tensor:
        high = along(direction())(latent) > 0.3
        return torch.where(high.reshape(-1, 1, 1, 1), torch.full_like(latent, math.nan), latent)

    found = run(decode=decode, seeds=range(12))
    lost = {e.index for e in found.individuals if not math.isfinite(e.loss)}
    assert lost and found.skipped == len(lost)
    assert not lost & {e.branch.parent for e in found.individuals}
    assert found.best.loss >= -0.3 - 1e-6


def test_nothing_usable_is_an_error() -> None:
    with pytest.raises(ImageError, match="None of the first 6 images"):
        run(decode=lambda latent: latent * math.nan)


def test_progress_is_reported_and_the_best_never_gets_worse() -> None:
    seen: list[EvolutionUpdate] = []
    found = run(on_progress=seen.append, chunk=2)
    assert [update.done for update in seen] == sorted(update.done for update in seen)
    assert seen[-1].done == seen[-1].total == found.cost.forwards
    losses = [update.best.loss for update in seen if update.best]
    assert losses == sorted(losses, reverse=True) and losses[-1] == found.best.loss
    assert [e for update in seen for e in update.fresh] == list(found.individuals)
    assert {update.generation for update in seen} == {0, 1, 2, 3}


@pytest.mark.parametrize("keep", [True, False])
def test_cancelling_keeps_the_best_when_asked(keep: bool) -> None:
    calls = [0]

    def cancelled() -> bool:
        calls[0] += 1
        return calls[0] > 6 * 6 + 9

    if not keep:
        with pytest.raises(Cancelled):
            run(cancelled=cancelled)
        return
    found = run(cancelled=cancelled, keep_on_cancel=True)
    assert found.stopped == "cancelled" and len(found.individuals) == 7
    assert torch.equal(remake(path(), found.root, found.lineage), found.best.latent)
    with pytest.raises(Cancelled):
        run(cancelled=lambda: True, keep_on_cancel=True)


def test_time_ends_it() -> None:
    ticks = iter(range(1000))
    found = run(seconds=8, clock=lambda: float(next(ticks)))
    assert found.stopped == "time" and len(found.individuals) == 8


@pytest.mark.parametrize(
    "options",
    [
        {"generations": [(2, 3), (0, 3)]},
        {"generations": [(6, 3)]},
        {"generations": [(-1, 3)]},
        {"generations": [(0, 0)]},
        {"elites": 0},
        {"chunk": 0},
    ],
)
def test_senseless_arguments_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(SelectionError):
        run(**options)


def test_no_noises_and_lines_without_a_beginning_are_refused() -> None:
    with pytest.raises(SelectionError, match="starting noise"):
        evolve(path(), itself, term(), "a prompt", torch.zeros(0, 3, 4, 4), [])
    for lineage in ([], [Branch(2, 0, 1)]):
        with pytest.raises(SelectionError, match="line of descent"):
            remake(path(), noises(1), lineage)


# --- the miniature ----------------------------------------------------------------------------------------------------


def test_on_the_miniature_evolution_beats_best_of_n_for_the_same_compute() -> None:
    """16 images, 16 children of both steps and 32 of one step take as many evaluations as 48 images."""
    generator, scorer = loaded()
    generations = [(0, 8), (0, 8), (1, 32)]
    gains = []
    for prompt in EXAMPLE_PROMPTS[:5]:
        cond = generator.encode_prompts(prompt)
        trajectory = Trajectory(
            lambda x, sigma, cond=cond: generator.denoise(x, sigma, cond),  # type: ignore[misc]
            tuple(schedule(2)),
            "flow",
        )
        pool = pool_of(prompt, 0, 72)
        start = torch.cat([e.noise for e in pool[:16]])
        found = evolve(
            trajectory,
            lambda x: generator.decode(x, 64),
            terms_of(scorer),
            prompt,
            start,
            generations,
            chunk=8,
            elites=3,
        )
        assert found.cost.forwards == 48 * 2
        gains.append(-found.best.loss - expected_maximum([-e.loss for e in pool], 48)[47])
    assert sum(gain > 0 for gain in gains) >= 3
    assert sum(gains) / len(gains) > 0.01, "less than a fifth of a point of HPS"
