"""How a noise optimisation ends before its time, and what is seen while it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import comfy.utils
import torch
from comfy_inside import base, pack, sibling

parts = sibling("optimize_noise_parts")
tiny = parts.tiny
NOISE, TABLE, REPORT, LATENT = parts.NOISE, parts.TABLE, parts.REPORT, parts.LATENT
BOTH = (parts.GRADIENT[0], parts.SEARCH[0])


class Counting:
    """Redness, with something that happens at the k-th image (from 1)."""

    def __init__(self, at: int = 0, event: Any = None, name: str = "fake") -> None:
        self._inner, self._at, self._event = parts.redness(name), at, event
        self.info, self.calls = self._inner.info, 0

    def score(self, images: Any, prompts: Any) -> Any:
        self.calls += 1
        scores = self._inner.score(images, prompts)
        if self._event is not None and self.calls == self._at:
            changed = self._event(scores)
            return scores if changed is None else changed
        return scores


def _with(scorer: Any, **changed: Any) -> Any:
    wired = parts.Wired(**changed)
    wired.graph.nodes[wired.node.id]["inputs"]["scorer"] = wired.graph.give(scorer)
    return wired


@contextmanager
def interrupt_at_denoiser_call(number: int) -> Iterator[list[int]]:
    """Ask the host to stop when its model is called for the k-th time, in the middle of an image."""
    calls: list[int] = []
    original = comfy.samplers.calc_cond_batch

    def spy(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            mm.interrupt_current_processing()
        return original(*args, **kwargs)

    comfy.samplers.calc_cond_batch = spy
    try:
        yield calls
    finally:
        comfy.samplers.calc_cond_batch = original
        mm.interrupt_current_processing(False)


def rescued() -> set[Path]:
    return set((base / "temp" / "noise").glob("interrupted_*.safetensors"))


def no_threads() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name == "hps-candidate"]


def check_an_interrupt_stops_within_a_step_and_saves_the_best_noise() -> None:
    for method in BOTH:
        known = rescued()
        wired = parts.Wired(method=method, screen=2, steps=3, iterations=50)
        with interrupt_at_denoiser_call(11) as calls:
            run = wired.graph.run(wired.node[NOISE])
        assert not run.ok and run.interrupted, run
        assert len(calls) <= 12 and no_threads(), len(calls)
        (path,) = rescued() - known
        stored = pack("hpskit.search.noise_file").read(path)
        assert stored.record.seed == 200 and stored.record.method == method and stored.noise.shape == (1, 16, 8, 8)
        again = parts.Wired(method=method)
        again.run(TABLE)


def check_a_cancel_that_keeps_the_best_lets_the_queue_go_on() -> None:
    for method in BOTH:
        wired = parts.Wired(method=method, screen=2, steps=3, iterations=50, on_cancel=parts.KEEP)
        best = wired.stock(wired.node[NOISE])
        with interrupt_at_denoiser_call(20):
            run = wired.graph.run(wired.node[LATENT], best[0], wired.node[REPORT], wired.node[TABLE])
        assert run.ok and not run.interrupted, run.error
        assert torch.equal(run[0][0]["samples"], run[1][0]["samples"])
        assert "Stopped by hand" in run[2][0], run[2][0]
        assert run.ui[wired.node.id]["hps"][0]["stopped"] == "cancelled"
        before, after = run[3][0].scores.tolist()
        assert after >= before and no_threads() and not mm.processing_interrupted()


def check_a_cancel_while_scoring_or_watching_keeps_the_best_too() -> None:
    stop = lambda _: mm.throw_exception_if_processing_interrupted()  # noqa: E731
    request = lambda _: (mm.interrupt_current_processing(), stop(_))[1]  # noqa: E731
    for name, at in (("scorer", 7), ("held_out", 2)):
        wired = parts.Wired(screen=2, iterations=20, on_cancel=parts.KEEP)
        wired.graph.nodes[wired.node.id]["inputs"][name] = wired.graph.give(Counting(at, request, name))
        run = parts.catch(wired.graph, wired.node, REPORT)
        assert "Stopped by hand" in run[0][0], run[0][0]


def check_a_cancel_before_the_first_image_stops_the_queue() -> None:
    wired = parts.Wired(method=BOTH[1], on_cancel=parts.KEEP)
    with interrupt_at_denoiser_call(1):
        run = wired.graph.run(wired.node[NOISE])
    assert not run.ok and run.interrupted


def check_memory_that_runs_out_ends_with_the_best_so_far_and_advice() -> None:
    def out(_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory (simulated)")

    for method in BOTH:
        wired = _with(Counting(6, out), method=method, screen=2, iterations=20, population=1)
        run = wired.run(TABLE, REPORT)
        assert run.ui[wired.node.id]["hps"][0]["stopped"] == "memory"
        assert "memory ran out" in run[1][0] and "tiny VAE" in run[1][0]
        assert run[0][0].scores.tolist()[1] >= run[0][0].scores.tolist()[0]


def check_memory_that_runs_out_in_a_chunk_halves_it() -> None:
    module, sizes = pack("nodes.noise_run"), []
    original = module.HostRun.together

    def tight(self: Any, noises: Any, *rest: Any) -> Any:
        sizes.append(len(noises))
        if len(noises) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory (simulated)")
        return original(self, noises, *rest)

    module.HostRun.together = tight
    try:
        parts.Wired(method="sphere search", screen=5, iterations=1, population=1).run(TABLE)
    finally:
        module.HostRun.together = original
    assert sizes[:4] == [5, 2, 2, 1], sizes


def check_a_gradient_that_is_not_finite_is_skipped_and_three_end_the_run() -> None:
    def broken(scores: Any) -> Any:
        return type(scores)(scores.values * float("nan"), scores.info, scores.prompts)

    scorer = Counting()
    inner = scorer.score
    scorer.score = lambda images, prompts: (  # type: ignore[method-assign]
        broken(inner(images, prompts)) if getattr(images, "requires_grad", False) else inner(images, prompts)
    )
    wired = _with(scorer, screen=2, iterations=20)
    run = wired.run(REPORT, TABLE)
    shown = run.ui[wired.node.id]["hps"][0]
    assert shown["stopped"] == "unusable" and sum(point["skipped"] for point in shown["curve"]) == 3
    assert "not finite" in run[0][0] and len(run[1][0]) == 2


def check_target_and_time_end_the_run() -> None:
    for limit, stopped in (({"target": -1e5}, "target"), ({"max_seconds": 0.001}, "time")):
        wired = parts.Wired(iterations=50, **limit)
        run = wired.run(TABLE)
        assert run.ui[wired.node.id]["hps"][0]["stopped"] == stopped


def check_senseless_inputs_are_explained() -> None:
    wired = parts.Wired()
    wired.graph.nodes[wired.node.id]["inputs"]["noise"] = wired.graph.node("DisableNoise")[0]
    run = wired.graph.run(wired.node[NOISE])
    assert not run.ok and "all zeros" in run.error and "RandomNoise" in run.error
    wired = parts.Wired(denoise=0.0)
    run = wired.graph.run(wired.node[NOISE])
    assert not run.ok and "no steps" in run.error
    wired = parts.Wired(latent={"samples": torch.zeros(1, 16, 3, 8, 8)})
    run = wired.graph.run(wired.node[NOISE])
    assert not run.ok and "video" in run.error


def check_progress_preview_and_events() -> None:
    bars: list[tuple[int, int, Any]] = []
    hook = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **_: bars.append((value, total, preview)))
    watch = pack("nodes.noise_watch")
    kept, watch.EVENT_SECONDS = watch.EVENT_SECONDS, 0.0
    try:
        for method in BOTH:
            bars.clear()
            wired = parts.Wired(method=method, screen=2, iterations=4)
            wired.graph.nodes[wired.node.id]["inputs"]["held_out"] = wired.graph.give(parts.redness("watched"))
            run = wired.run(NOISE)
            values = [value for value, total, _ in bars if total == watch.UNITS]
            assert values == sorted(values) and values[-1] == watch.UNITS, values
            assert len(set(values)) > 2  # newer hosts leave out what comes too fast
            pictures = [preview for *_, preview in bars if preview is not None]
            assert pictures and pictures[-1][1].size == (64, 64)
            events = [data for name, data in run.events if name == "hps.optimize"]
            points = [point for event in events for point in event["points"]]
            assert len(points) == 6 and [p["phase"] for p in points[:3]] == ["screen", "screen", "optimize"]
            assert all(point["best"] >= points[0]["score"] - 1e-6 for point in points)
            assert events[-1]["stopped"] == "iterations" and events[-1]["reason"] and events[-1]["done"] == 1.0
            assert all(event["stopped"] is None for event in events[:-1]) and events[0]["node"] == wired.node.id
            shown = run.ui[wired.node.id]["hps"][0]["curve"]
            assert points == shown
    finally:
        comfy.utils.set_progress_bar_global_hook(hook)
        watch.EVENT_SECONDS = kept
