"""The driver of noise optimisation: screening, budgets, guards, what ends a run, and taking it up again."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from noise_worlds import PixelReward, TinyGenerator, TinyReward, as_image
from safetensors import SafetensorError
from safetensors.torch import save_file

from hpskit.errors import (
    Cancelled,
    CheckpointCorrupt,
    HpsError,
    ImageError,
    MemoryExhausted,
    OutputError,
    SelectionError,
)
from hpskit.scorers import combine
from hpskit.search import Geodesic, Guards, Objective, Reno, Term, load_state, optimize_noise, save_state, terms_of
from hpskit.search.guards import Look, drift, look
from hpskit.search.objective import Cost, spread
from hpskit.search.sphere import SphereSearch, ZeroOrder
from hpskit.search.subspace import SubspaceSearch

METHODS = {"reno": Reno, "geodesic": Geodesic}


def noises(count: int = 1, seed: int = 0, side: int = 8) -> torch.Tensor:
    return torch.stack(
        [torch.randn(4, side, side, generator=torch.Generator().manual_seed(seed + k)) for k in range(count)]
    )


def aim(seed: int = 1, **options: Any) -> Objective:
    world = TinyGenerator(seed)
    return Objective(world.latent, world.decode, terms_of(TinyReward(seed + 1)), "a prompt", **options)


def pixels(function: Any, **options: Any) -> Objective:
    """Noise [n, 3, h, w] is the image, the score a function of it."""
    return Objective(as_image, as_image, [Term(PixelReward(function), 1.0)], "p", **options)


def flat(count: int = 1, seed: int = 0) -> torch.Tensor:
    return noises(count, seed)[:, :3]


# --- what it does ------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_best_image_is_kept_and_the_start_is_reported(method: str) -> None:
    found = optimize_noise(METHODS[method](), aim(), noises(), iterations=15)
    assert found.stopped == "iterations" and len(found.curve) == 15
    assert found.best.loss == min(point.loss for point in found.curve) < found.start.loss
    assert torch.equal(found.start.noise, noises())
    assert found.curve[0].loss == found.start.loss
    assert found.chosen is found.best and found.held_out == {}
    assert [p.best_loss for p in found.curve] == sorted((p.best_loss for p in found.curve), reverse=True)


def test_the_best_evaluates_to_its_loss_again() -> None:
    found = optimize_noise(Geodesic(), aim(), noises(), iterations=10)
    (again,) = aim().evaluate(found.best.noise)
    assert again.loss == pytest.approx(found.best.loss, abs=1e-6)
    assert torch.equal(again.image, found.best.image)


def test_inputs_are_not_changed() -> None:
    given = noises(3)
    before = given.clone()
    optimize_noise(Reno(), aim(), given, iterations=4, starts=2)
    assert torch.equal(given, before)


def test_screening_tries_all_and_optimises_the_best() -> None:
    objective = aim(chunk=3)
    single = [aim().evaluate(noises(8)[k : k + 1])[0].loss for k in range(8)]
    found = optimize_noise(Geodesic(), objective, noises(8), iterations=5, starts=2)
    screened = [point for point in found.curve if point.phase == "screen"]
    assert [point.loss for point in screened] == pytest.approx(single, abs=1e-5)
    order = sorted(range(8), key=lambda k: single[k])
    climbs = [next(p for p in found.curve if p.phase == "optimize" and p.start == s) for s in (0, 1)]
    assert [p.loss for p in climbs] == pytest.approx([single[order[0]], single[order[1]]], abs=1e-5)
    assert torch.equal(found.start.noise, noises(8)[:1])
    assert torch.equal(found.parent.noise, noises(8)[order[0]][None]) or torch.equal(
        found.parent.noise, noises(8)[order[1]][None]
    )


def test_cost_counts_a_backward_as_two_forwards() -> None:
    found = optimize_noise(Reno(), aim(nfe=4, chunk=8), noises(8), iterations=10)
    assert found.cost == Cost(forwards=4 * 18, backwards=4 * 9, decodes=18, rewards=18)
    assert found.cost.equivalents == 4 * 18 + 2 * 4 * 9
    assert found.curve[-1].equivalents == found.cost.equivalents and found.curve[-1].images == 18


def test_the_last_iteration_wastes_no_gradient() -> None:
    assert optimize_noise(Reno(), aim(), noises(), iterations=1).cost.backwards == 0


def test_progress_rises_to_the_whole() -> None:
    seen: list[float] = []
    optimize_noise(
        Geodesic(), aim(), noises(4), iterations=3, starts=2, on_progress=lambda update: seen.append(update.done)
    )
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1.0) and seen[0] < 0.2


def test_a_cheap_decoder_serves_the_gradient_and_the_good_one_judges() -> None:
    world = TinyGenerator(1)
    cheap = TinyGenerator(1)
    cheap.second = world.second + 0.02
    terms = terms_of(TinyReward(2))
    both = Objective(world.latent, cheap.decode, terms, "p", judge=world.decode)
    found = optimize_noise(Geodesic(), both, noises(), iterations=6)
    truth = Objective(world.latent, world.decode, terms, "p").evaluate(found.best.noise)[0]
    assert truth.loss == pytest.approx(found.best.loss, abs=1e-6)
    assert torch.equal(truth.image, found.best.image)
    assert found.best.loss < found.start.loss


# --- rewards ------------------------------------------------------------------------------


def test_published_losses() -> None:
    hps, pick, clip = TinyReward(1, "hps"), TinyReward(2, "pickscore", logit_scale=98.0), TinyReward(3, "clip")
    (a,), (b,), (c,) = terms_of(hps), terms_of(pick), terms_of(clip)
    assert (a.weight, a.offset, a.slope) == (5.0, 1.0, 0.01)
    assert (b.weight, b.offset, b.slope) == (0.05, 30.0, 0.98)
    assert (c.weight, c.offset, c.slope) == (0.01, 100.0, 1.0)


def test_an_ensembles_weights_multiply_the_published_ones_and_zero_leaves_a_member_out() -> None:
    hps, pick = TinyReward(1, "hps"), TinyReward(2, "pickscore")
    joined = combine([hps, pick], [2.0, 1.0])
    assert [term.weight for term in terms_of(joined)] == [10.0, 0.05]
    assert [term.key for term in terms_of(combine([hps, pick], [1.0, 0.0]))] == ["hps-1"]
    assert [term.weight for term in terms_of(joined, {"pickscore-2": 7.0})] == [10.0, 7.0]
    with pytest.raises(HpsError, match="nothing to optimise"):
        terms_of(hps, {"hps-1": 0.0})


def test_an_unpublished_reward_counts_as_much_as_hps_does() -> None:
    term = terms_of(PixelReward(lambda x: x, sd=4.0))[0]
    hps = terms_of(TinyReward(1, "hps"))[0]
    assert term.per_point * 4.0 == pytest.approx(hps.per_point * spread(TinyReward(1, "hps").info))


def test_every_reward_is_reported() -> None:
    joined = combine([TinyReward(1, "hps"), TinyReward(2, "pickscore")])
    world = TinyGenerator(4)
    for mix in ("sum", "per_reward", "pcgrad"):
        objective = Objective(world.latent, world.decode, terms_of(joined), "p")
        found = optimize_noise(Geodesic(mix=mix), objective, noises(), iterations=4)  # type: ignore[arg-type]
        assert set(found.best.scores) == {"hps-1", "pickscore-2"}
        assert found.cost.backwards == 3 * (1 if mix == "sum" else 2)


def test_a_cut_gradient_is_named() -> None:
    world = TinyGenerator(1)
    broken = Objective(lambda x: world.latent(x.detach()), world.decode, terms_of(TinyReward(2)), "p")
    with pytest.raises(HpsError, match="not differentiable"):
        optimize_noise(Reno(), broken, noises(), iterations=3)


# --- what ends it -------------------------------------------------------------------------


def test_budgets() -> None:
    ticks = iter(range(1000))
    timed = optimize_noise(Reno(), aim(), noises(), iterations=99, seconds=20, clock=lambda: next(ticks))
    assert timed.stopped == "time" and 2 < len(timed.curve) < 20
    costed = optimize_noise(Reno(), aim(nfe=2), noises(), iterations=99, max_cost=30)
    assert costed.stopped == "cost" and 30 <= costed.cost.equivalents <= 36
    reached = optimize_noise(Geodesic(), aim(), noises(), iterations=99, target=-1000.0)
    assert reached.stopped == "target" and len(reached.curve) == 1


def test_senseless_arguments() -> None:
    with pytest.raises(SelectionError, match="iterations is 0"):
        optimize_noise(Reno(), aim(), noises(), iterations=0)
    with pytest.raises(SelectionError, match="finite"):
        optimize_noise(Reno(), aim(), noises() * math.nan)


def holed(bad: set[int]) -> Objective:
    """A generator whose k-th render is NaN for k in `bad`."""
    count = iter(range(10_000))
    world = TinyGenerator(1)

    def render(x: torch.Tensor) -> torch.Tensor:
        latent = world.latent(x)
        return latent * math.nan if next(count) in bad else latent

    return Objective(render, world.decode, terms_of(TinyReward(2)), "p")


@pytest.mark.parametrize("method", METHODS)
def test_an_iteration_that_is_not_finite_is_skipped(method: str) -> None:
    found = optimize_noise(METHODS[method](), holed({3, 6}), noises(), iterations=12)
    assert found.stopped == "iterations" and found.skipped == 2
    assert [p.iteration for p in found.curve if p.skipped] == [4, 7]
    assert found.best.usable and torch.isfinite(found.curve[-1].__dict__["loss"] * torch.ones(1)).all()
    assert any("2 iterations" in warning for warning in found.warnings)


@pytest.mark.parametrize("method", METHODS)
def test_three_in_a_row_end_with_the_best_so_far(method: str) -> None:
    found = optimize_noise(METHODS[method](), holed({5, 6, 7, 8, 9}), noises(), iterations=30)
    assert found.stopped == "unusable" and len(found.curve) == 8
    assert found.best.loss == min(p.loss for p in found.curve)


def test_nothing_finite_at_all_is_an_error() -> None:
    with pytest.raises(ImageError, match="NaN"):
        optimize_noise(Reno(), holed(set(range(99))), noises(), iterations=10)
    with pytest.raises(ImageError, match="NaN"):
        optimize_noise(Reno(), holed(set(range(99))), noises(4), iterations=10)


def full(after: int) -> Objective:
    count = iter(range(10_000))
    world = TinyGenerator(1)

    def render(x: torch.Tensor) -> torch.Tensor:
        if next(count) >= after:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return world.latent(x)

    return Objective(render, world.decode, terms_of(TinyReward(2)), "p")


def test_out_of_memory_ends_with_the_best_so_far_and_advice() -> None:
    found = optimize_noise(Reno(), full(4), noises(), iterations=20)
    assert found.stopped == "memory" and len(found.curve) == 4 and found.best.usable
    assert "smaller" in found.reason
    with pytest.raises((MemoryExhausted, RuntimeError)):
        optimize_noise(Reno(), full(0), noises(), iterations=20)


def test_screening_halves_its_chunk_when_memory_runs_out() -> None:
    world = TinyGenerator(1)

    def render(x: torch.Tensor) -> torch.Tensor:
        if len(x) > 2:
            raise RuntimeError("CUDA out of memory.")
        return world.latent(x)

    objective = Objective(render, world.decode, terms_of(TinyReward(2)), "p", chunk=8)
    found = optimize_noise(Geodesic(), objective, noises(7), iterations=2)
    assert sum(point.phase == "screen" for point in found.curve) == 7 and objective.chunk <= 2


def test_other_errors_pass_unchanged() -> None:
    def render(x: torch.Tensor) -> torch.Tensor:
        raise KeyError("host")

    objective = Objective(render, render, terms_of(TinyReward(2)), "p")
    with pytest.raises(KeyError, match="host"):
        optimize_noise(Reno(), objective, noises())


def cancel_after(count: int) -> Any:
    calls = iter(range(10_000))
    return lambda: next(calls) >= count


def test_cancel() -> None:
    with pytest.raises(Cancelled):
        optimize_noise(Reno(), aim(), noises(), cancelled=cancel_after(4))
    kept = optimize_noise(Reno(), aim(), noises(), cancelled=cancel_after(4), keep_on_cancel=True)
    assert kept.stopped == "cancelled" and len(kept.curve) == 4 and kept.best.usable
    with pytest.raises(Cancelled):  # nothing to keep yet
        optimize_noise(Reno(), aim(), noises(), cancelled=cancel_after(0), keep_on_cancel=True)


# --- guards -------------------------------------------------------------------------------


def hacked(every: int = 1) -> tuple[Objective, Guards]:
    """The reward rises for ever; what people want rises to a point and then falls."""
    direction = noises(1, 99)[:, :3]

    def reward(x: torch.Tensor) -> torch.Tensor:
        return (x * direction).flatten(1).sum(1)

    held_out = PixelReward(lambda x: -(reward(x) - 60).abs() / 10, "wanted", sd=1.0)
    return pixels(reward), Guards(held_out=held_out, every=every, max_look=0)


def test_a_falling_held_out_score_ends_the_run_and_the_safe_iterate_is_chosen() -> None:
    objective, guards = hacked()
    found = optimize_noise(Geodesic(lr=20, max_angle=None), objective, flat(), iterations=60, guards=guards)
    assert found.stopped == "held-out" and len(found.curve) < 60
    held = {name: value for name, value in found.held_out.items() if value is not None}
    assert held["chosen"] > held["best"] and found.chosen.loss > found.best.loss
    top = max(point.held_out for point in found.curve if point.held_out is not None)
    assert held["chosen"] >= top - 0.5
    unguarded = optimize_noise(Geodesic(lr=20, max_angle=None), hacked()[0], flat(), iterations=60)
    assert unguarded.stopped == "iterations" and unguarded.chosen.loss < found.chosen.loss


def test_a_held_out_score_that_agrees_changes_nothing() -> None:
    agreeing = TinyReward(2)
    agreeing.name = "again"
    guards = Guards(held_out=agreeing, every=2)
    found = optimize_noise(Geodesic(), aim(), noises(), iterations=20, guards=guards)
    assert found.stopped == "iterations" and torch.equal(found.chosen.noise, found.best.noise)
    assert [p.iteration for p in found.curve if p.held_out is not None] == list(range(2, 21, 2))


def test_an_image_is_held_out_scored_once() -> None:
    objective, guards = hacked(every=1)
    assert isinstance(guards.held_out, PixelReward)
    found = optimize_noise(Geodesic(max_angle=None), objective, flat(), iterations=8, guards=guards)
    different = {point.best_loss for point in found.curve} | {found.start.loss}
    assert guards.held_out.calls == len(different)


def test_look_measures_what_it_says() -> None:
    grey = torch.full((1, 3, 32, 32), 0.5)
    assert look(grey) == Look(0.0, 0.0, 0.0)
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = 1
    assert look(red).saturation == 1.0
    stripes = (torch.arange(32) % 2).float().expand(1, 3, 32, 32)
    assert look(stripes).contrast == pytest.approx(0.5) and look(stripes).detail == pytest.approx(1.0, abs=1e-5)
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    assert look(ramp).detail < 0.1


def test_drift_names_what_grew() -> None:
    before = Look(0.1, 0.1, 0.01)
    assert drift(Look(0.1, 0.1, 0.01), before, 1.5) == ()
    assert drift(Look(0.2, 0.1, 0.01), before, 1.5) == ("2.0 times as saturated",)
    assert len(drift(Look(0.2, 0.2, 0.1), before, 1.5)) == 3
    assert drift(Look(0.01, 0.01, 0.0005), Look(0.001, 0.001, 0.0), 1.5) == ()


def test_a_drifting_look_is_warned_about() -> None:
    objective = pixels(lambda x: x.square().flatten(1).mean(1))
    start = 0.05 * torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) + 0.4
    found = optimize_noise(Reno(lr=500, regularization=0), objective, start, iterations=20)
    assert any("times as" in warning for warning in found.warnings)


# --- taking it up again ---------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop", [2, 5, 9])
def test_a_resumed_run_is_the_uninterrupted_one(method: str, stop: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"iterations": 6, "starts": 2}

    def guards() -> Guards:
        return Guards(held_out=TinyReward(7, "pickscore"), every=2)

    whole = optimize_noise(METHODS[method](), aim(chunk=2), noises(3), guards=guards(), **options)
    part = optimize_noise(
        METHODS[method](),
        aim(chunk=2),
        noises(3),
        guards=guards(),
        cancelled=cancel_after(stop),
        keep_on_cancel=True,
        **options,
    )
    path = save_state(tmp_path / "deep" / "state.safetensors", part.state)
    rest = optimize_noise(
        METHODS[method](), aim(chunk=2), noises(3), guards=guards(), resume=load_state(path), **options
    )
    assert torch.equal(rest.best.noise, whole.best.noise) and torch.equal(rest.chosen.image, whole.chosen.image)
    assert rest.cost == whole.cost and rest.stopped == whole.stopped
    assert [(p.loss, p.angle, p.held_out) for p in rest.curve] == [(p.loss, p.angle, p.held_out) for p in whole.curve]


def test_a_finished_run_can_go_on() -> None:
    short = optimize_noise(Reno(), aim(), noises(), iterations=5)
    longer = optimize_noise(Reno(), aim(), noises(), iterations=12, resume=short.state)
    assert len(longer.curve) == 12 and longer.best.loss < short.best.loss


def test_a_state_of_something_else_is_refused() -> None:
    state = optimize_noise(Reno(), aim(), noises(), iterations=3).state
    with pytest.raises(SelectionError, match="reno"):
        optimize_noise(Geodesic(), aim(), noises(), resume=state)
    with pytest.raises(SelectionError, match="other noises"):
        optimize_noise(Reno(), aim(), noises(1, 5), resume=state)


def test_files_that_are_no_state(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for content in (b"", b"garbage" * 99, b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(CheckpointCorrupt):
            load_state(path)
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(CheckpointCorrupt, match="not the state"):
        load_state(path)
    with pytest.raises(CheckpointCorrupt):
        load_state(tmp_path / "absent")


# --- what was found by breaking it ----------------------------------------------------------


class Stop:
    """Raises Cancelled at the k-th call, once."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise Cancelled("stop")


