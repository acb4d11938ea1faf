"""What a comparison hands on: the study with all that is worth knowing about it, its table, and its grid."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import torch
from PIL import Image

from ..hpskit.errors import StudyError
from ..hpskit.images import from_pil, to_nhwc
from ..hpskit.study import Analysis, Cell, Study, analyse
from ..hpskit.study.grid import grid_picture
from ..hpskit.study.table import table_text
from ..hpskit.types import Scorer, ScorerInfo
from . import pictures
from .compare_cells import Cells
from .compare_run import Plan, Runner, typical
from .host import MINIATURES
from .pictures import Picture
from .shown_study import Place
from .types import StudyResult

log = logging.getLogger("hps")

MOST_COSTS = 60
"""Settings whose cost is listed one by one."""
_MOST_ALIKE = 5
_SMALL = 256
"""Side of the thumbnails: larger pictures are read from their files."""


def study_of(plan: Plan, cells: Cells, runner: Runner, scorer: Scorer, notes: Sequence[str]) -> Study:
    """Return the study of a run, with everything that a person should know about it."""
    found = tuple(cells.found[place] for place in sorted(cells.found))
    members: Mapping[str, Scorer] = getattr(scorer, "members", {})
    said = [*notes, *runner.notes, *_failures(plan, runner), *_scores(plan, found), *_alike(plan, found)]
    return Study(
        title="Comparison of settings",
        axes=plan.design.axes,
        settings=plan.design.settings,
        prompts=plan.scored,
        seeds=tuple(str(seed) for seed in plan.seeds),
        cells=found,
        scorer=members.get(cells.main, scorer).info,
        reference=plan.design.reference,
        part_names={name: member.info.name for name, member in members.items()},
        notes=tuple(dict.fromkeys([*said, *_settings_notes(plan, cells), *_scorer_notes(scorer, members)])),
        facts=(*plan.design.constants, *_facts(plan, runner, cells)),
        seeds_shared=True,
    )


def analysed(study: Study) -> tuple[StudyResult, str, str]:
    """Return the study with its analysis, table and verdict; where nothing can be compared the words say why."""
    try:
        analysis = analyse(study)
    except StudyError as error:
        lines = [study.title, str(error), "", *_plain_table(study), *(f"Note: {note}" for note in study.notes)]
        return StudyResult(study, None), "\n".join(lines), str(error)
    return StudyResult(study, analysis), table_text(study, analysis), analysis.headline


def best_label(study: Study, analysis: Analysis | None) -> str:
    """Return the label of the setting with the highest mean; of one setting alone its own."""
    order = analysis.order if analysis is not None else (0,)
    return study.settings[order[0]].label if order else ""


def grid(study: Study, analysis: Analysis | None, where: Mapping[Place, Picture], side: int) -> torch.Tensor:
    """Return the labelled grid as an IMAGE [1, H, W, 3], from thumbnails or, for larger cells, from the files."""

    def picture(cell: Cell) -> Image.Image | None:
        known = where.get((cell.setting, cell.prompt, cell.seed))
        path = pictures.folder() / known.name if known is not None and known.name else None
        try:
            return None if path is None else Image.open(path).convert("RGB")
        except OSError:
            return None

    drawn = grid_picture(study, analysis, side=side, pictures=picture if side > _SMALL else None)
    return to_nhwc(from_pil(drawn)[None])


def _plain_table(study: Study) -> list[str]:
    rows = [
        f"{cell.score:8.3f}  seed {study.seeds[cell.seed]}  {study.settings[cell.setting].label}: "
        f"{study.prompts[cell.prompt][:60]}"
        for cell in study.cells[:200]
    ]
    return [*rows, *([""] if rows else [])]


# --- notes -----------------------------------------------------------------------------------------------------------


def _failures(plan: Plan, runner: Runner) -> list[str]:
    """Tell which settings failed, those with the same words together."""
    by_words: dict[str, list[str]] = defaultdict(list)
    for setting, said in runner.failures.items():
        by_words[said[0]].append(plan.design.settings[setting].label)
    return [f"Cells are missing, for this failed: {_listed(labels)}. {words}" for words, labels in by_words.items()]


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _MOST_ALIKE} more" if len(labels) > _MOST_ALIKE else ""
    return f"{'; '.join(labels[:_MOST_ALIKE])}{more}"


def _scores(plan: Plan, found: Sequence[Cell]) -> list[str]:
    bad = Counter(cell.setting for cell in found if cell.score != cell.score)
    if not bad:
        return []
    labels = [f"{plan.design.settings[setting].label} ({count})" for setting, count in bad.items()]
    return [f"Images that could not be scored, as they hold NaN or infinite pixels: {_listed(labels)}."]


def _alike(plan: Plan, found: Sequence[Cell]) -> list[str]:
    """Tell which settings gave the same images bit for bit: what they differ in has no effect."""
    images: dict[int, dict[tuple[int, int], str]] = defaultdict(dict)
    for cell in found:
        images[cell.setting][cell.prompt, cell.seed] = cell.image_hash
    groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for setting, blocks in images.items():
        if all(blocks.values()):
            groups[tuple(sorted(blocks.items()))].append(plan.design.settings[setting].label)
    same = [labels for labels in groups.values() if len(labels) > 1]
    told = [
        f"These settings gave the same images, bit for bit, so what they differ in has no effect: {_listed(labels)}."
        for labels in same[:_MOST_ALIKE]
    ]
    left = len(same) - len(told)
    return [*told, *([f"So did {left} more groups of settings."] if left > 0 else [])]


def _settings_notes(plan: Plan, cells: Cells) -> list[str]:
    notes = []
    if len({recipe.cfg for recipe in plan.design.recipes}) > 1:
        notes.append(
            "CFG differs between settings. It moves contrast and saturation, which preference scorers reward: look at "
            "the pictures, and combine a second scorer."
        )
    evaluations = [typical(costs).evaluations for costs in cells.costs.values()]
    if evaluations and max(evaluations) >= 1.5 * max(min(evaluations), 1):
        notes.append(
            f"The settings differ in cost: {min(evaluations)} to {max(evaluations)} model evaluations an image. A "
            "dearer setting competes with more seeds of a cheaper one."
        )
    if not plan.exact and len(plan.seeds) > 1:
        notes.append("Seeds shared model calls, which changes images by rounding; exact samples them one by one.")
    return notes


def _scorer_notes(scorer: Scorer, members: Mapping[str, Scorer]) -> list[str]:
    infos: list[ScorerInfo] = [member.info for member in members.values()] or [scorer.info]
    return [
        f"{info.id} is a miniature for trials; on anything but its own shapes its scores mean nothing."
        for info in infos
        if info.id in MINIATURES.values()
    ]


def _facts(plan: Plan, runner: Runner, cells: Cells) -> list[tuple[str, str]]:
    size = len(plan.design.settings) * len(plan.prompts) * len(plan.seeds)
    made = f"{runner.sampled} sampled now, {cells.reused} found from earlier runs, {size} in the whole grid"
    facts = [("images", made), ("denoise", f"{plan.denoise:g}"), ("sampled one by one", "yes" if plan.exact else "no")]
    for setting, costs in sorted(cells.costs.items())[:MOST_COSTS]:
        cost = typical(costs)
        words = f"{cost.evaluations} model evaluations, {cost.seconds:.3g} s an image"
        facts.append((f"cost of {plan.design.settings[setting].label}", words))
    return facts
