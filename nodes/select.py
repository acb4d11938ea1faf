"""Node that keeps the best images of a scored batch, with everything that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..hpskit.rules import KINDS
from ..hpskit.select import Ranking, Selection, indices_string, rank_pool, select
from ..hpskit.types import Scores
from . import batches, host, shown
from .notices import shown_at_end
from .picking import picked
from .score import columns, spreads
from .types import HPS_SCORES, ScoreTable

THRESHOLDS = ["off", "score", "z", "top percent"]
EMPTY = {"best": "best", "all": "all", "block": "none", "error": "error"}


class Select(io.ComfyNode):
    """Keeps the best of a scored batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_Select",
            display_name="HPS Select",
            category="HPS",
            description="Keeps the best of a scored batch: images with their latents, masks and seeds, best first.",
            search_aliases=["filter images", "keep best", "top k", "pick best", "cull"],
            is_input_list=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            inputs=[HPS_SCORES.Input("score_table", tooltip="From HPS Score."), *_batches(), *_rules(), _pick()],
            outputs=[
                io.Image.Output(display_name="images", is_output_list=True, tooltip="The kept images, best first."),
                io.Latent.Output(display_name="latents", is_output_list=True, tooltip="Their latents."),
                io.Mask.Output(display_name="masks", is_output_list=True, tooltip="Their masks."),
                io.Int.Output(display_name="seeds", is_output_list=True, tooltip="Their seeds."),
                io.Int.Output(display_name="best_seed", tooltip="Seed of the best image."),
                io.String.Output(display_name="indices", tooltip='Their positions, such as "2,0,3" (for a pick list).'),
                HPS_SCORES.Output(display_name="kept_table", tooltip="Scores of the kept images, for HPS Save Scored."),
                io.Image.Output(display_name="rejected", is_output_list=True, tooltip="The other images, best first."),
                io.String.Output(display_name="rejected_indices", tooltip="Positions of the other images."),
                io.String.Output(display_name="report", tooltip="What was kept and why."),
            ],
        )

    @classmethod
    def execute(cls, score_table: list[ScoreTable], **lists: list[Any]) -> io.NodeOutput:
        """Select and split."""
        options = {name: lists[name][0] for name in ("rule", "top_k", "threshold", "value", "when_empty")}
        table = ordered(score_table[0], options.pop("rule"))
        chosen, by_hand = decided(table, (lists.get("pick") or [""])[0], options)
        parts = {name: lists.get(name) or [] for name in ("images", "latents", "masks", "seeds")}
        text = report(table, chosen)
        data = shown.pool(table, chosen.kept, picked=by_hand)
        shown_at_end(cls.hidden.unique_id, cls.hidden.prompt, data)
        return io.NodeOutput(*split(table, chosen, **parts), text, ui={"hps": [data], "text": [text]})


def _batches() -> list[Any]:
    return [
        io.Image.Input("images", optional=True, tooltip="The images that were scored."),
        io.Latent.Input(
            "latents", optional=True, tooltip="Their latents; batch_index and noise mask are carried over."
        ),
        io.Mask.Input("masks", optional=True, tooltip="Their masks, or one for all."),
        io.MultiType.Input(
            "seeds", [io.Int, io.String], optional=True, tooltip='Their seeds: a list, or a text such as "5, 6, 7".'
        ),
    ]


def _rules() -> list[Any]:
    return [
        io.Combo.Input("rule", options=["auto", *KINDS], default="auto", tooltip="Order. auto: that of the table."),
        io.Int.Input("top_k", default=1, min=0, max=4096, tooltip="How many to keep at most; 0 for no limit."),
        io.Combo.Input(
            "threshold",
            options=THRESHOLDS,
            default="off",
            tooltip="score: at least this score. z: at least this many standard deviations above the batch's mean. "
            "top percent: the best share of the batch.",
        ),
        io.Float.Input("value", default=0.0, min=-1e6, max=1e6, step=0.01, tooltip="Value of the threshold."),
        io.Combo.Input(
            "when_empty",
            options=list(EMPTY),
            default="best",
            tooltip="When nothing passes: keep the best one, keep all, block what follows, or stop with an error.",
        ),
    ]


def _pick() -> Any:
    return io.String.Input(
        "pick",
        default="",
        optional=True,
        tooltip='Your own choice instead of the rule: click images in the gallery, or write positions such as "2,0".',
    )


