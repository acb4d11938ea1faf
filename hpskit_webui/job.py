"""What the pack does in one generation: the callbacks of the host in their measured order, for the plain "score" mode.

The other modes are subclasses. A job lives on the processing object as `p._hps`; a copy of `p` (a cell of X/Y/Z)
gets a job of its own. Callbacks come in this order, see `script`: before_process, process, then for every batch
before_process_batch, process_batch, before_every_sampling, batch_list, and image_done for every picture, at last
postprocess. From before_process_batch to image_done gradients are off (A1111) or it is inference mode (Forge).
"""

from __future__ import annotations

import logging
from typing import Any

from . import infotext
from .bridge import host
from .judge import TAG, Judge, Judged
from .options import Options
from .record import recording

log = logging.getLogger("hps")


class Job:
    """Scores every finished picture and writes the score where people look for it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.judge = Judge(options)
        self.judged: dict[int, Judged] = {}
        """By the number of the picture in the job: iteration * batch size + place in the batch."""
        self.ranks: dict[int, str] = {}
        """By the same number: the place in its pool, such as "1 of 8"."""
        self.failure = ""
        """Why nothing more is scored; pictures go on being made and saved."""
        self.notes: list[str] = []
        """Lines for the space under the gallery."""

    # --- callbacks ---

    def before_process(self, p: Any) -> None:
        """Change what is to be made; the prompts and seeds are not known yet."""

    def process(self, p: Any) -> None:
        """See prompts and seeds; put the fields of the infotext in."""
        # X/Y/Z cells share one dict, and what belongs to one picture must not reach another.
        p.extra_generation_params = dict(p.extra_generation_params)
        p.extra_generation_params.update(infotext.fields(self))

    def before_process_batch(self, p: Any) -> None:
        """See p.prompts, p.seeds, p.subseeds and p.rng of the coming batch."""

    def process_batch(self, p: Any) -> None:
        """See the batch with its extra networks active; conditionings are not made yet."""

    def before_every_sampling(self, p: Any, x: Any, noise: Any, c: Any, uc: Any) -> None:
        """See the noise of a pass; Forge calls this twice in the hires pass."""

    def batch_list(self, p: Any, pp: Any) -> None:
        """See the decoded batch `pp.images` (list of [3, H, W] in 0..1) before it is finished and saved."""

    def image_done(self, p: Any, pp: Any) -> None:
        """Score the finished picture `pp.image`, right before it is saved; one that was broken off has no score."""
        if host.interrupted():
            return
        number = number_of(p)
        seed = p.seeds[p.batch_index] if p.batch_index < len(p.seeds) else None
        [judged] = self.judge.score([pp.image], p.prompts[p.batch_index], seed=seed)
        self.keep_score(p, pp.image, number, judged)

    def keep_score(self, p: Any, picture: Any, number: int, judged: Judged, **extra: Any) -> None:
        """Remember a picture's score, and write it into the picture and the ledger."""
        self.judged[number] = judged
        picture.info[TAG] = judged.tag(**extra)
        recording.add(p, self, picture, judged)

    def postprocess(self, p: Any, processed: Any) -> None:
        """Finish: what the person sees under the gallery, and values in place of callables."""
        infotext.settle(self, processed)
        if any(judged.known and not judged.text.strip() for judged in self.judged.values()):
            self.notes.append("there is no prompt, and a score tells how well an image suits its prompt.")
        notes = [*infotext.lines(self, processed), *self.notes, *([self.failure] if self.failure else [])]
        processed.comments += "".join(f"HPS: {note}\n" for note in notes)
        infotext.tell_programs(processed, notes)

    # --- trouble ---

    def fail(self, error: Exception) -> None:
        """Give up scoring: what the person is told instead of scores."""
        if not self.failure:
            self.failure = f"no more scores: {error}"
            log.warning("%s", self.failure)


def number_of(p: Any) -> int:
    """Return the number of the picture in work among all of the job, as the infotext counts."""
    return int(p.iteration) * int(p.batch_size) + int(p.batch_index)
