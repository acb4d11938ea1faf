"""The rules of the house, read off the source: who may import whom, what nobody may call, how long things may get."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"types", "errors", "paths"}),
    frozenset({"autodiff"}),
    frozenset({"images", "prompts", "cards", "weights"}),
    frozenset({"scorers", "embedded"}),
    frozenset({"rules", "select", "search", "stats", "taste"}),
    frozenset({"ledger", "stamp", "metadata", "containers", "xmp", "promptgraph", "graphsettings", "report"}),
    frozenset({"study", "benchmark"}),
    frozenset({"cli", "commands", "__main__"}),
)
"""First names below hpskit, lowest layer first; a module may import its own layer and those before it."""

ALLOWED = {"embedded": {"types", "errors", "paths", "images", "prompts"}, "__init__": set()}
"""Modules that may import nothing of the library but this and themselves."""

HOSTS = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "server", "execution", "nodes"}
HOSTS |= {"latent_preview", "node_helpers", "modules", "modules_forge", "backend", "gradio", "hpskit_webui"}
SERVING = {"nodes/routes.py": "aiohttp.web", "nodes/guarded.py": "aiohttp.web"}
"""Files that answer the host's own pages, with the one module that they do it by; they ask nobody anything."""
NETWORK = {"urllib", "http", "socket", "ssl", "ftplib", "requests", "httpx", "aiohttp", "urllib3", "huggingface_hub"}
CALLS = {"eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads"}
CALLS |= {"marshal.load", "dill.load", "joblib.load", "shelve.open", "subprocess.getoutput"}
LONGEST_FILE = 350
MEDIAN_FUNCTION, NINE_IN_TEN = 12, 32


@dataclass(frozen=True)
class Source:
    """One parsed file of the repository."""

    name: str
    """Path from the repository's root, with forward slashes."""
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.text, self.name)

    @property
    def package(self) -> list[str]:
        return self.name.split("/")[:-1]

    @property
    def home(self) -> str:
        """First name below hpskit: "search" for hpskit/search/best_of_n.py."""
        return self.name.split("/")[1].removesuffix(".py")


@cache
def _parsed(text: str, name: str) -> ast.Module:
    return ast.parse(text, name)


def sources(*folders: str) -> list[Source]:
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in paths]


Finding = tuple[int, str]
Scan = Callable[[Source], Iterator[Finding]]


def offenders(scan: Scan, files: Sequence[Source]) -> str:
    return "\n".join(f"{source.name}:{line}: {what}" for source in files for line, what in scan(source))


# --- imports ----------------------------------------------------------------------------------------------------------


