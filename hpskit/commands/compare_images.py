"""What `hps compare` takes of images: scores, what their metadata says, thumbnails and two plain measures."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import StudyError
from ..study.records import Cell
from ..study.sources import Scoring, Shot, unique
from . import bulk, console, inputs, session
from .inputs import Job
from .recording import Recorder
from .session import Outcome

if TYPE_CHECKING:
    from torch import Tensor

    from ..ledger.scored import Trace
    from ..metadata import PromptInfo

_log = logging.getLogger("hps")
_ENOUGH: Final = 2**17
"""Pixels that contrast and saturation are measured on."""


@dataclass(frozen=True)
class Seen:
    """What stays of a picture that was looked at."""

    width: int = 0
    height: int = 0
    contrast: float | None = None
    saturation: float | None = None
    image_hash: str = ""
    thumbnail: bytes | None = None
    seed: str | None = None
    made: Mapping[str, str] = field(default_factory=dict)


class Watcher:
    """Looks at every picture once, whether it is recorded or not; `look` may be called from any thread."""

    def __init__(self, recorder: Recorder, *, pictures: bool) -> None:
        self._recorder = recorder
        self._pictures = pictures
        self.seen: dict[Path, Seen] = {}

    def look(self, job: Job, image: Tensor, info: PromptInfo | None) -> None:
        """Keep what is needed of a picture, uint8 [3, H, W], and let the recorder look too."""
        trace = self._recorder.look(job, image, info)
        try:
            if job.path not in self.seen:
                self.seen[job.path] = seen_of(image, info, trace, pictures=self._pictures)
        except Exception as error:  # one strange picture must not lose its score for its thumbnail's sake
            _log.info("%s: nothing but its score is known", job.path, exc_info=error)

    def catch_up(self, paths: Iterable[Path], threads: int) -> None:
        """Look at pictures whose scores were known, so that nobody has decoded them yet."""
        todo = [path for path in dict.fromkeys(paths) if path not in self.seen]
        bar = console.Progress("Reading", len(todo))
        pool = ThreadPoolExecutor(threads, thread_name_prefix="hps-look")
        try:
            for done, (path, seen) in enumerate(zip(todo, pool.map(self._read, todo), strict=True), start=1):
                self.seen[path] = seen
                bar.update(done)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            bar.close()

    def _read(self, path: Path) -> Seen:
        try:
            return seen_of(bulk.decode(path), bulk.maybe_info(path), None, pictures=self._pictures)
        except Exception:  # its score is known; that nothing else is does no harm
            return Seen()


def seen_of(image: Tensor, info: PromptInfo | None, trace: Trace | None, *, pictures: bool) -> Seen:
    """Return what is kept of a picture, uint8 [3, H, W]; what was recorded of it is not worked out again."""
    from ..ledger.picture import pixel_hash, thumbnail_of
    from ..ledger.scored import picture_of

    height, width = int(image.shape[-2]), int(image.shape[-1])
    picture = None if trace is not None else picture_of(image)
    digest = trace.image_hash if trace is not None else pixel_hash(picture) if picture is not None else ""
    thumbnail = trace.thumbnail if trace is not None else None
    if picture is not None and pictures:
        thumbnail = thumbnail_of(picture)
    contrast, saturation = look_of(image)
    made = {**made_of(info), "size": f"{width}x{height}"}
    seed = None if info is None or info.seed is None else str(info.seed)
    return Seen(width, height, contrast, saturation, digest, thumbnail if pictures else None, seed, made)


def look_of(image: Tensor) -> tuple[float, float]:
    """Return the standard deviation of the luma (0..0.5) and the mean chroma (0..1) of a picture, uint8 [3, H, W].

    As `search.guards.look` has them, on an even choice of its pixels.
    """
    step = max(int((image.shape[-1] * image.shape[-2] / _ENOUGH) ** 0.5), 1)
    x = image[:, ::step, ::step].float() / 255
    luma = 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2]
    return float(luma.std(unbiased=False)), float((x.amax(0) - x.amin(0)).mean())


def made_of(info: PromptInfo | None) -> dict[str, str]:
    """Return how a picture was made, as people read it, by field; what is unknown is missing."""
    if info is None:
        return {}
    from ..study.ledger_rows import lora_text

    known = {
        "model": info.model or "",
        "lora": lora_text(info.loras),
        "sampler": info.sampler or "",
        "scheduler": info.scheduler or "",
        "steps": "" if info.steps is None else str(info.steps),
        "cfg": "" if info.cfg is None else f"{info.cfg:g}",
        "negative": info.negative,
    }
    return {name: value for name, value in known.items() if value}


# --- scoring ----------------------------------------------------------------------------------------------------------


def scored(args: argparse.Namespace, recorder: Recorder, *, pictures: bool) -> tuple[Outcome, Mapping[Path, Seen]]:
    """Score the images that the command line names and look at each; StudyError when none could be scored."""
    watcher = Watcher(recorder, pictures=pictures)
    outcome = session.run(args, recorder, look=watcher.look)
    if not outcome.results:
        raise StudyError(f"None of {console.count(len(outcome.failures), 'image')} could be scored; see above.")
    watcher.catch_up((result.path for result in outcome.results), bulk.decode_threads(args.threads))
    return outcome, watcher.seen


def scoring_of(outcome: Outcome) -> Scoring:
    """Return the scorers of a run: the first is the main one."""
    infos = list(outcome.infos.values())
    names = {name: info.name for name, info in outcome.infos.items()} if len(infos) > 1 else {}
    return Scoring(infos[0], names)


def shots(outcome: Outcome, seen: Mapping[Path, Seen], folders: Mapping[Path, tuple[str, str]]) -> list[Shot]:
    """Return the scored images as shots; `folders` has label and name of each file, for files in folders."""
    main = next(iter(outcome.infos))
    found = []
    for result in outcome.results:
        look = seen.get(result.path, Seen())
        label, name = folders.get(result.path, ("", str(result.path)))
        cell = Cell(
            setting=0,
            prompt=0,
            seed=0,
            score=result.scores[main],
            parts=dict(result.scores) if len(result.scores) > 1 else {},
            width=look.width,
            height=look.height,
            contrast=look.contrast,
            saturation=look.saturation,
            thumbnail=look.thumbnail,
            file=str(result.path),
            image_hash=look.image_hash,
        )
        found.append(Shot(cell, result.prompt, name, label, look.seed, look.made))
    return found


# --- folders ----------------------------------------------------------------------------------------------------------


def labels_of(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return a short unique name for each folder: its own, with as many parents as tell it from the others."""
    parts = [Path(os.path.abspath(folder)).parts for folder in folders]  # noqa: PTH100  links keep their names
    names = []
    for mine in parts:
        rivals = [other for other in parts if other != mine]
        depth = 1
        while depth < len(mine) and any(other[-depth:] == mine[-depth:] for other in rivals):
            depth += 1
        names.append(" ".join("/".join(mine[-depth:]).split()) or "folder")
    return unique(names)


