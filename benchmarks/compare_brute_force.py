"""Does a comparison that was interrupted twice say what ten times as many seeds say?

In a real ComfyUI the node HPS_CompareSettings compares samplers and step counts on the embedded generator, with few
seeds, and is interrupted and queued again until it is through. Then every setting is sampled anew by the host's own
KSampler, with other seeds and ten times as many, and their means are taken as the truth: no code of the comparison has
a part in them. Printed is a table of both and how many verdicts hold.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PACK = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PACK), str(PACK / "tests")]

from comfy_harness import Server, find_hosts, make_base  # noqa: E402

from hpskit.embedded import EXAMPLE_PROMPTS  # noqa: E402

SAMPLERS = ("euler", "dpmpp_2m", "euler_ancestral")
STEPS = (2, 4, 8, 16)
CFG, SCHEDULER = 2.0, "simple"
SCORER = "hps-tiny-shapes (miniature for trials: judges coloured shapes only)"
COMPARE = "9"
FIRST_BRUTE_SEED = 10_000_000


@dataclass(frozen=True)
class Truth:
    """What many seeds say of one setting against the reference."""

    difference: float
    error: float
    """Standard error over the seeds of these prompts."""


def shared_nodes() -> dict[str, Any]:
    """Return the loaders that both graphs begin with."""
    return {
        "1": {"class_type": "HPS_LoadEmbedded", "inputs": {"prompt": EXAMPLE_PROMPTS[0]}},
        "2": {"class_type": "EmptyLatentImage", "inputs": {"width": 32, "height": 32, "batch_size": 1}},
        "3": {"class_type": "HPS_LoadScorer", "inputs": scorer_inputs()},
    }


def scorer_inputs() -> dict[str, Any]:
    """Return the loader's widgets."""
    return {"scorer": SCORER, "mode": "auto", "dtype": "auto", "download": False, "backbone": "auto"}


def study_graph(prompts: list[str], seeds: int) -> dict[str, Any]:
    """Return the graph of the comparison."""
    inputs = {
        "model": ["1", 0],
        "clip": ["1", 1],
        "vae": ["1", 2],
        "latent_image": ["2", 0],
        "scorer": ["3", 0],
        "prompts": "\n".join(prompts),
        "negative_text": "",
        "samplers": ", ".join(SAMPLERS),
        "schedulers": SCHEDULER,
        "steps": ", ".join(map(str, STEPS)),
        "cfgs": str(CFG),
        "first_seed": 1,
        "seeds_per_prompt": seeds,
    }
    return shared_nodes() | {COMPARE: {"class_type": "HPS_CompareSettings", "inputs": inputs}}


