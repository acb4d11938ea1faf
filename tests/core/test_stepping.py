from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hpskit.embedded import EXAMPLE_PROMPTS, load_generator
from hpskit.embedded.generator import schedule
from hpskit.errors import HpsError
from hpskit.search.stepping import FAMILIES, Family, Trajectory, noise_in, noised, render_from, step

LEVELS = {"eps": st.floats(0.02, 20), "flow": st.floats(0.02, 0.98)}

# --- a world with a known answer: a mixture of two normal distributions in one dimension ------------------------------

WEIGHTS, MEANS, SPREADS = (0.4, 0.6), (-1.0, 1.0), (0.3, 0.3)
MEAN = sum(w * m for w, m in zip(WEIGHTS, MEANS, strict=True))
SD = math.sqrt(sum(w * (s * s + m * m) for w, m, s in zip(WEIGHTS, MEANS, SPREADS, strict=True)) - MEAN**2)


def exact(family: Family):  # type: ignore[no-untyped-def]
    """Return the exact E[x0 | x] of the mixture."""

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        alpha = 1 - sigma if family == "flow" else torch.ones_like(sigma)
        logs, means = [], []
        for w, m, s in zip(WEIGHTS, MEANS, SPREADS, strict=True):
            variance = alpha**2 * s * s + sigma**2
            logs.append(math.log(w) - 0.5 * torch.log(variance) - (x - alpha * m) ** 2 / (2 * variance))
            means.append(m + alpha * s * s / variance * (x - alpha * m))
        shares = torch.softmax(torch.stack(logs), 0)
        return (shares * torch.stack(means)).sum(0)

    return denoiser


def levels(family: Family, steps: int) -> list[float]:
    if family == "flow":
        return schedule(steps)
    low, high = 0.02 ** (1 / 7), 40 ** (1 / 7)
    return [*((high + k / (steps - 1) * (low - high)) ** 7 for k in range(steps)), 0.0]


