"""Train the miniature scorer on shards of pairs, on one CPU thread; can be stopped and resumed at any time.

    python training/train_scorer.py data/tiny runs/scorer --minutes 60

The loss is HPS v2's (softmax over the two scaled cosines, Kullback-Leibler to a soft label from the difference in
quality) plus CLIP's contrastive loss with hard text negatives, plus helpers that are dropped on export: shape and
colour of every patch, degradation of the picture, and the feature vector of teacher.py. The schedule runs on wall time.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import teacher
import torch
import torch.nn.functional as F
import towers
from degrade import DEGRADATION_NAMES
from losses import Helpers, losses
from make_pairs import make_pairs, vocabulary
from safetensors.torch import load_file
from torch import Tensor, nn
from world import EDITS

log = logging.getLogger("hps.training")
NAMES = ("hps-tiny-shapes", "hps-tiny-judge")
"""The scorer, and the smaller one from other pairs and another start that is held out of every optimisation."""
PAIRS = 64
"""Pairs in a step; twice as many pictures."""


@dataclass
class Run:
    """Everything that a checkpoint holds."""

    model: Any
    helpers: Helpers
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    step: int = 0
    elapsed: float = 0.0
    log_losses: list[list[float]] = field(default_factory=list)


def start_run(rows: Tensor, seed: int = 0) -> Run:
    """Build networks and optimiser from a fixed seed."""
    torch.manual_seed(seed)
    model, helpers = towers.build(len(rows)), Helpers()
    model.logit_scale.data.fill_(math.log(14.0))
    model.visual.positional_embedding.data[1:] = grid_waves(8, towers.VISION["width"])
    parameters = [*model.parameters(), *helpers.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.03},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), fused=True)
    average = {k: v.detach().clone() for k, v in model.state_dict().items() if v.is_floating_point()}
    return Run(model, helpers, optimizer, average)


def grid_waves(side: int, width: int) -> Tensor:
    """Return smooth positional embeddings [side * side, width], as strong as the patch embeddings.

    Random ones of the usual size are an order of magnitude weaker than the patches' content, and the tower then sees
    what is in a picture long before it sees where.
    """
    frequencies = torch.pi / side * torch.tensor([0.5, 1.0, 1.5, 2.0, 3.0, 4.0])
    angles = (torch.arange(side) + 0.5)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], 1)
    rows = torch.cat([waves[:, None].expand(side, side, -1), waves[None].expand(side, side, -1)], 2).flatten(0, 1)
    embedding = (rows - rows.mean(0)) @ torch.randn(rows.shape[1], width)
    return 0.6 * embedding / embedding.std()


def save_run(run: Run, folder: Path) -> None:
    """Write the checkpoint, whole or not at all."""
    state = {
        "model": run.model.state_dict(),
        "helpers": run.helpers.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "average": run.average,
        "step": run.step,
        "elapsed": run.elapsed,
    }
    torch.save(state, folder / "run.part")
    (folder / "run.part").rename(folder / "run.pt")


def resume_run(run: Run, folder: Path) -> None:
    """Continue from the folder's checkpoint."""
    state = torch.load(folder / "run.pt", weights_only=True)
    run.model.load_state_dict(state["model"])
    run.helpers.load_state_dict(state["helpers"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.average, run.step, run.elapsed = state["average"], state["step"], state["elapsed"]


# ---------------------------------------------------------------- batches


def sample_batch(shards: list[dict[str, Tensor]], swap: dict[str, tuple[int, int]]) -> dict[str, Tensor]:
    """Draw PAIRS pairs from one shard, mirrored left to right half of the time; sides a and b are stacked.

    Degradations and counts, which are learned last, are drawn more often than they lie in the shards.
    """
    shard = shards[int(torch.randint(len(shards), ()))]
    weight = torch.where(shard["edit"] < 0, 2.0, torch.where(shard["edit"] == EDITS.index("count"), 2.0, 1.0))
    rows = torch.multinomial(weight, PAIRS)
    names = [name[:-2] for name in shard if name.endswith("_a")]
    batch = {name: torch.cat([shard[f"{name}_a"][rows], shard[f"{name}_b"][rows]]) for name in names}
    batch |= {"edit": shard["edit"][rows], "cost": shard["cost"][rows]}
    batch["image"] = batch["image"].float() / 255
    return mirror(batch, swap) if torch.rand(()) < 0.5 else batch


def mirror(batch: dict[str, Tensor], swap: dict[str, tuple[int, int]]) -> dict[str, Tensor]:
    """Mirror pictures, layouts, spec vectors and the words left and right."""
    result = dict(batch)
    result["image"] = batch["image"].flip(-1)
    result["layout"] = batch["layout"] * torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0])
    for name in ("vector", "negative_vectors"):
        vectors = batch[name].clone()
        for column in (5, 6):  # relation and position: 0 is left, 1 is right in both
            value = vectors[..., column]
            vectors[..., column] = torch.where(value == 0, 1, torch.where(value == 1, 0, value)).to(torch.int8)
        result[name] = vectors
    left, right = swap["left"]
    for name in ("tokens", "negative_tokens"):
        tokens = batch[name]
        result[name] = torch.where(tokens == left, right, torch.where(tokens == right, left, tokens)).to(torch.uint8)
    return result


