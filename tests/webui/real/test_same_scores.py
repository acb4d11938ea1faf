"""One picture has one score: in both web UIs, by the panel and the API, on the command line, and in ComfyUI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from comfy_harness import Server as Comfy
from comfy_harness import find_hosts, make_base
from webui_harness import KINDS, REPO

TINY = "hps-tiny-shapes"
LOADER = "hps-tiny-shapes (miniature for trials: judges coloured shapes only)"
CLOSE = 1e-3
Measured = Callable[[str], Any]


def by_command(files: list[str]) -> list[float]:
    command = [sys.executable, "-m", "hpskit", "score", *files, "-s", TINY, "--json", "--no-ledger", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return [float(row["scores"][TINY]) for row in json.loads(done.stdout)["results"]]


def test_both_hosts_agree(measured: Measured) -> None:
    one, other = (measured(kind) for kind in KINDS)
    assert one["seeds"] == other["seeds"]
    # Inpainted pictures are not the same in both: Forge puts fresh noise around the mask at every step. Their scores
    # are those of their files, which is what the other tests look at.
    for name in ("txt2img", "best", "first"):
        assert one["scores"][name] == pytest.approx(other["scores"][name], abs=CLOSE), name
    for prompt, score in one["route"].items():
        assert score == pytest.approx(other["route"][prompt], abs=CLOSE), prompt


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_line_agrees_on_the_saved_files(measured: Measured, kind: str) -> None:
    """Prompts come from the files' own infotexts."""
    files = measured(kind)["files"]
    assert len(files) >= 7
    assert by_command([name for name, _ in files]) == pytest.approx([score for _, score in files], abs=CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_comfyui_agrees_on_the_saved_files(measured: Measured, kind: str, tmp_path: Path) -> None:
    hosts, reason = find_hosts()
    if not hosts:
        pytest.skip(reason)
    files = measured(kind)["files"][:2]
    base = make_base(tmp_path / "base")
    with Comfy(hosts[0], base, tmp_path / "comfy.log") as server:
        for place, (name, score) in enumerate(files):
            shutil.copy(name, base / "input" / f"{place}.png")
            assert in_comfyui(server, f"{place}.png") == pytest.approx(score, abs=CLOSE)


def in_comfyui(server: Comfy, name: str) -> float:
    link = {"scorer": ["2", 0], "images": ["1", 0], "prompt": "a red circle"}
    loader = {"scorer": LOADER, "mode": "auto", "dtype": "auto", "download": False}
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "HPS_LoadScorer", "inputs": loader},
        "3": {"class_type": "HPS_Score", "inputs": {**link, "clean_prompt": True, "match_saved_file": True}},
        "4": {"class_type": "PreviewAny", "inputs": {"source": ["3", 1]}},
    }
    history = server.run(graph)
    assert history.status == "success", history.error
    return float(history.outputs["4"]["text"][0])
