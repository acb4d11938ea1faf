"""Writing into the ledger: one entry, one saved file."""

from __future__ import annotations

import sqlite3

from .entry import Prepared, text_hash
from .queries import pack


def insert(connection: sqlite3.Connection, entry: Prepared, time: float) -> int:
    """Write an entry inside a transaction and return its id; that of an equal one when there is one already.

    An equal one gets its thumbnail back if the size limit took it, and is told where the image lies now.
    """
    known = _known(connection, entry)
    if known is None:
        return _new(connection, entry, time)
    row, thumbnail, file = known
    if entry.thumbnail is not None and entry.thumbnail[0] == thumbnail:
        _once(connection, "thumbnails", "hash", {"hash": thumbnail, "data": entry.thumbnail[1]})
    image, place = entry.columns["image"], entry.columns["file"]
    if image and place and ((_place(connection, image) or file) != pack(place) or _taken(connection, image, place)):
        _insert(connection, "saved", {"time": time, "image": pack(image), "file": pack(place)})
    return row


def _known(connection: sqlite3.Connection, entry: Prepared) -> tuple[int, bytes | None, object] | None:
    """Return id, hash of the thumbnail and file of an equal entry.

    Without a seed any entry of the same image, prompt and scorer is one: it says more than the new one could.
    """
    wanted = "SELECT id, thumbnail, file FROM entries"
    found = connection.execute(f"{wanted} WHERE digest = ?", (entry.digest,)).fetchone()
    if found is None and entry.columns["image"] and entry.columns["seed"] is None:
        same = "image = ? AND prompt = (SELECT id FROM prompts WHERE hash = ?) AND scorer = "
        same += "(SELECT id FROM scorers WHERE fingerprint = ?)"
        same += " AND parts IS NOT NULL" if entry.columns["parts"] else ""
        keys = (pack(entry.columns["image"]), entry.prompt[0], entry.fingerprint)
        found = connection.execute(f"{wanted} WHERE {same} ORDER BY id LIMIT 1", keys).fetchone()
    return None if found is None else (int(found[0]), found[1], found[2])


def _new(connection: sqlite3.Connection, entry: Prepared, time: float) -> int:
    thumbnail, workflow = entry.thumbnail, entry.workflow
    image, place = entry.columns["image"], entry.columns["file"]
    if image and place and _taken(connection, image, place):  # tell the image's older rows too
        _insert(connection, "saved", {"time": time, "image": pack(image), "file": pack(place)})
    if thumbnail is not None:
        _once(connection, "thumbnails", "hash", {"hash": thumbnail[0], "data": thumbnail[1]})
    if workflow is not None:
        _once(connection, "workflows", "hash", {"hash": workflow[0], "kind": pack(workflow[1]), "graph": workflow[2]})
    return _insert(
        connection,
        "entries",
        {
            "time": time,
            "digest": entry.digest,
            "subject": _subject(entry),
            "prompt": _prompt(connection, entry.prompt),
            "negative": _prompt(connection, entry.negative) if entry.negative else None,
            "scorer": _scorer(connection, entry),
            "thumbnail": thumbnail[0] if thumbnail else None,
            "workflow": workflow[0] if workflow else None,
            **{name: pack(value) if isinstance(value, str) else value for name, value in entry.columns.items()},
        },
    )


def _subject(entry: Prepared) -> int:
    """Return a number that rows of one image share: made from its pixels, or from the row where they are unknown."""
    image = entry.columns["image"]
    key = text_hash(image) if image else entry.digest
    return int.from_bytes(key[:8], "big", signed=True)


def saved(connection: sqlite3.Connection, image: str, file: str, time: float) -> None:
    """Record where an image was saved, unless that is what was recorded last."""
    where = pack(file)
    if _place(connection, image) != where or _taken(connection, image, file):
        _insert(connection, "saved", {"time": time, "image": pack(image), "file": where})


def _taken(connection: sqlite3.Connection, image: str, file: str) -> bool:
    """Say whether another image was the last to be written to a file."""
    newest = (
        "SELECT image FROM (SELECT image, time, 1 AS late, id FROM saved WHERE file = :file "
        "UNION ALL SELECT image, time, 0, id FROM entries WHERE file = :file AND file != '' AND image != '') "
        "ORDER BY time DESC, late DESC, id DESC LIMIT 1"
    )
    found = connection.execute(newest, {"file": pack(file)}).fetchone()
    return found is not None and found[0] != pack(image)


def _place(connection: sqlite3.Connection, image: str) -> object:
    """Return where an image was saved last, as stored; None when it was not."""
    newest = "SELECT file FROM saved WHERE image = ? ORDER BY id DESC LIMIT 1"
    found = connection.execute(newest, (pack(image),)).fetchone()
    return found[0] if found else None


def _prompt(connection: sqlite3.Connection, prompt: tuple[bytes, str]) -> int:
    return _once(connection, "prompts", "hash", {"hash": prompt[0], "text": pack(prompt[1])})


def _scorer(connection: sqlite3.Connection, entry: Prepared) -> int:
    names = ("name", "version", "preprocess", "dtype", "checkpoint")
    packed = dict(zip(names, map(pack, entry.scorer), strict=True))
    return _once(connection, "scorers", "fingerprint", {"fingerprint": entry.fingerprint, **packed})


def _once(connection: sqlite3.Connection, table: str, key: str, record: dict[str, object]) -> int:
    """Return the id of the record with that key; it is written when there is none."""
    known = connection.execute(f"SELECT id FROM {table} WHERE {key} = ?", (record[key],)).fetchone()
    return int(known[0]) if known is not None else _insert(connection, table, record)


def _insert(connection: sqlite3.Connection, table: str, record: dict[str, object]) -> int:
    places = ", ".join("?" * len(record))
    text = f"INSERT INTO {table} ({', '.join(record)}) VALUES ({places})"
    return int(connection.execute(text, list(record.values())).lastrowid or 0)
