"""What a person picked in the gallery, as it travels in a widget: positions, and the batch that they were picked in."""

from __future__ import annotations

import re

from ..hpskit.errors import SelectionError
from ..hpskit.select import Selection
from .shown import token
from .types import ScoreTable

MOST_TEXT = 32_000
"""Characters of a pick; 4096 positions with room to spare."""
_TOKEN = re.compile(r"[0-9a-f]{8}")
STALE = "The pick was made among other images and does not count for these; the rule decided. Pick again, or clear it."


def picked(table: ScoreTable, text: str) -> tuple[Selection | None, str]:
    """Return what `text` ("2,0" or "2,0@1f3a5b7c") picks, in that order, and a warning; None when the rule decides.

    The part after @ is the token of the batch in whose gallery the pick was made: among other images it means nothing.
    Raises SelectionError when the text is no list of positions or names an image that is not there.
    """
    if not text.strip():
        return None, ""
    places, mark = _parsed(text)
    if mark and mark != token(table):
        return None, STALE
    absent = next((place for place in places if place >= len(table)), None)
    if absent is not None:
        raise SelectionError(
            f"The pick names image {absent}, but there are only {len(table)} (0 to {len(table) - 1}). Pick again, or "
            "clear the pick for the rule."
        )
    kept = tuple(dict.fromkeys(places))
    rest = tuple(index for index in table.ranking.order if index not in kept)
    return Selection(kept, rest, False, f"Kept {len(kept)} of {len(table)}, picked by hand."), ""


def _parsed(text: str) -> tuple[list[int], str]:
    """Return positions and token. Split, not matched as a whole: workflows come from strangers, and so do picks."""
    listed, _, mark = text[: MOST_TEXT + 1].strip().partition("@")
    numbers, mark = re.split(r"[,;\s]+", listed.strip()), mark.strip()
    sound = all(part.isascii() and part.isdigit() and len(part) <= 6 for part in numbers)
    if len(text) > MOST_TEXT or not sound or (mark and not _TOKEN.fullmatch(mark)):
        raise SelectionError(
            f'The pick "{text[:40]}" is no list of positions. Write positions such as "2,0", counted from 0, click '
            "images in the gallery of HPS Select, or leave it empty for the rule."
        )
    return [int(part) for part in numbers], mark
