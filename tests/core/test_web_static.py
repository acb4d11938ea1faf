"""What can be said about the scripts and styles of web/ by reading them: nothing unsafe, nothing foreign, no slips."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]
WEB = REPO / "web"
SCRIPTS = {path.relative_to(WEB).as_posix(): path.read_text("utf-8") for path in sorted(WEB.rglob("*.js"))}
STYLES = {path.relative_to(WEB).as_posix(): path.read_text("utf-8") for path in sorted(WEB.rglob("*.css"))}
WORDS = REPO / "locales/en/main.json"
LONGEST_FILE = 350

_TOKEN = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)"""
    r"|(?P<comment>//[^\n]*|/\*.*?\*/)"
    r"|(?P<regex>(?<=[(,=:\[!&|?{};\n])[ \t]*/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/)",
    re.DOTALL,
)
_UNSAFE = re.compile(
    r"\b(?:innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|srcdoc|setHTMLUnsafe|DOMParser)\b"
    r"|\bdocument\s*\.\s*write(?:ln)?\b|\beval\s*\(|\bnew\s+Function\b|\bsetTimeout\s*\(\s*[\"'`]"
    r"|\.setAttribute\(\s*[\"'`]on|\bdangerouslySet|javascript:"
)
_STORES = re.compile(r"\b(?:localStorage|sessionStorage|indexedDB)\b|\bdocument\s*\.\s*cookie\b")
_NAMESPACE = re.compile(r"http://www\.w3\.org/(?:2000/svg|1999/xhtml|1999/xlink)\b")
_FOREIGN = re.compile(r"(?:https?|wss?):(?=/)|[\"'`(]\s*//\w", re.IGNORECASE)
_IMPORT = re.compile(r"""(?:\bfrom\s*|\bimport\s*\(?\s*)(["'`])([^"'`]+)\1""")
_LEGACY = re.compile(r"/scripts/(?!app\.js$|api\.js$)|/extensions/core/")
_WORD = re.compile(r"""(?<![\w.$])t\(\s*(["'`])([^"'`$]+)\1""")

Finding = tuple[int, str]


def without_comments(text: str) -> str:
    """Return the code with comments blanked out, lines kept; what looks like a comment inside a string stays."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match.group()) if match.lastgroup == "comment" else match.group()

    return _TOKEN.sub(blank, text)


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1


def unsafe(name: str, text: str) -> Iterator[Finding]:
    code = without_comments(text)
    yield from (
        (_line(code, match), f"{match.group()}: text only through textContent") for match in _UNSAFE.finditer(code)
    )
    yield from ((_line(code, match), f"{match.group()}: prompts stay out of it") for match in _STORES.finditer(code))


def foreign(name: str, text: str) -> Iterator[Finding]:
    code = _NAMESPACE.sub("", without_comments(text))
    yield from ((_line(code, match), "an address of another host") for match in _FOREIGN.finditer(code))


def bad_imports(name: str, text: str) -> Iterator[Finding]:
    """Yield imports that are not relative, that miss, or that the host calls internal."""
    code = without_comments(text)
    home = (WEB / name).parent
    for match in _IMPORT.finditer(code):
        path = match.group(2)
        target = (home / path).resolve()
        if not path.startswith("."):
            yield _line(code, match), f"imports {path}: paths are relative, so that a prefix before them works"
        elif target.is_relative_to(WEB):
            if not target.is_file():
                yield _line(code, match), f"imports {path}, which is not there"
        elif target.parent != WEB.parents[1] / "scripts" or _LEGACY.search(path):
            yield _line(code, match), f"imports {path}: of the host, scripts/app.js and scripts/api.js only"


def untyped(name: str, text: str) -> Iterator[Finding]:
    if not text.startswith("// @ts-check\n"):
        yield 1, "does not begin with // @ts-check"


def overlong(name: str, text: str) -> Iterator[Finding]:
    lines = len(text.splitlines())
    if lines > LONGEST_FILE:
        yield lines, f"{lines} lines, above {LONGEST_FILE}"


CHECKS = [unsafe, foreign, bad_imports, untyped, overlong]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_scripts(check: Any) -> None:
    found = [f"web/{name}:{line}: {what}" for name, text in SCRIPTS.items() for line, what in check(name, text)]
    assert not found, "\n".join(found)


def test_styles_load_nothing() -> None:
    found = [
        f"web/{name}:{_line(text, match)}: {match.group()}"
        for name, text in STYLES.items()
        for match in re.finditer(r"@import|\bhttps?:|url\(\s*[\"']?(?!data:)|\bexpression\(", text)
    ]
    assert not found, "\n".join(found)


def test_only_one_file_registers() -> None:
    found = [name for name, text in SCRIPTS.items() if "registerExtension(" in without_comments(text)]
    assert found in ([], ["hps.js"])


def words(tree: dict[str, Any], before: str = "") -> Iterator[str]:
    """Yield the keys of a file of words, those of nested groups joined by dots."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from words(value, f"{before}{key}.")
        else:
            yield before + key


