"""The benchmark's figures against the published formulas, written down a second time and differently."""

from __future__ import annotations

import math
import random
import statistics
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpskit.benchmark import published, ranking, styles
from hpskit.benchmark.intervals import interval_of_strata
from hpskit.benchmark.protocol import (
    BENCHMARK,
    DRAWBENCH_LABEL,
    OTHER,
    OWN,
    PARTIAL,
    group_means,
    model_figure,
    style_figure,
)
from hpskit.benchmark.styles import STYLES, PromptSet
from hpskit.types import ScorerInfo

SCORES = st.lists(st.floats(-40, 40), min_size=1, max_size=300)


def prompt_set(each: int = 800, names: tuple[str, ...] = STYLES, layout: styles.Layout = "hpsv2") -> PromptSet:
    return PromptSet(layout, {name: tuple(f"{name} {k}" for k in range(each)) for name in names}, "here")


def gauss(seed: int, count: int = 800, mean: float = 28.0, sd: float = 1.5) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(mean, sd) for _ in range(count)]


def test_a_whole_style_is_ten_groups_of_eighty() -> None:
    values = gauss(1)
    figure = style_figure("anime", values)
    tens = np.asarray(values).reshape(10, 80)
    assert figure.mean == pytest.approx(math.fsum(values) / 800, abs=1e-12)
    assert figure.spread == pytest.approx(math.sqrt(np.square(tens.mean(1) - np.mean(values)).sum() / 10), abs=1e-12)
    assert (figure.images, figure.expected) == (800, 800)


@given(SCORES)
def test_groups_are_consecutive_and_the_last_may_be_short(values: list[float]) -> None:
    source = iter(values)
    chunks = iter(lambda: list(islice(source, 80)), [])
    expected = [statistics.fmean(chunk) for chunk in chunks]
    assert group_means(values) == pytest.approx(expected, abs=1e-9)
    figure = style_figure("anime", values)
    assert figure.mean == pytest.approx(statistics.fmean(expected), abs=1e-9)
    assert figure.spread == pytest.approx(statistics.pstdev(expected), abs=1e-6)


def test_a_short_group_weighs_as_much_as_a_whole_one() -> None:
    figure = style_figure("anime", [1.0] * 80 + [3.0])
    assert figure.mean == 2.0
    assert figure.spread == 1.0


def test_groups_close_up_over_missing_images() -> None:
    values = gauss(2, 160)
    holes = [math.nan if k in (0, 5, 81) else v for k, v in enumerate(values)]
    present = [v for k, v in enumerate(values) if k not in (0, 5, 81)]
    figure = style_figure("anime", holes)
    assert figure.mean == style_figure("anime", present).mean
    assert (figure.images, figure.expected) == (157, 160)


def test_average_is_over_images_not_over_styles() -> None:
    prompts = PromptSet("hpsv2", {name: ("p",) * n for name, n in zip(STYLES, (1, 1, 1, 7), strict=True)}, "here")
    scores = {name: [10.0 * k] * len(prompts.prompts[name]) for k, name in enumerate(STYLES)}
    assert model_figure("m", prompts, scores).average == pytest.approx((0 + 10 + 20 + 7 * 30) / 10)


def test_what_figures_may_be_called() -> None:
    whole = {name: gauss(3) for name in STYLES}
    figure = model_figure("m", prompt_set(), whole)
    assert (figure.label, figure.comparable, figure.images) == (BENCHMARK, True, 3200)
    holes = whole | {"photo": [math.nan, *whole["photo"][1:]]}
    assert model_figure("m", prompt_set(), holes).label == PARTIAL
    few = {name: gauss(3, 799) for name in STYLES}
    own = model_figure("m", prompt_set(799), few)
    assert (own.label, own.comparable) == (OWN, False)
    one = model_figure("m", prompt_set(names=("photo",)), whole)
    assert (one.label, one.average, len(one.styles)) == (BENCHMARK, None, 1)
    other = model_figure("m", prompt_set(), whole, as_published=False)
    assert (other.label, other.comparable) == (OTHER, False)
    draw = prompt_set(200, ("drawbench",), "drawbench")
    assert model_figure("m", draw, {"drawbench": gauss(4, 200)}).label == DRAWBENCH_LABEL


def test_a_style_without_images_has_no_figure() -> None:
    scores = {name: [math.nan] * 3 if name == "photo" else [1.0, 2.0, 3.0] for name in STYLES}
    figure = model_figure("m", prompt_set(3), scores)
    assert math.isnan(figure.styles[-1].mean)
    assert figure.average == 2.0
    assert figure.label == PARTIAL


