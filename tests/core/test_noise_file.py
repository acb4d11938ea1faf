"""Noise files come back bit for bit, and whatever is no noise file is refused in one sentence."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from hpskit.errors import NoiseError
from hpskit.search import noise_file
from hpskit.search.noise_file import NoiseRecord

RECORD = NoiseRecord(
    seed=(1 << 64) - 1, method="geodesic", iterations=20, prompt="a fox \u2713", scorer="hps-v2.1",
    scorer_version="2.1",
    start={"hps-v2.1": 27.5}, best={"hps-v2.1": 30.25}, degrees=21.5, model="tiny", vae="v", made_by="hps 0.1.0",
)  # fmt: skip


def written(folder: Path, noise: Any, record: Any = RECORD, **texts: str) -> Path:
    path = folder / "noise.safetensors"
    path.write_bytes(noise_file.encode(noise, record, texts))
    return path


@pytest.mark.parametrize("shape", [(1, 4, 65, 33), (1, 16, 1, 8, 8)])
def test_comes_back_bit_for_bit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    noise = torch.randn(shape) * torch.tensor(10.0).pow(torch.randint(-30, 30, shape))
    found = noise_file.read(written(tmp_path, noise, workflow='{"nodes": []}'))
    assert torch.equal(found.noise, noise) and found.noise.dtype == torch.float32
    assert found.record == RECORD and found.texts == {"workflow": '{"nodes": []}'}


def test_noise_made_in_inference_mode_is_written_and_read_as_a_normal_tensor(tmp_path: Path) -> None:
    with torch.inference_mode():
        path = written(tmp_path, torch.randn(1, 4, 8, 8).half())
        noise = noise_file.read(path).noise
    assert not noise.is_inference() and noise.dtype == torch.float32


def test_scores_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    record = NoiseRecord(start={"a": float("nan"), "b": 1.0}, best={"a": float("inf")})
    found = noise_file.read(written(tmp_path, torch.zeros(1, 4, 8, 8), record)).record
    assert found.start == {"b": 1.0} and found.best == {}


@pytest.mark.parametrize("bad", [torch.zeros(2, 4, 8, 8), torch.zeros(4, 8, 8), torch.full((1, 4, 8, 8), torch.nan)])
def test_what_could_not_be_read_again_is_not_written(bad: torch.Tensor) -> None:
    with pytest.raises(NoiseError, match="The noise"):
        noise_file.encode(bad, RECORD)


GOOD = {"hps_noise": json.dumps({"version": 1})}
NOISE = torch.zeros(1, 4, 8, 8)
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\x80\x02}q\x00.", "empty"),
        (b"<!doctype html><html></html>", "no safetensors"),
        (struct.pack("<Q", 1 << 60) + b"{}", "longer than the file"),
        (struct.pack("<Q", 2) + b"{}" + b"rest", "damaged"),
        (save({"noise": NOISE}, GOOD)[:-100], "damaged"),
        (save({"latent_tensor": NOISE}, GOOD), 'no tensor named "noise"'),
        (save({"noise": NOISE}), "no record"),
        (save({"noise": NOISE}, {"hps_noise": DEEP}), "no record"),
        (save({"noise": NOISE}, {"hps_noise": "[1]"}), "no record"),
        (save({"noise": NOISE}, {"hps_noise": json.dumps({"version": 2})}), "version 2"),
        (save({"noise": NOISE.to(torch.int64)}, GOOD), "I64"),
        (save({"noise": torch.zeros(3, 4, 8, 8)}, GOOD), r"shape \[3, 4, 8, 8\]"),
        (save({"noise": torch.zeros(0)}, GOOD), r"shape \[0\]"),
        (save({"noise": torch.full((1, 1, 2, 2), torch.inf)}, GOOD), "not finite"),
    ],
)
def test_foreign_and_hostile_files(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(NoiseError, match=words) as caught:
        noise_file.read(path)
    assert str(path) in str(caught.value)


def test_a_huge_file_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.truncate(noise_file.LARGEST + 1)
    with pytest.raises(NoiseError, match="at most 256"):
        noise_file.read(path)


@pytest.mark.parametrize("kind", ["folder", "missing", "pipe"])
def test_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes here")
        os.mkfifo(path)
    with pytest.raises(NoiseError, match="not a file"):
        noise_file.read(path)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_FIELDS = ("seed", "method", "iterations", "start", "best", "degrees", "prompt")


@given(st.dictionaries(st.sampled_from(_FIELDS), _JSON))
def test_nonsense_in_a_record_becomes_an_empty_field(given_fields: dict[str, Any]) -> None:
    record = noise_file._from_json(Path("x"), json.dumps({**given_fields, "version": 1}))
    assert 0 <= record.seed < 1 << 64 and isinstance(record.method, str) and isinstance(record.iterations, int)
    assert all(isinstance(value, float) for value in (*record.start.values(), *record.best.values(), record.degrees))


@given(st.binary(max_size=300))
def test_any_bytes_after_a_header_mark_are_refused(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(struct.pack("<Q", len(data)) + b"{" + data)
        with pytest.raises(NoiseError):
            noise_file.read(path)
