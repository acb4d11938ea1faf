"""Studies and analyses made by hand, so that the outputs are tested on figures that are known."""

from __future__ import annotations

import dataclasses
import io
import math
import random

from PIL import Image

from hpskit.study import (
    CLEAR,
    LEANING,
    NO_EVIDENCE,
    Analysis,
    Axis,
    Cell,
    Comparison,
    Interval,
    Setting,
    Standing,
    Study,
)
from hpskit.types import ScorerInfo

SCORER = ScorerInfo("hps-v2.1", "HPS v2.1", "hps", "2.1", "reference", "float32", "0123456789ab", "any picture")
EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&lt;"
ODD = "\u202egnp.exe \U0001f600 \ud83d a\nb\x00\x1b[31m \u05e9\u05dc\u05d5\u05dd \u4e2d\u6587 {brace} 100 % <b>"
DAMAGED = b"RIFF\x00\x00\x00\x00WEBPVP8 nothing of the kind"


def thumbnail(colour, size=(64, 64), kind="WEBP"):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


def study(settings=3, prompts=2, seeds=4, *, axes=None, labels=None, missing=(), pictures=True, **more):
    """A whole design with scores from a fixed generator of random numbers: later settings score higher."""
    draw = random.Random(7)
    values = [f"s{i}" for i in range(settings)]
    axes = (Axis("sampler", tuple(values)),) if axes is None else axes
    made = combinations(axes) if axes else [Setting(name, {}) for name in values]
    if labels is not None:
        made = [dataclasses.replace(one, label=label) for one, label in zip(made, labels, strict=True)]
    cells = [
        Cell(
            s,
            p,
            k,
            round(25 + 3 * p + 0.4 * s + draw.gauss(0, 0.8), 3),
            width=64,
            height=64,
            thumbnail=thumbnail((draw.randrange(256), 60 * p % 256, 40 * s % 256)) if pictures else None,
        )
        for s in range(len(made))
        for p in range(prompts)
        for k in range(seeds)
        if (s, p, k) not in missing
    ]
    texts = tuple(f"a red circle above {n} blue squares" for n in range(prompts))
    numbers = tuple(str(1000 + n) for n in range(seeds))
    known = {"title": "Samplers", "prompts": texts, "seeds": numbers, "cells": tuple(cells), "scorer": SCORER}
    return Study(axes=axes, settings=tuple(made), **{**known, **more})


def combinations(axes):
    found = [{}]
    for axis in axes:
        found = [{**one, axis.name: value} for one in found for value in axis.values]
    return [Setting(", ".join(f"{name} {value}" for name, value in one.items()), one) for one in found]


def comparison(label="s1", against="s0", difference=0.42, low=0.1, high=0.74, **more):
    known = {
        "adjusted": Interval(low - 0.05, high + 0.05),
        "p": 0.0123,
        "p_adjusted": 0.0246,
        "verdict": CLEAR,
        "wins": 0.75,
        "wins_interval": Interval(0.41, 0.93),
        "prompts": 2,
        "pairs": 8,
        "sd": 0.4,
        "detectable": 0.3,
        "pairs_needed": 8,
    }
    return Comparison(label, against, difference, Interval(low, high), **{**known, **more})


def analysis(study, **more):
    """What an analysis could say; the figures need not follow from the scores."""
    labels = [setting.label for setting in study.settings]
    others = [n for n in range(len(labels)) if n != study.reference]
    verdicts = [CLEAR, LEANING, NO_EVIDENCE]
    comparisons = [
        comparison(
            labels[n],
            labels[study.reference],
            0.42 - 0.3 * at,
            0.1 - 0.3 * at,
            0.74 - 0.3 * at,
            verdict=verdicts[at % 3],
        )
        for at, n in enumerate(others)
    ]
    standings = [
        Standing(
            n, 8, 27.0 + n, 0.2 * n - 0.2, 0.3 * n - 0.3, 0.1 * n, 0.05, 17.4 * n, 2.0, (0.1 * n, 0.5, 0.7 + 0.1 * n)
        )
        for n in range(len(labels))
    ]
    known = {
        "units": "prompts",
        "confidence": 0.95,
        "comparisons": tuple(comparisons),
        "by_axis": {},
        "standings": tuple(standings),
        "order": tuple(reversed(range(len(labels)))),
        "contenders": (len(labels) - 1,),
        "friedman_p": 0.04,
        "headline": f"{labels[-1]} is clearly ahead.",
        "warnings": ("Two prompts are few.",),
        "missing": study.size - len(study.cells),
    }
    return Analysis(**{**known, **more})


def unknown(study):
    """An analysis in which nothing could be measured."""
    nan = math.nan
    empty = Interval(nan, nan)
    whole = analysis(study)
    return dataclasses.replace(
        whole,
        comparisons=tuple(
            dataclasses.replace(
                one,
                difference=nan,
                interval=empty,
                adjusted=empty,
                p=nan,
                p_adjusted=nan,
                verdict=NO_EVIDENCE,
                wins=nan,
                wins_interval=empty,
                pairs=0,
                prompts=0,
                sd=nan,
                detectable=nan,
                pairs_needed=None,
            )
            for one in whole.comparisons
        ),
        standings=tuple(
            dataclasses.replace(
                one,
                cells=0,
                score=nan,
                relative=nan,
                z=nan,
                strength=nan,
                strength_sd=nan,
                elo=nan,
                mean_rank=nan,
                best_of=(),
            )
            for one in whole.standings
        ),
        contenders=(),
        friedman_p=None,
    )
