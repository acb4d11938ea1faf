"""Write docs/cli.md from the parsers of the `hps` command: `python docs/make_cli.py` (with --check: only compare)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "cli.md"
sys.path.insert(0, str(ROOT))

INTRO = """# The `hps` command

Made from the command's own help by `python docs/make_cli.py`; do not edit.
"""
EXAMPLES = {
    "hps score": [
        'hps score pictures/ --prompt "a red fox in the snow"',
        "hps score pictures/ --recursive --resume scores.jsonl --csv scores.csv",
    ],
    "hps rank": [
        "hps rank pictures/",
        "hps rank pictures/ --prompts prompts.csv --scorer hps-v2.1 --scorer pickscore-v1",
    ],
    "hps pick": ["hps pick pictures/ --keep 2 --copy-to best/", "hps pick pictures/ --min-z 1 --list"],
    "hps compare": [
        "hps compare euler/ dpmpp_2m/ --html report.html",
        "hps compare outputs/ --by sampler,steps --grid grid.png",
        "hps compare --ledger --by sampler --since 2025-01-31",
        "hps compare --study study.json --reference dpmpp_2m --confidence 0.99",
        "hps compare --plan 0.3",
    ],
    "hps best-of": ['hps best-of "a red heart above a blue star, cartoon" -n 16 --keep 2'],
    "hps demo": ["hps demo --open"],
    "hps models": [
        "hps models list",
        "hps models get hps-v2.1",
        "hps models check",
        "hps models convert HPS_v2.1_compressed.pt",
    ],
    "hps ledger": [
        'hps ledger best --prompt "a red fox in the snow"',
        "hps ledger compare --by sampler --scorer hps-v2.1",
        "hps ledger list --search fox --sort standing",
        "hps ledger export -o scores.csv",
        "hps ledger info --ledger ComfyUI/",
        "hps ledger purge --before 2025-01-31",
    ],
    "hps benchmark": [
        "hps benchmark --get-prompts",
        "hps benchmark images/my-model --resume benchmark.jsonl --html benchmark.html",
        "hps benchmark images/ --mode legacy --scorer hps-v2.0 --published",
        "hps benchmark drawbench/ --layout drawbench --prompts drawbench.json",
    ],
    "hps evaluate": [
        "hps evaluate HPD/test.json --images HPD/test --scorer hps-v2.1 --scorer pickscore-v1",
        "hps evaluate ImageReward/data/test.json --images ImageReward/data/test_images --csv agreement.csv",
    ],
}


def render() -> str:
    """Return the page."""
    from hpskit.cli import parser

    top = parser()
    parts = [INTRO, f"{top.description}\n\n{top.epilog}\n"]
    for name, command in _children(top):
        parts += _command(f"hps {name}", command, "##")
    return "\n".join(parts)


def _command(name: str, command: argparse.ArgumentParser, level: str) -> Iterator[str]:
    yield f"{level} `{name}`\n\n{command.description}\n"
    if name in EXAMPLES:
        yield "```\n{}\n```\n".format("\n".join(EXAMPLES[name]))
    actions = [action for group in command._action_groups for action in group._group_actions if _is_shown(action)]
    rows = [_row(action) for action in sorted(actions, key=lambda action: action.dest == "debug")]
    if rows:
        yield "\n".join(["| option | what it does |", "|---|---|", *rows]) + "\n"
    for child, inner in _children(command):
        yield from _command(f"{name} {child}", inner, level + "#")


def _children(command: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _is_shown(action: argparse.Action) -> bool:
    return not isinstance(action, (argparse._SubParsersAction, argparse._HelpAction))


def _row(action: argparse.Action) -> str:
    value = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper())
    if not action.option_strings:
        many = " ..." if action.nargs == "*" else ""
        option = f"`{value}{many}`"
    else:
        takes = "" if action.nargs == 0 else f" {value}"
        option = ", ".join(f"`{name}{takes}`" for name in action.option_strings)
    cells = [text.replace("|", "\\|") for text in (option, action.help or "")]  # even inside of `code`
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Write the page, or with --check tell whether it is current."""
    text = render()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
