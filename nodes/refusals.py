"""Cases in which gradients through a sampling run would be missing or silently wrong, told before the run.

One sentence a case: what is in the way and what to do. What no rule here knows, the pre-flight finds by trying.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from typing import Any

import comfy.samplers
import torch

from .gradients import GRADIENT_FREE, sampler_problem

COMPILED = "torch.compile"
"""Key under which the host wraps a compiled network; such a wrapper can be left out."""
CACHES = {"easycache": "EasyCache", "lazycache": "LazyCache", "teacache": "TeaCache", "magcache": "MagCache"}
"""Wrappers that reuse results of earlier steps and keep state from one render to the next."""
NO_BACKWARD = {"fp8_ops": "--fast fp8_matrix_mult", "cublas_ops": "--fast cublas_ops"}
"""Layers of the host without a backward pass, by the name of their set, and the option that chose them."""


def refusals(guider: Any, sampler: Any, extra_args: dict[str, Any]) -> list[str]:
    """Return one sentence for each reason why this run cannot be differentiated rightly; empty when there is none."""
    options = extra_args.get("model_options") or {}
    checks = (
        sampler_problem(sampler),
        _hooks(guider.conds),
        _keyframes(guider.conds),
        _token_merging(guider, options),
        _caching(options),
        _dynamic(guider.model_patcher),
        _several_devices(options),
        _layers(guider.inner_model),
        _compiled(guider.inner_model),
        _whole_network_checkpointing(guider, options),
    )
    return [problem for problem in checks if problem is not None]


def non_dynamic(patcher: Any) -> Any:
    """Return a model whose weights stay where they are, for hosts that page them in and out (DynamicVRAM).

    The host loads the file again for it, once a model. Other models are returned as they are. The choice must be made
    before the guider is asked to sample.
    """
    if not _is_dynamic(patcher):
        return patcher
    if hasattr(patcher, "get_non_dynamic_delegate"):
        return patcher.get_non_dynamic_delegate()
    return patcher.clone(disable_dynamic=True)


def left_out(wrappers: dict[str, Any]) -> dict[str, Any]:
    """Return wrappers of the host without those that run a compiled network: the plain one gives the same."""
    return {kind: {key: items for key, items in keyed.items() if key != COMPILED} for kind, keyed in wrappers.items()}


def _hooks(conds: dict[str, Any]) -> str | None:
    if comfy.samplers.get_total_hook_groups_in_conds(conds) <= 1:
        return None
    return (
        "A LoRA hook is set on some conditionings only, so the host exchanges weights between the forward and the "
        "backward pass and gradients would be wrong: set the same hook on all conditionings, or load the LoRA with "
        "Load LoRA instead."
    )


def _keyframes(conds: dict[str, Any]) -> str | None:
    frames = [getattr(hook, "hook_keyframe", None) for hook in _all_hooks(conds)]
    if not any(len(getattr(group, "keyframes", ())) > 1 for group in frames):
        return None
    return (
        "A LoRA hook changes its strength during sampling, so the weights of early steps are gone in the backward "
        "pass: use a hook without keyframes, or Load LoRA instead."
    )


def _all_hooks(conds: dict[str, Any]) -> Iterator[Any]:
    for group in conds.values():
        for cond in group or ():
            yield from getattr(cond.get("hooks"), "hooks", ())


def _token_merging(guider: Any, options: dict[str, Any]) -> str | None:
    patches = options.get("transformer_options", {}).get("patches", {})
    functions = [function for items in patches.values() for function in items]
    named = any("tome" in f"{_module(function)}.{_name(function)}".lower() for function in functions)
    if not named and not hasattr(guider.inner_model.diffusion_model, "_tome_info"):
        return None
    return (
        "Token merging (ToMe) merges other tokens in every run, so there is nothing fixed to differentiate: "
        "remove the ToMe patch from the model."
    )


def _caching(options: dict[str, Any]) -> str | None:
    wrappers = options.get("transformer_options", {}).get("wrappers", {})
    keys = {str(key).lower() for keyed in wrappers.values() for key in keyed}
    found = [name for key, name in CACHES.items() if key in keys]
    if not found:
        return None
    return (
        f"{found[0]} carries results from one run over into the next, so that the same noise gives another image: "
        f"remove {found[0]} from the model."
    )


def _is_dynamic(patcher: Any) -> bool:
    return bool(getattr(patcher, "is_dynamic", bool)())


def _dynamic(patcher: Any) -> str | None:
    if not _is_dynamic(patcher):
        return None
    return (
        "The host pages this model's weights in and out while it runs (DynamicVRAM), so they may change before the "
        "backward pass: start the host with --disable-dynamic-vram."
    )


def _several_devices(options: dict[str, Any]) -> str | None:
    if not options.get("multigpu_clones"):
        return None
    return "The model is spread over several GPUs, which the host does without gradients: remove the multi-GPU node."


def _layers(network: torch.nn.Module) -> str | None:
    kinds = {type(module) for module in network.modules()}
    for kind in kinds:
        flag = NO_BACKWARD.get(kind.__qualname__.rpartition(".")[0].rpartition(".")[2])
        if flag is None and _multiplies_in_fp8(kind):
            flag = "--fast fp8_matrix_mult"
        if flag is not None:
            return f"The model multiplies in a way that has no backward pass: start the host without {flag}."
    return None


def _multiplies_in_fp8(kind: type) -> bool:
    """Return whether a layer of the older host's scaled fp8 models was made for fast matrix products."""
    forward = getattr(kind, "forward_comfy_cast_weights", None)
    if not isinstance(forward, types.FunctionType) or "fp8_matrix_mult" not in forward.__code__.co_freevars:
        return False
    cell = (forward.__closure__ or ())[forward.__code__.co_freevars.index("fp8_matrix_mult")]
    return bool(cell.cell_contents)


def _compiled(network: torch.nn.Module) -> str | None:
    if not any(type(module).__name__ == "OptimizedModule" for module in network.modules()):
        return None
    return (
        "Parts of the model were replaced by compiled ones, which are made for inference: leave out the compile node "
        f"(the stock TorchCompileModel is bypassed by itself). {GRADIENT_FREE}"
    )


def _whole_network_checkpointing(guider: Any, options: dict[str, Any]) -> str | None:
    wrapper = options.get("model_function_wrapper")
    controlled = any(cond.get("control") for group in guider.conds.values() for cond in group or ())
    if wrapper is None or not controlled or not _mentions_checkpoint(wrapper):
        return None
    return (
        f"Another extension ({_module(wrapper)}) checkpoints the network as a whole, which gives wrong gradients with "
        "a ControlNet: remove its node; this one checkpoints rightly by itself."
    )


def _mentions_checkpoint(function: Any) -> bool:
    function = getattr(function, "__func__", None) or function
    if not isinstance(function, types.FunctionType):
        function = inspect.getattr_static(type(function), "__call__", None)
    return isinstance(function, types.FunctionType) and _in_code(function.__code__)


def _in_code(code: types.CodeType) -> bool:
    if any("checkpoint" in name.lower() for name in (*code.co_names, *code.co_freevars)):
        return True
    return any(_in_code(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))


def _module(function: Any) -> str:
    return str(getattr(function, "__module__", None) or type(function).__module__)


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)
