"""Checks of HPS_LoadScorer and HPS_CombineScorers, and of how the scorer lives in the host's memory management."""

from __future__ import annotations

import gc
import os
import pickle
import weakref
from pathlib import Path
from typing import Any

import torch
from comfy_inside import Graph, Run, base, checkpoint, free, images, loaded, node_class, pack

TINY = "hps-tiny-shapes (miniature for trials: judges coloured shapes only)"


def loader(graph: Graph, scorer: str = "hps-v2.1", **options: Any) -> Any:
    return graph.node(
        "HPS_LoadScorer", **{"scorer": scorer, "mode": "auto", "dtype": "auto", "download": False, **options}
    )


def load(scorer: str = "hps-v2.1", **options: Any) -> Run:
    graph = Graph()
    return graph.run(loader(graph, scorer, **options)[0])


def error_of(run: Run, name: str) -> str:
    assert not run.ok and run.error_type.endswith(f"errors.{name}"), (run.ok, run.error_type, run.error)
    return run.error


def scored(run: Run, n: int = 2) -> list[float]:
    with torch.inference_mode():
        values: list[float] = run[0][0].score(images(n).movedim(-1, 1), "a red circle").tolist()
    return values


def check_every_scorer_is_offered_and_the_miniatures_come_last() -> None:
    checkpoint("mine.safetensors")
    options = node_class("HPS_LoadScorer").INPUT_TYPES()["required"]["scorer"][1]["options"]
    assert {"hps-v2.1", "hps-v2.0", "pickscore-v1", "aesthetic-v2", "mine.safetensors"} <= set(options), options
    assert options[-1] == TINY and ["tiny" in option for option in options[-3:]] == [False, True, True], options


def check_a_known_scorer_is_found_by_its_file_name() -> None:
    checkpoint()
    run = load()
    assert run.ok, run.error
    info = run[0][0].info
    assert (info.id, info.family, info.preprocess, info.dtype) == ("hps-v2.1", "hps", "reference", "float32"), info


def check_a_file_with_any_name_loads_from_a_subfolder() -> None:
    folder = base / "models" / "reward_models"
    checkpoint("x.pt").replace(folder / "mine.pt")
    run = load("mine.pt", mode="crop")
    assert run.ok, run.error
    assert run[0][0].info.preprocess == "crop" and len(scored(run)) == 2


def check_missing_weights_give_the_one_command() -> None:
    message = error_of(load("hps-v2.1"), "CheckpointMissing")
    assert message.startswith("HPS v2.1 is not on this machine yet. Switch download on"), message
    assert "hps models get hps-v2.1" in message and "HPS_v2.1_compressed.pt" in message, message
    assert str(base / "models" / "reward_models") in message, message


def check_a_file_that_is_gone_names_the_folder() -> None:
    message = error_of(load("was_here.safetensors"), "CheckpointMissing")
    assert "was_here.safetensors" in message and "reward_models" in message, message


def check_a_truncated_file_is_named() -> None:
    path = checkpoint()
    path.write_bytes(path.read_bytes()[:100_000])
    assert path.name in error_of(load(), "CheckpointCorrupt")


class _Malice:
    def __reduce__(self) -> Any:
        return (Path.touch, (base / "ran",))


def check_a_pickle_with_code_is_refused_and_not_run() -> None:
    target = base / "models" / "reward_models" / "evil.pt"
    torch.save({"state_dict": _Malice()}, target)
    error_of(load("evil.pt"), "CheckpointUnsafe")
    (base / "models" / "reward_models" / "bare.pt").write_bytes(pickle.dumps(_Malice()))
    assert not load("bare.pt").ok
    assert not (base / "ran").exists()


def check_another_architecture_is_refused() -> None:
    torch.save({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(4, 4)}, checkpoint("unet.pt"))
    error_of(load("unet.pt"), "CheckpointUnknown")


def check_the_scorer_is_counted_by_the_host_only_while_it_is_used() -> None:
    checkpoint()
    run = load()
    module = run[0][0]._encoder.loaded.module
    assert module not in loaded()
    scored(run)
    assert module in loaded()


def check_two_loaders_share_one_copy() -> None:
    checkpoint()
    graph = Graph()
    run = graph.run(
        loader(graph)[0], loader(graph, mode="crop")[0], loader(graph, dtype="fp32")[0], loader(graph, dtype="bf16")[0]
    )
    assert run.ok, run.error
    modules = [value[0]._encoder.loaded.module for value in run.values]
    assert modules[0] is modules[1] is modules[2] and modules[3] is not modules[0]
    assert [value[0].info.preprocess for value in run.values] == ["reference", "crop", "reference", "reference"]
    assert next(modules[3].visual.transformer.parameters()).dtype in (torch.float32, torch.bfloat16)


def check_free_returns_the_memory() -> None:
    checkpoint()
    graph = Graph()
    score = graph.node("HPS_Score", scorer=loader(graph)[0], images=graph.give(images()), prompt="x", **SCORE)
    run = graph.run(score[2])
    assert run.ok, run.error
    modules = [weakref.ref(module) for module in loaded()]
    assert modules
    table = run[0][0]
    free()
    gc.collect()
    assert not loaded() and all(module() is None for module in modules), "the scorer outlived /free"
    assert len(table.scores.tolist()) == 3


SCORE = {"clean_prompt": True, "match_saved_file": True}


