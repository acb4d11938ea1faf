"""HPS_SaveNoise, HPS_LoadNoise and the NOISE object that travels between them."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import torch
from comfy_inside import Graph, base, node_class, pack

WORKFLOW = {"workflow": {"nodes": [], "note": "\u00e9 <b>"}}


def optimized(seed: int = 7, shape: tuple[int, ...] = (1, 4, 8, 8)) -> Any:
    record = pack("hpskit.search.noise_file").NoiseRecord(
        seed=seed, method="geodesic", iterations=20, prompt="a fox", scorer="s", start={"s": 1.0}, best={"s": 2.5}
    )
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return pack("nodes.noise").OptimizedNoise(seed, noise, record)


def save(noise: Any, prefix: str | None = None) -> Any:
    graph = Graph()
    prefix = f"t{os.urandom(4).hex()}/x" if prefix is None else prefix
    node = graph.node("HPS_SaveNoise", noise=graph.give(noise), filename_prefix=prefix)
    return graph.run(node[0], node[1], extra_pnginfo=WORKFLOW)


def load(path: Path | str, kind: str = "output") -> Any:
    graph = Graph()
    name = path if isinstance(path, str) else path.relative_to(base / kind / "noise").as_posix()
    node = graph.node("HPS_LoadNoise", file=f"{name} [{kind}]")
    return graph.run(node[0], node[1], node[2], node[3])


def saved(noise: Any, prefix: str | None = None) -> Path:
    run = save(noise, prefix)
    assert run.ok, run.error
    assert run[0][0] is noise
    return Path(run[1][0])


def refused(run: Any, *words: str) -> None:
    assert not run.ok and run.error_type.endswith("errors.NoiseError"), (run.error_type, run.error)
    assert all(word in run.error for word in words), run.error


def check_round_trip_is_exact() -> None:
    for seed, shape in ((0, (1, 4, 8, 8)), ((1 << 64) - 1, (1, 16, 1, 5, 7))):
        noise = optimized(seed, shape)
        run = load(saved(noise))
        assert run.ok, run.error
        assert torch.equal(run[0][0].noise, noise.noise) and run[0][0].noise.dtype == torch.float32
        assert run[0][0].record == noise.record and run[1] == [seed] and run[2] == ["a fox"]
        assert "geodesic" in run[3][0] and "1.000 -> 2.500" in run[3][0]


def check_workflow_and_prompt_are_kept_unless_metadata_is_switched_off() -> None:
    from comfy.cli_args import args

    read = pack("hpskit.search.noise_file").read
    texts = read(saved(optimized())).texts
    assert json.loads(texts["workflow"]) == WORKFLOW["workflow"] and "HPS_SaveNoise" in texts["prompt"]
    args.disable_metadata = True
    try:
        path = saved(optimized())
    finally:
        args.disable_metadata = False
    stored = read(path)
    assert not stored.texts and stored.record == type(stored.record)(seed=7)
    assert b"a fox" not in path.read_bytes()


def check_names_count_up_and_nothing_is_overwritten() -> None:
    prefix = f"t{os.urandom(4).hex()}/x"
    first = saved(optimized(), prefix)
    content = first.read_bytes()
    second = saved(optimized(8), prefix)
    assert [first.name, second.name] == ["x_00001_.safetensors", "x_00002_.safetensors"]
    assert first.read_bytes() == content and len(list(first.parent.iterdir())) == 2
    assert first.is_relative_to(base / "output" / "noise")


def check_the_list_shows_both_folders_newest_first() -> None:
    path = saved(optimized(), "listed/x")
    folder = base / "input" / "noise"
    folder.mkdir(parents=True, exist_ok=True)
    other = folder / "given.safetensors"
    other.write_bytes(path.read_bytes())
    os.utime(other, (path.stat().st_mtime + 10, path.stat().st_mtime + 10))
    (folder / "picture.png").write_bytes(b"no noise")
    options = node_class("HPS_LoadNoise").define_schema().inputs[0].options
    assert options[0] == "given.safetensors [input]" and f"listed/{path.name} [output]" in options
    assert not [name for name in options if "picture" in name]
    assert load(other, "input").ok


def check_paths_outside_are_refused() -> None:
    outside = base / "output" / "secret.safetensors"
    outside.write_bytes(saved(optimized()).read_bytes())
    link = base / "output" / "noise" / "link.safetensors"
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    for name in ("../secret.safetensors", str(outside), "link.safetensors", "", ".", "a\0b.safetensors", "x" * 5000):
        refused(load(name), "There is no noise file")
    refused(load("x.safetensors", "temp"), "There is no noise file")
    link.unlink()
    run = save(optimized(), "../../outside/x")
    assert not run.ok and "outside the output folder" in run.error and not (base / "outside").exists()


def check_hostile_files_are_explained() -> None:
    folder = base / "output" / "noise"
    good = saved(optimized()).read_bytes()
    for content, word in ((b"", "empty"), (good[:-50], "damaged"), (b"\x80\x02}q\x00.", "no safetensors")):
        path = folder / "bad.safetensors"
        path.write_bytes(content)
        refused(load(path), word, str(path))


def check_a_replaced_file_is_loaded_anew() -> None:
    path = saved(optimized(1))
    print_of = node_class("HPS_LoadNoise").fingerprint_inputs
    name = f"{path.relative_to(base / 'output' / 'noise').as_posix()} [output]"
    before = print_of(file=name)
    path.write_bytes(saved(optimized(2)).read_bytes())
    os.utime(path, (1, 1))
    assert print_of(file=name) != before and load(path)[1] == [2]
    assert print_of(file="gone.safetensors [output]") == "missing"


def check_the_noise_of_a_plain_seed_needs_no_file() -> None:
    graph = Graph()
    plain = graph.node("RandomNoise", noise_seed=5)
    node = graph.node("HPS_SaveNoise", noise=plain[0], filename_prefix="x")
    refused(graph.run(node[1]), "its seed makes it again")


def check_a_folder_that_cannot_be_written_is_explained() -> None:
    root = base / "output" / "noise"
    root.mkdir(parents=True, exist_ok=True)
    (root / "occupied").write_text("a file, not a folder")
    run = save(optimized(), "occupied/x")
    assert not run.ok and run.error_type.endswith("errors.OutputError") and "occupied/x" in run.error


def check_the_noise_object_fits_or_says_why_not() -> None:
    noise = optimized(shape=(1, 4, 8, 8))
    same = noise.generate_noise({"samples": torch.zeros(1, 4, 8, 8)})
    assert torch.equal(same, noise.noise) and same.data_ptr() != noise.noise.data_ptr()
    three = noise.generate_noise({"samples": torch.zeros(3, 4, 8, 8), "batch_index": [5, 6, 9]})
    assert three.shape == (3, 4, 8, 8) and all(torch.equal(item[None], noise.noise) for item in three)
    error = pack("hpskit.errors").NoiseError
    for samples, words in (
        (torch.zeros(1, 16, 8, 8), "4 channels"),
        (torch.zeros(1, 4, 8, 12), "4 x 8 x 8"),
        (torch.zeros(1, 4, 1, 8, 8), "4 x 1 x 8 x 8"),
    ):
        try:
            noise.generate_noise({"samples": samples})
        except error as caught:
            assert words in str(caught), caught
        else:
            raise AssertionError(samples.shape)


def check_another_seed_is_refused() -> None:
    noise = optimized()
    assert copy.copy(noise) == noise or copy.copy(noise).noise is noise.noise
    try:
        pack("nodes.sampling").reseeded(noise, 8)
    except pack("hpskit.errors").SelectionError as caught:
        assert "another seed" in str(caught) and noise.seed == 7
    else:
        raise AssertionError("a frozen noise took another seed")


def check_the_global_generator_is_left_as_by_the_hosts_own_noise() -> None:
    import comfy.sample

    latent = {"samples": torch.zeros(1, 4, 9, 7)}
    comfy.sample.prepare_noise(latent["samples"], 7)
    wanted = torch.get_rng_state()
    torch.manual_seed(0)
    optimized(shape=(1, 4, 9, 7)).generate_noise(latent)
    assert torch.equal(torch.get_rng_state(), wanted)
