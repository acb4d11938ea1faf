"""Write the tables of README.md (nodes, scorers) from the code and the model cards: `python docs/make_tables.py`.

With --check the file is only compared. The nodes are read from their source, so no host is needed.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "README.md"
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


TABLES = {"nodes": node_table, "scorers": scorer_table}


def render(text: str) -> str:
    """Return the page with every table between its two markers made anew."""
    for name, table in TABLES.items():
        pattern = rf"(<!-- {name}: made by docs/make_tables.py -->\n).*?(\n<!-- end -->)"
        text, found = re.subn(pattern, lambda match, table=table: match[1] + table() + match[2], text, flags=re.DOTALL)
        if found != 1:
            raise SystemExit(f"README.md needs exactly one marker for the table of {name}")
    return text


def main() -> int:
    """Write the page, or with --check tell whether it is current."""
    old = PAGE.read_text(encoding="utf-8")
    new = render(old)
    if "--check" in sys.argv[1:]:
        return int(old != new)
    PAGE.write_text(new, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
