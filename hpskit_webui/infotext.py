"""The score in the text under a picture: fields of the infotext, one a picture, and the lines under the gallery."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from . import options
from .best_of_n.pools import STOPPED
from .bridge import host
from .bridge.folders import own_folders

if TYPE_CHECKING:
    from .best_of_n.pools import Candidate, Pool
    from .job import Job

SCORE, MODE, SCORER, RULE = "HPS score", "HPS mode", "HPS scorer", "HPS rule"
FURTHER, HELD_OUT = "HPS further scores", "HPS held out"
CANDIDATES, KEEP, RANK, PROMPT, ERROR = "HPS candidates", "HPS keep", "HPS rank", "HPS prompt", "HPS error"
NOTES = "HPS notes"
"""Only in what programs get: the lines under the gallery."""
_MOST = 24
"""Scores that one line lists."""
_FOLDERS = re.compile(r"(?<![\w.:/])(?:[A-Za-z]:[\\/]|~?/|\\\\)(?:[^\s\\/'\",;]+[\\/])+")
"""Everything of an absolute path but its last part."""
_RANK = re.compile(rf"{RANK}: (\d+) of \d+")


def fields(job: Job) -> dict[str, Any]:
    """Return the fields of a job; what belongs to one picture is a callable, which the host asks for every picture."""
    chosen = job.options
    known: dict[str, Any] = {MODE: chosen.mode, SCORER: ", ".join(names(job))}
    if chosen.guards:
        known[RULE] = chosen.rule
    if chosen.mode in (options.BEST, options.BEST_FIRST):
        known |= {CANDIDATES: chosen.candidates, KEEP: chosen.keep}
    if chosen.prompt.strip():
        known[PROMPT] = prompt_field(job)
    known |= {SCORE: score_field(job), RANK: rank_field(job)}
    if chosen.guards:
        known[FURTHER] = per_picture(lambda number: _further(job, number))
    if chosen.held_out:
        known[HELD_OUT] = per_picture(lambda number: _held_out(job, number))
    return {**known, ERROR: error_field(job)}


def names(job: Job) -> list[str]:
    """Return the ids of the scorers, the main one first; the panel's list may call them otherwise."""
    return [host.plain_name(name) for name in job.options.scorers]


def score_field(job: Job) -> Callable[..., str | None]:
    """Return what gives a picture's score."""
    return per_picture(lambda number: _words(job, number))


def prompt_field(job: Job) -> Callable[..., str | None]:
    """Return what gives the text that a picture was scored against, unless its own prompt says the same.

    A comparison of settings gives every picture such a text. Pasted, it would stay for whatever is written later.
    """
    own = job.options.prompt.strip()

    def ask(p: Any, index: int = 0, all_prompts: Any = None, use_main_prompt: bool = False, **more: Any) -> str | None:
        from ..hpskit.prompts import clean

        prompts = all_prompts if isinstance(all_prompts, list) else []
        known = not use_main_prompt and index < len(prompts)
        return None if known and clean(str(prompts[index])) == job.judge.text("") else own

    return ask


def rank_field(job: Job) -> Callable[..., str | None]:
    """Return what gives a picture's place in its pool, as far as that is known when the host asks."""
    return per_picture(lambda number: job.ranks.get(number))


def error_field(job: Job) -> Callable[..., str | None]:
    """Return what says that a picture has no score because scoring failed."""

    def error(number: int) -> str | None:
        trouble = job.failure or getattr(job, "trouble", "")
        return public(trouble) if trouble and number not in job.judged else None

    return per_picture(error)


def per_picture(value: Callable[[int], str | None]) -> Callable[..., str | None]:
    """Return a callable for the infotext that finds the number of the picture in the job.

    The host hands over the place in the batch while a batch is saved (`all_seeds` is then the batch's own list), and
    the place in the job otherwise. Prompts do not tell: some forks hand over a copy without comments.
    """

    def ask(p: Any, index: int = 0, all_seeds: Any = None, use_main_prompt: bool = False, **more: Any) -> str | None:
        if use_main_prompt:
            return None
        return value(index + (p.iteration * p.batch_size if all_seeds is p.seeds else 0))

    return ask


def _words(job: Job, number: int) -> str | None:
    judged = job.judged.get(number)
    return judged.words() if judged is not None and judged.known else None


def _further(job: Job, number: int) -> str | None:
    judged = job.judged.get(number)
    return listed(judged.further) if judged is not None else None


def _held_out(job: Job, number: int) -> str | None:
    judged = job.judged.get(number)
    return listed(judged.held_out) if judged is not None else None


def listed(scores: Mapping[str, float]) -> str | None:
    """Return scores by name in one value of an infotext, whose parser splits at commas; None for none."""
    return "; ".join(f"{name} {value:.4f}" for name, value in scores.items()) or None


