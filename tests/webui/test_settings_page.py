"""The page of settings, and the values where they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fakes.web import Web


def test_every_setting_is_an_option_of_the_host_with_its_default(web: Web) -> None:
    web.boot()
    settings = web.module("settings")
    for one in settings.SETTINGS:
        option = web.opts.data_labels[one.name]
        assert (option.default, option.label, option.section) == (one.default, one.label, ("hps", "HPS"))
        assert settings.get(one.name) == one.default


def test_values_are_known_before_the_host_has_options(web: Web) -> None:
    shared = web.host("shared")
    opts, shared.opts = shared.opts, None
    try:
        assert web.module("settings").get("hps_ledger") is True
    finally:
        shared.opts = opts


@pytest.mark.parametrize(
    ("name", "stored", "value"),
    [
        ("hps_ledger", False, False),
        ("hps_ledger", "yes", True),
        ("hps_ledger_megabytes", 64, 64),
        ("hps_ledger_megabytes", 64.0, 64),
        ("hps_ledger_megabytes", 1, 16),
        ("hps_ledger_megabytes", 10**9, 4096),
        ("hps_ledger_megabytes", float("nan"), 256),
        ("hps_ledger_megabytes", True, 256),
        ("hps_ledger_megabytes", None, 256),
        ("hps_dtype", "fp16", "fp16"),
        ("hps_dtype", "fp8", "auto"),
        ("hps_default_scorer", ["x"], "hps-v2.1"),
    ],
)
def test_what_people_write_into_the_file_of_settings_is_checked(web: Web, name: str, stored: Any, value: Any) -> None:
    web.boot()
    web.opts.data[name] = stored
    got = web.module("settings").get(name)
    assert got == value and type(got) is type(value)


def test_an_unknown_setting_is_an_error(web: Web) -> None:
    with pytest.raises(KeyError):
        web.module("settings").get("hps_nothing")


def test_a_file_that_is_gone_stays_a_choice_so_that_the_page_can_be_applied(web: Web) -> None:
    web.boot()
    web.opts.data["hps_default_scorer"] = "gone.pt"
    assert "gone.pt" in web.module("settings")._scorers()["choices"]
    assert web.module("bridge.host").default_scorer() == "hps-v2.1"


def test_programs_may_not_choose_the_folder(web: Web) -> None:
    web.boot()
    assert web.opts.data_labels["hps_models_folder"].restrict_api


def test_what_is_said_in_grey_is_text_and_no_markup(web: Web) -> None:
    settings = web.module("settings")
    option = settings._option(settings.Setting("hps_x", True, "X", "<script>alert(1)</script>"))
    assert "<script>" not in str(vars(option))
