"""The score in the text under a picture: fields of the infotext, one a picture, and the lines under the gallery."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job import Job

SCORE, MODE, SCORER = "HPS score", "HPS mode", "HPS scorer"


def fields(job: Job) -> dict[str, Any]:
    """Return the fields of a job; the score is a callable, which the host asks for every picture."""
    chosen = job.options
    return {MODE: chosen.mode, SCORER: ", ".join(chosen.scorers), SCORE: score_field(job)}


def score_field(job: Job) -> Callable[..., str | None]:
    """Return what gives a picture's score.

    The host hands over the place in the batch while a batch is saved (`all_prompts` is then the batch's own list), and
    the place in the job otherwise.
    """

    def score(
        p: Any, index: int = 0, all_prompts: Any = None, use_main_prompt: bool = False, **more: Any
    ) -> str | None:
        if use_main_prompt:
            return None
        number = index + (p.iteration * p.batch_size if all_prompts is p.prompts else 0)
        judged = job.judged.get(number)
        return judged.words() if judged is not None and judged.known else None

    return score


def settle(job: Job, processed: Any) -> None:
    """Put a list in place of the callable: the API turns callables into null."""
    known = dict(processed.extra_generation_params)
    if callable(known.get(SCORE)):
        numbers = range(max(job.judged, default=-1) + 1)
        known[SCORE] = [job.judged[k].words() if k in job.judged and job.judged[k].known else None for k in numbers]
        processed.extra_generation_params = known


def lines(job: Job, processed: Any) -> list[str]:
    """Return what stands under the gallery about the scores."""
    known = [judged for judged in job.judged.values() if judged.known]
    if not known:
        return []
    return [f"{', '.join(job.options.scorers)}: " + ", ".join(judged.words() for judged in known[:32])]
