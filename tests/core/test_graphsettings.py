"""The settings of a graph as seen from one of its nodes."""

from __future__ import annotations

from typing import Any

import pytest

from hpskit import graphsettings


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def graph(**changes: Any) -> dict[str, Any]:
    """Two samplers side by side, each scored."""
    plain = {
        "1": node("CheckpointLoaderSimple", ckpt_name="base.safetensors"),
        "2": node("LoraLoader", model=["1", 0], clip=["1", 1], lora_name="ink.safetensors", strength_model=0.8),
        "3": node("LoraLoader", model=["2", 0], clip=["2", 1], lora_name="off.safetensors", strength_model=0),
        "4": node("CLIPTextEncode", text="a fox", clip=["3", 1]),
        "5": node("CLIPTextEncode", text="blurry", clip=["3", 1]),
        "10": sampler("euler", 20, 7, model=["3", 0]),
        "11": node("VAEDecode", samples=["10", 0], vae=["1", 2]),
        "12": node("HPS_Score", images=["11", 0], prompt="a fox"),
        "20": sampler("dpmpp_2m", 8, 99, model=["1", 0]),
        "21": node("VAEDecode", samples=["20", 0], vae=["1", 2]),
        "22": node("HPS_Score", images=["21", 0], prompt="a fox"),
        "30": node("LoadImage", image="x.png"),
        "31": node("HPS_Score", images=["30", 0], prompt="a fox"),
    }
    return {**plain, **changes}


def sampler(name: str, steps: int, seed: int, **inputs: Any) -> dict[str, Any]:
    fixed = {
        "positive": ["4", 0],
        "negative": ["5", 0],
        "latent_image": ["6", 0],
        "scheduler": "karras",
        "denoise": 0.6,
    }
    return node("KSampler", sampler_name=name, steps=steps, seed=seed, cfg=5.5, **fixed, **inputs)


def test_each_node_sees_its_own_sampler() -> None:
    first, second = (graphsettings.read_at(graph(), name) for name in ("12", "22"))
    assert first is not None and second is not None
    assert (first["sampler"], first["steps"], first["seed"]) == ("euler", 20, 7)
    assert (second["sampler"], second["steps"], second["seed"]) == ("dpmpp_2m", 8, 99)
    assert (first["positive"], first["negative"], first["cfg"]) == ("a fox", "blurry", 5.5)
    assert (first["scheduler"], first["denoise"], first["model"]) == ("karras", 0.6, "base.safetensors")
    assert (first["sampler_node"], first["sampler_class"]) == ("10", "KSampler")


def test_loras_on_the_models_road_count() -> None:
    first, second = (graphsettings.read_at(graph(), name) for name in ("12", "22"))
    assert first is not None and first["loras"] == [("ink.safetensors", 0.8)]
    assert second is not None and second["loras"] == []


def test_stacks_of_loras() -> None:
    stack = node(
        "Power Lora Loader",
        model=["1", 0],
        lora_1={"on": True, "lora": "a.safetensors", "strength": 0.5},
        lora_2={"on": False, "lora": "b.safetensors", "strength": 1.0},
        header={"type": "x"},
    )
    found = graphsettings.read_at(graph(**{"2": stack}), "12")
    assert found is not None and found["loras"] == [("a.safetensors", 0.5)]


def test_a_node_that_samples_itself() -> None:
    inputs = sampler("lcm", 4, 11, model=["2", 0])["inputs"]
    found = graphsettings.read_at(graph(**{"40": node("HPS_BestOfNSimple", **inputs)}), "40")
    assert found is not None and (found["sampler"], found["sampler_class"]) == ("lcm", "HPS_BestOfNSimple")
    assert found["loras"] == [("ink.safetensors", 0.8)]


def test_separate_sampler_parts() -> None:
    parts = {
        "50": node("HPS_BestOfN", noise=["51", 0], guider=["52", 0], sampler=["53", 0], sigmas=["54", 0]),
        "51": node("RandomNoise", noise_seed=2**64 - 1),
        "52": node("CFGGuider", model=["2", 0], positive=["4", 0], negative=["5", 0], cfg=3.5),
        "53": node("KSamplerSelect", sampler_name="heun"),
        "54": node("BasicScheduler", model=["2", 0], scheduler="beta", steps=12, denoise=0.9),
    }
    found = graphsettings.read_at(graph(**parts), "50")
    assert found is not None
    assert (found["seed"], found["sampler"], found["scheduler"]) == (2**64 - 1, "heun", "beta")
    assert (found["steps"], found["cfg"], found["denoise"]) == (12, 3.5, 0.9)
    assert found["loras"] == [("ink.safetensors", 0.8)] and found["model"] == "base.safetensors"


