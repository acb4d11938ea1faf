"""Best of N on the embedded miniature, for `best-of` and `demo`: search, stamped pictures, report sections."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .. import stamp
from .. import stats as st
from ..embedded import load_generator
from ..errors import OutputError
from ..images import to_pil
from ..report import Column, Facts, Gallery, Line, Note, Picture, Table
from ..scorers import load_scorer
from ..search import BestOfN, Progress, StopRule, best_of_n
from ..types import Scorer, ScorerInfo, Scores
from . import console

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from ..embedded import Generator
    from .recording import Recorder

SCORER: Final = "hps-tiny-shapes"
GENERATOR: Final = "shapes-mmdit"
SAMPLER: Final = "euler"
PLAIN_WORDS: Final = (
    "Both models are miniatures that come with the library: the generator draws coloured shapes, the scorer judges "
    "coloured shapes. They show how scoring and best of N work. They say nothing about art or photographs."
)
_THUMBNAIL: Final = 192


@dataclass(frozen=True)
class Search:
    """One prompt's search with what a report shows of it."""

    prompt: str
    result: BestOfN
    thumbnails: Mapping[int, Image]
    """Small pictures of all candidates by index."""
    unknown: tuple[str, ...]
    """Words of the prompt that the generator ignored."""
    hashes: Mapping[int, str] = field(default_factory=dict)
    """Hashes of the candidates that were recorded, by index."""

    @property
    def values(self) -> list[float]:
        """Scores by candidate."""
        return self.result.scores.tolist()

    @property
    def gain(self) -> float:
        """Points by which the best exceeds the pool's mean, which is what a single seed gives on average."""
        return max(self.values) - st.mean(self.values)


def load() -> tuple[Generator, Scorer]:
    """Load the embedded pair."""
    return load_generator(), load_scorer(SCORER, device="cpu")


def search(
    generator: Generator,
    scorer: Scorer,
    prompt: str,
    seeds: Sequence[int],
    *,
    keep: int = 1,
    size: int = 256,
    steps: int = 6,
    cfg: float = 2.0,
    stop: StopRule | None = None,
    bar: console.Progress | None = None,
    before: int = 0,
    cancelled: Callable[[], bool] | None = None,
    recorder: Recorder | None = None,
) -> Search:
    """Make and score one candidate per seed; `bar` shows `before` plus those done."""
    import torch

    conditioning = generator.encode_prompts([prompt])
    thumbnails: dict[int, Image] = {}
    hashes: dict[int, str] = {}

    def sample(chunk: Sequence[int]) -> torch.Tensor:
        return generator.sample(conditioning, generator.noise(chunk), steps, cfg)

    def show(progress: Progress) -> None:
        for candidate in progress.candidates:
            if candidate.image is not None:
                picture = to_pil(candidate.image[0])
                if recorder is not None:
                    more = {"seed": candidate.seed, **drawn(steps, cfg)}
                    hashes[candidate.index] = recorder.made(
                        picture, prompt, scorer.info, candidate.scores[scorer.info.id], **more
                    )
                thumbnails[candidate.index] = _thumbnail(picture)
        if bar is not None:
            best = progress.ranking.scores[progress.best.index]
            bar.update(before + progress.done, remark=f"best {best:.2f}, seed {progress.best.seed}")

    with torch.no_grad():
        found = best_of_n(
            sample,
            lambda latent: generator.decode(latent, size),
            scorer,
            prompt,
            seeds,
            keep=keep,
            stop=stop,
            on_progress=show,
            cancelled=cancelled,
        )
    return Search(prompt, found, thumbnails, conditioning.unknown_words, hashes)


def drawn(steps: int, cfg: float) -> dict[str, Any]:
    """Return the settings of the embedded generator as the ledger knows them."""
    return {"model": GENERATOR, "sampler": SAMPLER, "steps": steps, "cfg": cfg}


def _thumbnail(picture: Image) -> Image:
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return picture


def save(folder: Path, name: str, made: Search, index: int) -> Path:
    """Write one kept candidate as PNG with its record, and return the path."""
    candidate = made.result.candidates[index]
    if candidate.image is None:
        raise OutputError(f"Candidate {index} was not kept, so it has no picture to save.")
    rank, pool = made.result.ranking.rank[index], len(made.result.candidates)
    extra: dict[str, Any] = {"seed": candidate.seed, "rank": rank, "pool": pool, "generator": GENERATOR}
    return write_png(folder / name, candidate.image, made.result.scores, index, **extra)


def write_png(path: Path, image: torch.Tensor, scores: Scores, index: int, **extra: Any) -> Path:
    """Write an image [1, 3, H, W] as PNG with the record of its score and `extra`, and return the path."""
    stream = io.BytesIO()
    to_pil(image[0]).save(stream, "PNG")
    try:
        path.write_bytes(stamp.stamped(stream.getvalue(), stamp.record(scores, index, **extra)))
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); choose another --out.") from error
    return path


def gallery(made: Search, title: str = "") -> Gallery:
    """Return all candidates of a search as pictures, best first."""
    ranking = made.result.ranking
    pictures = [
        Picture(
            made.thumbnails[index],
            rank=ranking.rank[index],
            score=made.values[index],
            seed=made.result.candidates[index].seed,
            winner=place == 0,
        )
        for place, index in enumerate(ranking.order)
        if index in made.thumbnails
    ]
    return Gallery(pictures, title)


def table(made: Search) -> Table:
    """Return the scores of a search, best first, with the margin to the next and the chance to be preferred to it."""
    ranking, values = made.result.ranking, made.values
    scale = made.result.info.logit_scale
    rows: list[list[str | int | float | None]] = []
    for place, index in enumerate(ranking.order):
        below = values[ranking.order[place + 1]] if place + 1 < len(ranking.order) else None
        margin = None if below is None else values[index] - below
        wins = st.win_probability(values[index], below, scale) if below is not None and scale else None
        seed = made.result.candidates[index].seed
        rows.append([ranking.rank[index], seed, values[index], ranking.z[index], margin, wins])
    columns = [
        Column("rank"),
        Column("seed", mono=True),
        Column("score", 3),
        Column("z", 2),
        Column("margin to next", 3),
        Column("p(beats next)", 2),
    ]
    return Table(columns, rows, "All candidates", marked=frozenset({0}))


def curves(values: Sequence[float]) -> list[Line]:
    """Return best of n measured from one pool, and what normally distributed scores of its mean and sd would give."""
    measured = st.expected_maximum(values)
    centre, spread = st.mean(values), st.standard_deviation(values)
    expected = [centre + spread * st.gaussian_expected_maximum(n) for n in range(1, len(values) + 1)]
    return [
        Line("measured on these images", list(enumerate(measured, start=1))),
        Line("expected of normal scores", list(enumerate(expected, start=1)), dashed=True),
    ]


def notes(info: ScorerInfo) -> tuple[Note, Note]:
    """Return what a reader must know: what the scorer can judge, and what compares."""
    return Note(f"{info.name} judges: {info.domain}"), Note()


def facts(info: ScorerInfo, *more: tuple[str, str]) -> Facts:
    """Return what identifies the scores of a report."""
    from .. import __version__

    return Facts(
        [
            ("Scorer", f"{info.name} ({info.id}), version {info.version}"),
            ("Generator", f"{GENERATOR}, embedded"),
            ("Preprocessing", info.preprocess),
            ("Computed in", info.dtype),
            ("Checkpoint", info.checkpoint or "-"),
            *more,
            ("hps", __version__),
        ]
    )
