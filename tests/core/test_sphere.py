from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from search_worlds import SHAPE, along, direction, itself, noises, walk, wins_over_best_of_n, world
from torch import Tensor

from hpskit.errors import HpsError
from hpskit.search import noise as sphere
from hpskit.search.method import Method
from hpskit.search.objective import Evaluation
from hpskit.search.optimize import optimize_noise
from hpskit.search.sphere import LARGEST, PATIENCE, SMALLEST, Region, SphereSearch, ZeroOrder
from hpskit.search.state import load_state, save_state
from hpskit.search.subspace import SubspaceSearch

Make = Callable[..., Method]
METHODS: list[Make] = [SphereSearch, ZeroOrder, SubspaceSearch]
CORNER = torch.zeros(4, 4)
CORNER[:2, :2] = 1


def run(method: Method, objective, start: Tensor, steps: int, known: list[Evaluation] = []) -> list[Evaluation]:  # type: ignore[no-untyped-def] # noqa: B006
    method.begin(start, known, steps)
    return [e for k in range(steps) for e in method.step(objective, k == steps - 1).evaluations]


def screened(objective, *seeds: int) -> list[Evaluation]:  # type: ignore[no-untyped-def]
    return sorted(objective.evaluate(noises(*seeds)), key=lambda e: e.loss)


# --- all methods without gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", METHODS)
def test_the_reward_climbs_towards_its_known_maximum(make: Make) -> None:
    target = direction()
    for seed in range(4):
        objective, start = world(along(target)), noises(seed)
        best = -walk(make(population=8, seed=seed), objective, screened(objective, seed), start, 40)[-1]
        radius, first = float(start.norm()), float((start * target).sum())
        random = float(along(target)(noises(*range(5000, 5320))).max())
        assert first < best <= radius * 1.0001
        assert best > random, "no better than as many random noises"


@pytest.mark.parametrize("make", METHODS)
def test_only_the_asked_number_of_images_is_made_and_the_start_is_among_them(make: Make) -> None:
    objective, start = world(along(direction())), noises(3)
    method = make(population=5)
    method.begin(start, [], 4)
    first = method.step(objective, False)
    assert torch.equal(first.evaluations[0].noise, start)
    assert [len(method.step(objective, False).evaluations) for _ in range(3)] == [5, 5, 5]
    assert objective.cost.rewards == 20 and not method.uses_gradients


@pytest.mark.parametrize("make", METHODS)
def test_current_is_the_best_child(make: Make) -> None:
    objective = world(along(direction()))
    method = make(population=6)
    method.begin(noises(1), screened(objective, 1, 2, 3), 3)
    for _ in range(3):
        found = method.step(objective, False)
        assert found.current is min(found.evaluations, key=lambda e: e.loss)
        assert found.grad_norm is None and not found.skipped


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_resumed_search_is_bit_identical(make: Make, cut: int) -> None:
    objective, start = world(along(direction(2))), noises(4)
    known = screened(objective, 4, 5, 6, 7)
    whole = run(make(population=4, seed=9, mask=CORNER, max_angle=1.0), objective, start, 14, known)

    method = make(population=4, seed=9, mask=CORNER, max_angle=1.0)
    made = []
    method.begin(start, known, 14)
    for _ in range(cut):
        made += method.step(objective, False).evaluations
    state = method.state()
    run(method, objective, noises(99), 3)  # what happens later must not reach into the state
    other = make(population=4, seed=1234, mask=CORNER, max_angle=1.0)
    other.restore(state)
    for _ in range(14 - cut):
        made += other.step(objective, False).evaluations
    assert len(made) == len(whole)
    assert all(torch.equal(a.noise, b.noise) and a.loss == b.loss for a, b in zip(made, whole, strict=True))


@pytest.mark.parametrize("make", METHODS)
def test_the_state_is_plain_data(make: Make) -> None:
    objective = world(along(direction()))
    method = make(population=4)
    method.begin(noises(1), screened(objective, 1, 2, 3), 2)
    method.step(objective, False)

    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) for key in value) and all(map(plain, value.values()))
        return all(map(plain, value)) if isinstance(value, list) else isinstance(value, (Tensor, int, float, str))

    assert plain(method.state())


