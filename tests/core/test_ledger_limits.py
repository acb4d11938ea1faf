"""Purging and the size limit."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from core._ledger import entry, is_sound, sql

from hpskit.ledger import Ledger, Pick, Query, trimming

SECRET = "the secret wish number"


def filled(path: Path, count: int, size: int = 3000, **more: int) -> Ledger:
    ticks = iter(range(100_000))
    ledger = Ledger(path, clock=lambda: float(next(ticks)), **more)
    rng = random.Random(0)
    for number in range(count):
        [id] = ledger.add(
            [
                entry(
                    number,
                    f"{SECRET} {number}",
                    negative=f"not {number}",
                    image_hash=f"{number:x}",
                    thumbnail=rng.randbytes(size) if size else None,
                    workflow={"w": number, "text": f"{SECRET} {number}"},
                )
            ]
        )
        assert id == number + 1
    return ledger


def counts(path: Path) -> dict[str, int]:
    names = ("entries", "prompts", "scorers", "workflows", "thumbnails", "saved")
    return {name: sql(path, f"SELECT count(*) FROM {name}")[0][0] for name in names}


def test_purge_deletes_what_is_older_and_all_that_only_it_used(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    ledger = filled(path, 200)
    for number in (5, 150):
        ledger.saved(f"{number:x}", "x.png")
    ledger.add(
        [entry(-1.0, f"{SECRET} 7", thumbnail=ledger.thumbnail(9), workflow=(ledger.workflow(10) or ("", {}))[1])]
    )
    before = path.stat().st_size
    assert ledger.purge(before=100.0) == 100
    left = {"entries": 101, "prompts": 201, "scorers": 1, "workflows": 101, "thumbnails": 101, "saved": 1}
    assert counts(path) == left
    assert path.stat().st_size < 0.7 * before
    assert ledger.rows(Query(sort="time", descending=False)).rows[0].score == 100
    assert ledger.rows(Query(prompt=f"{SECRET} 7")).total == 1
    assert ledger.purge(before=100.0) == 0
    assert ledger.add([entry(1000.0)]) == [202]
    assert is_sound(path)


def test_nothing_is_left_in_the_file_after_a_purge(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    ledger = filled(path, 150)
    assert SECRET.encode() in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    ledger.rows()
    assert ledger.purge() == 150
    assert set(counts(path).values()) == {0}
    assert SECRET.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert ledger.summary().bytes < 200_000
    assert ledger.summary().rows == 0


def test_at_its_limit_the_oldest_thumbnails_go_first(tmp_path: Path) -> None:
    limit = 2**20
    path = tmp_path / "ledger.sqlite3"
    ledger = filled(path, 400, size=6000, max_bytes=limit)
    assert ledger.summary().rows == 400
    kept = [row.id for row in ledger.rows(Query(limit=1000)).rows if row.has_thumbnail]
    assert kept == list(range(400, 400 - len(kept), -1)), "the newest ones stay"
    assert 50 < len(kept) < 200
    assert ledger.thumbnail(1) is None
    assert ledger.row(1).group_n == 1
    ledger.close()
    assert path.stat().st_size <= limit
    picture = random.Random(0).randbytes(6000)
    graph = {"w": 0, "text": f"{SECRET} 0"}
    first = entry(0, f"{SECRET} 0", negative="not 0", image_hash="0", thumbnail=picture, workflow=graph)
    [again] = ledger.add([first])
    assert again == 1, "what is written once stays written"
    assert ledger.thumbnail(1) is not None, "and gets its picture back"


def test_then_the_oldest_rows(tmp_path: Path) -> None:
    limit = 2**20
    path = tmp_path / "ledger.sqlite3"
    ledger = filled(path, 300, size=0, max_bytes=limit)
    one, two = ledger.add([entry(1.0, "kept by its pick"), entry(2.0, "kept by its pick")])
    ledger.add_pick(Pick((one, two), one))
    ledger.add(entry(number, f"{number} {'long ' * 800}") for number in range(400))
    rows = ledger.rows(Query(limit=1000)).rows
    assert [row.id for row in rows] == list(range(702, 702 - len(rows), -1)), "the newest ones stay"
    assert 100 < len(rows) < 400
    assert ledger.summary().picks == 1
    assert ledger.agreement().n == 1
    ledger.close()
    assert path.stat().st_size <= limit
    assert is_sound(path)


def test_trimming_leaves_nine_tenths(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    filled(path, 300).close()
    used = path.stat().st_size
    for limit in (used * 9 // 10, used // 3):
        with Ledger(path) as ledger:
            ledger._use(lambda c, limit=limit: trimming.trim(c, limit), begin="BEGIN IMMEDIATE")
            ledger._use(lambda c: trimming.give_back(c, checkpoint=False), begin="")
            assert ledger.rows().total == 300
        assert 0.8 * limit < path.stat().st_size <= 0.9 * limit + 4096


@pytest.mark.parametrize("size", [4000, 0])
def test_a_limit_below_what_is_there_is_kept_at_once(tmp_path: Path, size: int) -> None:
    path = tmp_path / "ledger.sqlite3"
    filled(path, 400 if size else 3000, size=size).close()
    assert path.stat().st_size > 1.2 * 2**20
    with Ledger(path, max_bytes=2**20) as ledger:
        assert ledger.add([entry(-1.0)]) > [0]
    assert path.stat().st_size <= 2**20