def carried(family: Family, eta: float, steps: int, seed: int) -> Tensor:
    """Return what sampling makes of many noises, each with its own fresh noise."""
    generator = torch.Generator().manual_seed(seed)
    path = Trajectory(exact(family), tuple(levels(family, steps)), family, eta)
    x = path.start(torch.randn(20_000, generator=generator, dtype=torch.float64))
    for index in range(path.steps):
        x0 = path.denoised(x, index)
        x = path.next(x, x0, index, torch.randn(x.shape, generator=generator, dtype=x.dtype))
    return x


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_every_eta_keeps_the_distribution(family: Family, eta: float) -> None:
    x = carried(family, eta, 60, seed=1)
    assert float(x.std()) == pytest.approx(SD, abs=0.03)
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float((x < 0).double().mean()) == pytest.approx(WEIGHTS[0], abs=0.02)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_error_of_the_distribution_shrinks_with_more_steps(family: Family, eta: float) -> None:
    assert abs(carried(family, eta, 80, seed=2).std() - SD) < 0.6 * abs(carried(family, eta, 20, seed=2).std() - SD)


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_step_with_the_true_clean_latent_lands_on_the_lower_level(family: Family, data: st.DataObject) -> None:
    """With x0 known, x' = alpha' x0 + sigma' * (a standard normal): the variances of old and fresh noise add to one."""
    high, low = sorted((data.draw(LEVELS[family]), data.draw(LEVELS[family])), reverse=True)
    eta = data.draw(st.floats(0, 1))
    x0 = torch.tensor([1.7], dtype=torch.float64)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    still = step(noised(x0, zero, high, family), x0, high, low, eta, zero, family)
    old = step(noised(x0, one, high, family), x0, high, low, eta, zero, family) - still
    fresh = step(noised(x0, zero, high, family), x0, high, low, eta, one, family) - still
    assert torch.allclose(still, noised(x0, zero, low, family), atol=1e-9)
    assert float(old**2 + fresh**2) == pytest.approx(low * low, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_full_eta_is_the_posterior(family: Family) -> None:
    """For x0 ~ N(0, 1) the joint law of two levels is known; eta = 1 must reproduce its covariance."""
    high, low = (0.8, 0.5) if family == "flow" else (3.0, 1.2)
    alpha, alpha_low = (1 - high, 1 - low) if family == "flow" else (1.0, 1.0)
    generator = torch.Generator().manual_seed(3)
    x0, n, m = torch.randn(3, 200_000, generator=generator, dtype=torch.float64)
    x = noised(x0, n, high, family)
    after = step(x, x0, high, low, 1.0, m, family)
    # q(x_low | x0, x_high): x_high is x_low with further noise, so their covariance given x0 is (alpha/alpha') sigma'^2
    residual, residual_low = x - alpha * x0, after - alpha_low * x0
    assert float((residual * residual_low).mean()) == pytest.approx(alpha / alpha_low * low**2, rel=0.02)


# --- the ends of the schedule -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_step_is_the_denoised_latent_itself(family: Family) -> None:
    x, x0 = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert step(x, x0, 0.3, 0.0, 1.0, None, family) is x0


def test_a_flow_starts_finite_at_sigma_one_and_full_eta_forgets_the_noise() -> None:
    x0, noise, fresh = torch.randn(3, 2, 5, dtype=torch.float64)
    assert torch.equal(noise_in(noise, x0, 1.0, "flow"), noise)
    assert torch.allclose(step(noise, x0, 1.0, 0.6, 1.0, fresh, "flow"), 0.4 * x0 + 0.6 * fresh)
    assert torch.allclose(step(noise, x0, 1.0, 0.6, 0.0, None, "flow"), 0.4 * x0 + 0.6 * noise)


def test_an_euler_step_is_the_textbook_one() -> None:
    x, x0 = torch.randn(2, 2, 5, dtype=torch.float64)
    for family, high in (("eps", 2.0), ("flow", 0.8)):
        derivative = (x - x0) / high
        assert torch.allclose(step(x, x0, high, 0.5, 0.0, None, family), x + (0.5 - high) * derivative)  # type: ignore[arg-type]


def test_no_noise_is_an_error_when_it_is_needed() -> None:
    with pytest.raises(HpsError, match="needs fresh noise"):
        step(torch.zeros(1), torch.zeros(1), 2.0, 1.0, 0.5, None, "eps")


@pytest.mark.parametrize(
    ("sigmas", "family", "eta"),
    [
        ([1.0], "flow", 0.0),
        ([0.5, 1.0], "flow", 0.0),
        ([1.0, 0.5, 0.5], "flow", 0.0),
        ([2.0, 0.0], "flow", 0.0),
        ([1.0, -0.1], "eps", 0.0),
        ([math.nan, 0.0], "eps", 0.0),
        ([1.0, 0.0], "eps", 1.5),
        ([1.0, 0.0], "edm", 0.0),
    ],
)
def test_senseless_schedules_are_refused(sigmas: list[float], family: Family, eta: float) -> None:
    with pytest.raises(HpsError):
        render_from(exact("flow"), sigmas, family, eta)


# --- renders ----------------------------------------------------------------------------------------------------------


def test_a_render_of_the_miniature_is_its_own_sampler() -> None:
    generator = load_generator()
    cond = generator.encode_prompts(EXAMPLE_PROMPTS[0])
    noise = generator.noise([1, 2])
    render = render_from(lambda x, sigma: generator.denoise(x, sigma, cond), schedule(4), "flow")
    with torch.no_grad():
        assert torch.allclose(render(noise), generator.sample(cond, noise, 4, cfg=1.0), atol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_render_is_differentiable_and_its_rows_are_independent(family: Family, eta: float) -> None:
    render = render_from(exact_rows(family), levels(family, 5), family, eta, seed=4)
    noise = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    made = render(noise)
    (grad,) = torch.autograd.grad(made[1].sum(), noise)
    assert float(grad[1].abs().max()) > 0 and float(grad[[0, 2]].abs().max()) == 0
    assert torch.allclose(render(noise[1:2])[0], made[1], rtol=1e-12)
    assert torch.autograd.gradcheck(render, noise[:1].detach().requires_grad_(True), atol=1e-6)


def exact_rows(family: Family):  # type: ignore[no-untyped-def]
    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        made: Tensor = exact(family)(x, sigma[:, None, None])
        return made

    return denoiser


def test_the_seed_decides_the_inner_noise() -> None:
    noise = torch.randn(2, 3, 3)
    first, again, other = (
        render_from(exact_rows("flow"), levels("flow", 4), "flow", 1.0, seed)(noise) for seed in (5, 5, 6)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_inner_noise_is_not_the_starting_noise_of_the_same_seed() -> None:
    seen: list[Tensor] = []

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(x)
        return torch.zeros_like(x)

    start = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(3))
    render_from(denoiser, [1.0, 0.5, 0.0], "flow", 1.0, seed=3)(start)
    assert abs(float((seen[1] * start).mean() / start.std() / seen[1].std())) < 0.1


def test_image_to_image_starts_from_the_latent_and_can_be_stopped() -> None:
    class Stop(Exception):
        pass

    def stop(index: int) -> None:
        if index == 1:
            raise Stop

    latent, noise = torch.full((1, 2, 2), 3.0), torch.zeros(2, 2, 2)
    seen: list[Tensor] = []

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(x)
        return x

    with pytest.raises(Stop):
        render_from(denoiser, [0.5, 0.25, 0.0], "flow", latent=latent, on_step=stop)(noise)
    assert torch.equal(seen[0], torch.full((2, 2, 2), 1.5)) and len(seen) == 1