@pytest.mark.parametrize("make", [Reno, Geodesic, SphereSearch, ZeroOrder, SubspaceSearch])
def test_a_run_stopped_in_the_middle_of_an_image_goes_on_to_the_same_bits(make: Any) -> None:
    def run(stop: Stop, resume: Any = None) -> Any:
        world = TinyGenerator(1)

        def render(x: torch.Tensor) -> torch.Tensor:
            stop()
            return world.latent(x)

        objective = Objective(render, world.decode, terms_of(TinyReward(2)), "p")
        return optimize_noise(make(), objective, noises(2), iterations=4, keep_on_cancel=True, resume=resume)

    whole, part = run(Stop(0)), run(Stop(4))
    assert part.stopped == "cancelled"
    rest = run(Stop(0), part.state)
    assert [p.loss for p in rest.curve] == [p.loss for p in whole.curve]
    assert torch.equal(rest.best.noise, whole.best.noise)


@pytest.mark.parametrize("iterations", [2, 4])
def test_a_finished_run_without_iterations_to_make_ends_at_once(iterations: int) -> None:
    done = optimize_noise(Geodesic(), aim(), noises(), iterations=4)
    again = optimize_noise(Geodesic(), aim(), noises(), iterations=iterations, resume=done.state, cancelled=Stop(9))
    assert again.stopped == "iterations" and len(again.curve) == 4 and again.best.loss == done.best.loss


