"""Filters, orders, facets, best seeds and comparisons against the same worked out in plain Python."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from core._ledger import entry, instructions

from hpskit import stats
from hpskit.errors import DependencyError, LedgerError, OutputError
from hpskit.ledger import SORTS, Entry, Ledger, Query, Row
from hpskit.ledger.export import cell


def varied(rng: random.Random) -> Entry:
    return entry(
        rng.choice((rng.gauss(27, 1), 27.0)),
        rng.choice(("A Red Fox", "a red\0 fox 100%", "Ünter_grün", "\ud800x", "sunset")),
        scorer=rng.choice(("hps-v2.1", "pickscore")),
        scorer_version=rng.choice(("1", "2")),
        model=rng.choice(("", "m1", "m2")),
        sampler=rng.choice(("", "euler", "ddim")),
        scheduler=rng.choice(("normal", "karras")),
        steps=rng.choice((None, 4, 20)),
        cfg=rng.choice((None, 1.0, 7.5)),
        seed=rng.choice((None, -5, 0, 7, 10, 2**53 + 1, 2**53 + 2, 2**64 - 2, 2**64 - 1)),
        source=rng.choice(("comfyui", "cli")),
        extra={"n": rng.random()},
    )


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    ticks = iter(range(10_000))
    ledger = Ledger(tmp_path_factory.mktemp("queries") / "ledger.sqlite3", clock=lambda: float(next(ticks)))
    rng = random.Random(1)
    ledger.add([varied(rng) for _ in range(300)])
    return ledger


@pytest.fixture(scope="module")
def everything(ledger: Ledger) -> tuple[Row, ...]:
    return ledger.rows(Query(limit=1000)).rows


def value_of(row: Row, sort: str) -> Any:
    value = getattr(row, sort)
    return None if value == "" else value


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort", SORTS)
def test_orders(ledger: Ledger, everything: tuple[Row, ...], sort: str, descending: bool) -> None:
    got = ledger.rows(Query(sort=sort, descending=descending, limit=1000)).rows
    values = [value_of(row, sort) for row in got]
    known = [value for value in values if value is not None]
    assert values == [*sorted(known, reverse=descending), *[None] * (len(values) - len(known))]
    assert {row.id for row in got} == {row.id for row in everything}
    pages = [ledger.rows(Query(sort=sort, descending=descending, limit=70, offset=at)) for at in range(0, 350, 70)]
    assert [row for page in pages for row in page.rows] == list(got), "pages neither overlap nor leave out"
    assert {page.total for page in pages} == {len(everything)}


FILTERS: dict[str, tuple[dict[str, Any], Any]] = {
    "prompt": ({"prompt": "\ud800x"}, lambda r: r.prompt == "\ud800x"),
    "prompt id": ({"prompt_id": 2}, lambda r: r.prompt_id == 2),
    "no prompt id": ({"prompt_id": 2**64}, lambda r: False),
    "model": ({"model": "m1"}, lambda r: r.model == "m1"),
    "no model": ({"model": ""}, lambda r: r.model == ""),
    "sampler": ({"sampler": "ddim"}, lambda r: r.sampler == "ddim"),
    "scheduler": ({"scheduler": "karras"}, lambda r: r.scheduler == "karras"),
    "scorer": ({"scorer": "pickscore"}, lambda r: r.scorer == "pickscore"),
    "source": ({"source": "cli"}, lambda r: r.source == "cli"),
    "word": ({"search": "rED"}, lambda r: "red" in r.prompt.lower()),
    "after zero": ({"search": " FOX 1"}, lambda r: "fox 100" in r.prompt),
    "percent": ({"search": "%"}, lambda r: "%" in r.prompt),
    "underscore": ({"search": "_"}, lambda r: "_" in r.prompt),
    "umlaut": ({"search": "GRÜN"}, lambda r: "grün" in r.prompt),
    "surrogate": ({"search": "\ud800X"}, lambda r: "\ud800" in r.prompt),
    "quote": ({"search": "' OR 1 --"}, lambda r: False),
    "since": ({"since": 100.0}, lambda r: r.time >= 100),
    "until": ({"until": 100.0}, lambda r: r.time < 100),
    "no time": ({"since": 10**400}, lambda r: False),
    "several": (
        {"model": "m2", "sampler": "euler", "scorer": "hps-v2.1", "search": "fox", "since": 20.0},
        lambda r: (r.model, r.sampler, r.scorer) == ("m2", "euler", "hps-v2.1") and "ox" in r.prompt and r.time >= 20,
    ),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("sort", ["time", "standing"])
def test_filters(ledger: Ledger, everything: tuple[Row, ...], name: str, sort: str) -> None:
    given, passes = FILTERS[name]
    page = ledger.rows(Query(**given, sort=sort, limit=1000))
    want = [row for row in everything if passes(row)]
    assert sorted(page.rows, key=lambda row: -row.id) == want, "standings stay those of the whole group"
    assert page.total == len(want)
    assert name.startswith(("no ", "quote")) or 0 < len(want) < 300


def test_facets(ledger: Ledger, everything: tuple[Row, ...]) -> None:
    facets = ledger.facets()
    names = {"prompts": "prompt", "models": "model", "samplers": "sampler", "schedulers": "scheduler"}
    for kind, name in {**names, "scorers": "scorer"}.items():
        times: dict[str, list[float]] = defaultdict(list)
        for row in everything:
            times[getattr(row, name)].append(row.time)
        times.pop("", None)
        want = sorted(((value, len(all), max(all)) for value, all in times.items()), key=lambda each: -each[2])
        assert [(facet.value, facet.n, facet.time) for facet in getattr(facets, kind)] == want
    assert all(ledger.rows(Query(prompt_id=facet.id)).total == facet.n for facet in facets.prompts)
    assert len(ledger.facets(2).prompts) == 2


def test_best_seeds(ledger: Ledger, everything: tuple[Row, ...]) -> None:
    for given in ({}, {"prompt": "sunset"}, {"model": "m1"}, {"scorer": "pickscore", "prompt": "A Red Fox"}):
        best = ledger.best_seeds(**given, limit=15)
        best_of: dict[Any, float] = {}
        for row in everything:
            if row.seed is not None and all(getattr(row, name) == value for name, value in given.items()):
                key = (row.prompt, row.model, row.seed)
                best_of[key] = max(best_of.get(key, -9.0), -9.0 if row.standing is None else row.standing)
        assert [row.standing for row in best] == pytest.approx(sorted(best_of.values(), reverse=True)[:15])
        assert len({(row.prompt, row.model, row.seed) for row in best}) == len(best) == min(15, len(best_of))


@pytest.mark.parametrize("by", ["sampler", "scheduler", "steps", "cfg", "model"])
def test_settings_compared(ledger: Ledger, everything: tuple[Row, ...], by: str) -> None:
    rows = [row for row in everything if getattr(row, by) not in (None, "") and row.scorer == "pickscore"]
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.prompt, row.fingerprint].append(row)
    for setting in ledger.compare(by, Query(scorer="pickscore", limit=1)):
        value = type(getattr(rows[0], by))(setting.value)
        mine = [row for row in rows if getattr(row, by) == value]
        mixed = [group for group in groups.values() if len({getattr(row, by) for row in group}) > 1]
        gains = [r.score - stats.mean([o.score for o in g]) for g in mixed for r in g if getattr(r, by) == value]
        wins = pairs = 0
        for group in groups.values():
            for seed in {row.seed for row in group} - {None}:
                cell: dict[Any, list[float]] = defaultdict(list)
                for row in group:
                    if row.seed == seed:
                        cell[getattr(row, by)].append(row.score)
                means = {other: stats.mean(scores) for other, scores in cell.items()}
                others = [mean for other, mean in means.items() if other != value and value in means]
                wins += sum(means[value] > other for other in others)
                pairs += sum(means[value] != other for other in others)
        assert (setting.n, setting.wins, setting.pairs) == (len(mine), wins, pairs)
        assert setting.gain == pytest.approx(stats.mean(gains))
        assert setting.sd == pytest.approx(stats.standard_deviation(gains))
        assert setting.mean is None, "two versions of a scorer have no common mean"
        assert setting.groups == sum(any(getattr(row, by) == value for row in group) for group in mixed)


def test_a_setting_that_gains(tmp_path: Path) -> None:
    with Ledger(tmp_path / "x") as ledger:
        for prompt in range(10):  # the harder the prompt, the more the good sampler was used: means mislead
            for seed in range(5):
                more = {"prompt": f"p{prompt}", "seed": seed}
                ledger.add([entry(20.0 - prompt + seed / 10, sampler="bad", **more)])
                if prompt > 4:
                    ledger.add([entry(21.0 - prompt + seed / 10, sampler="good", **more)])
        good, bad = ledger.compare("sampler")
        assert (good.value, good.n, good.groups, good.wins, good.pairs) == ("good", 25, 5, 25, 25)
        assert (bad.value, bad.n, bad.groups, bad.wins, bad.pairs) == ("bad", 50, 5, 0, 25)
        assert (good.gain, bad.gain) == (pytest.approx(0.5), pytest.approx(-0.5))
        assert good.mean is not None and bad.mean is not None and good.mean < bad.mean
        assert ledger.compare("sampler", Query(sampler="good"))[0].gain is None, "nothing to compare with"
        with pytest.raises(LedgerError, match="sampler, scheduler"):
            ledger.compare("prompt")


# --- export -----------------------------------------------------------------------------------------------------------

BOMBS = ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("x")', "=cmd|' /C calc'!A0"]


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_cell_that_a_spreadsheet_would_run_is_text(tmp_path: Path, bomb: str) -> None:
    with Ledger(tmp_path / "x") as ledger:
        ledger.add([entry(-27.5, bomb, model=bomb, negative=bomb, seed=-4, extra={bomb: bomb}, loras=((bomb, -1.0),))])
        stream = io.StringIO(newline="")
        assert ledger.export(stream, "csv") == 1
    [row] = csv.DictReader(io.StringIO(stream.getvalue(), newline=""))
    assert row["prompt"] == row["model"] == row["negative"]
    assert row["prompt"].replace("'", "") == bomb.replace("'", "") and row["prompt"].startswith("'")
    assert not [
        name
        for name, text in row.items()
        if text.startswith(("=", "+", "-", "@", "\t", "\r"))
        if not text.lstrip("-").replace(".", "").isdigit()
    ]
    assert (row["score"], row["seed"], json.loads(row["extra"])) == ("-27.5", "-4", {bomb: bomb})


def test_harmless_cells_stay(ledger: Ledger) -> None:
    assert [cell(value) for value in ("a=b", "", 5, -1.5, None, "-12", "18446744073709551615")] == [
        *("a=b", "", 5, -1.5, None, "-12", "18446744073709551615"),
    ]
    assert cell("-½") == "'-½"


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_an_export_has_every_row_in_order(ledger: Ledger, tmp_path: Path, format: str) -> None:
    query = Query(search="fox", sort="standing", limit=3)
    path = tmp_path / "out"
    with path.open("w", newline="", encoding="utf-8") as stream:
        count = ledger.export(stream, format, query)
    want = ledger.rows(Query(search="fox", sort="standing", limit=1000)).rows
    with path.open(newline="", encoding="utf-8") as stream:
        got = [json.loads(line) for line in stream] if format == "jsonl" else list(csv.DictReader(stream))
    assert count == len(got) == len(want) > 100
    assert [int(row["id"]) for row in got] == [row.id for row in want]
    assert [float(row["score"]) for row in got] == [row.score for row in want]
    assert [row["seed"] or None for row in got] == [None if row.seed is None else str(row.seed) for row in want]
    if format == "jsonl":
        assert [row["prompt"] for row in got] == [row.prompt for row in want]
        assert got[0]["extra"] == want[0].extra
    with pytest.raises(LedgerError, match="csv, jsonl"):
        ledger.export(io.StringIO(), "xls")


def test_an_export_goes_on_while_rows_are_written_and_purged(tmp_path: Path) -> None:
    class Meddler(io.StringIO):
        def write(self, text: str) -> int:
            if "\n" in text and self.tell() == 0:
                ledger.purge(before=1200.0)
                ledger.add([entry(5000.0)])
            return super().write(text)

    ticks = iter(range(10_000))
    with Ledger(tmp_path / "x", clock=lambda: float(next(ticks))) as ledger:
        ledger.add([entry(float(number)) for number in range(1500)])
        stream = Meddler()
        assert ledger.export(stream, "jsonl", Query(descending=False)) == 500 + 300
        scores = [json.loads(line)["score"] for line in stream.getvalue().splitlines()]
    assert scores == [*range(500), *range(1200, 1500)], "the part in hand, then what is left"


def test_parquet(ledger: Ledger, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    count = ledger.export_parquet(tmp_path / "x.parquet", Query(sort="score"))
    got = parquet.read_table(tmp_path / "x.parquet").to_pylist()
    want = ledger.rows(Query(sort="score", limit=1000)).rows
    assert count == len(got) == len(want)
    for row, read in zip(want, got, strict=True):
        assert (read["id"], read["score"], read["standing"]) == (row.id, row.score, row.standing)
        assert read["seed"] == (None if row.seed is None else str(row.seed))
        assert read["prompt"] == row.prompt.encode("utf-8", "replace").decode()
    with pytest.raises(OutputError):
        ledger.export_parquet(tmp_path / "no" / "folder" / "x.parquet")
    assert [file.name for file in tmp_path.iterdir()] == ["x.parquet"]


def test_parquet_without_its_package(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DependencyError, match="pyarrow"):
        ledger.export_parquet(tmp_path / "x.parquet")


# --- cost ------------------------------------------------------------------------------------------------------------


def crowd(path: Path, count: int) -> Ledger:
    rng, ledger = random.Random(0), Ledger(path)
    ledger.add(
        entry(
            rng.gauss(27, 1),
            f"prompt {rng.randrange(count // 16)}",
            sampler=rng.choice(("euler", "ddim", "lcm")),
            model=f"m{rng.randrange(9)}",
            seed=rng.randrange(2**64),
            image_hash=f"{rng.getrandbits(256):x}",
        )
        for _ in range(count)
    )
    return ledger


def test_four_times_the_rows_are_four_times_the_work_at_most(tmp_path: Path) -> None:
    def works(ledger: Ledger) -> dict[str, Callable[[], object]]:
        made = {sort: lambda sort=sort: ledger.rows(Query(sort=sort, search="7")) for sort in SORTS}
        made |= {f"all by {sort}": lambda sort=sort: ledger.rows(Query(sort=sort)) for sort in SORTS}
        made |= {"facets": ledger.facets, "compare": lambda: ledger.compare("sampler")}
        return made | {"best": ledger.best_seeds, "pair": ledger.next_pair, "summary": ledger.summary}

    costs = []
    for count in (1000, 4000):
        with crowd(tmp_path / str(count), count) as ledger:
            costs.append({name: instructions(ledger, work) for name, work in works(ledger).items()})
    few, many = costs
    assert {name: many[name] / few[name] for name in few if many[name] > 5 * few[name]} == {}
