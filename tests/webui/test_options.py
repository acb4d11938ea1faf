"""The panel's settings: from components, from a dict, from an infotext's words, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from fakes.web import Web

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.text("abcdefgh-.123", min_size=1, max_size=8)


@st.composite
def values(draw: Any) -> dict[str, Any]:
    """Return settings that make sense."""
    candidates = draw(st.integers(1, 64))
    scorers = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    return {
        "mode": draw(st.sampled_from(("off", "score", "best-of-n", "best-of-n-first-pass", "noise-search"))),
        "scorer": scorers[0],
        "guards": scorers[1:],
        "candidates": candidates,
        "keep": draw(st.integers(1, candidates)),
        "rule": draw(st.sampled_from(("auto", "single", "gate", "zsum", "rank", "worst", "pareto"))),
        "target": draw(st.floats(-100, 100)),
        "seconds": draw(st.floats(0, 1000)),
        "max_drift": draw(st.floats(0, 180)),
        "prompt": draw(st.text(max_size=20)).strip(),
        "clean_prompt": draw(st.booleans()),
    }


@FEW
@given(given_values=values())
def test_a_dict_comes_back_as_it_was(web: Web, given_values: dict[str, Any]) -> None:
    options = web.module("options")
    read = options.read([given_values])
    assert {name: options.as_dict(read)[name] for name in given_values} == given_values
    assert options.read([options.as_dict(read)]) == read
    assert options.read(list(options.as_dict(read).values())) == read


@FEW
@given(given_values=values(), length=st.integers(0, 19))
def test_missing_arguments_at_the_end_are_defaults(web: Web, given_values: dict[str, Any], length: int) -> None:
    options = web.module("options")
    whole = options.as_dict(options.read([given_values]))
    names = options.NAMES[:length]
    if "candidates" in names and "keep" not in names:
        whole["candidates"] = max(4, whole["candidates"])
    assert options.read([whole[name] for name in names]) == options.read([{name: whole[name] for name in names}])


def test_labels_and_spellings_mean_the_same(web: Web) -> None:
    options = web.module("options")
    for mode, label in options.LABELS.items():
        for spelling in (mode, label, label.upper(), mode.replace("-", "_"), f" {mode} "):
            assert options.read([spelling]).mode == mode


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "fly"),
        ("rule", "best"),
        ("stop", "soon"),
        ("candidates", 0),
        ("candidates", 2.5),
        ("candidates", "x"),
        ("candidates", True),
        ("keep", -1),
        ("target", float("nan")),
        ("target", float("inf")),
        ("seconds", -1),
        ("iterations", 0),
        ("population", 10**9),
        ("max_drift", 181),
        ("clean_prompt", "maybe"),
        ("scorer", 3),
        ("prompt", ["a"]),
        ("guards", 3),
        ("method", "luck"),
        ("gradient_method", "luck"),
        ("unknown_thing", 1),
    ],
)
def test_wrong_values_are_refused_by_name(web: Web, field: str, value: Any) -> None:
    options, errors = web.module("options"), web.pack("hpskit.errors")
    with pytest.raises(errors.SelectionError, match=f"(?i){field}"):
        options.read([{field: value}])


def test_contradictions_are_refused(web: Web) -> None:
    options, errors = web.module("options"), web.pack("hpskit.errors")
    for wrong in (
        {"mode": "best-of-n", "candidates": 2, "keep": 3},
        {"scorer": "a", "guards": ["a"]},
        {"scorer": "a", "held_out": "a"},
        {"scorer": "a", "guards": ["b"], "held_out": "b"},
    ):
        with pytest.raises(errors.SelectionError):
            options.read([wrong])


def test_axes_win_over_the_panel(web: Web) -> None:
    options = web.module("options")
    assert options.read([{"mode": "score", "candidates": 3}], {"candidates": 9}).candidates == 9


def test_none_is_no_noise_file_and_no_held_out_scorer(web: Web) -> None:
    options = web.module("options")
    for text in ("None", "none", "", " "):
        chosen = options.read([{"noise_file": text, "held_out": text}])
        assert (chosen.noise_file, chosen.held_out) == ("", "")


@pytest.mark.parametrize(
    ("given_values", "words"),
    [
        ({"seconds": -3}, "Stop after seconds (seconds) is -3; it must be from 0 to 1,000,000."),
        ({"max_drift": 180.5}, "Largest turn (max_drift) is 180.5; it must be from 0 to 180."),
        ({"population": 10**9}, "Population is 1,000,000,000; it must be from 1 to 256."),
        ({"target": float("nan")}, "Stop at score (target) is nan; it must be from -1,000,000 to 1,000,000."),
        ({"screen": "x"}, "Screen is 'x'; it must be a whole number from 1 to 4,096."),
        ({"stop": "soon"}, 'Stop early (stop) is "soon"; choose one of never, quick, normal, thorough.'),
        (
            {"mode": "best-of-n", "keep": 9, "candidates": 1},
            "Keep is 9, but there is only 1 candidate: keep fewer or make more.",
        ),
        (
            {"mode": "best-of-n", "keep": 9, "candidates": 4},
            "Keep is 9, but there are only 4 candidates: keep fewer or make more.",
        ),
    ],
)
def test_errors_name_what_people_and_programs_call_it(web: Web, given_values: dict[str, Any], words: str) -> None:
    options, errors = web.module("options"), web.pack("hpskit.errors")
    with pytest.raises(errors.SelectionError) as caught:
        options.read([given_values])
    assert str(caught.value) == words


def test_the_words_are_those_of_the_panel_and_of_the_axes(web: Web) -> None:
    options, axes = web.module("options"), web.module("xyz.axes")
    assert [options.WORDS[name] for name in options.NAMES] == [control.label for control in web.script().controls]
    for kind in axes.KINDS:
        assert kind.name == ("Method" if kind.option == "method" else options.WORDS[kind.option])
