"""HPS_RewardGuidance as graphs through the host's executor, and as a patch under the stock samplers."""

from __future__ import annotations

import gc
import logging
import math
import sys
import weakref
from typing import Any

import comfy.model_management as mm
import comfy.samplers
import torch
from comfy_inside import Graph, Node, Run, node_class, pack, server, sibling

import nodes

tiny = sibling("best_of_n_tiny")
steer = pack("nodes.steer")
PROMPT = "a yellow star to the left of a white circle on a blue background"
DEFAULTS = {"strength": 0.1, "start_percent": 0.0, "end_percent": 1.0, "every": 1, "inner_steps": 1, "max_nudge": 0.3}
SETTINGS = {"steps": 4, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}


class Red:
    """Redness of the image in percent, differentiable, with a record of what it saw."""

    def __init__(self, scorer_id: str = "red", factor: float = 1.0) -> None:
        types = pack("hpskit.types")
        self.info = types.ScorerInfo(scorer_id, "Redness", "fake", "1", "none", "float32", within_prompt_sd=1.0)
        self.factor, self.sizes, self.prompts, self._scores = factor, [], [], types.Scores

    def score(self, images: Any, prompts: Any) -> Any:
        self.sizes.append(len(images))
        self.prompts.append(prompts)
        values = 100 * self.factor * (images[:, 0] - images[:, 1:].mean(1)).mean((1, 2))
        return self._scores(values, self.info, (prompts,) * len(images))


# --- the patch under stock samplers ----------------------------------------------------------------------------------


def patched(kind: str, scorer: Any, held_out: Any = None, model: Any = None, **changed: Any) -> Any:
    """Return a tiny model, guided."""
    own, vae = tiny.models(kind)
    options = {**DEFAULTS, **changed}
    names = ("strength", "inner_steps", "max_nudge")
    settings = pack("hpskit.search.steering").Steering(*(options[name] for name in names))
    places = (options["start_percent"], options["end_percent"], options["every"])
    return steer.steered(model or own, steer.Guide(vae, scorer, "x", settings, places, held_out, "7"))


def sampled(kind: str, model: Any, seed: int = 3, given: Any = None, **changed: Any) -> torch.Tensor:
    settings = {**SETTINGS, "scheduler": "normal", **changed}
    positive, negative = tiny.conditioning(kind, 1), tiny.conditioning(kind, 2)
    with torch.inference_mode():
        latent = given or tiny.latent(kind)
        return nodes.common_ksampler(model, seed, settings["steps"], settings["cfg"], settings["sampler_name"],
                                     settings["scheduler"], positive, negative, latent,
                                     denoise=settings["denoise"])[0]["samples"]  # fmt: skip


def redness(kind: str, latents: torch.Tensor) -> list[float]:
    with torch.inference_mode():
        images = tiny.models(kind)[1].decode(latents)
    return Red().score(images.movedim(-1, 1), "x").values.tolist()


def events() -> list[dict[str, Any]]:
    return [data for name, data in server.events if name == "hps.steer"]


def check_both_model_families_follow_the_reward_with_and_without_cfg() -> None:
    for kind, cfgs in (("sd15", (3.0,)), ("sd3", (1.0, 3.0))):
        for cfg in cfgs:
            plain = sampled(kind, tiny.models(kind)[0], cfg=cfg)
            guided = sampled(kind, patched(kind, Red(), strength=0.3), cfg=cfg)
            more = redness(kind, guided)[0] - redness(kind, plain)[0]
            assert more > 0, (kind, cfg, more)


def check_the_same_run_gives_the_same_bits() -> None:
    for sampler in ("euler", "dpmpp_2m", "euler_ancestral", "dpmpp_2m_sde"):
        model = patched("sd3", Red())
        first = sampled("sd3", model, sampler_name=sampler)
        assert torch.equal(first, sampled("sd3", model, sampler_name=sampler)), sampler
        assert torch.isfinite(first).all()