def test_every_text_stands_in_the_english_words() -> None:
    if not WORDS.is_file():
        pytest.skip("locales/en/main.json is not there yet")
    known = set(words(json.loads(WORDS.read_text("utf-8"))["hps"]))
    used = {match.group(2): name for name, text in SCRIPTS.items() for match in _WORD.finditer(without_comments(text))}
    assert not (missing := {f"{key} (web/{name})" for key, name in used.items() if key not in known}), missing


def test_no_script_is_loaded_twice() -> None:
    text = (REPO / "pyproject.toml").read_text("utf-8")
    assert "[tool.comfy]" in text
    section = text.split("[tool.comfy]")[1].split("\n[")[0]
    assert not re.search(r"^web\s*=", section, re.MULTILINE), "WEB_DIRECTORY alone: the host would load web/ twice"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not there: the syntax of web/ was not checked")
@pytest.mark.parametrize("name", SCRIPTS)
def test_syntax(name: str) -> None:
    command = ["node", "--input-type=module", "--check"]
    done = subprocess.run(command, input=SCRIPTS[name], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


# --- the checks can fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "code"),
    [
        (unsafe, "el.innerHTML = x;"),
        (unsafe, "el['outerHTML'] = x;"),
        (unsafe, "el.insertAdjacentHTML('beforeend', x);"),
        (unsafe, "document.write(x);"),
        (unsafe, "/* fine */ eval (x);"),
        (unsafe, "new Function('return 1')();"),
        (unsafe, "el.setAttribute('onclick', x);"),
        (unsafe, "localStorage.setItem('p', prompt);"),
        (unsafe, "const a = 'it''s // no comment'; el.innerHTML = x;"),
        (foreign, "fetch('https://example.org/x.json');"),
        (foreign, "fetch(`//example.org/x.json`);"),
        (foreign, "const at = /x/; import('http://example.org/x.js');"),
        (bad_imports, 'import { app } from "/scripts/app.js";'),
        (bad_imports, 'import { ComfyButton } from "../../scripts/ui.js";'),
        (bad_imports, 'const m = await import("./lib/nothing.js");'),
        (bad_imports, 'import "lodash";'),
        (untyped, "/** @file */"),
        (overlong, "x;\n" * 351),
    ],
)
def test_each_check_finds_its_offender(check: Any, code: str) -> None:
    assert list(check("hps.js", code))


def test_what_is_allowed_passes() -> None:
    good = '// @ts-check\n// no innerHTML, see https://example.org\nimport { app } from "../../scripts/app.js";\n'
    good += 'const SVG = "http://www.w3.org/2000/svg"; /* eval( */\nel.textContent = "a // b"; const r = /[/"]\\//g;\n'
    for check in CHECKS:
        assert not list(check("hps.js", good)), check.__name__


def test_words_are_found() -> None:
    assert [match.group(2) for match in _WORD.finditer('t("gallery.copy", "Copy") + x.t("no") + sort("no")')] == [
        "gallery.copy"
    ]
    assert set(words({"a": {"b": "x", "c": {"d": "y"}}, "e": "z"})) == {"a.b", "a.c.d", "e"}
