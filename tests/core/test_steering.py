"""Reward guidance at x0, on rewards whose answers are known, and on the miniature generator."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from hpskit.embedded import load_generator
from hpskit.embedded.generator import schedule
from hpskit.errors import HpsError
from hpskit.scorers import FakeScorer, load_scorer
from hpskit.search.steering import (
    Account,
    Steering,
    Window,
    noise_to_signal,
    nudge,
    reward_of,
    rms,
    step_of,
    uncertainty,
)

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (4, 6, 6)


def latents(n: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def towards(target: Tensor, curvature: float = 1.0) -> Callable[[Tensor], Tensor]:
    """Return a quadratic reward with its maximum, 0, at `target`."""
    return lambda x: -curvature * (x - target).square().flatten(1).mean(1)


# --- how far ----------------------------------------------------------------------------------------------------------


def test_uncertainty_is_the_spread_of_the_gaussian_posterior() -> None:
    x = latents()
    for level in (0.1, 1.0, 14.6):
        prior, noise = rms(x) ** 2, level**2
        assert torch.allclose(uncertainty(x, level), (1 / (1 / prior + 1 / noise)).sqrt(), rtol=1e-5)


def test_uncertainty_lies_between_nothing_and_the_scale_of_the_data() -> None:
    x = latents()
    assert torch.equal(uncertainty(x, math.inf), rms(x))
    assert torch.equal(uncertainty(x, 0.0), torch.zeros(3))
    assert torch.allclose(uncertainty(x, 1e-3), torch.full((3,), 1e-3), rtol=1e-4)
    assert torch.equal(uncertainty(torch.zeros(2, 4), 1.0), torch.zeros(2))


def test_noise_to_signal_of_both_families() -> None:
    assert noise_to_signal(14.6, flow=False) == 14.6
    assert noise_to_signal(0.75, flow=True) == 3.0
    assert noise_to_signal(1.0, flow=True) == math.inf


@pytest.mark.parametrize("level", [0.2, 2.0, math.inf])
@pytest.mark.parametrize("curvature", [1e-6, 1.0, 1e6])
def test_a_step_goes_uphill_by_its_length_whatever_the_size_of_the_gradient(level: float, curvature: float) -> None:
    x, target = latents(), latents(seed=1)
    done = nudge(x, towards(target, curvature), level, Steering(strength=0.1))
    step = done.x0 - x
    assert torch.allclose(rms(step), 0.1 * uncertainty(x, level), rtol=1e-3)
    assert torch.allclose(done.moved, torch.full((3,), 0.1), rtol=1e-3)
    aligned = torch.cosine_similarity(step.flatten(1), (target - x).flatten(1))
    assert bool((aligned > 0.9999).all()) and bool((done.after > done.before).all())


def test_inner_steps_reach_further_until_the_bound() -> None:
    x, target = latents(), latents(seed=1)
    moved = [nudge(x, towards(target), 5.0, Steering(0.1, k, 0.25)).moved for k in (1, 2, 3, 6)]
    for share, wanted in zip(moved, (0.1, 0.2, 0.25, 0.25), strict=True):
        assert torch.allclose(share, torch.full((3,), wanted), rtol=2e-2)
        assert bool((share <= 0.25 * (1 + 1e-5)).all())


def test_a_huge_strength_stays_on_the_scale_of_the_data() -> None:
    x = latents()
    done = nudge(x, lambda z: z.flatten(1).sum(1), math.inf, Steering(1e6, 3, 0.3))
    assert bool((rms(done.x0 - x) <= 0.3 * rms(x) * (1 + 1e-5)).all())


def test_a_step_that_overshoots_is_taken_back_and_halved() -> None:
    x = latents(1)
    near = towards(x + 0.02 * torch.sign(latents(1, seed=2)))
    kept = nudge(x, near, math.inf, Steering(1.0, 1, 10.0))
    assert torch.equal(kept.x0, x) and torch.equal(kept.after, kept.before) and float(kept.moved) == 0
    found = nudge(x, near, math.inf, Steering(1.0, 8, 10.0))
    assert float(found.after) > 0.5 * float(found.before)


def test_the_reward_never_falls() -> None:
    def rough(z: Tensor) -> Tensor:
        return torch.sin(40 * z).flatten(1).mean(1)

    for seed in range(8):
        done = nudge(latents(4, seed), rough, 3.0, Steering(0.3, 3))
        assert bool((done.after >= done.before).all())
        assert torch.allclose(rough(done.x0), done.after, atol=1e-6)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_every_row_follows_its_own_gradient() -> None:
    x, target = latents(4), latents(4, seed=1)
    together = nudge(x, towards(target), 2.0, Steering(0.2, 3))
    for k in range(4):
        alone = nudge(x[k : k + 1], towards(target[k : k + 1]), 2.0, Steering(0.2, 3))
        assert torch.allclose(together.x0[k], alone.x0[0], atol=1e-6)


def test_a_row_without_a_finite_gradient_is_left_alone_and_counted() -> None:
    def broken(z: Tensor) -> Tensor:
        hurt = torch.tensor([1.0, math.nan, 1.0]).view(3, 1, 1, 1)
        return (z * hurt).flatten(1).mean(1)

    x = latents()
    done = nudge(x, broken, 1.0, Steering())
    assert done.skipped == 1 and torch.equal(done.x0[1], x[1])
    assert math.isnan(done.before[1]) and bool(torch.isfinite(done.after[[0, 2]]).all())
    assert not torch.equal(done.x0[0], x[0]) and not torch.equal(done.x0[2], x[2])


def test_an_infinite_gradient_of_a_finite_reward_is_skipped() -> None:
    x = latents(2)
    x[0] = 0.0
    done = nudge(x, lambda z: z.abs().sqrt().flatten(1).sum(1), 1.0, Steering())
    assert done.skipped == 1 and torch.equal(done.x0[0], x[0]) and bool(torch.isfinite(done.x0).all())


def test_a_point_that_cannot_be_measured_is_not_taken() -> None:
    x = latents(2)

    def fenced(z: Tensor) -> Tensor:
        value = z.flatten(1).sum(1)
        return torch.where(value > x.flatten(1).sum(1) + 1e-3, torch.full_like(value, math.nan), value)

    done = nudge(x, fenced, 1.0, Steering(inner_steps=3))
    assert done.skipped == 2 and torch.equal(done.x0, x)


def test_a_flat_reward_moves_nothing() -> None:
    x = latents()
    done = nudge(x, lambda z: 0 * z.flatten(1).sum(1), 1.0, Steering())
    assert torch.equal(done.x0, x) and done.skipped == 0


# --- tensors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [Steering(strength=0.0), Steering(max_nudge=0.0)])
def test_no_strength_is_bit_identical(settings: Steering) -> None:
    x = latents()
    done = nudge(x, towards(latents(seed=1)), 1.0, settings)
    assert torch.equal(done.x0, x) and not settings.active and torch.equal(done.after, done.before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_type_is_kept_and_the_input_is_not_changed(dtype: torch.dtype) -> None:
    x = latents().to(dtype)
    copy = x.clone()
    done = nudge(x, towards(latents(seed=1)), 1.0, Steering())
    assert done.x0.dtype == dtype and torch.equal(x, copy) and not done.x0.requires_grad
    assert not torch.equal(done.x0, x)


def test_it_works_from_inside_inference_mode() -> None:
    target = latents(seed=1)
    want = nudge(latents(), towards(target), 1.0, Steering(inner_steps=2))
    with torch.inference_mode():
        got = nudge(latents(), towards(target), 1.0, Steering(inner_steps=2))
        assert torch.equal(got.x0, want.x0)
        got.x0.mul_(2)  # what samplers may do with a prediction


def test_a_reward_without_gradient_is_an_error() -> None:
    with pytest.raises(HpsError, match="no gradient"):
        nudge(latents(), lambda z: z.detach().flatten(1).sum(1), 1.0, Steering())


@pytest.mark.parametrize(
    "settings", [{"strength": -0.1}, {"strength": math.nan}, {"max_nudge": -1.0}, {"inner_steps": 0}]
)
def test_settings_out_of_range_are_errors(settings: dict[str, float]) -> None:
    with pytest.raises(HpsError):
        Steering(**settings)  # type: ignore[arg-type]


def test_reward_of_an_image_that_is_not_finite_is_nan_for_that_row_only() -> None:
    def decode(z: Tensor) -> Tensor:
        broken = z.detach()[:, :3].abs().amax((1, 2, 3), keepdim=True) > 50
        return torch.sigmoid(z[:, :3]) * torch.where(broken, math.nan, 1.0)

    x = latents()
    x[1, 0, 0, 0] = 100.0
    done = nudge(x, reward_of(decode, FakeScorer(), "x"), 1.0, Steering())
    assert done.skipped == 1 and torch.equal(done.x0[1], x[1]) and bool((done.after > done.before)[[0, 2]].all())


# --- when -------------------------------------------------------------------------------------------------------------

SIGMAS = [14.6, 7.0, 3.0, 1.0, 0.3, 0.0]


def test_windows_that_share_an_edge_share_no_step() -> None:
    early, late = Window(math.inf, 3.0), Window(3.0, 0.0)
    assert early.steps(SIGMAS) == (0, 1) and late.steps(SIGMAS) == (2, 3, 4)
    assert Window().steps(SIGMAS) == (0, 1, 2, 3, 4) and Window(0.1, 0.0).steps(SIGMAS) == ()


def test_every_other_step_of_the_window() -> None:
    assert Window(7.0, 0.0, every=2).steps(SIGMAS) == (1, 3)
    assert [Window(7.0, 0.0, 2).guides(sigma, SIGMAS) for sigma in SIGMAS[:-1]] == [False, True, False, True, False]
    with pytest.raises(HpsError):
        Window(every=0)


def test_rounding_does_not_move_an_edge() -> None:
    assert Window(1.0, 0.3).steps([float(torch.tensor(s)) for s in SIGMAS]) == (3,)


def test_evaluations_between_steps_belong_to_the_step_they_are_made_in() -> None:
    assert [step_of(sigma, SIGMAS) for sigma in (14.6, 10.0, 7.0, 5.0, 0.3, 0.1, 80.0)] == [0, 0, 1, 1, 4, 4, 0]
    assert not Window(every=2).guides(5.0, SIGMAS) and Window(every=2).guides(10.0, SIGMAS)


def test_without_a_schedule_the_whole_window_is_guided() -> None:
    assert Window(7.0, 1.0, every=3).guides(5.0, []) and not Window(7.0, 1.0).guides(0.5, [])


# --- account ----------------------------------------------------------------------------------------------------------


def test_the_account_sums_gains_and_skips() -> None:
    account = Account().plus([1.0, 3.0], [2.0, 4.0], 0).plus([math.nan, 5.0], [math.nan, 5.5], 1)
    assert (account.first, account.last, account.gain, account.skipped) == (2.0, 5.5, 1.5, 1)
    assert str(account) == "2 guided steps, reward 2.000 -> 5.500, +1.500 by nudges, 1 nudges skipped: not finite"


# --- the miniature ----------------------------------------------------------------------------------------------------

PROMPT = "a yellow star to the left of a white circle on a blue background"


def test_guided_sampling_of_the_miniature_scores_higher_and_repeats() -> None:
    generator = load_generator()
    reward = reward_of(lambda z: generator.decode(z, 64), load_scorer("hps-tiny-shapes", device="cpu"), PROMPT)
    cond = generator.encode_prompts([PROMPT]).expand(3)

    def sampled(settings: Steering) -> Tensor:
        x, sigmas = generator.noise(range(3)), schedule(4)
        for now, then in pairwise(sigmas):
            with torch.no_grad():
                x0 = generator.denoise(x, now, cond)
            guided = nudge(x0, reward, noise_to_signal(now, flow=True), settings).x0
            x = guided + then / now * (x - guided)
        return x

    plain, guided = sampled(Steering(strength=0.0)), sampled(Steering())
    with torch.no_grad():
        gain = reward(guided) - reward(plain)
    assert float(gain.mean()) > 0.5
    assert torch.equal(guided, sampled(Steering()))


# --- the study --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study() -> ModuleType:
    pytest.importorskip("scipy")
    spec = importlib.util.spec_from_file_location("reward_guidance", ROOT / "benchmarks" / "reward_guidance.py")
    assert spec is not None and spec.loader is not None
    module, before = importlib.util.module_from_spec(spec), list(sys.path)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_the_study_without_guidance_is_the_generator_itself(study: ModuleType) -> None:
    generator = load_generator()
    job = study.task(3, 4, 1, generator)
    reward = reward_of(lambda z: generator.decode(z, 64), FakeScorer(), "x")
    with torch.no_grad():
        want = generator.sample(job.prompts, job.noise, study.STEPS, 2.0)
    assert torch.allclose(study.sample(generator, job, 2.0, None, reward), want, atol=1e-4)
    off = study.Setting(0.0)
    for multistep in (False, True):
        pair = (study.sample(generator, job, 2.0, setting, reward, multistep) for setting in (None, off))
        assert torch.equal(next(pair), next(pair))


def test_the_study_counts_prompts_not_pictures(study: ModuleType) -> None:
    assert study.by_prompt([1.0, 2.0, 3.0, 4.0], 2) == [2.0, 3.0]
    low, high = study.interval([0.0, 1.0] * 50)
    assert 0.35 < low < 0.45 and 0.55 < high < 0.65
    assert study.TUNING != study.REPORTED
