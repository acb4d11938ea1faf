from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "install.py"
HOST = {"torch", "torchvision", "numpy", "PIL", "pip"}


@pytest.fixture
def install(monkeypatch):
    def forbidden(*args: object, **kwargs: object) -> int:
        raise AssertionError("importing install.py must start nothing")

    monkeypatch.setattr(subprocess, "call", forbidden)
    spec = importlib.util.spec_from_file_location("hps_install", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Machine:
    """A Python with some packages, and what was run and said."""

    def __init__(self, *packages: str, works: bool = True, uv: str | None = None) -> None:
        self.packages, self.works, self.uv = set(packages), works, uv
        self.commands: list[list[str]] = []
        self.words = ""

    def run(self, command: list[str]) -> int:
        self.commands.append(list(command))
        if self.works:
            names = [part.split(">")[0].split("<")[0] for part in command]
            self.packages |= {"open_clip" if name == "open_clip_torch" else name for name in names}
        return 0 if self.works else 1

    def say(self, text: str) -> None:
        self.words += text

    def main(self, install) -> int:
        return install.main(self.run, self.packages.__contains__, lambda name: self.uv, self.say)


def test_a_bare_host_gets_open_clip_and_the_light_packages_in_one_go(install):
    machine = Machine(*HOST)
    assert machine.main(install) == 0
    [command] = machine.commands
    assert command[:4] == [sys.executable, "-m", "pip", "install"] and "--no-deps" in command
    asked = {install.COMPLETE.get(name, name) for name in install.LIGHT}
    assert {part for part in command[4:] if not part.startswith("-")} == {install.MAIN, *asked}


def test_a_hub_client_that_needs_more_packages_is_not_taken(install):
    machine = Machine(*HOST, "open_clip", *(set(install.LIGHT) - {"huggingface_hub"}))
    assert machine.main(install) == 0
    assert machine.commands[0][-1] == "huggingface_hub<1" and '"' not in machine.words


def test_only_what_is_missing_is_named(install):
    machine = Machine(*HOST, "timm", "regex", "huggingface_hub", "safetensors", "tqdm", "wcwidth")
    assert machine.main(install) == 0
    assert [part for part in machine.commands[0][4:] if not part.startswith("-")] == [install.MAIN, "ftfy"]


def test_a_complete_host_is_left_alone(install):
    machine = Machine(*HOST, "open_clip", *install.LIGHT)
    assert machine.main(install) == 0 and machine.commands == [] and machine.main(install) == 0


@pytest.mark.parametrize("host", ["torch", "torchvision", "numpy", "pillow", "PIL"])
def test_the_hosts_own_packages_are_never_asked_for(install, host):
    assert not any(name.startswith(host) for name in (install.MAIN, *install.LIGHT) if name != install.MAIN)
    machine = Machine(*HOST)
    machine.main(install)
    assert host not in machine.commands[0]


def test_without_a_host_it_does_nothing(install):
    machine = Machine("pip")
    assert machine.main(install) == 1 and machine.commands == []
    assert "torch" in machine.words and "Python of your host" in machine.words


@pytest.mark.parametrize("module", [True, False])
def test_an_environment_without_pip_uses_uv(install, module):
    machine = Machine(*(HOST - {"pip"}), *(["uv"] if module else []), uv="/bin/uv")
    assert machine.main(install) == 0
    [command] = machine.commands
    start = [sys.executable, "-m", "uv"] if module else ["/bin/uv"]
    assert command[: len(start) + 5] == [*start, "pip", "install", "--no-deps", "--python", sys.executable]


def test_without_pip_and_uv_it_says_what_to_install(install):
    machine = Machine(*(HOST - {"pip"}))
    assert machine.main(install) == 1 and machine.commands == []
    assert install.MAIN in machine.words


def test_a_failed_installation_says_the_command(install):
    machine = Machine(*HOST, *install.LIGHT, works=False)
    assert machine.main(install) == 1
    assert f'--disable-pip-version-check "{install.MAIN}"' in machine.words
    assert "without a network" in machine.words and "the host works as ever" in machine.words


@pytest.mark.parametrize(("version", "said"), [("2.7.0", True), ("4.0.0", True), ("2.20.0", False), ("3.3.0", False)])
def test_an_open_clip_of_another_age_is_named_and_left(install, monkeypatch, version, said):
    monkeypatch.setattr(install, "installed_version", lambda: version)
    machine = Machine(*HOST, "open_clip", *install.LIGHT)
    assert machine.main(install) == 0 and machine.commands == []
    assert (f"open_clip_torch {version} is installed and left as it is" in machine.words) == said


def test_presence_is_found_without_importing(install, tmp_path, monkeypatch):
    (tmp_path / "hps_never_imported.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert install.is_present("hps_never_imported") and "hps_never_imported" not in sys.modules
    assert not install.is_present("hps_does_not_exist")


def test_the_requirement_is_the_one_of_requirements_txt(install):
    assert (PATH.parent / "requirements.txt").read_text().split() == [install.MAIN]


def test_the_version_is_the_one_that_the_package_says(install):
    pytest.importorskip("open_clip")
    assert install.installed_version() == importlib.metadata.version("open_clip_torch")


def test_the_version_is_unknown_without_the_package(install, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert install.installed_version() == ""


def world(tmp_path: Path, *absent: str) -> dict[str, str]:
    """Make empty packages of everything but `absent`, and return the environment of a Python that sees only them."""
    for name in {"torch", "torchvision", "numpy", "PIL", "open_clip", "pip", *light()} - set(absent):
        (tmp_path / name).mkdir()
        # Importing one of them would take the seconds that a start must not lose, and fail where it is broken.
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "open_clip_torch-2.20.0.dist-info").mkdir()
    return {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONNOUSERSITE": "1"}


def light() -> tuple[str, ...]:
    spec = importlib.util.spec_from_file_location("hps_install_read", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.LIGHT


def run_alone(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    # -S: nothing of this Python's own packages is seen, as if the host had only those of the environment
    return subprocess.run([sys.executable, "-S", str(PATH)], env=environment, capture_output=True, text=True)


def test_a_start_of_a_complete_host_is_silent(tmp_path):
    done = run_alone(world(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_takes_time_is_not_imported_when_nothing_is_missing(tmp_path):
    heavy = ("subprocess", "shutil", "importlib.metadata", "pathlib", "email", "tempfile")
    code = f"import runpy, sys\ntry:\n    runpy.run_path({str(PATH)!r}, run_name='__main__')\n"
    code += f"except SystemExit as end:\n    assert end.code == 0\nprint([n for n in {heavy!r} if n in sys.modules])"
    bare = f"import runpy, sys; print([n for n in {heavy!r} if n in sys.modules])"
    environment = world(tmp_path)
    seen = [
        subprocess.run([sys.executable, "-S", "-c", one], env=environment, capture_output=True, text=True, check=True)
        for one in (code, bare)
    ]
    assert seen[0].stdout == seen[1].stdout


def test_a_host_without_pip_and_uv_is_told_what_is_missing(tmp_path):
    environment = world(tmp_path, "pip", "ftfy") | {"PATH": str(tmp_path)}
    done = run_alone(environment)
    assert done.returncode == 1 and "neither pip nor uv" in done.stdout and "ftfy" in done.stdout
    assert "open_clip_torch" not in done.stdout


def test_an_old_open_clip_is_named_in_one_line(tmp_path):
    environment = world(tmp_path)
    (tmp_path / "open_clip_torch-2.20.0.dist-info").rename(tmp_path / "open_clip_torch-2.7.0.dist-info")
    done = run_alone(environment)
    assert done.returncode == 0 and done.stdout.count("\n") == 1 and "open_clip_torch 2.7.0" in done.stdout
