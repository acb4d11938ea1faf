"""A real web UI server in a subprocess, spoken to over HTTP with the standard library."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .hosts import WebHost

if TYPE_CHECKING:
    from PIL.Image import Image

START_TIMEOUT = 420
BASE = {
    "prompt": "a red circle", "steps": 2, "width": 64, "height": 64, "seed": 1, "cfg_scale": 4, "sampler_name": "Euler",
}  # fmt: skip


class Rejected(Exception):
    """The server answered with an error; `status` is its number and the message is its answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What /sdapi/v1/txt2img or img2img gave."""

    images: list[Image]
    info: dict[str, Any]
    """The decoded "info": infotexts, all_seeds, extra_generation_params, ..."""


class Server:
    """The whole web UI on a free port of this machine with its own data folder; use as a context manager."""

    def __init__(self, host: WebHost, data: Path, log: Path, extra: tuple[str, ...] = ()) -> None:
        self.host, self.data, self.log, self.extra = host, data, log, extra
        self.url = ""
        self.started = 0.0
        """Seconds until the log said that it is up."""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until its log says that it is up: a request before that breaks both hosts."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [str(self.host.python), "launch.py", *self.host.options(self.data), "--port", str(port), *self.extra]
        begun = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.host.root, env=self.host.environment(self.data),
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=os.name != "nt",
            )  # fmt: skip
        self._await_start(begun)
        self.started = round(time.monotonic() - begun, 1)

    def stop(self) -> None:
        """End the process and whatever it started."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        if os.name == "nt":
            process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def get(self, path: str, timeout: float = 60) -> Any:
        """Return the JSON (or the text) served at `path`."""
        return self._ask(urllib.request.Request(self.url + path), timeout)

    def post(self, path: str, data: dict[str, Any], timeout: float = 300) -> Any:
        """Send `data` as JSON; raise Rejected with the server's answer on an HTTP error."""
        body = json.dumps(data).encode()
        return self._ask(urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"}), timeout)

    def txt2img(self, panel: dict[str, Any] | None = None, **settings: Any) -> Answer:
        """Make pictures with /sdapi/v1/txt2img; `panel` is what our script takes as its first argument."""
        return self._make("txt2img", panel, settings)

    def img2img(self, images: list[Image], panel: dict[str, Any] | None = None, **settings: Any) -> Answer:
        """Make pictures with /sdapi/v1/img2img from `images`."""
        return self._make("img2img", panel, {"init_images": [encode(image) for image in images], **settings})

    def text(self) -> str:
        """Return everything printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _make(self, kind: str, panel: dict[str, Any] | None, settings: dict[str, Any]) -> Answer:
        scripts = {"HPS": {"args": [panel]}} if panel is not None else {}
        body = {**BASE, **settings}
        body["alwayson_scripts"] = {**scripts, **body.get("alwayson_scripts", {})}
        answer = self.post(f"/sdapi/v1/{kind}", body)
        return Answer([decode(text) for text in answer["images"]], json.loads(answer["info"]))

    def _ask(self, request: urllib.request.Request, timeout: float) -> Any:
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                body = answer.read().decode("utf-8")
        except urllib.error.HTTPError as error:
            raise Rejected(error.code, error.read().decode("utf-8", "replace")) from None
        try:
            return json.loads(body)
        except ValueError:
            return body

    def _await_start(self, begun: float) -> None:
        while "Startup time:" not in self.text():
            if self._process is None or self._process.poll() is not None:
                raise AssertionError(f"the server ended; log ends:\n{self.text()[-4000:]}")
            if time.monotonic() - begun > START_TIMEOUT:
                raise AssertionError(f"no start within {START_TIMEOUT} s; log ends:\n{self.text()[-4000:]}")
            time.sleep(0.2)


def encode(image: Image) -> str:
    """Return the picture as the API takes it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def decode(text: str) -> Image:
    """Return the picture that the API gave."""
    from PIL import Image as pillow

    return pillow.open(io.BytesIO(base64.b64decode(text.partition(",")[2] or text)))
