"""HPS_BestOfN and HPS_BestOfNSimple as graphs through the host's executor."""

from __future__ import annotations

import threading
from typing import Any

import comfy.model_management as mm
import torch
from comfy_inside import Graph, Run, node_class, pack, server, sibling

tiny = sibling("best_of_n_tiny")
IMAGES, LATENTS, SEED, NOISE, KEPT_TABLE, TABLE, SCORES, SEEDS, REPORT = range(9)
TOLERANCE = 5e-6


class Pixel:
    """Scores the corner of an image, so that the expected order can be told from plain renders."""

    def __init__(self, values: list[float] | None = None) -> None:
        types = pack("hpskit.types")
        self.info = types.ScorerInfo("pixel", "Pixel", "fake", "1", "none", "float32", within_prompt_sd=1.0)
        self.prompts: list[str] = []
        self.sizes: list[int] = []
        self.values = values
        self._scores = types.Scores

    def score(self, images: Any, prompts: Any) -> Any:
        self.prompts.append(prompts)
        self.sizes.append(len(images))
        values = torch.stack([image.mean() for image in images])
        if self.values is not None:
            values = torch.tensor([self.values.pop(0) for _ in range(len(images))])
        return self._scores(values.float(), self.info, (prompts,) * len(images))


SETTINGS = {"steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
JUDGING = {"prompt": "a (red:1.2) circle", "n": 3, "keep": 1, "clean_prompt": True, "match_saved_file": True}
JUDGING |= {"chunk": 0, "exact": False, "target": 0.0, "min_gain": 0.0, "max_seconds": 0.0}


def simple(scorer: Any = None, kind: str = "sd3", latent: Any = None, **changed: Any) -> tuple[Graph, Any]:
    """Return a graph with the plain node, on the stock loader."""
    graph = Graph()
    loader = graph.node("CheckpointLoaderSimple", ckpt_name=tiny.checkpoint(kind))
    settings = {"seed": 100, **SETTINGS, **JUDGING, **changed}
    node = graph.node(
        "HPS_BestOfNSimple",
        model=loader[0],
        positive=graph.give(tiny.conditioning(kind, 1)),
        negative=graph.give(tiny.conditioning(kind, 2)),
        latent_image=graph.give(tiny.latent(kind) if latent is None else latent),
        vae=loader[2],
        scorer=graph.give(scorer or Pixel()),
        **settings,
    )
    return graph, node


def advanced(
    scorer: Any = None, noise: Any = None, sampler: str = "euler", **changed: Any
) -> tuple[Graph, Any, dict[str, Any]]:
    """Return a graph with the advanced node, and the links that SamplerCustomAdvanced takes, too."""
    graph = Graph()
    loader = graph.node("CheckpointLoaderSimple", ckpt_name=tiny.checkpoint("sd3"))
    conds = {name: graph.give(tiny.conditioning("sd3", k)) for k, name in ((1, "positive"), (2, "negative"))}
    scheduler = graph.node("BasicScheduler", model=loader[0], scheduler="normal", steps=2, denoise=1.0)
    links = {
        "noise": noise or graph.node("RandomNoise", noise_seed=200)[0],
        "guider": graph.node("CFGGuider", model=loader[0], cfg=2.0, **conds)[0],
        "sampler": graph.node("KSamplerSelect", sampler_name=sampler)[0],
        "sigmas": scheduler[0],
        "latent_image": graph.give(tiny.latent("sd3")),
    }
    judged = {"vae": loader[2], "scorer": graph.give(scorer or Pixel()), **JUDGING, **changed}
    return graph, graph.node("HPS_BestOfN", **links, **judged), links


def catch(graph: Graph, node: Any, *outputs: int) -> Run:
    run = graph.run(*(node[k] for k in outputs))
    assert run.ok, run.error
    return run


def check_winner_is_the_best_of_the_plain_renders() -> None:
    """The node's image, latent, seed and table agree with N plain KSampler and VAE Decode runs."""
    import nodes

    scorer = Pixel()
    graph, node = simple(scorer, exact=True)
    run = catch(graph, node, *range(9))
    plain = [tiny.ksampler("sd3", 100 + k, tiny.latent("sd3"), steps=2) for k in range(3)]
    with torch.inference_mode():
        images = [nodes.VAEDecode().decode(tiny.models("sd3")[1], {"samples": latent})[0] for latent in plain]
    means = [float(pack("hpskit.images").quantize(image.movedim(-1, 1)).mean()) for image in images]
    winner = means.index(max(means))
    assert run[SEED] == [100 + winner]
    assert torch.equal(run[LATENTS][0]["samples"], plain[winner])
    assert torch.equal(run[IMAGES][0], images[winner])
    assert all(abs(a - b) < 1e-6 for a, b in zip(run[SCORES], means, strict=True))
    table = run[TABLE][0]
    assert table.seeds == (100, 101, 102) and table.ranking.order[0] == winner
    assert run[KEPT_TABLE][0].seeds == (100 + winner,) and len(run[KEPT_TABLE][0]) == 1
    assert str(100 + winner) in run[REPORT][0]
    assert set(scorer.prompts) == {"a red circle"}


def check_batched_winner_within_tolerance_and_noise_remakes_it() -> None:
    graph, node, links = advanced(sampler="dpmpp_2m_sde")
    again = graph.node("SamplerCustomAdvanced", **{**links, "noise": node[NOISE]})
    run = catch(graph, node, LATENTS, SEED)
    remade = graph.run(again[0])
    assert remade.ok, remade.error
    assert tiny.difference(run[0][0]["samples"], remade[0][0]["samples"]) <= TOLERANCE
    plain = tiny.ksampler("sd3", run[1][0], tiny.latent("sd3"), steps=2, sampler_name="dpmpp_2m_sde")
    assert torch.equal(plain, remade[0][0]["samples"])


def check_both_variants_agree_bit_for_bit_when_exact() -> None:
    graph, node, links = advanced(exact=True)
    one = catch(graph, node, LATENTS, SEED, IMAGES)
    graph, node = simple(exact=True, seed=200)
    other = catch(graph, node, LATENTS, SEED, IMAGES)
    assert one[1] == other[1]
    assert torch.equal(one[0][0]["samples"], other[0][0]["samples"]) and torch.equal(one[2][0], other[2][0])
    assert links


def check_keep_returns_the_best_few_in_order() -> None:
    graph, node = simple(Pixel([1.0, 4.0, 2.0, 3.0, 0.0]), n=5, keep=3)
    run = catch(graph, node, *range(9))
    assert run[SEEDS] == [101, 103, 102]
    assert run[IMAGES][0].shape == (3, 64, 64, 3) and run[LATENTS][0]["samples"].shape == (3, 16, 8, 8)
    assert run[KEPT_TABLE][0].scores.tolist() == [4.0, 3.0, 2.0]
    assert run[SCORES] == [1.0, 4.0, 2.0, 3.0, 0.0]
    for place, seed in enumerate(run[SEEDS]):
        plain = tiny.ksampler("sd3", seed, tiny.latent("sd3"), steps=2)
        assert tiny.difference(run[LATENTS][0]["samples"][place : place + 1], plain) <= TOLERANCE


def check_one_candidate() -> None:
    graph, node = simple(n=1)
    run = catch(graph, node, LATENTS, SEED)
    assert run[1] == [100]
    assert torch.equal(run[0][0]["samples"], tiny.ksampler("sd3", 100, tiny.latent("sd3"), steps=2))


def check_chunk_does_not_change_the_result() -> None:
    outcomes = []
    for chunk in (1, 2, 5):
        scorer = Pixel()
        graph, node = simple(scorer, n=5, chunk=chunk)
        run = catch(graph, node, LATENTS, SEED, SCORES)
        assert max(scorer.sizes) == chunk and sum(scorer.sizes) == 5
        outcomes.append((run[1], run[0][0]["samples"], run[2]))
    for seed, samples, scores in outcomes[1:]:
        assert seed == outcomes[0][0]
        assert tiny.difference(samples, outcomes[0][1]) <= TOLERANCE
        assert all(abs(a - b) < 1e-3 for a, b in zip(scores, outcomes[0][2], strict=True))


def check_early_stops() -> None:
    graph, node = simple(Pixel([1.0, 9.0, 2.0, 3.0]), n=4, chunk=1, target=5.0)
    run = catch(graph, node, SEED, SCORES, REPORT)
    assert run[0] == [101] and run[1] == [1.0, 9.0] and "target" in run[2][0]
    graph, node = simple(Pixel([1.0, 1.001, 1.0, 0.999, 1.0, 1.0]), n=6, chunk=2, min_gain=5.0)
    run = catch(graph, node, SCORES, REPORT)
    assert len(run[0]) < 6 and "not expected to add enough" in run[1][0]
    graph, node = simple(n=6, chunk=1, max_seconds=0.001)
    run = catch(graph, node, SCORES, REPORT)
    assert len(run[0]) == 1 and "time is up" in run[1][0]


def check_latent_extras() -> None:
    """A mask and a batch_index are honoured and handed on; of a batch the first item is used, and said so."""
    start = torch.cat([tiny.latent("sd3", empty=False)["samples"], torch.ones(1, 16, 8, 8)])
    mask = torch.zeros(2, 64, 64)
    mask[:, 32:] = 1.0
    given = {"samples": start, "noise_mask": mask, "batch_index": [3, 4]}
    graph, node = simple(latent=given, denoise=0.7, exact=True)
    run = catch(graph, node, LATENTS, SEED, REPORT)
    first = {"samples": start[:1], "noise_mask": mask[:1], "batch_index": [3]}
    plain = tiny.ksampler("sd3", run[1][0], first, steps=2, denoise=0.7)
    latents = run[0][0]
    assert torch.equal(latents["samples"], plain)
    assert latents["batch_index"] == [3] and torch.equal(latents["noise_mask"], mask[:1])
    assert "holds 2 items" in run[2][0]
    assert given["batch_index"] == [3, 4] and len(given["samples"]) == 2


def check_disabled_noise_is_said_and_stochastic_samplers_still_differ() -> None:
    graph, node, _ = advanced(sampler="euler_ancestral")
    graph.nodes[node.id]["inputs"]["noise"] = graph.node("DisableNoise")[0]
    again = graph.node(
        "SamplerCustomAdvanced", **{k: v for k, v in graph.nodes[node.id]["inputs"].items() if k in LINKS}
    )
    graph.nodes[again.id]["inputs"]["noise"] = node[NOISE]
    run = catch(graph, node, LATENTS, SCORES, REPORT)
    assert "same for every seed" in run[2][0]
    assert len(set(run[1])) == 3
    remade = graph.run(again[0])
    assert remade.ok and tiny.difference(run[0][0]["samples"], remade[0][0]["samples"]) <= TOLERANCE


LINKS = ("noise", "guider", "sampler", "sigmas", "latent_image")


def check_noise_without_a_seed_is_refused() -> None:
    class Fixed:
        __slots__ = ()
        seed = 5

    graph, node, _ = advanced()
    graph.nodes[node.id]["inputs"]["noise"] = graph.give(Fixed())
    run = graph.run(node[SEED])
    assert not run.ok and "another seed" in run.error


def check_video_latent_is_refused_before_sampling() -> None:
    scorer = Pixel()
    graph, node = simple(scorer, latent={"samples": torch.zeros(1, 16, 3, 8, 8)})
    run = graph.run(node[SEED])
    assert not run.ok and "video" in run.error and scorer.sizes == []


def check_out_of_memory_halves_the_chunk() -> None:
    """The device seems to hold two candidates at a time."""
    sizes = []
    sampling = pack("nodes.sampling")
    original = sampling.Sampling._together

    def tight(self: Any, seeds: Any) -> Any:
        sizes.append(len(seeds))
        if len(seeds) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory (simulated)")
        return original(self, seeds)

    sampling.Sampling._together = tight
    try:
        graph, node = simple(n=5, chunk=5)
        run = catch(graph, node, SCORES, REPORT)
    finally:
        sampling.Sampling._together = original
    assert len(run[0]) == 5 and sizes == [5, 2, 2]
    assert "memory ran out" in run[1][0]


def check_out_of_memory_inside_the_model_call() -> None:
    """As above, but from within a thread's question to the model; nothing is left behind."""
    graph, node = simple(n=4, chunk=4)
    seen: list[int] = []

    def tight(args: Any) -> Any:
        seen.append(len(args["denoised"]))
        if len(args["denoised"]) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory (simulated)")
        return args["denoised"]

    model = tiny.models("sd3")[0].clone()
    model.set_model_sampler_post_cfg_function(tight)
    graph.nodes[node.id]["inputs"]["model"] = graph.give(model)
    run = catch(graph, node, SCORES)
    assert len(run[0]) == 4 and seen[0] == 4 and set(seen[1:]) == {2}
    assert not [thread for thread in threading.enumerate() if thread.name == "hps-candidate"]


def check_interrupt_stops_cleanly_and_the_next_prompt_works() -> None:
    import comfy.utils

    progress: list[int] = []

    original = comfy.utils.ProgressBar.update_absolute

    def step(bar: Any, value: int, *rest: Any) -> None:
        progress.append(value)
        if len(progress) == 4:
            mm.interrupt_current_processing()
        original(bar, value, *rest)

    for exact in (False, True):
        progress.clear()
        scorer = Pixel()
        graph, node = simple(scorer, n=6, steps=4, chunk=3, exact=exact)
        comfy.utils.ProgressBar.update_absolute = step
        try:
            run = graph.run(node[SEED])
        finally:
            comfy.utils.ProgressBar.update_absolute = original
        assert not run.ok and run.interrupted, run
        assert scorer.sizes == [] and len(progress) == 4
        assert not [thread for thread in threading.enumerate() if thread.name == "hps-candidate"]
        graph, node = simple()
        assert len(catch(graph, node, SCORES)[0]) == 3


def check_progress_preview_and_events() -> None:
    import comfy.utils

    bars: list[tuple[int, int, Any]] = []
    hook = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **_: bars.append((value, total, preview)))
    try:
        graph, node = simple(Pixel([1.0, 3.0, 2.0, 0.5]), n=4, chunk=2)
        run = catch(graph, node, SEED)
    finally:
        comfy.utils.set_progress_bar_global_hook(hook)
    values = [value for value, total, _ in bars if total == 8]
    assert values == sorted(values) and values[0] == 1 and values[-1] == 8, values
    pictures = [preview for *_, preview in bars if preview is not None]
    assert pictures and pictures[-1][1].size == (64, 64)
    events = [data for name, data in run.events if name == "hps.candidate"]
    assert [c["seed"] for event in events for c in event["candidates"]] == ["100", "101", "102", "103"]
    assert events[-1]["done"] == 4 and events[-1]["best"]["index"] == 1 and events[-1]["node"] == node.id
    shown = run.ui[node.id]["hps"][0]
    assert shown["ranks"] == [3, 1, 2, 4] and shown["kept"] == [1]
    assert [item["seed"] for item in shown["items"]] == ["101", "102", "100", "103"]
    live = {c["index"]: c["image"] for event in events for c in event["candidates"]}
    assert all(item["image"] == live[item["index"]] is not None for item in shown["items"]), "pictures made twice"
    assert {event["run"] for event in events} == {shown["run"]}
    assert shown["stopped"] == "all" and run.ui[node.id]["text"]
    assert server.events is not None


