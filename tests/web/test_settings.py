"""web/lib/settings.js: what is registered, and who hears of a change."""

from __future__ import annotations

from typing import Any

import pytest
from web_harness import StubPage

CONTRACT: dict[str, tuple[str, Any]] = {
    "HPS.Ledger.Enabled": ("boolean", True),
    "HPS.Ledger.MaxMegabytes": ("number", 256),
    "HPS.Gallery.Badges": ("boolean", True),
    "HPS.Gallery.Decimals": ("slider", 2),
    "HPS.Notices": ("boolean", True),
}


@pytest.fixture
def registered(stub_page: StubPage) -> list[dict[str, Any]]:
    stub_page.start()
    return list(
        stub_page.evaluate(
            "() => app.extensionManager.setting.registered.map(({ onChange, ...rest }) => rest)"
            ".filter(({ id }) => id.startsWith('HPS.'))"
        )
    )


def test_the_settings_of_the_contract(registered: list[dict[str, Any]]) -> None:
    assert {each["id"]: (each["type"], each["defaultValue"]) for each in registered} == CONTRACT
    for each in registered:
        assert each["category"][0] == "HPS" and len(each["category"]) == 3
        assert each["category"][2] == each["id"].rsplit(".", 1)[1], "the host merges settings of one category"
        assert len(each["name"]) > 8 and len(each["tooltip"]) > 30 and each["tooltip"].endswith(".")


def test_limits(registered: list[dict[str, Any]]) -> None:
    limits = {each["id"]: each["attrs"] for each in registered if "attrs" in each}
    assert limits["HPS.Ledger.MaxMegabytes"] == {"min": 16, "max": 4096, "step": 16}
    assert limits["HPS.Gallery.Decimals"] == {"min": 2, "max": 5, "step": 1}


def test_listeners_hear_changes_with_the_new_value_and_not_the_registration(stub_page: StubPage) -> None:
    heard = stub_page.evaluate(
        """async () => {
            const { onSetting, settings } = await import("/extensions/hps-nodes/lib/settings.js");
            const heard = [];
            const stop = onSetting((id, value) => heard.push([id, value]));
            // As the host does, before any graph exists.
            app.graph = app.rootGraph = undefined;
            for (const each of settings) app.extensionManager.setting.add(each);
            await app.extensionManager.setting.set("HPS.Gallery.Decimals", 5);
            await app.extensionManager.setting.set("HPS.Gallery.Decimals", 2);
            stop();
            await app.extensionManager.setting.set("HPS.Gallery.Decimals", 4);
            return heard;
        }"""
    )
    assert heard == [["HPS.Gallery.Decimals", 5], ["HPS.Gallery.Decimals", 2]]


@pytest.mark.parametrize(("decimals", "text"), [(2, "28.35"), (5, "28.34567"), (9, "28.34567"), ("x", "28.35")])
def test_decimals_are_kept_within_their_limits(stub_page: StubPage, decimals: Any, text: str) -> None:
    shown = stub_page.evaluate(
        """async (decimals) => {
            app.extensionManager.setting.values["HPS.Gallery.Decimals"] = decimals;
            return (await import("/extensions/hps-nodes/lib/format.js")).scoreText(28.345671);
        }""",
        decimals,
    )
    assert shown == text
