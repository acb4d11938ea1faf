from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from search_worlds import along, direction, noises, walk, world

from hpskit.errors import HpsError
from hpskit.search import noise as sphere
from hpskit.search.subspace import LARGEST, SMALLEST, SubspaceSearch, combine


@given(seed=st.integers(0, 1000), m=st.integers(2, 12))
@settings(max_examples=25, deadline=None)
def test_mixtures_of_noises_are_noise(seed: int, m: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    c = torch.randn(1, m, generator=generator, dtype=torch.float64) * 7
    drawn = torch.randn(m, 10_000, 3, generator=generator, dtype=torch.float64)
    mixed = combine(c, drawn)[0]
    assert torch.allclose(mixed.T @ mixed / len(mixed), torch.eye(3, dtype=torch.float64), atol=0.08)
    assert float(mixed.mean(0).abs().max()) < 0.06


def test_mixing_is_linear_and_scaled() -> None:
    drawn = noises(1, 2, 3)
    mixed = combine(torch.tensor([[3.0, 0.0, 4.0], [0.0, 2.0, 0.0]]), drawn)
    assert torch.allclose(mixed[0], 0.6 * drawn[0] + 0.8 * drawn[2], atol=1e-6)
    assert torch.equal(mixed[1], drawn[1])


def test_every_candidate_lies_in_the_span_and_norms_are_natural_when_not_kept() -> None:
    objective, start = world(along(direction())), noises(1)
    method = SubspaceSearch(4, 6, keep_norm=False)
    method.begin(start, [], 5)
    basis = method.parts.clone()
    for _ in range(5):
        made = torch.cat([e.noise for e in method.step(objective, False).evaluations]).flatten(1)
        weights = torch.linalg.lstsq(basis.T.double(), made.T.double()).solution.T
        assert torch.allclose(weights @ basis.double(), made.double(), atol=1e-4)
        assert torch.allclose(weights.norm(dim=1), torch.ones(6, dtype=torch.float64), atol=1e-4)


def test_it_finds_the_best_mixture() -> None:
    """The maximum of a linear reward over the sphere of coefficients is the length of the projection's coefficients."""
    for seed in range(3):
        target = direction(seed)
        objective = world(along(target))
        method = SubspaceSearch(6, 8, seed, keep_norm=False)
        best = walk(method, objective, [], noises(seed), 40)[-1]
        most = float((method.parts @ target.flatten()).norm())
        assert -best <= most * 1.0001
        assert -best > 0.98 * most


def test_the_quadratic_bowl_is_found_too() -> None:
    """Reward -|c - w|^2 in the coefficients, through noises that are orthonormal."""
    w = torch.nn.functional.normalize(torch.tensor([0.5, -1.0, 2.0, 0.1, -0.7]), dim=0)
    basis = torch.linalg.qr(torch.randn(48, 5, generator=torch.Generator().manual_seed(0))).Q.T
    objective = world(lambda x: -(x.flatten(1) @ basis.T - w).square().sum(1))
    known = objective.evaluate(basis.reshape(5, 3, 4, 4))
    method = SubspaceSearch(5, 8)
    best = walk(method, objective, sorted(known, key=lambda e: e.loss), basis[:1].reshape(1, 3, 4, 4), 40)
    assert best[-1] < 0.01 < min(e.loss for e in known)


def test_known_noises_are_mixed_and_the_search_begins_at_the_best() -> None:
    objective = world(along(direction()))
    start, others = noises(1), noises(2, 3, 4)
    known = sorted(objective.evaluate(torch.cat([start, others])), key=lambda e: e.loss)
    method = SubspaceSearch(8, 4)
    method.begin(start, known, 3)
    assert torch.equal(method.parts[0], start.flatten())
    assert {float(row.sum()) for row in method.parts} >= {float(x.sum()) for x in (start, *others)}
    best = combine(method.mean, method.parts)
    assert torch.allclose(best, known[0].noise.flatten(1), atol=1e-5)
    assert len(method.parts) == 8


def test_the_angle_grows_on_a_slope_and_shrinks_at_the_top() -> None:
    target = direction()
    objective = world(along(target))
    method = SubspaceSearch(4, 12, theta=0.1)
    method.begin(noises(1), [], 60)
    angles = []
    for _ in range(60):
        method.step(objective, False)
        angles.append(method.theta)
        assert SMALLEST <= method.theta <= LARGEST
        assert float(method.mean.norm()) == pytest.approx(1.0)
        assert abs(float(sphere.dot(method.mean, method.path))) < 1e-9
    assert max(angles) > 0.15 > 0.05 > angles[-1]


def test_a_flat_reward_moves_the_angle_little() -> None:
    """Without any signal the path is a random walk of the expected length: neither growth nor collapse."""
    objective = world(lambda x: torch.rand(len(x), generator=generator))
    generator = torch.Generator().manual_seed(0)
    method = SubspaceSearch(12, 8, theta=0.3)
    method.begin(noises(1), [], 60)
    logs = []
    for _ in range(60):
        method.step(objective, False)
        logs.append(math.log(method.theta / 0.3))
    assert abs(sum(logs) / len(logs)) < 0.7


@pytest.mark.parametrize("options", [{"m": 1}, {"population": 1}, {"theta": 0.0}, {"theta": 2.0}])
def test_senseless_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(HpsError):
        SubspaceSearch(**options)  # type: ignore[arg-type]
