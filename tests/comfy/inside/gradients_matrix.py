"""Gradients with what people wire to a model: LoRA, areas, masks, ControlNet, hooks, patches, precisions, attention."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import comfy.cldm.cldm
import comfy.controlnet
import comfy.hooks
import comfy.ldm.modules.attention as attention
import comfy.sd
import comfy_extras.nodes_differential_diffusion as differential
import comfy_extras.nodes_freelunch as freelunch
import comfy_extras.nodes_model_advanced as advanced
import comfy_extras.nodes_pag as pag
import comfy_extras.nodes_tomesd as tome
import torch
from comfy_inside import pack, sibling

import nodes

probe = sibling("gradients_probe")
tiny = probe.tiny


def _in_graph(check: Any) -> Any:
    """Run a check in inference mode, as nodes are."""

    @functools.wraps(check)
    def inside() -> Any:
        with torch.inference_mode():
            return check()

    return inside


def _model() -> Any:
    return tiny.models("sd15")[0]


def _lora() -> dict[str, torch.Tensor]:
    generator, found = torch.Generator().manual_seed(4), {}
    for key, value in _model().model.state_dict().items():
        if key.endswith(("to_q.weight", "to_v.weight", "to_out.0.weight")):
            stem = key.removesuffix(".weight")
            found[stem + ".lora_up.weight"] = torch.randn(value.shape[0], 4, generator=generator) * 0.05
            found[stem + ".lora_down.weight"] = torch.randn(4, value.shape[1], generator=generator) * 0.05
    return found


def _refused(word: str, **settings: Any) -> None:
    try:
        probe.probe("sd15", **settings)
    except pack("hpskit.errors").GradientError as error:
        assert word in str(error), error
    else:
        raise AssertionError(f"not refused: {word}")


def _execute(node: Any, *values: Any) -> Any:
    if hasattr(node, "execute"):
        return node.execute(*values)[0]
    made = node()
    return getattr(made, node.FUNCTION)(*values)[0]


@functools.cache
def _control() -> Any:
    network = comfy.cldm.cldm.ControlNet(
        image_size=32, in_channels=4, hint_channels=3, model_channels=320, num_res_blocks=[1], channel_mult=[1],
        transformer_depth=[1], transformer_depth_output=[1, 1], transformer_depth_middle=1, context_dim=768,
        use_spatial_transformer=True, legacy=False, num_heads=8, num_head_channels=-1,
        use_linear_in_transformer=False, adm_in_channels=None, dtype=torch.float32, operations=tiny.OPS,
    )  # fmt: skip
    weights = {"control_model." + key: value for key, value in tiny._filled(network, 5).state_dict().items()}
    return comfy.controlnet.load_controlnet_state_dict(weights, model=_model())


def _controlled() -> dict[str, Any]:
    hint = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(6))
    sides = (tiny.conditioning("sd15", 1), tiny.conditioning("sd15", 2))
    positive, negative = nodes.ControlNetApplyAdvanced().apply_controlnet(*sides, _control(), hint, 0.8, 0.0, 1.0)
    return {"positive": positive, "negative": negative}


@_in_graph
def check_lora_and_weights_as_before() -> Any:
    before = {key: value.clone() for key, value in _model().model.state_dict().items()}
    plain = tiny.ksampler("sd15", 3, tiny.latent("sd15"))
    patched, _ = comfy.sd.load_lora_for_models(_model(), None, _lora(), 1.0, 0)
    figures = probe.expect("sd15", model=patched)
    assert torch.equal(tiny.ksampler("sd15", 3, tiny.latent("sd15")), plain)
    after = _model().model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    return figures


@_in_graph
def check_areas_masks_and_timestep_ranges() -> Any:
    first, second = tiny.conditioning("sd15", 1), tiny.conditioning("sd15", 5)
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1
    area, ranged = nodes.ConditioningSetArea(), nodes.ConditioningSetTimestepRange()
    pairs = {
        "areas": (area.append(first, 64, 32, 0, 0, 1.0)[0], area.append(second, 64, 32, 0, 32, 1.0)[0]),
        "masks": tuple(
            nodes.ConditioningSetMask().append(cond, part, "default", strength)[0]
            for cond, part, strength in ((first, mask, 1.0), (second, 1 - mask, 0.7))
        ),
        "ranges": (ranged.set_range(first, 0, 0.5)[0], ranged.set_range(second, 0.5, 1)[0]),
    }
    return {name: probe.expect("sd15", positive=one + other) for name, (one, other) in pairs.items()}


@_in_graph
def check_inpainting_and_image_to_image() -> Any:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    picture = tiny.latent("sd15", empty=False)
    soft = _execute(differential.DifferentialDiffusion, _model())
    return {
        "mask": probe.expect("sd15", given=picture | {"noise_mask": mask}),
        "soft mask": probe.expect("sd15", given=picture | {"noise_mask": ramp}, model=soft, step=0.1),
        "image to image": probe.expect("sd15", given=picture, denoise=0.5),
        "image to image, flow": probe.expect("sd3", given=tiny.latent("sd3", empty=False), denoise=0.5),
    }


@_in_graph
def check_controlnet_with_each_checkpointing() -> Any:
    conds = _controlled()
    figures = {level: probe.expect("sd15", checkpoint=level, steps=2, **conds) for level in ("none", "steps", "full")}
    figures["blocks"] = probe.expect("sd15", checkpoint="blocks", steps=2, **conds)
    return figures


@_in_graph
def check_whole_network_checkpointing_with_controlnet_is_refused() -> Any:
    def whole(apply_model: Any, given: Any) -> Any:
        from torch.utils.checkpoint import checkpoint

        run = functools.partial(apply_model, **given["c"])
        return checkpoint(run, given["input"], given["timestep"], use_reentrant=False)

    model = _model().clone()
    model.set_model_unet_function_wrapper(whole)
    _refused("ControlNet", model=model, **_controlled())


@_in_graph
def check_hooks() -> Any:
    hook = comfy.hooks.create_hook_lora(_lora(), 1.0, 0.0)
    positive, negative = tiny.conditioning("sd15", 1), tiny.conditioning("sd15", 2)
    hooked = comfy.hooks.set_hooks_for_conditioning(positive, hook)
    _refused("LoRA hook", positive=hooked, negative=negative)
    both = comfy.hooks.set_hooks_for_conditioning(negative, hook)
    plain = tiny.ksampler("sd15", 3, tiny.latent("sd15"))
    figures = {
        level: probe.expect("sd15", positive=hooked, negative=both, checkpoint=level) for level in ("none", "full")
    }
    assert torch.equal(tiny.ksampler("sd15", 3, tiny.latent("sd15")), plain)
    frames = comfy.hooks.HookKeyframeGroup()
    for strength, start in ((1.0, 0.0), (0.2, 0.5)):
        frames.add(comfy.hooks.HookKeyframe(strength, start))
    timed = comfy.hooks.create_hook_lora(_lora(), 1.0, 0.0)
    timed.set_keyframes_on_hooks(frames)
    sides = [comfy.hooks.set_hooks_for_conditioning(cond, timed) for cond in (positive, negative)]
    _refused("strength", positive=sides[0], negative=sides[1])
    return figures


@_in_graph
def check_model_patches() -> Any:
    patched = {
        "FreeU_V2": _execute(freelunch.FreeU_V2, _model(), 1.3, 1.4, 0.9, 0.2),
        "PerturbedAttentionGuidance": _execute(pag.PerturbedAttentionGuidance, _model(), 3.0),
        "RescaleCFG": _execute(advanced.RescaleCFG, _model(), 0.7),
    }
    figures = {name: probe.expect("sd15", model=model) for name, model in patched.items()}
    _refused("ToMe", model=_execute(tome.TomePatchModel, _model(), 0.3))
    return figures


@_in_graph
def check_attention_of_each_kind() -> Any:
    """The host's differentiable kinds stay as chosen, bit for bit; any other is replaced by PyTorch's own."""
    override = pack("nodes.differentiable")._attention
    q, k, v = torch.randn(3, 1, 16, 320, generator=torch.Generator().manual_seed(7)).unbind()

    def attention_sage(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("used")

    replaced = override(attention_sage, q, k, v, 8)
    assert torch.equal(replaced, attention.attention_pytorch(q, k, v, 8))
    figures = {}
    for name in ("attention_basic", "attention_sub_quad", "attention_split", "attention_pytorch"):
        kept, bare = attention.optimized_attention, inspect.unwrap(getattr(attention, name))
        assert torch.equal(override(bare, q, k, v, 8), bare(q, k, v, 8))
        try:
            attention.optimized_attention = getattr(attention, name)
            figures[name] = probe.expect("sd15", steps=1)
        finally:
            attention.optimized_attention = kept
    return figures


@_in_graph
def check_precisions() -> Any:
    """Weights that are cast for each operation; in bf16 a finite difference resolves nothing, so compare with fp32."""
    cast = _model().clone()
    cast.set_model_compute_dtype(torch.float32)
    weights = {key: value.clone() for key, value in _model().model.diffusion_model.state_dict().items()}
    eighth = comfy.sd.load_diffusion_model_state_dict(weights, model_options={"dtype": torch.float8_e4m3fn})
    half = _model().clone()
    half.set_model_compute_dtype(torch.bfloat16)
    exact = probe.probe("sd15", steps=1).gradient.flatten()
    coarse = probe.probe("sd15", steps=1, model=half)
    likeness = float(torch.cosine_similarity(exact, coarse.gradient.flatten(), dim=0))
    assert likeness > 0.98 and coarse.identical, likeness
    return {
        "cast": probe.expect("sd15", model=cast),
        "fp8": probe.expect("sd15", model=eighth),
        "bf16, likeness": likeness,
    }


@_in_graph
def check_scaled_fp8_weights() -> Any:
    """As in the checkpoints of large models.

    Newer hosts keep these weights in tensors of a kind of their own and multiply in another order with gradients.
    """
    weights = {}
    for key, value in _model().model.diffusion_model.state_dict().items():
        weights[key] = value.clone()
        if key.endswith(".weight") and value.ndim == 2 and "embed" not in key:
            scale = value.abs().max().float() / 448
            weights[key] = (value / scale).to(torch.float8_e4m3fn)
            weights[key.replace(".weight", ".scale_weight")] = scale
    weights["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    model = comfy.sd.load_diffusion_model_state_dict(weights)
    assert any(parameter.dtype == torch.float8_e4m3fn or "Quant" in type(parameter).__name__
               for parameter in model.model.parameters())  # fmt: skip
    figures = {
        level: probe.expect("sd15", model=model, checkpoint=level, identical=False) for level in ("full", "none")
    }
    assert not any(parameter.is_inference() for parameter in model.model.parameters())
    return figures