def check_every_stock_sampler_can_be_guided() -> None:
    model, guided = tiny.models("sd3")[0], patched("sd3", Red())
    wrong, worse = [], []
    for sampler in comfy.samplers.KSampler.SAMPLERS:
        if sampler == "dpm_adaptive":  # takes unbounded time on a network of random weights
            continue
        server.events.clear()
        plain, better = (sampled("sd3", one, sampler_name=sampler) for one in (model, guided))
        told = events()
        raised = [event["after"][0] > event["before"][0] for event in told]
        if not torch.isfinite(better).all() or torch.equal(better, plain) or not told or not all(raised):
            wrong.append((sampler, raised))
        if redness("sd3", better)[0] <= redness("sd3", plain)[0]:
            worse.append(sampler)
    assert not wrong, wrong
    # Samplers with a memory extrapolate from earlier nudges; a network of random weights may answer with anything.
    assert all("multistep" in name or name.startswith(("dpmpp_2m", "dpmpp_3m")) for name in worse), worse


def check_off_means_bit_identical() -> None:
    for kind, samplers in (("sd15", ("dpmpp_2m",)), ("sd3", ("euler", "dpmpp_2m", "euler_ancestral"))):
        for sampler in samplers:
            plain = sampled(kind, tiny.models(kind)[0], sampler_name=sampler)
            for off in ({"strength": 0.0}, {"max_nudge": 0.0}, {"start_percent": 0.6, "end_percent": 0.6},
                        {"start_percent": 1.0}, {"end_percent": 0.0}):  # fmt: skip
                scorer = Red()
                out = sampled(kind, patched(kind, scorer, **off), sampler_name=sampler)
                assert torch.equal(out, plain) and not scorer.sizes, (kind, sampler, off)


def check_the_window_is_that_of_the_schedule() -> None:
    for kind in ("sd15", "sd3"):
        counts = []
        for start, end in ((0.0, 1.0), (0.0, 0.5), (0.5, 1.0)):
            server.events.clear()
            sampled(kind, patched(kind, Red(), start_percent=start, end_percent=end), steps=6)
            counts.append(len(events()))
            sampling = tiny.models(kind)[0].get_model_object("model_sampling")
            edges = [float(sampling.percent_to_sigma(share)) for share in (start, end)]
            assert all(edges[1] < event["sigma"] <= edges[0] * 1.001 for event in events())
        assert counts[0] == 6 and counts[1] + counts[2] == 6 and min(counts) > 0, (kind, counts)


def check_every_other_step() -> None:
    server.events.clear()
    sampled("sd3", patched("sd3", Red(), every=2), steps=6)
    assert [event["step"] for event in events()] == [0, 2, 4] and {event["steps"] for event in events()} == {6}


def check_every_item_of_a_batch_is_guided_as_if_alone() -> None:
    scorer = Red()
    model = patched("sd3", scorer, inner_steps=2)
    function = model.model_options["sampler_post_cfg_function"][-1]
    with torch.inference_mode():
        x0 = torch.randn(3, 16, 8, 8, generator=torch.Generator().manual_seed(1))
        shared = {"model": model.model, "model_options": {}}
        together = function({"denoised": x0, "sigma": torch.full((3,), 0.7), **shared})
        assert set(scorer.sizes) == {1}, "one decoding at a time"
        for k in range(3):
            alone = function({"denoised": x0[k : k + 1], "sigma": torch.full((1,), 0.7), **shared})
            assert torch.equal(together[k], alone[0]) and not torch.equal(together[k], x0[k])
    latent = {"samples": tiny.latent("sd3")["samples"].repeat(2, 1, 1, 1)}
    better, plain = (redness("sd3", sampled("sd3", one, given=latent)) for one in (model, tiny.models("sd3")[0]))
    assert all(a > b for a, b in zip(better, plain, strict=True)), (better, plain)


def check_the_model_that_came_in_is_not_changed() -> None:
    model = tiny.models("sd3")[0]
    before = (repr(model.model_options), repr(model.wrappers), dict(model.object_patches))
    plain = sampled("sd3", model)
    guided = patched("sd3", Red())
    changed = sampled("sd3", guided)
    assert (repr(model.model_options), repr(model.wrappers), dict(model.object_patches)) == before
    assert torch.equal(sampled("sd3", model), plain) and not torch.equal(changed, plain)
    assert guided is not model and guided.model is model.model


