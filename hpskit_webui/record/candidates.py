"""Candidates that were judged before they were finished, in the ledger: as they were judged, with the text to make one.

All of a pool are written down, also those that were not kept, or the ledger would hold the lucky ones only. A kept one
that is not changed by finishing is recorded when it is finished, with its final text.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from ...hpskit.ledger.scored import Trace, trace_of
from .. import infotext
from . import recording

if TYPE_CHECKING:
    from ..best_of_n.contest import Contest
    from ..judge import Judged

log = logging.getLogger("hps")

FIRST_PASS = "first pass"
"""Entry of `extra` that tells a picture before it is finished."""


class Candidates:
    """The judged candidates of one pool."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, Judged, Trace]] = []

    def see(self, place: int, picture: Any, judged: Judged) -> None:
        """Keep what the ledger needs of a candidate; never raises."""
        if not judged.known:
            return
        try:
            if not recording.why_off():
                self._seen.append((place, judged, trace_of(picture)))
        except Exception:
            log.debug("A candidate gets no row in the ledger", exc_info=True)

    def write(self, p: Any, contest: Contest) -> None:
        """Write the candidates down once the winners are known; never raises."""
        winners = {winner.place for winner in contest.winners}
        changed = is_finished_later(p)
        rows = [one for one in self._seen if changed or one[0] not in winners]
        self._seen = []
        recording.add_traces(contest, [(one[2], one[1], partial(_made, p, contest, one[0], one[1])) for one in rows])


def is_finished_later(p: Any) -> bool:
    """Tell whether the host itself will change a picture after the first pass."""
    return any(bool(getattr(p, name, None)) for name in ("enable_hr", "restore_faces", "color_corrections"))


def _made(p: Any, contest: Contest, place: int, judged: Judged) -> dict[str, Any]:
    made = recording.made_by(p, contest, judged, place=0, text=_text(p, contest, place, judged))
    extra = {**made["extra"], FIRST_PASS: True}
    if "subseed" in extra:
        extra["subseed"] = str(contest.subseeds[place])
    held = {name: value for name, value in extra.pop(recording.HELD, {}).items() if name != "hires"}
    if is_finished_later(p):
        held[FIRST_PASS] = "not finished"
    return {**made, "extra": {**extra, **({recording.HELD: held} if held else {})}}


def _text(p: Any, contest: Contest, place: int, judged: Judged) -> str:
    """Return the host's text of a candidate; our fields in it speak of finished pictures, so the score stands alone."""
    first = int(p.iteration) * int(p.batch_size)
    lists = ([p.all_prompts[first]], [contest.seeds[place]], [contest.subseeds[place]], [p.all_negative_prompts[first]])
    before = p.extra_generation_params
    own = (infotext.MODE, infotext.CANDIDATES, infotext.KEEP)
    plain = {k: v for k, v in before.items() if not (k.startswith("HPS ") and (callable(v) or k in own))}
    p.extra_generation_params = {**plain, infotext.SCORE: judged.words()}
    try:
        return recording.host_text(p, *lists)
    finally:
        p.extra_generation_params = before
