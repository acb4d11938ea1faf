"""Node that scores images and passes them on with their scores, ranks and a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io

from ..hpskit import prompts as texts
from ..hpskit.errors import ImageError
from ..hpskit.images import quantize
from ..hpskit.rules import Rule
from ..hpskit.scorers import EnsembleScorer
from ..hpskit.select import rank_pool
from ..hpskit.types import Scorer, Scores
from . import batches, host, shown, tables
from .notices import shown_at_end
from .recording import BATCH_INDEX, Judged, Origin, Recorder
from .types import HPS_SCORER, HPS_SCORES, ScoreTable


class Score(io.ComfyNode):
    """Scores a batch of images against its prompt."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_Score",
            display_name="HPS Score",
            category="HPS",
            description="Scores images against their prompt and ranks them. Scores compare only within one prompt.",
            search_aliases=["hpsv2", "rate images", "rank images", "reward"],
            is_input_list=True,
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                HPS_SCORER.Input("scorer", tooltip="From HPS Load Scorer or HPS Combine Scorers."),
                io.String.Input(
                    "prompt", multiline=True, tooltip="One prompt for all images, or a list with one each."
                ),
                io.Image.Input("images", optional=True, tooltip="Images to score: a batch, or a list of any sizes."),
                io.Latent.Input("latent", optional=True, tooltip="Scored instead of images; needs the VAE."),
                io.Vae.Input("vae", optional=True, tooltip="Decodes the latent."),
                io.Boolean.Input(
                    "clean_prompt",
                    default=True,
                    tooltip="Remove weights, LoRA tags and separators, which the scorer would read as words.",
                ),
                io.Boolean.Input(
                    "match_saved_file",
                    default=True,
                    tooltip="Round to 8 bit first, so that the score equals that of the file that SaveImage writes.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", is_output_list=True, tooltip="The images, unchanged."),
                io.Float.Output(display_name="scores", is_output_list=True, tooltip="One score an image, in order."),
                HPS_SCORES.Output(display_name="score_table", tooltip="Scores with scorer, prompts and ranks."),
                io.Int.Output(display_name="ranks", is_output_list=True, tooltip="Rank of every image, 1 is best."),
                io.String.Output(display_name="table", tooltip="Readable table with warnings."),
            ],
        )

    @classmethod
    def execute(cls, scorer: list[Scorer], prompt: list[str], **lists: list[Any]) -> io.NodeOutput:
        """Score, rank and describe."""
        options = {name: lists[name][0] for name in ("clean_prompt", "match_saved_file")}
        images = images_of(lists.get("images") or [], lists.get("latent") or [], (lists.get("vae") or [None])[0])
        recorder = Recorder(Origin.of(cls.hidden))
        table = pictured(score_table(scorer[0], images, prompt, **options), images, recorder)
        text = tables.describe(table)
        data = shown.pool(table, (), recorder.run)  # all images go on: none is kept before the others
        ui = {"hps": [shown_at_end(cls.hidden.unique_id, cls.hidden.prompt, data)], "text": [text]}
        ranks = list(table.ranking.rank)
        return io.NodeOutput(images, table.scores.tolist(), table, ranks, text, ui=ui)


def images_of(images: Sequence[torch.Tensor], latents: Sequence[dict[str, Any]], vae: Any) -> list[torch.Tensor]:
    """Return the image batches as given, or decoded from the latents; raises ImageError when there are none."""
    if images:
        return list(images)
    if not latents:
        raise ImageError("There is nothing to score. Connect images, or a latent together with its VAE.")
    if vae is None:
        raise ImageError("The latent cannot be scored as it is. Connect the VAE that decodes it.")
    return [host.decode(vae, latent) for latent in latents]


def score_table(
    scorer: Scorer, images: Sequence[torch.Tensor], prompt: Sequence[str], clean_prompt: bool, match_saved_file: bool
) -> ScoreTable:
    """Return scores and order of all images; [n, h, w, 3] batches in, one row an image out."""
    pixels = batches.canonical(images)
    if match_saved_file:
        pixels = quantize(pixels) if isinstance(pixels, torch.Tensor) else [quantize(image) for image in pixels]
    wanted = [texts.clean(text) for text in prompt] if clean_prompt else list(prompt)
    scores = detached(scorer.score(pixels, wanted[0] if len(wanted) == 1 else wanted))
    return ScoreTable(scores, rank_pool(columns(scores), rule_of(scorer), spreads(scores)))


def pictured(table: ScoreTable, images: Sequence[torch.Tensor], recorder: Recorder) -> ScoreTable:
    """Return the table with a picture of every image; the images are recorded with their scores."""
    flat = list(batches.canonical(images))
    info = shown.main_info(table.scores, table.ranking.main)
    return replace(table, pictures=tuple(recorder.add(flat, judged_rows(table), info)))


def judged_rows(table: ScoreTable) -> list[Judged]:
    """Return what the ledger takes of every image of a table: the main scorer's score, and those of all members."""
    prompts = table.scores.prompts
    parts = {name: part.tolist() for name, part in table.scores.parts.items()}
    return [
        Judged(
            table.ranking.scores[k],
            prompts[k] if len(prompts) == len(table) else (prompts or ("",))[0],
            {name: column[k] for name, column in parts.items()},
            table.seeds[k] if table.seeds else None,
            {BATCH_INDEX: k} if len(table) > 1 and not table.seeds else {},
        )
        for k in range(len(table))
    ]


def rule_of(scorer: Scorer) -> Rule | None:
    """Return the rule by which a combined scorer orders a pool; None, the default rule, for a single one."""
    if not isinstance(scorer, EnsembleScorer):
        return None
    if isinstance(scorer.rule, Rule):
        return scorer.rule
    return Rule(scorer.rule, main=next(iter(scorer.members)), weights=scorer.weights)


def columns(scores: Scores) -> dict[str, list[float]]:
    """Return the score columns by scorer id: the members of an ensemble, or the one scorer."""
    parts = scores.parts or {scores.info.id: scores}
    return {name: part.tolist() for name, part in parts.items()}


def spreads(scores: Scores) -> dict[str, float | None]:
    """Return the typical spread within a prompt by scorer id."""
    parts = scores.parts or {scores.info.id: scores}
    return {name: part.info.within_prompt_sd for name, part in parts.items()}


def detached(scores: Scores) -> Scores:
    """Return the scores as plain CPU tensors, parts included."""
    parts = {name: detached(part) for name, part in scores.parts.items()}
    return replace(scores, values=scores.values.detach().float().cpu(), parts=parts)


NODES = (Score,)
