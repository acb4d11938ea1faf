from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from search_worlds import loaded
from torch import Tensor

from hpskit.embedded import EXAMPLE_PROMPTS
from hpskit.errors import HpsError, ImageError, PromptError
from hpskit.scorers import AugmentedScorer, FakeScorer, combine, mild_views
from hpskit.scorers.augmented import crop, flipped, resampled
from hpskit.search.objective import Objective, published, terms_of
from hpskit.types import Scorer


def pictures(seed: int = 0, n: int = 3, side: int = 40) -> Tensor:
    return torch.rand(n, 3, side, side + 8, generator=torch.Generator().manual_seed(seed))


def spotted(x: int) -> Tensor:
    """A black picture with one red column, which a crop may lose."""
    image = torch.zeros(1, 3, 40, 40)
    image[:, 0, :, x] = 1
    return image


# --- the value --------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), k=st.floats(0, 3))
@settings(max_examples=15, deadline=None)
def test_the_value_is_the_mean_less_k_standard_deviations(seed: int, k: float) -> None:
    images, inner = pictures(seed), FakeScorer()
    views = {**mild_views(flip=True)}
    found = AugmentedScorer(inner, k, views).look(images, "a prompt")
    columns = [inner.score(images, "a prompt").values]
    columns += [
        inner.score(torch.stack([view(image) for image in images]), "a prompt").values for view in views.values()
    ]
    values = torch.stack(columns, 1)
    assert torch.allclose(found.values, values, atol=1e-5)
    assert torch.allclose(found.mean, values.mean(1), atol=1e-5)
    assert torch.allclose(found.sd, values.std(1), atol=1e-5)
    assert torch.allclose(AugmentedScorer(inner, k, views).score(images, "p").values, found.mean - k * found.sd)
    assert found.names == ("original", *views)


def test_what_a_crop_takes_away_costs_and_what_it_leaves_does_not() -> None:
    scorer, inner = AugmentedScorer(FakeScorer(), 1.0, {"crop": lambda image: crop(image, 1.0, 1.0)}), FakeScorer()
    edge, middle = spotted(0), spotted(20)
    assert float(inner.score(edge, "p").values) == pytest.approx(float(inner.score(middle, "p").values))
    assert float(scorer.score(middle, "p").values) > float(scorer.score(edge, "p").values) + 1
    assert float(scorer.look(edge, "p").sd) > float(scorer.look(middle, "p").sd)


def test_an_image_that_no_view_changes_keeps_its_score() -> None:
    grey = torch.full((1, 3, 32, 32), 0.5) + torch.tensor([0.25, 0.0, 0.0]).reshape(1, 3, 1, 1)
    found = AugmentedScorer(FakeScorer()).look(grey, "p")
    assert float(found.bound) == pytest.approx(25, abs=1e-3)
    assert float(found.sd) < 1e-3


def test_sizes_may_differ_and_rows_do_not_mix() -> None:
    mixed = [pictures(1)[0], pictures(2, side=64)[0], pictures(3)[0]]
    scorer = AugmentedScorer(FakeScorer())
    together = scorer.score(mixed, ["a", "b", "c"])
    alone = [float(scorer.score([image], "a").values) for image in mixed]
    assert together.tolist() == pytest.approx(alone, abs=1e-4)
    assert together.prompts == ("a", "b", "c")
    batch = pictures(5)
    assert scorer.score(batch, "a").tolist() == pytest.approx(
        [scorer.score(x, "a").tolist()[0] for x in batch], abs=1e-4
    )


def test_it_is_deterministic_and_changes_no_input() -> None:
    images, scorer = pictures(), AugmentedScorer(FakeScorer())
    kept = images.clone()
    assert torch.equal(scorer.score(images, "p").values, scorer.score(images, "p").values)
    assert torch.equal(images, kept)


def test_the_errors_are_the_scorers() -> None:
    scorer = AugmentedScorer(FakeScorer())
    with pytest.raises(ImageError):
        scorer.score(torch.full((1, 3, 8, 8), torch.nan), "p")
    with pytest.raises(ImageError):
        scorer.score([], "p")
    with pytest.raises(PromptError):
        scorer.score(pictures(), ["a", "b"])


@pytest.mark.parametrize(("k", "views"), [(-1.0, None), (0.5, {})])
def test_senseless_settings_are_refused(k: float, views: dict[str, object] | None) -> None:
    with pytest.raises(HpsError):
        AugmentedScorer(FakeScorer(), k, views)  # type: ignore[arg-type]