def with_defaults(graph: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """Return the graph with the default of every input that it leaves out."""
    made = {}
    for name, node in graph.items():
        definitions = {**info[node["class_type"]]["input"].get("required", {})}
        given = {key: _default(value) for key, value in definitions.items() if key not in node["inputs"]}
        made[name] = {**node, "inputs": {**given, **node["inputs"]}}
    return made


def _default(definition: Any) -> Any:
    options = definition[1] if len(definition) > 1 else {}
    if "default" in options:
        return options["default"]
    choices = options.get("options") or definition[0]
    return choices[0]


def compared(server: Server, graph: dict[str, Any], interruptions: int, seconds: float) -> tuple[dict[str, Any], int]:
    """Run the comparison, interrupting it so often after so many seconds; return its data and how often it was."""
    done = 0
    while True:
        prompt = server.queue(graph)
        if done < interruptions:
            time.sleep(seconds)
            server.interrupt()
        history = server.wait(prompt, 3600)
        if history.status == "success":
            return history.outputs[COMPARE]["hps"][0], done
        if not history.interrupted:
            raise SystemExit(history.error)
        done += 1


def brute_force(server: Server, prompts: list[str], seeds: int, info: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the scores [prompts, seeds] of every setting by label, sampled by the host's own nodes."""
    found: dict[str, list[list[float]]] = {}
    for place, prompt in enumerate(prompts):
        for sampler in SAMPLERS:
            for steps in STEPS:
                graph = with_defaults(stock_graph(prompt, sampler, steps, seeds, FIRST_BRUTE_SEED + place), info)
                history = server.run(graph, 3600)
                if history.status != "success":
                    raise SystemExit(history.error)
                found.setdefault(label(sampler, steps), []).append(history.outputs["8"]["hps"][0]["scores"])
    return {name: np.array(rows) for name, rows in found.items()}


def stock_graph(prompt: str, sampler: str, steps: int, seeds: int, seed: int) -> dict[str, Any]:
    """Return a graph of stock nodes that makes one batch of a setting."""
    nodes = shared_nodes()
    nodes["2"]["inputs"]["batch_size"] = seeds
    text = {
        name: {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": words}}
        for name, words in (("4", prompt), ("5", ""))
    }
    sampling = {"seed": seed, "steps": steps, "cfg": CFG, "sampler_name": sampler, "scheduler": SCHEDULER}
    wires = {"model": ["1", 0], "positive": ["4", 0], "negative": ["5", 0], "latent_image": ["2", 0]}
    return (
        nodes
        | text
        | {
            "6": {"class_type": "KSampler", "inputs": {**sampling, **wires, "denoise": 1.0}},
            "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["1", 2]}},
            "8": {"class_type": "HPS_Score", "inputs": {"scorer": ["3", 0], "prompt": prompt, "images": ["7", 0]}},
        }
    )


def label(sampler: str, steps: int) -> str:
    """Return a key for a setting."""
    return f"{sampler} {steps}"


def truths(scores: dict[str, np.ndarray], reference: str) -> dict[str, Truth]:
    """Return the difference of every setting from the reference; batches of one seed share their noises."""
    made = {}
    for name, values in scores.items():
        differences = values - scores[reference]
        error = math.sqrt((differences.var(axis=1, ddof=1) / differences.shape[1]).sum()) / len(differences)
        made[name] = Truth(float(differences.mean()), error)
    return made


def holds(comparison: dict[str, Any], truth: Truth) -> bool:
    """Tell whether a verdict agrees: a clear one by its sign, none by lying below what the grid could have seen."""
    if comparison["verdict"] == "no evidence":
        return abs(truth.difference) <= comparison["detectable"] + 2 * truth.error
    return comparison["difference"] * truth.difference > 0


def report(data: dict[str, Any], known: dict[str, Truth], seeds: int, factor: int) -> list[str]:
    """Return the table of both, as Markdown."""
    lines = [f"| setting | difference with {seeds} seeds | verdict | with {seeds * factor} seeds | agrees |"]
    lines += ["|---|---|---|---|---|"]
    order = [label(sampler, steps) for sampler in SAMPLERS for steps in STEPS]
    for comparison, name in zip(data["comparisons"], order[1:], strict=True):
        truth = known[name]
        mine = f"{comparison['difference']:+.2f} [{comparison['low']:+.2f}, {comparison['high']:+.2f}]"
        agrees = "yes" if holds(comparison, truth) else "NO"
        true = f"{truth.difference:+.2f} +- {truth.error:.2f}"
        lines.append(f"| {comparison['label']} | {mine} | {comparison['verdict']} | {true} | {agrees} |")
    return lines


def inside(data: dict[str, Any], known: dict[str, Truth]) -> int:
    """Count the intervals that the truth lies in."""
    order = [label(sampler, steps) for sampler in SAMPLERS for steps in STEPS][1:]
    pairs = zip(data["comparisons"], (known[name] for name in order), strict=True)
    return sum(comparison["low"] <= truth.difference <= comparison["high"] for comparison, truth in pairs)


def main() -> None:
    """Run both and print what came of it."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--prompts", type=int, default=10, help="prompts; default: 10")
    options.add_argument("--seeds", type=int, default=4, help="seeds of the comparison; default: 4")
    options.add_argument("--factor", type=int, default=10, help="how many times as many seeds; default: 10")
    options.add_argument("--interrupt-after", type=float, default=20, metavar="S", help="seconds; default: 20")
    options.add_argument("--save", metavar="FILE", help="keep all figures as JSON")
    given = options.parse_args()
    hosts, reason = find_hosts()
    if not hosts:
        raise SystemExit(reason)
    prompts = list(EXAMPLE_PROMPTS[: given.prompts])
    with tempfile.TemporaryDirectory() as folder:
        base = make_base(Path(folder) / "base")
        with Server(hosts[0], base, Path(folder) / "server.log") as server:
            info = server.get("/object_info")
            graph = with_defaults(study_graph(prompts, given.seeds), info)
            data, interruptions = compared(server, graph, 2, given.interrupt_after)
            print(f"ComfyUI {hosts[0].version}: {data['total']} cells, {interruptions} interruptions.")
            print(f"The last run found {data['reused']} cells done before.")
            print(data["headline"], *data["warnings"], sep="\n")
            scores = brute_force(server, prompts, given.seeds * given.factor, info)
    known = truths(scores, label(SAMPLERS[0], STEPS[0]))
    print("", *report(data, known, given.seeds, given.factor), sep="\n")
    print(f"\nThe truth lies in {inside(data, known)} of {len(data['comparisons'])} intervals.")
    if given.save:
        kept = {"study": data, "scores": {name: values.tolist() for name, values in scores.items()}}
        Path(given.save).write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
