"""Several threads, several processes, and processes that fork."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from core._ledger import aside, entry, is_sound, sql

from hpskit.ledger import Ledger, Query

ROOT = Path(__file__).resolve().parents[2]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

WRITER = """
import json, sys
from hpskit.ledger import Entry, Ledger
path, name, count = sys.argv[1:]
ledger = Ledger(path)
entries = [Entry(f"prompt {number % 9}", "s", "1", "p", "f", score, thumbnail=b"x" * 900, workflow={"n": number % 50})
           for number in range(int(count)) for score in (number + (0.25 if name == "a" else 0.75), number)]
sys.stdin.readline()
ids = ledger.add(entries)
print(json.dumps(ids))
"""


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path, count = tmp_path / "ledger.sqlite3", 300
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name, str(count)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in "ab"
    ]  # fmt: skip
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0] for process in running]
    one, two = (json.loads(line) for line in said)
    assert [process.returncode for process in running] == [0, 0]
    assert len(one) == len(two) == 2 * count
    assert one[1::2] == two[1::2], "what both wrote is there once"
    assert not set(one[::2]) & set(two[::2])
    scores = [score for (score,) in sql(path, "SELECT score FROM entries ORDER BY score")]
    assert scores == sorted([number + part for number in range(count) for part in (0, 0.25, 0.75)])
    for table, expected in {"prompts": 9, "workflows": 50, "scorers": 1, "thumbnails": 1}.items():
        assert sql(path, f"SELECT count(*) FROM {table}") == [(expected,)]
    assert sql(path, "SELECT max(id) - min(id) + 1 - count(*) FROM entries") == [(0,)]
    assert is_sound(path)
    assert not aside(tmp_path)


def test_many_threads_share_a_ledger(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite3") as ledger, ThreadPoolExecutor(8) as pool:

        def work(thread: int) -> list[int]:
            ids = []
            for number in range(30):
                ids += ledger.add([entry(thread * 100 + number, thumbnail=bytes([thread, number])), entry(-1.0)])
                assert ledger.thumbnail(ids[-2]) == bytes([thread, number])
                assert ledger.rows(Query(sort="standing", limit=5)).total >= number
                if number % 10 == 0:
                    ledger.close()
            return ids

        found = [id for ids in pool.map(work, range(8)) for id in ids]
        assert len(set(found)) == 8 * 30 + 1 == ledger.summary().rows


def test_damage_is_set_aside_once_by_all_that_see_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"rubbish" * 1000)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name, "40"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in "abab"
    ]  # fmt: skip
    said = [process.communicate("go\n", timeout=120) for process in running]
    assert [process.returncode for process in running] == [0] * 4, said
    assert len(aside(tmp_path)) == 1
    assert sql(path, "SELECT count(*) FROM entries") == [(120,)]
    assert is_sound(path)


@forks
def test_a_process_may_fork_while_its_ledger_is_open(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    ledger = Ledger(path)
    ledger.add([entry(0.5)])
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            ledger.add([entry(1000.0 + (number := number + 1))])

    busy = threading.Thread(target=write)
    busy.start()
    children = []
    for child in range(10):
        if (pid := os.fork()) == 0:  # another thread may be in the middle of a write
            good = ledger._connection is None and ledger.row(1) is not None and ledger.add([entry(-1.0 - child)]) > [1]
            ledger.close()
            os._exit(0 if good else 1)
        children.append(pid)
    codes = [os.waitpid(pid, 0)[1] for pid in children]
    stop.set()
    busy.join()
    assert codes == [0] * 10
    assert ledger.rows(Query(sort="score", descending=False, limit=10)).rows[-1].score == -1.0
    scores = [score for (score,) in sql(path, "SELECT score FROM entries WHERE score > 999 ORDER BY score")]
    assert scores == [1001.0 + number for number in range(len(scores))]
    assert is_sound(path)


def test_reading_while_another_purges(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with Ledger(path) as one, Ledger(path) as two:
        one.add([entry(float(number)) for number in range(50)])
        assert two.rows().total == 50
        assert one.purge() == 50
        assert two.rows().total == 0
        assert two.add([entry(1.0)]) == [51]
        assert one.row(51) is not None
