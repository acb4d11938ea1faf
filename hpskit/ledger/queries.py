"""Reading rows: filters and orders as SQL, rows with their place in their group, facets, settings compared."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from .entry import MAX_PROMPT, text_hash
from .opening import Damaged
from .records import Query, Row

T = TypeVar("T")
Value = str | bytes | int | float | None

# Over whole groups, whatever the filters let through. SQLite may lack sqrt; the signed square orders alike.
# An image that has several rows in a group (with a seed and without, from two programs) counts there once.
_ONCE = """SELECT e.prompt, e.scorer, avg(e.score) AS score FROM entries e WHERE {condition}
    GROUP BY e.prompt, e.scorer, e.subject"""
_PLACES = f"""JOIN (
    SELECT m.prompt, m.scorer, m.mean, m.n, m.differ, sum((x.score - m.mean) * (x.score - m.mean)) AS squares
    FROM (SELECT prompt, scorer, count(*) AS n, avg(score) AS mean, min(score) < max(score) AS differ
          FROM ({_ONCE}) GROUP BY prompt, scorer) m
    JOIN ({_ONCE}) x ON x.prompt = m.prompt AND x.scorer = m.scorer GROUP BY m.prompt, m.scorer
    ) z ON z.prompt = e.prompt AND z.scorer = e.scorer"""
PLACE = "CASE WHEN z.differ THEN (e.score - z.mean) * abs(e.score - z.mean) * (z.n - 1) / z.squares END"
"""Orders rows by standing; goes with `places`."""

_ORDERS = {
    "time": ("e.time",),
    "score": ("e.score",),
    "standing": (PLACE,),
    # Decimal text: the sign and the size decide first, then the digits of what is too long for a double.
    "seed": ("CAST(e.seed AS REAL)", "length(e.seed)", "e.seed"),
    "model": ("nullif(e.model, '')",),
    "sampler": ("nullif(e.sampler, '')",),
    "steps": ("e.steps",),
    "cfg": ("e.cfg",),
}

_NAMES = (
    *("id", "time", "prompt_id", "score", "parts", "loras", "steps", "cfg", "denoise", "width", "height", "seed"),
    *("model", "sampler", "scheduler", "source", "run", "extra"),
    *("prompt", "negative", "scorer", "scorer_version", "preprocess", "dtype", "checkpoint", "fingerprint"),
    *("image_hash", "file", "workflow_kind", "has_workflow", "has_thumbnail"),
)
_TEXTS = _NAMES[12:17] + _NAMES[18:-2]
"""Names of the fields in the order of the columns below, and those of them that are texts."""

# Where the image of a row lies: the newest place that no other image was written to since.
FILE = """CASE WHEN e.image = '' THEN e.file ELSE coalesce(
    (SELECT v.file FROM saved v WHERE v.image = e.image AND (v.time >= e.time OR e.file = '')
        AND NOT EXISTS (SELECT 1 FROM saved x WHERE x.file = v.file AND x.id > v.id AND x.image != v.image)
        AND NOT EXISTS (SELECT 1 FROM entries y WHERE y.file = v.file AND y.file != '' AND y.time > v.time
                        AND y.image NOT IN (v.image, ''))
        ORDER BY v.id DESC LIMIT 1),
    CASE WHEN EXISTS (SELECT 1 FROM saved x WHERE x.file = e.file AND x.time >= e.time AND x.image != e.image)
        OR EXISTS (SELECT 1 FROM entries y WHERE y.file = e.file AND y.file != '' AND y.id > e.id
                   AND y.image NOT IN (e.image, ''))
        THEN '' ELSE e.file END) END"""

_ROW = """SELECT e.scorer, e.id, e.time, e.prompt, e.score, e.parts, e.loras, e.steps, e.cfg, e.denoise, e.width,
    e.height, e.seed, e.model, e.sampler, e.scheduler, e.source, e.run, e.extra,
    p.text, coalesce(n.text, ''), s.name, s.version, s.preprocess, s.dtype, s.checkpoint, s.fingerprint, e.image,
    {file},
    coalesce(w.kind, ''), w.id IS NOT NULL, e.thumbnail IS NOT NULL AND EXISTS (
        SELECT 1 FROM thumbnails t WHERE t.hash = e.thumbnail)
    FROM entries e JOIN prompts p ON p.id = e.prompt JOIN scorers s ON s.id = e.scorer
    LEFT JOIN prompts n ON n.id = e.negative LEFT JOIN workflows w ON w.hash = e.workflow
    WHERE e.id IN ({ids})"""

_MEMBERS = _ONCE.format(condition="e.prompt = :prompt AND e.scorer = :scorer")
_GROUP = f"""SELECT g.n, g.mean, g.low < g.high, (
    SELECT sum((score - g.mean) * (score - g.mean)) FROM ({_MEMBERS}))
    FROM (SELECT count(*) AS n, avg(score) AS mean, min(score) AS low, max(score) AS high FROM ({_MEMBERS})) g"""


def pack(text: str) -> str | bytes:
    """Return a text as it is stored: as itself, or as bytes when it has lone surrogates, which SQLite's text cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def unpack(value: Any) -> str:
    """Return a stored text; Damaged when it is none."""
    if isinstance(value, str):
        return value
    try:
        return bytes.decode(value, "utf-8", "surrogatepass")
    except (TypeError, UnicodeDecodeError) as error:
        raise Damaged(f"a text cannot be read: {error}") from error