def check_other_functions_after_and_instead_of_cfg_stay() -> None:
    called = []

    def note(name: str, shift: float) -> Any:
        def function(args: dict[str, Any]) -> torch.Tensor:
            called.append((name, float(args["denoised"].mean())))
            return args["denoised"] + shift

        return function

    model = tiny.models("sd3")[0].clone()
    model.set_model_sampler_post_cfg_function(note("first", 0.25))
    model.set_model_sampler_cfg_function(lambda args: args["uncond"] + 1.7 * (args["cond"] - args["uncond"]))
    guided = patched("sd3", Red(), model=model, strength=0.3)
    guided.set_model_sampler_post_cfg_function(note("last", 0.0))
    plain = sampled("sd3", model, steps=1)
    called.clear()
    out = sampled("sd3", guided, steps=1)
    assert [name for name, _ in called] == ["first", "last"]
    assert called[1][1] != called[0][1] + 0.25, "the nudge lies between"
    assert not torch.equal(out, plain) and tiny.difference(out, plain) < 0.5
    rescaled = node_class("RescaleCFG")().patch(tiny.models("sd3")[0], 0.7)[0]
    assert (
        redness("sd3", sampled("sd3", patched("sd3", Red(), model=rescaled, strength=0.3)))[0]
        > (redness("sd3", sampled("sd3", rescaled))[0])
    )


def check_two_guides_share_the_schedule() -> None:
    once = patched("sd3", Red("a"), end_percent=0.5)
    twice = patched("sd3", Red("b", -1.0), model=once, start_percent=0.5)
    server.events.clear()
    sampled("sd3", twice, steps=6)
    names = [event["scorer"] for event in events()]
    assert names == sorted(names) and set(names) == {"a", "b"} and len(names) == 6, names
    server.events.clear()
    sampled("sd3", once, steps=6)
    assert {event["scorer"] for event in events()} == {"a"}, "a later guide must not appear in the earlier model"


def check_quantised_weights() -> None:
    path = pack("hpskit.paths").models_dir() / "tiny" / "shapes-mmdit.safetensors"
    model = comfy.sd.load_diffusion_model(str(path), model_options={"dtype": torch.float8_e4m3fn})
    assert model.model.diffusion_model.joint_blocks[0].x_block.attn.qkv.weight.dtype == torch.float8_e4m3fn
    clip = node_class("HPS_LoadEmbedded").execute(PROMPT)[1]
    with torch.inference_mode():
        positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (PROMPT, ""))
        vae = pack("nodes.embedded").ShapesVae()
        guide = steer.Guide(vae, Red(), "x", pack("hpskit.search.steering").Steering(0.3), (0.0, 1.0, 1))
        runs = [nodes.common_ksampler(one, 1, 4, 2.0, "euler", "simple", positive, negative,
                                      {"samples": torch.zeros(1, 16, 4, 4)})[0]["samples"]
                for one in (model, steer.steered(model, guide))]  # fmt: skip
        scores = [float(Red().score(vae.decode(run).movedim(-1, 1), "x").values) for run in runs]
    assert scores[1] > scores[0], scores


def check_image_to_image_and_a_mask() -> None:
    given = tiny.latent("sd3", empty=False)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    for latent in (given, {**given, "noise_mask": mask}):
        plain = sampled("sd3", tiny.models("sd3")[0], given=latent, denoise=0.6)
        out = sampled("sd3", patched("sd3", Red(), strength=0.3), given=latent, denoise=0.6)
        assert redness("sd3", out)[0] > redness("sd3", plain)[0]
    assert tiny.difference(out[..., 4:], given["samples"][..., 4:]) < 1e-4, "the part that the mask keeps"


# --- what can go wrong -----------------------------------------------------------------------------------------------


class Records(logging.Handler):
    """Collects the pack's messages at INFO."""

    def __enter__(self) -> list[str]:
        self.lines: list[str] = []
        self.log = logging.getLogger("hps")
        self.level_before = self.log.level
        self.log.setLevel(logging.INFO)
        self.log.addHandler(self)
        return self.lines

    def __exit__(self, *_: object) -> None:
        self.log.removeHandler(self)
        self.log.setLevel(self.level_before)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


def check_one_line_in_the_log_at_the_end() -> None:
    with Records() as lines:
        sampled("sd3", patched("sd3", Red()))
    assert len(lines) == 1 and lines[0].startswith("INFO Reward guidance by red: 4 guided steps, reward "), lines


