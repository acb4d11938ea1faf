"""A process killed with SIGKILL in mid-write, and in the middle of opening, migrating, purging and setting aside.

HPS_KILLS raises the number of kills of each test (default 30; 1000 is the thorough form).
"""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import sqlite3
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from core._ledger import aside, entry, is_sound, sql

from hpskit.ledger import Ledger, schema

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
KILLS = int(os.environ.get("HPS_KILLS", "30"))


@contextmanager
def victim(work: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    """Fork a process that runs `work` with the writing end of a pipe; yield its id and the reading end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work(writing)
        finally:
            os._exit(0)
    os.close(writing)
    try:
        yield pid, reading
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)


def tell(figures: str) -> None:
    sys.stdout.write(f"\n{figures}\n")  # to be seen with pytest -s


def drain(reading: int) -> bytes:
    data = b""
    while part := os.read(reading, 65536):
        data += part
    return data


def killed(pid: int, reading: int, delay: float) -> bytes:
    """Wait for the first byte and then `delay` seconds, kill the process and return all that it had said."""
    select.select([reading], [], [], 30)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    return drain(reading)


def writer(path: Path, kill: int) -> Callable[[int], None]:
    def write(pipe: int) -> None:
        rng = random.Random(kill)
        with Ledger(path) as ledger:
            for number in range(100_000):
                more = {"thumbnail": rng.randbytes(3000), "workflow": {"id": rng.random()}}
                more["image_hash"] = f"{kill:x}-{number:x}"
                if ledger.add([entry(number, f"prompt {kill} {number % 5}", run=str(kill), **more)]) != [0]:
                    os.write(pipe, struct.pack("<I", number))

    return write


def test_killed_while_writing_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(5)
    acknowledged = found = in_flight = 0
    for kill in range(KILLS):
        if kill % 25 == 0:  # small files: every kill is followed by a full check
            path = tmp_path / str(kill) / "ledger.sqlite3"
        with victim(writer(path, kill)) as (pid, reading):
            said = killed(pid, reading, rng.uniform(0, 0.03))
        numbers = [number for (number,) in struct.iter_unpack("<I", said[: len(said) // 4 * 4])]
        rows = [int(score) for (score,) in sql(path, "SELECT score FROM entries WHERE run = ? ORDER BY id", str(kill))]
        assert numbers == list(range(len(numbers)))
        assert rows in (numbers, [*numbers, len(numbers)]), "at most the row in flight is there or not"
        assert is_sound(path)
        acknowledged, found, in_flight = acknowledged + len(numbers), found + len(rows), in_flight + (rows != numbers)
    tell(f"{KILLS} kills: {acknowledged} rows acknowledged, {found} found, {in_flight} of them in flight")
    assert acknowledged > KILLS
    assert not aside(path.parent)


# --- opening, migrating, purging, trimming, setting aside -------------------------------------------------------------

LATER = (
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)",
    "INSERT INTO notes (text) SELECT 'row ' || id FROM entries",
    "ALTER TABLE entries ADD COLUMN later TEXT",
)
ROWS = 60
SHIPPED = len(schema.STEPS)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "ledger.sqlite3"
    ticks = iter(range(10_000))
    with Ledger(path, clock=lambda: float(next(ticks))) as ledger:
        for number in range(ROWS):
            ledger.add([entry(number, f"prompt {number}", thumbnail=random.Random(number).randbytes(20_000))])
    return path


def opens(path: Path) -> None:
    Ledger(path).summary()


def purges(path: Path) -> None:
    Ledger(path).purge(before=ROWS / 2)


def trims(path: Path) -> None:
    Ledger(path, max_bytes=2**20).add([entry(-1.0, "the last straw")])


def check_opened(path: Path, original: bytes) -> None:
    with Ledger(path) as ledger:
        assert ledger.add([entry()]) == [1]


def check_migrated(path: Path, original: bytes) -> None:
    version = sql(path, "PRAGMA user_version")[0][0]
    notes = sql(path, "SELECT count(*) FROM sqlite_master WHERE name = 'notes'")[0][0]
    assert (version, notes) in ((SHIPPED, 0), (SHIPPED + 1, 1)), "a migration happens whole or not at all"
    opens(path)
    assert sql(path, "SELECT count(*) FROM notes JOIN entries USING (id)") == [(ROWS,)]


def check_purged(path: Path, original: bytes) -> None:
    (rows, thumbnails, prompts), *_ = sql(
        path,
        "SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM thumbnails), (SELECT count(*) FROM prompts)",
    )
    assert rows == thumbnails == prompts
    assert rows in (ROWS, ROWS // 2)


def check_trimmed(path: Path, original: bytes) -> None:
    (rows, thumbnails), *_ = sql(path, "SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM thumbnails)")
    assert rows in (ROWS, ROWS + 1)
    assert thumbnails == ROWS or (rows == ROWS + 1 and thumbnails < ROWS)


def check_aside(path: Path, original: bytes) -> None:
    opens(path)
    assert [file.read_bytes() for file in aside(path.parent)] == [original]


CASES: dict[str, tuple[Callable[[Path], None], Callable[[Path, bytes], None]]] = {
    "create": (opens, check_opened),
    "migrate": (opens, check_migrated),
    "purge": (purges, check_purged),
    "trim": (trims, check_trimmed),
    "aside": (opens, check_aside),
}


def prepare(case: str, folder: Path, template: Path) -> Path:
    folder.mkdir()
    path = folder / "ledger.sqlite3"
    if case == "aside":
        path.write_bytes(b"this is no database" * 1000)
    elif case != "create":
        shutil.copyfile(template, path)
    return path


def worker(work: Callable[[Path], None], path: Path) -> Callable[[int], None]:
    def run(pipe: int) -> None:
        os.write(pipe, b"s")
        work(path)
        os.write(pipe, b"d")
        time.sleep(30)

    return run


def duration(case: str, folder: Path, template: Path) -> float:
    path = prepare(case, folder, template)
    with victim(worker(CASES[case][0], path)) as (_, reading):
        assert os.read(reading, 1) == b"s"
        started = time.perf_counter()
        assert os.read(reading, 1) == b"d"
        return time.perf_counter() - started


def test_killed_while_opening_migrating_purging_trimming_or_setting_aside(
    tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", "hps")
    steps = {"migrate": (*schema.STEPS, LATER)}
    shipped = schema.STEPS
    times = {}
    for case in CASES:
        monkeypatch.setattr(schema, "STEPS", steps.get(case, shipped))
        times[case] = min(duration(case, tmp_path / f"{case}{run}", template) for run in range(3))
    rng, interrupted = random.Random(6), Counter[str]()
    for kill in range(KILLS):
        case = list(CASES)[kill % len(CASES)]
        work, check = CASES[case]
        monkeypatch.setattr(schema, "STEPS", steps.get(case, shipped))
        path = prepare(case, tmp_path / str(kill), template)
        original = path.read_bytes() if path.exists() else b""
        with victim(worker(work, path)) as (pid, reading):
            said = killed(pid, reading, rng.uniform(0, times[case] * 1.2))
        interrupted[case] += b"d" not in said
        if case != "aside":
            assert not path.exists() or is_sound(path)
        if case == "create" or path.exists() or aside(path.parent):
            check(path, original)
        assert is_sound(path)
        shutil.rmtree(path.parent)
    tell(f"{KILLS} kills; in the middle of: {dict(interrupted)}")
    assert sum(interrupted.values()) >= KILLS / 4


def test_the_tables_are_those_of_plain_sqlite(template: Path) -> None:
    assert {name for (name,) in sql(template, "SELECT name FROM sqlite_master WHERE type = 'table'")} >= {
        *schema.TABLES
    }
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sql(template, "UPDATE entries SET score = 1")
