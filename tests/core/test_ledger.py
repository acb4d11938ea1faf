from __future__ import annotations

import json
import math
import secrets
import sqlite3
import string
from pathlib import Path
from typing import Any

import pytest
from core._ledger import SCORER, entry, sql
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpskit import stats
from hpskit.errors import HpsError, LedgerError, LedgerFull, OutputError
from hpskit.ledger import Entry, Ledger, Query, default_path
from hpskit.ledger.entry import MAX_PROMPT, MAX_THUMBNAIL

quiet = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

characters = st.characters() | st.sampled_from("\0\ud800\udfff\n'\"%_\\😀é")  # lone surrogates too
text = st.text(characters, max_size=40)
finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e99, max_value=1e99)
integer = st.integers(-(2**63), 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(text, json_values, max_size=3)
entries = st.builds(
    Entry,
    *[text] * 5,
    finite,
    checkpoint=text,
    parts=st.dictionaries(text, finite, max_size=3),
    negative=text,
    model=text,
    loras=st.lists(st.tuples(text, finite), max_size=3).map(tuple),
    sampler=text,
    scheduler=text,
    steps=st.none() | integer,
    cfg=st.none() | finite,
    denoise=st.none() | finite,
    width=integer,
    height=integer,
    seed=st.none() | st.integers(-(2**63), 2**64 - 1),
    image_hash=st.text(string.hexdigits, max_size=64),
    thumbnail=st.none() | st.binary(min_size=1, max_size=200),
    file=text,
    workflow=st.none() | mappings.filter(bool),
    workflow_kind=st.sampled_from(["workflow", "prompt"]),
    source=text,
    run=text,
    extra=mappings,
)

micros = st.integers(-(10**12), 10**12).map(lambda n: n / 1e6)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "new" / "folder" / "ledger.sqlite3")


@quiet
@given(entries)
def test_an_entry_comes_back_as_it_was_written(ledger: Ledger, one: Entry) -> None:
    one = Entry(**{**vars(one), "image_hash": one.image_hash and secrets.token_hex(16)})  # else it may be known
    [id] = ledger.add([one])
    row = ledger.row(id)
    assert row is not None
    names = set(Entry.__dataclass_fields__) - {"thumbnail", "workflow", "workflow_kind", "run"}
    assert {name: getattr(row, name) for name in names} == {name: getattr(one, name) for name in names}
    assert ledger.thumbnail(id) == one.thumbnail
    assert ledger.workflow(id) == (None if one.workflow is None else (one.workflow_kind, one.workflow))
    assert (row.has_thumbnail, row.has_workflow) == (one.thumbnail is not None, one.workflow is not None)
    assert row.prompt in [facet.value for facet in ledger.facets(10_000).prompts]
    json.dumps(row.as_json(), allow_nan=False)


@quiet
@given(entries, text)
def test_an_entry_is_written_once(ledger: Ledger, one: Entry, other_run: str) -> None:
    again = Entry(**{**vars(one), "run": other_run})
    different = Entry(**{**vars(one), "image_hash": secrets.token_hex(16)})
    [first, same, new] = ledger.add([one, again, different])
    assert first == same != new
    assert ledger.add([again]) == [first]


def test_the_same_pixels_count_once_whatever_else_has_changed(ledger: Ledger) -> None:
    made = {"image_hash": "aa", "seed": 5, "sampler": "euler", "file": "a.png", "thumbnail": b"1"}
    [first] = ledger.add([entry(27.0, **made)])
    later = {"thumbnail": b"2", "workflow": {"nodes": [1]}, "extra": {"moment": 2}}
    assert ledger.add([entry(27.00001, **{**made, **later})]) == [first], "the last bits change with the batch"
    assert ledger.thumbnail(first) == b"1"
    for change in (
        {"seed": 6},
        {"sampler": "heun"},
        {"steps": 9},
        {"prompt": "other"},
        {"dtype": "f16"},
        {"model": "m"},
    ):
        assert ledger.add([entry(27.0, **{**made, **change})])[0] > first, change
    assert sql(ledger.path, "SELECT count(*) FROM thumbnails") == [(1,)], "a thumbnail that nobody shows"


def test_an_image_without_a_seed_is_not_written_beside_the_one_that_has_it(ledger: Ledger) -> None:
    [known] = ledger.add([entry(27.0, image_hash="aa", seed=5, sampler="euler")])
    assert ledger.add([entry(27.0, image_hash="aa")]) == [known]
    assert ledger.add([entry(27.0, image_hash="aa", prompt="other")])[0] > known
    assert ledger.add([entry(27.0), entry(27.0)]) == [3, 3]
    assert ledger.add([entry(28.0)]) == [4], "without pixels the score tells images apart"


