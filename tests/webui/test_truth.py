"""The fakes tell the truth: what they offer stands in the real hosts' sources (HPS_A1111_ROOT, HPS_FORGE_ROOT)."""

from __future__ import annotations

import ast
import inspect
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fakes.web import Web

ROOTS = {"a1111": os.environ.get("HPS_A1111_ROOT", ""), "forge": os.environ.get("HPS_FORGE_ROOT", "")}
MODULES = [
    "devices",
    "errors",
    "extra_networks",
    "images",
    "infotext_utils",
    "options",
    "processing",
    "prompt_parser",
    "rng",
    "script_callbacks",
    "scripts",
    "scripts_postprocessing",
    "sd_models",
    "sd_samplers",
    "sd_samplers_cfg_denoiser",
    "sd_samplers_common",
    "sd_samplers_kdiffusion",
    "shared_state",
    "ui_common",
    "ui_components",
    "call_queue",
    "sd_vae",
]
KINDS = ["", "Txt2Img", "Img2Img"]
ALLOWED = {
    ("scripts", "load_scripts"),
    ("images", "resize_image"),
    ("images", "get_next_sequence_number"),
    ("errors", "Report"),
    ("errors", "kept"),
    ("extra_networks", "register_extra_network"),
    ("prompt_parser", "SdConditioning"),
    ("sd_samplers_common", "SamplerDataTuple"),
    ("processing", "Processed"),
}
"""Differs on purpose: takes the files, keeps what was reported, or takes but one or both hosts' arguments."""


@cache
def real(root: str, name: str) -> dict[str, ast.AST]:
    tree = ast.parse((Path(root) / "modules" / f"{name}.py").read_text("utf-8"))
    found: dict[str, ast.AST] = {}
    for node in (*tree.body, *ast.walk(tree)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.setdefault(node.name, node)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, node)
    return found


def names(node: ast.FunctionDef) -> list[str]:
    return [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]


def parameters(function: Any) -> list[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [each.name for each in inspect.signature(function).parameters.values() if each.kind not in kinds]


def wrong(name: str, fake: Any, root: str) -> list[str]:
    known, found = real(root, name), []
    for label, value in vars(fake).items():
        ours = getattr(value, "__module__", "") == fake.__name__ and not label.startswith("_")
        if not ours or (name, label) in ALLOWED:
            continue
        if label not in known:
            found.append(f"{name}.{label} is not in the host")
        elif inspect.isfunction(value) and parameters(value) != names(known[label]):  # type: ignore[arg-type]
            found.append(f"{name}.{label}{parameters(value)} is {names(known[label])} in the host")  # type: ignore[arg-type]
        elif inspect.isclass(value) and isinstance(known[label], ast.ClassDef):
            found += wrong_methods(f"{name}.{label}", value, known, known[label])
    return found


def wrong_methods(where: str, value: type, known: dict[str, ast.AST], node: Any) -> list[str]:
    every, bases = {}, [node]
    while bases:
        one = bases.pop()
        every = {each.name: each for each in one.body if isinstance(each, ast.FunctionDef)} | every
        bases += [known.get(base.id) for base in one.bases if isinstance(base, ast.Name)]
        bases = [base for base in bases if isinstance(base, ast.ClassDef)]
    found = []
    for label, method in vars(value).items():
        if not inspect.isfunction(method) or (label.startswith("_") and label != "__init__"):
            continue
        if label not in every:
            if label != "__init__":
                found.append(f"{where}.{label} is not in the host")
        elif parameters(method) != names(every[label]):
            found.append(f"{where}.{label}{parameters(method)} is {names(every[label])} in the host")
    return found


@pytest.mark.parametrize("name", MODULES)
def test_names_and_parameters_stand_in_the_host(web: Web, name: str) -> None:
    root = ROOTS[web.flavour]
    if not root:
        pytest.skip("set HPS_A1111_ROOT and HPS_FORGE_ROOT to the hosts' folders")
    assert not wrong(name, web.host(name), root)


@pytest.mark.parametrize("kind", KINDS)
def test_fields_of_a_job_are_the_hosts(web: Web, kind: str) -> None:
    root = ROOTS[web.flavour]
    if not root:
        pytest.skip("set HPS_A1111_ROOT and HPS_FORGE_ROOT to the hosts' folders")
    node: Any = real(root, "processing")[f"StableDiffusionProcessing{kind}"]
    there = [each.target.id for each in node.body if isinstance(each, ast.AnnAssign)]
    there += [each.targets[0].id for each in node.body if isinstance(each, ast.Assign)]
    own = list(vars(getattr(web.host("processing"), f"StableDiffusionProcessing{kind}")).get("__annotations__", {}))
    assert [name for name in own if name not in there and name != "mask_blur"] == []
