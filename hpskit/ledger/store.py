"""The ledger itself: everything it can be given and asked."""

from __future__ import annotations

import logging
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import LedgerError
from . import cells as memory
from . import comparing, export, picks, queries, trimming, writing
from .entry import Entry, prepare
from .handle import Handle
from .opening import BUSY_SECONDS
from .records import LONGEST, Agreement, Facets, Page, Pick, Query, Row, Setting, Summary
from .workflows import unpacked_workflow

log = logging.getLogger("hps")

MIN_BYTES = 2**20
_ALL = Query()


class Ledger(Handle):
    """The append-only record of every scored image, in one SQLite file on this machine.

    Any thread may use it, several processes may share the file, and a process may fork. Everything here raises
    LedgerError when the file cannot be used and LedgerFull when the disk has no room; both leave it usable. A damaged
    file is renamed and a new one begun, with a warning in the log.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_bytes: int = 256 * 2**20,
        busy_seconds: float = BUSY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Name the file and how large it may grow; it is opened, and made if need be, when it is first used.

        `busy_seconds` is how long another program that writes is waited for.
        """
        if max_bytes < MIN_BYTES:
            raise LedgerError(f"A ledger of at most {max_bytes} bytes is too small; allow {MIN_BYTES} or more.")
        super().__init__(path, busy_seconds)
        self.max_bytes = max_bytes
        self.refused = 0
        """Entries that `add` refused so far."""
        self._clock = clock

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- writing ------------------------------------------------------------------------------------------------------

    def add(self, entries: Iterable[Entry]) -> list[int]:
        """Write entries, each in a transaction of its own, and return their ids; 0 for one that is not written.

        An entry equal to one that is there in everything but time and run is not written again: it gets the old id.
        Refused are scores that are not finite. When the file fails after some are written, their ids are returned, the
        others get 0 and the log says why; when it fails at the first one, the error is raised. Beyond `max_bytes` large
        workflows go, then the oldest thumbnails, and once there are none the oldest rows.
        """
        wanted, ids = list(entries), list[int]()
        for entry in wanted:
            try:
                ids.append(self._add(entry))
            except LedgerError as error:
                if not any(ids):
                    raise
                log.warning("%d of %d images are not recorded. %s", len(wanted) - len(ids), len(wanted), error)
                break
        return ids + [0] * (len(wanted) - len(ids))

    def _add(self, entry: Entry) -> int:
        prepared = prepare(entry)
        if prepared is None:
            self.refused += 1
            return 0

        def work(connection: sqlite3.Connection) -> tuple[int, int]:
            return writing.insert(connection, prepared, self._clock()), trimming.size(connection)

        id, size = self._use(work, begin="BEGIN IMMEDIATE")
        if size > self.max_bytes:
            self._trim()
        return id

    def _trim(self) -> None:
        try:
            self._use(lambda c: trimming.trim(c, self.max_bytes), begin="BEGIN IMMEDIATE")
            self._use(lambda c: trimming.give_back(c, checkpoint=False), begin="")
        except LedgerError as error:  # the entry is written; the next one tries again
            log.warning("The ledger %s is above its size limit and cannot be trimmed: %s", self.path, error)

    def saved(self, image_hash: str, file: str) -> None:
        """Record that the image of that hash was saved as `file`; of several files the newest wins.

        A file belongs to the image that was written to it last: rows of another one do not name it any more.
        """
        self.saved_many([(image_hash, file)])

    def saved_many(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Record where several images were saved, as pairs of hash and file, in one transaction."""
        known = [(image, file) for image, file in pairs if image]

        def work(connection: sqlite3.Connection) -> None:
            for image, file in known:
                writing.saved(connection, image, file, self._clock())

        if known:
            self._use(work, begin="BEGIN IMMEDIATE")

    def remember(self, cells: Iterable[tuple[str, int]]) -> None:
        """Keep under which key (sha256 in 64 hex digits) a row is found again, as pairs of key and id of the row.

        A key that is known gets the newer row. A row that is not there (0: not recorded) is left out; rows that are
        deleted later take their keys with them. Raises LedgerError for what is no key.
        """
        known = memory.packed(cells)

        def work(connection: sqlite3.Connection) -> int:
            memory.write(connection, known, self._clock())
            return trimming.size(connection)

        if known and self._use(work, begin="BEGIN IMMEDIATE") > self.max_bytes:
            self._trim()

    def purge(self, *, before: float | None = None) -> int:
        """Delete the rows written before a time (Unix seconds), or all, and return how many; the file shrinks.

        Thumbnails, workflows, prompts, keys and files that only they used go too, and their bytes are overwritten.
        Picks stay, with their prompts, image hashes and scores: delete the file to be rid of them.
        """
        deleted = self._use(lambda c: trimming.purge(c, before), begin="BEGIN IMMEDIATE")
        try:
            self._use(lambda c: trimming.give_back(c, checkpoint=True), begin="")
        except LedgerError as error:  # they are deleted; the next purge tries again
            log.warning("The ledger %s could not be made smaller: %s", self.path, error)
        return deleted

    def delete(self, ids: Iterable[int]) -> int:
        """Delete rows by their ids, with everything that only they used, and return how many there were.

        Picks stay, as `purge` leaves them.
        """
        wanted = [id for id in ids if queries.storable(id)]
        return self._use(lambda c: trimming.delete(c, wanted), begin="BEGIN IMMEDIATE") if wanted else 0

    # --- reading ------------------------------------------------------------------------------------------------------

    def rows(self, query: Query = _ALL) -> Page:
        """Return a page of rows and how many there are in all."""
        return self._use(lambda c: Page(queries.load(c, queries.ids(c, query)), queries.count(c, query)))

    def row(self, id: int) -> Row | None:
        """Return one row; None when there is none of that id."""
        found = self._load([id])
        return found[0] if found else None

    def recall(self, keys: Iterable[str]) -> dict[str, Row]:
        """Return the rows that are remembered under these keys, and are still there, by key."""
        known = memory.texts(keys)

        def work(connection: sqlite3.Connection) -> dict[str, Row]:
            found = memory.read(connection, known)
            rows = {row.id: row for row in queries.load(connection, list(dict.fromkeys(found.values())))}
            return {key: rows[id] for key, id in found.items() if id in rows}

        return self._use(work)

    def _load(self, ids: Iterable[int]) -> tuple[Row, ...]:
        wanted = [id for id in ids if queries.storable(id)]
        return self._use(lambda c: queries.load(c, wanted))

    def facets(self, limit: int = 200, longest: int | None = LONGEST) -> Facets:
        """Return the values in use of each kind, at most `limit`, the most recent first.

        Values above `longest` characters are cut, and end with "..."; prompts are asked for by their ids. Counted are
        rows, as a query for the value finds them.
        """
        return self._use(lambda c: comparing.facets(c, max(0, min(limit, 10_000)), longest))

    def workflow(self, id: int) -> tuple[str, dict[str, Any]] | None:
        """Return kind ("workflow" or "prompt") and graph of a row's workflow; None when it has none."""
        found = self._blob("SELECT w.kind, w.graph FROM entries e JOIN workflows w ON w.hash = e.workflow", id)
        graph = None if found is None else unpacked_workflow(found[1])
        return None if found is None or graph is None else (queries.unpack(found[0]), graph)

    def thumbnail(self, id: int) -> bytes | None:
        """Return the thumbnail of a row; None when it has none, or has none any more."""
        found = self._blob("SELECT t.data FROM entries e JOIN thumbnails t ON t.hash = e.thumbnail", id)
        return None if found is None else bytes(found[0])

    def _blob(self, text: str, id: int) -> tuple[Any, ...] | None:
        if not queries.storable(id):
            return None
        found: tuple[Any, ...] | None = self._use(lambda c: c.execute(f"{text} WHERE e.id = ?", (id,)).fetchone())
        return found

    def best_seeds(
        self, prompt: str | None = None, model: str | None = None, scorer: str | None = None, limit: int = 20
    ) -> tuple[Row, ...]:
        """Return the rows with the best standing in their groups, one for each prompt, model and seed.

        Standing, not score: scores of different prompts and fingerprints do not compare. Rows alone in their group
        have no standing and come last.
        """
        query = Query(prompt=prompt, model=model, scorer=scorer)
        return self._use(lambda c: queries.load(c, comparing.best_seeds(c, query, limit)))

    def compare(self, by: str, query: Query = _ALL) -> tuple[Setting, ...]:
        """Compare the values of "sampler", "scheduler", "steps", "cfg" or "model" among the rows a query lets through.

        `gain` is the mean of score less the mean of the group (prompt, fingerprint, width and height, among these
        rows), over groups in which several values occur; `wins` of `pairs` counts the same group and seed under another
        value. Images of an optimised noise, or steered by a scorer, are left out. Neither tests for significance, and
        other settings may have differed between the rows. Gains of several scorers are in different units: filter by
        one. Order, limit and offset of the query do not matter.
        """
        return self._use(lambda c: comparing.compare(c, by, query))

    def summary(self) -> Summary:
        """Return how much the ledger holds and from when."""
        return self._use(self._summary)

    def _summary(self, connection: sqlite3.Connection) -> Summary:
        one = "SELECT count(*), count(DISTINCT prompt), min(time), max(time) FROM entries"
        rows, prompts, oldest, newest = connection.execute(one).fetchone()
        number = connection.execute("SELECT count(*) FROM picks").fetchone()[0]
        size = sum(part.stat().st_size for part in (self.path, Path(f"{self.path}-wal")) if part.exists())
        return Summary(rows, prompts, number, size, self.max_bytes, oldest, newest)

    # --- picks --------------------------------------------------------------------------------------------------------

    def add_pick(self, pick: Pick) -> int:
        """Record a pick with its prompt, image hashes and scores, which outlive its rows, and return its id."""
        return self._use(lambda c: picks.insert(c, pick, self._clock()), begin="BEGIN IMMEDIATE")

    def next_pair(self, *, prompt: int | None = None, rng: random.Random | None = None) -> tuple[Row, Row] | None:
        """Return two rows of one prompt (drawn evenly, or the one of that id) to choose between, in random order.

        Their images differ, can be shown (thumbnail or file) and were not compared yet; None when nothing is left.
        """
        source = rng or random.Random()
        return self._use(lambda c: _pair(queries.load(c, picks.next_pair(c, prompt, source) or ())))

    def agreement(self, scorer: str | None = None) -> Agreement:
        """Return how often the person chose the image with the higher score, by one scorer or by those shown."""
        return self._use(lambda c: picks.agreement(c, scorer))

    # --- export -------------------------------------------------------------------------------------------------------

    def export(self, stream: export.TextStream, format: str, query: Query = _ALL) -> int:
        """Write every row a query lets through, in its order, as "csv" or "jsonl"; return how many.

        Limit and offset do not count. `stream` takes text; open files with newline="" and encoding="utf-8".
        """
        return export.write(self._all(query), stream, format)

    def export_parquet(self, path: str | Path, query: Query = _ALL) -> int:
        """Write the same rows as a Parquet file; DependencyError without pyarrow, OutputError when it cannot be."""
        return export.write_parquet(self._all(query), Path(path))

    def _all(self, query: Query) -> Iterator[Row]:
        """Yield rows part by part: the lock is free while they are written out."""
        wanted = self._use(lambda c: queries.ids(c, query, paged=False))
        for chunk in queries.chunks(wanted):
            yield from self._load(chunk)


def _pair(rows: tuple[Row, ...]) -> tuple[Row, Row] | None:
    return (rows[0], rows[1]) if len(rows) == 2 else None
