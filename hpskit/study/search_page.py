"""Report of a search for a better image: what it found, what it was worth, and how far to believe it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from .. import stats as st
from ..report import Chart, Figure, Gallery, Headline, Line, Note, Pair, Picture, Report, Section, Table, Text
from . import search_noise
from .search_parts import (
    by_member,
    facts,
    finite,
    notes,
    picture_of,
    seed_words,
    setting_facts,
    table_of,
)
from .search_records import PoolImage, SearchPool
from .shown import counted, excerpt, number, percent, signed

MOST_PICTURES: Final = 96
"""Pictures in the gallery; the table has all images."""
_LUCKY: Final = (
    "The best of several is partly luck: its score is what this scorer liked most in this pool. Another pool of the "
    "same size gives a gain of this size on average, not this very picture, and a person may prefer one of the next "
    "ranks. Where the lead over the next image is small, compare the two yourself."
)


def search_report(pool: SearchPool) -> Report:
    """Return the report of a best of N, of a scored batch or of a noise optimisation.

    Nothing in it fails: what is not known (pictures, seeds, settings, scores) is left out or shown as a dash.
    """
    if pool.trace is not None and pool.trace.optimised and len(pool.images) == 2:
        return search_noise.noise_report(pool)
    return _of_one_prompt(pool) if len(pool.prompts) < 2 else _of_several_prompts(pool)


def headline(pool: SearchPool) -> str:
    """Return the result in a sentence."""
    if pool.trace is not None and pool.trace.optimised and len(pool.images) == 2:
        return search_noise.headline(pool)
    best, values = pool.images[pool.order[0]], finite(pool)
    if len(pool.prompts) > 1:
        return f"{counted(len(pool.images), 'image')} of {len(pool.prompts)} prompts scored by {pool.scorer.name}."
    words = f"Best of {len(pool.images)}: score {number(best.score)}{seed_words(best, ', ')}"
    if len(values) < 2:
        return f"{words}."
    gain, sd = best.score - st.mean(values), st.standard_deviation(values)
    return f"{words}, {signed(gain)} points above the mean of the pool{_in_sd(gain, sd)}."


def _in_sd(gain: float, sd: float) -> str:
    return f" ({signed(gain / sd, 1)} sd)" if sd > 0 and math.isfinite(gain) else ""


def _title(pool: SearchPool, fallback: str) -> str:
    return pool.title or fallback


# --- one prompt -------------------------------------------------------------------------------------------------------


def _of_one_prompt(pool: SearchPool) -> Report:
    kind = f"Best of {len(pool.images)}" if pool.trace is not None else counted(len(pool.images), "scored image")
    prompt = pool.prompts[0] if pool.prompts else ""
    sections: list[Section] = [
        Headline(_figures(pool)),
        Text(" ".join(_words(pool))),
        *(Note(warning) for warning in pool.warnings),
        *_first_and_best(pool),
        *curve(pool),
        *by_member(pool),
        _gallery(pool, "All images, best first"),
        table_of(pool, "All scores"),
        *_honest(pool),
        *notes(pool),
        *setting_facts(pool),
        facts(pool, *_search_facts(pool)),
    ]
    return Report(_title(pool, f"{kind}: {excerpt(prompt, 90)}" if prompt.strip() else kind), _intro(prompt), sections)


def _intro(prompt: str) -> str:
    return f"Prompt: {prompt}" if prompt.strip() else ""


def _figures(pool: SearchPool) -> list[Figure]:
    best, values = pool.images[pool.order[0]], finite(pool)
    found = []
    if len(values) > 1:
        gain, sd = best.score - st.mean(values), st.standard_deviation(values)
        detail = f"{signed(gain / sd, 1)} sd of the pool" if sd > 0 else "all scores are equal"
        found.append(Figure(signed(gain), "points above the mean of the pool", detail))
    found.append(Figure(number(best.score), "score of the best", seed_words(best)))
    first = pool.images[0]
    if len(pool.images) > 1:
        label = "rank of the first seed" if first.seed is not None else "rank of the first image"
        found.append(Figure(f"{first.rank} of {len(pool.images)}", label, f"score {number(first.score)}"))
    if pool.trace is not None and pool.trace.seconds is not None:
        found.append(Figure(f"{pool.trace.seconds:.0f} s", f"for {counted(len(pool.images), 'image')}"))
    return found


def _words(pool: SearchPool) -> list[str]:
    said = [headline(pool)]
    if pool.trace is not None:
        early = pool.trace.asked is not None and pool.trace.asked > len(pool.images)
        said += [pool.trace.reason] if pool.trace.reason else []
        said += [f"{pool.trace.asked} were asked for."] if early else []
    return [*said, *_lead(pool)]


def _lead(pool: SearchPool) -> list[str]:
    """Say how far the winner is ahead of the next one, and how sure the scorer is."""
    if len(pool.images) < 2:
        return []
    best, second = (pool.images[k] for k in pool.order[:2])
    margin = best.score - second.score
    if not math.isfinite(margin):
        return []
    scale = pool.scorer.logit_scale
    words = f"The next one scored {number(abs(margin))} {'less' if margin >= 0 else 'more, but the rule put it second'}"
    if not scale:
        return [f"{words}."]
    chance = st.win_probability(best.score, second.score, scale)
    return [f"{words}; the scorer expects people to prefer the winner to it in {percent(chance)} of cases."]


def _first_and_best(pool: SearchPool) -> list[Pair]:
    first, best = pool.images[0], pool.images[pool.order[0]]
    if pool.trace is None or first is best or first.picture is None or best.picture is None:
        return []
    note = "The left one is what a run without a search would have given."
    return [Pair(picture_of(first, "first seed"), picture_of(best, "best", winner=True), "Without and with", note)]


def curve(pool: SearchPool) -> list[Chart]:
    """Return best of n read off the pool, beside what normally distributed scores of its mean and sd would give."""
    values = finite(pool)
    if len(values) < 2:
        return []
    measured, centre, sd = st.expected_maximum(values), st.mean(values), st.standard_deviation(values)
    sizes = _sizes(len(values))
    lines = [
        Line("measured on these images", [(float(n), measured[n - 1]) for n in sizes]),
        Line(
            "expected of normal scores",
            [(float(n), centre + sd * st.gaussian_expected_maximum(n)) for n in sizes],
            dashed=True,
        ),
    ]
    return [
        Chart(lines, "n images", "expected score of the best", "What fewer images would have given", _half(measured))
    ]


def _sizes(total: int) -> list[int]:
    """Return every n up to 64, and about 64 of them beyond: the curve is smooth."""
    step = max(total // 64, 1)
    return sorted({*range(1, total + 1, step), total})


def _half(measured: Sequence[float]) -> str:
    half, whole = measured[len(measured) // 2 - 1] - measured[0], measured[-1] - measured[0]
    known = "Each point is the average over all subsets of n of these images."
    if len(measured) < 4 or whole <= 0:
        return known
    return f"{known} Half as many images would have given {percent(half / whole)} of the gain."


def _gallery(pool: SearchPool, title: str) -> Gallery:
    shown = [pool.images[k] for k in pool.order if pool.images[k].picture is not None]
    pictures = [picture_of(image, winner=place == 0 and image.rank == 1) for place, image in enumerate(shown)]
    left = len(pool.images) - min(len(pictures), MOST_PICTURES)
    note = f"{counted(left, 'image')} of {len(pool.images)} {'is' if left == 1 else 'are'} not shown." if left else ""
    return Gallery(pictures[:MOST_PICTURES], title if pictures else "", note if pictures else "There are no pictures.")


def _honest(pool: SearchPool) -> list[Text]:
    if len(finite(pool)) < 2:
        return []
    pressure = st.selection_pressure(len(pool.images))
    words = (
        f"Selection pressure: at most {pressure:.2f} nats away from plain sampling (log n - (n - 1) / n). It grows "
        "with the logarithm of n: many more images change the result little, and what they do change is to this "
        "scorer's taste."
    )
    return [Text(f"{_LUCKY}\n\n{words}\n\n{_watchers(pool)}", "How far to believe it")]


def _watchers(pool: SearchPool) -> str:
    watching = [info.name for name, info in pool.members.items() if name not in pool.judging]
    if watching:
        return f"{', '.join(watching)} did not take part in the choice; what it says of the winner is independent."
    if pool.members:
        return "All scorers took part in the choice, so none of them is an independent judge of the winner."
    return (
        "No second scorer looked at these images. One that takes no part in the choice would be an independent judge."
    )


def _search_facts(pool: SearchPool) -> list[tuple[str, str]]:
    trace = pool.trace
    if trace is None:
        return [("Images", str(len(pool.images)))]
    seeds = [image.seed for image in pool.images if image.seed is not None]
    known = [("Search", trace.method), ("Images", str(len(pool.images)))]
    known += [("Seeds", f"{seeds[0]} to {seeds[-1]}")] if seeds else []
    return [*known, *([("Ended", trace.reason)] if trace.reason else []), *trace.facts]


# --- several prompts --------------------------------------------------------------------------------------------------


def _of_several_prompts(pool: SearchPool) -> Report:
    count = counted(len(pool.images), "image")
    figures = [
        Figure(str(len(pool.images)), "images"),
        Figure(str(len(pool.prompts)), "prompts"),
    ]
    sections: list[Section] = [
        Headline(figures),
        Note(),
        *(Note(warning) for warning in pool.warnings),
        _prompts(pool),
        *(_gallery_of(pool, prompt) for prompt in pool.prompts[:MOST_PICTURES]),
        table_of(pool, "All scores"),
        *notes(pool)[:1],
        *setting_facts(pool),
        facts(pool, ("Images", str(len(pool.images)))),
    ]
    return Report(_title(pool, f"{count} of {len(pool.prompts)} prompts"), headline(pool), sections)


def _prompts(pool: SearchPool) -> Table:
    rows: list[list[str | int | float | None]] = []
    for prompt in pool.prompts:
        values = [image.score for image in pool.images if image.prompt == prompt and math.isfinite(image.score)]
        best = max(values) if values else None
        rows.append([excerpt(prompt, 200), len(values), best, st.mean(values) if values else None])
    note = "Only numbers of one row compare."
    return Table(["prompt", "images", "best", "mean"], rows, "By prompt", note)


def _gallery_of(pool: SearchPool, prompt: str) -> Gallery:
    of_it: list[PoolImage] = [pool.images[k] for k in pool.order if pool.images[k].prompt == prompt]
    each = max(MOST_PICTURES // len(pool.prompts), 1)
    shown: list[Picture] = [
        Picture(image.picture, score=image.score, seed=image.seed) for image in of_it if image.picture is not None
    ]
    return Gallery(shown[:each], excerpt(prompt, 200))
