"""The words of the scripts: each key has one English text, and locales/en holds exactly these."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENGLISH = ROOT / "locales/en/main.json"
CALL = re.compile(r'\bt\(\s*"([A-Za-z0-9.]+)",\s*("(?:[^"\\]|\\.)*")')
ANY_CALL = re.compile(r"(?<![\w.])t\((?!key, fallback)")


def spoken() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "web").rglob("*.js")):
        source = path.read_text(encoding="utf-8")
        calls = CALL.findall(source)
        assert len(calls) == len(ANY_CALL.findall(source)), f"{path.name}: t() wants its key and text as literals"
        for key, text in calls:
            found.setdefault(key, set()).add(json.loads(text))
    return found


def flat(tree: dict[str, object], before: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in tree.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found


def test_a_key_has_one_text() -> None:
    assert {key: texts for key, texts in spoken().items() if len(texts) > 1} == {}


def test_the_english_words_are_those_of_the_scripts() -> None:
    written = flat(json.loads(ENGLISH.read_text(encoding="utf-8"))["hps"])
    assert written == {key: next(iter(texts)) for key, texts in spoken().items()}


def test_the_file_is_sorted() -> None:
    text = ENGLISH.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