def imports(source: Source) -> Iterator[tuple[int, int, str]]:
    """Yield (line, level, dotted name) of every import, lazy ones included, with one name an imported thing."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, 0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = [node.module] if node.module else []
            yield from ((node.lineno, node.level, ".".join([*parts, alias.name])) for alias in node.names)


def absolute(source: Source, level: int, name: str) -> list[str]:
    """Return the parts of an import's full name, seen from the repository's root."""
    base = source.package[: len(source.package) - (level - 1)] if level else []
    return [*base, *name.split(".")]


def rank(module: str) -> int | None:
    return next((k for k, layer in enumerate(LAYERS) if module in layer), None)


def upward_imports(source: Source) -> Iterator[Finding]:
    for line, level, name in imports(source):
        parts = absolute(source, level, name)
        if level == 0 or parts[0] != "hpskit" or parts[1] in (source.home, "__version__"):
            continue
        own, other = rank(source.home), rank(parts[1])
        allowed = ALLOWED.get(source.home)
        if other is None:
            yield line, f"imports {'.'.join(parts)}, which has no place in LAYERS of this test"
        elif allowed is not None and parts[1] not in allowed:
            yield line, f"{source.home} may import {', '.join(sorted(allowed)) or 'nothing'} only, not {parts[1]}"
        elif own is not None and other > own:
            yield line, f"{source.home} stands below {parts[1]} and must not import it"


def host_imports(source: Source) -> Iterator[Finding]:
    for line, level, name in imports(source):
        if level == 0 and name.split(".")[0] in HOSTS:
            yield line, f"imports {name}: the library knows no host"
        if level > len(source.package):
            yield line, f"imports {'.' * level}{name} from outside the package"


def absolute_self_imports(source: Source) -> Iterator[Finding]:
    for line, level, name in imports(source):
        if level == 0 and name.split(".")[0] == "hpskit":
            yield line, f"imports {name} by its absolute name; hosts load the pack under another one"


def network_imports(source: Source) -> Iterator[Finding]:
    for line, level, name in imports(source):
        allowed = ("urllib.parse", SERVING.get(source.name, "urllib.parse"))
        if level == 0 and name.split(".")[0] in NETWORK and not name.startswith(allowed):
            yield line, f"imports {name}: only weights may touch the network"


def other_door(banned: str) -> Scan:
    def scan(source: Source) -> Iterator[Finding]:
        for line, level, name in imports(source):
            if banned in absolute(source, level, name)[:2]:
                yield line, f"imports {name}: the doors do not know each other"

    return scan


LIBRARY = sources("hpskit")
NODES = sources("nodes")
WEBUI = sources("hpskit_webui", "scripts")
DOORS = [Source("__init__.py", (ROOT / "__init__.py").read_text("utf-8")), *NODES, *WEBUI]


def test_every_module_has_a_place() -> None:
    homes = {source.home for source in LIBRARY} - {"__init__"}
    assert not {home for home in homes if rank(home) is None}, "add the module to LAYERS of this test"


def test_imports_point_downwards() -> None:
    assert not (found := offenders(upward_imports, LIBRARY)), found


def circles(files: Sequence[Source]) -> dict[str, set[str]]:
    """Return what is left of "imports at its top" after taking away, again and again, whoever imports nothing left."""
    names = {source.name for source in files}
    edges = {source.name: set(_imported_at_top(source, names)) for source in files}
    while free := {name for name, targets in edges.items() if not targets & edges.keys()}:
        edges = {name: targets for name, targets in edges.items() if name not in free}
    return edges


def _imported_at_top(source: Source, known: set[str]) -> Iterator[str]:
    top = Source(source.name, "\n".join(ast.unparse(n) for n in source.tree.body if isinstance(n, ast.ImportFrom)))
    for _, level, name in imports(top):
        parts = absolute(source, level, name)
        stems = ["/".join(parts), "/".join(parts[:-1])]  # a module, or a name out of one
        found = next((path for stem in stems for path in (f"{stem}.py", f"{stem}/__init__.py") if path in known), None)
        if found and found not in (source.name, "/".join([*source.package, "__init__.py"])):
            yield found


def test_modules_do_not_import_each_other_in_circles() -> None:
    assert not (found := circles(LIBRARY)), "\n".join(f"{name} <-> {', '.join(found[name])}" for name in found)


def test_circles_are_found() -> None:
    a, b = Source("hpskit/a.py", "from .b.c import x"), Source("hpskit/b/c.py", "from .. import a")
    assert set(circles([a, b])) == {a.name, b.name}
    assert not circles([a, Source("hpskit/b/c.py", "def f():\n    from .. import a")])


def test_the_library_knows_no_host() -> None:
    assert not (found := offenders(host_imports, LIBRARY)), found


def test_imports_of_the_library_are_relative() -> None:
    assert not (found := offenders(absolute_self_imports, [*LIBRARY, *DOORS])), found


def test_only_weights_touches_the_network() -> None:
    files = [source for source in [*LIBRARY, *DOORS] if not re.match(r"hpskit/weights(\.py|/)", source.name)]
    assert not (found := offenders(network_imports, files)), found


def test_the_two_doors_do_not_know_each_other() -> None:
    found = offenders(other_door("hpskit_webui"), NODES) + offenders(other_door("nodes"), WEBUI)
    assert not found, found


@pytest.mark.parametrize("folder", ["nodes", "models"])
def test_folders_that_would_hide_a_host_package_are_no_packages(folder: str) -> None:
    assert (ROOT / folder).is_dir()
    assert not (ROOT / folder / "__init__.py").exists()


def test_importing_the_library_is_cheap_and_lazy() -> None:
    heavy = "('torch', 'torchvision', 'open_clip', 'numpy', 'PIL', 'safetensors', 'comfy', 'urllib.request')"
    code = f"import sys, hpskit; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_hides_the_public_name_of_the_same_spelling() -> None:
    code = (
        "import importlib, sys, types, hpskit\n"
        "for home in set(hpskit._HOME.values()): importlib.import_module('hpskit.' + home)\n"
        "sys.exit(', '.join(n for n in hpskit._HOME if isinstance(getattr(hpskit, n), types.ModuleType)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"once imported, the module stands for the name: {done.stderr}"


# --- calls ------------------------------------------------------------------------------------------------------------


def calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            yield node, ast.unparse(node.func)


def prints(source: Source) -> Iterator[Finding]:
    yield from ((call.lineno, "print()") for call, name in calls(source) if name == "print")


def unsafe_loads(source: Source) -> Iterator[Finding]:
    for call, name in calls(source):
        if name in ("torch.load", "torch.serialization.load"):
            given = [keyword.value for keyword in call.keywords if keyword.arg == "weights_only"]
            if not (given and isinstance(given[0], ast.Constant) and given[0].value is True):
                yield call.lineno, f"{name} without weights_only=True"


def dangerous_calls(source: Source) -> Iterator[Finding]:
    for call, name in calls(source):
        if name in CALLS:
            yield call.lineno, f"{name}()"
        if any(
            k.arg == "shell" and not (isinstance(k.value, ast.Constant) and not k.value.value) for k in call.keywords
        ):
            yield call.lineno, f"{name}() through a shell"
    for line, level, name in imports(source):
        if level == 0 and name in {entry for entry in CALLS if "." in entry}:
            yield line, f"imports {name}"


def test_nothing_prints() -> None:
    assert not (found := offenders(prints, [*LIBRARY, *DOORS])), found


def test_checkpoints_are_opened_without_running_code() -> None:
    assert not (found := offenders(unsafe_loads, [*LIBRARY, *DOORS, *sources("training", "benchmarks")])), found


def test_nothing_runs_text_as_code() -> None:
    assert not (found := offenders(dangerous_calls, [*LIBRARY, *DOORS])), found


MAKES_MARKUP = ("hpskit/report/markup.py", "hpskit/report/page.py")
"""Where text becomes HTML: `markup` escapes whatever comes in, `page` adds the pack's own style and script."""
ELEMENT = re.compile(r"</?[a-z][a-z0-9-]*(\s+[a-z-]+=|\s*/?>)")


