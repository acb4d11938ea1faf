"""What the ledger remembers of the cells of comparisons: keys of rows, across processes, versions and deletions."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from pathlib import Path

import pytest
from core._ledger import entry, instructions, is_sound, sql

from hpskit.errors import LedgerError
from hpskit.ledger import Ledger, Row, schema, trimming


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def filled(path: Path, count: int, **more: int) -> tuple[Ledger, list[int]]:
    ticks = iter(range(1_000_000))
    ledger = Ledger(path, clock=lambda: float(next(ticks)), **more)
    words = {"words": "x" * 1000}
    ids = ledger.add(entry(float(n), f"prompt {n % 7}", seed=n, image_hash=f"{n:x}", extra=words) for n in range(count))
    ledger.remember((key(n), id) for n, id in enumerate(ids))
    return ledger, ids


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


def test_a_row_is_found_again_by_its_key(path: Path) -> None:
    with Ledger(path) as first:
        ids = first.add([entry(1.5, seed=1, thumbnail=b"one"), entry(2.5, seed=2)])
        first.remember([(key(1), ids[0]), (key(2), ids[1])])
    ledger = Ledger(path)
    found = ledger.recall([key(2), key(3), key(1), key(2)])
    assert list(found) == [key(2), key(1)], "in the order asked, each once"
    assert found == {key(1): ledger.row(ids[0]), key(2): ledger.row(ids[1])}
    assert ledger.thumbnail(found[key(1)].id) == b"one"
    assert ledger.recall([]) == {}
    ledger.remember([])


def test_several_keys_may_lead_to_one_row_and_the_newest_row_counts(path: Path) -> None:
    ledger, ids = filled(path, 3)
    ledger.remember([(key(90), ids[0]), (key(91), ids[0]), (key(0), ids[1]), (key(1), ids[1]), (key(0), ids[2])])
    found = {name: row.id for name, row in ledger.recall([key(n) for n in (0, 1, 2, 90, 91)]).items()}
    assert found == {key(0): ids[2], key(1): ids[1], key(2): ids[2], key(90): ids[0], key(91): ids[0]}
    assert sql(path, "SELECT count(*) FROM cells") == [(5,)]


def test_what_is_not_recorded_is_not_remembered(path: Path) -> None:
    ledger, ids = filled(path, 1)
    ledger.remember([(key(5), 0), (key(6), ids[0] + 1000), (key(7), 2**70), (key(8), ids[0])])
    assert list(ledger.recall([key(n) for n in range(5, 9)])) == [key(8)]


@pytest.mark.parametrize("wrong", ["", "abc", "0" * 63, "0" * 65, "g" * 64, "A" * 64, " " * 64, "0" * 64 + "\n"])
def test_what_is_no_key_is_refused(path: Path, wrong: str) -> None:
    ledger, ids = filled(path, 1)
    with pytest.raises(LedgerError, match="64 small hex digits"):
        ledger.remember([(key(4), ids[0]), (wrong, ids[0])])
    with pytest.raises(LedgerError, match="64 small hex digits"):
        ledger.recall([key(0), wrong])
    assert list(ledger.recall([key(0), key(4)])) == [key(0)], "nothing of it is written, and the file is still used"


def test_purged_rows_take_their_keys_with_them(path: Path) -> None:
    ledger, ids = filled(path, 50)
    ledger.remember([(key(100 + n), ids[n]) for n in range(50)])
    assert ledger.purge(before=20.0) == 20
    keys = [key(n) for n in [*range(50), *range(100, 150)]]
    left = [key(n) for n in [*range(20, 50), *range(120, 150)]]
    assert list(ledger.recall(keys)) == left
    assert sql(path, "SELECT count(*) FROM cells") == [(60,)]
    ledger.purge()
    assert ledger.recall(keys) == {}
    assert sql(path, "SELECT count(*) FROM cells") == [(0,)]
    assert is_sound(path)


def test_trimmed_rows_take_their_keys_with_them(path: Path) -> None:
    ledger, _ = filled(path, 300)
    with sqlite3.connect(path) as connection:
        trimming.trim(connection, trimming.size(connection) * 2 // 3)
    left = {row for (row,) in sql(path, "SELECT id FROM entries")}
    assert 0 < len(left) < 300
    assert {row.id for row in ledger.recall(key(n) for n in range(300)).values()} == left
    assert sql(path, "SELECT count(*) FROM cells") == [(len(left),)]


def test_keys_alone_do_not_outgrow_the_limit(path: Path) -> None:
    ledger, ids = filled(path, 3, max_bytes=2**20)
    for part in range(6):
        ledger.remember((key(part * 5000 + n), ids[-1]) for n in range(5000))
        with sqlite3.connect(path) as connection:
            assert trimming.size(connection) <= 2**20
    assert is_sound(path)


def test_a_ledger_of_the_first_version_learns_to_remember(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", schema.STEPS[:1])
        with Ledger(path) as old:
            ids = old.add([entry(1.0, seed=1, thumbnail=b"x", workflow={"a": 1}), entry(2.0, seed=2)])
            rows = old.rows()
    assert sql(path, "PRAGMA user_version") == [(1,)]
    assert sql(path, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'cells%'") == [(0,)]
    with Ledger(path) as ledger:
        assert ledger.recall([key(1)]) == {}
        assert ledger.rows() == rows
        ledger.remember([(key(1), ids[1])])
        assert ledger.recall([key(1)])[key(1)].score == 2.0
        assert schema.is_whole(ledger._connected())
    assert sql(path, "PRAGMA user_version") == [(len(schema.STEPS),)]
    assert is_sound(path)


def test_a_version_that_cannot_remember_leaves_the_file_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, _ = filled(path, 1)
    ledger.close()
    before = path.read_bytes()
    monkeypatch.setattr(schema, "STEPS", schema.STEPS[:1])
    with pytest.raises(LedgerError, match=r"newer version.*format 2, known up to 1.*update"):
        Ledger(path).add([entry()])
    assert path.read_bytes() == before


def test_a_key_costs_the_same_among_many(path: Path) -> None:
    rng = random.Random(1)
    ledger = Ledger(path)
    ids = ledger.add(entry(rng.gauss(27, 1), f"prompt {n % 40}", seed=n, image_hash=f"{n:x}") for n in range(500))
    first, later = range(1000), range(1000, 10_000)
    writing = [instructions(ledger, lambda new=new: ledger.remember((key(n), ids[n % 500]) for n in new)) / len(new)
               for new in (first, later)]  # fmt: skip
    found: dict[str, Row] = {}
    reading = [instructions(ledger, lambda old=old: found.update(ledger.recall(key(n) for n in old))) / len(old)
               for old in (first, range(20_000))]  # fmt: skip
    assert [found[key(n)].id for n in range(10_000)] == [ids[n % 500] for n in range(10_000)]
    assert len(found) == 10_000
    assert writing[1] < 1.5 * writing[0], writing
    assert reading[1] < 1.5 * reading[0], reading
