"""Which scorers a host offers: the known ones, files in its folders, and what is said of those that are not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fakes.web import Web

TINY = "hps-tiny-shapes"
LABEL = "hps-tiny-shapes (miniature for trials: judges coloured shapes only)"


def test_choices_begin_with_what_is_known_and_end_with_miniatures(web: Web, host: Any) -> None:
    folder = host.models_folder() / "mine"
    folder.mkdir(parents=True)
    for name in ("own.safetensors", "notes.txt", ".hidden.pt"):
        (folder / name).write_bytes(b"x")
    (folder / "HPS_v2.1_compressed.pt").write_bytes(b"x")
    choices = host.scorer_choices()
    assert "mine/own.safetensors" in choices and not any("notes" in name or "hidden" in name for name in choices)
    assert "hps-v2.1" in choices and choices[-1] == LABEL
    assert not any(name.endswith("HPS_v2.1_compressed.pt") for name in choices), "that file is hps-v2.1"


def test_a_further_folder_is_looked_through(web: Web, host: Any) -> None:
    further = web.folder / "elsewhere"
    further.mkdir()
    (further / "other.pt").write_bytes(b"x")
    web.opts.data["hps_models_folder"] = f' "{further}" '
    assert "other.pt" in host.scorer_choices()
    assert host.locate("other.pt") == {"weights": further / "other.pt"}
    web.opts.data["hps_models_folder"] = str(web.folder / "missing")
    assert "other.pt" not in host.scorer_choices()


@pytest.mark.parametrize(
    "name",
    ["../secret.pt", "/etc/secret.pt", "..\\secret.pt", "C:\\secret.pt", "a/../../secret.pt", "", "x\0.pt", ".x.pt",
     "config.json", "~/secret.pt"],
)  # fmt: skip
def test_names_that_lead_elsewhere_mean_no_file(web: Web, host: Any, name: str) -> None:
    from importlib import import_module

    (host.models_folder().parent / "secret.pt").parent.mkdir(parents=True, exist_ok=True)
    (host.models_folder().parent / "secret.pt").write_bytes(b"x")
    host.models_folder().mkdir(exist_ok=True)
    (host.models_folder() / "config.json").write_text("{}")
    errors = import_module("hps_pack.hpskit.errors")
    with pytest.raises(errors.CheckpointMissing, match="Put it into"):
        host.locate(name)


def test_what_is_missing_is_said_with_the_nearest_thing_to_do(
    host: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from importlib import import_module

    for name in ("HPS_MODELS", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    errors = import_module("hps_pack.hpskit.errors")
    with pytest.raises(errors.CheckpointMissing, match="Press Download in the tab HPS > Models") as caught:
        host.locate("hps-v2.1")
    assert str(host.models_folder()) in str(caught.value)


def test_several_scorers_are_one_with_the_rule_of_the_panel(web: Web, host: Any) -> None:
    options = web.module("options")
    both = host.scorer_of(options.Options(scorer=TINY, guards=("hps-tiny-judge",)))
    assert list(both.members) == [TINY, "hps-tiny-judge"] and both.rule.kind == "gate"
    assert host.scorer_of(options.Options(scorer=TINY, guards=("hps-tiny-judge",), rule="worst")).rule.kind == "worst"


def test_the_folder_of_the_ledger_is_hidden(web: Web, host: Any) -> None:
    """A1111's file route serves the whole data folder but for names that begin with a dot."""
    assert host.state_folder().name.startswith(".") and host.state_folder().is_absolute()
