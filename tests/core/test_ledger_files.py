"""What lies at the path: other people's files, damaged ones, newer and older ledgers, read-only folders, full disks."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from core._ledger import aside, entry, is_sound, sql

from hpskit.errors import LedgerError, LedgerFull
from hpskit.ledger import Ledger, Pick, Query, opening, schema

DAMAGES = int(os.environ.get("HPS_DAMAGES", "60"))
"""Places at which a ledger is damaged; 1500 take minutes."""
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files")


@contextmanager
def pair_may_be_gone() -> Iterator[None]:
    """Let pass that the rows shown were in a file that was set aside when the pick was to be written."""
    try:
        yield
    except LedgerError as error:
        assert "any more" in str(error)


def use(path: Path) -> None:
    """Do a bit of everything, as hosts do."""
    with Ledger(path) as ledger:
        for sort in ("time", "standing", "seed"):
            ledger.rows(Query(sort=sort, search="p", limit=1000))
        ledger.facets()
        ledger.compare("sampler")
        ledger.best_seeds()
        ledger.summary()
        ledger.agreement()
        for id in range(1, 60):
            ledger.workflow(id)
            ledger.thumbnail(id)
        if pair := ledger.next_pair():
            with pair_may_be_gone():
                ledger.add_pick(Pick((pair[0].id, pair[1].id), pair[0].id))
        ledger.saved("abc", "x.png")
        ledger.add([entry(random.random(), "written now", thumbnail=b"now")])
        ledger.purge(before=0.0)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "ledger.sqlite3"
    rng = random.Random(0)
    with Ledger(path) as ledger:
        for number in range(50):
            ledger.add(
                [
                    entry(
                        rng.gauss(27, 1),
                        f"prompt {number % 7} {'ä' * (number % 7 * 140)}",
                        seed=rng.randrange(2**64),
                        image_hash=f"{number:x}",
                        sampler=rng.choice(("euler", "ddim")),
                        loras=(("l", 1.0),),
                        parts={"a": 1.0},
                        extra={"k": "v"},
                        thumbnail=rng.randbytes(500),
                        workflow={"n": [number] * 100},
                    )
                ]
            )
        for _ in range(5):
            one, two = ledger.next_pair(rng=rng)  # type: ignore[misc]
            ledger.add_pick(Pick((one.id, two.id), one.id))
    return path


# --- damage -----------------------------------------------------------------------------------------------------------


def damage(data: bytes, rng: random.Random) -> bytes:
    kind = rng.choice(("flip", "flip", "burst", "cut", "zeros", "header", "end"))
    at = rng.randrange(len(data))
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if kind == "burst":
        return data[:at] + rng.randbytes(64) + data[at + 64 :]
    if kind == "cut":
        return data[:at]
    if kind == "zeros":
        page = at // 4096 * 4096
        return data[:page] + bytes(4096) + data[page + 4096 :]
    if kind == "header":
        at = rng.randrange(200)
        return data[:at] + rng.randbytes(1) + data[at + 1 :]
    return data + rng.randbytes(rng.randrange(1, 9000))


def survive(folder: Path, data: bytes) -> str:
    """Use a ledger made of `data`; return how it ended: "works", "aside" or "refused"."""
    folder.mkdir()
    path = folder / "ledger.sqlite3"
    path.write_bytes(data)
    try:
        use(path)
    except LedgerError as error:
        assert "is damaged" not in str(error) and "cannot be used (" not in str(error), error
        assert path.read_bytes() == data, "what is refused is not touched"
        return "refused"
    kept = aside(folder)
    assert len(kept) <= 1
    if kept:
        assert is_sound(path)
        assert sql(path, "SELECT text FROM prompts") == [("written now",)] or not sql(path, "SELECT 1 FROM entries")
    use(path)
    return "aside" if kept else "works"


def run_damage(tmp_path: Path, sound: Path, seeds: range) -> dict[str, int]:
    data, ends = sound.read_bytes(), {"works": 0, "aside": 0, "refused": 0}
    for seed in seeds:
        folder = tmp_path / str(seed)
        try:
            ends[survive(folder, damage(data, random.Random(seed)))] += 1
        except Exception as error:
            raise AssertionError(f"damage {seed}") from error
        shutil.rmtree(folder)
    return ends


def test_a_damaged_file_never_stops_anybody(tmp_path: Path, sound: Path) -> None:
    ends = run_damage(tmp_path, sound, range(DAMAGES))
    assert min(ends["aside"], ends["works"]) > 5


@pytest.mark.parametrize("content", [b"x", b"this is no database" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_set_aside(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(content)
    with Ledger(path) as ledger:
        assert ledger.rows().total == 0
        assert ledger.add([entry()]) == [1]
    [kept] = aside(tmp_path)
    assert kept.read_bytes() == content
    assert kept.name.startswith("ledger.corrupt-2") and kept.suffix == ".sqlite3"
    assert len(caplog.records) == 1
    assert kept.name in caplog.text


def test_a_wrong_argument_is_no_damage(tmp_path: Path, sound: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    shutil.copyfile(sound, path)
    with Ledger(path) as ledger:
        with pytest.raises(TypeError):
            ledger.best_seeds(prompt=5)  # type: ignore[arg-type]
        assert ledger.summary().rows == 50
    assert not aside(tmp_path)


def test_an_empty_file_is_a_new_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.touch()
    use(path)
    assert not aside(tmp_path)


def test_damage_seen_by_a_later_query(tmp_path: Path, sound: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "ledger.sqlite3"
    shutil.copyfile(sound, path)
    ledger = Ledger(path)
    assert ledger.summary().rows == 50
    data = path.read_bytes()
    with path.open("r+b") as stream:  # under the open connection
        for page in range(2, len(data) // 4096):
            stream.seek(page * 4096)
            stream.write(b"\xa5" * 4096)
    spoiled = path.read_bytes()
    ledger._connection.execute("PRAGMA shrink_memory")  # type: ignore[union-attr]
    assert ledger.rows(Query(sort="standing")).total == 0
    assert ledger.add([entry()]) == [1]
    assert ledger.row(1) is not None
    assert [file.read_bytes() for file in aside(tmp_path)] == [spoiled]
    assert caplog.text.count("is begun") == 1


def test_names_of_what_was_set_aside_do_not_collide(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    for number in range(5):
        path.write_bytes(b"rubbish %d" % number * 100)
        Ledger(path).summary()
    assert len(aside(tmp_path)) == 5


def test_the_log_of_a_damaged_file_is_kept_with_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").write_bytes(b"rubbish" * 1000 + suffix.encode())
    Ledger(path).summary()
    kept = {file.name.partition(".sqlite3")[2]: file.read_bytes() for file in tmp_path.glob("*.corrupt-*")}
    assert kept[""].startswith(b"rubbish") and kept["-wal"] == b"rubbish" * 1000 + b"-wal"


def test_a_file_that_another_process_has_replaced_is_left_alone(tmp_path: Path, sound: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"rubbish")
    opened = opening.identity(path)
    path.rename(tmp_path / "moved")
    shutil.copyfile(sound, path)
    opening.set_aside(path, opened, ValueError("late"))
    assert not aside(tmp_path)
    assert Ledger(path).summary().rows == 50


def test_a_mark_that_a_killed_process_left_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"rubbish")
    opening._mark(path).mkdir()
    os.utime(opening._mark(path), (0, 0))
    Ledger(path).summary()
    assert len(aside(tmp_path)) == 1
    assert not opening._mark(path).exists()


@posix
def test_a_deleted_ledger_begins_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    ledger.add([entry(1.0), entry(2.0)])
    for file in tmp_path.iterdir():
        file.unlink()
    assert ledger.add([entry(3.0)]) == [1]
    shutil.rmtree(tmp_path)
    assert ledger.rows().total == 0
    assert ledger.add([entry(3.0)]) == [1]
    assert sql(ledger.path, "SELECT score FROM entries") == [(3.0,)]


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_newer_ledger_is_not_touched(tmp_path: Path, sound: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    shutil.copyfile(sound, path)
    sql(path, "PRAGMA user_version = 7")
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"newer version.*format 7.*update"):
            Ledger(path).add([entry()])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.sqlite3"]


def test_the_database_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "places.sqlite"
    sql(path, "CREATE TABLE entries (id INTEGER)")
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="another program"):
        Ledger(path).summary()
    assert path.read_bytes() == before


LATER = ("ALTER TABLE entries ADD COLUMN mood TEXT", "CREATE TABLE moods (id INTEGER PRIMARY KEY)")


def test_an_older_ledger_is_brought_up_to_date(tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite3"
    shutil.copyfile(sound, path)
    rows, shipped = Ledger(path).rows(Query(limit=1000)), len(schema.STEPS)
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, LATER, ("CREATE TABLE more (id INTEGER)",)))
    with Ledger(path) as ledger:
        assert ledger.rows(Query(limit=1000)) == rows
        assert ledger.add([entry(3.0)]) == [51]
    assert sql(path, "PRAGMA user_version") == [(shipped + 2,)]
    assert sql(path, "SELECT count(*) FROM entries WHERE mood IS NULL") == [(51,)]
    assert is_sound(path)


def test_a_migration_that_fails_leaves_the_old_ledger(
    tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite3"
    shutil.copyfile(sound, path)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", (*schema.STEPS, LATER, ("CREATE TABLE entries (id INTEGER)",)))
        with pytest.raises(LedgerError):
            Ledger(path).summary()
    assert sql(path, "PRAGMA user_version") == [(len(schema.STEPS),)]
    assert Ledger(path).summary().rows == 50
    assert not aside(tmp_path)


# --- places -----------------------------------------------------------------------------------------------------------


@posix
def test_only_its_owner_reads_a_ledger(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "ledger.sqlite3"
    with Ledger(path) as ledger:
        ledger.add([entry()])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert set(modes) >= {"ledger.sqlite3", "ledger.sqlite3-wal"}
    assert set(modes.values()) == {0o600}


@posix
def test_a_journal_without_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "VFS", "unix-dotfile")  # as on drives where a write-ahead log cannot be
    path = tmp_path / "ledger.sqlite3"
    use(path)
    with Ledger(path) as ledger:
        assert ledger.add([entry(1.0)]) > [0]
        assert ledger._connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)  # type: ignore[union-attr]
        assert ledger._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # type: ignore[union-attr]
    assert is_sound(path)


@pytest.mark.parametrize("name", ["a folder", "zero\0byte", "file/below"])
def test_paths_where_no_ledger_can_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError):
        Ledger(tmp_path / name).add([entry()])


@posix
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_only_be_read(tmp_path: Path, sound: Path, what: str) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    path = folder / "ledger.sqlite3"
    shutil.copyfile(sound, path)
    path.chmod(0o444 if what == "file" else 0o644)
    folder.chmod(0o555 if what == "folder" else 0o755)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    before = path.read_bytes()
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        if os.geteuid() == 0:
            os.setuid(65534)  # root may write everywhere
        try:
            Ledger(path).add([entry()])
            answer = "written"
        except LedgerError as error:
            answer = str(error)
        except BaseException as error:
            answer = repr(error)
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        answer = stream.read()
    os.waitpid(pid, 0)
    folder.chmod(0o755)
    assert "HPS_LEDGER" in answer, answer
    assert path.read_bytes() == before
    assert not aside(folder)


def test_a_ledger_that_another_program_holds(tmp_path: Path, sound: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    shutil.copyfile(sound, path)
    other = sqlite3.connect(path, isolation_level=None)
    ledger = Ledger(path, busy_seconds=0.1)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match=r"more than 0\.1 seconds"):
        ledger.add([entry(5.0)])
    assert ledger.rows().total == 50, "reading goes on"
    other.execute("COMMIT")
    other.close()
    assert ledger.add([entry(5.0)]) == [51]


# --- full disks -------------------------------------------------------------------------------------------------------


def fill(ledger: Ledger, rng: random.Random) -> int:
    """Write until the disk is full; return how many rows were acknowledged."""
    for number in range(100_000):
        try:
            ledger.add([entry(rng.random(), f"prompt {number}", thumbnail=rng.randbytes(4000))])
        except LedgerFull as error:
            assert "room" in str(error)
            return number
    raise AssertionError("the disk is never full")


def check_full(ledger: Ledger, make_room: Callable[[], None]) -> None:
    written = fill(ledger, random.Random(0))
    assert written > 20
    assert ledger.rows().total == written, "reading goes on"
    with pytest.raises(LedgerFull):
        ledger.add([entry(random.random(), "too much", thumbnail=random.randbytes(50_000))])
    make_room()
    assert ledger.add([entry(5.0, "again")]) > [0]
    assert ledger.rows().total == written + 1
    ledger.close()
    assert is_sound(ledger.path)
    assert not aside(ledger.path.parent)


def test_a_full_database(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    ledger.summary()
    connection = ledger._connection
    assert connection is not None
    connection.execute("PRAGMA max_page_count = 120")
    check_full(ledger, lambda: connection.execute("PRAGMA max_page_count = 100000") and None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "hps-test", str(folder)], capture_output=True
        )
    except OSError:
        mounted = None
    if mounted is None or mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    ledger = Ledger(small_disk / "ledger.sqlite3")
    check_full(ledger, ballast.unlink)


def test_a_disk_that_is_full_from_the_beginning(small_disk: Path) -> None:
    ballast, path = small_disk / "ballast", small_disk / "folder" / "ledger.sqlite3"
    for free in (0, 4096, 20_000, 40_000, 90_000, 150_000):
        ballast.write_bytes(bytes(3 * 2**20 - 4096 * 4 - free))
        ledger = Ledger(path)
        with pytest.raises(LedgerFull):
            for number in range(100):
                ledger.add([entry(number, thumbnail=bytes([number]) * 9000)])
        ballast.unlink()
        assert ledger.add([entry(-5.0 - free)]) > [0]
        ledger.close()
        assert is_sound(path)
        shutil.rmtree(path.parent)
    assert not aside(path.parent)
