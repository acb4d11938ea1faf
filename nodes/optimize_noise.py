"""Nodes that improve the starting noise of a model for one prompt, and hand on all it takes to make the image again."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import comfy.model_management as mm
import comfy.samplers
import folder_paths
import torch
from comfy_api.latest import io

from ..hpskit import prompts as texts
from ..hpskit.errors import SelectionError
from ..hpskit.images import to_nhwc
from ..hpskit.search import NoiseSearch, noise_file
from ..hpskit.search.noise_file import NoiseRecord
from . import host, noise_report, sampling
from . import noise as noises
from .best_of_n import of_one_prompt
from .noise_plan import ITERATIONS, KEEP, METHOD, METHODS, SCREEN, STOP, Beginning, Plan, beginning
from .noise_report import BEST, START
from .noise_watch import NoiseWatch
from .notices import notice, shown_at_end
from .optimizer_sampler import optimized
from .recording import Origin, Recorder
from .sampling import Sampling
from .score import judged_rows, score_table
from .shown import main_info
from .types import HPS_SCORER, HPS_SCORES, ScoreTable

log = logging.getLogger("hps")


class OptimizeNoise(io.ComfyNode):
    """Noise optimisation for SamplerCustomAdvanced graphs: any noise, guider, sampler and schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_OptimizeNoise",
            display_name="HPS Optimize Noise (advanced)",
            category="HPS",
            description="Improves the starting noise for one prompt, by the scorer's gradient or by search.",
            search_aliases=["reno", "noise optimization", "reward", "optimise noise", "hps"],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                io.Noise.Input("noise", tooltip="From RandomNoise; its seed is the first that is tried."),
                io.Guider.Input("guider", tooltip="As for SamplerCustomAdvanced: CFGGuider, BasicGuider or any other."),
                io.Sampler.Input("sampler", tooltip="As for SamplerCustomAdvanced."),
                io.Sigmas.Input("sigmas", tooltip="The noise schedule; 1 to 4 steps suit the gradient methods."),
                io.Latent.Input("latent_image", tooltip="Size, or image to start from. Of a batch the first is used."),
                *_search_inputs(),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(
        cls, noise: Any, guider: Any, sampler: Any, sigmas: Any, latent_image: Any, **options: Any
    ) -> io.NodeOutput:
        """Optimise."""
        item = sampling.first_item(latent_image, guider.model_patcher)
        job = Sampling(noise, guider, sampler, sigmas, item, given=len(latent_image["samples"]))
        return run(job, make_plan(**options), Origin.of(cls.hidden))


