"""Mistakes that were made once: healthy files set aside, files and numbers used again, images counted twice."""

from __future__ import annotations

import json
import logging
import random
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from core._ledger import FIRST, aside, entry, sql

from hpskit.errors import LedgerError
from hpskit.ledger import Ledger, Query, prepare_workflow, queries, schema, writing
from hpskit.ledger.export import cell
from hpskit.ledger.workflows import MAX_WORKFLOW, unpacked_workflow


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


def test_an_ensemble_after_its_first_member_keeps_the_scores_of_all(ledger: Ledger) -> None:
    made: dict[str, Any] = {"image_hash": "a", "seed": 1}
    [alone] = ledger.add([entry(27.0, **made)])
    [both] = ledger.add([entry(27.0, **made, parts={"x": 1.0, "y": 2.0})])
    assert both != alone
    assert ledger.add([entry(27.0, **made, parts={"y": 2.1, "x": 1.1}), entry(27.0, **made)]) == [both, alone]
    assert ledger.add([entry(1.0, image_hash="b"), entry(1.0, image_hash="b", parts={"x": 1.0})]) == [3, 4]
    assert ledger.row(both).parts == {"x": 1.0, "y": 2.0}  # type: ignore[union-attr]


def test_settings_are_compared_within_a_size_and_without_searches(ledger: Ledger) -> None:
    for seed in range(3):
        for size, score in ((512, 20.0), (1024, 30.0)):
            for sampler in ("euler", "heun"):
                better = score + (sampler == "heun")
                ledger.add([entry(better, sampler=sampler, seed=seed, width=size, height=size, extra={"methods": 1})])
    ledger.add([entry(25.0, sampler="lcm", width=512, height=512)])
    for extra in ({"method": "cma-es"}, {"guidance": 2.0}):
        ledger.add([entry(90.0, sampler="euler", seed=0, width=512, height=512, extra=extra)])
    lcm, heun, euler = ledger.compare("sampler")
    assert (lcm.value, heun.value, euler.value) == ("lcm", "heun", "euler")
    assert (heun.n, heun.groups, heun.wins, heun.pairs) == (6, 2, 6, 6)
    assert (euler.n, euler.wins) == (6, 0)


# --- large and hostile ------------------------------------------------------------------------------------------------


def test_a_workflow_is_packed_once_for_a_run(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    graph = {"nodes": [1], "picture": "x" * 70_000, "text": "y" * 1000}
    packed = prepare_workflow(graph, "workflow")
    ids = ledger.add([entry(1.0, workflow=packed), entry(2.0, workflow=graph, workflow_kind="workflow")])
    want = ("workflow", {"nodes": [1], "picture": "", "text": "y" * 1000})
    assert [ledger.workflow(id) for id in ids] == [want, want]
    assert sql(ledger.path, "SELECT count(*) FROM workflows") == [(1,)]
    assert prepare_workflow({}, "prompt") is prepare_workflow(None, "prompt") is None
    noise = {str(number): random.Random(number).randbytes(30_000).hex() for number in range(50)}
    with caplog.at_level(logging.WARNING):
        assert prepare_workflow(noise, "prompt") is None
    assert "left out" in caplog.text


def test_large_workflows_go_before_thumbnails(tmp_path: Path) -> None:
    with Ledger(tmp_path / "x", max_bytes=2**20) as ledger:
        for number in range(20):
            big = {"x": [random.Random(number).randbytes(30_000).hex() for _ in range(4)]} | {"n": number}
            picture = random.Random(-number).randbytes(20_000)
            ledger.add([entry(number, thumbnail=picture, workflow=big), entry(number + 0.5, workflow={"n": number})])
        rows = ledger.rows(Query(limit=1000)).rows
    assert sum(row.has_thumbnail for row in rows) == 20
    large = [row.has_workflow for row in rows if row.has_thumbnail]
    assert large == sorted(large, reverse=True) and 0 < sum(large) < 20, "the newest ones stay"
    assert sum(row.has_workflow for row in rows if not row.has_thumbnail) == 20, "small ones stay"


def test_a_bomb_is_not_unpacked() -> None:
    assert unpacked_workflow(zlib.compress(b'{"a": "' + b"x" * MAX_WORKFLOW + b'"}')) is None
    assert unpacked_workflow(zlib.compress(b'{"a": "' + b"x" * 1000 + b'"}')) == {"a": "x" * 1000}


def test_json_too_deep_to_read_is_empty(ledger: Ledger) -> None:
    ledger.add([entry()])
    deep = "[" * 200_000 + "]" * 200_000
    names = [name for (name,) in sql(ledger.path, "SELECT name FROM pragma_table_info('entries')")]
    taken = ", ".join({"id": "77", "digest": "x'00'"}.get(name, "?" * (name in JSON) or name) for name in names)
    sql(ledger.path, f"INSERT INTO entries SELECT {taken} FROM entries", *[deep] * 3)
    row = ledger.row(77)
    assert row is not None
    assert (row.extra, row.parts, row.loras) == ({}, {}, ())
    assert not aside(ledger.path.parent)


JSON = ("extra", "parts", "loras")


def test_ids_that_were_written_are_not_lost(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    insert, calls = writing.insert, []

    def failing(*arguments: Any) -> int:
        calls.append(1)
        if len(calls) > 2:
            raise sqlite3.OperationalError("database or disk is full")
        return insert(*arguments)

    monkeypatch.setattr(writing, "insert", failing)
    assert ledger.add([entry(float(number)) for number in range(5)]) == [1, 2, 0, 0, 0]
    assert "3 of 5 images are not recorded" in caplog.text and "no room" in caplog.text
    with pytest.raises(LedgerError, match="no room"):
        ledger.add([entry(9.0)])


@pytest.mark.parametrize("text", ["a;=1", "a\t+1", 'a;"@x', "a; -1", "a\n=1", "-a;=b"])
def test_cells_that_begin_at_another_sign_are_text(text: str) -> None:
    made = cell(text)
    assert "'" in made.lstrip("'") and made.replace("'", "") == text
    assert cell(json.dumps({"a": [-1, 2]})) == '{"a": [-1, 2]}'
