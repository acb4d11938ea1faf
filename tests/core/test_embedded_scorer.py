"""The shipped miniature scorer: its file in stock open_clip, its accuracy, and that selecting by it helps."""

from __future__ import annotations

import json
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from core._training import add_training_path
from safetensors import safe_open

from hpskit.embedded import load_generator
from hpskit.paths import models_dir
from hpskit.scorers import load_scorer

pytest.importorskip("scipy")
add_training_path()

import evaluate  # noqa: E402
import make_pairs  # noqa: E402
import oracle  # noqa: E402
import towers  # noqa: E402
import train_scorer  # noqa: E402
import world  # noqa: E402

FILE = models_dir() / "tiny" / "hps-tiny-shapes.safetensors"
MEASURED_FLOORS = {
    "color": 0.95,
    "bg": 0.95,
    "missing": 0.95,
    "size": 0.92,
    "style": 0.93,
    "count": 0.9,
    "relation": 0.93,
    "pos": 0.93,
    "bind": 0.9,
    "shape": 0.93,
}
"""Well below the accuracies on the model card, well above the 0.5 of guessing."""


@lru_cache(maxsize=1)
def _network() -> tuple[Any, evaluate.Score]:
    return evaluate.load_scorer()


@lru_cache(maxsize=1)
def _mismatches() -> dict[str, tuple[float, int]]:
    return train_scorer.pair_accuracy(_network()[0], make_pairs.make_pairs(360, 950001, "mismatch"))


def test_the_shipped_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FILE.parent.glob("*.safetensors")) <= 10 * 2**20


def test_the_file_names_its_own_layout() -> None:
    with safe_open(str(FILE), "pt") as file:
        metadata, keys = file.metadata(), set(file.keys())
    assert metadata["name"] == "hps-tiny-shapes"
    assert set(json.loads(metadata["config"])) == {"embed_dim", "vision_cfg", "text_cfg"}
    assert "token_embedding.rows" in keys and not any(key.endswith("attn_mask") for key in keys)


def test_stock_open_clip_reads_it_and_agrees(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    with safe_open(str(FILE), "pt") as file:
        (tmp_path / "hps-tiny-shapes.json").write_text(file.metadata()["config"], encoding="utf-8")
    open_clip.add_model_config(tmp_path)
    stock = open_clip.create_model("hps-tiny-shapes", pretrained=None).eval()
    expanded, _ = towers.load(FILE, expand=True)
    outcome = stock.load_state_dict(expanded.state_dict(), strict=True)
    assert not outcome.missing_keys and not outcome.unexpected_keys

    prompts = ["a red star on a blue background", "two white rings on a black background, neon"]
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        seen = stock.encode_image((images - towers.MEAN) / towers.STD, normalize=True)
        read = stock.encode_text(open_clip.get_tokenizer("hps-tiny-shapes")(prompts), normalize=True)
        ours = _network()[1](images, prompts)
    assert torch.allclose(100 * (seen * read).sum(1), ours, atol=1e-2)


def test_the_library_scores_like_the_training_code() -> None:
    scorer = load_scorer("hps-tiny-shapes", device="cpu", dtype="float32")
    generator = load_generator()
    prompt = "a yellow star to the left of a white circle on a blue background"
    for size in (64, 256):
        images = generator.generate(prompt, range(6), size=size)
        with torch.no_grad():
            ours, reference = scorer.score(images, prompt).values, _network()[1](images, [prompt] * 6)
        assert torch.allclose(ours, reference, atol=0.6)
        assert int(ours.argmax()) == int(reference.argmax())


@pytest.mark.parametrize("kind", MEASURED_FLOORS)
def test_pictures_beat_their_edited_twins(kind: str) -> None:
    accuracy, pairs = _mismatches()[kind]
    assert pairs >= 5
    assert accuracy >= MEASURED_FLOORS[kind]


def test_clean_pictures_beat_degraded_ones() -> None:
    accuracy = train_scorer.pair_accuracy(_network()[0], make_pairs.make_pairs(150, 950002, "degradation"))
    total = sum(pairs for _, pairs in accuracy.values())
    assert sum(value * pairs for value, pairs in accuracy.values()) / total >= 0.88
    assert accuracy["fog"][0] >= 0.9


def test_large_pictures_score_like_small_ones() -> None:
    outcome = evaluate.large_picture_table(_network()[1], 40)
    assert outcome["accuracy_256"] >= outcome["accuracy_64"] - 0.08


def test_another_prompt_scores_lower() -> None:
    rng, generator, (_, score) = random.Random(960001), load_generator(), _network()
    specs = [oracle.easy_spec(rng) for _ in range(30)]
    outcome = evaluate._shuffled(score, specs, generator)
    assert outcome["own_higher"] >= 0.95
    assert outcome["own_prompt"] > outcome["other_prompt"]


def test_best_of_eight_helps_by_the_oracle() -> None:
    # Without guidance plain sampling errs often enough for a test of a few hundred pictures.
    outcome = evaluate.best_of_n(_network()[1], prompts=20, seeds=16, cfg=1.0)["pools"]
    one, eight = outcome["1"], outcome["8"]
    assert eight["score"] > one["score"] + 1
    assert eight["fidelity"] >= one["fidelity"] + 0.05
    assert eight["alignment"] >= one["alignment"] + 0.03
    assert eight["all_right"] >= one["all_right"] + 0.1


def test_expected_maximum_of_normal_values() -> None:
    assert evaluate.expected_maximum(1) == pytest.approx(0, abs=1e-6)
    assert evaluate.expected_maximum(2) == pytest.approx(torch.pi**-0.5, abs=1e-4)
    assert evaluate.expected_maximum(8) == pytest.approx(1.4236, abs=1e-3)


def test_pairs_are_the_same_every_time() -> None:
    first, second = (make_pairs.make_pairs(4, 7, "mismatch") for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_mirroring_a_batch_mirrors_its_words_and_places() -> None:
    pairs = make_pairs.make_pairs(64, 8, "mismatch")
    batch = {key[:-2]: value for key, value in pairs.items() if key.endswith("_a")}
    batch["image"] = batch["image"].float()
    swap = train_scorer.swap_table(make_pairs.vocabulary())
    once = train_scorer.mirror(batch, swap)
    twice = train_scorer.mirror(once, swap)
    assert all(torch.equal(twice[key], batch[key]) for key in batch)
    left = batch["vector"][:, 5] == world.RELATIONS.index("left")
    assert left.any() and (once["vector"][left, 5] == world.RELATIONS.index("right")).all()
    assert not torch.equal(once["tokens"][left], batch["tokens"][left])
