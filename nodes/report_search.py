"""The scores of a search as its report takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..hpskit.rules import Rule
from ..hpskit.study.search_records import PoolImage, SearchPool
from . import report_pictures, tables
from .pictures import Picture
from .shown import main_info
from .types import ScoreTable


def pool_of(
    table: ScoreTable, images: Sequence[Any], title: str = "", facts: Sequence[tuple[str, str]] = ()
) -> SearchPool:
    """Return a table with its pictures: the given images [3, h, w] where there are any, else files of the run."""
    members = {name: part.info for name, part in table.scores.parts.items()}
    known = set(table.search.notes) if table.search is not None else set()
    return SearchPool(
        images=tuple(_image(table, index, images) for index in range(len(table))),
        scorer=main_info(table.scores, table.ranking.main),
        title=title,
        rule=table.ranking.rule.kind,
        members=members,
        judging=_judging(table.ranking.rule, tuple(members), table.ranking.main),
        trace=table.search,
        facts=tuple(facts),
        warnings=(*_kept(table), *(note for note in tables.warnings(table) if note not in known)),
    )


def _kept(table: ScoreTable) -> tuple[str, ...]:
    """Tell what is to be connected when what was kept of a search came without the rest."""
    if table.search is not None or not table.seeds:  # only images of a search have seeds
        return ()
    return ("This is what was kept of a search, not all its images: connect score_table for a report of the whole.",)


def _judging(rule: Rule, members: Sequence[str], main: str) -> frozenset[str]:
    """Return the members whose scores the rule looks at."""
    if rule.kind == "single":
        return frozenset({main, *rule.floors})
    heavy = {name for name in members if rule.weights.get(name, 1.0) > 0}
    return frozenset({*heavy, *rule.floors, *([main] if rule.kind == "gate" else [])})


def _image(table: ScoreTable, index: int, images: Sequence[Any]) -> PoolImage:
    scores, ranking = table.scores, table.ranking
    prompts = scores.prompts
    prompt = prompts[index] if len(prompts) == len(table) else (prompts or ("",))[0]
    picture = table.pictures[index] if table.pictures else None
    return PoolImage(
        score=ranking.scores[index],
        rank=ranking.rank[index],
        z=ranking.z[index],
        prompt=prompt,
        seed=table.seeds[index] if table.seeds else None,
        parts={name: part.tolist()[index] for name, part in scores.parts.items()},
        picture=images[index] if images else report_pictures.of_picture(picture) if picture is not None else None,
        **_known(picture),
    )


def _known(picture: Picture | None) -> dict[str, Any]:
    if picture is None:
        return {}
    names = {"width": picture.width, "height": picture.height, "image_hash": picture.hash}
    return {**names, "entry": picture.entry}
