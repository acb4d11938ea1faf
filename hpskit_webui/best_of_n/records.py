"""What pictures of a best-of-N job carry: the infotext as it is in the end, and the record of their score."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import infotext
from ..judge import TAG
from ..options import SCORE
from .gallery import TEXT, Group, Made

if TYPE_CHECKING:
    from ..job import Job


def only_score(p: Any, job: Job, why: str) -> None:
    """Let a job go on as the plain mode "score", in the infotexts too, and tell why."""
    job.options = replace(job.options, mode=SCORE)
    for name in (infotext.CANDIDATES, infotext.KEEP):
        p.extra_generation_params.pop(name, None)
    p.extra_generation_params.update(infotext.fields(job))
    job.notes.append(why)


def writes_texts() -> bool:
    """Tell whether the host puts infotexts into pictures."""
    from modules import shared

    return bool(shared.opts.enable_pnginfo)


def write_text(group: Group) -> None:
    """Put the final infotext into the picture, where the host does so."""
    if writes_texts():
        for picture in (group.picture, group.to_save):
            picture.info[TEXT] = group.text


def tag(group: Group, **extra: Any) -> None:
    """Add fields to the record in a picture."""
    with suppress(KeyError, ValueError, TypeError):
        known = json.loads(group.made.picture.info[TAG])
        for picture in (group.picture, group.to_save):
            picture.info[TAG] = json.dumps({**known, **extra}, ensure_ascii=False)


def group_of(p: Any, made: Made) -> Group:
    """Return a picture with its infotext before the host has given its result."""
    from modules.processing import create_infotext

    text = made.picture.info.get(TEXT)
    if not text or not made.ready:
        lists, index, negatives = (p.all_prompts, p.all_seeds, p.all_subseeds), made.slot, p.all_negative_prompts
        if made.pool < 0:  # the job's lists do not know it
            lists, index, negatives = ([made.prompt], [made.seed], [made.subseed]), 0, [made.negative]
        text = create_infotext(p, *lists, index=index, all_negative_prompts=negatives)
    return Group(made, made.picture, str(text))
