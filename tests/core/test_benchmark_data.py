"""Getting the benchmark's prompts: from the pinned commit, resumed, checked for their form; loopback only."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hpskit import cli
from hpskit.benchmark import data
from hpskit.benchmark.styles import STYLES, read_prompts
from hpskit.errors import DownloadError, Offline
from hpskit.weights import fetch

LISTS = {f"{style}.json": json.dumps([f"{style} {k}" for k in range(800)]).encode() for style in STYLES}
LISTS["drawbench.json"] = json.dumps([f"drawn {k}" for k in range(200)]).encode()


@dataclass
class Site:
    """What the loopback server has, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(LISTS))
    asked: list[tuple[str, str]] = field(default_factory=list)
    cut: int | None = None
    """Bytes after which the next connection is cut."""
    kind: str = "text/plain"


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.site.asked.append((self.path, self.headers.get("Range") or ""))
        body = self.site.files.get(self.path.rpartition("/")[2])
        if body is None:
            self.send_error(404)
            return
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", '"one"')
        self.send_header("Content-Type", self.site.kind)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end, self.site.cut = self.site.cut, None
        self.wfile.write(body[start:][:end])


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    made = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Handler,), {"site": made}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("HPS_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(fetch, "_pause", lambda seconds: None)
    yield made
    server.shutdown()
    server.server_close()


def test_the_four_lists_come_from_the_pinned_commit(site: Site, tmp_path: Path) -> None:
    paths = data.download_prompts(tmp_path / "p", "hpsv2")
    assert [path.name for path in paths] == [f"{style}.json" for style in STYLES]
    prefix = f"/datasets/zhwang/HPDv2/resolve/{data.REVISION}/benchmark/"
    assert [path for path, _ in site.asked] == [f"{prefix}{style}.json" for style in STYLES]
    assert len(data.REVISION) == 40
    prompts = read_prompts(tmp_path / "p", "hpsv2")
    assert prompts.official and prompts.prompts["photo"][799] == "photo 799"


def test_what_is_there_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    data.download_prompts(tmp_path, "hpsv2")
    site.asked.clear()
    data.download_prompts(tmp_path, "hpsv2")
    assert not site.asked


def test_a_cut_connection_is_resumed(site: Site, tmp_path: Path) -> None:
    site.cut = 1000
    data.download_prompts(tmp_path, "drawbench")
    assert [asked for _, asked in site.asked] == ["", "bytes=1000-"]
    assert (tmp_path / "drawbench.json").read_bytes() == LISTS["drawbench.json"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!doctype html><p>please log in", "text instead"),
        (b"version https://git-lfs.github.com/spec/v1", "text instead"),
        (b"PK\x03\x04 zip", "deleted"),
        (json.dumps(["a"] * 799).encode(), "799 prompts instead of 800"),
        (json.dumps(["a"] * 799 + [3]).encode(), "no text"),
        (b'{"a": 1}', "list of prompts"),
        (b'["a", ', "JSON"),
    ],
)
def test_what_is_no_list_of_prompts_is_refused(site: Site, tmp_path: Path, body: bytes, words: str) -> None:
    site.files["anime.json"] = body
    with pytest.raises(DownloadError, match=words):
        data.download_prompts(tmp_path, "hpsv2")


def test_a_login_page_is_refused(site: Site, tmp_path: Path) -> None:
    site.kind = "text/html"
    with pytest.raises(DownloadError, match="web page"):
        data.download_prompts(tmp_path, "hpsv2")


def test_offline_says_so(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Offline, match="HF_HUB_OFFLINE"):
        data.download_prompts(tmp_path, "hpsv2")


def test_the_command_gets_them_and_says_what_was_not_checked(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["benchmark", "--get-prompts"]) == 0
    assert read_prompts(tmp_path / "models" / "benchmark-prompts", "hpsv2").official
    assert "No checksum" in capsys.readouterr().err
    assert cli.main(["benchmark", "--get-prompts", "--layout", "drawbench", "--prompts", str(tmp_path / "mine")]) == 0
    assert read_prompts(tmp_path / "mine", "drawbench").official


def test_the_command_does_not_overwrite_a_file(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "mine.json"
    own.write_text('["a"]')
    assert cli.main(["benchmark", "--get-prompts", "--prompts", str(own)]) == 2
    assert own.read_text() == '["a"]' and not site.asked
    assert "folder" in capsys.readouterr().err


def test_nothing_is_downloaded_unasked(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m" / "anime").mkdir(parents=True)
    assert cli.main(["benchmark", str(tmp_path / "m")]) == 2
    assert "hps benchmark --get-prompts" in capsys.readouterr().err
    assert not site.asked
