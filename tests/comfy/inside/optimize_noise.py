"""HPS_OptimizeNoise and HPS_OptimizeNoiseSimple as graphs through the host's executor: what comes out of them."""

from __future__ import annotations

import gc
import math
import weakref
from pathlib import Path
from typing import Any

import torch
from comfy_inside import Graph, free, loaded, node_class, pack, sibling

parts = sibling("optimize_noise_parts")
tiny = parts.tiny
NOISE, LATENT, IMAGE, START, CURVE, TABLE, REPORT = range(7)


def check_every_method_improves_the_miniature() -> None:
    for method in (*parts.GRADIENT, *parts.SEARCH):
        graph, node, links, loader = parts.miniature(method=method, iterations=6, screen=4)
        plain = graph.node("KSampler", **links)
        image = graph.node("VAEDecode", samples=plain[0], vae=loader[2])
        run = parts.catch(graph, node, TABLE, START, IMAGE, NOISE, REPORT)
        stock = graph.run(image[0])
        table = run[0][0]
        before, after = table.scores.tolist()
        assert after > before + 0.3, (method, before, after)
        assert table.ranking.rank == (2, 1) and torch.equal(run[1][0], stock[0][0])
        norm = float(run[3][0].noise.norm()) / math.sqrt(run[3][0].noise.numel())
        assert abs(norm - 1) < 0.05, (method, norm)
        assert run[4][0].startswith(f"Score: given noise {before:.3f}, begun with "), run[4][0]
        assert f"(of 4 tried), optimised {after:.3f} (" in run[4][0], run[4][0]


def check_the_noise_makes_its_image_again_bit_for_bit() -> None:
    for kind, method, sampler in (
        ("sd3", "geodesic (gradient)", "euler"),
        ("sd3", "reno (gradient)", "dpmpp_2m_sde"),
        ("sd3", "sphere search", "euler_ancestral"),
        ("sd3", "subspace search", "lcm"),
        ("sd15", "geodesic (gradient)", "lcm"),
        ("sd15", "zero-order search", "dpmpp_2m"),
    ):
        parts.expect_remade(parts.Wired(kind, method=method, sampler=sampler, steps=1 if kind == "sd15" else 2))


def check_after_saving_and_loading_too() -> None:
    wired = parts.Wired(sampler="dpmpp_sde")
    saved = wired.graph.node("HPS_SaveNoise", noise=wired.node[NOISE], filename_prefix="remade/x")
    run = wired.graph.run(saved[1], wired.node[LATENT])
    assert run.ok, run.error
    other = parts.Wired(sampler="dpmpp_sde")
    name = "remade/" + Path(run[0][0]).name
    file = other.graph.node("HPS_LoadNoise", file=f"{name} [output]")
    sampled = other.stock(file[0])
    again = other.graph.run(sampled[0], file[1], file[2])
    assert again.ok, again.error
    assert torch.equal(again[0][0]["samples"], run[1][0]["samples"])
    assert again[1] == [200] and again[2] == ["a red fox"]


def check_the_start_value_is_that_of_the_stock_nodes() -> None:
    for method in (parts.GRADIENT[0], parts.SEARCH[0]):
        wired = parts.Wired(method=method, screen=1, iterations=1)
        image = wired.decoded(wired.stock())
        judged = {"scorer": wired.graph.give(parts.redness()), "prompt": "a red fox"}
        score = wired.graph.node("HPS_Score", images=image[0], clean_prompt=True, match_saved_file=True, **judged)
        run = wired.graph.run(wired.node[TABLE], score[1], wired.node[REPORT])
        assert run.ok, run.error
        assert abs(run[0][0].scores.tolist()[0] - run[1][0]) < 1e-5, (run[0][0].scores, run[1])
        shown = run.ui[wired.node.id]["hps"][0]["curve"]
        assert abs(shown[0]["score"] - run[1][0]) < 1e-4, (shown[0], run[1])