def test_a_finished_geodesic_run_really_goes_on() -> None:
    short = optimize_noise(Geodesic(), aim(), noises(), iterations=5)
    longer = optimize_noise(Geodesic(), aim(), noises(), iterations=12, resume=short.state)
    assert longer.best.loss < short.best.loss and len({p.loss for p in longer.curve[-5:]}) == 5


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory."), Cancelled("stop")])
def test_a_held_out_scorer_that_fails_last_does_not_cost_the_best(error: Exception) -> None:
    class Late(TinyReward):
        looks = 0

        def score(self, images: Any, prompts: Any) -> Any:
            Late.looks += 1
            if Late.looks > 2:
                raise error
            return super().score(images, prompts)

    guards = Guards(held_out=Late(7, "pickscore"), every=2)
    found = optimize_noise(Geodesic(), aim(), noises(), iterations=6, guards=guards, keep_on_cancel=True)
    assert found.stopped in ("memory", "cancelled") and found.best.usable and found.held_out["start"] is not None


@pytest.mark.parametrize("noise", [torch.zeros(1, 3, 4, 4), torch.zeros(1, 0, 4, 4)])
def test_noise_without_direction_is_refused(noise: torch.Tensor) -> None:
    with pytest.raises(SelectionError, match="zero"):
        optimize_noise(Reno(), pixels(lambda x: x.flatten(1).sum(1)), noise)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "function", [lambda x: x.mean(), lambda x: x.flatten(1).mean(1, keepdim=True), lambda x: [1.0], lambda x: None]
)
def test_scorers_that_return_no_number_an_image_are_named(function: Any, count: int) -> None:
    with pytest.raises(HpsError, match="pixels returned"):
        optimize_noise(Reno(), pixels(function), flat(count))
    guards = Guards(held_out=PixelReward(function, "watcher"))
    with pytest.raises(HpsError, match="watcher returned"):
        optimize_noise(Reno(), pixels(lambda x: x.flatten(1).mean(1)), flat(count), guards=guards)


