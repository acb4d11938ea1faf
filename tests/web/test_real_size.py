"""Ten thousand rows in the ledger of a real server: routes answer with a page, and the list draws a page of it only."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from comfy_harness import Server
from web_harness import UI, picture
from web_harness.raw import send

from hpskit.ledger import Entry, Ledger

N = 10_000
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


@pytest.fixture
def full(server: Server) -> Server:
    """A server whose ledger holds ten thousand rows more than the other tests made."""
    if server.get("/hps/v1/ledger/rows?search=prompt+99:")["total"] < 100:
        ledger = Ledger(server.base / "user/__hps/ledger.sqlite3")
        ledger.add(entries())
        ledger.close()
    assert server.get("/hps/v1/ledger/summary")["rows"] >= N
    return server


def test_every_route_answers_with_one_page(full: Server) -> None:
    for route in ROUTES:
        answer = send(full.url, "GET", f"/hps/v1/{route}")
        assert answer.status == 200, (route, answer.body[:300])
        # A row is below 2 KiB, and nothing that grows with the ledger goes over the wire.
        assert len(answer.body) < 400 << 10, route
        if route.startswith("ledger/rows"):
            found, total = answer.json["rows"], answer.json["total"]
            assert len(found) == min(total, 200 if "limit=200" in route else 100), route


def test_everything_is_exported(full: Server) -> None:
    answer = send(full.url, "GET", "/hps/v1/ledger/export?format=csv&search=painted+in+oil", timeout=60)
    assert answer.status == 200 and answer.body.count(b"\n") == N + 1


@pytest.mark.renderers
def test_the_list_draws_one_page_of_all_rows(ui: UI, full: Server) -> None:
    ui.load("best_of_8")
    ui.open_board()
    drawn = ui.page.locator(".hps-board tbody tr[data-id]")
    drawn.first.wait_for()
    ui.page.locator(".hps-filters select").first.select_option("")
    ui.until(lambda: "of 10," in ui.page.locator(".hps-board-foot").inner_text())
    assert drawn.count() == 50
    ui.close_board()


def test_a_purge_empties_the_ledger_and_its_file(full: Server) -> None:
    before = full.get("/hps/v1/ledger/summary")["bytes"]
    assert full.post("/hps/v1/ledger/purge", {"confirm": True, "before": 1.0}) == {"v": 1, "deleted": 0}
    answer = full.post("/hps/v1/ledger/purge", {"confirm": True, "before": None})
    assert answer["deleted"] >= N
    after = full.get("/hps/v1/ledger/summary")
    assert after["rows"] == 0 and after["bytes"] < before / 4
