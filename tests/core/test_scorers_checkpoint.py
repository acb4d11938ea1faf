"""Opening checkpoints: every layout that people have, and every way in which a file can be wrong."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import pytest
import small_nets
import torch
from safetensors.torch import save_file

from hpskit.errors import (
    CheckpointCorrupt,
    CheckpointMissing,
    CheckpointUnknown,
    CheckpointUnsafe,
)
from hpskit.scorers import load_network
from hpskit.scorers.checkpoint import read_checkpoint


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return small_nets.weights(small_nets.open_clip_net())


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> torch.Tensor:
    scorer = small_nets.scorer(small_nets.save(tmp_path_factory.mktemp("plain") / "plain.pt"))
    return scorer.score(images(), "a red fox").values


def images() -> torch.Tensor:
    return torch.rand(2, 3, 60, 40, generator=torch.Generator().manual_seed(3))


def save_as(layout: str, state: dict[str, torch.Tensor], folder: Path) -> Path:
    path = folder / f"{layout}.pt"
    if layout == "bare":
        torch.save(state, path)
    elif layout == "data parallel":
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    elif layout == "with optimizer":
        moments = {k: {"step": 3, "exp_avg": torch.randn(5)} for k in range(3)}
        optimizer = {"state": moments, "param_groups": [{"lr": 1e-5, "betas": (0.9, 0.98)}]}
        torch.save(
            {"epoch": 3, "name": "run", "state_dict": state, "optimizer": optimizer, "scaler": {"scale": 1.0}}, path
        )
    elif layout == "legacy pickle":
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    elif layout == "with mask":
        torch.save({"state_dict": {**state, "attn_mask": torch.zeros(77, 77)}}, path)
    elif layout == "logit scale of shape 1":
        torch.save({"state_dict": {**state, "logit_scale": state["logit_scale"].reshape(1)}}, path)
    elif layout == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(state, path)
    elif layout == "hugging face":
        path = path.with_suffix(".safetensors")
        save_file(small_nets.hugging_face(state), path)
        path.with_name("config.json").write_text('{"vision_config": {"hidden_act": "gelu"}}')
    return path


LAYOUTS = [
    "bare", "data parallel", "with optimizer", "legacy pickle", "with mask", "logit scale of shape 1", "safetensors",
    "hugging face",
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_scores(layout, state, expected, tmp_path):
    path, other = save_as(layout, state, tmp_path), tmp_path / "other"
    other.mkdir()
    weights, bare = (
        load_network(file, dtype=torch.float32).module.state_dict() for file in (path, save_as("bare", state, other))
    )
    assert weights.keys() == bare.keys() and all(torch.equal(weights[name], bare[name]) for name in bare)
    # The same weights to the bit, the scores to rounding: how memory is aligned decides which kernels run.
    scores = small_nets.scorer(path).score(images(), "a red fox").values
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)


def test_weights_are_not_copied_when_their_type_fits(state, tmp_path):
    path = tmp_path / "half.pt"
    torch.save({"state_dict": {name: value.half() for name, value in state.items()}}, path)
    module = load_network(path, dtype=torch.float16).module
    assert module.visual.transformer.resblocks[0].attn.in_proj_weight.dtype == torch.float16
    assert module.visual.transformer.resblocks[0].ln_1.weight.dtype == torch.float32
    assert module.visual.proj.dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in module.parameters()) and not module.training


# --- files that are wrong --------------------------------------------------------------------------------------------


def test_missing_file():
    with pytest.raises(CheckpointMissing, match="no such file"):
        read_checkpoint("nowhere.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"  \n<html><body>login</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3\n", "Git LFS pointer"),
        (b'{"error": "not found"}', "JSON"),
        (b"\x00\x01garbage" * 20, "no known format"),
        (b"PK\x03\x04 not really a zip" * 10, "truncated or damaged"),
        (b"\x80\x02garbage", "damaged|would run code"),
    ],
)
def test_files_that_are_no_checkpoint(content, message, tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises((CheckpointCorrupt, CheckpointUnsafe), match=message) as caught:
        load_network(path)
    assert "weights.pt" in str(caught.value)


@pytest.mark.parametrize("layout", ["bare", "legacy pickle", "safetensors"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_truncated_files(layout, kept, state, tmp_path):
    path = save_as(layout, state, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointCorrupt, match="truncated or damaged"):
        load_network(path)


class Touch:
    """Touches a file when it is unpickled the careless way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", ["plain pickle", "torch zip", "torch legacy"])
