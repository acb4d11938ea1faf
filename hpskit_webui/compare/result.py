"""What a comparison leaves: its study and verdict, a folder with report, table and grid, and the gallery."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hpskit.errors import OutputError, StudyError
from ..best_of_n.gallery import TEXT
from ..bridge import host
from ..record import recording
from ..record.pictures import hash_of
from ..shots import scorer_name
from ..xyz.table import cut
from . import store
from .run import MOST_HELD, Place, Runner, listed
from .store import Known

if TYPE_CHECKING:
    from PIL import Image

    from ...hpskit.study import Analysis, Cell, Study

log = logging.getLogger("hps")

TITLE = "HPS compare settings"
FOLDER = "hps-compare"
_LONGEST, _MOST_BYTES = 80, 200
"""Characters of a folder's name, and its bytes, of which file systems take 255."""


def study_of(runner: Runner) -> Study:
    """Return the study of a run with everything that a person should know about it."""
    from ...hpskit import study as records
    from ...hpskit.types import ScorerInfo

    plan = runner.plan
    identity = next((known.scorer for known in runner.cells.values() if known.scorer), ("", "", "", "", ""))
    info = ScorerInfo(identity[0], scorer_name(identity[0]), "", *identity[1:])
    varying = sorted({name for setting in plan.settings for name in setting.values})
    axes = [
        records.Axis(name, tuple(dict.fromkeys(setting.values[name] for setting in plan.settings))) for name in varying
    ]
    return records.Study(
        title=plan.name or "Comparison of settings",
        axes=tuple(axes),
        settings=tuple(records.Setting(setting.label, setting.values) for setting in plan.settings),
        prompts=plan.scored,
        seeds=tuple(map(str, plan.seeds)),
        cells=tuple(_cell((s, p, k), known) for (s, p, k), known in sorted(runner.cells.items())),
        scorer=info,
        notes=tuple(_notes(runner)),
        facts=tuple(_facts(runner)),
        seeds_shared=True,
    )


def _cell(place: tuple[int, int, int], known: Known) -> Cell:
    from ...hpskit.study import Cell

    made = Cell(
        *place,
        known.score,
        parts=dict(known.parts),
        width=known.width,
        height=known.height,
        thumbnail=known.thumbnail,
        file=known.file,
        image_hash=known.image_hash,
        entry=known.entry,
    )
    return _with_look(made)


def _with_look(cell: Cell) -> Cell:
    """Return a cell with the look of its thumbnail: found and fresh cells are then measured alike."""
    from PIL import Image

    from ...hpskit.images import from_pil
    from ...hpskit.search.guards import look

    if not cell.thumbnail:
        return cell
    try:
        with Image.open(io.BytesIO(cell.thumbnail)) as picture:
            seen = look(from_pil(picture.convert("RGB"))[None])
    except (OSError, ValueError):
        return cell
    return replace(cell, contrast=round(seen.contrast, 5), saturation=round(seen.saturation, 5))


def _notes(runner: Runner) -> list[str]:
    plan, notes = runner.plan, []
    if runner.stopped:
        notes.append(f"Stopped: run it again as it is, and only the rest is made. Its first seed is {plan.seeds[0]}.")
    by_words: dict[str, list[str]] = defaultdict(list)
    for setting, said in runner.failures.items():
        by_words[said[0]].append(plan.settings[setting].label)
    notes += [f"This failed: {listed(labels)}. {words}" for words, labels in by_words.items()]
    if not runner.stopped and len(runner.cells) < len(plan.settings) * len(plan.prompts) * len(plan.seeds):
        notes.append(f"With the first seed {plan.seeds[0]} another run makes what is not there, and nothing else.")
    notes += _alike(runner)
    if host.plain_name(plan.scorer) in host.MINIATURES.values():
        notes.append("The scorer is a miniature for trials; on anything but its own shapes its scores mean nothing.")
    return notes


def _alike(runner: Runner) -> list[str]:
    """Tell which settings gave the same images bit for bit: what they differ in has no effect."""
    return [
        f"These settings gave the same images, bit for bit, so what they differ in has no effect: {listed(labels)}."
        for labels in _groups(runner)[:5]
    ]