# --- identity ---------------------------------------------------------------------------------------------------------


def test_the_bound_has_an_identity_of_its_own() -> None:
    inner = FakeScorer()
    infos = [
        AugmentedScorer(inner).info,
        AugmentedScorer(inner, 1.0).info,
        AugmentedScorer(inner, views=mild_views(flip=True)).info,
    ]
    assert len({(info.id, info.version) for info in [*infos, inner.info]}) == 4
    assert all(info.family == "fake" and info.differentiable for info in infos)
    assert dataclasses.replace(infos[0], id="fake", name="Redness", version="1") == inner.info


def test_it_is_a_scorer_and_fits_where_scorers_do() -> None:
    scorer = AugmentedScorer(loaded()[1])
    assert isinstance(scorer, Scorer)
    assert published(scorer).weight == 5.0 and published(scorer).slope == 0.01
    parts = combine([loaded()[1], scorer]).score(pictures(n=2), EXAMPLE_PROMPTS[0]).parts
    assert list(parts) == ["hps-tiny-shapes", "hps-tiny-shapes-views"]


# --- views ------------------------------------------------------------------------------------------------------------


@given(height=st.integers(1, 70), width=st.integers(1, 70), flip=st.booleans())
@settings(max_examples=30, deadline=None)
def test_views_are_mild_pictures_of_any_size(height: int, width: int, flip: bool) -> None:
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(height))
    for view in mild_views(flip).values():
        made = view(image)
        assert made.shape[0] == 3 and 0 not in made.shape
        assert made.shape[1] <= height and made.shape[2] <= width and made.shape[1] >= 0.9 * height - 1
        assert float(made.min()) >= 0 and float(made.max()) <= 1


def test_the_mirror_is_used_only_when_asked() -> None:
    assert "flipped" not in mild_views() and "flipped" in mild_views(flip=True)
    image = pictures()[0]
    assert torch.equal(flipped(flipped(image)), image) and not torch.equal(flipped(image), image)


def test_crops_are_parts_of_the_picture() -> None:
    image = torch.arange(400.0).reshape(1, 20, 20).expand(3, 20, 20)
    assert torch.equal(crop(image, 0, 0), image[:, :19, :19])
    assert torch.equal(crop(image, 1, 1), image[:, 1:, 1:])


def test_resampling_takes_the_finest_detail_and_leaves_the_rest() -> None:
    fine = torch.zeros(3, 64, 64)
    fine[:, ::2] = 1
    coarse = torch.zeros(3, 64, 64)
    coarse[:, :32] = 1
    assert float(resampled(fine).var()) < 0.3 * float(fine.var())
    assert float((resampled(coarse) - coarse).abs().mean()) < 0.02


# --- gradients --------------------------------------------------------------------------------------------------------


def test_the_gradient_is_that_of_the_bound() -> None:
    images = (0.25 + 0.5 * pictures(n=2, side=12)).requires_grad_(True)
    scorer = AugmentedScorer(FakeScorer(), 0.7)
    (grad,) = torch.autograd.grad(scorer.score(images, "p").values.sum(), images)
    with torch.no_grad():
        move = 0.01 * grad.sign()
        up, down = (scorer.score(images + s * move, "p").values.sum() for s in (1, -1))
    assert float(up - down) / 2 == pytest.approx(float((grad * move).sum()), rel=0.02)


def test_the_gradient_is_finite_where_all_views_agree() -> None:
    images = torch.full((1, 3, 16, 16), 0.5, requires_grad=True)
    (grad,) = torch.autograd.grad(AugmentedScorer(FakeScorer()).score(images, "p").values.sum(), images)
    assert bool(torch.isfinite(grad).all()) and float(grad[:, 0].mean()) > 0


def test_noise_can_be_optimised_for_the_bound_on_the_miniature() -> None:
    generator, inner = loaded()
    cond = generator.encode_prompts(EXAMPLE_PROMPTS[1])
    objective = Objective(
        lambda noise: generator.sample(cond, noise, 1, cfg=1.0),
        lambda latent: generator.decode(latent, 64),
        terms_of(AugmentedScorer(inner)),
        EXAMPLE_PROMPTS[1],
    )
    noise = generator.noise([3])
    found = objective.gradient(noise)
    assert found.finite
    move = found.grads[0] / found.grads[0].norm()
    better = objective.evaluate(torch.cat([noise - s * move for s in (0.01, 0.03, 0.1)]))
    assert min(e.loss for e in better) < found.evaluation.loss
