"""Candidates in lockstep: the machinery alone, then every stock sampler inside a real ComfyUI."""

from __future__ import annotations

import importlib
import sys
import threading
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from comfy_harness import checks

torch = pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parents[2]

test_in_host = checks("lockstep", slow=("check_unet_samplers_at_odd_sizes",), timeout=600)


def _load() -> Any:
    """Import the module without its pack, which would need ComfyUI."""
    package = ModuleType("pack_alone")
    package.__path__ = [str(ROOT)]
    sys.modules[package.__name__] = package
    return importlib.import_module("pack_alone.nodes.lockstep")


lockstep = _load()
CPU = torch.device("cpu")


def threads() -> int:
    return sum(thread.name == "hps-candidate" for thread in threading.enumerate())


def track(body: Any, seed: int = 0, on_step: Any = None) -> Any:
    torch.manual_seed(seed)
    return lockstep.Track(lockstep.Fiber(body, CPU), lockstep.RandomState.capture(CPU), CPU, on_step)


def walker(value: float, levels: tuple[float, ...], options: Any = None) -> Any:
    """A sampler of sorts: asks the model at each level and adds what it says."""

    def body(fiber: Any) -> Any:
        guider = lockstep.GuiderProxy(None, fiber)
        x = torch.full((1, 2), value)
        for level in levels:
            x = x + guider(x, torch.tensor([level]), model_options=options)
        return x

    return body


class Model:
    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, x: Any, sigma: Any, model_options: Any, seed: Any) -> Any:
        self.batches.append(len(x))
        return x * sigma[:, None]


def test_candidates_share_calls_and_keep_their_own_values() -> None:
    model, shared = Model(), {}
    step = lockstep.Lockstep(model, max_batch=8)
    out = step.run([track(walker(float(k), (1.0, 2.0), shared)) for k in range(3)])
    assert torch.equal(torch.cat(out), torch.tensor([[0.0, 0.0], [6.0, 6.0], [12.0, 12.0]]))
    assert model.batches == [3, 3]
    assert (step.stats.calls, step.stats.evals) == (2, 6)
    assert threads() == 0


def test_max_batch_bounds_a_call() -> None:
    model, shared = Model(), {}
    lockstep.Lockstep(model, max_batch=2).run([track(walker(1.0, (1.0,), shared)) for _ in range(5)])
    assert model.batches == [2, 2, 1]


def test_different_levels_and_options_are_not_mixed() -> None:
    model, shared = Model(), {}
    levels = [(1.0, 2.0), (1.0, 3.0, 4.0), (1.0, 2.0)]
    out = lockstep.Lockstep(model, max_batch=8).run([track(walker(1.0, level, shared)) for level in levels])
    assert model.batches == [3, 2, 1, 1]
    assert [float(x[0, 0]) for x in out] == [6.0, 40.0, 6.0]
    model = Model()
    lockstep.Lockstep(model, max_batch=8).run([track(walker(1.0, (1.0,), {"own": [k]})) for k in range(3)])
    assert model.batches == [1, 1, 1]


def test_guidance_hooks_of_each_candidate_see_its_own_items_only() -> None:
    def guided(x: Any, sigma: Any, model_options: Any, seed: Any) -> Any:
        result = x * sigma[:, None]
        for hook in model_options["sampler_post_cfg_function"]:
            result = hook({"denoised": result, "uncond_denoised": -x, "uncond": None, "model_options": model_options})
        return result

    def shared(args: Any) -> Any:
        assert len(args["denoised"]) == 3
        return args["denoised"] + 100

    def options(k: int) -> Any:
        def own(args: Any) -> Any:
            assert args["model_options"]["sampler_post_cfg_function"][-1] is own
            assert torch.equal(args["uncond_denoised"], torch.full((1, 2), -float(k)))
            return args["denoised"] + 10 * k

        return {"same": nested, "sampler_post_cfg_function": [shared, own]}

    nested: dict[str, Any] = {}
    step = lockstep.Lockstep(guided, max_batch=8)
    out = step.run([track(walker(float(k), (2.0,), options(k))) for k in range(3)])
    assert [float(x[0, 0]) for x in out] == [100.0, 113.0, 126.0]
    assert step.stats.calls == 1


def test_every_candidate_draws_from_its_own_global_generator() -> None:
    def body(fiber: Any) -> Any:
        drawn = [torch.randn(3)]
        lockstep.GuiderProxy(None, fiber)(torch.zeros(1, 2), torch.ones(1))
        return torch.stack([*drawn, torch.randn(3)])

    torch.manual_seed(123)
    before = torch.get_rng_state()
    alone = []
    for seed in (5, 6):
        torch.manual_seed(seed)
        alone.append(torch.stack([torch.randn(3), torch.randn(3)]))
    tracks = [track(body, seed) for seed in (5, 6)]
    torch.set_rng_state(before)
    out = lockstep.Lockstep(Model(), max_batch=8).run(tracks)
    assert all(torch.equal(a, b) for a, b in zip(out, alone, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_error_of_a_candidate_is_raised_with_its_traceback_and_stops_the_others() -> None:
    def failing(fiber: Any) -> Any:
        lockstep.GuiderProxy(None, fiber)(torch.zeros(1, 2), torch.ones(1))
        raise ValueError("from the sampler")

    with pytest.raises(ValueError, match="from the sampler") as caught:
        lockstep.Lockstep(Model(), max_batch=8).run([track(walker(1.0, (1.0,) * 5)), track(failing)])
    assert "failing" in "".join(traceback.format_tb(caught.value.__traceback__))
    assert threads() == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_error_of_the_model_leaves_no_thread(error: type[BaseException]) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise error("stop")

    with pytest.raises(error):
        lockstep.Lockstep(broken, max_batch=8).run([track(walker(1.0, (1.0,))) for _ in range(4)])
    assert threads() == 0


def test_a_sampler_that_swallows_exceptions_is_stopped_all_the_same() -> None:
    def stubborn(fiber: Any) -> Any:
        for _ in range(3):
            try:
                fiber.ask("anything")
            except Exception:
                continue
        return None

    fiber = lockstep.Fiber(stubborn, CPU)
    assert fiber.resume() == "anything"
    fiber.stop()
    assert threads() == 0
    fiber.stop()


def test_step_reports_reach_the_owner_in_the_owners_thread() -> None:
    seen: list[tuple[int, str]] = []

    def body(fiber: Any) -> Any:
        fiber.ask(lockstep.StepReport(0, torch.zeros(1), torch.zeros(1), 2))
        return lockstep.GuiderProxy(None, fiber)(torch.ones(1, 2), torch.ones(1))

    def note(report: Any) -> None:
        seen.append((report.total, threading.current_thread().name))

    lockstep.Lockstep(Model(), max_batch=8).run([track(body, on_step=note) for _ in range(2)])
    assert seen == [(2, threading.current_thread().name)] * 2


@pytest.mark.parametrize("inference", [True, False])
def test_thread_local_modes_are_those_of_the_caller(inference: bool) -> None:
    def body(fiber: Any) -> Any:
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    with torch.inference_mode(inference), torch.set_grad_enabled(not inference):
        assert lockstep.Lockstep(Model()).run([track(body)]) == [(inference, not inference)]


def test_proxy_passes_for_the_guider() -> None:
    class Guider:
        cfg = 3.0

    real = Guider()
    proxy = lockstep.GuiderProxy(real, None)
    proxy.cfg = 4.0
    assert isinstance(proxy, Guider)
    assert real.cfg == proxy.cfg == 4.0