def _groups(runner: Runner) -> list[list[str]]:
    """Return the labels of settings that gave the same images."""
    images: dict[int, dict[tuple[int, int], str]] = defaultdict(dict)
    for (setting, prompt, seed), known in runner.cells.items():
        images[setting][prompt, seed] = known.image_hash
    groups: dict[Any, list[str]] = defaultdict(list)
    for setting, blocks in images.items():
        if all(blocks.values()):
            groups[tuple(sorted(blocks.items()))].append(runner.plan.settings[setting].label)
    return [labels for labels in groups.values() if len(labels) > 1]


def _once(analysis: Analysis, runner: Runner) -> Analysis:
    """Leave out of the warnings what our notes say already, and say better."""
    said = [f"{labels[0]} scores in every block the same as" for labels in _groups(runner)[:5]]
    return replace(analysis, warnings=tuple(w for w in analysis.warnings if not w.startswith(tuple(said))))


def _facts(runner: Runner) -> list[tuple[str, str]]:
    p, plan = runner.p, runner.plan
    size = len(plan.settings) * len(plan.prompts) * len(plan.seeds)
    made = len(runner.cells) - runner.reused
    facts = [("images", f"{made} made now, {runner.reused} found from earlier runs, {size} in the whole grid")]
    named = {axis.name for axis in plan.axes}
    facts += [(name, str(value)) for name, value in _constants(p) if name not in named and value not in (None, "")]
    model = getattr(runner.first, "sd_model_name", None)
    facts += [("model", str(model))] if model and "Checkpoint name" not in named else []
    return [*facts, ("date", time.strftime("%Y-%m-%d %H:%M"))]


def _constants(p: Any) -> list[tuple[str, Any]]:
    found = [("Sampler", p.sampler_name), ("Schedule type", getattr(p, "scheduler", None)), ("Steps", p.steps)]
    found += [("CFG Scale", p.cfg_scale), ("Size", f"{p.width}x{p.height}")]
    return [*found, ("Denoising", p.denoising_strength if hasattr(p, "init_images") else None)]


# --- files ------------------------------------------------------------------------------------------------------------


def write(study: Study, analysis: Analysis | None, grid: Image.Image, root: Path) -> Path:
    """Write report, tables and grid into a new folder, whole or not at all; OutputError where that cannot be done."""
    from ...hpskit.study.export import csv_text, to_json

    files = {"cells.csv": csv_text(study).encode("utf-8", "replace"), "grid.png": _png(grid)}
    files["study.json"] = (json.dumps(to_json(study, analysis), allow_nan=False) + "\n").encode("utf-8", "replace")
    if analysis is not None:
        from ...hpskit.report import render
        from ...hpskit.study import study_report

        files["report.html"] = render(study_report(study, analysis)).encode("utf-8", "replace")
    try:
        return _write(files, root, study.title)
    except OSError as error:
        raise OutputError(f"The report cannot be written below {root} ({error.strerror or error}).") from error


def _write(files: dict[str, bytes], root: Path, title: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".hps-", dir=root))
    try:
        for name, data in files.items():
            (made / name).write_bytes(data)
        made.chmod(0o755)  # mkdtemp makes folders that only the owner may read
        for number in range(1, 10_000):
            target = root / _name(title, number)
            if target.exists():
                continue
            try:
                os.rename(made, target)  # noqa: PTH104 fails where somebody was quicker
            except OSError:
                if not target.exists():
                    raise
                continue
            return target
        raise OutputError(f"{root} is full of folders of this name. Choose another name.")
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _name(title: str, number: int) -> str:
    plain = re.sub(r"[^\w .()+-]+", "_", title).strip(" ._")[:_LONGEST]
    plain = plain.encode("utf-8", "ignore")[:_MOST_BYTES].decode("utf-8", "ignore").strip(" .")
    if not plain or title == "Comparison of settings":
        plain = time.strftime("%Y-%m-%d %H.%M.%S")
    if plain.split(".")[0].upper() in (
        "CON",
        "PRN",
        "AUX",
        "NUL",
        *(f"{a}{k}" for a in ("COM", "LPT") for k in "123456789"),
    ):
        plain = f"_{plain}"
    return plain if number == 1 else f"{plain} ({number})"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


# --- the gallery ------------------------------------------------------------------------------------------------------