class OptimizeNoiseSimple(io.ComfyNode):
    """Noise optimisation with the inputs of the KSampler node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_OptimizeNoiseSimple",
            display_name="HPS Optimize Noise",
            category="HPS",
            description="KSampler that improves its starting noise for the prompt, by the scorer's gradient or search.",
            search_aliases=["reno", "noise optimization", "reward", "optimise noise", "ksampler", "hps"],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model; one to four steps suit the gradient methods."),
                io.Conditioning.Input("positive", tooltip="What the image should show."),
                io.Conditioning.Input("negative", tooltip="What it should not show; without effect at cfg 1."),
                io.Latent.Input("latent_image", tooltip="Size, or image to start from. Of a batch the first is used."),
                *_sampler_inputs(),
                *_search_inputs(),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(cls, model: Any, positive: Any, negative: Any, latent_image: Any, **options: Any) -> io.NodeOutput:
        """Optimise."""
        names = ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")
        settings = {name: options.pop(name) for name in names}
        job = sampling.plain_sampling(model, positive, negative, latent_image, **settings)
        return run(job, make_plan(**options), Origin.of(cls.hidden))


# --- inputs and outputs ----------------------------------------------------------------------------------------------


def _sampler_inputs() -> list[Any]:
    samplers, schedulers = comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="Seed of the first noise that is tried; the others count up. The sampler keeps this one.",
        ),
        io.Int.Input("steps", default=4, min=1, max=10000, tooltip="Steps of every image: few-step models use 1 to 4."),
        io.Float.Input(
            "cfg", default=1.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="Guidance; 1 for few-step models."
        ),
        io.Combo.Input("sampler_name", options=samplers, tooltip="As in KSampler; stochastic ones work, too."),
        io.Combo.Input("scheduler", options=schedulers, tooltip="As in KSampler."),
        io.Float.Input(
            "denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="Below 1 keeps the latent in part."
        ),
    ]


_METHOD_WORDS = (
    "geodesic (gradient): follows the scorer's gradient and keeps the noise normal; few-step models. "
    "reno (gradient): the published ReNO. "
    "sphere search: children of the best noises; any model, little memory, no gradient. "
    "subspace search: mixes a few noises; any model. "
    "zero-order search: neighbours of the best noise; any model."
)


def _search_inputs() -> list[Any]:
    return [
        io.Vae.Input("vae", tooltip="Decodes the images that are judged."),
        HPS_SCORER.Input("scorer", tooltip="From HPS Load Scorer or HPS Combine Scorers; what is optimised."),
        io.String.Input("prompt", multiline=True, tooltip="The one text that the images are scored against."),
        io.Combo.Input("method", options=list(METHODS), default=METHOD, tooltip=_METHOD_WORDS),
        io.Int.Input("iterations", default=ITERATIONS, min=1, max=10000, tooltip="Improvements of each start."),
        *_effort_inputs(),
        *_judging_inputs(),
        HPS_SCORER.Input(
            "held_out",
            optional=True,
            tooltip="Scorer that is watched, not optimised: ends the run when it falls, and helps to choose.",
        ),
        io.Vae.Input(
            "fast_vae", optional=True, tooltip="Small VAE (TAESD) for the gradients, to save memory; vae still judges."
        ),
    ]


def _effort_inputs() -> list[Any]:
    return [
        io.Float.Input(
            "max_seconds", default=0.0, min=0.0, max=1e6, step=1.0, tooltip="End the run then. 0 switches it off."
        ),
        io.Int.Input("screen", default=SCREEN, min=1, max=4096, tooltip="How many starting noises are tried first."),
        io.Int.Input("starts", default=1, min=1, max=64, tooltip="How many of them, the best, are optimised."),
        io.Int.Input("population", default=4, min=1, max=256, tooltip="Search methods: images of an iteration."),
        io.Float.Input(
            "max_drift",
            default=60.0,
            min=0.0,
            max=180.0,
            step=1.0,
            tooltip="Gradient methods: most degrees the noise may turn from its start; other noises are 90 away. "
            "0 switches it off.",
        ),
        io.Float.Input(
            "target",
            default=0.0,
            min=-1e6,
            max=1e6,
            step=0.01,
            tooltip="End the run when an image scores this. 0 switches it off.",
        ),
    ]


def _judging_inputs() -> list[Any]:
    return [
        io.Boolean.Input("clean_prompt", default=True, tooltip="Score without weights, LoRA tags and separators."),
        io.Boolean.Input(
            "match_saved_file", default=True, tooltip="Judge what Save Image will write: the image rounded to 8 bit."
        ),
        io.Combo.Input(
            "checkpointing",
            options=["auto", "on", "off"],
            default="auto",
            tooltip="Gradient methods: compute parts twice to save memory. auto: on, except for tiny models.",
        ),
        io.Combo.Input(
            "on_cancel",
            options=[STOP, KEEP],
            default=STOP,
            tooltip=f"What Cancel does. {KEEP}: the workflow goes on with the best noise found until then.",
        ),
    ]


def _outputs() -> list[Any]:
    return [
        io.Noise.Output(display_name="noise", tooltip="The optimised noise, for SamplerCustomAdvanced or Save Noise."),
        io.Latent.Output(display_name="latent", tooltip="Latent of the best image."),
        io.Image.Output(display_name="image", tooltip="The best image, as stock nodes make it of this noise."),
        io.Image.Output(display_name="start_image", tooltip="The image of the given noise, for comparison."),
        io.Image.Output(display_name="curve", tooltip="Score against images made, as a picture."),
        HPS_SCORES.Output(display_name="score_table", tooltip="Scores of the start (0) and of the best image (1)."),
        io.String.Output(display_name="report", tooltip="What was found, why it ended, what it cost, warnings."),
    ]


# --- the run ---------------------------------------------------------------------------------------------------------


def make_plan(prompt: str, clean_prompt: bool, **options: Any) -> Plan:
    """Return the settings of the inputs from vae to fast_vae; raises SelectionError when they make no sense."""
    plan = Plan(prompt=texts.clean(prompt) if clean_prompt else prompt, **options)
    if plan.scorer.info.needs_text and not plan.prompt.strip():
        raise SelectionError("The prompt is empty, so the scorer has nothing to compare the images with. Write one.")
    optimised = [member.info.id for member in getattr(plan.scorer, "members", {"": plan.scorer}).values()]
    if plan.held_out is not None and plan.held_out.info.id in optimised:
        raise SelectionError(
            f"{plan.held_out.info.name} is optimised and cannot be held out at the same time. Connect another scorer "
            "to held_out, or none."
        )
    return plan


def run(job: Sampling, plan: Plan, origin: Origin) -> io.NodeOutput:
    """Optimise and put the result on the outputs."""
    begin, recorder = beginning(job, plan.screen), Recorder(origin)
    watch = NoiseWatch(len(job.sigmas) - 1, job.guider.model_patcher, origin.node or None, recorder.run)
    try:
        outcome = optimized(job, begin, plan, watch)
    except mm.InterruptProcessingException:
        rescue(watch, plan, begin)
        raise
    latents = outcome.samples.to(device=mm.intermediate_device(), dtype=job.dtype)
    decode = sampling.decoder(plan.vae)
    images = [to_nhwc(decode(latents[k : k + 1])) for k in (START, BEST)]
    table = recorded(judged(images, plan), images, recorder, begin.seed, outcome.found)
    watch.finish(outcome.found)
    notes = (*begin.notes, *_notes(job), *outcome.notes)
    table = replace(table, search=noise_report.trace(outcome.found, plan, watch.main, notes))
    text = noise_report.report(outcome.found, plan, watch.main, table, notes)
    shown = noise_report.as_json(outcome.found, table, watch.main, recorder.run)
    ui = {"hps": [shown_at_end(origin.node, origin.graph, shown)], "text": [text]}
    return _output(job, plan, begin, outcome.found, watch.main, latents[BEST : BEST + 1], images, table, text, ui)


def judged(images: list[torch.Tensor], plan: Plan) -> ScoreTable:
    """Return the scores of the start and of the result as they leave the node."""
    table = score_table(plan.scorer, images, [plan.prompt], clean_prompt=False, match_saved_file=plan.match_saved_file)
    return ScoreTable(of_one_prompt(table.scores), table.ranking)


def recorded(
    table: ScoreTable, images: list[torch.Tensor], recorder: Recorder, seed: int, found: NoiseSearch
) -> ScoreTable:
    """Return the table with pictures; the ledger gets the start with its seed and the result, which no seed makes."""
    start, best = judged_rows(table)
    rows = [replace(start, seed=seed, extra={}), replace(best, seed=None, extra={"method": found.method})]
    flat = [image[0].movedim(-1, 0) for image in images]
    return replace(table, pictures=tuple(recorder.add(flat, rows, main_info(table.scores, table.ranking.main))))


def _output(
    job: Sampling,
    plan: Plan,
    begin: Beginning,
    found: NoiseSearch,
    main: str,
    latent: torch.Tensor,
    images: list[torch.Tensor],
    table: ScoreTable,
    text: str,
    ui: dict[str, Any],
) -> io.NodeOutput:
    origin = noise_report.record(found, plan, begin.seed, type(job.guider.model_patcher.model).__name__)
    best = noises.OptimizedNoise(begin.seed, found.chosen.noise, origin)
    curve = noise_report.curve_image(found, plan, main)
    kept = sampling.output_latent(job.latent, latent)
    return io.NodeOutput(best, kept, images[BEST], images[START], curve, table, text, ui=ui)


def _notes(job: Sampling) -> tuple[str, ...]:
    if job.given > 1:
        return (f"the latent holds {job.given} items; the first was used.",)
    return ()


def rescue(watch: NoiseWatch, plan: Plan, begin: Beginning) -> None:
    """Save the best noise of an interrupted run in the host's temp folder and log where; failing to is no error."""
    if watch.best is None:
        return
    record = NoiseRecord(seed=begin.seed, method=plan.method, prompt=plan.prompt, scorer=plan.scorer.info.id)
    try:
        data = noise_file.encode(watch.best.noise, record)
        path = noises.write(folder_paths.get_temp_directory(), "interrupted", data)
        log.info("Interrupted. The best noise so far is in %s; move it to input/noise to load it.", path)
        words = f"The best noise so far is kept as temp/{path.name}. Move it to input/noise to load it."
        notice("info", "HPS: interrupted", words)
    except Exception:
        log.warning("Interrupted; the best noise so far could not be saved.", exc_info=True)


NODES = (OptimizeNoise, OptimizeNoiseSimple)
