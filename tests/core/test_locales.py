"""The words of the pack: the English is what code says, and every language says all of it, safely."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ROOT / "locales"
LANGUAGES = ("en", "fr", "ja", "zh")
FILES = ("commands.json", "main.json", "nodeDefs.json", "settings.json")

_PLACE = re.compile(r"\{\w*\}")
_MARKUP = re.compile(r"<[/!?a-zA-Z]|&(?:\w+|#\d+);")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_KANA = re.compile(r"[\u3041-\u3096\u30a1-\u30fa]")
_FIXED = re.compile(r"%\w+%|\b\w+/\w+|\bhps-v[\d.]*\d|\b(?:HPS|ReNO|PickScore|CLIP|LoRA|TAESD|JPEG|PNG|WebP|ComfyUI)\b")
_OPTION = re.compile(r"(?:^|(?<=[.:] ))[a-z][a-z-]*(?: [a-z]+)*(?: \(gradient\))?(?=: )")
"""Values of a list that a tooltip explains, such as "auto: ...": the lists themselves are not translated."""

Texts = Mapping[str, str]


def _maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_locales", ROOT / "docs" / "make_locales.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKER = _maker()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    assert not twice, f"keys that stand twice: {twice}"
    return dict(pairs)


def read(language: str, name: str) -> dict[str, str]:
    """Return the texts of a file by path."""
    text = (LOCALES / language / name).read_text("utf-8")
    return dict(MAKER.flat(json.loads(text, object_pairs_hook=_unique)))


# --- what can be wrong with the words of a language -------------------------------------------------------------------


def other_keys(_: str, english: Texts, found: Texts) -> Iterator[str]:
    yield from (f"lacks {key}" for key in english if key not in found)
    yield from (f"has {key}, which English has not" for key in found if key not in english)


def other_places(_: str, english: Texts, found: Texts) -> Iterator[str]:
    for key in english.keys() & found.keys():
        if Counter(_PLACE.findall(english[key])) != Counter(_PLACE.findall(found[key])):
            yield f"{key}: other placeholders than {english[key]!r}: {found[key]!r}"


def unclean(_: str, english: Texts, found: Texts) -> Iterator[str]:
    """Yield what is no text, empty, padded, or markup."""
    for key, text in found.items():
        if not isinstance(text, str) or not text.strip() or text != text.strip() or _MARKUP.search(text):
            yield f"{key}: {text!r}"


def syntax_of_the_host(_: str, english: Texts, found: Texts) -> Iterator[str]:
    """Yield texts that the host would not show as they are: it reads these signs as parts of its own language."""
    for key, text in found.items():
        if not key.startswith("hps/") and re.search(r"[{}|@]|%(?=\{)", text):
            yield f"{key}: {text!r}"


def untranslated(language: str, english: Texts, found: Texts) -> Iterator[str]:
    """Yield sentences (three words and more) that are not in the script of the language, or still the English ones."""
    for key in english.keys() & found.keys():
        words = re.findall(r"[A-Za-z]{2,}", _PLACE.sub("", english[key]))
        text, sentence = found[key], len(words) > 2
        wrong = {
            "zh": (sentence and not _HAN.search(text)) or bool(_KANA.search(text)),
            "ja": (sentence and not _HAN.search(text) and not _KANA.search(text))
            or (len(words) > 7 and not _KANA.search(text)),
            "fr": (len(words) > 3 and text == english[key]) or bool(_HAN.search(text) or _KANA.search(text)),
        }
        if wrong.get(language):
            yield f"{key}: {text!r}"


def lost_names(language: str, english: Texts, found: Texts) -> Iterator[str]:
    """Yield texts that lost a name, a path or a value which is not translated."""
    for key in english.keys() & found.keys():
        fixed = _FIXED.findall(english[key])
        if key.startswith("HPS_") and key.endswith("/tooltip"):
            fixed += _OPTION.findall(english[key])
        for name in fixed:
            if not re.search(rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])", found[key]):
                yield f"{key}: lost {name!r}: {found[key]!r}"


CHECKS = [other_keys, other_places, unclean, syntax_of_the_host, untranslated, lost_names]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("language", LANGUAGES)
def test_words(language: str, check: Any) -> None:
    found = [
        f"locales/{language}/{name}: {line}"
        for name in FILES
        for line in check(language, read("en", name), read(language, name))
    ]
    assert not found, "\n".join(found)


def test_every_language_has_every_file_and_no_other() -> None:
    there = sorted(path.relative_to(LOCALES).as_posix() for path in LOCALES.rglob("*") if path.is_file())
    assert there == sorted(f"{language}/{name}" for language in LANGUAGES for name in FILES)


# --- the English ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["commands.json", "main.json", "settings.json"])
def test_english_is_what_the_scripts_say(name: str) -> None:
    current = (LOCALES / "en" / name).read_text("utf-8") == MAKER.files(web_only=True)[name]
    assert current, "run: python docs/make_locales.py --web"


def test_every_setting_and_command_stands_there() -> None:
    """Counted in another way than the files are made: by the ids as they are written, and what the host would ask."""
    web = "".join(path.read_text("utf-8") for path in (ROOT / "web").rglob("*.js"))
    ids = set(re.findall(r'\bid: "(HPS\.[\w.]+)"', web))
    assert len(ids) > 5
    settings, commands = read("en", "settings.json"), read("en", "commands.json")
    for each in (key.replace(".", "_") for key in ids):
        assert {f"{each}/name", f"{each}/tooltip"} <= settings.keys() or f"{each}/label" in commands
    assert len({key.split("/")[0] for key in settings | commands}) == len(ids) + 1, "all ids, and the sidebar's tab"


def test_every_node_stands_there() -> None:
    ids = json.loads((ROOT / "tests/golden/node_ids.json").read_text("utf-8"))
    found = read("en", "nodeDefs.json")
    assert sorted(ids) == sorted({key.split("/")[0] for key in found})
    for each in ids:
        assert found[f"{each}/display_name"].startswith("HPS ")
        assert found[f"{each}/description"] in (ROOT / "README.md").read_text("utf-8")


def test_names_of_nodes_differ_in_every_language() -> None:
    for language in LANGUAGES:
        names = [text for key, text in read(language, "nodeDefs.json").items() if key.endswith("/display_name")]
        assert len(set(names)) == len(names), language


# --- the maker --------------------------------------------------------------------------------------------------------


def test_words_are_collected() -> None:
    code = {"a.js": 't("a.b", "One {n}", { n }) + t(\n"a.c", "Two " +\n  "and three") + x.t("no") + sort("no", "no")'}
    assert MAKER.words(code) == {"a": {"b": "One {n}", "c": "Two and three"}}
    assert MAKER.words({"a.js": "export function t(key, fallback) {} t('k', `It\\u2026`);"}) == {"k": "It\u2026"}


@pytest.mark.parametrize(
    "code",
    ['t(key, "x")', 't("a", text)', 't("a", `${n} x`)', 't("a", "x"); t("a", "y")', 't("a", "x"); t("a.b", "y")'],
)
def test_calls_that_cannot_be_collected_are_refused(code: str) -> None:
    with pytest.raises(ValueError):
        MAKER.words({"a.js": code})


def test_node_definitions_take_the_form_that_the_host_reads() -> None:
    info = {
        "KSampler": {},
        "HPS_X": {
            "display_name": "HPS X",
            "description": "Does x.",
            "input": {"required": {"a.b": ["INT", {"tooltip": "A."}]}, "optional": {"c": ["INT"]}},
            "input_order": {"required": ["a.b"], "optional": ["c"]},
            "output_name": ["y", "z"],
            "output_tooltips": ["Y.", None],
        },
    }
    assert MAKER.node_defs(info) == {
        "HPS_X": {
            "display_name": "HPS X",
            "description": "Does x.",
            "inputs": {"a_b": {"name": "a.b", "tooltip": "A."}, "c": {"name": "c"}},
            "outputs": {"0": {"name": "y", "tooltip": "Y."}, "1": {"name": "z"}},
        }
    }


# --- the checks can fail ----------------------------------------------------------------------------------------------

ENGLISH = {
    "hps/a": "Stop after {n} of the images",
    "HPS_X/inputs/y/tooltip": "Order. auto: as in models/x of HPS Score.",
}


@pytest.mark.parametrize(
    ("check", "language", "key", "text"),
    [
        (other_keys, "zh", "hps/b", "又"),
        (other_places, "zh", "hps/a", "{m} 张图像后停止"),
        (other_places, "zh", "hps/a", "{n} 张图像后停止 {n}"),
        (unclean, "zh", "hps/a", " "),
        (unclean, "zh", "hps/a", "停止 {n} "),
        (unclean, "zh", "hps/a", "<b>停止</b> {n}"),
        (syntax_of_the_host, "zh", "HPS_X/inputs/y/tooltip", "a | b"),
        (untranslated, "zh", "hps/a", "Stop after {n} of the images"),
        (untranslated, "zh", "hps/a", "画像{n}枚で終了します"),
        (untranslated, "ja", "hps/a", "Stop after {n} of the images"),
        (untranslated, "ja", "HPS_X/inputs/y/tooltip", "順序。auto：HPS 評分 models/x。"),
        (untranslated, "fr", "hps/a", "Stop after {n} of the images"),
        (lost_names, "fr", "HPS_X/inputs/y/tooltip", "Ordre. automatique : selon models/x de HPS Noter."),
        (lost_names, "fr", "HPS_X/inputs/y/tooltip", "Ordre. auto : selon modèles/x de HPS Noter."),
        (lost_names, "fr", "HPS_X/inputs/y/tooltip", "Ordre. auto : selon models/x de Noter."),
    ],
)
def test_each_check_finds_its_offender(check: Any, language: str, key: str, text: str) -> None:
    assert list(check(language, ENGLISH, {**ENGLISH, key: text}))


def test_what_is_well_said_passes() -> None:
    good = {"hps/a": "Arrêter après {n} images", "HPS_X/inputs/y/tooltip": "Ordre. auto : selon models/x de HPS Noter."}
    for check in CHECKS:
        assert not list(check("fr", ENGLISH, good)), check.__name__
