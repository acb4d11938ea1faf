"""Nodes that sample N candidates of one prompt, score them and hand on the best with all it takes to make it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import comfy.samplers
import torch
from comfy_api.latest import io

from ..hpskit import prompts as texts
from ..hpskit import search
from ..hpskit.images import to_nhwc
from ..hpskit.study.search_records import SearchTrace
from ..hpskit.types import Scorer, Scores
from . import host, sampling, shown, tables
from .notices import shown_at_end
from .pictures import Picture
from .recording import Origin, Recorder
from .sampling import Sampling
from .score import rule_of
from .select import subset
from .types import HPS_SCORER, HPS_SCORES, ScoreTable
from .watch import Watch


class BestOfN(io.ComfyNode):
    """Best of N for SamplerCustomAdvanced graphs: any noise, guider, sampler and schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_BestOfN",
            display_name="HPS Best of N (advanced)",
            category="HPS",
            description="Samples N seeds, scores every image and returns the best, with its seed and noise.",
            search_aliases=["best of n", "seed search", "pick best seed", "hps"],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                io.Noise.Input("noise", tooltip="From RandomNoise. Its seed is the first; the others count up."),
                io.Guider.Input("guider", tooltip="As for SamplerCustomAdvanced: CFGGuider, BasicGuider or any other."),
                io.Sampler.Input("sampler", tooltip="Any sampler; stochastic ones, too."),
                io.Sigmas.Input("sigmas", tooltip="The noise schedule, such as from BasicScheduler."),
                io.Latent.Input("latent_image", tooltip="Size, or image to start from. Of a batch the first is used."),
                *_judge_inputs(),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(
        cls,
        noise: Any,
        guider: Any,
        sampler: Any,
        sigmas: Any,
        latent_image: Any,
        vae: Any,
        scorer: Scorer,
        **options: Any,
    ) -> io.NodeOutput:
        """Sample, score, choose."""
        item = sampling.first_item(latent_image, guider.model_patcher)
        job = Sampling(noise, guider, sampler, sigmas, item, given=len(latent_image["samples"]))
        return run(job, vae, scorer, Origin.of(cls.hidden), **options)


