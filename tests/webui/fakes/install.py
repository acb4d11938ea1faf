"""Puts the fakes where imports find them, and takes them out again without a trace."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

HOST = Path(__file__).parent / "host"
ROOT = Path(__file__).resolve().parents[3]
PACK = "hps_pack"
NAMES = ("modules", "modules_forge", "backend", "k_diffusion", "gradio", PACK)
FORGE_ONLY = ("modules_forge", "backend")

_library: dict[str, ModuleType] = {}
"""The host-free library under the pack's name, kept from test to test: it knows no host, and loading it takes time."""


def _ours() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] in NAMES}


def _package(name: str, folder: Path, **facts: Any) -> None:
    spec = importlib.util.spec_from_loader(name, None, is_package=True)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__path__ = [str(folder)]
    vars(module).update(facts)
    sys.modules[name] = module


@contextmanager
def installed(flavour: str, folder: Path, *, fresh: bool = False) -> Iterator[None]:
    """Let `import modules...` find the host `flavour` with its files in `folder`; `fresh` loads the pack anew."""
    before = _ours()
    for name in before:
        del sys.modules[name]
    forge = flavour == "forge"
    _package("modules", HOST / "modules", FORGE=forge, FOLDER=folder)
    for name in ("k_diffusion", *(FORGE_ONLY if forge else ())):
        _package(name, HOST / name)
    _package("gradio", HOST / "gradio")
    exec_file("gradio", HOST / "gradio" / "__init__.py")
    if not fresh:
        sys.modules.update(_library)
    try:
        yield
    finally:
        after = _ours()
        if not fresh:
            _library.update({name: module for name, module in after.items() if _host_free(name)})
        for name in after:
            del sys.modules[name]
        sys.modules.update(before)


def exec_file(name: str, file: Path) -> None:
    """Run a file as the body of a package that is there already."""
    importlib.util.spec_from_file_location(name, file).loader.exec_module(sys.modules[name])  # type: ignore[union-attr]


def _host_free(name: str) -> bool:
    return name == f"{PACK}.hpskit" or name.startswith(f"{PACK}.hpskit.")


def load_pack() -> ModuleType:
    """Load the repository's root as the package `hps_pack`, as the door does."""
    if PACK not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules[PACK] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PACK])
    return sys.modules[PACK]
