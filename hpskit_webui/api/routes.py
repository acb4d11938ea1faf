"""The pack's routes for programs: score images, rank the images of one prompt, and list what can score.

They exist where the host's own API does (--api), take images as base64 or data URIs, and never a path or an address.
`docs` shows them: the hosts list all routes at /docs.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from . import guard, pictures_in
from .guard import Refused

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..judge import Judge, Judged

Work = Callable[[], dict[str, Any]]

PREFIX = "/hps/v1"
VERSION = 1
MOST_BODY = 256 << 20
"""Bytes of a whole request."""
MOST_TEXT = 20_000
"""Characters of one prompt."""
MOST_SCORERS = 8
MOST_WAITING = 8
"""Requests that wait for the host's queue; more would take the threads that the host's own pages need."""
CHUNK_PIXELS = 16 << 20
"""Pixels that are scored in one go."""

_thread = ThreadPoolExecutor(1, "hps-api")
"""Scoring is done one request at a time anyway; the thread is made at the first one."""
_waiting = threading.BoundedSemaphore(MOST_WAITING)


def register() -> None:
    """Have the routes added when the host's server is up."""
    from modules import script_callbacks

    script_callbacks.on_app_started(add_routes)


def add_routes(demo: Any, app: Any) -> None:
    """Add the routes to the host's server where it offers its own API, and close the pack's folder to browsers."""
    from starlette.requests import Request
    from starlette.responses import Response

    guard.shut(demo)
    if not (_flag("api") or _flag("nowebui")) or any(getattr(one, "path", "") == SCORE for one in app.routes):
        return

    # FastAPI reads the types of these arguments; the texts that annotations are here would not be found.
    async def score(request: Any) -> Any:
        return await guard.answered(request, _score)

    async def rank(request: Any) -> Any:
        return await guard.answered(request, _rank)

    async def scorers(request: Any) -> Any:
        return await guard.answered(request, _scorers)

    for path, handler, method, summary, fields in _routes(score, rank, scorers):
        handler.__annotations__ = {"request": Request, "return": Response}
        extra = {"requestBody": _described(fields)} if fields else None
        app.add_api_route(
            path, handler, methods=[method], summary=summary, tags=["HPS"], openapi_extra=extra, response_model=None
        )


SCORE, RANK, SCORERS = f"{PREFIX}/score", f"{PREFIX}/rank", f"{PREFIX}/scorers"
_IMAGES = {"type": "array", "items": {"type": "string"}, "description": "base64 or data URIs of PNG, JPEG, WebP files"}
_FIELDS = {
    "images": _IMAGES,
    "prompt": {"type": "string", "description": "text that all images are scored against"},
    "scorers": {"type": "array", "items": {"type": "string"}, "description": "see /hps/v1/scorers; the main one first"},
    "clean_prompt": {"type": "boolean", "description": "take weights, LoRA tags and BREAK out of prompts (default)"},
}
_SCORE_FIELDS = {**_FIELDS, "prompts": {"type": "array", "items": {"type": "string"}, "description": "one each image"}}
_RANK_FIELDS = {**_FIELDS, "rule": {"type": "string", "description": "auto, single, gate, zsum, rank, worst, pareto"}}


def _routes(score: Any, rank: Any, scorers: Any) -> list[tuple[str, Any, str, str, dict[str, Any]]]:
    return [
        (SCORE, score, "POST", "Score images", _SCORE_FIELDS),
        (RANK, rank, "POST", "Rank the images of one prompt", _RANK_FIELDS),
        (SCORERS, scorers, "GET", "List the scorers", {}),
    ]