def test_a_file_that_has_moved_is_found_where_it_is_now(ledger: Ledger) -> None:
    ids = [ledger.add([entry(27.0, image_hash="aa", file=place)])[0] for place in ("a.png", "b.png", "b.png", "a.png")]
    assert len(set(ids)) == 1
    assert ledger.row(ids[0]).file == "a.png"  # type: ignore[union-attr]
    assert sql(ledger.path, "SELECT file FROM saved ORDER BY id") == [("b.png",), ("a.png",)]


def test_the_fingerprint_tells_scorers_apart(ledger: Ledger) -> None:
    variants = [{}, {"scorer": "x"}, {"scorer_version": "2"}, {"preprocess": "crop"}, {"dtype": "f16"}]
    ids = ledger.add([entry(1.0, **more) for more in [*variants, {"checkpoint": "c"}]])
    rows = [ledger.row(id) for id in ids]
    assert len({row.fingerprint for row in rows if row}) == 6
    assert [row.group_n for row in rows if row] == [1] * 6


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, 1e101, 10**400, None, "27", True])
def test_scores_that_are_none_are_refused(ledger: Ledger, score: Any) -> None:
    assert ledger.add([entry(1.0), entry(score), entry(2.0)]) == [1, 0, 2]
    assert ledger.refused == 1


def test_what_cannot_be_kept_is_left_out_and_the_entry_written(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    strange = {
        "cfg": math.nan,
        "denoise": math.inf,
        "steps": 2**63,
        "width": -(2**63) - 1,
        "seed": 2**64,
        "parts": {"a": math.nan, "b": 1.0},
        "thumbnail": b"x" * (MAX_THUMBNAIL + 1),
        "workflow": deep,
        "extra": {"long": "x" * 100_000},
        "model": "m" * 10_000,
        "sampler": None,
    }
    [id] = ledger.add([entry(**strange)])
    row = ledger.row(id)
    assert row is not None
    assert (row.cfg, row.denoise, row.steps, row.width, row.seed) == (None, None, None, 0, None)
    assert (row.parts, row.extra, row.has_thumbnail, row.has_workflow) == ({"b": 1.0}, {}, False, False)
    assert (len(row.model), row.sampler) == (4096, "")
    assert [word for word in ("thumbnail", "workflow", "extra") if word not in caplog.text] == []


def test_numbers_that_are_not_finite_become_null_in_json(ledger: Ledger) -> None:
    wild = {"a": [math.nan, {"b": -math.inf}, 1.5], "c": {1: (1, 2)}, "d": Path("x")}
    [id] = ledger.add([entry(extra=wild, workflow=wild, workflow_kind="prompt")])
    want = {"a": [None, {"b": None}, 1.5], "c": {"1": [1, 2]}, "d": "x"}
    assert ledger.row(id).extra == want  # type: ignore[union-attr]
    assert ledger.workflow(id) == ("prompt", want)


def test_long_prompts(ledger: Ledger) -> None:
    megabyte = "😀\0" * 2**19
    assert ledger.add([entry(prompt=megabyte), entry(prompt=f"{megabyte}.", negative=megabyte)]) == [1, 2]
    row, other = ledger.row(1), ledger.row(2)
    assert row is not None and other is not None
    assert row.prompt == other.prompt == other.negative == megabyte[:MAX_PROMPT]
    assert row.prompt_id != other.prompt_id, "two prompts with one beginning stay two"
    assert other.as_json()["prompt"] == other.as_json()["negative"] == f"{megabyte[:2000]}..."
    assert row.as_json(longest=None)["prompt"] == row.prompt
    assert {facet.value for facet in ledger.facets().prompts} == {f"{megabyte[:2000]}..."}
    assert {facet.value for facet in ledger.facets(longest=None).prompts} == {row.prompt}
    assert ledger.rows(Query(search="\0😀\0😀")).total == 2
    assert [ledger.rows(Query(prompt=text)).rows[0].id for text in (megabyte, f"{megabyte}.", row.prompt)] == [1, 2, 2]


def test_prompts_workflows_and_thumbnails_are_stored_once(ledger: Ledger) -> None:
    graph = {"nodes": list(range(1000))}
    same = {"thumbnail": b"picture", "workflow": graph, "workflow_kind": "workflow", "negative": "blurry"}
    ledger.add([entry(float(number), **same) for number in range(20)])
    for table, count in {"prompts": 2, "workflows": 1, "thumbnails": 1, "scorers": 1, "entries": 20}.items():
        assert sql(ledger.path, f"SELECT count(*) FROM {table}") == [(count,)]
    assert sql(ledger.path, "SELECT length(graph) FROM workflows")[0][0] < len(json.dumps(graph)) / 2


@quiet
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), micros), min_size=1, max_size=25))
def test_standing_is_the_place_in_the_group(tmp_path: Path, drawn: list[tuple[int, int, float]]) -> None:
    with Ledger(tmp_path / f"{hash(tuple(drawn))}.sqlite3") as ledger:
        for number, (prompt, scorer, score) in enumerate(drawn):
            ledger.add([entry(score, f"p{prompt}", scorer=f"s{scorer}", seed=number)])
        groups: dict[tuple[str, str], list[float]] = {}
        for prompt, scorer, score in drawn:
            groups.setdefault((f"p{prompt}", f"s{scorer}"), []).append(score)
        for row in ledger.rows(Query(scorer="s0", limit=2)).rows:  # the group counts, not what a filter leaves of it
            scores = groups[row.prompt, row.scorer]
            sd = stats.standard_deviation(scores)
            assert (row.group_n, row.group_mean) == (len(scores), pytest.approx(stats.mean(scores), abs=1e-9))
            assert row.group_sd == pytest.approx(sd, rel=1e-6, abs=1e-9)
            want = (row.score - stats.mean(scores)) / sd if sd else None
            assert row.standing == (want if want is None else pytest.approx(want, rel=1e-4, abs=1e-6))