def check_a_replaced_file_is_loaded_anew_and_an_unchanged_one_is_not() -> None:
    path = checkpoint(seed=0)
    graph = Graph()
    link = loader(graph)[0]
    first, again = graph.run(link), graph.run(link)
    assert first[0][0] is again[0][0]
    before = scored(first)
    path.unlink()  # a new file, as a download makes it: the old one is memory-mapped
    checkpoint(seed=1)
    assert scored(graph.run(link)) != before


def check_the_scorer_is_differentiable() -> None:
    checkpoint()
    scorer = load()[0][0]
    with torch.inference_mode():
        batch = images(2).movedim(-1, 1)
        with torch.inference_mode(False), torch.enable_grad():
            pixels = batch.clone().requires_grad_()
            scorer.score(pixels, "a red circle").values.sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0


def check_it_stays_differentiable_after_the_host_has_moved_it() -> None:
    checkpoint()
    scorer = load()[0][0]
    with torch.inference_mode():
        scorer._encoder.loaded.module._apply(lambda tensor: tensor.clone())
    assert any(p.is_inference() for p in scorer._encoder.loaded.module.parameters())
    with torch.inference_mode(False), torch.enable_grad():
        pixels = images(1).movedim(-1, 1).clone().requires_grad_()
        scorer.score(pixels, "a red circle").values.sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0


def check_scores_equal_those_of_the_library_without_a_host() -> None:
    path = checkpoint()
    alone = pack("hpskit.scorers").load_scorer(path, device="cpu", dtype="float32")
    expected = alone.score(images(2).movedim(-1, 1), "a red circle").tolist()
    assert scored(load()) == expected


def check_an_interrupt_stops_before_the_next_forward() -> None:
    import comfy.model_management as mm

    checkpoint()
    scorer = load()[0][0]
    mm.interrupt_current_processing(True)
    try:
        scorer.score(images(1).movedim(-1, 1), "x")
    except mm.InterruptProcessingException:
        return
    finally:
        mm.interrupt_current_processing(False)
    raise AssertionError("the interrupt was ignored")


def check_types_follow_the_device() -> None:
    host = pack("nodes.host")
    cpu = torch.device("cpu")
    assert host.pick_dtype("auto", cpu, 10**9) is torch.float32
    assert host.pick_dtype("bf16", cpu, 10**9) is torch.bfloat16


def check_extra_model_paths_are_honoured() -> None:
    import folder_paths

    host = pack("nodes.host")
    folder = base / "elsewhere"
    folder.mkdir(exist_ok=True)
    checkpoint("other.pt").replace(folder / "other.pt")
    before = folder_paths.folder_names_and_paths.pop("reward_models")
    try:
        folder_paths.add_model_folder_path("reward_models", str(folder))
        host.register_folder()
        host.register_folder()
        assert [path.name for path in host.reward_folders()] == ["elsewhere", "reward_models"]
        assert "other.pt" in host.reward_files()
        run = load("other.pt")
        assert run.ok, run.error
    finally:
        folder_paths.folder_names_and_paths["reward_models"] = before


def check_download_without_network_names_folder_and_file() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        run = load("hps-v2.1", download=True)
    finally:
        del os.environ["HF_HUB_OFFLINE"]
    message = error_of(run, "Offline")
    assert "HPS_v2.1_compressed.pt" in message and str(base / "models" / "reward_models") in message, message


def check_download_shows_progress_and_an_interrupt_stops_it() -> None:
    import comfy.model_management as mm

    host, seen = pack("nodes.host"), []
    original = host.weights.download

    def slow(card: Any, folder: Path, *, progress: Any, cancelled: Any) -> Any:
        progress(1 << 20, 4 << 20)
        seen.append((card.id, folder.name, cancelled()))
        mm.interrupt_current_processing(True)
        assert cancelled()
        raise pack("hpskit.errors").Cancelled("stopped")

    host.weights.download = slow
    try:
        run = load("hps-v2.1", download=True)
    finally:
        host.weights.download = original
    assert run.interrupted and seen == [("hps-v2.1", "reward_models", False)], (run, seen)
    assert any(event == "progress" and data["max"] == 4 for event, data in run.events)


def check_combined_scorers_keep_their_parts_and_rule() -> None:
    checkpoint()
    checkpoint("second.pt", seed=1)
    run = combine(floors="hps-v2.1 = -5\nsecond=1", rule="zsum", weight_2=0.5)
    assert run.ok, run.error
    scorer = run[0][0]
    assert list(scorer.members) == ["hps-v2.1", "second"] and scorer.rule.kind == "zsum"
    assert dict(scorer.rule.weights) == {"hps-v2.1": 1.0, "second": 0.5}
    assert dict(scorer.rule.floors) == {"hps-v2.1": -5.0, "second": 1.0}


def check_unreadable_floors_are_explained() -> None:
    checkpoint()
    checkpoint("second.pt", seed=1)
    assert "hps-v2.1 = 25" in error_of(combine(floors="at least five"), "SelectionError")


def check_one_scorer_twice_is_refused() -> None:
    checkpoint()
    assert "twice" in error_of(combine(second="hps-v2.1"), "HpsError")


def combine(second: str = "second.pt", **options: Any) -> Run:
    graph = Graph()
    weights = {f"weight_{i}": 1.0 for i in (1, 2, 3, 4)}
    inputs = {"rule": "gate", "quantile": 0.5, "floors": "", **weights, **options}
    node = graph.node("HPS_CombineScorers", scorer_1=loader(graph)[0], scorer_2=loader(graph, second)[0], **inputs)
    return graph.run(node[0])
