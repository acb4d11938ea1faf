"""Node that lets a scorer guide any sampler: a MODEL whose predictions are nudged uphill, after CFG.

Only reward(decode(x0)) is differentiated, never the diffusion model: that may be quantised, offloaded or compiled.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management as mm
import comfy.model_sampling
import comfy.patcher_extension
import torch
from comfy_api.latest import io

from ..hpskit import prompts as texts
from ..hpskit.autodiff.aliases import Aliases
from ..hpskit.errors import GradientError, ImageError, MemoryExhausted, PromptError
from ..hpskit.search.steering import Account, Nudge, Steering, Window, noise_to_signal, nudge, reward_of, step_of
from ..hpskit.types import Decoder, Scorer
from . import host, sampling
from .gradient_decode import differentiable_decoder
from .notices import send_event, without_nan
from .types import HPS_SCORER

EVENT = "hps.steer"
KEY = "hps_reward_guidance"


class RewardGuidance(io.ComfyNode):
    """Patches a model so that a scorer guides its sampling."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_RewardGuidance",
            display_name="HPS Reward Guidance",
            category="HPS",
            description="Lets a scorer guide any sampler: nudges each step's predicted image towards a higher score.",
            search_aliases=["reward guidance", "steering", "gradient guidance", "universal guidance", "hps"],
            is_experimental=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="Any diffusion model; quantised, offloaded or compiled ones, too."),
                io.Vae.Input("vae", tooltip="Decodes the predictions. A tiny VAE (TAESD) is faster and needs little."),
                HPS_SCORER.Input("scorer", tooltip="Guides: from HPS Load Scorer or HPS Combine Scorers."),
                io.String.Input("prompt", multiline=True, tooltip="The text that the predictions are scored against."),
                *_settings(),
                io.Boolean.Input("clean_prompt", default=True, tooltip="Score without weights, LoRA tags, separators."),
                HPS_SCORER.Input(
                    "held_out", optional=True, tooltip="Another scorer, reported only: does it agree with the gain?"
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="For KSampler or any guider.")],
        )

    @classmethod
    def execute(
        cls, model: Any, vae: Any, scorer: Scorer, prompt: str, held_out: Scorer | None = None, **options: Any
    ) -> io.NodeOutput:
        """Return a patched clone; with nothing to do, a plain clone."""
        if scorer.info.needs_text and not prompt.strip():
            raise PromptError("The prompt is empty. Connect the text that the images shall be scored against.")
        text = texts.clean(prompt) if options["clean_prompt"] else prompt
        settings = Steering(options["strength"], options["inner_steps"], options["max_nudge"])
        places = (options["start_percent"], options["end_percent"], options["every"])
        return io.NodeOutput(steered(model, Guide(vae, scorer, text, settings, places, held_out, cls.hidden.unique_id)))


def _settings() -> list[Any]:
    base = Steering()
    return [
        io.Float.Input(
            "strength",
            default=base.strength,
            min=0.0,
            max=2.0,
            step=0.01,
            tooltip="How far each gradient step moves the prediction, as a share of how uncertain it still is. 0: off.",
        ),
        io.Float.Input(
            "start_percent", default=0.0, min=0.0, max=1.0, step=0.01, tooltip="Guide from here in the schedule."
        ),
        io.Float.Input("end_percent", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="Guide up to here."),
        io.Int.Input("every", default=1, min=1, max=100, tooltip="Guide every n-th step; 2 halves the cost."),
        io.Int.Input(
            "inner_steps",
            default=base.inner_steps,
            min=1,
            max=20,
            tooltip="Gradient steps at each guided step; each costs one decode and score, forward and backward.",
        ),
        io.Float.Input(
            "max_nudge",
            default=base.max_nudge,
            min=0.0,
            max=2.0,
            step=0.01,
            tooltip="Most that a guided step moves the prediction in all, as a share of its uncertainty.",
        ),
    ]


@dataclass(frozen=True)
class Guide:
    """Everything that guides one patched model."""

    vae: Any
    scorer: Scorer
    prompt: str
    settings: Steering
    places: tuple[float, float, int]
    """start_percent, end_percent and every."""
    held_out: Scorer | None = None
    node_id: str | None = None

    def window(self, model: Any) -> Window:
        """Return the guided noise levels of a model."""
        high, low = (float(model.model_sampling.percent_to_sigma(share)) for share in self.places[:2])
        return Window(high, low, self.places[2])


@dataclass
class Run:
    """One call of a sampler: what was done, and what must be on the device when the model runs again."""

    needed: Callable[[], list[Any]] = list
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    account: Account = field(default_factory=Account)


def steered(model: Any, guide: Guide) -> Any:
    """Return a clone of a MODEL that is guided; its own functions after CFG run first."""
    patched = model.clone()
    if not guide.settings.active:
        return patched
    runs: list[Run] = []

    # Plain functions: the host copies model options deeply, and would copy objects with their networks.
    def after_cfg(args: dict[str, Any]) -> torch.Tensor:
        return guided(args, guide, runs[-1] if runs else Run())

    def around(executor: Any, *args: Any, **kwargs: Any) -> Any:
        guider = executor.class_obj
        runs.append(Run(lambda: [guider.model_patcher, *getattr(guider, "loaded_models", ())]))
        try:
            return executor(*args, **kwargs)
        finally:
            host.log.info("Reward guidance by %s: %s", guide.scorer.info.id, runs.pop().account)

    patched.set_model_sampler_post_cfg_function(after_cfg)
    patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, KEY, around)
    return patched


