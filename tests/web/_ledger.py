"""Answers of the ledger's routes for tests of the sidebar: rows sorted and cut as the server does."""

from __future__ import annotations

import random
from typing import Any

from web_harness import Asked, StubPage, picture

NOW = 1_764_000_000.0
PROMPTS = ("a red fox asleep in fresh snow", "portrait of an old sailor", "a tiny city on an island")
Json = dict[str, Any]
ROWS = "/hps/v1/ledger/rows"
NEXT = "/hps/v1/picks/next"
SEND = "/hps/v1/picks"
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\u202e"\'`${1}'


def row(number: int, prompt: int = 0, **changes: Any) -> Json:
    """Return one row of the contract; scores fall with the number."""
    value = {
        "id": number, "time": NOW - 60 * number, "prompt": PROMPTS[prompt], "prompt_id": prompt + 1, "negative": "",
        "model": "models/sdxl.safetensors", "loras": [["detail", 0.5]], "sampler": "euler", "scheduler": "karras",
        "steps": 20, "cfg": 7.0, "denoise": 1.0, "width": 1024, "height": 1024, "seed": str(1000 + number),
        "scorer": "hps-v2.1", "scorer_version": "2.1", "preprocess": "reference", "fingerprint": "f1",
        "score": 30 - number / 100, "parts": {}, "group": {"n": 8, "mean": 28.0, "sd": 0.8},
        "standing": 2 - number / 50,
        "file": "", "source": "comfyui", "run": "r", "thumbnail": True, "workflow": True,
    }  # fmt: skip
    return value | changes


def summary(rows: int, **changes: Any) -> Json:
    value = {"v": 1, "enabled": True, "reason": "", "rows": rows, "prompts": 1, "picks": 0, "bytes": 2**20}
    return value | {"max_bytes": 2**28, "oldest": NOW - 1e6, "newest": NOW} | changes


def facets(*prompts: str, **changes: Any) -> Json:
    named = [{"id": at + 1, "value": text, "n": 8, "time": NOW - at} for at, text in enumerate(prompts or PROMPTS[:1])]
    plain = {
        "models": ["models/sdxl.safetensors"], "samplers": ["euler", "uni_pc"], "schedulers": [],
        "scorers": ["hps-v2.1"],
    }  # fmt: skip
    lists = {name: [{"value": value, "n": 4, "time": NOW} for value in values] for name, values in plain.items()}
    return {"v": 1, "prompts": named} | lists | changes


def page_of(rows: list[Json], asked: Asked) -> Json:
    """Answer a request for rows as the server does: filter by prompt, sort, cut."""
    query = asked.query
    kept = [each for each in rows if query.get("prompt") in (None, str(each["prompt_id"]))]
    kept = [each for each in kept if query.get("search", "").lower() in each["prompt"].lower()]
    kept = [each for each in kept if query.get("sampler") in (None, each["sampler"])]
    ordered = sorted(kept, key=lambda each: (each[query["sort"]] is None, each[query["sort"]]))
    if query["order"] == "desc":
        ordered.reverse()
    first = int(query["offset"])
    return {"v": 1, "rows": ordered[first : first + int(query["limit"])], "total": len(kept)}


def serve(page: StubPage, rows: list[Json], *prompts: str) -> None:
    """Register every route that the sidebar asks."""
    page.hps_route("/hps/v1/ledger/summary", lambda _: summary(len(rows)))
    page.hps_route("/hps/v1/ledger/facets", facets(*prompts))
    page.hps_route("/hps/v1/ledger/rows", lambda asked: page_of(rows, asked))
    page.hps_route("/hps/v1/ledger/image/*", lambda asked: picture(asked.path))
    page.hps_route("/hps/v1/ledger/compare", {"v": 1, "by": "sampler", "settings": []})
    page.hps_route("/hps/v1/picks/next", pairs())
    page.hps_route("/hps/v1/picks", reveal)
    page.hps_route("/hps/v1/picks/agreement", agreement(3))


def pairs() -> Any:
    """Return an answer that gives other pairs every time, in random order."""
    source = random.Random(1)
    return lambda _: {
        "v": 1,
        "pair": {"ids": source.sample(range(1, 1000), 2), "prompt": PROMPTS[0], "width": 64, "height": 64},
    }


def reveal(asked: Asked) -> Json:
    """The scorer likes higher numbers better."""
    shown = asked.json["shown"]
    known = [
        {
            "id": one,
            "score": one / 10,
            "seed": f"9{one}",
            "sampler": "euler",
            "model": "m.safetensors",
            "fingerprint": "f",
        }
        for one in shown
    ]
    return {"v": 1, "id": 1, "reveal": known}


def agreement(n: int, **changes: Any) -> Json:
    value = {"v": 1, "n": n, "agree": n // 2, "ties": 0, "skips": 0, "rate": 0.5, "low": 0.3, "high": 0.7}
    return value | {"prompts": 6, "enough": n >= 15} | changes


def open_sidebar(page: StubPage, width: int = 300, height: int = 660) -> None:
    """Give the sidebar the host's height and open the tab."""
    style = f"#sidebar {{ width: {width}px; height: {height}px }} .sidebar-content-container {{ height: 100% }}"
    page.add_style_tag(content=style)
    page.start()
    page.open_tab("hps")


# --- the leaderboard --------------------------------------------------------------------------------------------------


def ids(page: StubPage) -> list[int]:
    return list(page.locator("tbody tr").evaluate_all("(rows) => rows.map((row) => Number(row.dataset.id))"))


def choice(page: StubPage, name: str) -> Any:
    return page.get_by_role("combobox", name=name, exact=True)


def settled(page: StubPage) -> None:
    page.locator(".hps-board-scroll[aria-busy=false]").wait_for(state="attached")


def opened(page: StubPage, rows: list[dict[str, Any]], *prompts: str, width: int = 300) -> None:
    serve(page, rows, *prompts)
    open_sidebar(page, width)
    page.locator("tbody tr").first.wait_for()
    settled(page)


def last(page: StubPage) -> dict[str, str]:
    return page.asked_for(ROWS)[-1].query


# --- blind picks ------------------------------------------------------------------------------------------------------


def pair(first: int, second: int, prompt: str = PROMPTS[0]) -> dict[str, Any]:
    return {"v": 1, "pair": {"ids": [first, second], "prompt": prompt, "width": 64, "height": 64}}


def picks_opened(page: StubPage, answer: Any = None, width: int = 300) -> None:
    serve(page, [row(1), row(2)])
    page.hps_route(NEXT, answer or pairs())
    open_sidebar(page, width)
    page.get_by_role("tab", name="Blind picks").click()
    asking(page)


def asking(page: StubPage) -> None:
    page.locator(".hps-picks[data-state=asking]").wait_for()


def revealed(page: StubPage) -> None:
    page.locator(".hps-picks[data-state=revealed]").wait_for()


def sent(page: StubPage) -> list[dict[str, Any]]:
    return [asked.json for asked in page.asked_for(SEND, "POST")]
