"""ReNO against the public trainer's own code, against torch's own optimiser, and the geodesic form against theory."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from noise_worlds import CLIP_TRANSFORM, PixelReward, TinyGenerator, TinyReward, as_image

from hpskit.search import Geodesic, Objective, Reno, Term, noise, optimize_noise, terms_of
from hpskit.search.reno import clipped, mixed, norm_gradient

ITERATIONS = 50
PLACES = (os.environ.get("RENO_PATH", ""), "~/ref/ReNO")


def objective(rewards: list[TinyReward], world: TinyGenerator, **options: Any) -> Objective:
    terms = [term for reward in rewards for term in terms_of(reward)]
    return Objective(world.latent, world.decode, terms, "a prompt", **options)


# --- the public trainer -----------------------------------------------------------------------------


def _public(name: str, file: str, stubs: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for stub, members in stubs.items():
        module = ModuleType(stub)
        for key, value in members.items():
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, stub, module)
    spec = importlib.util.spec_from_file_location(name, folder / file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The public repository's trainer, optimiser factory and two loss classes; only its downloads are left out."""
    folder = next((Path(p).expanduser() for p in PLACES if p and (Path(p).expanduser() / "training").is_dir()), None)
    if folder is None:
        pytest.skip(
            "SKIPPED PARITY: ReNO's public code is not at hand; set RENO_PATH to a checkout of ExplainableML/ReNO"
        )
    pipeline = SimpleNamespace(numpy_to_pil=lambda array: [array])
    nothing: dict[str, Any] = {}
    base = _public("rewards.base_reward", "rewards/base_reward.py", {"rewards": nothing}, folder, monkeypatch)
    fakes: dict[str, Any] = {
        "huggingface_hub": nothing,
        "hpsv2": nothing,
        "hpsv2.src": nothing,
        "hpsv2.src.open_clip": {"create_model": None, "get_tokenizer": None},
        "transformers": {"AutoModel": None},
        "diffusers": {"DiffusionPipeline": pipeline},
    }
    hps = _public("reno_hps", "rewards/hps.py", fakes, folder, monkeypatch)
    pick = _public("reno_pick", "rewards/pickscore.py", {}, folder, monkeypatch)
    sys.modules["rewards"].clip_img_transform = lambda size: CLIP_TRANSFORM  # type: ignore[attr-defined]
    trainer = _public("reno_trainer", "training/trainer.py", {}, folder, monkeypatch)
    optim = _public("reno_optim", "training/optim.py", {}, folder, monkeypatch)
    plain = torch.Generator
    monkeypatch.setattr(trainer.torch, "Generator", lambda device=None: plain())
    return SimpleNamespace(base=base, hps=hps.HPSLoss, pick=pick.PickScoreLoss, trainer=trainer, optim=optim)


def public_loss(kind: Any, base: Any, reward: TinyReward, name: str, weight: float) -> Any:
    """The public loss class around the small reward's features; its loss formula and normalisation are used."""
    loss = object.__new__(kind)
    base.BaseRewardLoss.__init__(loss, name, weight)
    loss.get_image_features = reward.image_features
    loss.get_text_features = lambda prompt: reward.text
    loss.pickscore_model = SimpleNamespace(logit_scale=torch.tensor(math.log(reward.logit_scale)))
    return loss