@pytest.mark.parametrize("name", ["31", "30", "nowhere", ""])
def test_without_a_sampler_nothing_is_known(name: str) -> None:
    assert graphsettings.read_at(graph(), name) is None


def test_circles_and_odd_values_end() -> None:
    odd = {
        "2": node("LoraLoader", model=["3", 0], lora_name=["2", 0], strength_model="much"),
        "3": node("Loop", model=["2", 0], lora={"lora": 5, "strength": 1}, more={"lora": "x", "strength": None}),
        "10": sampler("euler", 20, 7, model=["10", 0]),
    }
    found = graphsettings.read_at(graph(**odd), "12")
    assert found is not None and found["loras"] == [] and found["model"] is None
    assert graphsettings.read_at({"1": "x", "2": {"inputs": 3}, "3": None}, "1") is None


# --- seeds that may be copied -----------------------------------------------------------------------------------------


def seed_at(name: str, **changes: Any) -> int | None:
    found = graphsettings.read_at(graph(**changes), name)
    assert found is not None
    seed: int | None = found["seed"]
    return seed


def test_a_plain_chain_has_its_seed() -> None:
    assert seed_at("12") == 7
    assert seed_at("12", **{"12": node("HPS_Score", images=["13", 0]), "13": node("ImageScale", image=["11", 0])}) == 7


def test_a_second_stage_has_no_seed_of_its_own() -> None:
    second = sampler("euler", 20, 0, model=["1", 0])
    second["inputs"]["latent_image"] = ["20", 0]
    assert seed_at("12", **{"10": second}) is None
    advanced = node("KSamplerAdvanced", noise_seed=0, add_noise="disable", positive=["4", 0], latent_image=["6", 0])
    assert seed_at("12", **{"10": advanced}) is None
    detailer = node("FaceDetailer", image=["11", 0], positive=["4", 0], negative=["5", 0], seed=5, model=["1", 0])
    assert seed_at("12", **{"12": node("HPS_Score", images=["13", 0]), "13": detailer}) is None


@pytest.mark.parametrize("kind", ["HPS_BestOfN", "HPS_OptimizeNoise", "HPS_LoadNoise"])
def test_a_noise_that_was_chosen_is_not_that_of_the_first_seed(kind: str) -> None:
    inputs = {"noise": ["51", 0], "guider": ["52", 0]} if kind != "HPS_LoadNoise" else {"noise": "x.safetensors"}
    chain = {
        "10": node("SamplerCustomAdvanced", noise=["50", 3], guider=["52", 0], latent_image=["6", 0]),
        "50": node(kind, **inputs),
        "51": node("RandomNoise", noise_seed=1),
        "52": node("CFGGuider", model=["2", 0], positive=["4", 0], negative=["5", 0], cfg=3.5),
    }
    assert seed_at("12", **chain) is None


@pytest.mark.parametrize("kind", ["HPS_Select", "ImageFromBatch", "RebatchImages", "ImageSelector"])
def test_an_image_taken_out_of_a_batch_has_no_seed(kind: str) -> None:
    chain = {"12": node("HPS_Score", images=["13", 0]), "13": node(kind, image=["11", 0])}
    assert seed_at("12", **chain) is None


def test_of_two_samplers_only_what_they_share_is_told() -> None:
    chain = {"12": node("HPS_Score", images=["13", 0]), "13": node("Joined", image1=["11", 0], image2=["21", 0])}
    found = graphsettings.read_at(graph(**chain), "12")
    assert found is not None
    assert (found["sampler"], found["steps"], found["seed"], found["loras"]) == (None, None, None, [])
    assert (found["scheduler"], found["cfg"], found["model"], found["positive"]) == (
        *("karras", 5.5, "base.safetensors"),
        "a fox",
    )


def test_guided_models_are_told_from_plain_ones() -> None:
    plain, guided = (
        graphsettings.read_at(graph(**{"3": node(kind, model=["2", 0])}), "12")
        for kind in ("ModelSamplingFlux", "HPS_RewardGuidance")
    )
    assert plain is not None and guided is not None and (plain["guided"], guided["guided"]) == (False, True)