# --- one guided step -------------------------------------------------------------------------------------------------


def guided(args: dict[str, Any], guide: Guide, run: Run) -> torch.Tensor:
    """Return the prediction, nudged when this evaluation is one to guide; otherwise the very tensor that came."""
    x0, model, sigma = args["denoised"], args["model"], float(args["sigma"].max())
    sigmas = schedule(args["model_options"])
    if not guide.window(model).guides(sigma, sigmas):
        return x0
    check(x0)
    level = noise_to_signal(sigma, isinstance(model.model_sampling, comfy.model_sampling.CONST))
    # Both must stay for the backward pass; the diffusion model may have to go until it is over.
    kept = [guide.vae.patcher] if hasattr(guide.vae, "patcher") else []
    with kept_ready(run, x0.shape), host.keep_loaded(kept), latent_decoder(model, guide.vae) as decode:
        nudges = [nudged(x0[k : k + 1], decode, guide, level) for k in range(len(x0))]
        result = torch.cat([done.x0 for done in nudges])
        told = report(nudges, guide) | held_out_scores(guide, decode, x0, result)
    run.account = run.account.plus(told["before"], told["after"], told["skipped"])
    place = {"step": step_of(sigma, sigmas), "steps": len(sigmas) - 1} if sigmas else {"step": None, "steps": None}
    point = without_nan({"sigma": sigma} | place | told)
    # The point stands in the list, too, from which a page that is loaded again gets all of the run.
    send_event(EVENT, {"node": guide.node_id, "run": run.id, **point, "points": [point]})
    return result


def check(x0: torch.Tensor) -> None:
    """Raise ImageError or GradientError for predictions that cannot be guided."""
    if x0.ndim not in (4, 5):
        raise ImageError("Reward guidance judges single images, and this model makes several streams (video, audio).")
    if x0.requires_grad:
        raise GradientError(
            "No gradient passes through reward guidance, so the noise of a guided model cannot be optimised by "
            "gradients. Connect the model without HPS Reward Guidance, or choose a method without gradients."
        )


def schedule(model_options: dict[str, Any]) -> list[float]:
    """Return the sampler's noise levels, or an empty list when they are not known."""
    sigmas = model_options.get("transformer_options", {}).get("sample_sigmas")
    return [] if sigmas is None else sigmas.tolist()


def nudged(x0: torch.Tensor, decode: Decoder, guide: Guide, level: float) -> Nudge:
    """Return the nudge of one item: alone, since a batch's decoding with gradients would need memory for all."""
    mm.throw_exception_if_processing_interrupted()
    try:
        return nudge(x0, reward_of(decode, guide.scorer, guide.prompt), level, guide.settings)
    except Exception as error:
        if not sampling.is_out_of_memory(error):
            raise
        raise MemoryExhausted(
            "The device's memory does not hold the decoding with gradients that reward guidance needs. Connect a tiny "
            "VAE (Load VAE: taesd, taesdxl, taesd3, taef1) to HPS Reward Guidance, or make a smaller image."
        ) from error


def report(nudges: list[Nudge], guide: Guide) -> dict[str, Any]:
    """Return what was done to each item of the batch, in words of JSON."""
    columns = {name: [float(getattr(one, name)) for one in nudges] for name in ("before", "after", "moved")}
    return {"scorer": guide.scorer.info.id, **columns, "skipped": sum(one.skipped for one in nudges)}


def held_out_scores(guide: Guide, decode: Decoder, before: torch.Tensor, after: torch.Tensor) -> dict[str, Any]:
    """Return the held-out scores of the predictions before and after the nudge, item by item; {} without the scorer."""
    if guide.held_out is None:
        return {}
    reward = reward_of(decode, guide.held_out, guide.prompt)

    def scores(batch: torch.Tensor) -> list[float]:
        with torch.inference_mode(False), torch.no_grad():
            return [float(reward(item.clone().float())) for item in batch.split(1)]

    return {"held_out": {"scorer": guide.held_out.info.id, "before": scores(before), "after": scores(after)}}


@contextmanager
def latent_decoder(model: Any, vae: Any) -> Iterator[Decoder]:
    """Give the way from the model's own latent space to images, with gradients."""
    decode = differentiable_decoder(vae, checkpoint=True)
    aliases = Aliases()
    with torch.inference_mode(False):
        aliases.attributes(model.latent_format)  # factors of a latent format may be inference tensors
    try:
        yield lambda latents: decode(model.process_latent_out(latents))
    finally:
        aliases.undo()


@contextmanager
def kept_ready(run: Run, shape: Sequence[int]) -> Iterator[None]:
    """Bring back whatever of the diffusion model the host moved away to make room for the scorer and the VAE.

    The host moves only what it must; where all of it fits, nothing happens here. `shape` is that of the latents.
    """
    needed = run.needed()
    before = [patcher.loaded_size() for patcher in needed]
    yield
    if any(patcher.loaded_size() < size for patcher, size in zip(needed, before, strict=True)):
        # Twice: a guided step runs the positive and the negative side as one batch.
        mm.load_models_gpu(needed, memory_required=needed[0].memory_required([2 * shape[0], *shape[1:]]))


NODES = (RewardGuidance,)