@pytest.mark.parametrize("make", METHODS)
def test_a_state_survives_its_file(make: Make, tmp_path: Path) -> None:
    objective, start = world(along(direction())), noises(1)
    method, other = make(population=4), make(population=4)
    method.begin(start, screened(objective, 1, 2, 3), 2)
    method.step(objective, False)
    other.restore(load_state(save_state(tmp_path / "state.safetensors", method.state())))
    for _ in range(5):
        a, b = method.step(objective, False), other.step(objective, False)
        assert all(torch.equal(x.noise, y.noise) for x, y in zip(a.evaluations, b.evaluations, strict=True))


@pytest.mark.parametrize("make", METHODS)
def test_the_driver_runs_it_from_screening_to_the_end(make: Make) -> None:
    objective = world(along(direction()))
    found = optimize_noise(make(population=4), objective, noises(1, 2, 3, 4), iterations=10)
    assert objective.cost.rewards == 4 + 40 and found.stopped == "iterations"
    assert found.best.loss < min(e.loss for e in screened(objective, 1, 2, 3, 4))


@pytest.mark.parametrize("make", METHODS)
def test_the_seed_decides_everything(make: Make) -> None:
    def made(seed: int) -> list[Tensor]:
        objective = world(along(direction()))
        torch.manual_seed(torch.seed() % 1000)  # the global generator must not matter
        return [e.noise for e in run(make(population=4, seed=seed), objective, noises(2), 5)]

    assert all(torch.equal(a, b) for a, b in zip(made(1), made(1), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(made(1), made(2), strict=True))


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("seed", [0, 7])
def test_a_start_of_the_same_seed_does_not_come_out_again(make: Make, seed: int) -> None:
    start = noises(seed)
    children = run(make(population=6, seed=seed), world(along(direction())), start, 1)[1:]
    drawn = torch.cat([e.noise for e in children])
    assert float(sphere.angle(drawn, start.expand_as(drawn)).min()) > 0.05
    assert float(torch.pdist(drawn.flatten(1)).min()) > 0.1


@pytest.mark.parametrize("make", METHODS)
def test_the_norm_of_the_start_is_kept(make: Make) -> None:
    start = noises(8)
    for evaluation in run(make(population=6), world(along(direction())), start, 12):
        assert float(evaluation.noise.norm()) == pytest.approx(float(start.norm()), rel=1e-5)


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("mask", [CORNER, CORNER[None, None], CORNER.expand(3, 4, 4), CORNER.bool()])
def test_a_mask_leaves_the_rest_bit_identical_and_keeps_the_norm_inside(make: Make, mask: Tensor) -> None:
    start = noises(5)
    inside = CORNER.bool().expand(SHAPE)
    found = run(make(population=4, mask=mask), world(along(direction())), start, 10)
    for evaluation in found:
        assert torch.equal(evaluation.noise[:, ~inside], start[:, ~inside])
        assert float(evaluation.noise[:, inside].norm()) == pytest.approx(float(start[:, inside].norm()), rel=1e-5)
    assert len({float(e.noise[:, inside].sum()) for e in found}) > 30


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("mask", [None, CORNER])
def test_no_child_stands_further_away_than_allowed(make: Make, mask: Tensor | None) -> None:
    start = noises(5)
    region = Region(start, mask, None)
    objective = world(along(direction()))
    known = screened(objective, 5, 6, 7, 8)
    found = run(make(population=4, mask=mask, max_angle=0.5), objective, start, 25, known)
    far = [float(sphere.angle(region.inside(e.noise), region.inside(start))) for e in found]
    assert max(far) <= 0.5 + 1e-4 and max(far) > 0.3


@pytest.mark.parametrize("make", METHODS)
def test_known_noises_outside_the_region_are_never_parents(make: Make) -> None:
    objective, start = world(along(direction())), noises(5)
    known = screened(objective, 6, 7, 8)
    for options in ({"mask": CORNER}, {"max_angle": 0.3}):
        free, bound = make(population=4, **options), make(population=4, **options)
        a, b = (run(method, objective, start, 6, pool) for method, pool in ((free, []), (bound, known)))
        assert all(torch.equal(x.noise, y.noise) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("mask", [torch.zeros(4, 4), torch.ones(5, 5), torch.ones(2, 3, 4, 4)])
def test_masks_that_fit_nothing_are_refused(make: Make, mask: Tensor) -> None:
    with pytest.raises(HpsError, match="mask"):
        make(mask=mask).begin(noises(1), [], 1)


@pytest.mark.parametrize("make", METHODS)
def test_a_generation_without_a_usable_image_is_skipped_and_the_search_goes_on(make: Make) -> None:
    broken = [True]

    def render(noise: Tensor) -> Tensor:
        return noise * math.nan if broken[0] else noise

    objective = world(along(direction()), render)
    method = make(population=4)
    method.begin(noises(1), [], 8)
    for _ in range(2):
        found = method.step(objective, False)
        assert found.skipped and found.current is None and len(found.evaluations) == 4
        assert not any(e.usable for e in found.evaluations)
    broken[0] = False
    found = method.step(objective, False)
    assert not found.skipped and found.current is not None
    assert all(bool(torch.isfinite(e.noise).all()) for e in found.evaluations)


@pytest.mark.parametrize("make", METHODS)
def test_unusable_images_never_become_parents(make: Make) -> None:
    def render(noise: Tensor) -> Tensor:  # the half where the reward is highest cannot be decoded
        far = (noise * direction()).flatten(1).sum(1) > 1.0
        return torch.where(far.reshape(-1, 1, 1, 1), torch.full_like(noise, math.nan), noise)

    objective = world(along(direction()), render)
    method = make(population=8, seed=1)
    made = run(method, objective, noises(2), 30)
    assert any(not e.usable for e in made) and all(e.loss >= -1.0 for e in made)
    assert any(e.usable for e in made[-8 * 5 :]), "the search has left the part that can be decoded"


@pytest.mark.parametrize("make", METHODS)
def test_on_the_miniature_search_beats_best_of_n_for_the_same_compute(make: Make) -> None:
    gains = wins_over_best_of_n(lambda k: make(population=8, seed=k))
    assert sum(gain > 0 for gain in gains) >= 3
    assert sum(gains) / len(gains) > 0.01, "less than a fifth of a point of HPS"


# --- sphere search ----------------------------------------------------------------------------------------------------


def test_the_parents_are_the_best_of_all_images_while_there_is_progress() -> None:
    objective = world(along(direction()))
    method = SphereSearch(4, seed=3)
    known = screened(objective, 1, 2)
    method.begin(noises(1), known, 30)
    losses = [e.loss for e in known]
    for _ in range(12):
        found = method.step(objective, False)
        losses += [e.loss for e in found.evaluations]
        assert [parent.loss for parent in method.parents] == sorted(losses)[:2]


def test_the_angle_follows_the_success() -> None:
    start = noises(1)
    up, flat = world(lambda x: -sphere.angle(x, -start.expand_as(x))), world(lambda x: torch.zeros(len(x)))
    bold, shy = SphereSearch(4, blends=0), SphereSearch(4, blends=0)
    bold.begin(start, up.evaluate(start), 5)  # every step away from the start is an improvement
    shy.begin(start, flat.evaluate(start), 5)
    bold.step(up, False), shy.step(flat, False)
    assert bold.theta == pytest.approx(0.35 * math.exp(0.5))
    assert shy.theta == pytest.approx(0.35 * math.exp(-0.125))
    assert sphere.angle(bold.parents[0].noise, start).item() == pytest.approx(0.35, abs=1e-5)


def test_the_angle_stays_within_its_limits() -> None:
    calls = count()
    for score, first, limit in (
        (lambda x: torch.zeros(len(x)), 0.055, SMALLEST),
        (lambda x: torch.full((len(x),), float(next(calls))), 1.5, LARGEST),
    ):
        objective = world(score)
        method = SphereSearch(4, theta=first, blends=0)
        method.begin(noises(1), objective.evaluate(noises(1)), 3)
        for _ in range(2):
            method.step(objective, False)
        assert method.theta == limit


def test_stagnation_moves_on_to_the_second_best_and_then_to_fresh_noise() -> None:
    objective = world(lambda x: torch.full((len(x),), -1.0))  # nothing is ever better than what is known
    known = screened(objective, 1, 2, 3)
    method = SphereSearch(4, blends=0, parents=1)
    method.begin(noises(1), known, 20)
    bases = []
    for _ in range(3 * PATIENCE):
        bases.append(method.parents[0].noise)
        children = method.step(objective, False).evaluations
        assert all(float(sphere.angle(c.noise, bases[-1])) < 0.36 for c in children)
    for position, base in enumerate(bases):
        assert torch.equal(base, known[position // PATIENCE].noise)
    assert not method.parents
    fresh = torch.cat([e.noise for e in method.step(objective, False).evaluations])
    assert len(fresh) == 4 and float(sphere.angle(fresh[:1], fresh[1:2])) > 0.8
    assert method.parents


def test_children_are_mutations_blends_and_fresh_noise_in_the_asked_numbers() -> None:
    objective = world(along(direction(shape=(4, 32, 32))[:, :3]), lambda noise: noise[:, :3])
    known = sorted(objective.evaluate(noises(1, 2, shape=(4, 32, 32))), key=lambda e: e.loss)
    method = SphereSearch(8, fresh=2, blends=0.34)
    method.begin(known[0].noise, known, 1)
    children = torch.cat([e.noise for e in method.step(objective, False).evaluations])
    a, b = (sphere.angle(children, k.noise.expand_as(children)) for k in known)
    whole = float(sphere.angle(known[0].noise, known[1].noise))
    mutated = (a - 0.35).abs() < 1e-4
    blended = (a + b - whole).abs() < 1e-3
    assert mutated.sum() == 4 and blended.sum() == 2 and (~mutated & ~blended & (a > 1.4) & (b > 1.4)).sum() == 2


@pytest.mark.parametrize("options", [{"population": 0}, {"blends": 2.0}, {"fresh": 9}, {"parents": 0}, {"theta": 0.0}])
def test_senseless_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(HpsError):
        SphereSearch(**options)  # type: ignore[arg-type]


# --- zero order -------------------------------------------------------------------------------------------------------


def test_neighbours_stand_at_the_threshold_and_the_base_moves_only_uphill() -> None:
    objective = world(along(direction()))
    method = ZeroOrder(4, seed=2)
    method.begin(noises(1), screened(objective, 1), 20)
    moved = renewed = 0
    for _ in range(20):
        base = method.parents[0] if method.parents else None
        found = method.step(objective, False)
        if base is None:
            first = found.evaluations[0].noise
            assert all(math.cos(sphere.angle(e.noise, first)) == pytest.approx(0.95) for e in found.evaluations[1:])
            renewed += 1
            continue
        assert all(math.cos(sphere.angle(e.noise, base.noise)) == pytest.approx(0.95) for e in found.evaluations)
        assert bool(method.parents) == (found.current is not None and found.current.loss < base.loss)
        moved += bool(method.parents)
    assert moved and renewed


def test_a_threshold_must_be_a_cosine() -> None:
    with pytest.raises(HpsError, match="cosine"):
        ZeroOrder(threshold=1.0)


# --- regions ----------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), theta=st.floats(0.01, 1.5), inside=st.integers(2, 47))
@settings(max_examples=30, deadline=None)
def test_changes_in_a_region_are_exact(seed: int, theta: float, inside: int) -> None:
    start, generator = noises(seed), torch.Generator().manual_seed(seed)
    mask = (torch.randperm(48, generator=generator) < inside).reshape(SHAPE)
    region = Region(start, mask, None)
    for made in (region.mutated(start, theta, 3, generator), region.fresh(2, generator)):
        assert torch.equal(made[:, ~mask], start[:, ~mask].expand(len(made), -1))
        assert torch.allclose(made[:, mask].norm(dim=1), start[:, mask].norm(), rtol=1e-4)
        assert all(region.holds(row[None]) for row in made)
    turned = sphere.angle(region.mutated(start, theta, 3, generator)[:, mask], start[:, mask].expand(3, -1))
    assert torch.allclose(turned, torch.full((3,), theta), atol=1e-3)
    assert not region.holds(start + 1) or bool(mask.all())


def test_a_region_knows_its_own() -> None:
    start = noises(1)
    assert Region(start, None, None).holds(noises(2))
    assert not Region(start, None, None).holds(noises(2, shape=(3, 4, 5)))
    assert not Region(start, None, 0.5).holds(noises(2))
    assert itself(start) is start
