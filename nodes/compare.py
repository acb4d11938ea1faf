"""Node that tries settings on the same prompts and noises, scores every image, and says what the scores show."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import folder_paths
from comfy_api.latest import io

from ..hpskit import prompts as texts
from ..hpskit.errors import StudyError
from ..hpskit.study import axes
from ..hpskit.study.design import Known, Texts, design
from ..hpskit.types import Scorer
from . import compare_inputs, compare_results, host, sampling, shown_study
from .compare_cells import Cells
from .compare_keys import Keys
from .compare_models import CHECKPOINTS, LORAS, Models, Source, Wired
from .compare_rows import Rows
from .compare_run import Plan, Runner
from .compare_store import Store
from .compare_watch import CompareWatch
from .notices import shown_at_end
from .recording import Origin, Recorder
from .types import HPS_SCORER, HPS_STUDY

MOST_CELLS = 100_000


class CompareSettings(io.ComfyNode):
    """Compares sampler settings, LoRA strengths, checkpoints and prompt wordings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_CompareSettings",
            display_name="HPS Compare Settings",
            category="HPS",
            description="Tries settings on the same prompts and seeds; tells which are better, and how sure that is.",
            search_aliases=["xy plot", "xyz plot", "compare samplers", "grid", "ablation", "statistics", "hps"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model. Checkpoints that are named below replace it."),
                io.Vae.Input("vae", tooltip="Decodes the images. A named checkpoint's own VAE is used for it."),
                HPS_SCORER.Input("scorer", tooltip="From HPS Load Scorer or HPS Combine Scorers (the first decides)."),
                io.Latent.Input("latent_image", tooltip="Size, or image to start from. Of a batch the first is used."),
                io.Clip.Input("clip", optional=True, tooltip="Encodes the prompts. Not needed with conditionings."),
                io.Conditioning.Input(
                    "positive", optional=True, tooltip="Instead of the encoded prompt; then give exactly one prompt."
                ),
                io.Conditioning.Input("negative", optional=True, tooltip="Instead of the encoded negative text."),
                *compare_inputs.typed(),
            ],
            outputs=[
                HPS_STUDY.Output(display_name="study", tooltip="All scores with what they show, for HPS Report."),
                io.Image.Output(display_name="grid", tooltip="All images with their scores, one picture."),
                io.String.Output(display_name="table", tooltip="The whole result in words and numbers."),
                io.String.Output(display_name="verdict", tooltip="The result in one or two sentences."),
                io.String.Output(display_name="best", tooltip="Label of the setting with the highest mean."),
            ],
        )

    @classmethod
    def execute(
        cls, model: Any, vae: Any, scorer: Scorer, latent_image: Any, clip: Any = None, **options: Any
    ) -> io.NodeOutput:
        """Find, sample, score, analyse."""
        conditionings = [options.pop(name, None) for name in ("positive", "negative")]
        wired = Wired(Source(model, clip, vae), latent_image, *conditionings)
        given = len(latent_image["samples"])
        return compare(plan_of(wired, options), wired, scorer, Origin.of(cls.hidden), options["cell_size"], given)

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        """Return another number after a run that left cells out: the host would hand on its result again."""
        return len(_unfinished)


_unfinished: list[str] = []
"""Runs, by their ids, that ended with cells missing."""


def plan_of(wired: Wired, options: dict[str, Any]) -> Plan:
    """Return what is to be done; raises StudyError, before anything runs, on what makes no sense."""
    named = [options[name] for name in ("samplers", "schedulers", "steps", "cfgs", "shifts", "loras", "checkpoints")]
    prompts, scored = _prompts(options["prompts"], options["clean_prompt"])
    plan = Plan(
        design=design(Texts(*named, options["prompt_variants"], options["reference"]), known_names()),
        prompts=prompts,
        scored=scored,
        seeds=tuple(sampling.seeds_from(options["first_seed"], options["seeds_per_prompt"])),
        negative=options["negative_text"],
        denoise=options["denoise"],
        exact=options["exact"],
        quantize=options["match_saved_file"],
        chunk=options["chunk"],
        seconds=options["max_seconds"],
    )
    _check(plan, wired)
    return plan


