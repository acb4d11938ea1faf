"""Reward against compute for every way of searching noise, on the embedded generator, with a judge that never learned.

    python benchmarks/noise_search.py run rows.jsonl --prompts 60 --seed 2026   # an hour on one core; goes on
    python benchmarks/noise_search.py tables rows.jsonl > tables.md

Every method gets the same prompts and the same first seed. Compute is counted in denoiser evaluations with a backward
pass as two forward passes, given here in images (four evaluations). The pixel oracle of training/oracle.py looks at the
image that a method would hand out at each budget. Best of N stands beside every method at the same compute.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "training")]

import oracle  # noqa: E402
import torch  # noqa: E402
import world  # noqa: E402

from hpskit.embedded import Generator, load_generator  # noqa: E402
from hpskit.errors import HpsError  # noqa: E402
from hpskit.scorers import load_scorer  # noqa: E402
from hpskit.search import Geodesic, Guards, NoiseSearch, Objective, Reno, optimize_noise, terms_of  # noqa: E402
from hpskit.search.sphere import SphereSearch, ZeroOrder  # noqa: E402
from hpskit.search.subspace import SubspaceSearch  # noqa: E402
from hpskit.types import Scorer  # noqa: E402

STEPS, CFG, SIZE = 4, 1.0, 64
BUDGETS = (1, 8, 16, 32, 64, 128)
"""Images' worth of compute at which the picture is looked at."""
SCREEN = 8


@dataclass(frozen=True)
class Plan:
    """One row of the comparison."""

    name: str
    method: Callable[[], Any]
    screen: int
    iterations: int
    guarded: bool = False


def plans() -> list[Plan]:
    """Return every method with the settings that are compared; best of N is a screening and nothing else."""
    made = [Plan("best of N", lambda: SphereSearch(1), 160, 1)]
    for screen, words in ((1, "from one seed"), (SCREEN, f"after best of {SCREEN}")):
        for iterations in (10, 40) if screen == 1 else (5, 10, 20, 40):
            made.append(Plan(f"ReNO, {iterations} iterations, {words}", Reno, screen, iterations))
            made.append(Plan(f"geodesic, {iterations} iterations, {words}", Geodesic, screen, iterations))
        made.append(Plan(f"sphere search, {words}", lambda: SphereSearch(8), screen, 16))
    made.append(Plan(f"zero-order, after best of {SCREEN}", lambda: ZeroOrder(8), SCREEN, 15))
    made.append(Plan(f"subspace, after best of {SCREEN}", lambda: SubspaceSearch(8), SCREEN, 15))
    for iterations in (20, 40):
        made.append(Plan(f"ReNO, {iterations} iterations, guarded", Reno, SCREEN, iterations, True))
        made.append(Plan(f"geodesic, {iterations} iterations, guarded", Geodesic, SCREEN, iterations, True))
    return made


# --- measuring -------------------------------------------------------------------------------


class Bench:
    """The models and what they say of one noise."""

    def __init__(self) -> None:
        self.generator: Generator = load_generator()
        self.scorer: Scorer = load_scorer("hps-tiny-shapes", device="cpu")
        try:
            self.judge: Scorer | None = load_scorer("hps-tiny-judge", device="cpu")
        except HpsError:
            self.judge = None

    def objective(self, prompt: str) -> Objective:
        """Return what is maximised for a prompt."""
        cond = self.generator.encode_prompts([prompt])
        return Objective(
            lambda noise: self.generator.sample(cond, noise, STEPS, CFG),
            lambda latent: self.generator.decode(latent, SIZE),
            terms_of(self.scorer),
            prompt,
            nfe=STEPS,
            chunk=8,
        )

    def run(self, plan: Plan, spec: world.Spec, prompt: str, first: int) -> dict[str, Any]:
        """Run a plan on a prompt; return what it hands out, and for best of N every change of its best."""
        at: dict[int, Any] = {}

        def look(update: Any) -> None:
            if plan.screen > SCREEN and all(update.best is not known for known in at.values()):
                at[update.point.images] = update.best

        guards = Guards(held_out=self.judge if plan.guarded else None, every=2, max_look=0)
        noises = self.generator.noise(range(first, first + plan.screen))
        found = optimize_noise(
            plan.method(), self.objective(prompt), noises, iterations=plan.iterations, guards=guards, on_progress=look
        )
        spent = found.cost.equivalents / STEPS
        budgets = {budget: self.verdict(made, spec, prompt) for budget, made in at.items()}
        return {"spent": spent, "budgets": budgets, "end": self.end(found, spec, prompt)}

    def end(self, found: NoiseSearch, spec: world.Spec, prompt: str) -> dict[str, Any]:
        """Return what is handed out in the end."""
        extra = {"angle": math.degrees(found.angle), "stopped": found.stopped, "health": found.health.verdict}
        extra |= {"norm": float(found.chosen.noise.norm()) / found.chosen.noise.numel() ** 0.5}
        return self.verdict(found.chosen, spec, prompt) | extra

    def verdict(self, made: Any, spec: world.Spec, prompt: str) -> dict[str, Any]:
        """Return score, held-out score and the oracle's checks of one evaluation."""
        with torch.no_grad():
            picture = self.generator.decode(made.latent, 128)[0]
            held = None if self.judge is None else self.judge.score(made.image, prompt).tolist()[0]
        seen = oracle.judge(picture, spec)
        return {
            "score": next(iter(made.scores.values())),
            "held_out": held,
            "all_right": float(seen.all_right),
            "alignment": seen.alignment,
            "fidelity": seen.fidelity,
        }