def _described(fields: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": fields, "required": ["images"]}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _flag(name: str) -> bool:
    from modules import shared

    return bool(getattr(getattr(shared, "cmd_opts", None), name, False))


# --- handlers --------------------------------------------------------------------------------------------------------


async def _score(request: Request) -> dict[str, Any]:
    body = await guard.json_body(request, MOST_BODY)
    return await _in_turn(lambda: scoring(body))


async def _rank(request: Request) -> dict[str, Any]:
    body = await guard.json_body(request, MOST_BODY)
    return await _in_turn(lambda: ranking(body))


async def _scorers(request: Request) -> dict[str, Any]:
    return await asyncio.get_running_loop().run_in_executor(None, listed)


async def _in_turn(prepare: Callable[[], Work]) -> Any:
    """Prepare work in a thread, and do it there when the host's queue comes to it; the server goes on meanwhile."""
    if not _waiting.acquire(blocking=False):
        raise Refused(429, f"{MOST_WAITING} requests are waiting already. Try again when they are done.")

    def once() -> Any:
        # The thread ends its work even if the program that asked is gone, so it is the thread that makes place.
        try:
            return _queued(prepare())
        finally:
            _waiting.release()

    return await asyncio.get_running_loop().run_in_executor(_thread, once)


def _queued(work: Work) -> Any:
    from modules import shared
    from modules.call_queue import queue_lock

    with queue_lock:
        shared.state.begin(job="hps")
        try:
            return work()
        finally:
            shared.state.end()


# --- the work --------------------------------------------------------------------------------------------------------


def scoring(body: dict[str, Any]) -> Work:
    """Check a request for scores and read its images; return what answers it, which needs the model."""
    _only(body, _SCORE_FIELDS)
    judge = _judge(body, "auto")
    pictures = pictures_in.read(body.get("images"))
    texts = _prompts(body, len(pictures))

    def work() -> dict[str, Any]:
        _insist_on_text(judge, texts)
        judged = _judged(judge, pictures, texts)
        return {**_identity(judge), "results": [_row(index, one) for index, one in enumerate(judged)]}

    return work


def ranking(body: dict[str, Any]) -> Work:
    """Check a request for the order of the images of one prompt, and read them; return what answers it."""
    _only(body, _RANK_FIELDS)
    judge = _judge(body, guard.text(body.get("rule", "auto"), "rule", 20))
    pictures = pictures_in.read(body.get("images"))
    texts = [guard.text(body.get("prompt", ""), "prompt", MOST_TEXT)] * len(pictures)

    def work() -> dict[str, Any]:
        _insist_on_text(judge, texts)
        return _ranked(judge, _judged(judge, pictures, texts))

    return work


def _ranked(judge: Judge, judged: Sequence[Judged]) -> dict[str, Any]:
    ranks = judge.rank(judged)
    below = {index: ranks.order[place + 1] for place, index in enumerate(ranks.order[:-1])}
    rows = [
        {
            **_row(index, one),
            "rank": ranks.rank[index],
            "passed": ranks.passed[index],
            "z": _known(ranks.z[index]),
            "key": _known(ranks.key[index]),
            **_lead(judge, ranks, index, below.get(index)),
        }
        for index, one in enumerate(judged)
    ]
    facts = {"rule": ranks.rule.kind, "main": ranks.main, "best": ranks.order[0], "order": list(ranks.order)}
    return {**_identity(judge), **facts, "results": rows, "warnings": list(ranks.warnings)}


def listed() -> dict[str, Any]:
    """Answer with everything that can score here, and what is still to be downloaded."""
    from ...hpskit.cards import load_cards
    from ..bridge import downloads, host

    rows = []
    for choice in host.scorer_choices():
        name = host.plain_name(choice)
        card = load_cards().get(name)
        ready = {"id": name, "name": card.name if card else name, "ready": card is None or downloads.is_here(name)}
        known = ("family", "version", "description", "domain", "licence", "preprocess", "within_prompt_sd")
        facts = {field: getattr(card, field) for field in known} if card else {}
        size = sum(file.bytes or 0 for file in card.files) if card else None
        rows.append({**ready, **facts, "bytes": size, "needs_text": card.family != "aesthetic" if card else None})
    return {"v": VERSION, "default": host.plain_name(host.default_scorer()), "scorers": rows}


def _judge(body: dict[str, Any], rule: str) -> Judge:
    from ..bridge import host
    from ..judge import Judge
    from ..options import Options

    names = body.get("scorers")
    if names is None:
        names = [host.plain_name(host.default_scorer())]
    if not isinstance(names, list) or not 1 <= len(names) <= MOST_SCORERS:
        raise Refused(422, f"scorers must be a list of 1 to {MOST_SCORERS} names; see {SCORERS}.")
    plain = [host.plain_name(guard.text(name, "a scorer", 300)) for name in names]
    if len(set(plain)) < len(plain):
        raise Refused(422, "scorers must not name one twice.")
    clean = guard.flag(body.get("clean_prompt", True), "clean_prompt")
    judge = Judge(Options(scorer=plain[0], guards=tuple(plain[1:]), rule=rule, clean_prompt=clean))
    for name in plain:
        host.locate(name)  # before any image is read: what is missing is said at once
    return judge


def _prompts(body: dict[str, Any], count: int) -> list[str]:
    several = body.get("prompts")
    if several is None:
        return [guard.text(body.get("prompt", ""), "prompt", MOST_TEXT)] * count
    if "prompt" in body:
        raise Refused(422, "Give either prompt, one text for all images, or prompts, one text for each.")
    if not isinstance(several, list) or len(several) != count:
        raise Refused(422, f"prompts must be a list of {count} texts, one for each image.")
    return [guard.text(one, "a prompt", MOST_TEXT) for one in several]


def _insist_on_text(judge: Judge, texts: Sequence[str]) -> None:
    needy = [one.info.name for one in _members(judge).values() if one.info.needs_text]
    if needy and not all(text.strip() for text in texts):
        raise Refused(422, f"{needy[0]} compares an image with a text: give a prompt that is not empty.")


def _judged(judge: Judge, pictures: Sequence[Any], texts: Sequence[str]) -> list[Judged]:
    """Score images in order, as many of one prompt at once as make `CHUNK_PIXELS`."""
    result: list[Judged] = []
    start = 0
    while start < len(pictures):
        end, pixels = start, 0
        while end < len(pictures) and texts[end] == texts[start]:
            pixels += pictures[end].width * pictures[end].height
            if end > start and pixels > CHUNK_PIXELS:
                break
            end += 1
        result += judge.score(pictures[start:end], texts[start])
        start = end
    return result


# --- answers ---------------------------------------------------------------------------------------------------------


def _members(judge: Judge) -> dict[str, Any]:
    return getattr(judge.scorer, "members", None) or {judge.scorer.info.id: judge.scorer}


def _identity(judge: Judge) -> dict[str, Any]:
    """Return what makes the scores comparable with others: scorer, version, preprocessing, precision, checkpoint."""
    names = ("name", "family", "version", "preprocess", "dtype", "checkpoint", "within_prompt_sd", "needs_text")
    infos = {name: member.info for name, member in _members(judge).items()}
    return {
        "v": VERSION,
        "scorers": [{"id": key, **{name: getattr(info, name) for name in names}} for key, info in infos.items()],
    }


def _row(index: int, judged: Judged) -> dict[str, Any]:
    scores = {name: _known(value) for name, value in judged.scores.items()}
    row = {"index": index, "score": _known(judged.main), "scores": scores, "text": judged.text}
    return row | {name: judged.record[name] for name in ("tokens", "truncated") if name in judged.record}


def _lead(judge: Judge, ranking: Any, index: int, below: int | None) -> dict[str, Any]:
    """Return how far an image is above the next one, and how likely people prefer it by the model's own estimate."""
    from ...hpskit.stats import win_probability

    mine, other = ranking.scores[index], ranking.scores[below] if below is not None else math.nan
    known = math.isfinite(mine) and math.isfinite(other)
    scale = _members(judge)[ranking.main].info.logit_scale
    chance = win_probability(mine, other, scale) if known and scale else None
    return {"margin": mine - other if known else None, "win_probability": chance}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _only(body: dict[str, Any], fields: dict[str, Any]) -> None:
    unknown = sorted(set(body) - set(fields))
    if unknown:
        raise Refused(422, f"Unknown: {', '.join(unknown)[:200]}. Known are {', '.join(fields)}.")