def test_a_pickle_with_code_is_refused_and_does_not_run(form, tmp_path):
    proof, path = tmp_path / "proof", tmp_path / "evil.pt"
    payload = {"state_dict": {"visual.proj": torch.zeros(2, 2)}, "extra": Touch(proof)}
    if form == "plain pickle":
        path.write_bytes(pickle.dumps({"extra": Touch(proof)}))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=form == "torch zip")
    with pytest.raises(CheckpointUnsafe, match="would run code"):
        load_network(path)
    assert not proof.exists()
    torch.load(io.BytesIO(path.read_bytes()), weights_only=False) if form != "plain pickle" else pickle.loads(
        path.read_bytes()
    )
    assert proof.exists(), "the payload must be live, or the test proves nothing"


def test_torchscript_archives_are_explained(tmp_path):
    path = tmp_path / "ViT-L-14.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(CheckpointUnknown, match="TorchScript"):
        load_network(path)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ["model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.decoder.conv_in.weight"],
            "Stable Diffusion",
        ),
        (["lora_unet_down.lora_up.weight", "lora_unet_down.lora_down.weight"], "LoRA"),
        (["transformer.blocks.0.lora_A.weight"], "LoRA"),
        (["text_model.encoder.layers.0.mlp.fc1.weight"], "text encoder without the image tower"),
        (["vision_model.encoder.layers.0.mlp.fc1.weight"], "image tower without the text tower"),
        (["double_blocks.0.img_attn.qkv.weight"], "Flux"),
        (["decoder.conv_in.weight", "encoder.conv_in.weight"], "VAE"),
        (["visual.trunk.blocks.0.weight", "text.token_embedding.weight"], "timm"),
        (["blip.visual_encoder.cls_token"], "ImageReward"),
        (["foo.weight", "bar.weight"], "unknown model of 2 tensors"),
    ],
)
def test_other_models_are_named(names, words, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({name: torch.zeros(2, 2) for name in names}, path)
    with pytest.raises(CheckpointUnknown, match=words):
        load_network(path)


@pytest.mark.parametrize("value", [[1, 2, 3], {"epoch": 3}, {"state_dict": {}}])
def test_files_without_weights(value, tmp_path):
    path = tmp_path / "odd.pt"
    torch.save(value, path)
    with pytest.raises(CheckpointUnknown, match="weights"):
        load_network(path)


def test_a_missing_tensor_is_named(state, tmp_path):
    path = tmp_path / "holes.pt"
    torch.save({name: v for name, v in state.items() if name != "transformer.resblocks.1.ln_2.bias"}, path)
    with pytest.raises(CheckpointCorrupt, match=r"transformer\.resblocks\.1\.ln_2\.bias"):
        load_network(path)


def test_a_wrong_shape_is_named(state, tmp_path):
    path = tmp_path / "shape.pt"
    torch.save({**state, "ln_final.weight": torch.ones(3)}, path)
    with pytest.raises(CheckpointCorrupt, match=r"ln_final\.weight has shape \[3\]"):
        load_network(path)


def test_foreign_tensors_are_named(state, tmp_path):
    path = tmp_path / "more.pt"
    torch.save({**state, "score_head.weight": torch.ones(3)}, path)
    with pytest.raises(CheckpointUnknown, match="score_head"):
        load_network(path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_weights_are_found_when_loading(bad, state, tmp_path):
    path = tmp_path / "nan.pt"
    broken = state["visual.transformer.resblocks.0.mlp.c_fc.weight"].clone()
    broken[0, 0] = bad
    torch.save({**state, "visual.transformer.resblocks.0.mlp.c_fc.weight": broken}, path)
    with pytest.raises(CheckpointCorrupt, match="NaN or infinite"):
        load_network(path)


def test_nan_in_large_weights_is_found_when_scoring(state, tmp_path, monkeypatch):
    from hpskit.scorers import network

    monkeypatch.setattr(network, "_CHECKED_AT_LOAD", 10)
    path = tmp_path / "nan.pt"
    broken = state["visual.transformer.resblocks.0.mlp.c_fc.weight"].clone()
    broken[0, 0] = float("nan")
    torch.save({**state, "visual.transformer.resblocks.0.mlp.c_fc.weight": broken}, path)
    with pytest.raises(CheckpointCorrupt, match="gives NaN"):
        small_nets.scorer(path).score(images(), "a red fox")


def test_a_broken_config_in_the_header_is_reported(state, tmp_path):
    path = tmp_path / "config.safetensors"
    save_file(state, path, metadata={"config": "{not json"})
    with pytest.raises(CheckpointCorrupt, match="not JSON"):
        load_network(path)


def test_unreadable_file(tmp_path):
    with pytest.raises(CheckpointCorrupt, match="cannot be read"):
        read_checkpoint(tmp_path)  # a folder
