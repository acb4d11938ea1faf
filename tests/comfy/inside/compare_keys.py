"""When HPS_CompareSettings takes images of earlier runs, and when not; how often it loads and encodes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from comfy_inside import base, pack, sibling

helpers = sibling("compare_tiny")
MODEL = "compare_model.safetensors"


def sampled(scorer: Any = None, model: str = MODEL, latent: Any = None, **changed: Any) -> int:
    """Return how many images a run samples."""
    graph, node, _ = helpers.graph_of(scorer or helpers.Keep(), model, latent, **changed)
    done = helpers.run(graph, node)
    study = helpers.result_of(done).study
    assert len(study.cells) == study.size, study.notes
    return int(dict(study.facts)["images"].split()[0])


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Count what our code loads and encodes."""
    module = pack("nodes.compare_models")
    seen = {"loaded": 0, "encoded": 0, "patched": 0}
    kept = module.Models._load, module.Models._encoded, module.with_lora

    def counting(name: str, original: Any) -> Any:
        def call(*args: Any) -> Any:
            seen[name] += 1
            return original(*args)

        return call

    module.Models._load = counting("loaded", kept[0])
    module.Models._encoded = counting("encoded", kept[1])
    module.with_lora = counting("patched", kept[2])
    try:
        yield seen
    finally:
        module.Models._load, module.Models._encoded, module.with_lora = kept


def check_what_makes_another_image_is_sampled_anew() -> None:
    with helpers.small_text_encoder():
        helpers.forget()
        helpers.checkpoint(MODEL)
        assert sampled() == 4
        assert sampled(cell_size=80) == 0, "nothing of the image changed"
        assert sampled(clean_prompt=False, cell_size=88) == 0, "the text that is scored is the same"
        assert sampled(match_saved_file=True) == 4 and sampled(denoise=0.8) == 4
        assert sampled(negative_text="dark") == 4 and sampled(exact=False) == 4
        assert sampled(helpers.Keep(version="2")) == 4
        larger = {"samples": torch.zeros(1, 16, 8, 12)}
        graph, node, _ = helpers.graph_of(helpers.Keep(), MODEL)
        graph.nodes[node.id]["inputs"]["latent_image"] = graph.give(larger)
        assert dict(helpers.result_of(helpers.run(graph, node)).study.facts)["images"].startswith("4 sampled")
        graph, node, _ = helpers.graph_of(helpers.Keep(), MODEL)
        other = graph.node("CheckpointLoaderSimple", ckpt_name=helpers.checkpoint("compare_a.safetensors", 11))
        graph.nodes[node.id]["inputs"]["vae"] = other[2]
        assert dict(helpers.result_of(helpers.run(graph, node)).study.facts)["images"].startswith("4 sampled")


def check_another_file_of_the_same_name_is_another_model() -> None:
    with helpers.small_text_encoder():
        helpers.forget()
        named = {"checkpoints": helpers.checkpoint("compare_a.safetensors", 11), "loras": "one: 1"}
        helpers.lora("one.safetensors")
        assert sampled(**named) == 4 and sampled(**named, cell_size=80) == 0
        helpers.lora("one.safetensors", 9)
        os.utime(base / "models/loras/one.safetensors", (1, 1))
        assert sampled(**named, cell_size=88) == 4
        helpers.checkpoint("compare_a.safetensors", 12)
        os.utime(base / "models/checkpoints/compare_a.safetensors", (1, 1))
        assert sampled(**named, cell_size=96) == 4


def check_nothing_is_loaded_that_is_known() -> None:
    with helpers.small_text_encoder():
        helpers.forget()
        names = [helpers.checkpoint("compare_a.safetensors", 11), helpers.checkpoint("compare_b.safetensors", 12)]
        helpers.checkpoint(MODEL)
        named = {"checkpoints": "\n".join(names), "loras": f"{helpers.lora('one.safetensors')}: 0, 1", "steps": "1-3"}
        with counted() as seen:
            assert sampled(**named) == 2 * 2 * 3 * 2 * 2
        # Two prompts and the negative one, by the CLIP of each checkpoint with and without the LoRA.
        assert seen == {"loaded": 2, "encoded": 2 * 2 * 3, "patched": 2}
        with counted() as seen:
            assert sampled(**named, cell_size=80) == 0
        assert seen == {"loaded": 0, "encoded": 0, "patched": 0}


def check_what_fits_nothing_or_cannot_be_read_is_told() -> None:
    with helpers.small_text_encoder():
        helpers.forget()
        helpers.checkpoint(MODEL)
        graph, node, _ = helpers.graph_of(
            helpers.Keep(), MODEL, loras=f"{helpers.lora('none.safetensors', fits=False)}: 0, 1"
        )
        study = helpers.result_of(helpers.run(graph, node)).study
        assert any("none.safetensors fits nothing" in note for note in study.notes)
        assert any("bit for bit" in note and "none 0; none 1" in note for note in study.notes)
        good = helpers.checkpoint("compare_a.safetensors", 11)
        (base / "models/checkpoints/broken.safetensors").write_bytes(b"no checkpoint at all")
        graph, node, _ = helpers.graph_of(helpers.Keep(), MODEL, checkpoints=f"broken.safetensors\n{good}")
        study = helpers.result_of(helpers.run(graph, node)).study
        assert {cell.setting for cell in study.cells} == {1} and len(study.cells) == 4
        assert any("cannot be loaded" in note for note in study.notes)


def check_nodes_that_never_give_the_same_are_not_remembered() -> None:
    class Restless:
        RETURN_TYPES = ("MODEL",)
        FUNCTION = "give"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"model": ("MODEL",)}}

        @classmethod
        def IS_CHANGED(cls, **_: Any) -> float:
            return float("nan")

        def give(self, model: Any) -> tuple[Any]:
            return (model,)

    import nodes

    nodes.NODE_CLASS_MAPPINGS["TEST_Restless"] = Restless
    with helpers.small_text_encoder():
        helpers.forget()
        helpers.checkpoint(MODEL)
        for _ in range(2):
            graph, node, loader = helpers.graph_of(helpers.Keep(), MODEL)
            graph.nodes[node.id]["inputs"]["model"] = graph.node("TEST_Restless", model=loader[0])[0]
            study = helpers.result_of(helpers.run(graph, node)).study
            assert dict(study.facts)["images"].startswith("4 sampled")
            assert any("TEST_Restless" in note for note in study.notes)