def check_ensemble_rule_decides() -> None:
    fake, rules = pack("hpskit.scorers.fake"), pack("hpskit.select")
    first, second = fake.FakeScorer("a"), Pixel([3.0, 9.0, 1.0])
    joined = pack("hpskit.scorers").combine([first, second])
    joined.rule = rules.Rule(kind="single", main="pixel")
    graph, node = simple(joined, n=3)
    run = catch(graph, node, SEED, TABLE)
    assert run[0] == [101]
    table = run[1][0]
    assert set(table.scores.parts) == {"a", "pixel"} and table.scores.parts["pixel"].tolist() == [3.0, 9.0, 1.0]


def check_image_that_is_not_finite_comes_last() -> None:
    graph, node = simple(n=3)
    vae = tiny.models("sd3")[1]
    calls = []

    class Broken:
        def decode(self, latent: Any) -> Any:
            calls.append(1)
            image = vae.decode(latent)
            return image * float("nan") if len(calls) == 1 else image

    graph.nodes[node.id]["inputs"]["vae"] = graph.give(Broken())
    run = catch(graph, node, SEED, SCORES, TABLE)
    assert run[0] != [100] and run[1][0] != run[1][0] and run[2][0].ranking.rank[0] == 3
    assert run.ui[node.id]["hps"][0]["scores"][0] is None


