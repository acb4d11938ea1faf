"""The pack inside a host that has just started."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from webui_inside import PACK, img2img, kind, loading, pack, runner, script, timings, trouble, txt2img, whole_log

_OWN = ("hps-nodes", "hps_pack", "hpskit", "hps_nodes", "HPS")


def check_nothing_is_reported_at_start() -> None:
    wrong = [line for line in trouble(whole_log()) if "sha256" not in line]
    assert not wrong, whole_log()
    assert not [line for line in whole_log().splitlines() if any(name in line for name in _OWN) and "rror" in line]


def check_no_weights_are_loaded_at_start() -> None:
    import gc

    import torch

    heavy = [f"{PACK}.hpskit.scorers", f"{PACK}.hpskit.search", f"{PACK}.hpskit.study", "open_clip"]
    loaded = [name for name in heavy if name in sys.modules]
    host_has_it = kind == "a1111"  # its own text encoders import open_clip
    assert loaded == (["open_clip"] if host_has_it else []) or loaded == [], loaded
    own = [each for each in gc.get_objects() if isinstance(each, torch.nn.Module) and PACK in type(each).__module__]
    assert not own, own


def check_the_panel_stands_in_both_tabs() -> None:
    names = pack("hpskit_webui.options").NAMES
    for tab in ("txt2img", "img2img"):
        own = [each for each in runner(tab).scripts if each.title() == "HPS"]
        assert len(own) == 1 and own[0].alwayson, [each.title() for each in runner(tab).scripts]
        assert len(own[0].controls) == len(names) == own[0].args_to - own[0].args_from
        assert all(control.elem_id for control in own[0].controls)
        assert len({control.elem_id for control in own[0].controls}) == len(names)


def check_the_panel_is_off_until_someone_turns_it_on() -> None:
    options = pack("hpskit_webui.options")
    given = options.read([control.value for control in script().controls])
    assert given.mode == options.OFF, given
    made = txt2img()
    assert "HPS" not in made.infotexts[0] and not made.errors, made.infotexts
    assert f"{PACK}.hpskit.scorers" not in sys.modules


def check_building_the_panel_again_has_no_effect() -> None:
    import gradio

    before = dict(script().__dict__)
    with gradio.Blocks():
        again = script().ui(False)
    assert len(again) == len(before["controls"])
    assert script().args_from == before["args_from"]


def check_start_costs_little() -> dict[str, Any]:
    """Give the processor time of our scripts and what came with them; the limit stands in test_load.py."""
    own = {name: each for name, each in loading.items() if "test_probe" not in name}
    assert own, loading
    return {
        "seconds": {name: each[0] for name, each in own.items()},
        "others": [name for each in own.values() for name in each[1] if not name.startswith((PACK, "hps_"))],
        "start": timings,
    }


def check_the_host_finds_its_own_modules() -> None:
    import importlib

    from modules import interrogate

    interrogate.InterrogateModels("interrogate").create_fake_fairscale()
    blip = importlib.import_module("models.blip")
    assert "BLIP" in str(Path(blip.__file__)), blip.__file__
    ours = [name for name, each in sys.modules.items() if _ours(each) and not name.startswith((PACK, "webui_check"))]
    assert not [name for name in ours if name in ("nodes", "models", "tests", "scripts", "core", "web")], ours


def _ours(module: Any) -> bool:
    return "hps-nodes" in str(getattr(module, "__file__", None) or "")


def check_an_unknown_option_makes_a_picture_and_says_so() -> None:
    made = txt2img({"mode": "score", "scoring": "hps-tiny-shapes"})
    assert len(made.images) == 1 and "HPS error: " in made.infotexts[0], made.infotexts
    assert "Unknown option" in made.processed.comments, made.processed.comments


def check_a_missing_scorer_makes_a_picture_and_says_so() -> None:
    made = img2img(txt2img().images[0], {"mode": "best-of-n", "scorer": "nothing.safetensors"})
    assert len(made.images) == 1 and "HPS error: " in made.infotexts[0], made.infotexts
    assert not made.errors or all("HPS error" in line for line in made.errors), made.log


def _axes() -> int:
    from modules import scripts

    plots = [data.module for data in scripts.scripts_data if str(data.path).endswith("xyz_grid.py")]
    return sum("HPS" in option.label for plot in plots for option in plot.axis_options)


def check_loading_the_scripts_again_registers_nothing_twice() -> None:
    """What the button Reload UI does: all callbacks are cleared and all scripts loaded anew."""
    from modules import script_callbacks, scripts, shared, ui

    def own() -> dict[str, int]:
        known = {
            name: sum("hps-nodes" in str(getattr(one, "script", "")) for one in each)
            for name, each in script_callbacks.callback_map.items()
        }
        return {name: count for name, count in known.items() if count}

    before, axes = own(), _axes()
    scripts.load_scripts()
    script_callbacks.before_ui_callback()
    shared.demo = ui.create_ui()
    assert own() == before, (own(), before)
    assert _axes() == axes
    assert len([each for each in runner().scripts if each.title() == "HPS"]) == 1
    made = txt2img({"mode": "score", "scorer": "hps-tiny-shapes"})
    assert made.scores[0] is not None and not made.errors, made.log
