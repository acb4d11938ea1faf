from __future__ import annotations

import random
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from core._ledger import entry, sql
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from hpskit.errors import LedgerError
from hpskit.ledger import Agreement, Ledger, Pick, Row
from hpskit.ledger.picks import wilson


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite3")


def images(prompt: str, *scores: float, **more: Any) -> list[Any]:
    names = [f"{prompt}-{at}" for at in range(len(scores))]
    return [entry(score, prompt, image_hash=name, file=name, **more) for name, score in zip(names, scores, strict=True)]


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(case: tuple[int, int]) -> None:
    want = binomtest(*case).proportion_ci(0.95, method="wilson")
    assert wilson(*case) == (pytest.approx(want.low, abs=1e-12), pytest.approx(want.high, abs=1e-12))


def test_no_picks_say_nothing(ledger: Ledger) -> None:
    assert ledger.agreement() == Agreement(0, 0, 0, 0, None, 0.0, 1.0, 0, False)
    assert ledger.next_pair() is None


def test_every_pair_is_shown_once(ledger: Ledger) -> None:
    ledger.add([*images("a", 1.0, 2.0, 3.0, 4.0), *images("b", 1.0, 2.0, 3.0), *images("alone", 1.0)])
    rng, seen = random.Random(0), Counter[frozenset[str]]()
    while (pair := ledger.next_pair(rng=rng)) is not None:
        one, two = pair
        assert one.prompt == two.prompt
        seen[frozenset((one.image_hash, two.image_hash))] += 1
        outcome = rng.choice(("pick", "tie", "skip"))
        ledger.add_pick(Pick((one.id, two.id), one.id if outcome == "pick" else None, outcome))
    want = [*combinations([f"a-{at}" for at in range(4)], 2), *combinations([f"b-{at}" for at in range(3)], 2)]
    assert seen == Counter(map(frozenset, want))


def test_prompts_and_sides_are_drawn_evenly(ledger: Ledger) -> None:
    ledger.add([*images("many", *map(float, range(40))), *images("few", 1.0, 2.0)])
    rng = random.Random(1)
    pairs = [ledger.next_pair(rng=rng) for _ in range(400)]
    few = [pair[0].score < pair[1].score for pair in pairs if pair and pair[0].prompt == "few"]
    assert 150 < len(few) < 250
    assert 0.35 < sum(few) / len(few) < 0.65
    assert len({(pair[0].id, pair[1].id) for pair in pairs if pair}) > 100
    assert {pair[0].prompt for _ in range(20) if (pair := ledger.next_pair(prompt=2, rng=rng))} == {"few"}
    assert ledger.next_pair(prompt=3) is ledger.next_pair(prompt=2**70) is None


def test_only_different_images_that_can_be_shown_are_paired(ledger: Ledger) -> None:
    same = entry(1.0, image_hash="same", thumbnail=b"t")
    other_scorer = entry(5.0, image_hash="same", thumbnail=b"t", scorer="pickscore")
    ledger.add([same, other_scorer, entry(2.0, image_hash="hidden"), entry(3.0, image_hash="")])
    assert ledger.next_pair() is None
    ledger.saved("hidden", "now.png")
    pair = ledger.next_pair()
    assert pair is not None
    assert {row.image_hash for row in pair} == {"same", "hidden"}
    ledger.add([entry(9.0, "two", thumbnail=b"1"), entry(9.0, "two", thumbnail=b"2")])
    assert ledger.next_pair(prompt=2) is not None, "images without a hash are images too"


def picked(ledger: Ledger, ids: list[int], chosen: int | None, **more: Any) -> None:
    ledger.add_pick(Pick(tuple(ids), chosen, **more))


def test_agreement_counts_choices_of_the_higher_score(ledger: Ledger) -> None:
    for number in range(6):
        a, b, c, d = ledger.add(images(f"p{number}", 1.0, 2.0, 2.0, 3.0, seed=number))
        picked(ledger, [b, a], b)
        picked(ledger, [a, c], c)
        picked(ledger, [a, d], a)
        picked(ledger, [b, c], c)  # equal scores: neither right nor wrong
        picked(ledger, [b, d], None, outcome="tie")
        picked(ledger, [c, d], None, outcome="skip", seconds=float("nan"))
    low, high = wilson(12, 18)
    assert ledger.agreement() == Agreement(18, 12, 6, 6, 12 / 18, low, high, 6, True)
    assert ledger.agreement("hps-v2.1") == ledger.agreement()
    assert ledger.agreement("pickscore").n == 0


def test_few_picks_and_few_prompts_are_not_enough(ledger: Ledger) -> None:
    for prompt in range(5):
        ids = ledger.add(images(f"p{prompt}", 1.0, 2.0, 3.0))
        for one, two in list(combinations(ids, 2)):
            assert not ledger.agreement().enough
            picked(ledger, [one, two], one)
    assert ledger.agreement().enough
    assert ledger.agreement().low == 0.0 < ledger.agreement().high < 0.3


def test_each_scorer_is_judged_by_its_own_scores(ledger: Ledger) -> None:
    a, b = ledger.add(images("p", 1.0, 2.0))
    ledger.add(images("p", 9.0, 3.0, scorer="pickscore"))
    ledger.add(images("p", 9.0, scorer="half"))
    picked(ledger, [a, b], b)
    assert [ledger.agreement(name).agree for name in (None, "hps-v2.1", "pickscore")] == [1, 1, 0]
    assert [ledger.agreement(name).n for name in (None, "hps-v2.1", "pickscore", "half")] == [1, 1, 1, 0]


