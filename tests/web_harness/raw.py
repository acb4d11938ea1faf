"""Requests that no well-behaved client would send, written to the socket byte by byte."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class RawAnswer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float
    sent: int
    """Bytes of the body that the server took before it answered or closed."""

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


def send(
    url: str,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes | Iterable[bytes] = b"",
    timeout: float = 20,
) -> RawAnswer:
    """Send a request exactly as given: the path is not normalised, Content-Length is added for plain bytes only."""
    host = urlsplit(url).netloc
    given = {"Host": host, "Connection": "close", **(headers or {})}
    if isinstance(body, bytes):
        given.setdefault("Content-Length", str(len(body)))
        body = [body]
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in given.items()) + "\r\n"
    name, port = host.split(":")
    start = time.monotonic()
    with socket.create_connection((name, int(port)), timeout) as connection:
        connection.sendall(head.encode("latin-1"))
        sent = _pour(connection, body)
        data = _all(connection)
    return _parsed(data, time.monotonic() - start, sent)


def _pour(connection: socket.socket, parts: Iterable[bytes]) -> int:
    """Send until the server has something to say or closes."""
    sent = 0
    for part in parts:
        try:
            connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            break
        sent += len(part)
        if _answered(connection):
            break
    return sent


def _answered(connection: socket.socket) -> bool:
    timeout = connection.gettimeout()
    connection.settimeout(0)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except (BlockingIOError, ConnectionResetError):
        return False
    finally:
        connection.settimeout(timeout)


def _all(connection: socket.socket) -> bytes:
    """Read one answer; a server that refuses a body keeps the connection for some seconds after it has answered."""
    data = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while not _complete(bytes(data)) and (part := connection.recv(65536)):
            data += part
    return bytes(data)


def _complete(data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return bool(found and length and len(body) >= int(length.group(1)))


def _parsed(data: bytes, seconds: float, sent: int) -> RawAnswer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    assert first.startswith("HTTP/"), f"no answer but {data[:80]!r}"
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return RawAnswer(int(first.split()[1]), headers, body, seconds, sent)
