"""Write locales/en from the nodes and the scripts: `python docs/make_locales.py` (with --check: only compare).

nodeDefs.json comes from a running ComfyUI, which is found as the tests of the nodes find it (COMFYUI_PATH, else
~/comfy/ComfyUI); the other files are read from web/ and need none: with --web nothing else is made. Then the other
languages, which people write, are compared with the English, and what they lack or have too much is listed.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "web"
LOCALES = ROOT / "locales"

_STRING = r"""(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\$])*`)"""
_STRINGS = rf"{_STRING}(?:\s*\+\s*{_STRING})*"
_COMMENT = re.compile(rf"({_STRING})|(?<![:\\])//[^\n]*|/\*.*?\*/", re.DOTALL)
_CALL = re.compile(r"(?<![\w.$#])(?<!function )t\(")
_WORD = re.compile(rf"t\(\s*({_STRING})\s*,\s*({_STRINGS})\s*[,)]")

Tree = dict[str, Any]


# --- what the scripts say ---------------------------------------------------------------------------------------------


def scripts() -> dict[str, str]:
    """Return the code of web/ by file name, without comments."""
    return {path.name: _COMMENT.sub(r"\1", path.read_text("utf-8")) for path in sorted(WEB.rglob("*.js"))}


def _text(code: str) -> str:
    """Return the value of string literals joined by +."""
    return "".join(ast.literal_eval(re.sub(r"^`|`$", '"""', one)) for one in re.findall(_STRING, code))


def words(code: Mapping[str, str]) -> Tree:
    """Return the English of every t("key", "English") call, nested by the dots of the keys; raises ValueError."""
    found: dict[str, str] = {}
    for name, text in code.items():
        for call in _CALL.finditer(text):
            match = _WORD.match(text, call.start())
            if not match:
                raise ValueError(f"{name}: key and English must be plain strings: {text[call.start() :][:80]}")
            key, english = _text(match[1]), _text(match[2])
            if found.setdefault(key, english) != english:
                raise ValueError(f'{name}: "{key}" has two English texts: "{found[key]}" and "{english}"')
    return nested(found)


def nested(flat: Mapping[str, str]) -> Tree:
    """Return a tree, sorted, of which the dots of the keys name the branches; raises ValueError on a key inside one."""
    tree: Tree = {}
    for key in sorted(flat):
        *branches, leaf = key.split(".")
        place = tree
        for branch in branches:
            place = place.setdefault(branch, {})
            if not isinstance(place, dict):
                raise ValueError(f'"{key}" lies inside another key')
        place[leaf] = flat[key]
    return tree


def settings(code: Mapping[str, str]) -> Tree:
    """Return name and tooltip of every setting, by the id that the host looks up."""
    text = code["settings.js"]
    blocks = re.split(r'(?=\bid:\s*"HPS\.)', text)[1:]
    return {_key(_field(block, "id")): _fields(block, ("name", "tooltip")) for block in blocks}


def commands(code: Mapping[str, str]) -> Tree:
    """Return the label of every command, also of the one that the host makes for the tab of the sidebar."""
    block = re.search(r"\bcommands:\s*\[(.*?)\n  \]", code["hps.js"], re.DOTALL)
    assert block is not None, "hps.js registers no commands"
    own = re.split(r"(?=\bid:)", block[1])[1:]
    found = {_key(_field(one, "id")): _fields(one, ("label", "tooltip")) for one in own}
    tab = re.search(rf"\bID\s*=\s*({_STRING})", code["sidebar.js"])
    title = re.search(rf"\btitle:\s*({_STRING})", code["sidebar.js"])
    assert tab is not None and title is not None, "sidebar.js registers no tab"
    return found | {f"Workspace_ToggleSidebarTab_{_text(tab[1])}": {"label": f"Toggle {_text(title[1])} Sidebar"}}


def _fields(block: str, names: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name in names if (value := _field(block, name))}


def _field(block: str, name: str) -> str:
    match = re.search(rf"\b{name}:\s*({_STRINGS})", block)
    return _text(match[1]) if match else ""


def _key(name: str) -> str:
    """Return a name as the host's keys have it."""
    return name.replace(".", "_")


def main_words(code: Mapping[str, str]) -> Tree:
    """Return main.json: the scripts' words, and what the host looks up by its English text."""
    groups = re.findall(r'\bcategory:\s*\["(\w+)", "(\w+)"', code["settings.js"])
    labels = [entry["label"] for name, entry in commands(code).items() if name.startswith("HPS_")]
    nodes = "".join(path.read_text("utf-8") for path in (ROOT / "nodes").glob("*.py"))
    categories = {part for path in re.findall(r'\bcategory="([^"]+)"', nodes) for part in path.split("/")}
    return {
        "hps": words(code),
        "menuLabels": _itself(_key(label) for label in labels),
        "nodeCategories": _itself(categories),
        "settingsCategories": _itself({group for pair in groups for group in pair}),
    }


def _itself(names: Iterator[str] | set[str]) -> dict[str, str]:
    return {name: name for name in sorted(names)}


# --- what the nodes say -----------------------------------------------------------------------------------------------


def object_info() -> Mapping[str, Any]:
    """Return what a ComfyUI, started for it, tells of its nodes; ends the program when there is none."""
    sys.path.insert(0, str(ROOT / "tests"))
    from comfy_harness import Server, find_hosts, make_base

    hosts, reason = find_hosts()
    if not hosts:
        raise SystemExit(f"The nodes cannot be asked: {reason}. Use --web for the files that need no ComfyUI.")
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(hosts[0], make_base(Path(folder) / "base"), Path(folder) / "log") as server,
    ):
        return dict(server.get("/object_info"))


def node_defs(info: Mapping[str, Any]) -> Tree:
    """Return names and tooltips of the pack's nodes from what a host answers at /object_info."""
    return {_key(name): _node(info[name]) for name in sorted(info) if name.startswith("HPS_")}


def _node(info: Mapping[str, Any]) -> Tree:
    given = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    ordered = [name for part in ("required", "optional") for name in info["input_order"].get(part, [])]
    tips = info.get("output_tooltips") or [None] * len(info["output_name"])
    outputs = {str(i): _entry(name, tip) for i, (name, tip) in enumerate(zip(info["output_name"], tips, strict=True))}
    node = {"display_name": info["display_name"], "description": info["description"]}
    node["inputs"] = {_key(name): _input(name, given[name]) for name in ordered}
    return node | ({"outputs": outputs} if outputs else {})


def _input(name: str, spec: list[Any]) -> dict[str, str]:
    options = spec[1] if len(spec) > 1 else {}
    return _entry(options.get("display_name") or name, options.get("tooltip"))


def _entry(name: str, tooltip: str | None) -> dict[str, str]:
    return {"name": name} | ({"tooltip": tooltip} if tooltip else {})


# --- files ------------------------------------------------------------------------------------------------------------


def files(web_only: bool = False) -> dict[str, str]:
    """Return the text of the English files by name."""
    code = scripts()
    trees = {"main.json": main_words(code), "settings.json": settings(code), "commands.json": commands(code)}
    if not web_only:
        trees["nodeDefs.json"] = node_defs(object_info())
    return {name: dumped(tree) for name, tree in trees.items()}


def dumped(tree: Tree) -> str:
    """Return the text of a file."""
    return json.dumps(tree, ensure_ascii=False, indent=2) + "\n"


def flat(tree: Tree, before: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts of a tree with the path of each, joined by slashes."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{key}/")
        else:
            yield before + key, value


def read(language: str, name: str) -> dict[str, str]:
    """Return the texts of a file of a language by path; none when it is not there."""
    path = LOCALES / language / name
    return dict(flat(json.loads(path.read_text("utf-8")))) if path.is_file() else {}


def differences() -> Iterator[str]:
    """Yield every text that a language lacks, or has though the English has it no longer."""
    others = sorted(path.name for path in LOCALES.iterdir() if path.is_dir() and path.name != "en")
    for name in sorted(path.name for path in (LOCALES / "en").glob("*.json")):
        english = read("en", name)
        for language in others:
            found = read(language, name)
            yield from (f"{language}/{name} lacks {key}: {english[key]}" for key in english if key not in found)
            yield from (f"{language}/{name} has {key}, which English has not" for key in found if key not in english)


def main() -> int:
    """Write the files, or with --check tell whether they are current; list what the other languages lack."""
    made = files("--web" in sys.argv[1:])
    old = {path.name: path.read_text("utf-8") for path in (LOCALES / "en").glob("*.json")}
    stale = [name for name, text in made.items() if old.get(name) != text]
    checking = "--check" in sys.argv[1:]
    for name in () if checking else stale:
        (LOCALES / "en" / name).write_text(made[name], encoding="utf-8", newline="\n")
    lacking = list(differences())
    said = [f"en/{name} {'is not current' if checking else 'is written'}" for name in stale] + lacking
    sys.stdout.writelines(f"locales/{line}\n" for line in said)
    return int(bool(lacking or (checking and stale)))


if __name__ == "__main__":
    sys.exit(main())
