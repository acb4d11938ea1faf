"""Write the tables of README.md (nodes, scorers) and docs/webui.md (options): `python docs/make_tables.py`.

They come from the code and the model cards. With --check the files are only compared. No host is needed: the nodes are
read from their source.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import itertools
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


THEMES = ("load", "score", "select", "best_of_n", "compare", "compare_images", "report", "optimize_noise", "noise")
THEMES += ("save", "embedded", "steer")
"""Files of nodes/ that define nodes, in the order of the table."""


def node_table() -> str:
    """Return one row a node: display name, id and what it does."""
    rows = ["| node | id | what it does |", "|---|---|---|"]
    for theme in THEMES:
        tree = ast.parse((ROOT / "nodes" / f"{theme}.py").read_text(encoding="utf-8"))
        for call in ast.walk(tree):
            fields = _literals(call) if isinstance(call, ast.Call) else {}
            if "node_id" in fields:
                page = f"web/docs/{fields['node_id']}.md"
                rows.append(f"| {fields['display_name']} | [`{fields['node_id']}`]({page}) | {fields['description']} |")
    return "\n".join(rows)


def _literals(call: ast.Call) -> dict[str, Any]:
    constants = ((word.arg, word.value) for word in call.keywords if word.arg)
    return {name: value.value for name, value in constants if isinstance(value, ast.Constant)}


def scorer_table() -> str:
    """Return one row a model card."""
    from hpskit.cards import load_cards

    rows = ["| id | name | download | licence | what it judges |", "|---|---|---|---|---|"]
    for card in load_cards().values():
        shipped = any(file.shipped for file in card.files)
        size = sum(file.bytes or 0 for file in card.files) / 1e9
        weight = "shipped" if shipped else f"{size:.1f} GB"
        rows.append(f"| `{card.id}` | {card.name} | {weight} | {card.licence} | {card.domain} |")
    return "\n".join(rows)


def option_table() -> str:
    """Return one row an option of the web UI's panel: name, default, what it may be, and what it means."""
    options = _web_ui_module("options")
    choices = {"mode": options.MODES, "rule": options.RULES, "stop": options.STOPS}
    choices |= {"method": options.SEARCH_METHODS, "gradient_method": options.GRADIENT_METHODS}
    meanings = _meanings(ROOT / "hpskit_webui" / "options.py", "Options")
    rows = ["| option | default | may be | meaning |", "|---|---|---|---|"]
    for name, value in options.as_dict(options.Options()).items():
        limits = options.LIMITS.get(name)
        allowed = ", ".join(f"`{each}`" for each in choices.get(name, ()))
        allowed = allowed or (f"{limits[0]:g} to {limits[1]:g}" if limits else "")
        rows.append(f"| `{name}` | `{json.dumps(value)}` | {allowed} | {meanings[name]} |")
    return "\n".join(rows)


def _meanings(path: Path, name: str) -> dict[str, str]:
    """Return the texts that stand behind the fields of a class."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    found = {}
    for node, after in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(after, ast.Expr):
            found[node.target.id] = " ".join(ast.literal_eval(after.value).split())
    return found


def _web_ui_module(name: str) -> ModuleType:
    """Load a module of hpskit_webui as the web UI does: the repository's root is a package under another name."""
    root = "hps_tables"
    if root not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            root, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules[root] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[root])
    return importlib.import_module(f"{root}.hpskit_webui.{name}")


TABLES: dict[str, Callable[[], str]] = {"nodes": node_table, "scorers": scorer_table, "options": option_table}
PAGES = {ROOT / "README.md": ("nodes", "scorers"), ROOT / "docs" / "webui.md": ("options",)}
"""The pages, with their tables."""


def render(text: str, names: Sequence[str] = ("nodes", "scorers")) -> str:
    """Return a page with these tables between their markers made anew."""
    for name in names:
        table = TABLES[name]
        pattern = rf"(<!-- {name}: made by docs/make_tables.py -->\n).*?(\n<!-- end -->)"
        text, found = re.subn(pattern, lambda match, table=table: match[1] + table() + match[2], text, flags=re.DOTALL)
        if found != 1:
            raise SystemExit(f"the page needs exactly one marker for the table of {name}")
    return text


def main() -> int:
    """Write the pages, or with --check tell whether they are current."""
    stale = False
    for page, names in PAGES.items():
        old = page.read_text(encoding="utf-8")
        new = render(old, names)
        stale = stale or old != new
        if "--check" not in sys.argv[1:]:
            page.write_text(new, encoding="utf-8", newline="\n")
    return int(stale and "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
