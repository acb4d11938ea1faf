"""The texts of a comparison: names, numbers with ranges, files, prompts; and the design that they make."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpskit.errors import StudyError
from hpskit.study import axes
from hpskit.study.design import Known, Recipe, Texts, design

SAMPLERS = ["euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "heun"]
SCHEDULERS = ["normal", "karras", "simple"]
LORAS = ["detail.safetensors", "style/ink.safetensors", "other/ink.safetensors", "a, b: c.safetensors"]
CHECKPOINTS = ["sd15.safetensors", "xl\\base.safetensors", "one, two.ckpt"]
KNOWN = Known(SAMPLERS, SCHEDULERS, LORAS, CHECKPOINTS)


def refusal(call: object, *args: object, **options: object) -> str:
    with pytest.raises(StudyError) as caught:
        call(*args, **options)  # type: ignore[operator]
    return str(caught.value)


# --- names -----------------------------------------------------------------------------------------------------------


def test_names_are_known_names_in_the_order_of_the_text() -> None:
    assert axes.names(" Heun,euler\n dpmpp_2m ;; euler,", SAMPLERS, "sampler") == ("heun", "euler", "dpmpp_2m")
    assert axes.names("  \n ", SAMPLERS, "sampler") == ()


def test_an_unknown_name_is_placed_and_something_near_is_offered() -> None:
    said = refusal(axes.names, "euler, dpmpp2m", SAMPLERS, "sampler")
    assert '"dpmpp2m"' in said and "Did you mean dpmpp_2m" in said
    assert "There are euler" in refusal(axes.names, "zzz", SAMPLERS, "sampler")
    assert "None is installed" in refusal(axes.files, "zzz", [], "LoRA")


def test_many_names_are_not_all_listed() -> None:
    said = refusal(axes.names, "qqqqqqqq", [f"name{k}" for k in range(100)], "sampler")
    assert "and 92 more" in said and len(said) < 300


def test_files_without_folder_or_extension_where_one_is_meant() -> None:
    assert axes.files("sd15, base\none, two.ckpt", CHECKPOINTS, "checkpoint") == tuple(CHECKPOINTS)
    assert axes.files(" sd15; base ;one, two.ckpt;", CHECKPOINTS, "checkpoint") == tuple(CHECKPOINTS)
    assert '"sd51"' in refusal(axes.files, "sd15; sd51", CHECKPOINTS, "checkpoint")
    assert axes.files("xl/base", CHECKPOINTS, "checkpoint") == (CHECKPOINTS[1],)
    said = refusal(axes.files, "sd15\nsd51", CHECKPOINTS, "checkpoint")
    assert '"sd51"' in said and "sd15.safetensors" in said
    assert "ink" in refusal(axes.files, "ink", LORAS, "LoRA"), "two files are meant: neither is taken"


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20", [20]),
        ("4-20 (+4)", [4, 8, 12, 16, 20]),
        ("4-20(4)", [4, 8, 12, 16, 20]),
        ("4-21 (+4)", [4, 8, 12, 16, 20]),
        ("1-4", [1, 2, 3, 4]),
        ("4-1", [4, 3, 2, 1]),
        ("10-1 (-3)", [10, 7, 4, 1]),
        ("1-10 [4]", [1, 4, 7, 10]),
        ("1-3 [1]", [1]),
        ("2, 1-3, 3", [2, 1, 3]),
        ("5-5", [5]),
        ("1..3", [1, 2, 3]),
        ("7 to 9", [7, 8, 9]),
    ],
)
def test_whole_numbers(text: str, expected: list[int]) -> None:
    found = axes.numbers(text, "steps", low=1, high=10000, whole=True)
    assert list(found) == expected and all(type(value) is int for value in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5-1.5 [5]", [0.5, 0.75, 1.0, 1.25, 1.5]),
        ("0.1-0.5 (+0.1)", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("-1-1 [3]", [-1.0, 0.0, 1.0]),
        ("-1--0.5 (+.25)", [-1.0, -0.75, -0.5]),
        ("7., .5, 7.0", [7.0, 0.5]),
        ("0-1 [4]", [0.0, 0.3333, 0.6667, 1.0]),
    ],
)
def test_real_numbers_are_as_written(text: str, expected: list[float]) -> None:
    assert list(axes.numbers(text, "cfgs", low=-100, high=100)) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4, x", 'character 4: "x" is no number'),
        ("0", "outside"),
        ("10001", "outside"),
        ("2.5", "not a whole number"),
        ("1-10 (-1)", "never gets to its end"),
        ("10-1 (+1)", "(-1)"),
        ("1-10 (0)", "never gets to its end"),
        ("1-10 [0]", "0 values"),
        ("1-9999", "the most is 1000"),
        ("1-600, 601-1200", "more than 1000"),
        ("nan", "no number"),
        ("inf", "no number"),
        ("1e3", "no number"),
        ("1-2-3", "no number"),
        ("4-20 (+4", "no number"),
        ("9" * 5000, "no number"),
    ],
)
def test_what_is_no_sensible_number_is_refused_with_its_place(text: str, words: str) -> None:
    said = refusal(axes.numbers, text, "steps", low=1, high=10000, whole=True)
    assert words in said and "steps, character" in said and len(said) < 400


@given(
    first=st.integers(-200, 200),
    count=st.integers(1, 50),
    step=st.sampled_from(["0.01", "0.1", "0.25", "1", "3", "-0.3"]),
)
def test_a_counted_range_is_exact_arithmetic(first: int, count: int, step: str) -> None:
    last = Fraction(first) + Fraction(step) * (count - 1)
    text = f"{first}-{axes.number_text(float(last))} ({step})"
    expected = [float(first + Fraction(step) * k) for k in range(count)]
    assert list(axes.numbers(text, "x", low=-1e6, high=1e6)) == expected


@given(st.text(max_size=40))
def test_any_text_is_numbers_or_a_study_error(text: str) -> None:
    try:
        found = axes.numbers(text, "x", low=-5, high=5)
    except StudyError as error:
        assert str(error)
    else:
        assert all(-5 <= value <= 5 for value in found) and len(set(found)) == len(found)


@given(st.floats(-1e6, 1e6, allow_nan=False))
def test_number_text_is_the_number(value: float) -> None:
    text = axes.number_text(value)
    assert float(text) == value and "e" not in text and not re.search(r"\.\d*0$|\.$", text)


# --- lines -----------------------------------------------------------------------------------------------------------


def test_lora_lines() -> None:
    text = "detail: 0, 0.5-1 (+.5)\n\n style/ink.safetensors : -1\na, b: c.safetensors: 1\nother/ink"
    assert axes.lora_lines(text, LORAS) == (
        (LORAS[0], (0.0, 0.5, 1.0)),
        (LORAS[1], (-1.0,)),
        (LORAS[3], (1.0,)),
        (LORAS[2], (1.0,)),
    )
    assert axes.lora_lines(text.replace("\n", ";"), LORAS) == axes.lora_lines(text, LORAS)
    assert axes.lora_lines("detail: 0, .5; style/ink", LORAS) == ((LORAS[0], (0.0, 0.5)), (LORAS[1], (1.0,)))
    for twice in ("detail: 1\ndetail.safetensors: 2", "detail; detail.safetensors"):
        said = refusal(axes.lora_lines, twice, LORAS)
        assert "named twice" in said and "at once: detail.safetensors: 0, 0.5, 1." in said
    assert "no strength" in refusal(axes.lora_lines, "detail:", LORAS)
    assert "Did you mean detail.safetensors" in refusal(axes.lora_lines, "detial: 1", LORAS)
    assert "character 12" in refusal(axes.lora_lines, "detail: 1, x", LORAS)
    assert "character 22" in refusal(axes.lora_lines, "detail: 1; ink/x: 1, y; ", [*LORAS, "ink/x"])


def test_prompts_and_variants() -> None:
    assert axes.prompt_lines(" a cat \n\n\r\na dog\na cat\n") == ("a cat", "a dog")
    assert axes.same_prompts(["a red circle", "A red  circle", "a blue circle", " a red circle\t"]) == (1, 3)
    assert axes.variant_lines("") == ("{prompt}",)
    assert axes.variant_lines("{prompt}\n{prompt}, oil") == ("{prompt}", "{prompt}, oil")
    assert axes.variant_lines("{prompt}|{prompt}, oil | {prompt}|| ") == ("{prompt}", "{prompt}, oil")
    assert axes.variant_lines("{prompt}, {red|blue}|[big|{a|b}] {prompt}") == (
        "{prompt}, {red|blue}",
        "[big|{a|b}] {prompt}",
    )
    assert axes.variant_lines("{prompt} :[ | {prompt}") == ("{prompt} :[", "{prompt}"), "a bracket that stays open"
    assert "{prompt}" in refusal(axes.variant_lines, "oil painting")
    assert "between variants" in refusal(axes.variant_lines, "{prompt}; oil | oil painting")


# --- design ----------------------------------------------------------------------------------------------------------


def test_the_settings_are_every_combination_and_labels_name_what_varies() -> None:
    made = design(Texts(samplers="euler, heun", steps="4, 8", cfgs="2"), KNOWN)
    assert [axis.name for axis in made.axes] == ["sampler", "steps"]
    assert [setting.label for setting in made.settings] == [
        f"{sampler}, {steps} steps" for sampler, steps in itertools.product(("euler", "heun"), (4, 8))
    ]
    assert made.settings[1].values == {"sampler": "euler", "steps": "8"}
    assert made.recipes[3] == Recipe("heun", "normal", 8, 2.0)
    assert made.constants == (("scheduler", "normal"), ("cfg", "2")) and made.reference == 0


def test_one_setting_has_no_axis_but_a_label() -> None:
    made = design(Texts(), KNOWN)
    assert made.axes == () and [setting.label for setting in made.settings] == ["euler, normal, 20 steps, cfg 7"]
    assert made.settings[0].values == {}


def test_every_kind_of_axis() -> None:
    texts = Texts(
        shifts="1, 3",
        loras="detail: 0, 1\nstyle/ink: 0.5",
        checkpoints="sd15, base",
        variants="{prompt}\n{prompt}, oil painting",
        reference="BASE,detail 1, shift 3 ,... , oil painting",
    )
    made = design(texts, KNOWN)
    assert [axis.name for axis in made.axes] == ["checkpoint", "LoRA detail", "shift", "prompt variant"]
    assert made.axes[0].values == ("sd15", "base")
    last = made.recipes[-1]
    assert last.checkpoint == CHECKPOINTS[1] and last.loras == ((LORAS[0], 1.0), (LORAS[1], 0.5)) and last.shift == 3.0
    assert last.text("a cat") == "a cat, oil painting" and made.recipes[0].text("a cat") == "a cat"
    assert made.reference == len(made.settings) - 1 and len(made.settings) == 16
    assert ("LoRA ink", "0.5") in made.constants


def test_labels_and_axes_are_unique() -> None:
    lines = "\n".join(f"{'{prompt}'}, {'very ' * 20}{k}" for k in range(3))
    made = design(Texts(loras="style/ink: 0,1\nother/ink: 0,1", variants=lines), KNOWN)
    names, labels = [axis.name for axis in made.axes], [setting.label for setting in made.settings]
    assert len(set(names)) == len(names) == 3 and len(set(labels)) == len(labels) == 12
    assert all(setting.values[axis.name] in axis.values for setting in made.settings for axis in made.axes)


def test_too_many_settings_are_counted_out() -> None:
    said = refusal(design, Texts(samplers="euler, heun, dpmpp_2m", steps="1-400"), KNOWN)
    assert "3 sampler x 400 steps make 1200 settings" in said


def test_nothing_named_and_unknown_reference_are_refused() -> None:
    assert "No sampler is named" in refusal(design, Texts(samplers=" , "), KNOWN)
    assert "No number of steps" in refusal(design, Texts(steps=""), KNOWN)
    said = refusal(design, Texts(samplers="euler, heun", reference="huen"), KNOWN)
    assert 'called "huen"' in said and "heun" in said


def test_the_reference_may_be_any_label() -> None:
    for k, setting in enumerate(design(Texts(samplers="euler, heun", cfgs="1-3"), KNOWN).settings):
        assert design(Texts(samplers="euler, heun", cfgs="1-3", reference=setting.label), KNOWN).reference == k
