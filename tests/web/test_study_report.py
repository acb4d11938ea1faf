"""Files of a report on their node: their places, saving, and a look at the page in a frame of its own."""

from __future__ import annotations

from typing import Any

import pytest
from web_harness import Reply, StubPage


def begin(page: StubPage) -> None:
    page.start()
    page.add_node(id=1, type="HPS_Report", size=[420, 300])


def report(**more: Any) -> dict[str, Any]:
    files = [{"filename": f"study 1&2.{kind}", "subfolder": "hps", "type": "output"} for kind in ("html", "csv", "png")]
    return {"v": 1, "kind": "report", "run": "r", "files": files, "headline": "a beats b", "table": "a  1\nb  2"} | more


def test_a_report_lists_its_files(stub_page: StubPage) -> None:
    begin(stub_page)
    stub_page.executed("1", {"hps": [report()]})
    lines = [" ".join(text.split()) for text in stub_page.locator(".hps-files li").all_inner_texts()]
    assert lines == [
        "output/hps/study 1&2.html Open Save",
        "output/hps/study 1&2.csv Save",
        "output/hps/study 1&2.png Open",
    ]
    rows = stub_page.locator(".hps-files li")
    assert all(rows.nth(n).bounding_box()["height"] < 26 for n in range(3)), "a line each"
    links = stub_page.locator(".hps-files a")
    assert links.nth(0).get_attribute("href") == "/api/view?filename=study+1%262.html&subfolder=hps&type=output"
    assert links.nth(0).get_attribute("download") == "study 1&2.html"
    assert links.nth(2).get_attribute("target") == "_blank" and links.nth(2).get_attribute("rel") == "noopener"
    assert stub_page.locator(".hps-headline").inner_text() == "a beats b"
    assert stub_page.locator(".hps-report").inner_text().count("b  2") == 0, "no table that nobody can read"
    assert stub_page.locator(".hps-status").inner_text() == "3 files written"


PAGE = """<!doctype html><meta charset="utf-8"><title>r</title><p>Gr\u00fc\u00dfe</p><script>
const said = document.querySelector("p");
try { said.textContent += " reached " + parent.document.title; } catch { said.textContent += " alone"; }
try { said.textContent += " kept " + localStorage.length; } catch { said.textContent += " bare"; }
</script>"""


def opened(page: StubPage, answer: Any) -> Any:
    page.hps_route("/view", answer)
    begin(page)
    page.executed("1", {"hps": [report()]})
    page.get_by_role("button", name="Open").click()
    return page.locator("dialog.hps-report-view")


def closed(page: StubPage) -> None:
    page.wait_for_function("() => !document.querySelector('dialog')")


def test_a_report_opens_in_a_frame_that_reaches_nothing(stub_page: StubPage) -> None:
    dialog = opened(stub_page, Reply(PAGE.encode(), 200, "application/octet-stream"))
    frame = dialog.locator("iframe")
    frame.wait_for()
    assert frame.get_attribute("sandbox") == "allow-scripts"
    words = frame.content_frame.locator("p")
    words.wait_for()
    assert words.inner_text() == "Gr\u00fc\u00dfe alone bare", "its script sees neither the page nor what it keeps"
    dialog.get_by_role("button", name="Close").focus()
    stub_page.keyboard.press("Escape")
    closed(stub_page)


def test_a_report_that_is_gone_says_so(stub_page: StubPage) -> None:
    stub_page.allow("404")
    dialog = opened(stub_page, Reply({}, 404))
    dialog.get_by_role("alert").wait_for()
    assert "run again" in dialog.inner_text() and dialog.locator("iframe").count() == 0
    dialog.get_by_role("button", name="Close").click()
    closed(stub_page)


def test_a_server_that_forbids_frames_is_told_of(stub_page: StubPage) -> None:
    dialog = opened(stub_page, Reply(PAGE.encode(), 200, "application/octet-stream"))
    dialog.locator("iframe").wait_for()
    stub_page.evaluate(
        """() => document.dispatchEvent(
            new SecurityPolicyViolationEvent("securitypolicyviolation", { effectiveDirective: "frame-src" }))"""
    )
    assert "Save the report" in dialog.get_by_role("alert").inner_text()
    assert dialog.locator("iframe").count() == 0


@pytest.mark.parametrize(
    "file",
    [
        {"filename": "../x.html", "type": "output"},
        {"filename": "a\\b.html", "type": "output"},
        {"filename": "..", "type": "output"},
        {"filename": "", "type": "output"},
        {"filename": "x.html", "subfolder": "../..", "type": "output"},
        {"filename": "x.html", "subfolder": "/etc", "type": "output"},
        {"filename": "x.html", "subfolder": "C:\\x", "type": "output"},
        {"filename": "x.html", "type": "input"},
        None,
    ],
)
def test_what_is_no_plain_file_is_no_link(stub_page: StubPage, file: Any) -> None:
    begin(stub_page)
    stub_page.executed("1", {"hps": [report(files=[file])]})
    assert stub_page.locator(".hps-files li").count() == 1
    assert stub_page.locator(".hps-files a").count() == 0
