"""Report, CSV, JSON and sheet of a search: right numbers, honest words, and nothing that can make them fail."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpskit import report, stats
from hpskit.rules import Rule
from hpskit.select import rank_pool
from hpskit.study.search_files import FORMAT, search_csv, search_json, search_sheet
from hpskit.study.search_page import MOST_PICTURES, headline, search_report
from hpskit.study.search_records import CurvePoint, PoolImage, SearchPool, SearchTrace
from hpskit.types import ScorerInfo

Image = pytest.importorskip("PIL.Image")
INFO = ScorerInfo("hps-v2.1", "HPS v2.1", "hps", "1", "legacy", "float32", "abc", "photographs", logit_scale=100.0)
OTHER = replace(INFO, id="pick", name="PickScore", domain="drawings")
SCORES = [26.0, 28.0, 27.0, 27.5, 25.0, 27.9, 26.5, 27.1]
EVIL = "</script><img src=x onerror=alert(1)>&\"'"


def picture(k: int = 0, side: int = 32) -> Any:
    return Image.new("RGB", (side, side), (20 * k % 256, 80, 160))


def pool(scores: list[float] = SCORES, **more: Any) -> SearchPool:
    ranking = rank_pool({INFO.id: scores})
    images = [
        PoolImage(score, ranking.rank[k], ranking.z[k], "a red fox", 2**63 + k, picture=picture(k), image_hash=f"{k:x}")
        for k, score in enumerate(scores)
    ]
    trace = SearchTrace("best of n", "All candidates were sampled.", 12.3, len(scores))
    return SearchPool(**{"images": tuple(images), "scorer": INFO, "trace": trace, **more})


def noise(**more: Any) -> SearchPool:
    curve = tuple(CurvePoint(n, 26 + n / 10, 26 + n / 10, 20 + n / 20 if n % 2 else None) for n in range(1, 9))
    trace = SearchTrace(
        "geodesic (gradient)",
        "All iterations were made.",
        33.0,
        curve=curve,
        held_out=OTHER,
        held_out_start=20.0,
        held_out_result=20.4,
        facts=(("Noise health", "green"),),
    )
    return replace(pool([26.0, 26.8]), trace=replace(trace, **more))


def words(whole: SearchPool) -> str:
    html = report.render(search_report(whole))
    return unescape(re.sub(r"<(style|script)>.*?</\1>|<[^>]+>", " ", html, flags=re.S))


def section(whole: SearchPool, kind: type) -> Any:
    return [one for one in search_report(whole).sections if isinstance(one, kind)]


# --- best of n --------------------------------------------------------------------------------------------------------


def test_the_headline_is_best_gain_and_place_of_the_first() -> None:
    gain, sd = 28.0 - stats.mean(SCORES), stats.standard_deviation(SCORES)
    (head,) = section(pool(), report.Headline)
    assert [figure.value for figure in head.figures] == [f"{gain:+.2f}", "28.00", "7 of 8", "12 s"]
    assert head.figures[0].detail == f"{gain / sd:+.1f} sd of the pool"
    best = f"Best of 8: score 28.00, seed {2**63 + 1}"
    assert headline(pool()) == f"{best}, {gain:+.2f} points above the mean of the pool ({gain / sd:+.1f} sd)."


def test_the_curve_is_the_expected_best_of_n_with_the_normal_one() -> None:
    (chart,) = section(pool(), report.Chart)
    measured, normal = chart.lines
    assert [value for _, value in measured.points] == pytest.approx(stats.expected_maximum(SCORES))
    centre, sd = stats.mean(SCORES), stats.standard_deviation(SCORES)
    assert normal.points[7] == (8.0, pytest.approx(centre + sd * stats.gaussian_expected_maximum(8)))
    assert normal.dashed and measured.points[0] == (1.0, pytest.approx(centre)) and measured.points[-1][1] == 28.0


def test_the_curve_of_a_large_pool_stays_small() -> None:
    values = [26 + (k * 7919 % 1000) / 500 for k in range(1000)]
    (chart,) = section(pool(values), report.Chart)
    assert len(chart.lines[0].points) < 80 and chart.lines[0].points[-1] == (1000.0, max(values))
    (gallery,) = section(pool(values), report.Gallery)
    assert len(gallery.pictures) == MOST_PICTURES and "904 images of 1000 are not shown" in gallery.note


def test_lead_stop_pressure_and_curse_are_told() -> None:
    text = words(replace(pool(), trace=SearchTrace("best of n", "Stopped early: the time is up.", 3.0, 32)))
    assert "Stopped early: the time is up. 32 were asked for." in text
    assert (
        "The next one scored 0.10 less; the scorer expects people to prefer the winner to it in 52 % of cases" in text
    )
    assert f"at most {stats.selection_pressure(8):.2f} nats" in text and "partly luck" in text
    assert "No second scorer looked at these images" in text
    assert report.ONE_PROMPT in text and "HPS v2.1 judges: photographs" in text


def test_the_table_keeps_whole_seeds_and_marks_the_winner() -> None:
    (table,) = section(pool(), report.Table)
    assert table.rows[0][:4] == [1, 1, str(2**63 + 1), 28.0] and table.marked == frozenset({0})
    assert table.rows[0][5] == pytest.approx(0.1) and table.rows[-1][5:] == [None, None]
    assert str(2**63 + 1) in words(pool())


def ensemble(rule: Rule, judging: set[str]) -> SearchPool:
    others = [20.0, 19.0, 22.0, 21.0, 20.5, 20.1, 19.9, 20.2]
    ranking = rank_pool({INFO.id: SCORES, OTHER.id: others}, rule)
    images = tuple(
        PoolImage(SCORES[k], ranking.rank[k], ranking.z[k], "a red fox", k, {INFO.id: SCORES[k], OTHER.id: others[k]})
        for k in range(8)
    )
    members = {INFO.id: INFO, OTHER.id: OTHER}
    return pool(images=images, members=members, judging=frozenset(judging), rule=rule.kind)


def test_a_scorer_without_a_say_is_an_independent_judge() -> None:
    whole = ensemble(Rule("single", main=INFO.id), {INFO.id})
    members = section(whole, report.Table)[0]
    assert members.title == "The winner, by every scorer"
    assert members.rows[0][:3] == ["PickScore", "only watched", 19.0] and members.rows[0][5] == "8 of 8"
    assert members.rows[1][:3] == ["HPS v2.1", "chose", 28.0] and members.rows[1][5] == "1 of 8"
    assert "PickScore did not take part in the choice" in words(whole)
    both = words(ensemble(Rule("zsum", main=INFO.id), {INFO.id, OTHER.id}))
    assert "none of them is an independent judge" in both and "PickScore judges: drawings" in both


def test_images_without_a_search_make_no_claim_of_one() -> None:
    text = words(pool(trace=None))
    assert "8 scored images: a red fox" in text and "Without and with" not in text and "asked for" not in text


def test_several_prompts_are_never_set_side_by_side() -> None:
    images = tuple(replace(image, prompt=f"prompt {k % 2}") for k, image in enumerate(pool().images))
    text = words(pool(images=images, trace=None))
    assert "8 images of 2 prompts" in text and "Only numbers of one row compare." in text
    assert "above the mean" not in text and "partly luck" not in text
    assert not section(pool(images=images, trace=None), report.Chart)


# --- noise optimisation -----------------------------------------------------------------------------------------------


def test_an_optimisation_has_its_curve_and_its_watcher() -> None:
    text = words(noise())
    assert "Score 26.00 -> 26.80: +0.80 points" in text and "made to please this very scorer" in text
    score, held = section(noise(), report.Chart)
    assert score.lines[0].points[-1] == (8.0, 26.8) and held.lines[0].points[0] == (1.0, 20.05)
    assert [figure.value for figure in section(noise(), report.Headline)[0].figures] == [
        "+0.80",
        "26.80",
        "+0.40",
        "33 s",
    ]
    later = noise(curve=noise().trace.curve[1:])  # type: ignore[union-attr]
    assert section(later, report.Chart)[1].lines[0].points[:2] == [(1.0, 20.0), (3.0, 20.15)], "from the start on"
    assert "PickScore was never optimised" in text and "Noise health" in text


def test_an_optimisation_that_found_nothing_says_so() -> None:
    worse = noise(held_out=None, held_out_start=None, held_out_result=None)
    images = (worse.images[0], replace(worse.images[1], score=25.0))
    text = words(replace(worse, images=images))
    assert "Nothing better than the start was found: score 26.00." in text
    assert len(section(worse, report.Chart)) == 1 and "none" in text


# --- nothing makes it fail --------------------------------------------------------------------------------------------

anything = st.floats(allow_nan=True, allow_infinity=True, width=32)


@settings(deadline=None, max_examples=40)
@given(
    scores=st.lists(anything, min_size=1, max_size=9),
    text=st.text(max_size=30),
    seeds=st.booleans(),
    trace=st.sampled_from([None, SearchTrace("best of n"), noise().trace]),
)
def test_any_scores_and_texts_give_a_report(
    scores: list[float], text: str, seeds: bool, trace: SearchTrace | None
) -> None:
    ranking = rank_pool({INFO.id: scores})
    images = tuple(
        PoolImage(ranking.scores[k], ranking.rank[k], ranking.z[k], text, k if seeds else None, {"pick": score})
        for k, score in enumerate(scores)
    )
    scorer = replace(INFO, name=text, logit_scale=None)
    whole = SearchPool(images, scorer, text, members={"pick": OTHER}, trace=trace, facts=((text, text),))
    assert "<html" in report.render(search_report(whole))
    assert headline(whole)
    assert len(list(csv.reader(io.StringIO(search_csv(whole))))) == len(scores) + 1
    assert len(json.loads(search_json(whole))["images"]) == len(scores)
    assert max(search_sheet(whole, side=64).size) <= 8192


def test_nothing_typed_becomes_markup() -> None:
    images = tuple(replace(image, prompt=EVIL) for image in pool().images)
    whole = pool(images=images, title=EVIL, facts=((EVIL, EVIL),), warnings=(EVIL,), scorer=replace(INFO, name=EVIL))
    html = report.render(search_report(whole))
    assert EVIL not in html and "<img src=x" not in html and unescape(html).count(EVIL) > 6


def test_missing_and_broken_pictures_leave_the_rest(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    images = [replace(image, picture=None) for image in pool().images]
    images[1] = replace(images[1], picture=broken)
    images[2] = replace(images[2], picture=tmp_path / "gone.jpg")
    text = words(pool(images=tuple(images)))
    assert text.count("This picture could not be read.") == 2 and "6 images of 8 are not shown." in text
    assert search_sheet(pool(images=tuple(images))).size[0] > 100


# --- files ------------------------------------------------------------------------------------------------------------


def test_csv_is_best_first_with_whole_seeds_and_no_formulas() -> None:
    images = tuple(replace(image, prompt="=1+1") for image in pool().images)
    rows = list(csv.DictReader(io.StringIO(search_csv(pool(images=images)))))
    assert [float(row["score"]) for row in rows] == sorted(SCORES, reverse=True)
    assert rows[0]["seed"] == str(2**63 + 1) and rows[0]["prompt"] == "'=1+1" and rows[0]["image"] == "1"


def test_json_reads_back_without_nan() -> None:
    values = [math.nan, 2.0, math.inf, 1.0]
    read = json.loads(search_json(pool(values)), parse_constant=pytest.fail)
    assert read["format"] == FORMAT and [image["score"] for image in read["images"]] == [2.0, 1.0, None, None]
    assert read["images"][0]["seed"] == str(2**63 + 1) and read["search"]["method"] == "best of n"
    assert read["scorer"]["id"] == "hps-v2.1"
    curve = json.loads(search_json(noise()))["search"]["curve"]
    assert curve[0]["held_out"] == 20.05 and curve[1]["held_out"] is None


@pytest.mark.parametrize(("count", "side", "limit"), [(1, 256, 8192), (8, 256, 8192), (300, 256, 2000), (40, 512, 900)])
def test_the_sheet_is_bounded_and_shows_pictures(count: int, side: int, limit: int) -> None:
    values = [26 + (k * 7919 % 100) / 50 for k in range(count)]
    sheet = search_sheet(pool(values), side=side, max_side=limit)
    assert max(sheet.size) <= limit
    colours = {colour for _, colour in sheet.getcolors(sheet.width * sheet.height)}
    assert (22, 128, 61) in colours, "the best one is framed"
    assert any(colour[1:] == (80, 160) for colour in colours), "pictures are there"


def test_the_fields_of_wide_images_are_flat() -> None:
    images = tuple(replace(image, width=64, height=32) for image in pool().images)
    assert search_sheet(pool(images=images)).height < 0.75 * search_sheet(pool()).height