def files_of(args: argparse.Namespace) -> tuple[tuple[str, ...], dict[Path, tuple[str, str]]]:
    """Return the settings' labels, and label and name of every image file; StudyError when the folders overlap."""
    folders = [Path(name) for name in args.paths]
    stray = next((folder for folder in folders if not os.path.isdir(folder)), None)  # noqa: PTH112  long names
    if stray is not None:
        what = "is a file" if stray.is_file() else "is no folder"
        raise StudyError(
            f"{stray} {what}. Name one folder for each setting, or compare files by their metadata with --by, such as "
            "--by sampler,steps."
        )
    places = [os.path.abspath(folder) for folder in folders]  # noqa: PTH100
    twice = next((name for k, name in enumerate(args.paths) if places[k] in places[:k]), None)
    if twice is not None:
        raise StudyError(f"{twice} is named twice; each setting needs a folder of its own.")
    labels = labels_of(folders)
    found: dict[Path, tuple[str, str]] = {}
    owners: dict[str, Path] = {}
    for folder, label in zip(folders, labels, strict=True):
        for path in inputs.find_images([str(folder)], args.recursive)[0]:
            other = owners.setdefault(os.path.abspath(path), folder)  # noqa: PTH100
            if other != folder:
                raise StudyError(f"{path} lies in both {other} and {folder}: a setting must not hold another one.")
            found[path] = (label, path.relative_to(folder).as_posix())
    return labels, found