def check_help_and_tooltips() -> None:
    """Every input and output has a tooltip, and the node ids are the documented ones."""
    for node_id in ("HPS_BestOfN", "HPS_BestOfNSimple"):
        schema = node_class(node_id).define_schema()
        assert schema.node_id == node_id and schema.display_name.startswith("HPS ") and schema.description
        assert all(item.tooltip for item in (*schema.inputs, *schema.outputs)), node_id


def check_shipped_miniatures_from_end_to_end() -> None:
    """The shipped generator and scorer: KSampler with the winner's seed gives the image, HPS Score its score."""
    graph = Graph()
    loaded = graph.node("HPS_LoadEmbedded", prompt=pack("hpskit.embedded").EXAMPLE_PROMPTS[0])
    scorer = graph.node(
        "HPS_LoadScorer",
        scorer=pack("nodes.host").TINY_CHOICE,
        mode="auto",
        dtype="auto",
        download=False,
        backbone="auto",
    )
    positive = graph.node("CLIPTextEncode", clip=loaded[1], text=loaded[3])
    negative = graph.node("CLIPTextEncode", clip=loaded[1], text="")
    latent = graph.node("EmptySD3LatentImage", width=64, height=64, batch_size=1)
    links = {"model": loaded[0], "positive": positive[0], "negative": negative[0], "latent_image": latent[0]}
    sampled = {"steps": 4, "cfg": 2.0, "sampler_name": "euler_ancestral", "scheduler": "simple", "denoise": 1.0}
    judged = {**JUDGING, "prompt": loaded[3], "n": 6, "vae": loaded[2], "scorer": scorer[0]}
    node = graph.node("HPS_BestOfNSimple", seed=40, **links, **sampled, **judged)
    again = graph.node("KSampler", seed=node[SEED], **links, **sampled)
    image = graph.node("VAEDecode", samples=again[0], vae=loaded[2])
    options = {"clean_prompt": True, "match_saved_file": True}
    score = graph.node("HPS_Score", scorer=scorer[0], prompt=loaded[3], images=image[0], **options)
    run = catch(graph, node, LATENTS, SCORES, IMAGES)
    remade = graph.run(again[0], image[0], score[1])
    assert remade.ok, remade.error
    assert tiny.difference(run[0][0]["samples"], remade[0][0]["samples"]) <= TOLERANCE
    assert float((run[2][0] - remade[1][0]).abs().max()) < 1e-3
    assert len(run[1]) == 6 and abs(remade[2][0] - max(run[1])) < 0.05
