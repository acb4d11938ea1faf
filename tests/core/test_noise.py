from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpskit.search import noise as sphere
from hpskit.search.noise import NoiseHealth, health

SHAPES = [(4, 64, 64), (16, 4, 4), (4, 37, 53)]
SMALL = st.sampled_from([(1, 2, 2), (4, 8, 8), (3, 5, 7), (16, 4, 4), (2, 3, 4, 5)])
SEEDS = st.integers(0, 2**31)
ANGLES = st.floats(0, math.pi)


def randn(seed: int, shape: Sequence[int], count: int = 1) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def true_angle(a: Tensor, b: Tensor) -> Tensor:
    """The angle by Kahan's formula in double precision, written independently."""
    a, b = a.double().flatten(1), b.double().flatten(1)
    na, nb = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    return 2 * torch.atan2((a * nb - b * na).norm(dim=1), (a * nb + b * na).norm(dim=1))


# --- norms, units, angles ---------------------------------------------------------------------------------------------


@given(seed=SEEDS, shape=SMALL, scale=st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_norms_are_row_by_row_and_units_have_length_one(seed: int, shape: tuple[int, ...], scale: float) -> None:
    x = scale * randn(seed, shape, 3)
    assert torch.allclose(sphere.norms(x), torch.stack([row.norm() for row in x]), rtol=1e-5)
    assert torch.allclose(sphere.norms(sphere.unit(x)), torch.ones(3), atol=1e-5)
    assert torch.allclose(sphere.unit(x) * sphere.norms(x).reshape(-1, *(1,) * len(shape)), x, rtol=1e-4)


def test_zero_has_no_direction_and_no_nan() -> None:
    zero = torch.zeros(1, 2, 2)
    assert torch.equal(sphere.unit(zero), zero)
    assert bool(torch.isfinite(sphere.geodesic(zero, randn(0, (2, 2)), 0.3)).all())


@given(seed=SEEDS, shape=SMALL)
@settings(max_examples=40, deadline=None)
def test_angles_are_symmetric_and_right(seed: int, shape: tuple[int, ...]) -> None:
    a, b = randn(seed, shape, 3), 5 * randn(seed + 1, shape, 3)
    assert torch.allclose(sphere.angle(a, b).double(), true_angle(a, b), atol=1e-6)
    assert torch.allclose(sphere.angle(a, b), sphere.angle(b, a), atol=1e-6)
    assert torch.allclose(sphere.angle(a, -a), torch.full((3,), math.pi), atol=1e-6)
    assert float(sphere.angle(a, 3 * a).max()) < 1e-6


def test_tiny_angles_do_not_vanish() -> None:
    base, side = torch.zeros(1, 1, 2, dtype=torch.float64), torch.zeros(1, 1, 2, dtype=torch.float64)
    base[..., 0], side[..., 1] = 1, 1
    for theta in (1e-3, 1e-6, 1e-9):
        assert float(sphere.angle(base, base + theta * side)) == pytest.approx(theta, rel=1e-5)


@given(seed=SEEDS, shape=SMALL)
@settings(max_examples=40, deadline=None)
def test_tangents_are_perpendicular_and_a_projection(seed: int, shape: tuple[int, ...]) -> None:
    base, v = randn(seed, shape, 2), randn(seed + 1, shape, 2)
    t = sphere.tangent(v, base)
    assert float((sphere.dot(t, base) / (sphere.norms(t) * sphere.norms(base))).abs().max()) < 1e-4
    assert torch.allclose(sphere.tangent(t, base), t, atol=1e-4)
    rest = v - t
    assert torch.allclose(sphere.angle(rest * sphere.dot(rest, base).sign().reshape(-1, *(1,) * len(shape)), base),
                          torch.zeros(2), atol=2e-2)  # fmt: skip


# --- moving on the sphere ---------------------------------------------------------------------------------------------


@given(seed=SEEDS, shape=SMALL, theta=ANGLES, scale=st.floats(0.1, 100))
@settings(max_examples=60, deadline=None)
def test_a_geodesic_keeps_the_norm_and_turns_exactly(
    seed: int, shape: tuple[int, ...], theta: float, scale: float
) -> None:
    base, direction = scale * randn(seed, shape, 2), randn(seed + 1, shape, 2)
    moved = sphere.geodesic(base, direction, theta)
    assert torch.allclose(sphere.norms(moved), sphere.norms(base), rtol=1e-5)
    assert torch.allclose(true_angle(moved, base), torch.full((2,), theta, dtype=torch.float64), atol=2e-3)
    u, w = sphere.unit(base), sphere.unit(sphere.tangent(direction, base))
    plane = sphere.dot(sphere.unit(moved), u) ** 2 + sphere.dot(sphere.unit(moved), w) ** 2
    assert torch.allclose(plane, torch.ones(2), atol=1e-3), "it has left the great circle"
    if 0 < theta < math.pi:
        assert bool((sphere.dot(moved, w) > -1e-4 * scale).all()), "it has turned the wrong way"


@given(seed=SEEDS, theta=st.floats(0.001, math.pi))
@settings(max_examples=30, deadline=None)
def test_in_double_precision_angles_are_exact(seed: int, theta: float) -> None:
    base, direction = randn(seed, (4, 8, 8)).double(), randn(seed + 1, (4, 8, 8)).double()
    moved = sphere.geodesic(base, direction, theta)
    assert float(true_angle(moved, base)) == pytest.approx(theta, abs=1e-9)
    assert float(moved.norm()) == pytest.approx(float(base.norm()), rel=1e-12)


@given(seed=SEEDS, shape=SMALL)
@settings(max_examples=40, deadline=None)
def test_no_turn_changes_nothing_but_rounding(seed: int, shape: tuple[int, ...]) -> None:
    base, direction = randn(seed, shape, 2), randn(seed + 1, shape, 2)
    assert torch.allclose(sphere.geodesic(base, direction, 0.0), base, rtol=1e-6, atol=1e-7)
    assert torch.allclose(sphere.geodesic(base, torch.zeros_like(base), 1.0), base, rtol=1e-6, atol=1e-7)


@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_every_row_has_its_own_turn(seed: int) -> None:
    base, direction = randn(seed, (4, 8, 8), 4), randn(seed + 1, (4, 8, 8), 4)
    turns = torch.tensor([0.0, 0.1, 0.7, 2.0])
    moved = sphere.geodesic(base, direction, turns)
    assert torch.allclose(sphere.angle(moved, base), turns, atol=1e-4)
    for k in range(4):
        alone = sphere.geodesic(base[k : k + 1], direction[k : k + 1], turns[k : k + 1])
        assert torch.allclose(alone, moved[k : k + 1], atol=1e-6)


@given(seed=SEEDS, shape=SMALL, theta=st.floats(0.01, 3))
@settings(max_examples=40, deadline=None)
def test_mutants_stand_at_the_angle_on_the_shell_and_follow_the_generator(
    seed: int, shape: tuple[int, ...], theta: float
) -> None:
    base = randn(seed, shape, 2)
    kept = base.clone()
    child = sphere.mutate(base, theta, generator(seed + 1))
    assert torch.allclose(true_angle(child, base), torch.full((2,), theta, dtype=torch.float64), atol=2e-3)
    assert torch.allclose(sphere.norms(child), sphere.norms(base), rtol=1e-5)
    assert torch.equal(child, sphere.mutate(base, theta, generator(seed + 1)))
    assert not torch.equal(child, sphere.mutate(base, theta, generator(seed + 2)))
    assert torch.equal(base, kept), "the input was changed"


def test_mutants_of_a_mutant_go_in_independent_directions() -> None:
    base = randn(0, (4, 64, 64))
    a, b = (sphere.tangent(sphere.mutate(base, 0.5, generator(seed)), base) for seed in (1, 2))
    assert float(sphere.angle(a, b)) == pytest.approx(math.pi / 2, abs=0.05)


@given(seed=SEEDS, shape=SMALL, share=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_blends_divide_the_way(seed: int, shape: tuple[int, ...], share: float) -> None:
    a, b = randn(seed, shape, 2), 2 * randn(seed + 1, shape, 2)
    mixed, whole = sphere.blend(a, b, share), true_angle(a, b)
    assert torch.allclose(true_angle(mixed, a), share * whole, atol=2e-3)
    assert torch.allclose(true_angle(mixed, b), (1 - share) * whole, atol=2e-3)
    assert torch.allclose(sphere.norms(mixed), sphere.norms(a), rtol=1e-5)


@given(seed=SEEDS, shape=SMALL)
@settings(max_examples=20, deadline=None)
def test_the_ends_of_a_blend(seed: int, shape: tuple[int, ...]) -> None:
    a, b = randn(seed, shape), randn(seed + 1, shape)
    assert torch.allclose(sphere.blend(a, b, 0.0), a, rtol=1e-5, atol=1e-6)
    assert torch.allclose(sphere.unit(sphere.blend(a, b, 1.0)), sphere.unit(b), atol=2e-3)
    assert torch.allclose(sphere.blend(a, a, 0.7), a, rtol=1e-5, atol=1e-5)


@given(seed=SEEDS, theta=ANGLES, most=st.floats(0.01, 2))
@settings(max_examples=60, deadline=None)
def test_limiting_turns_back_what_is_too_far_and_touches_nothing_else(seed: int, theta: float, most: float) -> None:
    start, direction = randn(seed, (4, 8, 8)), randn(seed + 1, (4, 8, 8))
    far = 3 * sphere.geodesic(start, direction, theta)
    held = sphere.limited(far, start, most)
    if theta < most - 1e-3:
        assert torch.equal(held, far)
        return
    assert float(sphere.angle(held, start)) <= most + 1e-4
    assert float(held.norm()) == pytest.approx(float(far.norm()), rel=1e-5)
    on_the_way = sphere.geodesic(start, direction, min(theta, most))
    if theta < math.pi - 0.01:
        assert float(sphere.angle(held, on_the_way)) < 2e-3


def test_limiting_is_row_by_row() -> None:
    start = randn(0, (4, 8, 8), 2)
    both = torch.cat([sphere.mutate(start[:1], 0.2), sphere.mutate(start[1:], 1.4)])
    held = sphere.limited(both, start, 0.5)
    assert torch.equal(held[0], both[0]) and not torch.equal(held[1], both[1])


# --- does it look like noise? -----------------------------------------------------------------------------------------


@cache
def verdicts(shape: tuple[int, ...]) -> tuple[NoiseHealth, ...]:
    return tuple(health(randn(seed, shape)) for seed in range(COUNT))


COUNT = 1000


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_random_noise_passes(shape: tuple[int, ...]) -> None:
    """What `verdict` promises: amber about once in a hundred, red never."""
    found = [each.verdict for each in verdicts(shape)]
    assert found.count("red") == 0
    assert found.count("amber") <= 0.02 * COUNT


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_the_figures_are_standard_normal_for_random_noise(shape: tuple[int, ...]) -> None:
    for name in ("norm_z", "lag_x", "lag_y"):
        values = torch.tensor([getattr(each, name) for each in verdicts(shape)])
        assert abs(float(values.mean())) < 0.15, name
        assert float(values.std()) == pytest.approx(1.0, abs=0.12), name


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_the_bounds_hold_for_random_noise(shape: tuple[int, ...]) -> None:
    """Each is a bound on a chance, tried on 21 orders: below p it may fall at most 21 p of the time."""
    for name in ("p_mean", "p_covariance"):
        values = torch.tensor([getattr(each, name) for each in verdicts(shape)])
        assert float((values < 0.01).double().mean()) <= 0.21 and float(values.max()) <= 1.0


def smooth(x: Tensor) -> Tensor:
    made = (x + x.roll(1, -1) + x.roll(1, -2)) / 3
    return made / made.std()


ABNORMAL = {
    "louder": lambda x: 1.3 * x,
    "quieter": lambda x: 0.7 * x,
    "shifted": lambda x: x + 0.5,
    "smoothed": smooth,
    "every column twice": lambda x: x.repeat_interleave(2, -1)[..., : x.shape[-1]],
    "every row twice": lambda x: x.repeat_interleave(2, -2)[..., : x.shape[-2], :],
    "constant": lambda x: torch.ones_like(x),
    "zero": torch.zeros_like,
}


@pytest.mark.parametrize("name", ABNORMAL)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_no_noise_is_noticed(name: str, shape: tuple[int, ...]) -> None:
    for seed in range(10):
        found = health(ABNORMAL[name](randn(seed, shape)))
        assert found.verdict != "green", (name, found)
        assert found.words
        if shape != (16, 4, 4):
            assert found.verdict == "red", (name, found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: 1.3 * x, "norm"),
        (lambda x: (x + 0.3) / math.sqrt(1.09), "mean"),
        (smooth, "neighbouring"),
    ],
)
def test_the_words_name_what_is_wrong(change, words: str) -> None:  # type: ignore[no-untyped-def]
    assert words in health(change(randn(1, (4, 64, 64)))).words


@pytest.mark.parametrize("shape", SHAPES)
def test_health_is_deterministic_and_changes_nothing(shape: tuple[int, ...]) -> None:
    x = randn(3, shape)
    kept, state = x.clone(), torch.random.get_rng_state()
    assert health(x) == health(x) == health(x.double())
    assert torch.equal(x, kept) and torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 1, 8), (4, 2, 8, 8), (3,)])
def test_odd_shapes_have_a_verdict(shape: tuple[int, ...]) -> None:
    assert health(randn(0, shape)).verdict in ("green", "amber", "red")


def test_a_parallel_direction_leads_nowhere() -> None:
    x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    for factor in (2.5, -0.3, 0.0):
        assert float((sphere.geodesic(x, factor * x, 0.3) - x).abs().max()) < 1e-5