def decided(table: ScoreTable, pick: str, options: dict[str, Any]) -> tuple[Selection, bool]:
    """Return what is kept, and whether a person picked it; without a pick that counts the rule decides."""
    chosen, warning = picked(table, pick)
    if chosen is not None:
        return chosen, True
    chosen = choose(table.ranking, **options)
    return (replace(chosen, reason=f"{chosen.reason}\nNote: {warning}") if warning else chosen), False


def ordered(table: ScoreTable, kind: str) -> ScoreTable:
    """Return the table ordered by another kind of rule, with its weights and floors; "auto" keeps the order."""
    if kind == "auto":
        return table
    rule = replace(table.ranking.rule, kind=kind, main=table.ranking.main)
    return replace(table, ranking=rank_pool(columns(table.scores), rule, spreads(table.scores)))


def choose(ranking: Ranking, top_k: int, threshold: str, value: float, when_empty: str) -> Selection:
    """Return what is kept; "score" speaks of the main scorer. Raises SelectionError or NothingSelected."""
    limits = {"score": "min_score", "z": "min_z", "top percent": "top_percent"}
    bound = {limits[threshold]: value} if threshold in limits else {}
    return select(ranking, top_k=top_k or None, empty=EMPTY[when_empty], **bound)


def split(
    table: ScoreTable,
    chosen: Selection,
    images: Sequence[Any],
    latents: Sequence[Any],
    masks: Sequence[Any],
    seeds: Sequence[Any],
) -> list[Any]:
    """Return the outputs up to rejected_indices: blocked with a message if not connected, silently if empty."""
    kept, rest, total = list(chosen.kept), list(chosen.rejected), len(table)
    if images:
        batches.expect("images", batches.count(images), total)
    numbers = batches.parse_seeds(seeds, total) or list(table.seeds)
    kept_seeds = [numbers[index] for index in kept] if numbers else []
    return [
        _or_blocked(batches.pick(images, kept) if images else None, kept, "images"),
        _or_blocked(batches.pick_latents(latents, kept, total) if latents else None, kept, "latents"),
        _or_blocked(batches.pick_masks(masks, kept, total) if masks else None, kept, "masks"),
        _or_blocked(kept_seeds if numbers else None, kept, "seeds"),
        kept_seeds[0] if kept_seeds else _missing(kept, "seeds"),
        indices_string(kept) if kept else host.blocked(),
        subset(table, kept) if kept else host.blocked(),
        _or_blocked(batches.pick(images, rest) if images else None, rest, "images"),
        indices_string(rest),
    ]


def _or_blocked(values: list[Any] | None, indices: Sequence[int], name: str) -> list[Any]:
    return values if values else [_missing(indices, name) if values is None else host.blocked()]


def _missing(indices: Sequence[int], name: str) -> Any:
    return host.blocked(f"Connect the {name} to HPS Select to use this output." if indices else None)


def subset(table: ScoreTable, kept: Sequence[int]) -> ScoreTable:
    """Return the table of the kept images, in their order; z values stay those of the whole batch."""
    seeds = tuple(table.seeds[index] for index in kept) if table.seeds else ()
    pictures = tuple(table.pictures[index] for index in kept) if table.pictures else ()
    return ScoreTable(pick_scores(table.scores, kept), pick_ranking(table.ranking, kept), seeds, pictures)


def pick_ranking(ranking: Ranking, kept: Sequence[int]) -> Ranking:
    """Return the ranking of the chosen images, which are given best first."""
    columns_ = {
        name: tuple(getattr(ranking, name)[i] for i in kept) for name in ("key", "z", "fronts", "passed", "scores")
    }
    places = range(len(kept))
    return replace(ranking, order=tuple(places), rank=tuple(place + 1 for place in places), **columns_)


def pick_scores(scores: Scores, kept: Sequence[int]) -> Scores:
    """Return the scores of the chosen images; prompts and reports follow when there is one an image."""
    n = len(scores)
    prompts = tuple(scores.prompts[i] for i in kept) if len(scores.prompts) == n else scores.prompts
    texts = tuple(scores.texts[i] for i in kept) if len(scores.texts) == n else scores.texts
    parts = {name: pick_scores(part, kept) for name, part in scores.parts.items()}
    return replace(scores, values=scores.values[list(kept)], prompts=prompts, texts=texts, parts=parts)


def report(table: ScoreTable, chosen: Selection) -> str:
    """Return what was kept and why, in words."""
    values = table.scores.tolist()
    kept = ", ".join(f"{index} ({values[index]:.3f})" for index in chosen.kept) or "nothing"
    lines = [chosen.reason, f"Best first: {kept}", *table.ranking.warnings]
    return "\n".join(line for line in lines if line)


NODES = (Select,)