class BestOfNSimple(io.ComfyNode):
    """Best of N with the inputs of the KSampler node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_BestOfNSimple",
            display_name="HPS Best of N",
            category="HPS",
            description="KSampler for N seeds: scores every image and returns the best, with its seed.",
            search_aliases=["best of n", "seed search", "ksampler", "pick best seed", "hps"],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model."),
                io.Conditioning.Input("positive", tooltip="What the image should show."),
                io.Conditioning.Input("negative", tooltip="What it should not show."),
                io.Latent.Input("latent_image", tooltip="Size, or image to start from. Of a batch the first is used."),
                *_sampler_inputs(),
                *_judge_inputs(),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(
        cls, model: Any, positive: Any, negative: Any, latent_image: Any, vae: Any, scorer: Scorer, **options: Any
    ) -> io.NodeOutput:
        """Sample, score, choose."""
        names = ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")
        job = sampling.plain_sampling(
            model, positive, negative, latent_image, **{name: options.pop(name) for name in names}
        )
        return run(job, vae, scorer, Origin.of(cls.hidden), **options)


def _sampler_inputs() -> list[Any]:
    samplers, schedulers = comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="Seed of the first candidate; the others count up from it.",
        ),
        io.Int.Input("steps", default=20, min=1, max=10000, tooltip="Steps of every candidate."),
        io.Float.Input("cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="Guidance scale."),
        io.Combo.Input("sampler_name", options=samplers, tooltip="As in KSampler; stochastic ones work, too."),
        io.Combo.Input("scheduler", options=schedulers, tooltip="As in KSampler."),
        io.Float.Input(
            "denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="Below 1 keeps the latent in part."
        ),
    ]


def _judge_inputs() -> list[Any]:
    off = "0 switches it off."
    return [
        io.Vae.Input("vae", tooltip="Decodes the candidates."),
        HPS_SCORER.Input("scorer", tooltip="From HPS Load Scorer or HPS Combine Scorers (whose rule then decides)."),
        io.String.Input("prompt", multiline=True, tooltip="The one text that all candidates are scored against."),
        io.Int.Input("n", default=8, min=1, max=4096, tooltip="How many candidates."),
        io.Int.Input("keep", default=1, min=1, max=64, tooltip="How many of the best to return."),
        io.Boolean.Input("clean_prompt", default=True, tooltip="Score without weights, LoRA tags and separators."),
        io.Boolean.Input(
            "match_saved_file", default=True, tooltip="Score what Save Image will write: the image rounded to 8 bit."
        ),
        io.Int.Input(
            "chunk",
            default=0,
            min=0,
            max=256,
            tooltip="How many candidates share a model call. 0: as many as fit the memory, at most 8.",
        ),
        io.Boolean.Input(
            "exact",
            default=False,
            tooltip="Sample one by one, so that a plain sampler gives the identical image. Off: faster, same up to "
            "rounding.",
        ),
        io.Float.Input(
            "target", default=0.0, min=-1e6, max=1e6, step=0.01, tooltip=f"Stop once an image scores this. {off}"
        ),
        io.Float.Input(
            "min_gain",
            default=0.0,
            min=0.0,
            max=1e6,
            step=0.001,
            tooltip=f"Stop when one more candidate is expected to add less than this to the best score. {off}",
        ),
        io.Float.Input(
            "max_seconds", default=0.0, min=0.0, max=1e6, step=1.0, tooltip=f"Start no more candidates then. {off}"
        ),
    ]


def _outputs() -> list[Any]:
    return [
        io.Image.Output(display_name="images", tooltip="The best image, or the best few, best first."),
        io.Latent.Output(display_name="latents", tooltip="Their latents."),
        io.Int.Output(display_name="seed", tooltip="Seed of the best: KSampler with it makes the same image."),
        io.Noise.Output(display_name="noise", tooltip="Noise of the best, for SamplerCustomAdvanced."),
        HPS_SCORES.Output(display_name="kept_table", tooltip="Scores of the returned images, for HPS Save Scored."),
        HPS_SCORES.Output(display_name="score_table", tooltip="Scores of all candidates, in the order of their seeds."),
        io.Float.Output(display_name="scores", is_output_list=True, tooltip="Score of every candidate."),
        io.Int.Output(display_name="seeds", is_output_list=True, tooltip="Seeds of the returned images, best first."),
        io.String.Output(display_name="report", tooltip="What was found, why it stopped, and the table."),
    ]


def run(job: Sampling, vae: Any, scorer: Scorer, origin: Origin, **options: Any) -> io.NodeOutput:
    """Search and put the result on the outputs; `options` are the inputs from prompt to max_seconds."""
    patcher, n = job.guider.model_patcher, options["n"]
    prompt = texts.clean(options["prompt"]) if options["clean_prompt"] else options["prompt"]
    recorder = Recorder(origin)
    watch = Watch(n, len(job.sigmas) - 1, patcher, origin.node or None, scorer, prompt, recorder)
    job = replace(job, exact=options["exact"], on_step=watch.on_step)
    found = search.best_of_n(
        watch.around(job),
        sampling.decoder(vae),
        scorer,
        prompt,
        sampling.seeds_from(job.noise.seed, n),
        rule=rule_of(scorer),
        keep=options["keep"],
        chunk=options["chunk"] or sampling.auto_chunk(patcher, job.latent["samples"].shape, n),
        stop=stop_rule(options),
        on_progress=watch.on_progress,
        is_out_of_memory=sampling.is_out_of_memory,
        quantize=options["match_saved_file"],
    )
    watch.finish()
    table = replace(pool_table(found, watch.pictures), search=trace(found, n))
    return results(job, found, table, watch.expected_gain, origin, recorder.run)


def stop_rule(options: dict[str, Any]) -> search.StopRule:
    """Return when to stop early; a limit of 0 is off."""
    names = {"target": "target", "min_gain": "min_gain", "max_seconds": "seconds"}
    return search.StopRule(**{field: options[name] for name, field in names.items() if options[name] != 0})


def pool_table(found: search.BestOfN, pictures: Mapping[int, Picture]) -> ScoreTable:
    """Return the table of all candidates in the order of their seeds; unusable images have the score NaN."""
    seeds = tuple(candidate.seed for candidate in found.candidates)
    known = tuple(pictures[k] for k in range(len(seeds))) if len(pictures) == len(seeds) else ()
    return ScoreTable(scores=of_one_prompt(found.scores), ranking=found.ranking, seeds=seeds, pictures=known)


def of_one_prompt(scores: Scores) -> Scores:
    """Return the scores with their one prompt named for every image."""
    parts = {name: of_one_prompt(part) for name, part in scores.parts.items()}
    return replace(scores, prompts=scores.prompts[:1] * len(scores), parts=parts)


def results(
    job: Sampling, found: search.BestOfN, table: ScoreTable, gain: str, origin: Origin, run_id: str
) -> io.NodeOutput:
    """Return the node's outputs and what the interface shows."""
    kept = [found.candidates[index] for index in found.kept]
    seeds = [candidate.seed for candidate in kept]
    latents = sampling.output_latent(job.latent, torch.cat([candidate.latent for candidate in kept]))
    images = to_nhwc(torch.cat([candidate.image for candidate in kept]))
    text = report(job, found, table, gain)
    noise = sampling.reseeded(job.noise, seeds[0])
    scores = table.scores.tolist()
    more = {"stopped": found.stopped, "reason": REASONS[found.stopped], "seconds": found.seconds}
    data = shown.pool(table, found.kept, run_id, **more)
    ui = {"hps": [shown_at_end(origin.node, origin.graph, data)], "text": [text]}
    return io.NodeOutput(images, latents, seeds[0], noise, subset(table, found.kept), table, scores, seeds, text, ui=ui)


REASONS = {
    "all": "All candidates were sampled.",
    "target": "Stopped early: the target is reached.",
    "gain": "Stopped early: another candidate is not expected to add enough.",
    "time": "Stopped early: the time is up.",
}


def trace(found: search.BestOfN, n: int) -> SearchTrace:
    """Return how the search for the best of `n` went, for its report."""
    return SearchTrace("best of n", REASONS[found.stopped], found.seconds, n, notes=tuple(found.warnings))


def report(job: Sampling, found: search.BestOfN, table: ScoreTable, gain: str) -> str:
    """Return the result in words, with the table and everything worth a warning."""
    best = found.best
    lines = [f"Best of {len(found.candidates)}: seed {best.seed}, score {table.scores.tolist()[best.index]:.3f}"]
    lines += [" ".join(part for part in (REASONS[found.stopped], gain) if part)]
    lines += [f"{found.seconds:.1f} s, {1 if job.one_by_one else found.chunk} at a time"]
    known = tables.warnings(table)
    lines += [f"Note: {note}" for note in (*found.warnings, *job.notes()) if note not in known]
    return "\n".join([*lines, "", tables.describe(table)])


NODES = (BestOfN, BestOfNSimple)
