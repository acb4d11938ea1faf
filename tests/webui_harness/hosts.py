"""Finds AUTOMATIC1111 and Forge and the Python that runs them, and lays out a data folder of their own for a test run.

What two processes of one host share, and how it is kept apart: settings, models, extensions, embeddings, outputs,
caches and the last prompt (--data-dir); pictures on their way to the browser (GRADIO_TEMP_DIR); files of the hub
(HF_HOME); our ledger (HPS_LEDGER). In its own folder a host then writes nothing but compiled Python and an empty
config_states. The pack is copied, so that a run sees one state of it. Checkpoints are one file for every host and
run, in cache().
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .checkpoints import LAYOUTS

REPO = Path(__file__).resolve().parents[2]
EXTENSION = "hps-nodes"
"""Folder name of the pack below extensions; another one than in the developers' own checkouts, on purpose."""
KINDS = ("a1111", "forge")
TITLES = {"a1111": "AUTOMATIC1111", "forge": "Forge"}
CHECKPOINT = "small15"
"""What a run has unless it asks for another one of LAYOUTS."""
TOKENIZER = "openai/clip-vit-large-patch14"

_COMMON = (
    "--skip-prepare-environment --skip-install --skip-torch-cuda-test --skip-python-version-check --api "
    "--no-download-sd-model"
)
_OWN = {
    "a1111": "--use-cpu all --no-half --precision full --do-not-download-clip",
    "forge": "--always-cpu --cpu --all-in-fp32 --force-fp32 --skip-google-blockly",
}
_DECLARED = ("modules/*.py", "modules_forge/*.py", "backend/args.py", "ldm_patched/modules/args_parser.py")
"""Files in which a web UI declares its launch options."""
_DROPPED = {
    "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "COMMANDLINE_ARGS", "SD_WEBUI_RESTARTING", "PYTHONDONTWRITEBYTECODE",
}  # fmt: skip
_NEEDED = "import torch, gradio, fastapi, safetensors, transformers, open_clip"


@dataclass(frozen=True)
class WebHost:
    """One web UI with the Python that can run it."""

    kind: str
    """"a1111" or "forge"."""
    root: Path
    python: Path

    def options(self, data: Path) -> list[str]:
        """Return the launch options for a run on the CPU with the data folder `data`; forks lack some of them."""
        # Forge serves its own scripts from its data folder only, unless it is told where they are.
        folders = ["--data-dir", str(data), "--gradio-allowed-path", str(self.root)]
        own = _known(self.root, [*_COMMON.split(), *_OWN[self.kind].split()])
        return [*own, *folders]

    def environment(self, data: Path) -> dict[str, str]:
        """Return the environment for its processes: one thread, no network, nothing of the tests' own Python."""
        kept = {key: value for key, value in os.environ.items() if key not in _DROPPED}
        fixed = {
            "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1",
            "HF_HUB_OFFLINE": "1", "HF_HOME": str(data / "hub"), "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_TEMP_DIR": str(data / "tmp"), "HPS_LEDGER": str(data / "ledger.sqlite3"),
            "HPS_WEBUI_KIND": self.kind,
        }  # fmt: skip
        return {**kept, **fixed}


def _known(root: Path, options: list[str]) -> list[str]:
    """Return the options, and their values, that a web UI declares; with an unknown one it would not start."""
    declared = "".join(file.read_text(encoding="utf-8") for name in _DECLARED for file in sorted(root.glob(name)))
    kept, keep = [], True
    for word in options:
        keep = f'"{word}"' in declared or f"'{word}'" in declared if word.startswith("--") else keep
        kept += [word] if keep else []
    return kept


def cache() -> Path:
    """Return the folder that keeps the random checkpoint between runs (HPS_WEBUI_CACHE)."""
    chosen = os.environ.get("HPS_WEBUI_CACHE")
    return Path(chosen).expanduser() if chosen else Path("~/.cache/hps-webui-tests").expanduser()


def _interpreters(kind: str, root: Path) -> list[Path]:
    chosen = os.environ.get(f"HPS_{kind.upper()}_PYTHON")
    if chosen:
        return [Path(chosen).expanduser()]
    binary = Path("Scripts/python.exe") if os.name == "nt" else Path("bin/python")
    return [folder / binary for folder in (root / "venv", root.parent / "venv") if (folder / binary).exists()]