def markup_by_hand(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.JoinedStr) and any(isinstance(part, ast.FormattedValue) for part in node.values):
            parts = node.values
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mod)):
            parts = [node.left, node.right]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            parts = [node.func.value]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Markup":
            yield node.lineno, "Markup() of a text that nobody escaped"
        texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        if ELEMENT.search("".join(texts)):
            yield node.lineno, "HTML put together by hand: hpskit/report/markup.py escapes"


def test_only_markup_makes_html() -> None:
    files = [source for source in [*LIBRARY, *DOORS] if source.name not in MAKES_MARKUP]
    assert not (found := offenders(markup_by_hand, files)), found


# --- size and documentation -------------------------------------------------------------------------------------------

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: Source) -> Iterator[tuple[int, Function]]:
    """Yield every function with its number of lines, decorators and docstring not counted."""
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            skipped = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            yield (node.end_lineno or 0) - node.lineno + 1 - skipped, node


def undocumented(source: Source) -> Iterator[Finding]:
    if not ast.get_docstring(source.tree):
        yield 1, "the module has no docstring"
    for node in source.tree.body:
        yield from _undocumented(node, "")


def _undocumented(node: ast.stmt, owner: str) -> Iterator[Finding]:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name.startswith("_"):
        return
    if not ast.get_docstring(node):
        yield node.lineno, f"{owner}{node.name} has no docstring"
    if isinstance(node, ast.ClassDef):
        for member in node.body:
            yield from _undocumented(member, f"{node.name}.")


def test_files_stay_readable() -> None:
    lengths = {source.name: len(source.text.splitlines()) for source in [*LIBRARY, *DOORS]}
    assert not (found := {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE}), found


def test_functions_stay_short() -> None:
    found = [(lines, f"{s.name}:{f.lineno} {f.name}") for s in [*LIBRARY, *DOORS] for lines, f in functions(s)]
    lengths = [lines for lines, _ in found]
    long = "\n".join(f"{lines} lines: {where}" for lines, where in sorted(found, reverse=True) if lines > NINE_IN_TEN)
    assert statistics.median(lengths) <= MEDIAN_FUNCTION
    assert sum(lines <= NINE_IN_TEN for lines in lengths) >= 0.9 * len(lengths), long


def test_everything_public_has_a_docstring() -> None:
    assert not (found := offenders(undocumented, [*LIBRARY, *NODES, *WEBUI])), found


PERSONAL = re.compile(r"(?<![\w.~:>}/-])/(?:root|work|home|Users)(?=/|[\"'`\s,;)]|$)", re.MULTILINE)


