"""The live chart: lines from what nodes send, odd values, many points, and the curve in words."""

from __future__ import annotations

import math
from typing import Any

import pytest
from web_harness import StubPage
from web_harness.samples import noise, point, pool, search

LIB = "/extensions/hps-nodes/lib/"


def optimizing(page: StubPage) -> None:
    page.start()
    page.add_node(id=1, type="HPS_OptimizeNoise", size=[400, 60])


def vertices(page: StubPage, line: str) -> list[tuple[float, float]]:
    """Return the drawn points of a line after the next frame."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    found = page.locator(f"svg.hps-chart .hps-line-{line}")
    if found.count() == 0:
        return []
    text = found.get_attribute("points") or ""
    return [(float(pair.split(",")[0]), float(pair.split(",")[1])) for pair in text.split()]


def call(page: StubPage, module: str, name: str, *arguments: Any) -> Any:
    script = "async ([m, name, args]) => (await import(m))[name](...args)"
    return page.evaluate(script, [f"{LIB}{module}.js", name, list(arguments)])


def test_points_join_into_lines(stub_page: StubPage) -> None:
    optimizing(stub_page)
    stub_page.send("hps.optimize", noise("1", [point(1, 25.0, 25.0), point(2, 24.0, 25.0)]))
    stub_page.send("hps.optimize", noise("1", [point(3, 26.0, 26.0)], done=0.75))
    best, now = vertices(stub_page, "best"), vertices(stub_page, "now")
    assert len(best) == len(now) == 3
    assert [x for x, _ in best] == sorted(x for x, _ in best)
    assert best[2][1] < best[0][1] < now[1][1], "a higher score must be drawn higher"
    assert vertices(stub_page, "held") == []
    assert "75 % done" in stub_page.locator(".hps-status").inner_text()


def test_gaps_do_not_break_the_line(stub_page: StubPage) -> None:
    optimizing(stub_page)
    points = [point(1, 25.0, 25.0), point(2, None, 25.0), point(3, math.nan, None), point(4, 26.0, 26.0)]
    stub_page.send("hps.optimize", noise("1", points))
    assert len(vertices(stub_page, "now")) == 2 and len(vertices(stub_page, "best")) == 3


@pytest.mark.parametrize("values", [[25.0], [25.0, 25.0, 25.0], [0.0, 0.0], [-3.0], [None]])
def test_one_point_constant_values_and_none(stub_page: StubPage, values: list[float | None]) -> None:
    optimizing(stub_page)
    stub_page.send("hps.optimize", noise("1", [point(k + 1, value, value) for k, value in enumerate(values)]))
    drawn = vertices(stub_page, "best")
    assert len(drawn) == len([value for value in values if value is not None])
    box = stub_page.locator("svg.hps-chart").bounding_box()
    assert box is not None
    assert all(0 < x < box["width"] and 0 < y < box["height"] for x, y in drawn)
    assert "NaN" not in stub_page.locator("svg.hps-chart").evaluate("(svg) => svg.outerHTML")


def test_axes_carry_numbers(stub_page: StubPage) -> None:
    optimizing(stub_page)
    stub_page.send("hps.optimize", noise("1", [point(k, 20 + k / 10, 20 + k / 10) for k in range(1, 41)]))
    vertices(stub_page, "best")
    texts = stub_page.locator("svg.hps-chart .hps-axis").all_text_contents()
    numbers = [float(text) for text in texts if text.replace(".", "").isdigit()]
    assert len(numbers) >= 5 and "images made" in texts
    assert {21.0, 22.0, 23.0, 24.0} <= set(numbers)


def test_held_out_scores_have_an_axis_of_their_own_unless_gains(stub_page: StubPage) -> None:
    optimizing(stub_page)
    points = [point(k, 20.0 + k, 20.0 + k, held_out=0.3 + k / 100) for k in range(1, 6)]
    stub_page.send("hps.optimize", noise("1", points))
    assert len(vertices(stub_page, "held")) == 5
    assert stub_page.locator(".hps-axis-held").count() >= 2
    stub_page.send("hps.optimize", noise("1", points, run="m", unit="gain"))
    assert len(vertices(stub_page, "held")) == 5
    assert stub_page.locator(".hps-axis-held").count() == 0


def test_the_reason_for_the_end_stands_in_words(stub_page: StubPage) -> None:
    optimizing(stub_page)
    stub_page.send("hps.optimize", noise("1", [point(1, 25.0, 25.0)], done=1, stopped="held_out", reason="It fell."))
    vertices(stub_page, "best")
    assert stub_page.locator(".hps-reason").inner_text() == "It fell."
    name = stub_page.locator("svg.hps-chart").get_attribute("aria-label") or ""
    assert name == "best 25.00 at 1 images made, from 25.00. It fell."


def test_the_beginning_of_the_optimisation_is_marked(stub_page: StubPage) -> None:
    optimizing(stub_page)
    tried = [point(k, 25.0, 25.0, phase="screen") for k in range(1, 5)]
    stub_page.send("hps.optimize", noise("1", [*tried, point(5, 26.0, 26.0)]))
    vertices(stub_page, "best")
    assert stub_page.locator(".hps-begin").count() == 1


def test_many_points_are_thinned_and_keep_their_peaks(stub_page: StubPage) -> None:
    line = [{"x": k, "y": math.sin(k / 50) + (5 if k == 7777 else -5 if k == 1234 else 0)} for k in range(20_000)]
    thin = call(stub_page, "curve", "decimate", line)
    assert len(thin) <= 1000
    assert thin[0] == line[0] and thin[-1] == line[-1]
    assert line[7777] in thin and line[1234] in thin
    assert [each["x"] for each in thin] == sorted({each["x"] for each in thin})


def test_few_points_all_stay(stub_page: StubPage) -> None:
    line = [{"x": k, "y": -k} for k in range(1000)]
    assert call(stub_page, "curve", "decimate", line) == line


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [(0, 10, [0, 5, 10]), (24.9, 27.2, [25, 26, 27]), (0.311, 0.334, [0.32, 0.33]), (-1, 1, [-1, 0, 1]), (5, 5, [5])],
)
def test_ticks_are_round(stub_page: StubPage, low: float, high: float, values: list[float]) -> None:
    assert call(stub_page, "curve", "ticks", low, high, 3)["values"] == pytest.approx(values)


def test_thousands_of_events_cost_one_drawing_a_frame(stub_page: StubPage) -> None:
    optimizing(stub_page)
    took = stub_page.evaluate(
        """async ([first, make]) => {
            const api = comfyAPI.api.api;
            const svg = () => document.querySelector("svg.hps-chart");
            api.dispatchCustomEvent("hps.optimize", first);
            let drawings = 0;
            new MutationObserver(() => { drawings += 1 }).observe(svg(), { childList: true });
            const frames = []; let going = true;
            const tick = () => { frames.push(1); if (going) requestAnimationFrame(tick) };
            requestAnimationFrame(tick);
            const begin = performance.now();
            for (let k = 2; k <= 3000; k++) {
                const point = { ...first.points[0], iteration: k, images: k, score: 20 + k % 7, best: 26 };
                api.dispatchCustomEvent("hps.optimize", { ...first, points: [point] });
            }
            const spent = performance.now() - begin;
            await new Promise((done) => setTimeout(done, 200));
            going = false;
            return { spent, drawings, frames: frames.length };
        }""",
        [noise("1", [point(1, 20.0, 20.0)]), None],
    )
    assert took["drawings"] <= took["frames"] + 1
    assert took["spent"] < 3000
    assert 100 < len(vertices(stub_page, "now")) <= 1000


def test_a_search_over_seeds_has_a_curve(stub_page: StubPage) -> None:
    stub_page.start()
    stub_page.add_node(id=1, type="HPS_BestOfN", size=[400, 60])
    stub_page.send("hps.candidate", search("1", [(0, 25.0), (1, 24.0), (2, None), (3, 26.0)], 3, 4))
    assert len(vertices(stub_page, "now")) == 3 and len(vertices(stub_page, "best")) == 4


def steer(step: int, before: float, after: float, **more: Any) -> dict[str, Any]:
    place = {"node": "1", "sigma": 1.0, "step": step, "steps": 10, "scorer": "hps-v2.1"}
    return place | {"before": [before, before + 1], "after": [after, None], "moved": [0.1], "skipped": 0} | more


def test_guidance_shows_before_and_after(stub_page: StubPage) -> None:
    stub_page.start()
    stub_page.add_node(id=1, type="HPS_RewardGuidance", size=[400, 60])
    for step in range(3):
        stub_page.send("hps.steer", steer(step, 20.0 + step, 21.0 + step))
    assert len(vertices(stub_page, "now")) == len(vertices(stub_page, "best")) == 3
    assert stub_page.locator(".hps-legend b").all_inner_texts() == ["23.00", "22.50"]
    assert "step 3 of 10" in stub_page.locator(".hps-status").inner_text()
    stub_page.send("hps.steer", steer(0, 20.0, 21.0))
    assert len(vertices(stub_page, "best")) == 1, "the next sampling begins a new curve"


def test_a_screen_reader_hears_at_most_every_five_seconds_and_the_end(stub_page: StubPage) -> None:
    optimizing(stub_page)
    stub_page.evaluate("() => { window.said = [] }")
    stub_page.send("hps.optimize", noise("1", [point(1, 25.0, 25.0)]))
    stub_page.evaluate(
        """() => { const place = document.querySelector(".hps-node [role=status]"); said.push(place.textContent);
            new MutationObserver(() => said.push(place.textContent)).observe(place, { childList: true }) }"""
    )
    for k in range(2, 30):
        stub_page.send("hps.optimize", noise("1", [point(k, 25.0 + k, 25.0 + k)]))
    assert len(stub_page.evaluate("() => said")) == 1
    stub_page.send("execution_interrupted", {})
    assert stub_page.evaluate("() => said") == ["best 25.00 at 1 images made, from 25.00.", "interrupted"]


def test_the_curve_of_a_search_and_its_reason_stay_after_it(stub_page: StubPage) -> None:
    stub_page.start()
    stub_page.add_node(id=1, type="HPS_BestOfN", size=[400, 60])
    stub_page.executed("1", {"hps": [pool([25.0, 24.0, 27.0], reason="All were sampled.", stopped="all")]})
    assert len(vertices(stub_page, "best")) == 3
    assert stub_page.locator(".hps-reason:visible").inner_text() == "All were sampled."
    stub_page.executed("1", {"hps": [pool([25.0, 24.0], run="two", reason="All were sampled.", stopped="all")]})
    stub_page.locator("svg.hps-chart").wait_for(state="hidden")
    assert stub_page.locator(".hps-reason:visible").inner_text() == "All were sampled."
