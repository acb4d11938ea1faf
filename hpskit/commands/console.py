"""Everything the commands write: plain ASCII lines, tables, and a progress bar on a terminal.

No colours and no control codes except the bar's carriage return, so that output reads the same in a terminal, a log and
a pipe. Names and prompts come from strangers' files: whatever is not printable ASCII is written as an escape.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TextIO

from ..errors import OutputError

_BAR: Final = 24
_REFRESH: Final = 0.1


def plain(text: object) -> str:
    """Return text in printable ASCII; everything else, control characters included, as backslash escapes."""
    escaped = str(text).encode("ascii", "backslashreplace").decode("ascii")
    return "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in escaped)


def open_streams() -> None:
    """Give a process that was started with closed standard streams the null device in their place."""
    with suppress(OSError):
        while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:  # else the next file opened would become a stream
            pass
        os.close(handle)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="ascii"))  # noqa: SIM115  lives as long as we


def silence(stream: TextIO) -> None:
    """Send what is left in a broken stream nowhere; without this Python complains again while it shuts down."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # the reader has seen enough; `hpskit.cli` ends quietly
        raise
    except OSError as error:
        silence(sys.stdout)
        raise OutputError(f"Standard output cannot be written ({error.strerror or error}).") from error


def out(text: str = "") -> None:
    """Write lines to standard output; OutputError when it takes no more."""
    pieces(f"{text}\n")


def pieces(text: str) -> None:
    """Write text to standard output, line breaks as they are; OutputError when it takes no more."""
    with _writing():
        sys.stdout.write("\n".join(plain(line) for line in text.split("\n")))


def flush() -> None:
    """Write out what waits for standard output; OutputError when it takes no more."""
    with _writing():
        sys.stdout.flush()


def note(text: str) -> None:
    """Write lines to standard error: remarks that are no result, so a full or closed one does no harm."""
    try:
        sys.stderr.write("".join(f"{plain(line)}\n" for line in text.split("\n")))
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)


def out_path(path: Path) -> None:
    """Write one path to standard output, exactly as it is where a program reads it, escaped on a terminal."""
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None or sys.stdout.isatty():
        out(str(path))
        return
    out_bytes(os.fsencode(path) + b"\n")


def out_bytes(data: bytes) -> None:
    """Write bytes to a standard output that has a buffer, exactly as they are; OutputError when it takes no more."""
    with _writing():
        sys.stdout.flush()
        sys.stdout.buffer.write(data)


def width() -> int | None:
    """Return the columns of the terminal that standard output goes to; None in a file or pipe."""
    return max(shutil.get_terminal_size().columns, 20) if sys.stdout.isatty() else None


def shorten(text: str, limit: int | None) -> str:
    """Cut the middle out of a text that is longer than `limit`."""
    text = plain(text)
    if limit is None or len(text) <= limit:
        return text
    if limit < 8:
        return text[:limit]
    head = (limit - 3) // 2
    return f"{text[:head]}...{text[len(text) - (limit - 3 - head) :]}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, indent: str = "") -> list[str]:
    """Return aligned lines; the last column is text, flush left and cut to the terminal, the others flush right."""
    cells = [[plain(cell) for cell in row] for row in (header, *rows)]
    sizes = [max(len(row[k]) for row in cells) for k in range(len(header) - 1)]
    limit = width()
    room = None if limit is None else max(limit - sum(sizes) - 2 * len(sizes) - len(indent) - 1, 8)
    return [_line(row, sizes, room, indent) for row in cells]


def _line(row: Sequence[str], sizes: Sequence[int], room: int | None, indent: str) -> str:
    numbers = "".join(f"{cell:>{size}}  " for cell, size in zip(row[:-1], sizes, strict=True))
    return f"{indent}{numbers}{shorten(row[-1], room)}".rstrip()


def count(number: int, noun: str) -> str:
    """Return "1 image", "2 images"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def size_text(number: int | None) -> str:
    """Return a file size in words: "1.97 GB"; "?" when unknown."""
    if number is None:
        return "?"
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= step:
            return f"{number / step:.3g} {unit}"
    return f"{number} B"


def duration(seconds: float) -> str:
    """Return a duration as "0:07", "12:30" or "3:05:00"."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """A bar on standard error: silent where that is no terminal, at most ten updates a second."""

    def __init__(self, label: str, total: int | None, *, as_bytes: bool = False) -> None:
        self._label = label
        self._total = total
        self._as_bytes = as_bytes
        self._start = time.monotonic()
        self._last = 0.0
        self._base: int | None = None
        self._drawn = False
        self._live = sys.stderr.isatty()

    def update(self, done: int, total: int | None = None, remark: str = "") -> None:
        """Show that `done` of `total` (the one given at the start by default) is finished."""
        self._total = total if total is not None else self._total
        self._base = done if self._base is None else self._base
        now = time.monotonic()
        if not self._live or (now - self._last < _REFRESH and done != self._total):
            return
        self._last = now
        columns = max(shutil.get_terminal_size(fallback=(80, 24)).columns, 20)
        line = plain(self._text(done, now - self._start, remark))[: columns - 1]
        sys.stderr.write(f"\r{line:<{columns - 1}}")
        sys.stderr.flush()
        self._drawn = True

    def close(self) -> None:
        """Clear the bar's line."""
        if self._drawn:
            columns = max(shutil.get_terminal_size(fallback=(80, 24)).columns, 20)
            sys.stderr.write(f"\r{'':<{columns - 1}}\r")
            sys.stderr.flush()
            self._drawn = False

    def _text(self, done: int, seconds: float, remark: str) -> str:
        shown = size_text(done) if self._as_bytes else str(done)
        speed = (done - (self._base or 0)) / seconds if seconds > 0 else 0.0
        rate = f"{size_text(round(speed))}/s" if self._as_bytes else f"{speed:.1f}/s"
        if not self._total:
            return f"{self._label} {shown}  {rate}  {remark}"
        of = size_text(self._total) if self._as_bytes else str(self._total)
        filled = min(_BAR * done // self._total, _BAR)
        left = f"{duration((self._total - done) / speed)} left" if speed > 0 else ""
        return f"{self._label} [{'#' * filled}{'.' * (_BAR - filled)}] {shown}/{of}  {rate}  {left}  {remark}"
