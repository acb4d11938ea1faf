"""The README's tables are made from the code, its links lead somewhere, and its two commands exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs" / "make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_current() -> None:
    maker = _maker()
    for page, names in maker.PAGES.items():
        text = page.read_text(encoding="utf-8")
        assert maker.render(text, names) == text, "run: python docs/make_tables.py"


def test_every_node_and_card_stands_in_the_tables() -> None:
    maker = _maker()
    helped = {path.stem for path in (ROOT / "web" / "docs").glob("HPS_*.md")}
    assert helped == set(re.findall(r"\[`(HPS_\w+)`\]", maker.node_table()))
    cards = {path.stem for path in (ROOT / "models").glob("*.json")}
    assert cards == set(re.findall(r"^\| `([\w.-]+)` \|", maker.scorer_table(), re.MULTILINE))


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("*.md")):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target} does not exist"


def test_the_two_commands_are_those_of_the_project_file() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'pip install -e ".[standalone]" && hps demo' in README
    assert 'pip install -e ".[dev]" && pytest' in README
    assert re.search(r"^standalone = \[", project, re.MULTILINE)
    assert re.search(r"^dev = \[", project, re.MULTILINE)
    assert re.search(r'^hps = "hpskit\.cli:main"$', project, re.MULTILINE)
