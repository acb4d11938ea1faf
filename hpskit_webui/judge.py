"""Scores of finished pictures for one job, with everything that a score needs to mean something."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .bridge import host
from .options import GRADIENT, SEARCH, Options

if TYPE_CHECKING:
    from PIL import Image

    from ..hpskit.rules import Rule
    from ..hpskit.select import Ranking
    from ..hpskit.types import Scorer, ScorerInfo

TAG = "hps"
"""Key of the record in a picture's `info`; the hosts write such texts into every PNG, also those of API and gallery."""


@dataclass(frozen=True)
class Judged:
    """The scores of one picture."""

    scores: Mapping[str, float]
    """By scorer id, the main one first; NaN where the picture could not be scored."""
    text: str
    """What the picture was scored against, after clean-up."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """As `hpskit.stamp` stores it; empty without a score."""
    held_out: Mapping[str, float] = field(default_factory=dict)
    """Scores by scorers that are only watched, by scorer id."""

    @property
    def main(self) -> float:
        """Score by the main scorer."""
        return next(iter(self.scores.values()), math.nan)

    @property
    def known(self) -> bool:
        """Whether there is a score."""
        return not math.isnan(self.main)

    def words(self) -> str:
        """Return the main score as infotext and file names show it: four decimals."""
        return f"{self.main:.4f}"

    @property
    def further(self) -> Mapping[str, float]:
        """All scores but the main one that are known."""
        return {name: value for name, value in [*self.scores.items()][1:] if not math.isnan(value)}

    def tag(self, **extra: Any) -> str:
        """Return the record as text for a picture's `info`, with `extra` such as the rank."""
        return json.dumps({**self.record, **extra}, ensure_ascii=False)


class Judge:
    """The scorers of one job; nothing is loaded before the first picture."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._scorer: Scorer | None = None

    @property
    def scorer(self) -> Scorer:
        """The scorer, several of them as one; raises the errors of loading."""
        if self._scorer is None:
            self._scorer = host.scorer_of(self.options)
        return self._scorer

    @property
    def info(self) -> ScorerInfo:
        """Identity of the main scorer."""
        members = getattr(self.scorer, "members", None)
        return (next(iter(members.values())) if members else self.scorer).info

    @property
    def rule(self) -> Rule | None:
        """How several scores order a pool; None is the usual way for their number."""
        from ..hpskit.rules import Rule

        return None if self.options.rule == "auto" else Rule(self.options.rule, main=self.info.id)

    def text(self, prompt: str) -> str:
        """Return what a picture with this prompt is scored against."""
        from ..hpskit.prompts import clean

        wanted = self.options.prompt.strip() or prompt
        return clean(wanted) if self.options.clean_prompt else wanted

    def score(self, pictures: Sequence[Image.Image], prompt: str, **extra: Any) -> list[Judged]:
        """Return the scores of pictures of one prompt; `extra` goes into their records.

        Pictures are read as RGB (Forge hides text in an alpha channel).
        """
        import torch

        from ..hpskit import images, stamp

        text = self.text(prompt)
        tensors = [images.from_pil(picture.convert("RGB")) for picture in pictures]
        with torch.inference_mode(False), torch.no_grad():
            scores = self.scorer.score(tensors, text)
        columns = {name: part.tolist() for name, part in (scores.parts or {scores.info.id: scores}).items()}
        main = next(iter((scores.parts or {"": scores}).values()))
        rows = [{name: column[k] for name, column in columns.items()} for k in range(len(pictures))]
        held = self._held_out(tensors, text)
        made = []
        for k, row in enumerate(rows):
            more = {**({"parts": row} if len(row) > 1 else {}), **({"held_out": held[k]} if held[k] else {})}
            made.append(Judged(row, text, stamp.record(main, k, **more, **extra), held[k]))
        return made

    def _held_out(self, tensors: Sequence[Any], text: str) -> list[dict[str, float]]:
        """Return the scores of finished pictures by the scorer that a noise search only watches."""
        import torch

        chosen = self.options
        if not chosen.held_out or chosen.mode not in (SEARCH, GRADIENT):
            return [{} for _ in tensors]
        watched = host.load_scorer(chosen.held_out)
        with torch.inference_mode(False), torch.no_grad():
            return [{watched.info.id: value} for value in watched.score(tensors, text).tolist()]

    def rank(self, pool: Sequence[Judged]) -> Ranking:
        """Order the candidates of one pool; those without a score come last."""
        from ..hpskit.select import rank_pool

        names = dict.fromkeys(name for judged in pool for name in judged.scores)
        columns = {name: [judged.scores.get(name, math.nan) for judged in pool] for name in names}
        return rank_pool(columns, self.rule, self.spreads)

    @property
    def spreads(self) -> dict[str, float | None]:
        """Typical standard deviation of each score between seeds of one prompt."""
        members = getattr(self.scorer, "members", None) or {self.scorer.info.id: self.scorer}
        return {name: member.info.within_prompt_sd for name, member in members.items()}

    def unscored(self, prompt: str) -> Judged:
        """Return what stands for a picture that could not be scored."""
        return Judged({self.info.id: math.nan}, self.text(prompt))