def check_gradients_that_are_not_finite_are_skipped_and_counted() -> None:
    plain = sampled("sd3", tiny.models("sd3")[0])
    server.events.clear()
    with Records() as lines:
        out = sampled("sd3", patched("sd3", Red(factor=math.nan)))
    assert torch.equal(out, plain)
    assert "4 nudges skipped: not finite" in lines[0], lines
    assert [event["skipped"] for event in events()] == [1] * 4 and events()[0]["before"] == [None]


def check_the_held_out_scorer_only_reports() -> None:
    without = sampled("sd3", patched("sd3", Red()))
    server.events.clear()
    held_out = Red("other", -2.0)
    assert torch.equal(sampled("sd3", patched("sd3", Red(), held_out)), without)
    for event in events():
        other = event["held_out"]
        assert event["node"] == "7" and event["after"][0] > event["before"][0]
        assert other["scorer"] == "other"
        for side in ("before", "after"):
            assert abs(other[side][0] + 2 * event[side][0]) < 1e-2, event


def check_running_out_of_memory_says_what_to_do() -> None:
    class Big(Red):
        def score(self, images: Any, prompts: Any) -> Any:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")

    try:
        sampled("sd3", patched("sd3", Big()))
    except pack("hpskit.errors").MemoryExhausted as error:
        assert "tiny VAE" in str(error)
    else:
        raise AssertionError("no error")


def check_predictions_that_cannot_be_guided_are_refused() -> None:
    guide, errors = patched("sd3", Red()), pack("hpskit.errors")
    function = guide.model_options["sampler_post_cfg_function"][-1]
    streams, wanted = torch.zeros(1, 1, 64), torch.zeros(1, 16, 8, 8, requires_grad=True)
    for x0, kind, words in (
        (streams, errors.ImageError, "single images"),
        (wanted, errors.GradientError, "without gradients"),
    ):
        try:
            function({"denoised": x0, "model": guide.model, "sigma": torch.ones(1), "model_options": {}})
        except kind as error:
            assert words in str(error)
        else:
            raise AssertionError(f"no error: {words}")


def check_a_model_that_had_to_make_room_is_brought_back() -> None:
    class Patcher:
        size = 100

        def loaded_size(self) -> int:
            return self.size

        def memory_required(self, shape: Any) -> int:
            return 5 * shape[0]

    loads: list[Any] = []
    original, first, second = mm.load_models_gpu, Patcher(), Patcher()
    mm.load_models_gpu = lambda models, **options: loads.append((models, options))
    try:
        with steer.kept_ready(steer.Run(lambda: [first, second]), (3, 4, 8, 8)):
            pass
        assert loads == [], "nothing moved, nothing loaded"
        with steer.kept_ready(steer.Run(lambda: [first, second]), (3, 4, 8, 8)):
            second.size = 40
        assert loads == [([first, second], {"memory_required": 30})]
    finally:
        mm.load_models_gpu = original


# --- as a node -------------------------------------------------------------------------------------------------------


def graph_of(scorer: Any, sampler: str = "KSampler", prompt: str = PROMPT, **changed: Any) -> tuple[Graph, Node, Node]:
    """Return a graph on the miniature with its guidance node and the node whose first output is the latent."""
    graph = Graph()
    source = graph.node("HPS_LoadEmbedded", prompt=PROMPT)
    options = {**DEFAULTS, "prompt": prompt, "clean_prompt": True, **changed}
    scorer = scorer if isinstance(scorer, list) else graph.give(scorer)
    guide = graph.node("HPS_RewardGuidance", model=source[0], vae=source[2], scorer=scorer, **options)
    positive, negative = (graph.node("CLIPTextEncode", clip=source[1], text=text) for text in (PROMPT, ""))
    empty = graph.node("EmptyLatentImage", width=32, height=32, batch_size=1)
    links = {"positive": positive[0], "negative": negative[0]}
    if sampler == "KSampler":
        node = graph.node(sampler, seed=1, model=guide[0], latent_image=empty[0], **links, **SETTINGS)
        return graph, guide, node
    noise = graph.node("RandomNoise", noise_seed=1)
    guider = graph.node("CFGGuider", model=guide[0], cfg=2.0, **links)
    chosen = graph.node("KSamplerSelect", sampler_name="euler")
    sigmas = graph.node("BasicScheduler", model=guide[0], scheduler="simple", steps=4, denoise=1.0)
    node = graph.node("SamplerCustomAdvanced", noise=noise[0], guider=guider[0], sampler=chosen[0], sigmas=sigmas[0],
                      latent_image=empty[0])  # fmt: skip
    return graph, guide, node


