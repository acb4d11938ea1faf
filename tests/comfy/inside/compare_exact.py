"""Every kind of axis of HPS_CompareSettings makes the very images that the host's own nodes make."""

from __future__ import annotations

from typing import Any

import torch
from comfy_inside import pack, sibling

helpers = sibling("compare_tiny")
MODEL = "compare_model.safetensors"


def _made(**changed: Any) -> tuple[Any, Any, Any, Any]:
    """Return study, kept images, graph and loader of a run on the tiny checkpoint."""
    helpers.forget()
    helpers.checkpoint(MODEL)
    scorer = helpers.Keep()
    graph, node, loader = helpers.graph_of(scorer, MODEL, **changed)
    done = helpers.run(graph, node)
    study = helpers.result_of(done).study
    assert len(study.cells) == study.size and not any("failed" in note for note in study.notes), study.notes
    return study, scorer.images, graph, loader


def _equal(changed: dict[str, Any], settings: list[dict[str, Any]], texts: Any = None, exact: bool = True) -> None:
    """Compare each image with that of the stock nodes; `settings` say what these are given for each setting."""
    with helpers.small_text_encoder():
        study, images, graph, loader = _made(exact=exact, **changed)
        assert len(study.settings) == len(settings), [setting.label for setting in study.settings]
        loaders = {}
        links, cells = [], []
        for cell in study.cells:
            given = dict(settings[cell.setting])
            name = given.pop("checkpoint", None)
            if name and name not in loaders:
                loaders[name] = graph.node("CheckpointLoaderSimple", ckpt_name=name)
            prompt = given.pop("variant", "{prompt}").replace("{prompt}", study.prompts[cell.prompt])
            seed = int(study.seeds[cell.seed])
            links.append(helpers.plain(graph, loaders.get(name, loader), prompt, seed, **given))
            cells.append(cell)
        done = graph.run(*links)
        assert done.ok, done.error
    for place, cell in enumerate(cells):
        ours, stock = images[int(cell.score)], done[place][0][0].movedim(-1, 0)
        if exact:
            assert torch.equal(ours, stock), (study.settings[cell.setting].label, float((ours - stock).abs().max()))
            hashed = pack("hpskit.ledger.picture").pixel_hash(pack("hpskit.images").to_pil(stock))
            assert cell.image_hash == hashed
        else:
            assert float((ours - stock).abs().max()) < 1e-3
    assert len({images[int(cell.score)].numpy().tobytes() for cell in cells}) == len(cells), "the settings differ"


def check_samplers() -> None:
    names = ("euler", "euler_ancestral", "dpmpp_2m", "heun")
    _equal({"samplers": ", ".join(names), "steps": "3"}, [{"sampler": name, "steps": 3} for name in names])


def check_samplers_sampled_together() -> None:
    names = ("euler", "dpmpp_2m_sde")
    settings = [{"sampler": name, "steps": 3} for name in names]
    _equal({"samplers": ", ".join(names), "steps": "3", "seeds_per_prompt": 3}, settings, exact=False)


def check_schedulers_and_steps() -> None:
    changed = {"schedulers": "normal, karras", "steps": "2-3"}
    _equal(changed, [{"scheduler": name, "steps": steps} for name in ("normal", "karras") for steps in (2, 3)])


def check_cfgs_with_and_without_guidance() -> None:
    _equal({"cfgs": "1, 3.5"}, [{"cfg": 1.0}, {"cfg": 3.5}])


def check_shifts() -> None:
    _equal({"shifts": "1, 5", "steps": "3"}, [{"shift": 1.0, "steps": 3}, {"shift": 5.0, "steps": 3}])


def check_loras_change_model_and_clip() -> None:
    one, two = helpers.lora("one.safetensors"), helpers.lora("two.safetensors", 6)
    settings = [{"loras": [(one, a), (two, b)]} for a in (0.0, 1.0) for b in (-0.5, 1.0)]
    _equal({"loras": f"{one}: 0, 1; two: -0.5, 1"}, settings)


def check_checkpoints_with_their_own_clip_and_vae() -> None:
    helpers.checkpoint(MODEL)
    names = [helpers.checkpoint("compare_a.safetensors", 11), helpers.checkpoint("compare_b.safetensors", 12)]
    lora = helpers.lora("one.safetensors")
    settings = [{"checkpoint": name, "loras": [(lora, strength)]} for name in names for strength in (0.0, 1.0)]
    _equal({"checkpoints": "; ".join(names), "loras": f"{lora}: 0, 1"}, settings)


def check_prompt_variants_are_scored_against_the_prompt() -> None:
    helpers.checkpoint(MODEL)
    variants = ["{prompt}", "{prompt}, oil painting"]
    _equal({"prompt_variants": " | ".join(variants)}, [{"variant": text} for text in variants])
    with helpers.small_text_encoder():
        helpers.forget()
        scorer = helpers.Keep()
        graph, node, _ = helpers.graph_of(scorer, MODEL, prompt_variants="\n".join(variants))
        helpers.run(graph, node)
    assert set(scorer.prompts) == {"a red circle", "a blue square"}


def check_the_shift_is_set_as_the_hosts_nodes_set_it() -> None:
    """For the kinds of noise schedules that have one; others are refused."""
    from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow, ModelSamplingFlux, ModelSamplingStableCascade

    shifted = pack("nodes.compare_models").shifted
    model = helpers.tiny.models("sd3")[0]

    def flux(given: Any, shift: float) -> Any:
        return ModelSamplingFlux().patch(given, shift, shift, 1024, 1024)[0]

    def sigmas(given: Any) -> Any:
        own = given.get_model_object("model_sampling")
        return own.sigmas, own.sigma(torch.tensor(0.3)), own.timestep(torch.tensor(0.7))

    kinds = (
        lambda given, shift: ModelSamplingAuraFlow().patch_aura(given, shift)[0],
        flux,
        lambda given, shift: ModelSamplingStableCascade().patch(given, shift)[0],
    )
    for kind in kinds:
        ours, stock = sigmas(shifted(kind(model, 1.1), 2.5)), sigmas(kind(model, 2.5))
        assert all(torch.equal(a, b) for a, b in zip(ours, stock, strict=True))
        assert not torch.equal(ours[0], sigmas(kind(model, 1.1))[0])
    before = model.get_model_object("model_sampling")
    shifted(model, 9.0)
    assert model.get_model_object("model_sampling") is before
    try:
        shifted(helpers.tiny.models("sd15")[0], 2.0)
    except pack("hpskit.errors").StudyError as error:
        assert "no shift" in str(error)
    else:
        raise AssertionError("a model without a shift was given one")