def test_a_saved_file_is_found_by_its_image(ledger: Ledger) -> None:
    now = [100.0]
    ledger._clock = lambda: now[0]
    ledger.saved("aa", "before.png")
    now[0] = 200.0
    ledger.add([entry(1.0, image_hash="aa"), entry(2.0, image_hash="bb", file="own.png"), entry(3.0)])
    assert [row.file for row in ledger.rows(Query(sort="score", descending=False)).rows] == [
        "before.png",
        "own.png",
        "",
    ]
    for name in ("first.png", "second.png", "second.png"):
        ledger.saved("aa", name)
        ledger.saved("bb", f"of-bb-{name}")
        ledger.saved("", name)
    assert [row.file for row in ledger.rows(Query(sort="score")).rows] == ["", "of-bb-second.png", "second.png"]
    assert sql(ledger.path, "SELECT count(*) FROM saved") == [(5,)]


def test_rows_that_are_not_there(ledger: Ledger) -> None:
    for id in (0, -1, 5, 2**63, -(2**70)):
        assert ledger.row(id) is ledger.thumbnail(id) is ledger.workflow(id) is None


def test_rows_are_never_updated(ledger: Ledger) -> None:
    ledger.add([entry(thumbnail=b"x", workflow={"a": 1}, image_hash="aa"), entry(2.0, thumbnail=b"y")])
    ledger.saved("aa", "x.png")
    for table in ("prompts", "scorers", "workflows", "thumbnails", "entries", "saved"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            sql(ledger.path, f"UPDATE {table} SET id = id")
    ledger.remember([("0" * 64, 1)])
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sql(ledger.path, "UPDATE cells SET entry = 2")


def test_the_summary(ledger: Ledger) -> None:
    times = iter((10.0, 30.0, 20.0))
    ledger._clock = lambda: next(times)
    assert (ledger.summary().rows, ledger.summary().oldest, ledger.summary().newest) == (0, None, None)
    ledger.add([entry(1.0), entry(2.0), entry(1.0, "other")])
    summary = ledger.summary()
    assert (summary.rows, summary.prompts, summary.picks, summary.oldest, summary.newest) == (3, 2, 0, 10.0, 30.0)
    assert summary.bytes >= ledger.path.stat().st_size > 0
    assert summary.max_bytes == 256 * 2**20


def test_nothing_is_made_before_it_is_needed(ledger: Ledger) -> None:
    assert not ledger.path.parent.exists()
    ledger.close()
    ledger.summary()
    assert ledger.path.exists()
    ledger.close()
    assert [file.name for file in ledger.path.parent.iterdir()] == ["ledger.sqlite3"], "no log is left behind"
    assert ledger.add([entry()]) == [1], "a closed ledger opens again"


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HPS_LEDGER", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_path() == tmp_path / "hps" / "ledger.sqlite3"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path() == tmp_path / ".local" / "share" / "hps" / "ledger.sqlite3"
    monkeypatch.setenv("HPS_LEDGER", "~/mine.db")
    assert default_path() == tmp_path / "mine.db"


def test_the_names_of_the_library() -> None:
    import hpskit

    assert hpskit.Ledger is Ledger
    assert hpskit.Entry(**SCORER, prompt="", score=1.0).source == "comfyui"
    assert issubclass(LedgerFull, (OutputError, LedgerError)) and issubclass(LedgerFull, HpsError)


@pytest.mark.parametrize(
    "wrong",
    [{"sort": "x; DROP TABLE entries"}, {"limit": 0}, {"limit": 1001}, {"offset": -1}, {"offset": 2**63}],
)
def test_queries_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(LedgerError):
        Query(**wrong)
    with pytest.raises(LedgerError):
        Ledger("x", max_bytes=1000)