def result(runner: Runner) -> Any:
    """Return what the host shows: the grid, the pictures of the best setting, and the verdict under them."""
    from ...hpskit.study import analyse, grid_picture

    study = study_of(runner)
    lines: list[str] = []
    analysis: Analysis | None = None
    try:
        analysis = _once(analyse(study), runner)
        lines += [analysis.headline, *analysis.warnings]
    except StudyError as error:
        lines.append(str(error))
    lines += study.notes
    lines = [cut(line) for line in lines]
    if runner.continued:
        there = f"{runner.reused} image{' was' if runner.reused == 1 else 's were'} there"
        seed = f"whose first seed is {runner.plan.seeds[0]}"
        lines.insert(1, f"this goes on with a run that was stopped, {seed}: {there}. For new images give another one.")
    if recording.why_off():
        lines.append("recording is off, so these images are found again only until the host is closed.")
    grid = grid_picture(study, analysis)
    root = Path(runner.p.outpath_grids or tempfile.gettempdir()) / FOLDER
    try:
        folder = write(study, analysis, grid, root.absolute())
        grid.already_saved_as = str(folder / "grid.png")
        where = f"report: {folder / 'report.html'}" if analysis else f"table: {folder / 'cells.csv'}"
        lines.insert(1, where)  # behind the verdict, before what limits it
    except OutputError as error:
        lines.append(str(error))
    best = analysis.order[0] if analysis is not None and analysis.order else None
    return _processed(runner, grid, best, lines)


def _processed(runner: Runner, grid: Image.Image, best: int | None, lines: Sequence[str]) -> Any:
    from modules.processing import Processed

    p = runner.p
    done = copy(runner.first) if runner.first is not None else Processed(p, [], runner.plan.seeds[0], "")
    held = {place: found for place in _shown(runner, best) if (found := _picture(runner, place)) is not None}
    if any(
        picture.size != (runner.cells[place].width, runner.cells[place].height) for place, (picture, _) in held.items()
    ):
        lines = [*lines, "images of earlier runs that are not on the disk are shown small."]
    info = _info(runner, lines)
    done.images = [grid, *(picture for picture, _ in held.values())]
    done.infotexts = [info, *(text for _, text in held.values())]
    done.info, done.index_of_first_image = info, 1
    done.all_prompts = [runner.plan.prompts[place[1]] for place in held] or [runner.plan.prompts[0]]
    done.all_seeds = [runner.plan.seeds[place[2]] for place in held] or [runner.plan.seeds[0]]
    done.all_negative_prompts = [done.all_negative_prompts[0]] * len(done.all_prompts)
    done.all_subseeds = [done.all_subseeds[0]] * len(done.all_prompts)
    done.extra_generation_params = {**(done.extra_generation_params or {}), "Script": TITLE}
    done.comments = "".join(f"{line}\n" for line in [*runner.comments, *(f"HPS: {line}" for line in lines)])
    return done


def _shown(runner: Runner, best: int | None) -> list[Place]:
    """Return the cells whose pictures are shown: those of the best setting, or of all while there is no best one."""
    return [place for place in sorted(runner.cells) if best is None or place[0] == best][:MOST_HELD]


def _picture(runner: Runner, place: Place) -> tuple[Any, str] | None:
    """Return a cell's picture with its infotext: fresh, from its file, or else the thumbnail; None without any."""
    if place in runner.pictures:
        return runner.pictures[place]
    known = runner.cells[place]
    picture = _from_file(known) or _opened(io.BytesIO(known.thumbnail or b""))
    return None if picture is None else (picture, str(picture.info.get(TEXT) or store.infotext(known)))


def _from_file(known: Known) -> Any:
    """Return the picture that a cell was saved as, if it still is that one."""
    picture = _opened(known.file) if known.file else None
    if picture is None or hash_of(picture) != known.image_hash:
        return None
    picture.already_saved_as = known.file
    return picture


def _opened(file: Any) -> Any:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            picture.load()
            return picture
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _info(runner: Runner, lines: Sequence[str]) -> str:
    """Return the text of the grid: what was compared, and what came out."""
    plan = runner.plan
    axes = "; ".join(f"{axis.name}: {', '.join(axis.shown)}" for axis in plan.axes)
    head = [*plan.prompts[:10], f"Script: {TITLE}", f"HPS scorer: {plan.scorer}", axes]
    more = len(plan.seeds) - 1
    seeds = f"Seeds: {plan.seeds[0]} and {more} more" if more else f"Seed: {plan.seeds[0]}"
    return "\n".join([*head, seeds, *lines[:1]])