def tracked_texts() -> list[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: the list of tracked files is unknown")
    texts = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        raw = path.read_bytes() if path.is_file() else b""
        if b"\0" not in raw:
            texts.append((name, raw.decode("utf-8", "replace")))
    return texts


def test_no_path_of_somebodys_machine_is_left_behind() -> None:
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for name, text in tracked_texts()
        for match in PERSONAL.finditer(text)
        if name != "tests/core/test_architecture.py"
    ]
    assert not found, "\n".join(found)


# --- the checks can fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scan", "name", "code"),
    [
        (upward_imports, "hpskit/images.py", "from .scorers import load_scorer"),
        (upward_imports, "hpskit/images.py", "from . import search"),
        (upward_imports, "hpskit/scorers/vit.py", "def f():\n    from ..select import select"),
        (upward_imports, "hpskit/embedded/text.py", "from ..scorers.vit import Vit"),
        (upward_imports, "hpskit/select.py", "from .unheard_of import thing"),
        (host_imports, "hpskit/images.py", "import comfy.utils"),
        (host_imports, "hpskit/images.py", "from modules import shared"),
        (host_imports, "hpskit/images.py", "from .. import nodes"),
        (absolute_self_imports, "hpskit/images.py", "from hpskit.types import Scores"),
        (absolute_self_imports, "nodes/score.py", "import hpskit"),
        (network_imports, "hpskit/report/page.py", "from urllib.request import urlopen"),
        (network_imports, "nodes/load.py", "import requests"),
        (other_door("hpskit_webui"), "nodes/load.py", "from ..hpskit_webui import tab"),
        (other_door("nodes"), "hpskit_webui/tab.py", "from ..nodes import host"),
        (prints, "hpskit/cli.py", "def f():\n    print(1)"),
        (unsafe_loads, "hpskit/weights/disk.py", "import torch\ntorch.load(path)"),
        (unsafe_loads, "hpskit/weights/disk.py", "import torch\ntorch.load(path, weights_only=flag)"),
        (dangerous_calls, "hpskit/cli.py", "eval('1')"),
        (dangerous_calls, "hpskit/cli.py", "import os\nos.system('ls')"),
        (dangerous_calls, "hpskit/cli.py", "from pickle import loads"),
        (dangerous_calls, "hpskit/cli.py", "import subprocess\nsubprocess.run(command, shell=True)"),
        (markup_by_hand, "nodes/score.py", "f'<p>{words}</p>'"),
        (markup_by_hand, "nodes/score.py", "'<td class=\"x\">' + words"),
        (markup_by_hand, "nodes/score.py", "'<td class=\"x\">%s' % words"),
        (markup_by_hand, "nodes/score.py", "'<b>{}</b>'.format(words)"),
        (markup_by_hand, "nodes/score.py", "markup.Markup(words)"),
        (undocumented, "hpskit/cli.py", '"""Doc."""\nclass A:\n    """Doc."""\n    def b(self): ...'),
        (undocumented, "hpskit/cli.py", "x = 1"),
    ],
)
def test_each_check_finds_its_offender(scan: Scan, name: str, code: str) -> None:
    assert offenders(scan, [Source(name, code)])


def test_what_is_allowed_passes() -> None:
    good = (
        '"""Doc."""\nfrom ..images import quantize\nfrom . import vit\nfrom urllib.parse import quote\nmodel.eval()\n'
    )
    good += "torch.load(path, weights_only=True)\ntag('p', {}, text(f'{1} < 2'))\n\ndef _f():\n    return 1\n"
    scans = [upward_imports, host_imports, absolute_self_imports, network_imports, unsafe_loads, dangerous_calls]
    for scan in [*scans, prints, undocumented, markup_by_hand]:
        assert not offenders(scan, [Source("hpskit/scorers/clip.py", good)])


@pytest.mark.parametrize("folder", ["root", "work", "home", "Users"])
def test_personal_paths_are_told_from_words(folder: str) -> None:
    assert PERSONAL.search(f'open("/{folder}/me/x.png")')
    assert PERSONAL.search(f"cd /{folder}")
    assert not PERSONAL.search(f"https://example.org/{folder}/x and ~/{folder}/x and a/{folder}/b and /{folder}flow/x")


def test_lengths_leave_docstrings_out() -> None:
    [(lines, _)] = functions(Source("hpskit/cli.py", 'def f():\n    """One.\n\n    Two.\n    """\n    return 1\n'))
    assert lines == 2