def measure(path: Path, prompts: int, seed: int, only: str) -> None:
    """Append one JSON line for each plan and prompt that is not there yet."""
    torch.set_num_threads(1)
    bench, rng = Bench(), random.Random(seed)
    done = {(row["plan"], row["prompt"]) for row in _rows(path)}
    with path.open("a", encoding="utf-8") as out:
        for number in range(prompts):
            spec = oracle.easy_spec(rng)
            prompt = world.prompt_of(spec, rng)
            for plan in plans():
                if (plan.name, number) in done or only not in plan.name or (plan.guarded and bench.judge is None):
                    continue
                row = bench.run(plan, spec, prompt, 100_000 * (number + 1))
                out.write(json.dumps({"plan": plan.name, "prompt": number, "text": prompt, **row}) + "\n")
                out.flush()


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


# --- tables ------------------------------------------------------------------------------------


def interval(values: Sequence[float], draws: int = 2000) -> tuple[float, float]:
    """Return a 95 % bootstrap interval of the mean over prompts."""
    rng = random.Random(0)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(draws))
    return means[int(0.025 * draws)], means[int(0.975 * draws)]


def cell(values: Sequence[float], digits: int) -> str:
    """Return mean and interval as text."""
    low, high = interval(values)
    return f"{statistics.fmean(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def tables(path: Path) -> Iterator[str]:
    """Yield markdown: the budgets of every plan, then what each hands out against best of N at the same compute."""
    rows = _rows(path)
    names = list(dict.fromkeys(row["plan"] for row in rows))
    by_plan = {name: [row for row in rows if row["plan"] == name] for name in names}
    base = {row["prompt"]: row["budgets"] for row in by_plan["best of N"]}
    yield f"{len(base)} prompts, {STEPS} steps, guidance {CFG:g}; means with 95 % bootstrap intervals over prompts.\n"
    yield "| N | score | all right | alignment | fidelity |\n|---|---|---|---|---|"
    for budget in BUDGETS:
        seen = [_at(found, budget) for found in base.values()]
        yield f"| {budget} | {_cells(seen)} |"
    yield "\n| method | images' worth | score | over best of N | all right | against best of N | fidelity | turned by |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in names:
        if name != "best of N":
            yield _line(name, by_plan[name], base)


def _cells(seen: Sequence[dict[str, Any]]) -> str:
    parts = [cell([item["score"] for item in seen], 2)]
    parts += [cell([item[key] for item in seen], 3) for key in ("all_right", "alignment", "fidelity")]
    return " | ".join(parts)


def _line(name: str, rows: Sequence[dict[str, Any]], base: dict[int, dict[str, Any]]) -> str:
    ends = [row["end"] for row in rows]
    spent = statistics.fmean(row["spent"] for row in rows)
    same = [_at(base[row["prompt"]], row["spent"]) for row in rows]
    gain = [end["score"] - other["score"] for end, other in zip(ends, same, strict=True)]
    right = [end["all_right"] - other["all_right"] for end, other in zip(ends, same, strict=True)]
    parts = [
        name,
        f"{spent:.0f}",
        cell([end["score"] for end in ends], 2),
        cell(gain, 2),
        cell([end["all_right"] for end in ends], 3),
        cell(right, 3),
        cell([end["fidelity"] for end in ends], 3),
        f"{statistics.fmean(end['angle'] for end in ends):.0f} deg",
    ]
    return f"| {' | '.join(parts)} |"


def _at(budgets: dict[str, Any], spent: float) -> dict[str, Any]:
    """Return what best of N has at this budget: the last change of its best before it."""
    fitting = [key for key in budgets if int(key) <= spent]
    found: dict[str, Any] = budgets[max(fitting, key=int)]
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("run", "tables"))
    parser.add_argument("rows", type=Path)
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--only", default="", help="part of the name of the plans to run")
    arguments = parser.parse_args()
    if arguments.action == "run":
        measure(arguments.rows, arguments.prompts, arguments.seed, arguments.only)
    else:
        print("\n".join(tables(arguments.rows)))


if __name__ == "__main__":
    main()