def where(connection: sqlite3.Connection, query: Query) -> tuple[str, list[Value]]:
    """Return the filters as a condition on entries `e` and its parameters."""
    terms: list[tuple[str, Value]] = []
    for name in ("model", "sampler", "scheduler", "source"):
        if (wanted := getattr(query, name)) is not None:
            terms.append((f"e.{name} = ?", pack(wanted)))
    if query.prompt_id is not None:
        terms.append(("e.prompt = ?", query.prompt_id if storable(query.prompt_id) else -1))
    if query.prompt is not None:
        terms.append(("e.prompt = (SELECT id FROM prompts WHERE hash = ?)", _prompt_key(connection, query.prompt)))
    if query.scorer is not None:
        terms.append(("e.scorer IN (SELECT id FROM scorers WHERE name = ?)", pack(query.scorer)))
    if query.search:
        terms.append(("e.prompt IN (SELECT value FROM json_each(?))", _holding(connection, query.search)))
    if query.since is not None:
        terms.append(("e.time >= ?", _moment(query.since)))
    if query.until is not None:
        terms.append(("e.time < ?", _moment(query.until)))
    return " AND ".join(["1", *(term for term, _ in terms)]), [value for _, value in terms]


def _holding(connection: sqlite3.Connection, part: str) -> str:
    """Return the ids of the prompts that hold a text, as JSON.

    Not by a function that SQLite calls: what is raised there, Ctrl-C too, comes out as an error of the database.
    """
    wanted = part.casefold()
    found = connection.execute("SELECT id, text FROM prompts")
    return json.dumps([id for id, text in found if wanted in unpack(text).casefold()])


def _prompt_key(connection: sqlite3.Connection, text: str) -> bytes:
    """Return the hash of a prompt; what a cut one was read back as stands for the newest that begins so."""
    if len(text) == MAX_PROMPT:
        wanted = "SELECT hash FROM prompts WHERE text = ? ORDER BY id DESC LIMIT 1"
        found = connection.execute(wanted, (pack(text),)).fetchone()
        return bytes(found[0]) if found else text_hash(text)
    return text_hash(text)


def places(connection: sqlite3.Connection, query: Query) -> tuple[str, list[Value]]:
    """Return the join that gives `PLACE` its groups, and its parameters; groups of other prompts are left out."""
    condition, values = where(connection, Query(prompt_id=query.prompt_id, prompt=query.prompt))
    return _PLACES.format(condition=condition), [*values, *values]


def _moment(time: float) -> float:
    return float(min(max(time, -1e300), 1e300))  # any whole number may come in


def storable(number: int) -> bool:
    """Say whether an id fits SQLite's integers; one that does not belongs to no row."""
    return -(2**63) <= number < 2**63


