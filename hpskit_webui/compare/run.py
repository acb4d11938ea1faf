"""The cells of a comparison, one generation each: found from earlier runs or made, and kept once they are done."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from ...hpskit.errors import StudyError
from .. import options
from ..best_of_n.progress import all_steps_of
from ..shots import shots_of
from . import store as compare_store
from .axes import Chosen, Varied
from .networks import Networks
from .store import Known

log = logging.getLogger("hps")

Place = tuple[int, int, int]
"""Of a cell: setting, prompt, seed."""
PATIENCE = 3
"""Failures of a setting that has worked before it is given up; one that never worked gets a single try."""
MOST_HELD = 64
"""Cells whose whole pictures stay in memory for the gallery."""
SLOW = 0.6
"""Cost by which the host says that an axis takes long to change, such as checkpoints."""


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    axes: tuple[Varied, ...]
    settings: tuple[Chosen, ...]
    prompts: tuple[str, ...]
    """What the model is told."""
    scored: tuple[str, ...]
    """What the scorer reads, one for each prompt and the same for all settings."""
    seeds: tuple[int, ...]
    scorer: str
    name: str = ""

    def places(self) -> list[Place]:
        """Return all cells in the order of making: one that is stopped is balanced, and slow changes are rare."""
        slow = sorted((k for k, axis in enumerate(self.axes) if _cost(axis) > SLOW), key=lambda k: -_cost(self.axes[k]))

        def order(place: Place) -> tuple[Any, ...]:
            setting, prompt, seed = place
            return (*(self.settings[setting].places[k] for k in slow), prompt, seed, setting)

        blocks = [(p, k) for p in range(len(self.prompts)) for k in range(len(self.seeds))]
        return sorted(((s, *block) for s in range(len(self.settings)) for block in blocks), key=order)

    def panel(self, prompt: int) -> dict[str, Any]:
        """Return what the panel is told to do in every cell of a prompt."""
        told = {"mode": options.SCORE, "scorer": self.scorer, "guards": (), "held_out": "", "rule": "auto"}
        return {**told, "noise_file": "", "prompt": self.scored[prompt], "clean_prompt": False}


def _cost(axis: Varied) -> float:
    return float(getattr(axis.option, "cost", 0) or 0)


@dataclass
class Runner:
    """Goes through the cells of a plan."""

    p: Any
    plan: Plan
    cells: dict[Place, Known] = field(default_factory=dict)
    pictures: dict[Place, tuple[Any, str]] = field(default_factory=dict)
    """Fresh pictures with their infotexts, the first MOST_HELD of them."""
    failures: dict[int, list[str]] = field(default_factory=dict)
    """What went wrong, by setting."""
    first: Any = None
    """The first finished generation: the host's own result of it."""
    comments: list[str] = field(default_factory=list)
    """What the host and other extensions said under the gallery."""
    reused: int = 0
    continued: bool = False
    """Whether it goes on with the seeds of a run that was stopped."""
    stopped: bool = False
    seconds: float = 0.0
    networks: Networks = field(default_factory=Networks)
    _keys: dict[Place, str] = field(default_factory=dict)

    def find(self) -> bool:
        """Find what is known from earlier runs; return whether that is all."""
        self._keys = {place: self._key(place, self.plan.seeds[place[2]]) for place in self.plan.places()}
        known = compare_store.recall(self._keys.values())
        self.cells = {place: known[key] for place, key in self._keys.items() if key in known}
        self.reused = len(self.cells)
        return self.reused == len(self._keys)

    def mark(self) -> str:
        """Return what tells this comparison from every other one, whatever its seeds are."""
        shown = [[setting.label for setting in self.plan.settings], len(self.plan.seeds), getattr(self.p, "user", None)]
        places = [place for place in self.plan.places() if place[2] == 0]
        return compare_store.mark([shown, *([*place, self._key(place, 0)] for place in places)])

    def run(self) -> None:
        """Make what was not found; what is finished stays, whatever comes then."""
        from modules import shared

        keys = self._keys
        missing = [place for place in keys if place not in self.cells]
        shared.state.job_count = len(missing)
        shared.total_tqdm.updateTotal(sum(all_steps_of(self._job(place)) for place in missing))
        start = time.monotonic()
        for number, place in enumerate(missing, 1):
            if shared.state.interrupted or shared.state.stopping_generation:
                self.stopped = True
                break
            shared.state.job = f"{number} out of {len(missing)}"
            shared.state.textinfo = f"HPS compare: image {number} of {len(missing)}"
            if not self._is_given_up(place[0]):
                self._cell(place, keys[place])
        self.seconds = time.monotonic() - start

    def _cell(self, place: Place, key: str) -> None:
        from modules import processing, shared

        shared.state.skipped = False
        job = self._job(place)
        try:
            done = processing.process_images(job)
        except Exception as error:
            log.warning("The setting %s failed", self.plan.settings[place[0]].label, exc_info=True)
            self._failed(place[0], str(error) or type(error).__name__)
            return
        if shared.state.interrupted or shared.state.skipped:
            self.stopped = self.stopped or bool(shared.state.interrupted)
            return  # half made
        self._take(place, key, job, done)

    def _take(self, place: Place, key: str, job: Any, done: Any) -> None:
        self._listen(done)
        pictures = list(done.images[done.index_of_first_image :])
        shots = shots_of(pictures[:1])
        if not shots:
            self._failed(place[0], self._why(job, done))
            return
        self.first = self.first or done
        self.cells[place] = compare_store.remember(key, compare_store.kept(pictures[0], shots[0]), shots[0].text)
        if len(self.pictures) < MOST_HELD:
            texts = done.infotexts[done.index_of_first_image :]
            self.pictures[place] = (pictures[0], texts[0] if texts else "")

    def _why(self, job: Any, done: Any) -> str:
        failure = getattr(getattr(job, "_hps", None), "failure", "")
        said = (getattr(done, "extra_generation_params", None) or {}).get("HPS error")
        return str(failure or said or "No picture with a score came out.")

    def _listen(self, done: Any) -> None:
        for line in str(done.comments or "").splitlines():
            if line.strip() and not line.startswith("HPS: ") and line not in self.comments:
                self.comments.append(line)

    # --- one cell ---

    def _job(self, place: Place) -> Any:
        """Return the job of a cell: a copy of the person's, with nothing shared that a cell may change."""
        setting, prompt, seed = place
        job = copy(self.p)
        for name in ("override_settings", "extra_generation_params", "comments"):
            setattr(job, name, dict(getattr(job, name, None) or {}))
        job.styles = list(job.styles or [])
        job.batch_size = job.n_iter = 1
        job.do_not_save_grid = True
        job.prompt, job.seed = self.plan.prompts[prompt], self.plan.seeds[seed]
        for axis, at in self.ordered(setting):
            axis.option.apply(job, axis.values[at], list(axis.values))
        job.seed = self.plan.seeds[seed]
        job._hps_axes = {**(getattr(job, "_hps_axes", None) or {}), **self.plan.panel(prompt)}
        return job

    def ordered(self, setting: int) -> Iterator[tuple[Varied, int]]:
        """Yield the axes with the place of a setting's value."""
        yield from zip(self.plan.axes, self.plan.settings[setting].places)  # noqa: B905 of equal length

    def _key(self, place: Place, seed: int) -> str:
        job = self._job(place)
        panel = options.read([job._hps_axes])
        return compare_store.key(job, panel, job.prompt, self.plan.scored[place[1]], seed, self.networks)

    # --- failures ---

    def _is_given_up(self, setting: int) -> bool:
        worked = any(place[0] == setting for place in self.cells)
        return len(self.failures.get(setting, ())) >= (PATIENCE if worked else 1)

    def _failed(self, setting: int, words: str) -> None:
        self.failures.setdefault(setting, []).append(words.strip().splitlines()[0])

    def check(self) -> None:
        """Raise StudyError when there is nothing to analyse."""
        if self.cells:
            return
        said = next((words[0] for words in self.failures.values()), "")
        if said:
            raise StudyError(f"No image was scored. {said}")
        raise StudyError("Stopped before the first image was finished; there is nothing to compare yet.")


def seeds_from(first: int, count: int) -> tuple[int, ...]:
    """Return seeds one after the other, as the host counts them."""
    return tuple((first + k) % 2**32 for k in range(count))


def listed(labels: Sequence[str], most: int = 5) -> str:
    """Return the first labels in one line."""
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return f"{'; '.join(labels[:most])}{more}"