@pytest.mark.parametrize("lr", [5.0, 10.0])
def test_trajectory_equals_the_public_trainers(public: SimpleNamespace, lr: float) -> None:
    world, rewards = TinyGenerator(1), [TinyReward(2, "hps"), TinyReward(3, "pickscore", logit_scale=98.0)]
    start = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(4))
    theirs: list[torch.Tensor] = []

    class Pipe:
        def apply(self, latents: torch.Tensor, prompt: str, generator: Any, num_inference_steps: int) -> torch.Tensor:
            theirs.append(latents.detach().clone())
            return world.decode(world.latent(latents))

    losses = [
        public_loss(public.hps, public.base, rewards[0], "HPS", 5.0),
        public_loss(public.pick, public.base, rewards[1], "PickScore", 0.05),
    ]
    latents = torch.nn.Parameter(start.clone())
    trainer = public.trainer.LatentNoiseTrainer(losses, Pipe(), ITERATIONS, 1, 0, device=torch.device("cpu"))
    *_, first, best = trainer.train(latents, "a prompt", public.optim.get_optimizer("sgd", latents, lr, True))

    aim = objective(rewards, world)
    ours: list[torch.Tensor] = []
    found = optimize_noise(
        Reno(lr=lr, scale_lr=False),
        aim,
        start,
        iterations=ITERATIONS,
        on_progress=lambda update: ours.append(update.current.noise),  # type: ignore[union-attr]
    )
    assert len(ours) == len(theirs) == ITERATIONS
    assert max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) < 1e-5
    assert found.curve[0].loss == pytest.approx(first["total"], abs=1e-5)
    assert found.best.loss == pytest.approx(best["total"], abs=1e-5)
    moved = float((theirs[-1] - start).norm())
    assert moved > 1  # a trajectory that stood still would agree with anything


def test_trajectory_equals_torchs_optimiser() -> None:
    """The same without the public code: torch's SGD, clip_grad_norm_ and autograd, put together from the paper."""
    world, rewards = TinyGenerator(5), [TinyReward(6, "hps"), TinyReward(7, "clip")]
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(8))
    theirs, weights = [], (5.0, 0.01)
    latents = torch.nn.Parameter(start.clone())
    optimiser = torch.optim.SGD([latents], lr=5.0, nesterov=True, momentum=0.9)
    for _ in range(ITERATIONS):
        theirs.append(latents.detach().clone())
        image = CLIP_TRANSFORM(world.decode(world.latent(latents)))
        cosines = [torch.nn.functional.cosine_similarity(r.image_features(image), r.text)[0] for r in rewards]
        loss = weights[0] * (1 - cosines[0]) + weights[1] * (100 - 100 * cosines[1])
        size = latents.norm()
        loss = loss + 0.01 * (0.5 * size**2 - (latents.numel() - 1) * size.log())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([latents], 0.1)
        optimiser.step()
    ours: list[torch.Tensor] = []
    optimize_noise(
        Reno(scale_lr=False),
        objective(rewards, world),
        start,
        iterations=ITERATIONS,
        on_progress=lambda update: ours.append(update.current.noise),  # type: ignore[union-attr]
    )
    assert max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) < 1e-5


def test_gradient_equals_finite_differences() -> None:
    world = TinyGenerator(9)
    aim = objective([TinyReward(10, "hps")], world, gradient_scale=1024.0)
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(11))
    (grad,) = aim.gradient(start).grads
    direction, eps = grad / grad.norm(), 0.02
    up, down = (aim.evaluate(start + sign * eps * direction)[0].loss for sign in (1, -1))
    assert (up - down) / (2 * eps) == pytest.approx(float(grad.norm()), rel=2e-3)


# --- pieces -----------------------------------------------------------------------------


def test_norm_gradient_is_that_of_the_chi_density() -> None:
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    size = x.norm()
    (0.5 * size**2 - (x.numel() - 1) * size.log()).backward()
    assert x.grad is not None
    torch.testing.assert_close(norm_gradient(x.detach()), x.grad)


@given(st.integers(0, 2**31), st.sampled_from(["sum", "per_reward", "pcgrad"]), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_mixed_gradients_are_never_longer_than_the_clip(seed: int, mix: Any, count: int) -> None:
    g = torch.Generator().manual_seed(seed)
    grads = [torch.randn(1, 2, 3, 3, generator=g) * 10 ** float(torch.randn((), generator=g)) for _ in range(count)]
    assert float(mixed(grads, mix, 0.1).norm()) <= 0.1 + 1e-6


def test_per_reward_clipping_lets_no_reward_drown_another() -> None:
    big, small = torch.zeros(1, 2), torch.zeros(1, 2)
    big[0, 0], small[0, 1] = 1000.0, 1.0
    shared = mixed([big, small], "per_reward", 0.1)
    assert float(shared[0, 1]) == pytest.approx(float(shared[0, 0]), rel=1e-3)
    assert float(mixed([big, small], "sum", 0.1)[0, 1]) < 1e-3


def test_pcgrad_gives_up_what_points_against_another_reward() -> None:
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 1.0]])
    together = mixed([a, b], "pcgrad", 10.0)
    assert float((together * a).sum()) >= 0 and float((together * b).sum()) >= 0


