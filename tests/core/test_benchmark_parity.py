"""The printed figures of the public HPS v2 evaluation code, run here on the same made-up images and score table.

Needs a checkout of tgxs002/HPSv2 named by HPSV2_PATH. Its network is replaced by a table of scores; files, prompts,
grouping, counting and printing are its own. What it imports and does not use here may be missing.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benchmark_worlds as worlds
import pytest
import torch

from hpskit import cli
from hpskit.commands import session

pytestmark = pytest.mark.filterwarnings("ignore")  # of the reference, which is older than what it runs on

UNUSED = (
    "pandas",
    "clint.textui",
    "requests",
    "einops",
    "braceexpand",
    "webdataset.filters",
    "webdataset.tariterators",
    "fsspec",
)


class _Column(list):  # type: ignore[type-arg]
    def __getitem__(self, k: Any) -> Any:
        value = super().__getitem__(k)
        return types.SimpleNamespace(as_py=lambda: value)


class _Table:
    """As much of pyarrow's table as the reference's data sets use."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    from_pylist = classmethod(lambda cls, rows: cls(rows))

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> _Column:
        return _Column(row[name] for row in self.rows)


class _Anything(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _stub(patch: pytest.MonkeyPatch, name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        parts = name.split(".")
        for k in range(1, len(parts) + 1):
            if ".".join(parts[:k]) not in sys.modules:
                module = _Anything(".".join(parts[:k]))
                module.__path__ = []
                patch.setitem(sys.modules, module.__name__, module)


@pytest.fixture(scope="module")
def evaluation() -> Iterator[Any]:
    place = os.environ.get("HPSV2_PATH")
    if not place or not Path(place, "hpsv2", "evaluation.py").is_file():
        pytest.skip("SKIPPED PARITY: set HPSV2_PATH to a checkout of tgxs002/HPSv2")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place)
        for name in UNUSED:
            _stub(patch, name)
        try:
            importlib.import_module("pyarrow")
        except ImportError:
            arrow = _Anything("pyarrow")
            arrow.Table = _Table
            patch.setitem(sys.modules, "pyarrow", arrow)
        found = importlib.import_module("hpsv2.evaluation")
        loader = found.DataLoader
        patch.setattr(found, "DataLoader", lambda *a, **options: loader(*a, **{**options, "num_workers": 0}))
        yield found


class Reference:
    """Runs the reference's functions over a table of scores."""

    def __init__(self, module: Any, table: list[float]) -> None:
        self.module = module
        self.table = torch.tensor(table, dtype=torch.float32)

    def run(self, name: str, data: Path, images: Path, capture: pytest.CaptureFixture[str]) -> str:
        capture.readouterr()
        torch.manual_seed(0)
        options = (self._model, 20, self._transform, self._tokenizer, "cpu")
        getattr(self.module, name)(str(data), str(images), *options)
        return capture.readouterr().out

    def _transform(self, image: Any) -> torch.Tensor:
        red, green, _ = image.convert("RGB").getpixel((0, 0))
        return torch.tensor([float(red + 256 * green)])

    def _tokenizer(self, text: str) -> torch.Tensor:
        return torch.tensor([[float(len(text))]])

    def _model(self, images: torch.Tensor, texts: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.table[images[:, 0].long()][:, None] / 128
        return {"image_features": features, "text_features": texts * 0 + 1, "logit_scale": torch.tensor(1.0)}

    @property
    def ours(self) -> list[float]:
        """What the reference makes of the table, `features @ ones * 100`."""
        return [float(value) for value in (self.table[:, None] / 128) @ torch.ones(1, 1) * 100]


def table(count: int, seed: int, step: float | None = None) -> list[float]:
    rng = random.Random(seed)
    values = [rng.gauss(35, 1.5) for _ in range(count)]
    return [round(v / step) * step for v in values] if step else values


def run(monkeypatch: pytest.MonkeyPatch, scores: list[float], *arguments: object) -> int:
    monkeypatch.setattr(session, "load_scorer", lambda name, **options: worlds.TableScorer(scores))
    return cli.main([str(argument) for argument in arguments])


def figures(text: str, model: str) -> dict[str, tuple[str, ...]]:
    """Return what the reference prints of a model: mean and spread by style."""
    lines = [line.split() for line in text.splitlines() if line.startswith(f"{model} ")]
    return {words[1]: tuple(words[2:]) for words in lines}


def printed(text: str, model: str) -> dict[str, tuple[str, ...]]:
    """Return the same from our table of a model."""
    block = text.split(f"{model}  (", 1)[1].split("\n\n", 1)[0]
    rows = [line.split() for line in block.splitlines()[2:]]
    shown = {row[-1]: row for row in rows if row[-1] in (*worlds.STYLES, "Average")}
    return {name: tuple(row[: 1 if name == "Average" else 2]) for name, row in shown.items()}


@pytest.mark.parametrize(
    ("counts", "without"),
    [
        (dict.fromkeys(worlds.STYLES, 160), []),
        ({"anime": 90, "concept-art": 81, "paintings": 80, "photo": 79}, []),
        (dict.fromkeys(worlds.STYLES, 165), [("anime", 3), ("photo", 100), *(("paintings", k) for k in range(90))]),
    ],
    ids=["whole groups", "a shorter last group", "missing images"],
)
def test_benchmark(evaluation, tmp_path, monkeypatch, capsys, counts, without) -> None:
    prompts = worlds.prompts(tmp_path / "prompts", counts)
    worlds.model(tmp_path / "images" / "mine", counts, without=without)
    reference = Reference(evaluation, table(sum(counts.values()), 3))
    expected = figures(reference.run("evaluate_benchmark", prompts, tmp_path / "images" / "mine", capsys), "mine")
    arguments = ["benchmark", tmp_path / "images" / "mine", "--prompts", prompts, "--partial"]
    assert run(monkeypatch, reference.ours, *arguments) == 0
    found = printed(capsys.readouterr().out, "mine")
    assert len(expected) == 5
    assert found == expected


def test_several_models(evaluation, tmp_path, monkeypatch, capsys) -> None:
    counts = dict.fromkeys(worlds.STYLES, 100)
    prompts, images = worlds.prompts(tmp_path / "prompts", counts), tmp_path / "images"
    following = worlds.model(images / "one", counts)
    worlds.model(images / "two", counts, first=following)
    reference = Reference(evaluation, table(2 * following, 5))
    text = reference.run("evaluate_benchmark_all", prompts, images, capsys)
    assert run(monkeypatch, reference.ours, "benchmark", images, "--prompts", prompts) == 0
    found = capsys.readouterr().out
    for model in ("one", "two"):
        assert printed(found, model) == figures(text, model)


def test_drawbench(evaluation, tmp_path, monkeypatch, capsys) -> None:
    prompts, images = worlds.prompts(tmp_path / "prompts", {"drawbench": 50}), tmp_path / "images"
    worlds.model(images / "mine", {"drawbench": 50})
    reference = Reference(evaluation, table(50, 7))
    line = reference.run("evaluate_benchmark_DB", prompts, images, capsys).splitlines()[-1].split()
    assert run(monkeypatch, reference.ours, "benchmark", images, "--prompts", prompts, "--json") == 0
    model = json.loads(capsys.readouterr().out)["results"][0]["models"][0]
    assert line[0] == model["model"] == "mine"
    assert model["average"] == pytest.approx(float(line[-1]), abs=1e-5)  # the reference sums batches in float32


@pytest.mark.parametrize("step", [None, 1.5], ids=["distinct scores", "equal scores"])
@pytest.mark.parametrize(
    ("name", "file", "keys", "entry"),
    [
        ("evaluate_rank", "test.json", ("image_path", "rank"), "rank_accuracy"),
        ("evaluate_IR", "ImageReward_test.json", ("generations", "ranking"), "pair_accuracy"),
    ],
)
def test_agreement(evaluation, tmp_path, monkeypatch, capsys, name, file, keys, entry, step) -> None:
    images = tmp_path / "images"
    items = worlds.rankings(tmp_path / file, images, keys, 60, seed=11)
    count = sum(len(item[keys[0]]) for item in items)
    reference = Reference(evaluation, table(count, 13, step))
    monkeypatch.chdir(tmp_path)  # the reference leaves a folder of logs where it runs
    text = reference.run(name, tmp_path, images, capsys)
    expected = float(re.search(r"(?:ranking_acc|ImageReward): ([\d.e-]+)", text)[1])  # type: ignore[index]
    assert run(monkeypatch, reference.ours, "evaluate", tmp_path / file, "--images", images, "--json") == 0
    result = json.loads(capsys.readouterr().out)["results"][0]
    assert result[entry]["value"] == pytest.approx(expected, abs=1e-12)
    assert 0 < expected < 1
