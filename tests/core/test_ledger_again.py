"""Mistakes that were made once: healthy files set aside, files and numbers used again, images counted twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from core._ledger import FIRST, aside, entry, sql

from hpskit.errors import LedgerError
from hpskit.ledger import Ledger, Query, queries, schema


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ticks = iter(range(100_000))
    with Ledger(tmp_path / "ledger.sqlite3", clock=lambda: float(next(ticks))) as made:
        yield made


# --- healthy files stay -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError, RecursionError])
def test_a_search_that_is_broken_off_leaves_the_ledger(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    ledger.add([entry(number, f"fox {number}") for number in range(5)])
    calls: list[object] = []

    def unpack(text: Any) -> str:
        calls.append(text)
        if len(calls) == 3:
            raise kind
        return str(text)

    with monkeypatch.context() as patch:
        patch.setattr(queries, "unpack", unpack)
        with pytest.raises(kind):
            ledger.rows(Query(search="fox"))
    assert ledger.rows(Query(search="fox")).total == 5
    assert not aside(ledger.path.parent)


def constraint(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO prompts (hash, text) SELECT hash, text FROM prompts")


def column(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT nothing FROM entries")


def table(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT 1 FROM nothing")


@pytest.mark.parametrize("mistake", [constraint, column, table])
def test_a_mistake_of_the_program_is_no_damage(ledger: Ledger, mistake: Callable[[sqlite3.Connection], None]) -> None:
    ledger.add([entry()])
    with pytest.raises(LedgerError, match="cannot be used"):
        ledger._use(mistake)
    assert ledger.summary().rows == 1
    assert not aside(ledger.path.parent)


def test_a_table_that_is_gone_is_damage(ledger: Ledger) -> None:
    ledger.add([entry()])
    sql(ledger.path, "DROP TABLE saved")
    assert ledger.rows().total == 0
    assert len(aside(ledger.path.parent)) == 1


# --- files and numbers used again -------------------------------------------------------------------------------------


def files(ledger: Ledger) -> dict[str, str]:
    return {row.image_hash: row.file for row in ledger.rows(Query(limit=1000)).rows}


def test_a_file_belongs_to_the_image_written_to_it_last(ledger: Ledger) -> None:
    ledger.add([entry(1.0, image_hash="a"), entry(2.0, image_hash="b")])
    ledger.saved_many([("a", "other.png"), ("a", "pic.png"), ("b", "pic.png"), ("", "pic.png")])
    assert files(ledger) == {"a": "other.png", "b": "pic.png"}
    ledger.saved("a", "pic.png")
    assert files(ledger) == {"a": "pic.png", "b": ""}
    ledger.saved("a", "pic.png")
    assert sql(ledger.path, "SELECT image FROM saved ORDER BY id") == [("a",), ("a",), ("b",), ("a",)]


def test_so_it_is_with_files_that_are_scored_again(ledger: Ledger) -> None:
    first, second = entry(1.0, image_hash="a", file="/x.png"), entry(2.0, image_hash="b", file="/x.png")
    ledger.add([first, second])
    assert files(ledger) == {"a": "", "b": "/x.png"}
    assert ledger.next_pair() is None, "the first one cannot be shown any more"
    ledger.add([first])
    assert files(ledger) == {"a": "/x.png", "b": ""}
    ledger.add([second, entry(1.0, image_hash="a", file="/x.png", scorer="another")])
    assert files(ledger) == {"a": "/x.png", "b": ""}


def test_numbers_of_rows_do_not_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "before_first", FIRST)
    seen: list[int] = []
    path = tmp_path / "ledger.sqlite3"
    for _ in range(3):
        with Ledger(path) as ledger:
            seen += ledger.add([entry(1.0), entry(2.0)])
        with Ledger(path) as ledger:
            seen += ledger.add([entry(3.0)])
        path.unlink()
    assert seen == sorted(set(seen))
    assert seen[0] > 1.6e12 and seen[-1] < 2**53, "a browser's numbers end there"


# --- images counted twice ---------------------------------------------------------------------------------------------


def test_an_image_counts_once_in_its_group(ledger: Ledger) -> None:
    twice = [entry(27.0, image_hash="a"), entry(27.5, image_hash="a", seed=5, source="cli")]
    ids = ledger.add([*twice, entry(30.0, image_hash="b"), entry(31.0), entry(32.0)])
    assert len(set(ids)) == 5
    scores = [27.25, 30.0, 31.0, 32.0]
    mean = sum(scores) / 4
    sd = (sum((score - mean) ** 2 for score in scores) / 3) ** 0.5
    for row in ledger.rows(Query(sort="standing")).rows:
        assert (row.group_n, row.group_mean, row.group_sd) == (4, pytest.approx(mean), pytest.approx(sd))
        assert row.standing == pytest.approx((row.score - mean) / sd)
    assert [row.score for row in ledger.rows(Query(sort="standing")).rows] == [32.0, 31.0, 30.0, 27.5, 27.0]


def test_an_image_alone_has_no_standing_however_often_it_was_scored(ledger: Ledger) -> None:
    ledger.add([entry(27.0, image_hash="a"), entry(27.5, image_hash="a", seed=5)])
    rows = ledger.rows(Query(sort="standing")).rows
    assert [(row.group_n, row.standing) for row in rows] == [(1, None), (1, None)]
