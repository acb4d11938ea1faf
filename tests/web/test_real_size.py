"""Ten thousand rows in the ledger of a real server: every route is quick, the list is, and the canvas stays smooth."""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Iterator

import pytest
from comfy_harness import Server
from web_harness import UI, picture
from web_harness.raw import send

from hpskit.ledger import Entry, Ledger

N = 10_000
LIMIT = 1.0
"""Seconds; 0.2 is the aim, the rest is for a busy machine."""
ROUTES = [
    *[f"ledger/rows?sort={sort}&order={order}" for sort in ("time", "score", "standing", "seed", "model", "sampler")
      for order in ("asc", "desc")],
    "ledger/rows?limit=200&offset=9800", "ledger/rows?search=castle", "ledger/rows?prompt=7&sort=standing",
    "ledger/rows?model=model%203&sampler=euler", "ledger/facets", "ledger/summary", "ledger/compare?by=sampler",
    "ledger/compare?by=model&prompt=3", "picks/next", "picks/next?prompt=5", "picks/agreement",
]  # fmt: skip


def entries() -> Iterator[Entry]:
    """Yield rows as a person's work of some weeks would leave them: 100 prompts, five models, four samplers."""
    rng = random.Random(5)
    nouns = ("castle", "fox", "harbour", "teapot", "violin")
    thumbs = [picture(f"thumb {k}", 48) for k in range(20)]
    for k in range(N):
        prompt = k % 100
        yield Entry(
            prompt=f"prompt {prompt}: a {nouns[prompt % 5]} at dusk, painted in oil",
            scorer="hps-tiny-shapes",
            scorer_version="1",
            preprocess="reference",
            dtype="float32",
            score=rng.gauss(25, 2),
            model=f"model {k % 5}",
            sampler=rng.choice(["euler", "heun", "dpmpp_2m", "uni_pc"]),
            scheduler="karras",
            steps=rng.choice([20, 30]),
            cfg=7.0,
            width=512,
            height=512,
            seed=k // 100 * 7919,
            image_hash=f"{k:032x}",
            thumbnail=thumbs[k % 20],
            run=f"run {k // 500}",
        )


def told(text: str) -> None:
    """Say a figure; pytest shows it with -rP."""
    sys.stdout.write(text + "\n")


@pytest.fixture
def full(server: Server) -> Server:
    """A server whose ledger holds ten thousand rows more than the other tests made."""
    if server.get("/hps/v1/ledger/rows?search=prompt+99:")["total"] < 100:
        ledger = Ledger(server.base / "user/__hps/ledger.sqlite3")
        ledger.add(entries())
        ledger.close()
    assert server.get("/hps/v1/ledger/summary")["rows"] >= N
    return server


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_answers_at_once(full: Server, route: str) -> None:
    seconds = []
    for _ in range(3):
        answer = send(full.url, "GET", f"/hps/v1/{route}")
        assert answer.status == 200, answer.body[:300]
        seconds.append(answer.seconds)
    told(f"{min(seconds) * 1000:6.1f} ms  {route}")
    assert min(seconds) < LIMIT


def test_everything_is_exported(full: Server) -> None:
    start = time.monotonic()
    answer = send(full.url, "GET", "/hps/v1/ledger/export?format=csv&search=painted+in+oil", timeout=60)
    told(f"{time.monotonic() - start:6.2f} s  {len(answer.body) >> 10} KiB of CSV")
    assert answer.status == 200 and answer.body.count(b"\n") == N + 1
    assert answer.seconds < 10


@pytest.mark.renderers
def test_the_list_and_the_canvas_stay_quick(ui: UI, full: Server) -> None:
    ui.load("best_of_8")
    before = frames(ui)
    start = time.monotonic()
    ui.open_board()
    ui.page.locator(".hps-board tbody tr[data-id]").first.wait_for()
    opened = time.monotonic() - start
    ui.page.locator(".hps-filters select").first.select_option("")
    ui.until(lambda: "of 10," in ui.page.locator(".hps-board-foot").inner_text())
    ui.page.wait_for_timeout(500)
    during = frames(ui)
    told(f"opened in {opened:.2f} s; a frame {before:.1f} ms without, {during:.1f} ms with the leaderboard")
    assert opened < 5
    assert during < 2 * before + 15
    ui.close_board()


def frames(ui: UI) -> float:
    """Return the median time between frames in milliseconds while the canvas moves."""
    times = ui.page.evaluate(
        """async () => {
            const times = [];
            let last = performance.now();
            for (let k = 0; k < 60; k += 1) {
                app.canvas.ds.offset[0] += k % 2 ? 3 : -3;
                app.canvas.setDirty(true, true);
                const now = await new Promise(requestAnimationFrame);
                times.push(now - last);
                last = now;
            }
            return times;
        }"""
    )
    return statistics.median(times[5:])


def test_a_purge_empties_the_ledger_and_its_file(full: Server) -> None:
    before = full.get("/hps/v1/ledger/summary")["bytes"]
    assert full.post("/hps/v1/ledger/purge", {"confirm": True, "before": 1.0}) == {"v": 1, "deleted": 0}
    answer = full.post("/hps/v1/ledger/purge", {"confirm": True, "before": None})
    assert answer["deleted"] >= N
    after = full.get("/hps/v1/ledger/summary")
    assert after["rows"] == 0 and after["bytes"] < before / 4