def _can(python: Path) -> bool:
    try:
        return subprocess.run([python, "-c", _NEEDED], capture_output=True, timeout=180, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@functools.cache
def find(kind: str) -> tuple[WebHost | None, str]:
    """Return the host of that kind, or None and what to do to get it."""
    variable = f"HPS_{kind.upper()}_ROOT"
    setting = os.environ.get(variable)
    if not setting:
        return None, (
            f"{TITLES[kind]} is not tested: set {variable} to the folder of an installed web UI (the one with "
            f"webui.py), and HPS_{kind.upper()}_PYTHON to its Python if that is not in venv; see CONTRIBUTING.md"
        )
    root = Path(setting).expanduser().resolve()
    if not (root / "webui.py").is_file() or not (root / "modules").is_dir():
        return None, f"{variable} is {root}, but there is no webui.py with modules/ in that folder"
    pythons = _interpreters(kind, root)
    if not pythons:
        return None, f"no Python beside {root}: start the web UI once, or set HPS_{kind.upper()}_PYTHON"
    if not _can(pythons[0]):
        return None, f"{pythons[0]} lacks parts of {TITLES[kind]}'s requirements ({_NEEDED[7:]})"
    return WebHost(kind, root, pythons[0]), ""


def make_data(
    folder: Path, host: WebHost, *, pack: bool = True, extensions: tuple[Path, ...] = (), settings: dict | None = None,
    checkpoint: str = CHECKPOINT,
) -> Path:  # fmt: skip
    """Lay out `folder` as a data folder: a small checkpoint, a copy of the pack, `extensions` linked, `settings`."""
    for name in ("extensions", "models/Stable-diffusion", "models/VAE", "models/text_encoder", "embeddings", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if pack:
        _copy(REPO, folder / "extensions" / EXTENSION)
    for extension in extensions:
        _link(extension, folder / "extensions" / extension.name)
    # The preview's own network would be downloaded by hosts that come without it.
    given = {"show_progress_type": "Approx cheap", **(settings or {})}
    (folder / "config.json").write_text(json.dumps(given), encoding="utf-8")
    checkpoints = folder / "models" / "Stable-diffusion"
    _link(_checkpoint(host, checkpoint), checkpoints / f"{checkpoint}.safetensors")
    layout = LAYOUTS[checkpoint]
    beside = layout.small_config(host.root) if host.kind == "a1111" else layout.forge
    if beside:
        (checkpoints / f"{checkpoint}.yaml").write_text(beside, encoding="utf-8")
    if host.kind == "a1111":
        _tokenizer(folder / "hub")
    return folder


def _checkpoint(host: WebHost, name: str) -> Path:
    path = cache() / f"{name}.safetensors"
    if not path.exists():
        command = [host.python, "-m", "checkpoints", name, path]
        subprocess.run(command, check=True, timeout=600, cwd=Path(__file__).parent)
    return path


def _tokenizer(hub: Path) -> None:
    """Lay the tokenizer and the shape of the text encoder where the hub's own cache would have them."""
    other = os.environ.get("HPS_FORGE_ROOT")
    source = Path(other).expanduser() / "backend/huggingface/runwayml/stable-diffusion-v1-5" if other else None
    kept = cache() / "clip"
    if source is not None and source.is_dir() and not kept.is_dir():
        part = kept.with_name(f"clip.{os.getpid()}.part")
        shutil.copytree(source / "tokenizer", part)
        shutil.copy(source / "text_encoder" / "config.json", part)
        try:
            part.replace(kept)
        except OSError:  # another run was first
            shutil.rmtree(part)
    if not kept.is_dir():
        return  # the host then takes it from the person's own hub cache, or says that it is missing
    folder = hub / "hub" / f"models--{TOKENIZER.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text("local", encoding="utf-8")
    (folder / "snapshots").mkdir(exist_ok=True)
    _link(kept, folder / "snapshots" / "local")


def _copy(source: Path, target: Path) -> None:
    """Copy without the history: the hosts ask every extension's git for its origin, and complain when it has none."""
    if not target.exists():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*", "__pycache__"))


def _link(source: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:  # Windows without the right to make links
        if source.is_dir():
            _copy(source, target)
        else:
            shutil.copy(source, target)