def public(trouble: str) -> str:
    """Return the first line of an error without this machine's folders: pictures with their infotext are shared."""
    first = trouble.splitlines()[0] if trouble else ""
    for folder in own_folders():  # known ones may have spaces in them, which end a path that is not known
        first = re.sub(re.escape(folder) + r"[\\/]", "/_/", first)
        first = first.replace(folder, f"/_/{PurePath(folder).name}")
    return _FOLDERS.sub("...", first)


def with_rank(text: str, rank: int, of: int) -> str:
    """Return an infotext with the picture's place in its pool behind its score, in its last line."""
    head, separator, last = text.rpartition("\n")
    words = f"{RANK}: {rank} of {of}"
    if _RANK.search(last):
        return head + separator + _RANK.sub(words, last)
    found = list(re.finditer(rf"{SCORE}: -?[\d.]+", last))
    if found:
        end = found[-1].end()
        return f"{head}{separator}{last[:end]}, {words}{last[end:]}"
    return f"{text}, {words}" if last else words


def rank_of(text: str) -> int | None:
    """Return the place that an infotext names, or None."""
    found = _RANK.search(text.rpartition("\n")[2])
    return int(found[1]) if found else None


def settle(job: Job, processed: Any) -> None:
    """Put lists in place of our callables: the API turns callables into null."""
    known = dict(processed.extra_generation_params)
    if not callable(known.get(SCORE)):
        return
    numbers = range(max(job.judged, default=-1) + 1)
    values: dict[str, list[str | None]] = {
        SCORE: [_words(job, number) for number in numbers],
        RANK: [job.ranks.get(number) for number in numbers],
        FURTHER: [_further(job, number) for number in numbers],
        HELD_OUT: [_held_out(job, number) for number in numbers],
    }
    for name in (RANK, FURTHER, HELD_OUT, ERROR):
        known.pop(name, None)
    known |= {name: found for name, found in values.items() if name == SCORE or any(found)}
    if callable(known.get(PROMPT)):
        known[PROMPT] = job.options.prompt.strip()
    if job.failure:
        known[ERROR] = public(job.failure)
    processed.extra_generation_params = known


def tell_programs(processed: Any, notes: Sequence[str]) -> None:
    """Put what stands under the gallery into the answer to programs, which do not get it otherwise."""
    if notes:
        told = [public(note) for note in notes]
        processed.extra_generation_params = {**processed.extra_generation_params, NOTES: told}


# --- under the gallery ------------------------------------------------------------------------------------------------


def lines(job: Job, processed: Any) -> list[str]:
    """Return what stands under the gallery about the scores: one line a pool, or one for all pictures."""
    pools = getattr(job, "pools", None)
    if pools:
        return _pools(job, pools)
    known = [judged for judged in job.judged.values() if judged.known]
    if not known:
        return []
    words = ", ".join(f"{judged.main:.2f}" for judged in known[:_MOST])
    return [f"{_by(job)}: {words}{_more(len(known))}"]


def _by(job: Job) -> str:
    """Name the scorers; with several the rule, too, for the order need not be that of the scores in the line."""
    found = names(job)
    if len(found) == 1:
        return found[0]
    from ..hpskit.rules import default_rule

    rule = default_rule(found).kind if job.options.rule == "auto" else job.options.rule
    return f"{' and '.join(found)}, in the order of the rule {rule}, with the scores of {found[0]}"


def _more(count: int) -> str:
    return f" and {count - _MOST} more" if count > _MOST else ""


def _pools(job: Job, pools: Sequence[Pool]) -> list[str]:
    made = [_pool(job, pool, len(pools) > 1) for pool in pools if pool.candidates]
    if not made and not job.failure:
        return ["it was stopped before the first candidate was finished"]
    return [f"best by {_by(job)}", *made] if len(made) > 1 else made


def _pool(job: Job, pool: Pool, several: bool) -> str:
    """Return one line: the kept with their seeds, the others, and why there are no more."""
    kept, ordered = pool.kept(job.judge.rank), pool.ordered(job.judge.rank)
    others = [candidate for candidate in ordered if candidate not in kept]
    if job.failure:  # then everything was kept, in the order in which it was made
        kept, others = list(pool.candidates), []
    name = f"pool {pool.number + 1}" if several else f"best of {len(ordered)} by {_by(job)}"
    text = f"{name}: " + ", ".join(f"{_score(candidate)} (seed {candidate.seed})" for candidate in kept[:_MOST])
    if others:
        text += "; not kept: " + ", ".join(_score(candidate) for candidate in others[:_MOST]) + _more(len(others))
    return text + _stopped(pool)


def _score(candidate: Candidate) -> str:
    return "no score" if math.isnan(candidate.judged.main) else f"{candidate.judged.main:.2f}"


def _stopped(pool: Pool) -> str:
    why = STOPPED.get(pool.stopped, "")
    lost = f"; {pool.lost} not finished" if pool.lost and not why else ""
    return f"; stopped after {len(pool.candidates)} of {pool.size}: {why}" if why else lost