def order(query: Query) -> str:
    """Return the terms of ORDER BY: rows without a value last, equal ones newest first."""
    way = "DESC" if query.descending else "ASC"
    keys = _ORDERS[query.sort]
    if query.sort in ("time", "score"):
        return f"{keys[0]} {way}, e.id {way if query.sort == 'time' else 'DESC'}"
    return ", ".join([f"{keys[0]} IS NULL", *(f"{key} {way}" for key in keys), "e.id DESC"])


def ids(connection: sqlite3.Connection, query: Query, *, paged: bool = True) -> list[int]:
    """Return the ids of the matching rows in order; all of them, whatever limit and offset say, when not `paged`."""
    condition, values = where(connection, query)
    join, before = places(connection, query) if query.sort == "standing" else ("", [])
    text, values = f"SELECT e.id FROM entries e {join} WHERE {condition} ORDER BY {order(query)}", [*before, *values]
    if paged:
        text, values = f"{text} LIMIT ? OFFSET ?", [*values, query.limit, query.offset]
    return [int(row[0]) for row in connection.execute(text, values)]


def count(connection: sqlite3.Connection, query: Query) -> int:
    """Return how many rows pass the filters."""
    condition, values = where(connection, query)
    return int(connection.execute(f"SELECT count(*) FROM entries e WHERE {condition}", values).fetchone()[0])


def load(connection: sqlite3.Connection, wanted: Sequence[int]) -> tuple[Row, ...]:
    """Return the rows with these ids in this order; ids that are not there are left out."""
    found: dict[int, tuple[int, dict[str, Any]]] = {}
    for chunk in chunks(wanted):
        for scorer, *values in connection.execute(_ROW.format(file=FILE, ids=",".join("?" * len(chunk))), chunk):
            found[values[0]] = scorer, dict(zip(_NAMES, values, strict=True))
    groups = {(values["prompt_id"], scorer) for scorer, values in found.values()}
    placed = {group: _group(connection, *group) for group in groups}
    loaded = (found[id] for id in wanted if id in found)
    return tuple(_row(values, *placed[values["prompt_id"], scorer]) for scorer, values in loaded)


def _group(connection: sqlite3.Connection, prompt: int, scorer: int) -> tuple[int, float, float]:
    """Return size, mean and sample standard deviation of a group."""
    n, mean, differ, squares = connection.execute(_GROUP, {"prompt": prompt, "scorer": scorer}).fetchone()
    return n, mean, math.sqrt(max(squares, 0.0) / (n - 1)) if n > 1 and differ else 0.0


def _row(values: dict[str, Any], n: int, mean: float, sd: float) -> Row:
    try:
        seed, score = values["seed"], float(values["score"])
        read = {
            **{name: unpack(values[name]) for name in _TEXTS},
            "score": score,
            "time": float(values["time"]),
            "seed": None if seed is None else int(seed),
            "parts": mapping(values["parts"]),
            "extra": mapping(values["extra"]),
            "loras": _loras(values["loras"]),
            "has_workflow": bool(values["has_workflow"]),
            "has_thumbnail": bool(values["has_thumbnail"]),
        }
        place = (score - mean) / sd if sd > 0 else None
        return Row(**{**values, **read}, group_n=n, group_mean=mean, group_sd=sd, standing=place)
    except (TypeError, ValueError) as error:
        raise Damaged(f"row {values['id']} cannot be read: {error}") from error


def mapping(text: str | None) -> dict[str, Any]:
    """Return a stored mapping; an empty one for what is none."""
    try:
        value = json.loads(text or "{}")
    except RecursionError:  # nothing that a ledger writes is that deep
        return {}
    return value if isinstance(value, dict) else {}


def _loras(text: str | None) -> tuple[tuple[str, float], ...]:
    try:
        return tuple((str(name), strength) for name, strength in json.loads(text or "[]"))
    except RecursionError:
        return ()


def chunks(wanted: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    """Cut a list into parts."""
    return (wanted[start : start + size] for start in range(0, len(wanted), size))