def test_a_scorer_without_gradient_is_named_and_guards_need_a_rhythm() -> None:
    with pytest.raises(HpsError, match="No gradient"):
        optimize_noise(Reno(), pixels(lambda x: torch.ones(len(x))), flat(2))
    with pytest.raises(SelectionError, match="every 0"):
        Guards(every=0)


def test_a_state_that_cannot_be_written_is_a_clean_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("hpskit.search.state.save_file", full)
    with pytest.raises(OutputError, match="No space"):
        save_state(tmp_path / "state", {"a": 1})
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_state(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointCorrupt, match="not a file"):
        load_state(tmp_path / "pipe")


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["cost"].update(forwards=torch.zeros(2)),
        lambda s: s.update(iteration=-(10**9)),
        lambda s: s["curve"][0].update(best_scores=3),
        lambda s: s["curve"][0].update(held_out="x"),
        lambda s: s.update(first=replace(s["first"], scores=[])),
        lambda s: s.update(first=replace(s["first"], noise="x")),
    ],
)
def test_a_tampered_state_is_refused_before_it_is_used(change: Any, tmp_path: Path) -> None:
    state = dict(optimize_noise(Reno(), aim(), noises(2), iterations=2).state)
    change(state)
    with pytest.raises(CheckpointCorrupt):
        resume = load_state(save_state(tmp_path / "state", state))
        optimize_noise(Reno(), aim(), noises(2), iterations=4, resume=resume, cancelled=Stop(9))