def test_clipping_is_torchs() -> None:
    x = torch.nn.Parameter(torch.zeros(5))
    x.grad = torch.randn(5)
    ours = clipped(x.grad.clone(), 0.1)
    torch.nn.utils.clip_grad_norm_([x], 0.1)
    torch.testing.assert_close(ours, x.grad, rtol=0, atol=0)


# --- the sphere -----------------------------------------------------------------------------


def linear(direction: torch.Tensor, weight: float = 1.0) -> Objective:
    """Reward: the inner product of the noise with a direction; its best point on the sphere is known."""
    reward = PixelReward(lambda x: (x * direction).flatten(1).sum(1))
    return Objective(as_image, as_image, [Term(reward, weight)], "p")


def test_geodesic_keeps_the_norm_and_climbs_to_the_known_best() -> None:
    g = torch.Generator().manual_seed(3)
    direction, start = torch.randn(1, 3, 8, 8, generator=g), torch.randn(1, 3, 8, 8, generator=g)
    method = Geodesic(lr=20, turn=0.2, max_angle=None)
    norms: list[float] = []
    found = optimize_noise(
        method,
        linear(direction),
        start,
        iterations=60,
        on_progress=lambda update: norms.append(float(update.current.noise.norm())),  # type: ignore[union-attr]
    )
    assert max(abs(value / float(start.norm()) - 1) for value in norms) < 1e-5
    assert float(noise.angle(found.best.noise, direction)[0]) < 0.25 < float(noise.angle(start, direction)[0])


def test_geodesic_stays_within_its_angle() -> None:
    g = torch.Generator().manual_seed(3)
    direction, start = torch.randn(1, 3, 8, 8, generator=g), torch.randn(1, 3, 8, 8, generator=g)
    limit = math.radians(20)
    found = optimize_noise(Geodesic(turn=0.3, max_angle=limit), linear(direction), start, iterations=40)
    assert max(point.angle for point in found.curve) <= limit + 1e-4
    assert found.angle == pytest.approx(limit, abs=1e-2)  # the limit is what holds it


def test_reno_holds_the_norm_on_its_shell() -> None:
    g = torch.Generator().manual_seed(3)
    direction, start = torch.randn(1, 3, 32, 32, generator=g), torch.randn(1, 3, 32, 32, generator=g)
    found = optimize_noise(Reno(), linear(direction, 2e-4), start, iterations=80)
    assert abs(found.curve[-1].norm - 1) < 0.05
    assert found.best.loss < found.start.loss


def test_step_angle_is_the_same_on_latents_of_every_size() -> None:
    """lr is scaled by the root of the size: with the gradient at its clip, the first step turns by the same angle."""
    turns = []
    for side in (16, 32, 64):
        g = torch.Generator().manual_seed(side)
        start, direction = torch.randn(1, 4, side, side, generator=g), torch.randn(1, 4, side, side, generator=g)
        reward = PixelReward(lambda x, d=direction: (x * d).flatten(1).sum(1))
        aim = Objective(lambda x: x, lambda x: x[:, :3], [Term(reward, 1.0)], "p")
        aim.decode = aim.judge = lambda x, d=direction: (x * d).sum(1, keepdim=True).expand(-1, 3, -1, -1)
        aim.terms = (Term(PixelReward(lambda x: x.flatten(1).sum(1)), 1.0),)
        method = Reno()
        method.begin(start, (), 2)
        method.step(aim, False)
        turns.append(float(noise.angle(method.noise, start)[0]))
    assert max(turns) / min(turns) < 1.05