def test_the_interval_is_as_wide_as_theory_says() -> None:
    values = gauss(5)
    low, high = (getattr(style_figure("anime", values).interval, name) for name in ("low", "high"))
    error = statistics.stdev(values) / math.sqrt(800)
    assert (high - low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.06)
    assert low < statistics.fmean(values) < high


def test_strata_are_drawn_apart() -> None:
    """Styles that differ by 10 points do not widen the interval of their average."""
    strata = [gauss(k, 200, mean=10.0 * k) for k in range(4)]
    apart, pooled = interval_of_strata(strata), interval_of_strata([[v for values in strata for v in values]])
    assert (apart.high - apart.low) < 0.3 * (pooled.high - pooled.low)


def test_intervals_hold_what_they_promise() -> None:
    """Of 200 samples from a known mean, about 95 % of the intervals hold it."""
    held = 0
    for seed in range(200):
        interval = interval_of_strata([gauss(seed, 80), gauss(1000 + seed, 40)], seed=seed, draws=400)
        held += interval.low <= 28.0 <= interval.high
    assert 180 <= held <= 199


def test_one_image_has_no_interval() -> None:
    assert math.isnan(interval_of_strata([[1.0]]).low)
    assert math.isnan(interval_of_strata([]).low)


def test_figures_repeat() -> None:
    scores = {name: gauss(6, 100) for name in STYLES}
    assert model_figure("m", prompt_set(100), scores) == model_figure("m", prompt_set(100), scores)


def test_models_become_settings_over_the_same_prompts() -> None:
    prompts = PromptSet("hpsv2", {"anime": ("same", "same"), "photo": ("same",)}, "here")
    scores = {"a": {"anime": [1.0, 2.0], "photo": [3.0]}, "b": {"anime": [1.5, math.nan], "photo": [4.0]}}
    info = ScorerInfo("hps-v2.1", "HPS v2.1", "hps", "2.1", "reference", "float32")
    made = ranking.study(prompts, scores, info, reference=1)
    assert [setting.label for setting in made.settings] == ["a", "b"]
    assert len(set(made.prompts)) == 3
    assert made.reference == 1
    values = made.scores()[:, :, 0]
    assert values[0].tolist() == [1.0, 2.0, 3.0]
    assert math.isnan(values[1, 1]) and len(made.cells) == 5


# --- published figures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", list(published.BY_SCORER.values()), ids=list(published.BY_SCORER))
def test_published_tables_are_what_they_were(rows: tuple[published.Row, ...]) -> None:
    assert len({row.model for row in rows}) == 22
    averages = [row.average for row in rows]
    assert averages == sorted(averages, reverse=True)
    for row in rows:  # a slip of the pen would show: 800 images a style, so the average is that of the styles
        assert row.average == pytest.approx(statistics.fmean(row.styles.values()), abs=0.0101), row.model
        assert tuple(row.styles) == STYLES


@pytest.mark.parametrize(
    ("scorer", "mode", "fits"),
    [
        ("hps-v2.1", "reference", True),
        ("hps-v2.0", "legacy", True),
        ("hps-v2.1", "crop", False),
        ("pickscore-v1", "crop", False),
        ("hps-tiny-shapes", "reference", False),
    ],
)
def test_the_benchmark_has_its_own_scorers(scorer: str, mode: str, fits: bool) -> None:
    info = ScorerInfo(scorer, "name", "hps", "2.1", mode, "float32")
    assert published.is_benchmark_scorer(info) is fits


def test_published_rows_are_found_by_folder() -> None:
    row = published.row_for("SDXL-base-0.9", "hps-v2.1")
    assert row is not None and (row.average, row.photo) == (30.63, 27.48)
    assert published.row_for("SDXL Base 0.9", "hps-v2.0").average == 27.73  # type: ignore[union-attr]
    assert published.row_for("SDXL Base 0.9", "pickscore-v1") is None
    assert published.row_for("my-model", "hps-v2.1") is None
    assert set(published.ABBREVIATIONS.values()) == {row.model for row in published.V2_1}


def test_published_agreement_is_found_by_scorer() -> None:
    found = published.agreement_for("hps-v2.1")
    assert found is not None and (found.imagereward, found.hpdv2) == (66.8, 84.1)
    assert published.agreement_for("clip-vit-h-14") is None