def check_both_variants_agree() -> None:
    wired = parts.Wired(screen=1)
    links = {"model": wired.loader[0], "latent_image": wired.links["latent_image"], "seed": 200}
    for k, name in ((1, "positive"), (2, "negative")):
        links[name] = wired.graph.give(tiny.conditioning("sd3", k))
    sampled = {"steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    plan = {**parts.PLAN, "screen": 1, "vae": wired.vae, "scorer": wired.graph.give(parts.redness())}
    other = wired.graph.node("HPS_OptimizeNoiseSimple", prompt="a red fox", **links, **sampled, **plan)
    run = wired.graph.run(wired.node[NOISE], other[NOISE], wired.node[LATENT], other[LATENT])
    assert run.ok, run.error
    assert torch.equal(run[0][0].noise, run[1][0].noise) and run[0][0].seed == run[1][0].seed == 200
    assert torch.equal(run[2][0]["samples"], run[3][0]["samples"])


def check_nothing_that_was_given_is_changed() -> None:
    """Inputs, torch's random state and the model are afterwards as before: a plain run gives the identical image."""
    before = tiny.ksampler("sd3", 7, tiny.latent("sd3"))
    latent = tiny.latent("sd3", empty=False)
    positive = tiny.conditioning("sd3", 1)
    copies = latent["samples"].clone(), positive[0][0].clone(), set(positive[0][1])
    for method in (parts.GRADIENT[0], parts.SEARCH[0]):
        wired = parts.Wired(method=method, latent=latent, denoise=0.7)
        wired.graph.nodes[wired.links["guider"][0]]["inputs"]["positive"] = wired.graph.give(positive)
        wired.graph.nodes[wired.links["guider"][0]]["inputs"]["model"] = wired.graph.give(tiny.models("sd3")[0])
        torch.manual_seed(3)
        state = torch.get_rng_state()
        wired.run(NOISE)
        assert torch.equal(state, torch.get_rng_state())
        assert set(latent) == {"samples"} and torch.equal(latent["samples"], copies[0])
        assert torch.equal(positive[0][0], copies[1]) and set(positive[0][1]) == copies[2]
        assert torch.equal(tiny.ksampler("sd3", 7, tiny.latent("sd3")), before)


def check_of_a_batch_the_first_item_is_used_and_said_so() -> None:
    start = torch.cat([tiny.latent("sd3", empty=False)["samples"], torch.ones(1, 16, 8, 8)])
    given = {"samples": start, "batch_index": [3, 4]}
    run = parts.Wired(latent=given, denoise=0.7).run(LATENT, REPORT, IMAGE)
    assert run[0][0]["samples"].shape == (1, 16, 8, 8) and run[0][0]["batch_index"] == [3]
    assert "holds 2 items" in run[1][0] and len(run[2][0]) == 1
    assert given["batch_index"] == [3, 4] and len(given["samples"]) == 2


def check_a_loaded_noise_is_improved_further_and_its_starts_are_not_made_up() -> None:
    first = parts.Wired().run(NOISE, TABLE)
    wired = parts.Wired(screen=4)
    wired.graph.nodes[wired.node.id]["inputs"]["noise"] = wired.graph.give(first[0][0])
    run = wired.run(NOISE, TABLE, REPORT)
    assert abs(run[1][0].scores.tolist()[0] - first[1][0].scores.tolist()[1]) < 1e-4
    assert run[1][0].scores.tolist()[1] > run[1][0].scores.tolist()[0]
    assert "no other seeds" in run[2][0] and run[0][0].seed == 200


def check_screening_counts_seeds_up_and_starts_from_the_best() -> None:
    wired = parts.Wired(method="zero-order search", screen=5, iterations=1, match_saved_file=False)
    plain = [tiny.ksampler("sd3", 200 + k, tiny.latent("sd3"), steps=2) for k in range(5)]
    with torch.inference_mode():
        images = [tiny.models("sd3")[1].decode(samples) for samples in plain]
    wanted = [parts.redness().score(image.movedim(-1, 1), "").tolist()[0] for image in images]
    run = wired.run(REPORT)
    curve = run.ui[wired.node.id]["hps"][0]["curve"]
    shown = [point["score"] for point in curve if point["phase"] == "screen"]
    assert all(abs(a - b) < 1e-3 for a, b in zip(shown, wanted, strict=True)), (shown, wanted)
    assert "5 starting noises tried" in run[0][0]


def check_held_out_scorer_fast_vae_and_ensemble() -> None:
    held = parts.redness("watched")
    joined = pack("hpskit.scorers").combine([parts.redness("a"), parts.redness("b")])
    vae, calls = tiny.models("sd3")[1], []

    class Small:
        """A VAE for gradients that can be told from the other."""

        def decode_with_gradients(self, samples: Any) -> Any:
            calls.append(samples.requires_grad)
            return pack("nodes.gradient_decode").differentiable_decoder(vae)(samples) * 0.5

    wired = parts.Wired(iterations=6)
    inputs = wired.graph.nodes[wired.node.id]["inputs"]
    inputs |= {"held_out": wired.graph.give(held), "fast_vae": wired.graph.give(Small())}
    inputs["scorer"] = wired.graph.give(joined)
    run = parts.expect_remade(wired)
    assert calls and all(calls)
    assert set(run[3][0].scores.parts) == {"a", "b"}
    assert "Held out, Redness" in run[4][0]
    shown = run.ui[wired.node.id]["hps"][0]
    assert set(shown["held_out"]) == {"start", "best", "chosen"} and set(shown["parts"]) == {"a", "b"}
    seen = [point["held_out"] for point in shown["curve"] if point["held_out"] is not None]
    assert seen, "the held-out score stands in the curve"


def check_the_curve_is_a_picture_and_the_table_has_two_rows() -> None:
    run = parts.Wired().run(CURVE, TABLE)
    curve = run[0][0]
    assert curve.shape == (1, 480, 960, 3) and float(curve.min()) >= 0 and float(curve.max()) <= 1
    assert float(curve.std()) > 0.02 and len(run[1][0]) == 2 and run[1][0].seeds == ()
    assert run[1][0].scores.prompts == ("a red fox",) * 2


def check_match_saved_file_judges_the_rounded_image() -> None:
    for method in (parts.GRADIENT[0], parts.SEARCH[0]):
        for rounded in (True, False):
            wired = parts.Wired(method=method, match_saved_file=rounded)
            run = wired.run(IMAGE, TABLE)
            image = run[0][0].movedim(-1, 1)
            quantize = pack("hpskit.images").quantize
            wanted = parts.redness().score(quantize(image) if rounded else image, "").tolist()[0]
            assert run[1][0].scores.tolist()[1] == wanted
            best = run.ui[wired.node.id]["hps"][0]["curve"][-1]["best"]
            assert abs(best - wanted) < 1e-4, (method, rounded, best, wanted)


def check_free_drops_everything() -> None:
    graph, node, _, _ = parts.miniature()
    run = parts.catch(graph, node, NOISE, TABLE)
    networks = [weakref.ref(module) for module in loaded()]
    kept = [weakref.ref(run[0][0]), weakref.ref(run[1][0])]
    assert networks
    del run
    free()
    gc.collect()
    assert not loaded() and not [ref for ref in (*networks, *kept) if ref() is not None]


def check_help_and_tooltips() -> None:
    """Every input and output has a tooltip, and the defaults suit few-step models."""
    for node_id in ("HPS_OptimizeNoise", "HPS_OptimizeNoiseSimple", "HPS_SaveNoise", "HPS_LoadNoise"):
        schema = node_class(node_id).define_schema()
        assert schema.node_id == node_id and schema.display_name.startswith("HPS ") and schema.description
        assert all(item.tooltip for item in (*schema.inputs, *schema.outputs)), node_id
    inputs = {item.id: item for item in node_class("HPS_OptimizeNoiseSimple").define_schema().inputs}
    assert (inputs["steps"].default, inputs["cfg"].default, inputs["iterations"].default) == (4, 1.0, 10)
    assert isinstance(Graph(), Graph)


def check_a_held_out_scorer_that_is_optimised_and_an_empty_prompt_are_refused() -> None:
    wired = parts.Wired(iterations=1)
    wired.graph.nodes[wired.node.id]["inputs"]["held_out"] = wired.graph.give(parts.redness())
    run = wired.graph.run(wired.node[0])
    assert not run.ok and "cannot be held out" in run.error, run.error
    graph, node, _, _ = parts.miniature(method="sphere search", iterations=1, prompt=" ")
    run = graph.run(node[0])
    assert not run.ok and "prompt is empty" in run.error, run.error
