"""What the leaderboard opens: a workflow in a tab with a name, the large picture, the question before deleting."""

from __future__ import annotations

from typing import Any

import pytest
from web._ledger import opened, row, summary
from web_harness import StubPage


@pytest.mark.parametrize(("answer", "loaded"), [(True, 1), (False, 0), (None, 0)])
def test_a_host_without_tabs_is_asked_about(stub_page: StubPage, answer: bool | None, loaded: int) -> None:
    stub_page.hps_route("/hps/v1/ledger/workflow/1", {"v": 1, "kind": "workflow", "graph": {}})
    opened(stub_page, [row(1)])
    stub_page.evaluate(
        """(answer) => {
            delete app.extensionManager.workflow.openWorkflows;
            app.extensionManager.answers.push(answer);
        }""",
        answer,
    )
    stub_page.locator("[data-act=workflow]").click()
    stub_page.wait_for_function("() => app.extensionManager.dialogs.length === 1")
    stub_page.wait_for_timeout(100)
    assert stub_page.evaluate("() => app.loaded.length") == loaded


NAMES = [
    ({}, "seed 1001 - a red fox asleep in fresh"),
    ({"prompt": 'a/b: "c" <d>|e?*\\\nf'}, "seed 1001 - a b c d e f"),
    ({"seed": None, "prompt": "..."}, "HPS 1"),
    ({"prompt": ""}, "seed 1001"),
    ({"seed": "18446744073709551615", "prompt": "x" * 99}, "seed 18446744073709551615"),
    ({"seed": None, "prompt": "y" * 99}, "y" * 40),
]


@pytest.mark.parametrize(("changes", "name"), NAMES)
def test_the_tab_of_a_workflow_can_be_a_file(stub_page: StubPage, changes: dict[str, Any], name: str) -> None:
    script = "async (row) => (await import('/extensions/hps-nodes/lib/board_actions.js')).tabName(row)"
    found = stub_page.evaluate(script, row(1) | changes)
    assert found == name and len(found) <= 40


CLOSERS = {
    "the sidebar is closed": "() => app.extensionManager.toggleTab('hps')",
    "a workflow is loaded": "() => app.invoke('afterConfigureGraph')",
    "Esc on the canvas": "() => { document.activeElement.blur(); document.body.focus() }",
}


@pytest.mark.parametrize("way", CLOSERS)
def test_the_large_view_goes(stub_page: StubPage, way: str) -> None:
    opened(stub_page, [row(1)])
    stub_page.evaluate("() => { window.leaked = []; window.addEventListener('keydown', (e) => leaked.push(e.key)) }")
    stub_page.locator(".hps-pic").click()
    stub_page.locator(".hps-large").wait_for()
    stub_page.evaluate(CLOSERS[way])
    if way.startswith("Esc"):
        stub_page.keyboard.press("Escape")
    stub_page.locator(".hps-large").wait_for(state="detached")
    before = stub_page.evaluate("() => leaked.length")
    assert before == 0
    stub_page.evaluate("() => document.activeElement.blur()")
    stub_page.keyboard.press("Escape")
    assert stub_page.evaluate("() => leaked") == ["Escape"], "the next one is the host's"


def test_esc_belongs_first_to_a_text_field_and_to_the_hosts_dialog(stub_page: StubPage) -> None:
    opened(stub_page, [row(1)])
    stub_page.locator(".hps-pic").click()
    stub_page.evaluate(
        "() => { document.body.append(Object.assign(document.createElement('textarea'), {id: 'note'})) }"
    )
    stub_page.locator("#note").focus()
    stub_page.keyboard.press("Escape")
    stub_page.evaluate(
        "() => { note.remove(); const d = document.createElement('div'); d.id = 'dialog'; "
        "d.className = 'p-dialog'; document.body.append(d) }"
    )
    stub_page.keyboard.press("Escape")
    assert stub_page.locator(".hps-large").count() == 1
    stub_page.evaluate("() => dialog.remove()")
    stub_page.keyboard.press("Escape")
    assert stub_page.locator(".hps-large").count() == 0


def test_nothing_older_is_told_beforehand(stub_page: StubPage) -> None:
    opened(stub_page, [row(1)])
    now = stub_page.evaluate("() => Date.now() / 1000")
    stub_page.hps_route("/hps/v1/ledger/summary", summary(1, oldest=now - 86400))
    stub_page.locator("summary").last.click()
    stub_page.get_by_role("button", name="Delete").click()
    stub_page.wait_for_function("() => app.extensionManager.toasts.length === 1")
    assert stub_page.toasts[0]["summary"] == "Nothing is older than 30 days"
    assert not stub_page.evaluate("() => app.extensionManager.dialogs.length")
    assert not stub_page.asked_for("/hps/v1/ledger/purge")