def swap_table(rows: Tensor) -> dict[str, tuple[int, int]]:
    """Return the compact ids of the words left and right."""
    from make_pairs import tokenize

    tokens = tokenize(["left", "right"])
    return {"left": (int(tokens[0, 1]), int(tokens[1, 1]))}


# ---------------------------------------------------------------- evaluation and loop


@torch.no_grad()
def pair_accuracy(model: Any, pairs: dict[str, Tensor], basis: Tensor | None = None) -> dict[str, tuple[float, int]]:
    """Return accuracy and number of pairs by kind; with `basis` against the teacher's text vectors."""
    sides = []
    for side in "ab":
        images = torch.cat([towers.encode_images(model, x.float() / 255)[1] for x in pairs[f"image_{side}"].split(128)])
        if basis is None:
            texts = torch.cat([towers.encode_texts(model, t) for t in pairs[f"tokens_{side}"].split(256)])
        else:
            texts = teacher.text_features(pairs[f"vector_{side}"]) @ basis
        sides.append((F.normalize(images, dim=-1), F.normalize(texts, dim=-1)))
    (a, text_a), (b, text_b) = sides
    forward = ((text_a * a).sum(1) > (text_a * b).sum(1)).float()
    backward = ((text_b * b).sum(1) > (text_b * a).sum(1)).float()
    edit, kind, result = pairs["edit"], pairs["kind_b"], {}
    for index, name in enumerate(EDITS):
        rows = edit == index
        if rows.any():
            result[name] = (torch.cat([forward[rows], backward[rows]]).mean().item(), int(rows.sum()))
    for index, name in enumerate(DEGRADATION_NAMES):
        rows = (edit < 0) & (kind == index)
        if rows.any():
            result[name] = (forward[rows].mean().item(), int(rows.sum()))
    return result


def report(run: Run, validation: list[dict[str, Tensor]], basis: Tensor, rows: Tensor) -> None:
    """Log the accuracy of the averaged weights by kind, against the text tower and against the teacher."""
    model = towers.build(len(rows))
    model.load_state_dict(run.average, strict=False)
    model.eval()
    for name, teacher_basis in (("text", None), ("teacher", basis)):
        both: dict[str, tuple[float, int]] = {}
        for pairs in validation:
            both |= pair_accuracy(model, pairs, teacher_basis)
        log.info("%s: %s", name, "  ".join(f"{kind} {value:.3f}" for kind, (value, _) in both.items()))


def train(data: Path, folder: Path, name: str, minutes: float, resume: bool) -> None:
    """Train until `minutes` of wall time are used up, pauses between launches not counted."""
    if name == "hps-tiny-judge":
        towers.VISION.update(towers.JUDGE)
    rows = vocabulary()
    run, basis, swap = start_run(rows, seed=NAMES.index(name)), teacher.directions(towers.EMBED_DIM), swap_table(rows)
    if resume and (folder / "run.pt").exists():
        resume_run(run, folder)
        torch.manual_seed(run.step)
    validation = [make_pairs(700, 900001, "mismatch"), make_pairs(500, 900002, "degradation")]
    parameters = [*run.model.parameters(), *run.helpers.parameters()]
    shards: dict[Path, dict[str, Tensor]] = {}
    saved = evaluated = time.monotonic()
    last = time.monotonic()
    while (progress := run.elapsed / (60 * minutes)) < 1:
        if not shards or run.step % 20 == 0:
            for path in sorted(data.glob("shard-*.safetensors")):
                if path not in shards:
                    shards[path] = load_file(path)
        _set_rate(run, progress)
        terms = losses(run.model, run.helpers, sample_batch(list(shards.values()), swap), basis, progress)
        run.optimizer.zero_grad()
        sum(terms.values()).backward()  # type: ignore[union-attr]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        run.optimizer.step()
        run.model.logit_scale.data.clamp_(0, math.log(100))
        run.step += 1
        _update_average(run)
        now = time.monotonic()
        run.elapsed, last = run.elapsed + now - last, now
        if run.step in (1, 5, 20) or run.step % 50 == 0:
            text = " ".join(f"{name} {value.item():.3f}" for name, value in terms.items())
            scale = run.model.logit_scale.exp().item()
            log.info("%d %.3f %s scale %.1f shards %d", run.step, progress, text, scale, len(shards))
        if now - saved > 120:
            save_run(run, folder)
            saved = time.monotonic()
        if now - evaluated > 480:
            report(run, validation, basis, rows)
            write(run, rows, folder / f"{name}.safetensors")
            evaluated = time.monotonic()
    save_run(run, folder)
    report(run, validation, basis, rows)
    write(run, rows, folder / f"{name}.safetensors")


def write(run: Run, rows: Tensor, path: Path) -> None:
    """Export the averaged weights."""
    towers.export(run.average, rows, path, {"steps": str(run.step), "version": "1"})


def _set_rate(run: Run, progress: float) -> None:
    rate = 1.6e-3 * min(1.0, (run.step + 1) / 150) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.005)
    for group in run.optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def _update_average(run: Run) -> None:
    decay = min(0.997, (run.step + 1) / (run.step + 20))
    for name, value in run.model.state_dict().items():
        if name in run.average:
            run.average[name].lerp_(value, 1 - decay)


def main() -> None:
    """Command line of the trainer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", choices=NAMES, default=NAMES[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    train(arguments.data, arguments.folder, arguments.name, arguments.minutes, arguments.resume)


if __name__ == "__main__":
    main()
