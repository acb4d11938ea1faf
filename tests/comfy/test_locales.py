"""The pack's words in a real ComfyUI: the English equals its nodes, and the server hands out every language."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from comfy_harness import Server

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("en", "fr", "ja", "zh")


def _file(language: str, name: str) -> dict[str, Any]:
    return dict(json.loads((ROOT / "locales" / language / f"{name}.json").read_text("utf-8")))


def _node_defs(info: dict[str, Any]) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("make_locales", ROOT / "docs" / "make_locales.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.node_defs(info))


@pytest.mark.host
def test_english_is_what_the_nodes_of_the_host_say(server: Server) -> None:
    made = _node_defs(server.get("/object_info"))
    assert len(made) > 10
    assert made == _file("en", "nodeDefs"), "run: python docs/make_locales.py"


@pytest.mark.host
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_server_hands_out_the_language(server: Server, language: str) -> None:
    answer = server.get("/i18n")[language]
    for name in ("nodeDefs", "settings", "commands"):
        assert answer[name] == _file(language, name), name
    for name, words in _file(language, "main").items():
        assert answer[name] == words, name
