"""Scored images of a plot as cells of a study; a few images at a time, of which thumbnails stay."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch

from ..hpskit.images import from_nhwc, quantize
from ..hpskit.search.guards import look
from ..hpskit.study import Cell
from ..hpskit.study.plot_layout import Layout, PlotDesign
from ..hpskit.types import Scorer, ScorerInfo, Scores
from . import host, pictures
from .pictures import Picture
from .recording import BATCH_INDEX, Judged, Recorder
from .score import detached, rule_of
from .shown import main_info
from .shown_study import MOST_PICTURES, Place
from .types import ScoreTable

CHUNK: Final = 8
"""Images that are scored together."""
_NAMED: Final = 5
"""Images without a score that are named one by one."""


@dataclass
class Plot:
    """All cells of a plot, with who judged them."""

    scorer: ScorerInfo
    """The main one."""
    part_names: Mapping[str, str] = field(default_factory=dict)
    found: list[Cell] = field(default_factory=list)
    pictures: dict[Place, Picture] = field(default_factory=dict)
    unscored: list[str] = field(default_factory=list)
    """Images that hold NaN or infinite pixels, in words."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the scoring."""
        if not self.unscored:
            return ()
        more = len(self.unscored) - _NAMED
        named = ", ".join(self.unscored[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        return (f"NaN or infinite pixels, so no score: {named}.",)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells by setting, prompt and seed."""
        return tuple(sorted(self.found, key=lambda cell: (cell.setting, cell.prompt, cell.seed)))


def scored(
    images: Sequence[torch.Tensor], design: PlotDesign, scorer: Scorer, recorder: Recorder, match_saved_file: bool
) -> Plot:
    """Return the cells of images (batches [n, h, w, 3]); every chunk is recorded as soon as it is scored."""
    members: Mapping[str, Scorer] = getattr(scorer, "members", {})
    rule = rule_of(scorer)
    main = (rule.main if rule is not None else None) or next(iter(members), scorer.info.id)
    plot = Plot(
        members[main].info if main in members else scorer.info,
        {name: member.info.name for name, member in members.items()},
    )

    def work(chunk: list[tuple[int, torch.Tensor]]) -> None:
        sound = [(k, image) for k, image in chunk if bool(torch.isfinite(image).all())]
        _skip(plot, design, [k for k in dict(chunk) if k not in dict(sound)])
        if not sound:
            return
        pixels = [quantize(image) if match_saved_file else image for _, image in sound]
        prompts = [design.prompts[design.places[k][1]] for k, _ in sound]
        scores = detached(scorer.score(pixels, prompts[0] if len(set(prompts)) == 1 else prompts))
        _add(plot, design, [k for k, _ in sound], pixels, scores, main, recorder)

    host.each(_chunks(images), math.ceil(len(design.places) / CHUNK), work)
    return plot


def _skip(plot: Plot, design: PlotDesign, indices: Sequence[int]) -> None:
    """Note images that cannot be scored, as a model that overflowed makes them."""
    for index in indices:
        plot.found.append(Cell(*design.places[index], math.nan))
        label = design.settings[design.places[index][0]].label
        plot.unscored.append(f"image {index + 1} ({label})")


def _chunks(batches: Sequence[torch.Tensor]) -> Iterator[list[tuple[int, torch.Tensor]]]:
    """Yield images [3, h, w] with their numbers, a few at a time."""
    chunk: list[tuple[int, torch.Tensor]] = []
    count = 0
    for batch in batches:
        for start in range(len(batch)):
            chunk.append((count, from_nhwc(batch[start : start + 1])[0]))
            count += 1
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


def _add(
    plot: Plot,
    design: PlotDesign,
    indices: Sequence[int],
    pixels: Sequence[torch.Tensor],
    scores: Scores,
    main: str,
    recorder: Recorder,
) -> None:
    parts = {name: part.tolist() for name, part in scores.parts.items()}
    values = parts.get(main, scores.tolist())
    judged, seen = [], [look(torch.nan_to_num(image)[None]) for image in pixels]
    for at, index in enumerate(indices):
        setting, prompt, _ = design.places[index]
        extra = {BATCH_INDEX: index, "setting": design.settings[setting].label}
        one = {name: column[at] for name, column in parts.items()}
        judged.append(Judged(values[at], design.prompts[prompt], one, None, extra))
    first = 0 if len(plot.found) < MOST_PICTURES else pictures.MOST
    taken = recorder.add(pixels, judged, plot.scorer, first)
    for index, one_judged, picture, appearance in zip(indices, judged, taken, seen, strict=True):
        place = design.places[index]
        plot.pictures[place] = picture
        plain = (appearance.contrast, appearance.saturation)
        plot.found.append(_cell(place, one_judged.score, one_judged.parts, picture, plain))


def _cell(
    place: Place,
    score: float,
    parts: Mapping[str, float],
    picture: Picture | None,
    seen: tuple[float | None, float | None] = (None, None),
) -> Cell:
    known = picture or Picture("", 0, 0)
    return Cell(
        *place,
        score,
        parts=parts,
        width=known.width,
        height=known.height,
        contrast=seen[0],
        saturation=seen[1],
        thumbnail=small_of(known),
        image_hash=known.hash,
        entry=known.entry,
    )


def small_of(picture: Picture) -> bytes | None:
    """Return the thumbnail of a picture from the temp folder; None where there is none."""
    try:
        return (pictures.folder() / picture.thumbnail_name).read_bytes() if picture.thumbnail_name else None
    except OSError:
        return None


def from_table(table: ScoreTable, layout: Layout, design: PlotDesign) -> Plot:
    """Return the cells of images that HPS Score has scored."""
    scores = table.scores
    parts = {name: part.tolist() for name, part in scores.parts.items()}
    names = {name: part.info.name for name, part in scores.parts.items()}
    plot = Plot(main_info(scores, table.ranking.main), names)
    for index, place in enumerate(design.places):
        picture = table.pictures[index] if table.pictures else None
        if picture is not None:
            plot.pictures[place] = picture
        one = {name: column[index] for name, column in parts.items()}
        plot.found.append(_cell(place, table.ranking.scores[index], one, picture))
    return plot