def test_rows_of_different_scorers_are_judged_by_one_that_knows_both(ledger: Ledger) -> None:
    [a] = ledger.add([entry(1.0, image_hash="a")])
    [b] = ledger.add([entry(90.0, image_hash="b", scorer="pickscore")])
    picked(ledger, [a, b], b)
    assert ledger.agreement().n == 0, "1 and 90 are scores of different scorers"
    ledger.add([entry(95.0, image_hash="a", scorer="pickscore")])
    ledger.add([entry(99.0, image_hash="c", scorer="pickscore")])
    picked(ledger, [a, b, 4], b, kind="grid")
    assert (ledger.agreement().n, ledger.agreement().agree) == (1, 0)


def test_the_first_answer_to_a_question_counts(ledger: Ledger) -> None:
    a, b, c = ledger.add(images("p", 1.0, 2.0, 3.0))
    for _ in range(20):
        picked(ledger, [a, b, c], c, kind="grid")
    picked(ledger, [c, b, a], a, kind="grid")
    assert (ledger.agreement().n, ledger.agreement().agree) == (1, 1)
    picked(ledger, [a, b], None, outcome="skip")
    assert (ledger.agreement().n, ledger.agreement().skips) == (1, 1)
    picked(ledger, [b, a], b)
    picked(ledger, [a, b], a)
    got = ledger.agreement()
    assert (got.n, got.agree, got.ties, got.skips) == (2, 2, 0, 0), "a skip is no answer yet"


def test_a_pair_is_shown_by_one_scorer_where_one_knows_both(ledger: Ledger) -> None:
    ledger.add(images("p", 1.0, 2.0))
    ledger.add([*images("p", 5.0, scorer="first only"), entry(7.0, "p", image_hash="p-1", file="p-1", scorer="other")])
    pairs = [ledger.next_pair(rng=random.Random(seed)) for seed in range(10)]
    assert {row.scorer for pair in pairs if pair for row in pair} == {"hps-v2.1"}
    assert None not in pairs


def test_a_choice_from_a_grid_is_one_comparison(ledger: Ledger) -> None:
    rng = random.Random(3)
    for number in range(200):
        ids = ledger.add(images(f"p{number}", 1.0, 2.0, 3.0, 4.0))
        picked(ledger, ids, rng.choice(ids), kind="grid")
    got = ledger.agreement()
    assert got.n == 200
    assert 0.4 < (got.rate or 0) < 0.6, "one who chooses at random agrees half of the time, also from a grid"
    assert ledger.next_pair(prompt=1) is not None
    seen = set()
    while (pair := ledger.next_pair(prompt=1)) is not None:
        seen.add(frozenset(row.image_hash for row in pair))
        picked(ledger, [row.id for row in pair], None, outcome="skip")
    assert len(seen) == 3, "the chosen one was compared with the three others, these not with each other"


def test_picks_outlive_their_rows(ledger: Ledger) -> None:
    ids = ledger.add([*images("kept", 1.0, 2.0), *images("gone", 1.0)])
    picked(ledger, ids[:2], ids[1], seconds=2.5)
    before = ledger.agreement()
    assert ledger.purge() == 3
    assert ledger.agreement() == before
    assert ledger.summary().picks == before.n == 1
    assert sql(ledger.path, "SELECT text FROM prompts") == [("kept",)]
    assert sql(ledger.path, "SELECT position, image, chosen FROM pick_images") == [(0, "kept-0", 0), (1, "kept-1", 1)]
    again = ledger.add(images("kept", 1.0, 2.0))
    assert not set(again) & set(ids), "numbers of rows are never used again"
    assert ledger.next_pair() is None, "these images were compared"


@pytest.mark.parametrize(
    "wrong",
    [
        {"shown": (1,), "chosen": 1},
        {"shown": (1, 1), "chosen": 1},
        {"shown": (1, 2), "chosen": 3},
        {"shown": (1, 2), "chosen": None},
        {"shown": (1, 2), "chosen": 1, "outcome": "tie"},
        {"shown": (1, 2), "chosen": 1, "outcome": "best"},
        {"shown": (1, 2), "chosen": 1, "kind": "list"},
        {"shown": (1, 2, 3), "chosen": 1},
        {"shown": tuple(range(2000)), "chosen": 1, "kind": "grid"},
    ],
)
def test_picks_that_contradict_themselves(wrong: dict[str, Any]) -> None:
    with pytest.raises(LedgerError):
        Pick(**wrong)


def test_picks_of_rows_that_do_not_compare(ledger: Ledger) -> None:
    a, b = ledger.add([entry(1.0, "one"), entry(2.0, "two")])
    for shown, what in (((a, b), "different prompts"), ((a, 77), "no row 77"), ((a, 2**64), "no row")):
        with pytest.raises(LedgerError, match=what):
            ledger.add_pick(Pick(shown, a))
    assert sql(ledger.path, "SELECT count(*) FROM picks") == [(0,)]


def test_a_judged_row_reads_like_any_other(ledger: Ledger) -> None:
    a, b = ledger.add(images("p", 1.0, 3.0))
    pair = ledger.next_pair()
    assert pair is not None
    assert sorted((row.id, row.standing) for row in pair) == [
        (a, pytest.approx(-(0.5**0.5))),
        (b, pytest.approx(0.5**0.5)),
    ]
    assert all(isinstance(row, Row) for row in pair)