def _prompts(text: str, clean: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the prompts and what the scorer reads of each; StudyError where it reads two of them alike.

    Counted as prompts of their own they would make one image look like the agreement of many.
    """
    prompts = axes.prompt_lines(text)
    scored = tuple(texts.clean(prompt) for prompt in prompts) if clean else prompts
    for later in axes.same_prompts(scored):
        raise StudyError(
            f'The scorer reads the prompt "{prompts[later][:80]}" like an earlier line: "{scored[later][:80]}". Leave '
            "one of them out; prompt_variants compares wordings."
        )
    return prompts, scored


def known_names() -> Known:
    """Return the samplers, schedulers, LoRAs and checkpoints that the host has now."""
    files = [folder_paths.get_filename_list(folder) for folder in (LORAS, CHECKPOINTS)]
    return Known(comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS, *files)


def _check(plan: Plan, wired: Wired) -> None:
    count = len(plan.design.settings) * len(plan.prompts) * len(plan.seeds)
    recipes = plan.design.recipes
    _check_latent(wired.latent["samples"])
    if not plan.prompts:
        raise StudyError("There is no prompt: write one a line.")
    if count > MOST_CELLS:
        raise StudyError(f"These settings, prompts and seeds make {count} images; the most is {MOST_CELLS}.")
    if wired.positive is not None and len(plan.prompts) > 1:
        raise StudyError(
            f"A positive conditioning is connected, which stands for one prompt, and there are {len(plan.prompts)} "
            "prompts. Connect a CLIP instead, or give the one prompt that the conditioning was made of."
        )
    if wired.positive is not None and any(recipe.variant != axes.PLACE for recipe in recipes):
        raise StudyError("Prompt variants need a CLIP: disconnect the positive conditioning.")
    needs_clip = wired.positive is None or wired.negative is None
    if needs_clip and wired.source.clip is None and not all(recipe.checkpoint for recipe in recipes):
        raise StudyError("Connect a CLIP, which encodes the prompts, or both conditionings.")


def _check_latent(samples: Any) -> None:
    if getattr(samples, "is_nested", False) or (samples.ndim == 5 and samples.shape[2] > 1):
        raise StudyError("Single images are compared, and this latent holds a video or several streams.")


def compare(plan: Plan, wired: Wired, scorer: Scorer, origin: Origin, cell_size: int, given: int = 1) -> io.NodeOutput:
    """Run a plan and put the result on the outputs."""
    store = Store()
    recorder = Recorder(origin, store.ledger if store.private else None)
    keys = Keys(origin, wired, scorer, negative=plan.negative, denoise=plan.denoise, exact=plan.exact, q=plan.quantize)
    rows = Rows(plan, origin, keys)
    cells = Cells(store, recorder, next(iter(getattr(scorer, "members", {})), scorer.info.id))
    known = store.recall(rows.keys.values()) if not keys.restless else {}
    cells.reuse({place: known[key] for place, key in rows.keys.items() if key in known})
    watch = _watch(plan, scorer, origin, recorder.run)
    watch.found([(place, cell.score, cells.pictures[place]) for place, cell in cells.found.items()])
    notes = compare_inputs.notes(plan, wired, store.private, keys.restless, given)
    models = Models(wired, lambda text: notes.append(text) if text not in notes else None)
    runner = Runner(plan, models, scorer, cells, watch, rows.keys)
    try:
        runner.run(wired.latent, rows.common)
    finally:
        models.drop()
    watch.finish()
    if len(cells.found) < len(rows.keys):
        _unfinished.append(recorder.run)
    if runner.stopped:
        notes.append(f"Stopped after {plan.seconds:g} s; run again to go on where this ended.")
    result, table, verdict = compare_results.analysed(compare_results.study_of(plan, cells, runner, scorer, notes))
    drawn = compare_results.grid(result.study, result.analysis, cells.pictures, cell_size)
    data = shown_study.at_end(result, cells.pictures, run=recorder.run, table=table, reused=cells.reused)
    ui = {"hps": [shown_at_end(origin.node, origin.graph, data)], "text": [table]}
    best = compare_results.best_label(result.study, result.analysis)
    return io.NodeOutput(result, drawn, table, verdict, best, ui=ui)


def _watch(plan: Plan, scorer: Scorer, origin: Origin, run: str) -> CompareWatch:
    made = plan.design
    seeds = [str(seed) for seed in plan.seeds]
    info = next(iter(getattr(scorer, "members", {}).values()), scorer).info
    head = shown_study.header(made.axes, made.settings, plan.prompts, seeds, made.reference, info)
    steps = [recipe.steps for recipe in made.recipes]
    return CompareWatch(origin.node or None, run, head, steps, len(plan.prompts) * len(plan.seeds))


NODES = (CompareSettings,)