def run_of(*args: Any, **changed: Any) -> Run:
    graph, _, node = graph_of(*args, **changed)
    return graph.run(node[0])


def miniature() -> Any:
    return pack("nodes.host").load_scorer(pack("nodes.host").TINY_CHOICE, None, "auto")


def check_the_node_raises_the_score_of_the_miniature_with_both_samplers() -> None:
    scorer, latents = miniature(), {}
    for sampler in ("KSampler", "SamplerCustomAdvanced"):
        for strength in (0.0, 0.1):
            run = run_of(scorer, sampler, strength=strength)
            assert run.ok, run.error
            latents[sampler, strength] = run[0][0]["samples"]
            assert sum(name == "hps.steer" for name, _ in run.events) == (4 if strength else 0)
    vae = pack("nodes.embedded").ShapesVae()
    scores = {key: scorer.score(vae.decode(one).movedim(-1, 1), PROMPT).tolist()[0] for key, one in latents.items()}
    assert scores["KSampler", 0.1] > scores["KSampler", 0.0], scores
    for strength in (0.0, 0.1):
        assert torch.equal(latents["KSampler", strength], latents["SamplerCustomAdvanced", strength])


def check_events_tell_what_happened() -> None:
    run = run_of(Red())
    found = [data for name, data in run.events if name == "hps.steer"]
    assert [event["step"] for event in found] == [0, 1, 2, 3] and {event["node"] for event in found} == {"3"}
    for event in found:
        assert event["after"][0] >= event["before"][0] and 0 <= event["moved"][0] <= 0.1001 and event["skipped"] == 0


def check_the_prompt_is_cleaned_when_wanted() -> None:
    for clean, wanted in ((True, "a red circle"), (False, "a (red:1.2) circle <lora:x:1>")):
        scorer = Red()
        assert run_of(scorer, prompt="a (red:1.2) circle <lora:x:1>", clean_prompt=clean).ok
        assert set(scorer.prompts) == {wanted}, scorer.prompts


def check_an_empty_prompt_is_refused_before_sampling() -> None:
    run = run_of(Red(), prompt="  ")
    assert not run.ok and "prompt is empty" in run.error, run.error


def check_an_interrupt_during_the_guidance_ends_the_run() -> None:
    class Stop(Red):
        def score(self, images: Any, prompts: Any) -> Any:
            mm.interrupt_current_processing(True)
            return super().score(images, prompts)

    scorer = Stop()
    assert run_of(scorer).interrupted and len(scorer.sizes) <= 2
    assert run_of(Red()).ok, "the next run is not affected"


def check_best_of_n_searches_with_a_guided_model() -> None:
    graph = Graph()
    source = graph.node("HPS_LoadEmbedded", prompt=PROMPT)
    scorer = graph.give(Red())
    options = {**DEFAULTS, "prompt": PROMPT, "clean_prompt": True}
    guide = graph.node("HPS_RewardGuidance", model=source[0], vae=source[2], scorer=scorer, **options)
    positive, negative = (graph.node("CLIPTextEncode", clip=source[1], text=text)[0] for text in (PROMPT, ""))
    empty = graph.node("EmptyLatentImage", width=32, height=32, batch_size=1)[0]
    links = {"model": guide[0], "positive": positive, "negative": negative, "latent_image": empty}
    judging = {"prompt": PROMPT, "n": 3, "keep": 1, "clean_prompt": True, "match_saved_file": False, "chunk": 0}
    judging |= {"exact": False, "target": 0.0, "min_gain": 0.0, "max_seconds": 0.0}
    best = graph.node("HPS_BestOfNSimple", vae=source[2], scorer=scorer, seed=5, **links, **SETTINGS, **judging)
    again = graph.node("KSampler", seed=best[2], **links, **SETTINGS)
    run = graph.run(best[1], again[0])
    assert run.ok, run.error
    assert tiny.difference(run[0][0]["samples"], run[1][0]["samples"]) < 1e-3


def check_freeing_the_cache_frees_the_scorer() -> None:
    scorer = Red()
    known = weakref.ref(scorer)
    assert run_of(scorer).ok
    del scorer
    sys.modules["comfy_inside"].free()
    gc.collect()
    assert known() is None
